"""A missing file is refused before the networks and fits are imported, which takes seconds."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from dcejax.cli import {command}
sys.argv = ["dcejax-{command}", "--input={missing}", "--output_dir={out}"]
try:
    {command}.main()
except SystemExit as end:
    print(end.code, sorted(name for name in ("flax", "dcejax.runner.run_cases") if name in sys.modules))
"""


@pytest.mark.parametrize("command", ["infer", "fit"])
def test_is_refused_at_once(command, tmp_path):
    program = PROGRAM.format(command=command, missing=tmp_path / "no.nii.gz", out=tmp_path / "out")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "no.nii.gz: expected a file that can be read, found No such file or directory" in done.stderr
    assert not (tmp_path / "out").exists()
