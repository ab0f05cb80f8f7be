"""How the processes of a run find each other: variables as schedulers set them."""

import subprocess
import sys

import pytest

from dcejax.training import rendezvous

STEP = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "node[01-02]",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
}


def test_a_process_that_no_scheduler_started_is_alone():
    assert rendezvous.arguments({}) is None
    assert rendezvous.arguments({"TPU_SKIP_MDS_QUERY": "1"}) is None  # JAX sets it wherever there is no TPU
    assert rendezvous.arguments(STEP | {"SLURM_NTASKS": "1"}) is None
    batch_script = {name: value for name, value in STEP.items() if name != "SLURM_STEP_NODELIST"}
    assert rendezvous.arguments(batch_script) is None


@pytest.mark.parametrize(
    ("variables", "devices"),
    [
        ({}, None),  # no GPU
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, [1]),  # all tasks of the node see all of its GPUs
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3"}, [2, 3]),
        ({"CUDA_VISIBLE_DEVICES": "0"}, [0]),  # each task sees its own
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_PER_TASK": "2"}, [0, 1]),
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3", "SLURM_STEP_TASKS_PER_NODE": "1(x4)", "SLURM_LOCALID": "0"}, [0, 1, 2, 3]),
    ],
)
def test_a_task_of_slurm_has_its_own_gpus(variables, devices):
    found = rendezvous.arguments(STEP | variables)
    assert found == {"cluster_detection_method": "slurm", "local_device_ids": devices}


def test_pods_of_an_indexed_job_meet_at_the_stated_address():
    job = {"JOB_COMPLETION_INDEX": "2", "JOB_COMPLETIONS": "3", "JAX_COORDINATOR_ADDRESS": "train-0.train:1234"}
    assert rendezvous.arguments(job) == {
        "coordinator_address": "train-0.train:1234",
        "num_processes": 3,
        "process_id": 2,
    }
    for name, text in (("JOB_COMPLETIONS", "JOB_COMPLETIONS, found none"), ("JAX_COORDINATOR_ADDRESS", "first pod")):
        with pytest.raises(ValueError, match=text):
            rendezvous.arguments({key: value for key, value in job.items() if key != name})


def test_processes_that_do_not_meet_end_with_a_recipe():
    code = "import os; from dcejax.training import rendezvous; rendezvous.join(within_s=0.5)"
    variables = {
        "JOB_COMPLETION_INDEX": "1",
        "JOB_COMPLETIONS": "2",
        "JAX_COORDINATOR_ADDRESS": "localhost:9",
        "https_proxy": "http://proxy:1",
    }
    code = f"import os; os.environ.update({variables}); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == rendezvous.APART
    assert "did not meet within 0.5 s at localhost:9" in done.stderr
    assert "docs/clusters.md" in done.stderr
    assert "proxy" not in done.stderr
