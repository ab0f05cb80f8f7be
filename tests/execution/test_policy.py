"""Which functions a policy names, that they agree, and that the package does without its kernels."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import nibabel as nib
import numpy as np
import pytest
from parameters import draw

import dcejax
from dcejax.execution.curves import map_curves
from dcejax.execution.policy import default_policy
from dcejax.models.tcn import TCN, apply_tcn
from dcejax.models.unet import convolve_relu
from dcejax.types import PARAMETERS


@pytest.fixture
def fresh_policy():
    """The policy and what it is made of are found anew, in the test and after it."""
    availability = pytest.importorskip("dcejax.cpu_kernels.availability")
    for cached in (default_policy, availability.available):
        cached.cache_clear()
    yield availability
    for cached in (default_policy, availability.available):
        cached.cache_clear()


def _plain(policy):
    return policy.convolve is convolve_relu and policy.temporal is apply_tcn


def test_a_policy_may_be_a_static_argument():
    policy = default_policy()
    again = dataclasses.replace(policy)
    assert hash(policy) == hash(again)
    assert policy == again != dataclasses.replace(policy, voxels=1)


def test_kernels_are_chosen_on_one_cpu_with_the_compiler(fresh_policy):
    pytest.importorskip("llvmlite")
    policy = default_policy()
    alone = jax.default_backend() == "cpu" and jax.local_device_count() == 1
    assert (policy.convolve is not convolve_relu) is (policy.temporal is not apply_tcn) is alone


def test_samples_are_sequential_on_cpu_only(fresh_policy, monkeypatch):
    assert default_policy().sequential_samples is (jax.default_backend() == "cpu")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    default_policy.cache_clear()
    assert default_policy().sequential_samples is False
    assert _plain(default_policy())


@pytest.mark.parametrize(
    ("name", "found"),
    [("version", "0.45.1"), ("interface", (0, 99)), ("_has_fma", False)],
    ids=["an old llvmlite", "another interface of XLA", "no fused instruction"],
)
def test_without_what_kernels_need_the_functions_are_plain(fresh_policy, monkeypatch, name, found):
    monkeypatch.setattr(fresh_policy, name, lambda *_: found)
    assert _plain(default_policy())


def test_maps_are_the_same_with_kernels_and_without():
    """Each policy has programs of its own, in one process."""
    pytest.importorskip("llvmlite")
    curves = np.random.default_rng(201).normal(size=(201, 60)).astype(np.float32)
    params = draw(TCN(), curves)
    policy = dataclasses.replace(default_policy(), voxels=64, threads=3)
    plain = dataclasses.replace(policy, temporal=apply_tcn)
    direct = np.asarray(jax.jit(TCN().apply)({"params": params}, curves))
    found = [map_curves(TCN(), params, curves, p) for p in (policy, plain, policy)]
    np.testing.assert_array_equal(found[0], found[2])
    assert _plain(policy) or not np.array_equal(found[0], found[1])  # they round differently
    for maps in found:
        np.testing.assert_allclose(maps, direct, rtol=0, atol=1e-6 * np.abs(direct).max())


@pytest.mark.parametrize("devices", [1, 2])
def test_without_the_compiler_or_on_several_devices_the_functions_are_plain(devices):
    code = """
import sys, jax
sys.modules["llvmlite"] = None  # an import fails
from dcejax.execution.policy import default_policy
from dcejax.models import tcn, unet
if jax.local_device_count() > 1:
    del sys.modules["llvmlite"]
policy = default_policy()
assert (policy.convolve, policy.temporal) == (unet.convolve_relu, tcn.apply_tcn)
assert "llvmlite.binding" not in sys.modules
"""
    more = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    done = subprocess.run([sys.executable, "-c", code], env=more, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_package_works_without_the_folder_of_kernels(run_infer, scan, mask, tiny_weights, tmp_path):
    """The real command, from a copy of the package, gives the maps that kernels give here."""
    shutil.copytree(Path(dcejax.__file__).parent, tmp_path / "dcejax", ignore=shutil.ignore_patterns("cpu_kernels"))
    assert run_infer(input=scan, mask=mask, output_dir=tmp_path / "here", num_samples=3)[0] == 0
    flags = [f"--input={scan}", f"--mask={mask}", f"--weights={tiny_weights}", "--num_samples=3"]
    code = """
import sys
from importlib.util import find_spec
sys.meta_path[:] = [f for f in sys.meta_path if not getattr(f, "__module__", "").startswith("__editable__")]
assert find_spec("dcejax.execution").origin.startswith(sys.argv.pop(1))
assert find_spec("dcejax.cpu_kernels") is None  # which an editable installation would find elsewhere
from dcejax.cli import infer
infer.main()
"""
    command = [sys.executable, "-c", code, str(tmp_path), *flags, f"--output_dir={tmp_path / 'copy'}"]
    alone = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in [f"p1_desc-{kind}_{of}.nii.gz" for kind in ("mean", "std") for of in PARAMETERS]:
        found, expected = (nib.load(tmp_path / folder / name).get_fdata() for folder in ("copy", "here"))
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))
