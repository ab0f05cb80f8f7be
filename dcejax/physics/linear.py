"""Linear least squares for Tofts-type models: no start values, no bounds, biased where noise dominates.

Integrating the model's differential equation gives C(t) = (Ktrans + kep vp) ∫Cp - kep ∫C + vp Cp(t), linear in three
combinations of the parameters (Murase, Magn Reson Med 2004;51:858). The noise of C also enters the regressor ∫C, hence
the bias; nonlinear fits have none of it.
"""

import jax
import jax.numpy as jnp

from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.exact_products import exact_products
from dcejax.physics.tracer_models import TracerModel


@exact_products
def least_squares(columns: jax.Array, data: jax.Array, weights: jax.Array) -> jax.Array:
    """Solve small weighted least-squares problems by orthogonalisation; normal equations would lose twice the digits.

    Columns are [V, T, P], data [V, T], weights [V, T] or [1, T], 0 or more. In the result [V, P] a column that depends
    on those before it gets 0.
    """
    root = jnp.sqrt(weights)[..., None]
    rest = jnp.concatenate([columns * root, (data[..., None] * root)], axis=-1)
    count = columns.shape[-1]
    triangle = []
    for i in range(count):
        norm = jnp.sqrt((rest[..., i] ** 2).sum(-1))
        original = jnp.sqrt((columns[..., i] ** 2 * root[..., 0] ** 2).sum(-1))
        independent = norm > 1e-6 * original
        unit = jnp.where(independent[:, None], rest[..., i] / jnp.where(independent, norm, 1.0)[:, None], 0.0)
        share = jnp.einsum("vt,vtp->vp", unit, rest)
        rest = rest - unit[..., None] * share[:, None, :]
        triangle.append((share, independent))
    solution = [jnp.zeros(())] * count
    for i in reversed(range(count)):
        share, independent = triangle[i]
        known = sum((share[:, j] * solution[j] for j in range(i + 1, count)), start=jnp.zeros_like(share[:, 0]))
        diagonal = jnp.where(independent, share[:, i], 1.0)
        solution[i] = jnp.where(independent, (share[:, count] - known) / diagonal, 0.0)
    return jnp.stack(solution, axis=-1)


def linear_fit(
    model: TracerModel, curves: jax.Array, weights: jax.Array, times: jax.Array, plasma: jax.Array
) -> jax.Array:
    """Estimates [V, P] of a linear model's parameters, not bounded.

    Curves are [V, T] and plasma is [T] in mM, weights are [V, T] or [1, T]; integrals start at the first of times [T].
    """
    total = exponential_convolution(0.0, times, plasma)
    total, plasma = jnp.broadcast_to(total, curves.shape), jnp.broadcast_to(plasma, curves.shape)
    if model.rate is None:
        fixed = {"integral": total, "plasma": plasma}
        solution = least_squares(jnp.stack([fixed[column] for column in model.basis], -1), curves, weights)
        values = dict(zip(model.basis, jnp.moveaxis(solution, -1, 0), strict=True))
        return jnp.stack([values[column] for column in model.linear], -1)
    tissue = jax.vmap(exponential_convolution, (None, None, 0))(0.0, times, curves)
    columns = [total, -tissue] + ([plasma] if "plasma" in model.linear else [])
    solution = least_squares(jnp.stack(columns, -1), curves, weights)
    rate = solution[:, 1]
    share = solution[:, 2] if "plasma" in model.linear else jnp.zeros_like(rate)
    leakage = solution[:, 0] - rate * share
    ratio = jnp.where(rate != 0, leakage / jnp.where(rate != 0, rate, 1.0), 0.0)
    values = {"exponential": leakage, "plasma": share, None: ratio}
    return jnp.stack([values[column] for column in model.linear], -1)
