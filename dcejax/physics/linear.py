"""Linear least squares for Tofts-type models: no start values, no bounds, biased where noise dominates.

Integrating the model's differential equation gives C(t) = (Ktrans + kep vp) ∫Cp - kep ∫C + vp Cp(t), linear in three
combinations of the parameters (Murase, Magn Reson Med 2004;51:858). The noise of C also enters the regressor ∫C, hence
the bias; nonlinear fits have none of it.
"""

import jax
import jax.numpy as jnp

from dcejax.physics.convolution import exponential_convolution

LINEAR_MODELS = ("tofts", "extended_tofts", "patlak")


def least_squares(columns: jax.Array, data: jax.Array, weights: jax.Array) -> jax.Array:
    """Solve small weighted least-squares problems by orthogonalisation; normal equations would lose twice the digits.

    Args:
        columns: [V, T, P].
        data: [V, T].
        weights: [V, T] or [1, T], 0 or more.

    Returns:
        [V, P]; a column that depends on those before it gets 0.
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


def linear_fit(model: str, curves: jax.Array, weights: jax.Array, times: jax.Array, plasma: jax.Array) -> jax.Array:
    """Fit a model linearly.

    Args:
        model: one of `LINEAR_MODELS`.
        curves: [V, T] mM.
        weights: [V, T] or [1, T].
        times: [T] min; integrals start at the first.
        plasma: [T] mM.

    Returns:
        [V, P] in the order of the model's parameters, not bounded.
    """
    total = exponential_convolution(0.0, times, plasma)
    shape = curves.shape
    total, plasma = jnp.broadcast_to(total, shape), jnp.broadcast_to(plasma, shape)
    if model == "patlak":
        return least_squares(jnp.stack([total, plasma], -1), curves, weights)
    tissue = jax.vmap(exponential_convolution, (None, None, 0))(0.0, times, curves)
    columns = [total, -tissue] + ([plasma] if model == "extended_tofts" else [])
    solution = least_squares(jnp.stack(columns, -1), curves, weights)
    kep = solution[:, 1]
    vp = solution[:, 2] if model == "extended_tofts" else jnp.zeros_like(kep)
    ktrans = solution[:, 0] - kep * vp
    ve = jnp.where(kep != 0, ktrans / jnp.where(kep != 0, kep, 1.0), 0.0)
    return jnp.stack([ktrans, vp, ve] if model == "extended_tofts" else [ktrans, ve], -1)
