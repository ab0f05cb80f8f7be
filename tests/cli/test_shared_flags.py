"""--version and --quiet, which every command has."""

import importlib
import platform
import tomllib
from pathlib import Path

import jax
import pytest
import scans
from commands import call

from dcejax.cli import bids, train

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
SCRIPTS = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["scripts"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_command_tells_its_version_and_does_nothing_else(name):
    module, main = SCRIPTS[name].split(":")
    code, out, err = call(getattr(importlib.import_module(module), main), "--version")
    assert (code, err) == (0, "")
    assert out.startswith("dcejax ")
    assert out.endswith(f"(jax {jax.__version__}, Python {platform.python_version()})\n")


@pytest.mark.parametrize("words", [["--participant_label=\r0\x85"], ["--no\nsuch"], ["a\x1b[2Jb"]])
def test_a_refusal_is_one_line_whatever_a_flag_holds(words):
    code, _, err = call(bids.main, *words)
    assert code == 2
    assert err.endswith("\n")
    assert err[:-1].isprintable()
    assert all(word in err for word in ("error: ", "expected ", "found ", "; see --help")), err


def test_a_quiet_run_tells_the_bad_case_and_neither_progress_nor_the_good_one(run_infer, scan, tmp_path):
    bad = tmp_path / "p2.nii.gz"
    scans.save(bad, scans.signal()[..., 0])
    inputs = f"{scan},{bad}"
    code, loud = run_infer(input=inputs, output_dir=tmp_path / "out", dry_run=True)
    assert "p1: checked" in loud
    assert "p1: reading" in loud
    quiet_code, quiet = run_infer(input=inputs, output_dir=tmp_path / "out", dry_run=True, quiet=True)
    assert quiet_code == code != 0
    assert "p2: bad" in quiet
    assert "p1: checked" not in quiet
    assert "reading" not in quiet


def test_whether_training_is_quiet_is_not_part_of_its_record():
    words = ["--quiet", "--config=a.py", "--workdir=x", "--noquiet", "--config.seed=1"]
    assert train.command_line(words) == "python train.py --config=a.py --config.seed=1"
