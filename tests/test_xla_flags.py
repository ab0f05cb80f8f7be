"""The flag that XLA needs for right sums, in processes of their own: JAX reads its flags once."""

import os
import platform
import subprocess
import sys

import jax
import jaxlib.version
import pytest

SUMS = """
import os, sys
import dcejax
from dcejax.selfcheck import check, compiler_checks
print(os.environ.get("XLA_FLAGS", ""))
print(len(check.run(compiler_checks.CHECKS[0]).failures))
"""


def run(flags):
    environment = os.environ | {"XLA_FLAGS": flags}
    done = subprocess.run([sys.executable, "-c", SUMS], capture_output=True, text=True, env=environment, check=True)
    found, failures = done.stdout.splitlines()
    return found, int(failures)


def test_sums_are_right_and_what_a_user_sets_stays():
    found, failures = run("--xla_cpu_max_isa=AVX2")
    assert failures == 0
    assert found.split()[0] == "--xla_cpu_max_isa=AVX2"


@pytest.mark.skipif(
    (jaxlib.version.__version__, jax.default_backend(), platform.machine()) != ("0.10.2", "cpu", "x86_64"),
    reason="sums may be right here",
)
def test_without_the_flag_the_self_check_notices():
    mine = "--xla_cpu_experimental_ynn_fusion_type=reduce"
    found, failures = run(mine)
    assert (found, failures > 0) == (mine, True)


def warned(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment, check=True
    )
    return done.stdout + done.stderr


def test_what_comes_too_late_is_told_and_a_file_of_flags_is_left_alone(tmp_path):
    late = "import jax; jax.devices(); import dcejax"
    early = "import jax, dcejax; jax.devices()"
    assert "import dcejax first" in warned(late, XLA_FLAGS="")
    file = tmp_path / "flags.txt"
    file.write_text("--xla_cpu_max_isa=AVX2")
    found = warned(f"{early}; import os; print(os.environ['XLA_FLAGS'] == {str(file)!r})", XLA_FLAGS=str(file))
    assert "names the file" in found
    assert "import dcejax first" not in found
    assert "True" in found
