"""Missing files and bad flags are refused before what takes seconds to import: JAX, the networks and the fits."""

import subprocess
import sys

import pytest
import scans

PROGRAM = """
import sys
from dcejax.cli import {command}
sys.argv = ["dcejax-{command}", "--output_dir={out}", *{flags}]
try:
    {command}.main()
except SystemExit as end:
    print(end.code, sorted(name for name in ("flax", "jax", "matplotlib", "scipy.stats") if name in sys.modules))
"""


def refusal(command, tmp_path, *flags):
    """What the command says in a process of its own, and what it has imported until then."""
    out = tmp_path / "out"
    program = PROGRAM.format(command=command, out=out, flags=[*map(str, flags)])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    code, imported = done.stdout.strip().split(" ", 1)
    assert code == "2"
    assert not out.exists()
    return done.stderr, imported


@pytest.mark.parametrize("command", ["infer", "fit"])
def test_a_missing_file(command, tmp_path):
    told, imported = refusal(command, tmp_path, f"--input={tmp_path / 'no.nii.gz'}")
    assert "no.nii.gz: expected a file that can be read, found No such file or directory" in told
    assert imported == "[]"


@pytest.mark.parametrize(
    ("command", "flag", "message"),
    [
        ("infer", "--weights=nosuch.npz", "nosuch.npz: expected weights as an .npz and a .json"),
        ("infer", "--num_samples=0", "--num_samples: expected 1 latent sample or more, found 0"),
        ("infer", "--dt_s=-5", "--dt_s: expected a positive dt_s, found -5"),
        ("fit", "--relaxivity=270", "--relaxivity: expected a relaxivity of 1 to 20"),
        ("fit", "--tr_ms=0.005", "--tr_ms: expected tr_ms of 0.5 to 500 ms, found 0.005"),
        ("fit", "--t1_s=1500", "--t1_s: expected T1 in s, 0.1 to 20, found 1500"),
    ],
)
def test_a_bad_value(command, flag, message, tmp_path):
    told, imported = refusal(command, tmp_path, f"--input={scans.save_scan(tmp_path / 'a.nii.gz')}", flag)
    assert message in told
    assert imported == "[]"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model=tofte"], "--model: expected one of"),
        (["--te_ms=0.0015", "--r2_star_relaxivity=20"], "--te_ms: expected 0.2 to 50 ms, found 0.0015"),
    ],
)
def test_models_are_records_of_jax_alone(flags, message, tmp_path):
    told, imported = refusal("fit", tmp_path, f"--input={scans.save_scan(tmp_path / 'a.nii.gz')}", *flags)
    assert message in told
    assert imported == "['jax']"
