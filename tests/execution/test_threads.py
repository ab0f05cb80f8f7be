"""Streams keep the order and drop what is not begun; several devices give the maps that one gives."""

import os
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np
import pytest
import scans

from dcejax.execution import dispatch, windowed
from dcejax.types import PARAMETERS

POLICY = dispatch.policy()._replace(voxels=8, slices=1, streams=3)


@pytest.fixture(params=[1, 3])
def streams(monkeypatch, request):
    monkeypatch.setattr(dispatch, "policy", lambda: POLICY._replace(streams=request.param))
    return request.param


def test_results_come_in_order(streams):
    found = list(dispatch.in_streams(lambda i: jnp.full(3, i), range(20)))
    np.testing.assert_array_equal(found, np.arange(20)[:, None] * np.ones(3))


def test_nothing_to_do(streams):
    assert list(dispatch.in_streams(jnp.ones, [])) == []


def test_as_many_calls_at_once_as_streams(monkeypatch):
    """Each call but the first waits for all others of its group; with fewer threads none would ever meet."""
    monkeypatch.setattr(dispatch, "policy", lambda: POLICY)
    together = threading.Barrier(3, timeout=30)

    def meet(i):
        if i:
            together.wait()
        return jnp.zeros(())

    assert len(list(dispatch.in_streams(meet, range(7)))) == 7


def test_an_error_is_raised_and_drops_the_rest(streams):
    begun = []

    def fail(i):
        begun.append(i)
        if i == 2:
            raise ValueError("the third")
        time.sleep(0.01 * (i > 2))  # or the threads would be through before the error is met
        return jnp.zeros(())

    with pytest.raises(ValueError, match="the third"):
        list(dispatch.in_streams(fail, range(2000)))
    assert len(begun) < 2000


def test_what_is_compiled_need_not_begin_alone(monkeypatch):
    monkeypatch.setattr(dispatch, "policy", lambda: POLICY)
    together = threading.Barrier(3, timeout=30)
    meet = lambda i: together.wait() * jnp.zeros(())  # noqa: E731
    assert len(list(dispatch.in_streams(meet, range(6), compiled=True))) == 6


def test_streams_serve_on_after_items_that_fail_and_a_caller_that_leaves(streams):
    def items():
        yield from range(5)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(dispatch.in_streams(jnp.ones, items()))
    results = dispatch.in_streams(jnp.ones, range(1, 50))
    assert next(results).size == 1
    results.close()
    assert [r.size for r in dispatch.in_streams(jnp.ones, range(1, 9))] == list(range(1, 9))


def test_pieces_are_equal():
    pieces = dispatch.cut({"a": jnp.arange(6), "b": jnp.arange(12).reshape(6, 2)}, 2)
    np.testing.assert_array_equal([piece["a"] for piece in pieces], [[0, 1], [2, 3], [4, 5]])
    with pytest.raises(ValueError, match="multiple of 4, found 6"):
        dispatch.cut(jnp.arange(6), 4)


def test_one_stream_keeps_at_most_two_results(monkeypatch):
    monkeypatch.setattr(dispatch, "policy", lambda: POLICY._replace(streams=1))
    begun = []
    for i, _ in enumerate(dispatch.in_streams(lambda i: begun.append(i) or jnp.zeros(()), range(10))):
        assert len(begun) <= i + 2


@pytest.mark.parametrize(("devices", "shape"), [(2, (40, 44, 5)), (3, (80, 76, 4))])
def test_several_devices_give_the_maps_of_one(run_infer, tiny_weights, tmp_path, devices, shape):
    """Slices, samples and voxels that the number of devices does not divide, in the real command; one in a window."""
    scan = scans.save_scan(tmp_path / "p1.nii.gz", shape=shape)
    inside = np.zeros(shape, bool)
    inside[3 : 3 + 30, 8 : 8 + 27] = True
    mask = scans.save_mask(tmp_path / "mask.nii.gz", inside)
    assert (windowed.plan(inside.any(axis=2), scales=2) is not None) == (shape[0] > 40)
    assert run_infer(input=scan, mask=mask, output_dir=tmp_path / "one", num_samples=5)[0] == 0
    flags = [f"--input={scan}", f"--mask={mask}", f"--weights={tiny_weights}", "--num_samples=5"]
    flags.append(f"--output_dir={tmp_path / 'more'}")
    code = "import jax; from dcejax.cli import infer; assert len(jax.devices()) == DEVICES; infer.main()"
    more = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    command = [sys.executable, "-c", code.replace("DEVICES", str(devices)), *flags]
    done = subprocess.run(command, env=more, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for name in [f"p1_desc-{kind}_{of}.nii.gz" for kind in ("mean", "std") for of in PARAMETERS]:
        found, expected = (nib.load(tmp_path / folder / name).get_fdata() for folder in ("more", "one"))
        assert np.ptp(expected) > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch):
    assert dispatch.options_for_gradients() == {"xla_cpu_experimental_ynn_fusion_type": ""}
    real = jax.jit

    def older(function, *, compiler_options):
        return real(function, compiler_options={f"{name}_of_another_year": "" for name in compiler_options})

    monkeypatch.setattr(jax, "jit", older)
    assert dispatch.options_for_gradients.__wrapped__() == {}
