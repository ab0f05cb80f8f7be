"""One run on several devices and in several processes, which are real and on this machine."""

import signal
import time

import numpy as np
import pytest
import training_processes
from training_processes import end, losses

CONFIG = """
import dataclasses
import toy_method

def get_config():
    usual = toy_method.Config(checkpoint_minutes=0.0)
    training = dataclasses.replace(usual.training, batches="pool:{pool}", max_epochs=6, patience=9)
    return dataclasses.replace(usual, training=training)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("processes")
    training_processes.write_pool(found / "pool")
    (found / "config.py").write_text(CONFIG.format(pool=found / "pool"))
    return found


def start(folder, name, processes=1, devices=1, *flags):
    return training_processes.start(folder / "config.py", folder / name, processes, devices, *flags)


def stopped(folder, name, count, epoch, number, code):
    """A run whose last process has a signal after an epoch."""
    processes = start(folder, name, count)
    while f"{epoch}," not in processes[0].stderr.readline():
        assert processes[0].poll() is None
    began = time.monotonic()
    processes[-1].send_signal(number)
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in processes]
    assert time.monotonic() - began < 30.0
    assert [found for _, found in ended[:-1]] == [code] * (count - 1), ended
    assert ended[-1][1] == (143 if number == signal.SIGTERM else -number)


def same_losses(one, other):
    assert [row[:2] for row in one] == [row[:2] for row in other]
    np.testing.assert_allclose([row[2:] for row in one], [row[2:] for row in other], rtol=1e-5)


@pytest.mark.slow
def test_losses_do_not_depend_on_devices_and_processes(folder):
    end(start(folder, "one"))
    expected = losses(folder / "one")
    assert len(expected) == 12
    for processes, devices in ((1, 2), (1, 4), (2, 1), (2, 2), (4, 1)):
        name = f"{processes}x{devices}"
        told = end(start(folder, name, processes, devices))
        same_losses(losses(folder / name), expected)
        assert "weights exported" in told[0]
        assert not any("epoch" in other for other in told[1:])


@pytest.mark.slow
def test_tasks_of_slurm_train_together(folder):
    """With the variables of a step of `srun` on one node; the port is one that is free."""
    port = str(training_processes.free_port())
    step = {
        "SLURM_JOB_ID": "77",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_NODEID": "0",
        "JAX_COORDINATOR_PORT": port,
    }
    tasks = [
        training_processes.launch(
            folder / "config.py",
            folder / "slurm",
            training_processes.environment() | step | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            "--distributed=auto",
        )
        for rank in range(2)
    ]
    told = end(tasks)
    assert "weights exported" in told[0]
    assert told[1] == ""
    end(start(folder, "pods", 2))
    assert losses(folder / "slurm") == losses(folder / "pods")


@pytest.mark.slow
def test_two_processes_are_stopped_and_go_on_with_the_same_bits(folder):
    """A signal to one ends both."""
    end(start(folder, "undisturbed", 2))
    stopped(folder, "stopped", 2, "first: epoch 2", signal.SIGTERM, 143)
    stopped(folder, "stopped", 2, "second: epoch 3", signal.SIGKILL, 4)
    assert "going on after epoch" in end(start(folder, "stopped", 2))[0]
    assert losses(folder / "stopped") == losses(folder / "undisturbed")
    weights = [(folder / name / "weights.npz").read_bytes() for name in ("stopped", "undisturbed")]
    assert weights[0] == weights[1]


@pytest.mark.slow
def test_two_processes_then_one_then_two(folder):
    stopped(folder, "changing", 2, "first: epoch 2", signal.SIGTERM, 143)
    stopped(folder, "changing", 1, "first: epoch 4", signal.SIGTERM, 143)
    end(start(folder, "changing", 2))
    end(start(folder, "alone"))
    same_losses(losses(folder / "changing"), losses(folder / "alone"))


@pytest.mark.slow
def test_bad_input_ends_all_processes_with_two(folder):
    (folder / "other").mkdir()
    (folder / "other" / "config.json").write_text("{}")
    assert all("config.json" in told for told in end(start(folder, "other", 2), code=2))
    told = end(start(folder, "uneven", 1, 3), code=2)
    assert "3 devices can share, found 4" in told[0]
