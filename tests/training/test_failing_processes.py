"""What one process of a run alone cannot do ends all of them, with the code that says whether another try may help."""

import errno
import signal
import time

import labelled_scans
import pytest
from training_processes import end, start

from dcejax.data import access
from dcejax.training import labelled_examinations, processes, rendezvous
from dcejax.training.nifti_patches import subjects_of

CONFIG = """
import dataclasses, os
import toy_method

def get_config():
    usual = toy_method.Config()
    reading = {{"batches": "nifti:{folder}", "patients_per_step": 2, "patch_size": 4, "max_epochs": {epochs}}}
    return dataclasses.replace(usual, training=dataclasses.replace(usual.training, patience=99, **reading))
"""
FAILING = """
def stages(*_):
    raise {error}

if os.environ["JOB_COMPLETION_INDEX"] == "{rank}":
    toy_method.stages = stages
"""


def config(folder, epochs=30, more=""):
    """A configuration, and scans to train on."""
    for number in range(9):
        labelled_scans.write(folder / "scans", f"sub-{number:02d}", seed=number)
    path = folder / "config.py"
    path.write_text(CONFIG.format(folder=folder / "scans", epochs=epochs) + more)
    return path


def test_the_others_end_with_the_code_of_the_gravest_error():
    bad, full = ValueError("bad"), OSError(errno.ENOSPC, "full")
    assert [processes.gravity(error) for error in (None, full, bad)] == [0, 1, 2]
    processes.settle(None, 0)
    for error in (bad, full):
        with pytest.raises(ValueError, match="another process") as others:
            processes.settle(None, processes.gravity(error))
        assert access.may_pass(others.value) == access.may_pass(error)
        with pytest.raises(type(error)) as own:
            processes.settle(error, 2)
        assert own.value is error


def test_one_process_alone_raises_at_once():
    with pytest.raises(ZeroDivisionError):
        processes.attempt(lambda: 1 // 0)
    with pytest.raises(ValueError, match="invalid literal"):
        processes.attempt(lambda: int("x"))
    assert processes.attempt(lambda: 3) == (3, None)
    assert processes.each(lambda: 3) == 3


@pytest.mark.slow
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_file_that_one_process_alone_reads_ends_all_with_two(tmp_path, split):
    path, scans = config(tmp_path), tmp_path / "scans"
    own = subjects_of(labelled_examinations.find(scans, ""), split, scans)
    damaged = next(scans.glob(f"{max(own)}/perf/*_dce.nii.gz"))
    damaged.write_bytes(damaged.read_bytes()[:-2000])
    told = [each.splitlines()[-1] for each in end(start(path, tmp_path / "run", 2), code=2)]
    (first,) = [each for each in told if damaged.name in each]
    assert first.startswith("error: ")
    assert [each for each in told if each != first] == [
        "error: another process of this run cannot go on; its own message says why"
    ]


@pytest.mark.slow
def test_a_failing_disk_that_the_first_process_sees_ends_all_with_one(tmp_path):
    path = config(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").symlink_to("/proc/self/mem")  # where reading gives EIO
    told = end(start(path, tmp_path / "run", 2), code=1)
    assert all(each.count("\n") == 1 and "Input/output error" in each for each in told)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        ("ValueError('bad')", 2, "error: bad"),
        ("OSError(5, 'failed', 'a-file')", 1, "error: a-file: expected a path that can be read"),
    ],
)
def test_an_error_that_the_others_cannot_know_ends_its_process_in_seconds(tmp_path, rank, error, code, told):
    began = time.monotonic()
    both = start(config(tmp_path, 1, FAILING.format(rank=rank, error=error)), tmp_path / "run", 2)
    own, others = both[rank], both[1 - rank]
    found, took = own.communicate(timeout=60)[1], time.monotonic() - began
    assert own.returncode == code, found
    assert found.startswith(told)
    assert found.count("\n") == 1  # no stack
    others.communicate(timeout=20)
    assert others.returncode in (rendezvous.APART, -signal.SIGABRT)  # as it or JAX noticed first
    assert took < 45.0  # of which five seconds are the wait for others with the same error
