"""T1 from variable flip angles: exact data, noise and bad voxels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.physics import units
from dcejax.physics.relaxometry import t1_linear, t1_nonlinear
from dcejax.physics.signal import spgr
from dcejax.types import Acquisition, T1Status

ANGLES = np.deg2rad([2.0, 5.0, 10.0, 15.0])
TR = 5.4e-3 / 60  # min
T1 = np.array([0.2, 0.8, 1.6, 4.0]) / 60  # min
METHODS = [t1_linear, t1_nonlinear]


def _signal(t1, b1=1.0, angles=ANGLES, s0=900.0):
    """Compute the Ernst equation in float64, flip angles on the last axis."""
    e = np.exp(-TR / np.asarray(t1))[..., None]
    a = np.asarray(b1)[..., None] * angles
    return s0 * np.sin(a) * (1 - e) / (1 - np.cos(a) * e)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-9), (False, 3e-4)])
@pytest.mark.parametrize("b1", [1.0, np.array([0.8, 0.9, 1.1, 1.2])])
def test_exact_data_give_their_parameters(method, x64, tolerance, b1):
    with jax.enable_x64(x64):
        fit = method(_signal(T1, b1), ANGLES, TR, b1=b1)
    np.testing.assert_array_equal(fit.status, T1Status.OK)
    np.testing.assert_allclose(fit.t1, T1, rtol=tolerance)
    np.testing.assert_allclose(fit.s0, 900.0, rtol=tolerance)


def test_the_signal_is_the_one_the_forward_model_gives():
    with jax.enable_x64(True):
        signal = [spgr(0.0, T1, units.acquisition(5.4, d, 4.5), s0=900.0) for d in np.rad2deg(ANGLES)]
        np.testing.assert_allclose(np.stack(signal, -1), _signal(T1), rtol=1e-12)


def test_a_wrong_b1_biases_t1_by_its_square():
    fit = t1_nonlinear(_signal(T1, 1.1), ANGLES, TR)
    np.testing.assert_allclose(fit.t1, T1 * 1.1**2, rtol=0.03)


def test_the_nonlinear_fit_is_at_the_minimum():
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        signal = _signal(np.full(500, T1[2])) + rng.normal(0.0, 0.5, (500, ANGLES.size))
        fit = t1_nonlinear(signal, ANGLES, TR)
        assert (fit.status == T1Status.OK).all()

        def cost(t1):
            shape = _signal(t1, s0=1.0)
            s0 = (shape * signal).sum(-1) / (shape**2).sum(-1)
            return ((s0[:, None] * shape - signal) ** 2).sum(-1)

        best = cost(np.asarray(fit.t1))
        grid = np.min([cost(np.full(500, t)) for t in np.geomspace(0.3, 10.0, 4000) / 60], axis=0)
    assert (best <= grid * (1 + 1e-9)).all()


def test_noise_biases_the_linear_fit_more():
    rng = np.random.default_rng(2)
    signal = _signal(np.full(20000, T1[2])) + rng.normal(0.0, 1.2, (20000, ANGLES.size))
    linear, nonlinear = (np.median(m(signal, ANGLES, TR).t1) / T1[2] - 1 for m in METHODS)
    assert abs(nonlinear) < 0.01
    assert abs(linear) > 3 * abs(nonlinear)


@pytest.mark.parametrize("method", METHODS)
def test_bad_voxels_are_named_and_leave_the_others_alone(method):
    signal = np.tile(_signal(T1[2]), (7, 1))
    signal[1, 0] = np.nan
    signal[2, 1] = 0.0
    signal[3] = -signal[3]
    signal[4] = [10.0, 30.0, 80.0, 200.0]  # rises faster than sin α: no T1 does that
    b1 = np.ones(7)
    b1[5], b1[6] = 0.0, np.nan
    fit = method(signal, ANGLES, TR, b1=b1)
    bad, out = T1Status.BAD_INPUT, T1Status.OUT_OF_RANGE
    np.testing.assert_array_equal(fit.status, [T1Status.OK, bad, bad, bad, out, bad, bad])
    np.testing.assert_allclose(fit.t1[0], T1[2], rtol=3e-4)
    np.testing.assert_array_equal(fit.t1[1:], 0.0)
    np.testing.assert_array_equal(fit.s0[1:], 0.0)


@pytest.mark.parametrize("method", METHODS)
def test_one_angle_twice_has_no_t1(method):
    assert int(method(np.array([1.0, 1.0]), np.array([0.1, 0.1]), TR).status) == T1Status.BAD_INPUT


@pytest.mark.parametrize("method", METHODS)
def test_jit_and_shape_of_the_batch_change_nothing(method):
    signal = _signal(T1)
    plain = method(signal, ANGLES, TR)
    compiled = jax.jit(method)(signal.reshape(2, 2, -1), ANGLES, TR)
    mapped = jax.vmap(lambda s: method(s, ANGLES, TR))(jnp.asarray(signal))
    np.testing.assert_allclose(compiled.t1.ravel(), plain.t1, rtol=1e-4)
    np.testing.assert_allclose(mapped.t1, plain.t1, rtol=1e-4)


@pytest.mark.parametrize(("signal", "angles"), [(np.ones(3), ANGLES), (np.ones(1), ANGLES[:1])])
def test_wrong_shapes_are_named(signal, angles):
    with pytest.raises(ValueError, match=r"two or more flip angles \[A\]"):
        t1_linear(signal, angles, TR)


@pytest.mark.parametrize("unit", [1e-25, 1.0, 1e20])
def test_the_unit_of_the_signal_does_not_matter(unit):
    angles, tr = np.deg2rad([2.0, 5.0, 10.0, 15.0]), 5.0 / 60_000
    clean = spgr(0.0, 1.2 / 60, Acquisition(tr, angles, 270.0), s0=1000.0)
    found = t1_nonlinear(np.asarray(clean) * np.float32(unit), angles, tr)
    np.testing.assert_allclose(found.t1 * 60, 1.2, rtol=1e-3)
    np.testing.assert_allclose(found.s0, 1000.0 * unit, rtol=1e-3)
