"""Shares of schedulers: with their variables as they set them, through the command too."""

import pytest
import scans

from dcejax.runner import scheduler_share

ARRAY = {"SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_STEP": "5", "SLURM_ARRAY_TASK_COUNT": "4"}


def test_tasks_of_an_array_share_all_cases():
    """--array=10-25:5: tasks 10, 15, 20 and 25."""
    found = [scheduler_share.parse("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": str(task)}) for task in (10, 15, 20, 25)]
    assert found == [(0, 4), (1, 4), (2, 4), (3, 4)]
    del (without := dict(ARRAY))["SLURM_ARRAY_TASK_STEP"]
    assert scheduler_share.parse("auto", without | {"SLURM_ARRAY_TASK_ID": "12"}) == (2, 4)


def test_pods_of_an_indexed_job():
    assert scheduler_share.parse("auto", {"JOB_COMPLETION_INDEX": "3", "JOB_COMPLETIONS": "7"}) == (3, 7)


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("auto", {}, "found neither; state --shard=i/n"),
        ("auto", {"JOB_COMPLETION_INDEX": "3"}, "whole number in the variable JOB_COMPLETIONS, found none"),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "12"}, "from 10 in steps of 5, found 12"),
        ("auto", ARRAY | {"SLURM_ARRAY_TASK_ID": "x"}, "SLURM_ARRAY_TASK_ID, found 'x'"),
        ("1", {}, "expected i/n such as 0/4, or auto, found '1'"),
    ],
)
def test_what_is_refused(text, environment, message):
    with pytest.raises(ValueError, match=message):
        scheduler_share.parse(text, environment)


def test_a_task_that_takes_all_is_warned(run_infer, tmp_path, monkeypatch):
    for case in "abcde":
        scans.save_scan(tmp_path / "in" / f"{case}.nii.gz")
    flags = {"input": tmp_path / "in" / "*.nii.gz", "output_dir": tmp_path / "out", "dry_run": True}
    assert "warning: this is a task" not in run_infer(**flags)[1]
    for name, value in (ARRAY | {"SLURM_ARRAY_TASK_ID": "15"}).items():
        monkeypatch.setenv(name, value)
    told = run_infer(**flags)[1]
    assert "warning: this is a task of many" in told
    assert "checked 5 of 5" in told
    for shard, count in (("auto", 1), ("0/1", 5)):
        told = run_infer(**flags, shard=shard)[1]
        assert "warning: this is a task" not in told
        assert f"checked {count} of {count}" in told
