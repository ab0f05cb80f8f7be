"""Curves and derivatives of models that are sums of columns, beside the models' own statements and differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from dcejax.physics.aif import parker
from dcejax.physics.column_curves import Projection, best_amplitudes, curves_of, input_of
from dcejax.physics.start_search import DELAY_BOUNDS
from dcejax.physics.tracer_models import MODELS

UNEVEN = np.concatenate([np.arange(0.0, 2.0, 0.05), np.arange(2.0, 7.0, 0.2)])
AIF = np.asarray(parker(UNEVEN, arrival=0.5), np.float64)
PARAMS = {
    "patlak": [(0.02, 0.04), (0.5, 0.001)],
    "extended_tofts": [(0.07, 0.05, 0.25), (1.5, 1e-4, 0.9)],
    "two_compartment_uptake": [(0.3, 0.02, 0.05), (2.0, 1.0, 1e-3)],
    "two_compartment_exchange": [(0.3, 0.05, 0.05, 0.2), (2.0, 3.0, 0.02, 0.4), (0.05, 1e-3, 0.6, 0.01)],
}


def central_differences(function, params, step=1e-6):
    """Derivatives of curves [T, V] by each of P arrays [V]."""
    for p, value in enumerate(params):
        by = step * np.maximum(np.abs(value), 1e-2)
        up, down = (function((*params[:p], value + sign * by, *params[p + 1 :])) for sign in (1, -1))
        yield (np.asarray(up) - np.asarray(down)) / (2 * by)


@pytest.mark.parametrize("delayed", [False, True])
@pytest.mark.parametrize("model", PARAMS)
def test_curves_and_their_derivatives(model, delayed):
    model = MODELS[model]
    with jax.enable_x64(True):
        params = tuple(np.array(values, np.float64) for values in zip(*PARAMS[model.name], strict=True))
        source = input_of(UNEVEN, AIF, DELAY_BOUNDS if delayed else None)
        whole = (*params, np.linspace(-0.11, 0.07, len(params[0]))) if delayed else params
        look = jax.jit(lambda values: curves_of(model, source, values))
        curves, derivatives = look(whole)
        if not delayed:  # with a delay the input is a spline, which the statement of a model does not know
            own = jax.vmap(lambda *values: model.curve(model.params(*values), UNEVEN, AIF), out_axes=1)(*params)
            np.testing.assert_allclose(curves, own, rtol=1e-5)  # steps are rounded to 1e-5 of their mean
        assert len(derivatives) == len(whole)
        expected = list(central_differences(lambda values: look(values)[0], whole))
        for p, (found, difference) in enumerate(zip(derivatives, expected, strict=True)):
            by_delay = p == len(params)  # which moves the frames along the spline, and with them its pieces
            tolerance = 1e-2 if by_delay else 1e-5
            np.testing.assert_allclose(found, difference, rtol=1e-4, atol=tolerance * np.abs(difference).max())


def test_amplitudes_are_those_of_non_negative_least_squares():
    rng = np.random.default_rng(0)
    a, b, data = rng.normal(size=(3, 30, 200))
    products = [(x * y).sum(0) for x, y in ((a, a), (a, b), (b, b), (a, data), (b, data))]
    found = np.stack(best_amplitudes(*map(jnp.asarray, products)))
    expected = [nnls(np.stack([a[:, v], b[:, v]], 1), data[:, v])[0] for v in range(200)]
    np.testing.assert_allclose(found.T, expected, atol=1e-4)
    assert {tuple(row) for row in (found > 0).T} == {(True, True), (True, False), (False, True), (False, False)}


@pytest.mark.parametrize("delayed", [False, True])
def test_the_projection_finds_the_parameters_behind_a_curve_and_the_slope_of_its_residual(delayed):
    model = MODELS["two_compartment_exchange"]
    with jax.enable_x64(True):
        params = tuple(np.array([value]) for value in (0.3, 0.05, 0.05, 0.2))
        source = input_of(UNEVEN, AIF, DELAY_BOUNDS if delayed else None)
        whole = (*params, np.array([0.03])) if delayed else params
        data = curves_of(model, source, whole)[0]
        projection = Projection(model, source, data, jnp.ones((UNEVEN.size, 1)))
        rates = tuple(np.log(rate) for rate in model.amplitudes(*params)[2:])
        at = (*rates, *whole[4:])
        np.testing.assert_allclose(jnp.stack(projection.parameters(at)), np.stack(whole), rtol=1e-6)
        np.testing.assert_allclose(projection.curves(at)[0], data, atol=1e-9)
        away = tuple(value + 0.05 for value in at)
        curve, derivatives = projection.curves(away)
        cost = jax.jit(lambda values: ((data - projection.curves(values)[0]) ** 2).sum(0, keepdims=True))
        for p, (found, expected) in enumerate(zip(derivatives, central_differences(cost, away), strict=True)):
            tolerance = 1e-2 if p == len(rates) else 1e-4
            np.testing.assert_allclose(-2 * ((data - curve) * found).sum(), expected[0], rtol=tolerance)
