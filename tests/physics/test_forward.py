"""Physics consistency: maps -> forward model -> curves against the input, differentiable end to end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dcejax.methods.build import make_tcn
from jax.flatten_util import ravel_pytree

from dcejax.data import weights
from dcejax.execution.curves import map_curves
from dcejax.execution.policy import default_policy
from dcejax.models.tcn import TCN
from dcejax.physics.aif import parker
from dcejax.physics.forward import signal_curves, signal_residual
from dcejax.physics.signal import spgr_to_concentration
from dcejax.physics.units import acquisition

TIMES = np.arange(60) * 5.0 / 60.0
ACQUISITION = acquisition(tr_ms=2.8, flip_angle_deg=10.0, relaxivity_per_mM_s=4.5)
T10 = 1.5 / 60.0
MAPS = np.array([[0.07, 0.05, 0.25], [0.25, 0.10, 0.40], [0.03, 0.03, 0.20], [0.0, 0.02, 0.15]])


def aif():
    return parker(TIMES, arrival=0.5)


def test_residual_of_the_truth_is_the_noise():
    key = jax.random.key(0)
    maps = jnp.asarray(np.repeat(MAPS, 500, axis=0), jnp.float32)
    clean = signal_curves(maps, TIMES, aif(), T10, ACQUISITION, s0=100.0)
    sigma = 0.3
    noise = jax.random.normal(key, clean.shape)
    residual = signal_residual(maps, clean + sigma * noise, sigma, TIMES, aif(), T10, ACQUISITION, s0=100.0)
    np.testing.assert_allclose(residual, noise, atol=1e-3)


def test_signal_inverts_to_the_concentration_of_the_maps():
    with jax.enable_x64(True):
        signal = signal_curves(jnp.asarray(MAPS), TIMES, aif(), T10, ACQUISITION)
        concentration = spgr_to_concentration(signal, signal[:, :1], T10, ACQUISITION)
        # With Ktrans = 0 only plasma is left.
        np.testing.assert_allclose(concentration[3], 0.02 * aif(), rtol=1e-9, atol=1e-12)
        # Ktrans is the rate at which a tissue without plasma begins to fill: C'(t) = Ktrans Cp(t) at first.
        only_leak = jnp.array([[0.05, 0.0, 0.3]])
        signal = signal_curves(only_leak, TIMES, jnp.ones(60), T10, ACQUISITION)
        first = spgr_to_concentration(signal, signal[:, :1], T10, ACQUISITION)[0, 1]
        np.testing.assert_allclose(first, 0.3 * (1 - np.exp(-0.05 / 0.3 * TIMES[1])), rtol=1e-9)


def test_unphysical_maps_give_finite_signal_and_gradient():
    maps = jnp.array([[-0.1, -0.2, -0.3], [0.0, 0.0, 0.0], [5.0, 1.0, 0.0]])
    loss = lambda m: jnp.sum(signal_curves(m, TIMES, aif(), T10, ACQUISITION) ** 2)  # noqa: E731
    assert np.isfinite(loss(maps))
    assert np.isfinite(jax.grad(loss)(maps)).all()


def test_gradient_of_the_residual_reaches_the_network():
    """Network -> maps -> forward model -> residual, against central differences along random directions."""
    with jax.enable_x64(True):
        tcn = TCN(channels=(6, 1), dilations=(1, 4))
        truth = jnp.asarray(MAPS)
        signal = signal_curves(truth, TIMES, aif(), T10, ACQUISITION)
        curves = (signal / signal.max()).astype(jnp.float64)
        params = tcn.init(jax.random.key(1), curves.astype(jnp.float32))["params"]
        params = jax.tree.map(lambda p: p.astype(jnp.float64), params)
        # Keep the maps inside the physical range, where the forward model is smooth.
        params["head"]["bias"] = jnp.array([0.1, 0.1, 0.3], jnp.float64)
        params["head"]["kernel"] = 0.02 * params["head"]["kernel"]

        def loss(params):
            maps = tcn.apply({"params": params}, curves)
            return jnp.mean(signal_residual(maps, signal, 0.001, TIMES, aif(), T10, ACQUISITION) ** 2)

        assert (tcn.apply({"params": params}, curves) > 0).all()
        gradient = jax.grad(loss)(params)
        flat, unravel = ravel_pytree(params)
        flat_gradient, _ = ravel_pytree(gradient)
        for key in jax.random.split(jax.random.key(2), 5):
            direction = jax.random.normal(key, flat.shape) * (1e-3 + jnp.abs(flat))
            step = 1e-6
            difference = (loss(unravel(flat + step * direction)) - loss(unravel(flat - step * direction))) / (2 * step)
            np.testing.assert_allclose(flat_gradient @ direction, difference, rtol=1e-6)


@pytest.mark.parametrize("snr", [30.0])
def test_released_maps_explain_the_curves_they_were_made_from(snr):
    """The maps of the released temporal stage leave a smaller residual than no kinetics and than typical kinetics."""
    released = weights.load(None)
    config = weights.config_of(released)
    maps = jnp.asarray(np.repeat(MAPS[:3], 200, axis=0), jnp.float32)
    t10 = config.protocol.t10_s / 60.0
    input_curve = parker(TIMES, arrival=0.5)
    clean = signal_curves(maps, TIMES, input_curve, t10, ACQUISITION, s0=0.7)
    sigma = 0.1 / snr
    signal = clean + sigma * jax.random.normal(jax.random.key(3), clean.shape)
    # The scale of a whole head: blood at the peak of the same input.
    blood = signal_curves(jnp.array([[0.0, 0.58, 0.1]]), TIMES, input_curve, 1.65 / 60.0, ACQUISITION)
    predicted = map_curves(make_tcn(config), released.tcn, np.asarray(signal / blood.max()), default_policy())

    def misfit(maps):
        residual = signal_residual(maps, signal, sigma, TIMES, input_curve, t10, ACQUISITION, s0=0.7)
        return float(jnp.sqrt(jnp.mean(residual**2)))

    typical = jnp.broadcast_to(jnp.median(maps, axis=0), maps.shape)
    assert misfit(predicted) < 0.5 * misfit(jnp.zeros_like(maps))
    assert misfit(predicted) < misfit(typical)
