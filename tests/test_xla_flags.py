"""The flag that XLA needs for right sums, in processes of their own: JAX reads its flags once."""

import os
import platform
import subprocess
import sys
from importlib import metadata

import jax
import jaxlib.version
import pytest

from dcejax import xla_flags

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
    assert "import dcejax first" not in done.stderr
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


@pytest.fixture
def affected(monkeypatch):
    """A release that sums wrongly, whichever there is."""
    monkeypatch.setattr(metadata, "version", {"jaxlib": "0.10.2"}.get)


def test_what_comes_too_late_is_told(affected, monkeypatch):
    jax.devices()
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
    with pytest.warns(UserWarning, match=r"import dcejax first, or set XLA_FLAGS=--\w+=-reduce"):
        xla_flags.add()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_max_isa=AVX2 --xla_cpu_experimental_ynn_fusion_type=-reduce"


def test_a_file_of_flags_is_left_alone(affected, tmp_path, monkeypatch):
    file = tmp_path / "flags.txt"
    monkeypatch.setenv("XLA_FLAGS", str(file))
    with pytest.warns(UserWarning, match="names the file") as warned:
        xla_flags.add()
    assert (len(warned), os.environ["XLA_FLAGS"]) == (1, str(file))


@pytest.mark.parametrize("version", ["0.10.1", "0.12.0.1", "1.0.0"])
def test_releases_that_need_no_flag_get_none_for_they_may_not_know_it(version, monkeypatch):
    monkeypatch.setattr(metadata, "version", {"jaxlib": version}.get)
    monkeypatch.setenv("XLA_FLAGS", "")
    xla_flags.add()
    assert os.environ["XLA_FLAGS"] == ""
