"""The recipes of docs/clusters.md, run as shell with faked schedulers, and their manifests."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from dcejax.runner import scheduler_share

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "clusters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.M | re.S)
SCRIPTS = [code for language, code in BLOCKS if code.startswith("#!/bin/bash")]
ARRAYS = [script for script in SCRIPTS if "--array" in script]
JOBS = [each for language, code in BLOCKS if language == "yaml" for each in yaml.safe_load_all(code)]
JOBS = [each for each in JOBS if each["kind"] == "Job"]


def run(script, folder, code, **more):
    """Run a script of SLURM; its exit code, and the calls of the scheduler's programs in order."""
    for name, ends in (("srun", code), ("scontrol", 0)):
        (folder / name).write_text(
            f'#!/bin/sh\nprintf "%s|" "${{0##*/}}" "$@" >> {folder}/calls; echo >> {folder}/calls\nexit {ends}\n'
        )
        (folder / name).chmod(0o755)
    known = {"PATH": f"{folder}:/usr/bin:/bin", "SCRATCH": "/scratch", "TMPDIR": "/node", "SLURM_JOB_ID": "4711"} | more
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, env=known)
    assert done.stderr == ""
    return done.returncode, [line.split("|")[:-1] for line in (folder / "calls").read_text().splitlines()]


def test_there_are_recipes():
    assert len(ARRAYS) == 2
    assert len(SCRIPTS) == 3
    assert len(JOBS) == 2


@pytest.mark.parametrize("code", [0, 1, 2, 3, 143])
@pytest.mark.parametrize("script", ARRAYS, ids=["installed", "apptainer"])
def test_a_task_is_tried_again_where_that_may_help(script, tmp_path, code):
    ended, calls = run(script, tmp_path, code)
    assert ended == code
    assert [call[0] for call in calls] == ["srun", "scontrol"][: 1 + (code == 1)]
    assert "--shard=auto" in calls[0]
    assert "--output_dir=/scratch/maps" in calls[0]
    assert calls[1:] in ([], [["scontrol", "requeue", "4711"]])


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 134, 137, 143])
def test_training_is_tried_again_where_that_may_help(tmp_path, code):
    (script,) = set(SCRIPTS) - set(ARRAYS)
    ended, calls = run(script, tmp_path, code)
    assert ended == code
    assert [call[0] for call in calls] == ["srun", "scontrol"][: 1 + (code in (1, 4, 134, 137))]
    (tmp_path / "calls").unlink()
    _, calls = run(script, tmp_path, code, SLURM_RESTART_COUNT="20")
    assert [call[0] for call in calls] == ["srun"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_slurm_sends_the_signal_to_the_processes_in_time(script):
    (options,) = re.findall(r"^#SBATCH (.*)$", script, re.M)
    assert "--requeue" in options
    assert int(re.search(r"--signal=TERM@(\d+)", options)[1]) >= 30  # seconds in which a command ends


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job["metadata"]["name"])
def test_jobs_of_kubernetes_state_what_their_pods_need(job):
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # else exit codes are not looked at
    (container,) = pod["containers"]
    environment = {each["name"]: each["value"] for each in container["env"]}
    assert int(environment["JOB_COMPLETIONS"]) == spec["completions"]
    share = scheduler_share.of_scheduler(environment | {"JOB_COMPLETION_INDEX": "0"})
    assert share == (0, spec["completions"])
    disrupted, bad = spec["podFailurePolicy"]["rules"]
    assert disrupted["action"] == "Ignore"
    assert bad["onExitCodes"] == {"operator": "In", "values": [2, 3]}
    if "JAX_COORDINATOR_ADDRESS" in environment:  # its processes need each other
        assert spec["parallelism"] == spec["completions"]
        assert environment["JAX_COORDINATOR_ADDRESS"].startswith(f"{job['metadata']['name']}-0.{pod['subdomain']}:")
