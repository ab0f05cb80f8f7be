"""The flag that XLA needs for right sums, in processes of their own: JAX reads its flags once."""

import os
import subprocess
import sys

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


@pytest.mark.skipif(jaxlib.version.__version__ != "0.10.2", reason="this jaxlib may sum rightly")
def test_without_the_flag_the_self_check_notices():
    mine = "--xla_cpu_experimental_ynn_fusion_type=reduce"
    found, failures = run(mine)
    assert (found, failures > 0) == (mine, True)
