"""Products of matrices on which estimates rest ask for full precision: GPUs and TPUs would round their factors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from dcejax.physics import bounds, delay_search, forward, grid_posterior, linear, start_search, variable_projection
from dcejax.physics.exact_products import exact_products
from dcejax.physics.spline_input import make_input, plasma_at
from dcejax.physics.tracer_models import EXTENDED_TOFTS, TWO_COMPARTMENT_EXCHANGE
from dcejax.types import Acquisition

FRAMES, VOXELS = 20, 3
TIMES = np.arange(FRAMES) * 0.1
PLASMA = np.where(TIMES > 0.3, 5 * np.exp(-TIMES), 0.0).astype(np.float32)
CURVES = np.ones((VOXELS, FRAMES), np.float32)
EXACT = (jax.lax.Precision.HIGHEST,) * 2
BOUNDS = variable_projection.Bounds(ktrans=(0.0, 5.0), vp=(0.0, 1.0), ve=(0.01, 1.0))


def products_of(jaxpr):
    """Precisions of all products in a program and in those it calls."""
    found = []
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found.append(equation.params["precision"])
        for value in jax.tree.leaves(equation.params, is_leaf=lambda v: isinstance(v, ClosedJaxpr | Jaxpr)):
            if isinstance(value, ClosedJaxpr):
                found += products_of(value.jaxpr)
            elif isinstance(value, Jaxpr):
                found += products_of(value)
    return found


def projection(curves):
    table = variable_projection.make_table(jnp.asarray(TIMES), jnp.asarray(PLASMA))
    return variable_projection.solve(curves, jnp.ones((1, FRAMES)), table, BOUNDS)


def columns(curves):
    model = TWO_COMPARTMENT_EXCHANGE
    found = start_search.make_columns(TIMES, PLASMA, fit_delay=False)
    return start_search.best_columns(model, found, curves.T, jnp.ones((FRAMES, 1)))


def information(curves):
    def predict(values):
        return EXTENDED_TOFTS.curve(EXTENDED_TOFTS.params(*values), TIMES, PLASMA)

    return bounds.fisher_information(predict, curves[:, 0], 0.1)


def signal(curves):
    acquisition = Acquisition(tr=0.005 / 60, flip_angle=0.2, relaxivity=4.5 * 60)
    fine = {"aif_times": TIMES, "acquired_times": TIMES[::2]}
    return forward.signal_curves(curves[:, :3] * 0.1, TIMES, PLASMA, 0.03, acquisition, **fine)


def moments(curves):
    table = grid_posterior.tabulate(jnp.asarray(PLASMA), TIMES)
    return grid_posterior.posterior_moments(curves, jnp.ones(VOXELS), table, jnp.ones(FRAMES))


def shifted(curves):
    return plasma_at(make_input(TIMES, PLASMA, (-0.1, 0.1)), curves[:, 0] * 0.01)


def by_columns(curves):
    return linear.least_squares(jnp.stack([curves, curves**2], axis=-1), curves, jnp.ones((1, FRAMES)))


def delayed(curves):
    table = delay_search.make_delay_table(TIMES, PLASMA, (-0.1, 0.1))
    problem = delay_search.Problem(
        curves.T, jnp.ones((FRAMES, 1)), table.source, BOUNDS, True, (-5.0, 5.0), (jnp.array(-0.1), jnp.array(0.1))
    )
    return delay_search.best_nodes(problem, table, delay_search.groups_of_rates(1e-3, 100.0)[0])


@pytest.mark.parametrize("part", [projection, delayed, columns, information, signal, moments, shifted, by_columns])
def test_all_products_are_exact(part):
    found = products_of(jax.make_jaxpr(part)(CURVES).jaxpr)
    assert found, "no products of matrices are left; drop this case"
    assert set(found) == {EXACT}


def test_products_of_derivatives_are_exact_too():
    def cost(factor):
        return exact_products(jnp.matmul)(factor, jnp.ones((FRAMES, 2))).sum()

    (there,), back = products_of(jax.make_jaxpr(cost)(CURVES).jaxpr), jax.make_jaxpr(jax.grad(cost))(CURVES)
    assert there == EXACT
    assert set(products_of(back.jaxpr)) == {EXACT}


def test_elsewhere_precision_is_as_it_was():
    exact_products(jnp.matmul)(CURVES, CURVES.T)
    assert products_of(jax.make_jaxpr(lambda a: a @ a.T)(CURVES).jaxpr) == [None]
