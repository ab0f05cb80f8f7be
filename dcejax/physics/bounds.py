"""The least error that any method can have: Cramér-Rao and Bayesian (van Trees) bounds on the logarithms of parameters.

Logarithms make the bounds relative: the square root of a diagonal element is a standard deviation as a fraction of the
value. No unbiased estimate has a smaller error than the Cramér-Rao bound. Estimates that use a prior, networks among
them, can have one; the Bayesian bound holds for them.

All functions are pure and work on one voxel; use jax.vmap for more. Information matrices are scaled to a unit diagonal
before they are inverted; where some parameter is hardly identifiable (ve in white matter) that still needs float64.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jax.typing import ArrayLike

from dcejax.physics.exact_products import exact_products


@exact_products
def fisher_information(
    predict: Callable[..., jax.Array], params: Any, noise: ArrayLike, nuisance: tuple[ArrayLike, ...] = ()
) -> jax.Array:
    """Fisher information of log params, and of nuisance parameters as they are, under independent Gaussian noise.

    Args:
        predict: function of (params, *nuisance) that returns the noise-free data [T]: signal or concentration, of any
            acquisition.
        params: pytree of P positive scalars, such as the parameters of a kinetic model.
        noise: standard deviation of the data, scalar or [T], the unit of the data. Magnitude data are Gaussian to a
            good approximation above an SNR of 5.
        nuisance: Q further scalars that are unknown too, such as S0, a delay or log T10; they may be zero or negative.

    Returns:
        [P + Q, P + Q], params in the order of their leaves, then nuisance.
    """
    values, unravel = ravel_pytree(params)
    extra = jnp.asarray(nuisance, values.dtype)

    def data(theta):
        return predict(unravel(jnp.exp(theta[: values.size])), *theta[values.size :])

    jacobian = jax.jacfwd(data)(jnp.concatenate([jnp.log(values), extra])) / jnp.asarray(noise)[..., None]
    return jacobian.T @ jacobian


def covariance_bound(information: ArrayLike) -> jax.Array:
    """Invert an information matrix [N, N] after scaling it to a unit diagonal.

    A parameter of which the data know nothing (a row of zeros) has infinite variance and no covariance.
    """
    inverse, known = _inverse(jnp.asarray(information))
    return inverse + jnp.diag(jnp.where(known, 0.0, jnp.inf))


def _inverse(information: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Inverse with zeros in the rows of parameters of which nothing is known, and which parameters are known [N]."""
    diagonal = jnp.diagonal(information)
    known = diagonal > 0
    scale = jnp.where(known, 1.0 / jnp.sqrt(jnp.where(known, diagonal, 1.0)), 0.0)
    scaled = information * scale * scale[:, None] + jnp.diag(jnp.where(known, 0.0, 1.0))
    return jnp.linalg.inv(scaled) * scale * scale[:, None], known


def cramer_rao(
    predict: Callable[..., jax.Array], params: Any, noise: ArrayLike, nuisance: tuple[ArrayLike, ...] = ()
) -> jax.Array:
    """Covariance bound [P, P] of unbiased estimates of log params when the nuisance parameters are unknown too.

    Arguments are those of `fisher_information`; square roots of the diagonal are relative standard deviations.
    """
    size = ravel_pytree(params)[0].size
    return covariance_bound(fisher_information(predict, params, noise, nuisance))[:size, :size]


@exact_products
def van_trees(information: ArrayLike, prior_covariance: ArrayLike) -> jax.Array:
    """Bound [N, N] of the mean squared error of any estimate of parameters from a Gaussian prior (van Trees 1968).

    For log params the prior is log-normal. The bound proper takes the information averaged over the prior; at one point
    it is the linearised posterior covariance, which says what is possible for such a voxel.

    Args:
        information: [N, N] from `fisher_information`, or its mean over draws from the prior.
        prior_covariance: [K, K] of the first K parameters; of the others nothing is known beforehand. A variance
            of zero means that the parameter is known.
    """
    information, prior = jnp.asarray(information), jnp.asarray(prior_covariance)
    size = prior.shape[0]
    # What the data say of the first K once the others are eliminated, then the posterior by a root of the prior, which
    # needs no inverse of it.
    first, cross, rest = information[:size, :size], information[:size, size:], information[size:, size:]
    rest_covariance, known = _inverse(rest)
    link = rest_covariance @ cross.T
    spread = jnp.sqrt(jnp.diagonal(prior))
    uncertain = spread > 0
    safe = jnp.where(uncertain, spread, 1.0)
    correlation = prior / (safe * safe[:, None]) + jnp.diag(jnp.where(uncertain, 0.0, 1.0))
    root = spread[:, None] * jnp.linalg.cholesky(correlation)
    posterior = root @ _inverse(jnp.eye(size) + root.T @ (first - cross @ link) @ root)[0] @ root.T
    mixed = -posterior @ link.T
    unknown = jnp.diag(jnp.where(known, 0.0, jnp.inf))
    return jnp.block([[posterior, mixed], [mixed.T, rest_covariance + link @ posterior @ link.T + unknown]])
