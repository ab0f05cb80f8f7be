"""Kinetic and magnetic properties of simulated tissue, correlated within and between patients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.anatomy import ARTERY, TUMOUR, VEIN
from dcejax.simulation.fields import Field, evaluate, gaussian_field
from dcejax.simulation.priors import PRIORS, TISSUES, TUMOUR_CLASSES
from dcejax.types import ExtendedTofts

_MODES = 32
_QUANTITIES = ("ktrans", "vp", "ve", "t10_s")


class Kinetics(NamedTuple):
    """One patient's departures from the typical tissue, in standard deviations."""

    between: jax.Array  # [K, 4] of Ktrans, vp, ve, T10 in each tissue
    within: Field  # batched [4]: the same quantities over space
    tumour_class: jax.Array


class Properties(NamedTuple):
    """What the voxels of a patient are made of; each [V]."""

    params: ExtendedTofts  # of tissue, without large vessels
    artery: jax.Array  # plasma fraction of large arteries
    vein: jax.Array  # plasma fraction of large veins
    t10: jax.Array  # min
    m0: jax.Array  # proton density relative to CSF


def _correlate(z: jax.Array) -> jax.Array:
    """Correlate independent normals [..., 4] of Ktrans, vp, ve, T10 as the priors ask."""
    rho_vp, rho_ve = PRIORS.correlation_ktrans_vp, PRIORS.correlation_ktrans_ve
    vp = rho_vp * z[..., 0] + jnp.sqrt(1 - rho_vp**2) * z[..., 1]
    ve = rho_ve * z[..., 0] + jnp.sqrt(1 - rho_ve**2) * z[..., 2]
    return jnp.stack([z[..., 0], vp, ve, z[..., 3]], axis=-1)


def sample_kinetics(key: jax.Array, tumour_class: jax.Array) -> Kinetics:
    """Draw a patient's kinetics from the priors."""
    key_between, key_within = jax.random.split(key)
    fields = [
        gaussian_field(k, PRIORS.correlation_length_mm, _MODES) for k in jax.random.split(key_within, len(_QUANTITIES))
    ]
    # Truncated so that no patient lies beyond what was ever reported.
    between = _correlate(jax.random.truncated_normal(key_between, -2.5, 2.5, (len(TISSUES), len(_QUANTITIES))))
    return Kinetics(between, jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields), tumour_class)


def _table(attribute: str) -> np.ndarray:
    """One number of every tissue's priors, [K, 4]."""
    return np.array([[getattr(getattr(t, q), attribute) for q in _QUANTITIES] for t in TISSUES])


def _tumour_row(attribute: str) -> np.ndarray:
    """The same for each tumour class, [classes, 3]; T10 does not depend on the class."""
    return np.array([[getattr(getattr(c, q), attribute) for q in _QUANTITIES[:3]] for c in TUMOUR_CLASSES])


def properties(kinetics: Kinetics, shares: jax.Array, points: jax.Array, hematocrit: jax.Array) -> Properties:
    """Mix the tissues at each point.

    Ktrans, vp and R1 mix linearly, as concentrations and rates do; ve is averaged over the tissue that has an
    extravascular space.

    Args:
        kinetics: one patient's.
        shares: [V, K] of `anatomy.tissue_shares`.
        points: [V, 3] mm.
        hematocrit: scalar.
    """
    median, between, within = (
        jnp.asarray(_table(a)).at[TUMOUR, :3].set(jnp.asarray(_tumour_row(a))[kinetics.tumour_class])
        for a in ("median", "between", "within")
    )
    local = _correlate(jax.vmap(evaluate, (0, None), 1)(kinetics.within, points)).clip(-3.0, 3.0)
    typical = median * jnp.exp(between * kinetics.between)
    values = typical * jnp.exp(within * local[:, None, :])  # [V, K, 4]
    # A plasma and an interstitial space must fit into the voxel.
    ve = jnp.minimum(values[..., 2], 0.9 - jnp.minimum(values[..., 1], 0.4))
    leaky = shares * (median[:, 2] > 0)
    params = ExtendedTofts(
        ktrans=(shares * values[..., 0]).sum(-1),
        vp=(shares * values[..., 1]).sum(-1),
        ve=(leaky * ve).sum(-1),
    )
    m0 = jnp.array([t.m0 for t in TISSUES])
    # Signal-weighted relaxation rate: a voxel's protons relax each at their own rate.
    protons = (shares * m0).sum(-1)
    rate = (shares * m0 * SECONDS_PER_MINUTE / values[..., 3]).sum(-1) / protons
    plasma = 1.0 - hematocrit
    return Properties(params, shares[:, ARTERY] * plasma, shares[:, VEIN] * plasma, 1.0 / rate, protons)


def true_maps(tissue: Properties) -> jax.Array:
    """Ktrans, vp, ve [V, 3] as an ideal reader would report them: large vessels count as plasma."""
    return jnp.stack([tissue.params.ktrans, tissue.params.vp + tissue.artery + tissue.vein, tissue.params.ve], -1)
