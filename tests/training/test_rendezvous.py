"""How the processes of a run find each other: variables as schedulers set them."""

import os
import subprocess
import sys

import pytest
from training_processes import environment, free_port

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


@pytest.mark.parametrize(
    ("tasks", "node", "task", "devices"),
    [
        ("2,1", 0, 1, [2, 3]),
        ("2,1", 1, 0, [0, 1, 2, 3]),
        ("2(x3),1", 2, 1, [2, 3]),
        ("2(x3),1", 3, 0, [0, 1, 2, 3]),
        ("1,4(x2)", 2, 3, [3]),
        ("12", 0, 1, [0, 1, 2, 3]),  # fewer GPUs than tasks: nothing to share out
    ],
)
def test_nodes_of_a_step_may_have_different_numbers_of_tasks(tasks, node, task, devices):
    own = {
        "CUDA_VISIBLE_DEVICES": "0,1,2,3",
        "SLURM_STEP_TASKS_PER_NODE": tasks,
        "SLURM_NODEID": str(node),
        "SLURM_LOCALID": str(task),
    }
    assert rendezvous.arguments(STEP | own)["local_device_ids"] == devices


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"SLURM_STEP_TASKS_PER_NODE": "2,"}, "SLURM_STEP_TASKS_PER_NODE, found '2,'"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1"}, "SLURM_NODEID, found none"),
        ({"SLURM_STEP_TASKS_PER_NODE": "2,1", "SLURM_NODEID": "2"}, "one of the 2 nodes .* found 2"),
        ({"SLURM_NTASKS": "four"}, "SLURM_NTASKS, found 'four'"),
    ],
)
def test_variables_of_slurm_that_do_not_agree_are_refused(variables, text):
    with pytest.raises(ValueError, match=text):
        rendezvous.arguments(STEP | {"CUDA_VISIBLE_DEVICES": "0,1"} | variables)


@pytest.mark.parametrize("device", ["/dev/accel0", "/dev/vfio/0"])
def test_the_machine_is_asked_on_a_cloud_tpu(monkeypatch, device):
    """What there is of it: variables of GKE, or one of the devices of a TPU VM."""
    assert rendezvous.arguments({"TPU_WORKER_HOSTNAMES": "worker-0,worker-1"}) == {}
    monkeypatch.setattr(os.path, "exists", lambda path: path == device)
    assert rendezvous.arguments({}) == {}
    assert rendezvous.arguments(STEP)["cluster_detection_method"] == "slurm"  # the scheduler comes first
    monkeypatch.setattr(os.path, "exists", lambda path: False)
    assert rendezvous.arguments({}) is None


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
    }
    code = f"import os; os.environ.update({variables}); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == rendezvous.APART
    assert "did not meet within 0.5 s at localhost:9" in done.stderr
    assert "docs/clusters.md" in done.stderr


def test_proxies_are_out_of_the_way_once_processes_have_met():
    variables = environment() | {
        "JOB_COMPLETION_INDEX": "0",
        "JOB_COMPLETIONS": "1",
        "JAX_COORDINATOR_ADDRESS": f"localhost:{free_port()}",
        **{name: "http://localhost:9" for name in ("http_proxy", "HTTPS_PROXY", "ALL_proxy", "grpc_proxy")},
        "no_proxy": "localhost",
    }
    code = (
        "import os; from dcejax.training import rendezvous; assert rendezvous.join(60.0); rendezvous.part(); "
        "print(sorted(name for name in os.environ if 'proxy' in name.lower()))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['no_proxy']\n"
