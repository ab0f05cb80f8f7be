"""The spoiled gradient echo: closed form, limits, inverse and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.physics import units
from dcejax.physics.signal import invert_spgr, spgr, spgr_to_concentration
from dcejax.types import InversionStatus

PROTOCOL = units.acquisition(tr_ms=2.8, flip_angle_deg=10.0, relaxivity_per_mM_s=4.5)
CONCENTRATION = np.concatenate([[-0.05, 0.0, 1e-4], np.geomspace(1e-3, 10.0, 30)])  # mM
T10 = 1.2 / 60.0  # min


def _closed_form(concentration, t10_s, tr_s, flip_deg, r1_per_s):
    """Compute the Ernst equation as textbooks write it, in seconds and float64."""
    e = np.exp(-tr_s * (1.0 / t10_s + r1_per_s * concentration))
    angle = np.deg2rad(flip_deg)
    return np.sin(angle) * (1 - e) / (1 - np.cos(angle) * e)


@pytest.mark.parametrize(("x64", "rtol"), [(True, 1e-12), (False, 1e-6)])
@pytest.mark.parametrize("b1", [0.8, 1.0, 1.15])
def test_equals_the_ernst_equation(x64, rtol, b1):
    with jax.enable_x64(x64):
        signal = spgr(CONCENTRATION, T10, PROTOCOL, s0=700.0, b1=b1)
    expected = 700.0 * _closed_form(CONCENTRATION, 1.2, 2.8e-3, 10.0 * b1, 4.5)
    np.testing.assert_allclose(signal, expected, rtol=rtol)


def test_limits_of_the_flip_angle():
    with jax.enable_x64(True):
        small = spgr(0.5, T10, PROTOCOL._replace(flip_angle=1e-6))
        right = spgr(0.5, T10, PROTOCOL._replace(flip_angle=np.pi / 2))
    np.testing.assert_allclose(small, 1e-6, rtol=1e-6)  # so little excited that nothing saturates
    np.testing.assert_allclose(right, 1 - np.exp(-2.8e-3 * (1 / 1.2 + 4.5 * 0.5)), rtol=1e-12)


def test_rises_with_concentration_up_to_full_relaxation():
    signal = np.asarray(spgr(np.append(CONCENTRATION, 1e6), T10, PROTOCOL))
    assert (np.diff(signal) > 0).all()
    np.testing.assert_allclose(signal[-1], np.sin(PROTOCOL.flip_angle), rtol=1e-5)


@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-11), (False, 5e-5)])
@pytest.mark.parametrize("b1", [0.8, 1.0])
def test_inverse_returns_the_concentration_whatever_the_gain(x64, tolerance, b1):
    with jax.enable_x64(x64):
        signal = spgr(CONCENTRATION, T10, PROTOCOL, s0=321.0, b1=b1)
        baseline = spgr(0.0, T10, PROTOCOL, s0=321.0, b1=b1)
        result = spgr_to_concentration(signal, baseline, T10, PROTOCOL, b1=b1)
    np.testing.assert_allclose(result, CONCENTRATION, rtol=tolerance, atol=tolerance)


def test_signals_without_a_concentration_give_nan():
    full = float(np.sin(PROTOCOL.flip_angle))
    baseline = float(spgr(0.0, T10, PROTOCOL))
    signal = np.array([full * 1.0001, full * 2, baseline, baseline])
    found = spgr_to_concentration(signal, np.array([baseline, baseline, 0.0, -1.0]), T10, PROTOCOL)
    assert np.isnan(found).all()
    assert np.isfinite(spgr_to_concentration(full * 0.999, baseline, T10, PROTOCOL))


DECAYING = PROTOCOL._replace(te=1.7 / 60e3, r2_star_relaxivity=7.1 * 60.0)


def test_the_agent_shortens_t2_star():
    with jax.enable_x64(True):
        ratio = spgr(CONCENTRATION, T10, DECAYING, s0=3.0) / spgr(CONCENTRATION, T10, PROTOCOL, s0=3.0)
    np.testing.assert_allclose(ratio, np.exp(-1.7e-3 * 7.1 * CONCENTRATION), rtol=1e-12)


@pytest.mark.parametrize("absent", [{"te": 0.0}, {"r2_star_relaxivity": 0.0}])
def test_without_echo_time_or_relaxivity_nothing_changes(absent):
    still = DECAYING._replace(**absent)
    np.testing.assert_array_equal(spgr(CONCENTRATION, T10, still), spgr(CONCENTRATION, T10, PROTOCOL))
    signal, baseline = spgr(CONCENTRATION, T10, PROTOCOL), spgr(0.0, T10, PROTOCOL)
    expected = spgr_to_concentration(signal, baseline, T10, PROTOCOL)
    np.testing.assert_array_equal(spgr_to_concentration(signal, baseline, T10, still), expected)
    traced = jax.jit(spgr_to_concentration)(signal, baseline, T10, still)  # takes the way by iteration
    np.testing.assert_allclose(traced, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("x64", "tolerance"), [(True, 1e-10), (False, 1e-4)])
@pytest.mark.parametrize("b1", [0.8, 1.0])
def test_inverse_with_decay_returns_the_concentration(x64, tolerance, b1):
    with jax.enable_x64(x64):
        signal = spgr(CONCENTRATION, T10, DECAYING, s0=321.0, b1=b1)
        baseline = spgr(0.0, T10, DECAYING, s0=321.0, b1=b1)
        found = jax.jit(invert_spgr)(signal, baseline, T10, DECAYING, b1=b1)
    rising = np.append(np.diff(np.asarray(signal)) > 0, False)
    assert rising.sum() >= 30
    np.testing.assert_array_equal(found.status[rising], InversionStatus.OK)
    np.testing.assert_allclose(found.concentration[rising], CONCENTRATION[rising], rtol=tolerance, atol=tolerance)


def test_above_the_highest_signal_under_decay_there_is_no_concentration():
    dense = np.linspace(0.0, 40.0, 4001)
    with jax.enable_x64(True):
        strong = DECAYING._replace(te=5.0 / 60e3)
        signal, baseline = spgr(dense, T10, strong), spgr(0.0, T10, strong)
        found = invert_spgr(signal.max() * np.array([0.999, 1.001, 1.2]), baseline, T10, strong)
    np.testing.assert_array_equal(found.status, [InversionStatus.OK, *[InversionStatus.SATURATED] * 2])
    assert 0 < np.asarray(found.concentration)[0] < dense[np.argmax(signal)]
    assert np.isnan(found.concentration[1:]).all()


@pytest.mark.parametrize("protocol", [PROTOCOL, DECAYING])
def test_the_status_says_why(protocol):
    baseline = float(spgr(0.0, T10, protocol))
    cases = [  # signal, baseline, T10, B1
        (1.5 * baseline, baseline, T10, 1.0, InversionStatus.OK),
        (1e3 * baseline, baseline, T10, 1.0, InversionStatus.SATURATED),
        (-0.1 * baseline, baseline, T10, 1.0, InversionStatus.NO_SIGNAL),
        (0.0, baseline, T10, 1.0, InversionStatus.NO_SIGNAL),
        (baseline, 0.0, T10, 1.0, InversionStatus.NO_BASELINE),
        (baseline, -baseline, T10, 1.0, InversionStatus.NO_BASELINE),
        (baseline, baseline, 0.0, 1.0, InversionStatus.BAD_INPUT),
        (baseline, baseline, np.nan, 1.0, InversionStatus.BAD_INPUT),
        (baseline, baseline, T10, 0.0, InversionStatus.BAD_INPUT),
        (np.nan, baseline, T10, 1.0, InversionStatus.BAD_INPUT),
        (baseline, np.inf, T10, 1.0, InversionStatus.BAD_INPUT),
    ]
    *values, expected = (np.array(column) for column in zip(*cases, strict=True))
    signal, before, t10, b1 = (jnp.asarray(v, jnp.float32) for v in values)
    found = jax.jit(lambda *a: invert_spgr(*a[:3], protocol, b1=a[3]))(signal, before, t10, b1)
    np.testing.assert_array_equal(found.status, expected)
    finite = (expected == InversionStatus.OK) | (expected == InversionStatus.NO_SIGNAL)
    np.testing.assert_array_equal(np.isfinite(found.concentration), finite)
    by_signal = jax.grad(lambda s: jnp.nansum(invert_spgr(s, before, t10, protocol, b1=b1).concentration))(signal)
    assert np.isfinite(by_signal).all()


def test_gradients_with_decay_equal_central_differences():
    with jax.enable_x64(True):

        @jax.jit
        def inverse(theta):
            signal, baseline, t10, b1 = theta
            return spgr_to_concentration(signal, baseline, t10, DECAYING, b1=b1)

        baseline = float(spgr(0.0, T10, DECAYING, b1=0.9))
        theta = np.array([2.5 * baseline, baseline, T10, 0.9])
        expected = _differences(inverse, theta, np.diag([1e-7, 1e-7, 1e-7, 1e-6]))
        np.testing.assert_allclose(jax.grad(inverse)(theta), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("concentration", [0.0, 0.1, 5.0])
def test_gradients_equal_central_differences(concentration):
    with jax.enable_x64(True):

        @jax.jit
        def forward(theta):
            c, t10, s0, b1 = theta
            return spgr(c, t10, PROTOCOL, s0=s0, b1=b1)

        @jax.jit
        def inverse(theta):
            signal, baseline, t10, b1 = theta
            return spgr_to_concentration(signal, baseline, t10, PROTOCOL, b1=b1)

        theta = np.array([concentration, T10, 3.0, 0.9])
        steps = np.diag([1e-5, 1e-7, 1e-5, 1e-6])
        np.testing.assert_allclose(jax.grad(forward)(theta), _differences(forward, theta, steps), rtol=1e-6)
        signal = float(forward(theta))
        theta = np.array([signal, float(forward(np.array([0.0, T10, 3.0, 0.9]))), T10, 0.9])
        steps = np.diag([1e-7, 1e-7, 1e-7, 1e-6])
        np.testing.assert_allclose(jax.grad(inverse)(theta), _differences(inverse, theta, steps), rtol=1e-5, atol=1e-6)


def _differences(function, theta, steps):
    return [(function(theta + step) - function(theta - step)) / (2 * step.max()) for step in steps]


def test_a_saturated_voxel_leaves_the_gradient_of_the_others_alone():
    baseline = spgr(0.0, T10, PROTOCOL)
    signal = jnp.array([1.2, 2.0, 100.0]) * baseline
    gradient = jax.grad(lambda s: jnp.nansum(spgr_to_concentration(s, baseline, T10, PROTOCOL)))(signal)
    assert np.isfinite(gradient).all()
    assert (gradient[:2] > 0).all()


def test_jit_and_vmap_change_nothing():
    plain = spgr(CONCENTRATION, T10, PROTOCOL)
    np.testing.assert_allclose(jax.jit(spgr)(CONCENTRATION, T10, PROTOCOL), plain, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(spgr, (0, None, None))(CONCENTRATION, T10, PROTOCOL), plain, rtol=1e-6)


def test_small_signals_below_the_baseline_are_inverted_with_decay_too():
    decaying = PROTOCOL._replace(te=1.7 / 60_000, r2_star_relaxivity=7.1 * 60)
    baseline = spgr(0.0, 1.5 / 60, decaying)
    shares = np.array([0.01, 0.05, 0.3, 0.9, 1.5])
    found = invert_spgr(shares * baseline, baseline, 1.5 / 60, decaying)
    assert (np.asarray(found.status) == InversionStatus.OK).all()
    np.testing.assert_allclose(spgr(found.concentration, 1.5 / 60, decaying), shares * baseline, rtol=1e-3)


@pytest.mark.parametrize("t10", [np.inf, np.nan, 0.0, -1.0])
def test_a_native_t1_that_is_none_has_no_concentration(t10):
    found = invert_spgr(2.0, 1.0, t10, PROTOCOL)
    assert found.status == InversionStatus.BAD_INPUT
    assert np.isnan(found.concentration)
