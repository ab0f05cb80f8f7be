"""Kinetic and magnetic properties of simulated tissue, correlated within and between patients."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.simulation.anatomy.composition import ARTERY, TUMOUR, VEIN
from dcejax.simulation.anatomy.fields import Field, evaluate, gaussian_field
from dcejax.simulation.anatomy.head_anatomy import Anatomy
from dcejax.simulation.priors import (
    NON_ENHANCING,
    PRIORS,
    TISSUES,
    TUMOUR_CLASSES,
    TUMOUR_KINETICS,
    Tissue,
    TumourKinetics,
)

_MODES = 32
_DELAY_MODES = 8
_DELAY_LENGTH_MM = 20.0  # territories of the large arteries
_LEAST_TISSUE = 1e-3
_QUANTITIES = ("ktrans", "vp", "ve", "t10_s", "m0")


class Kinetics(NamedTuple):
    """One patient's departures from the typical tissue, in standard deviations."""

    between: jax.Array  # [K, 5] of Ktrans, vp, ve, T10, protons in each tissue
    within: Field  # batched [4]: the same quantities over space
    delay: Field  # of arrival in tissue
    tumour: jax.Array  # index into TUMOUR_KINETICS


class Properties(NamedTuple):
    """What the voxels of a patient are made of; each [V] unless stated.

    Blood in large vessels does not mix with the tissue beside it: both send their own signal.
    """

    params: ExtendedTofts  # of tissue without large vessels, per volume of voxel
    t10: jax.Array  # min, of tissue without large vessels
    m0: jax.Array  # proton density of tissue, per volume of voxel, relative to CSF
    artery: jax.Array  # share of large arteries
    vein: jax.Array  # share of large veins
    blood_t10: jax.Array  # [2] min, of arteries and veins
    hematocrit: jax.Array  # scalar
    delay: jax.Array  # min, from artery to tissue, relative to the patient's typical delay
    tumour: jax.Array  # share of solid tumour


def _correlate(z: jax.Array) -> jax.Array:
    """Correlate independent normals [..., 5] of Ktrans, vp, ve, T10, protons as the priors ask."""
    rho_vp, rho_ve = PRIORS.correlation_ktrans_vp, PRIORS.correlation_ktrans_ve
    vp = rho_vp * z[..., 0] + jnp.sqrt(1 - rho_vp**2) * z[..., 1]
    ve = rho_ve * z[..., 0] + jnp.sqrt(1 - rho_ve**2) * z[..., 2]
    return jnp.stack([z[..., 0], vp, ve, z[..., 3], z[..., 4]], axis=-1)


def sample_kinetics(key: jax.Array, anatomy: Anatomy) -> Kinetics:
    """Draw a patient's kinetics from the priors."""
    key_between, key_within, key_delay = jax.random.split(key, 3)
    fields = [
        gaussian_field(k, PRIORS.correlation_length_mm, _MODES) for k in jax.random.split(key_within, len(_QUANTITIES))
    ]
    # Truncated so that no patient lies beyond what was ever reported.
    between = _correlate(jax.random.truncated_normal(key_between, -2.5, 2.5, (len(TISSUES), len(_QUANTITIES))))
    by_class = jnp.array([c.kinetics for c in TUMOUR_CLASSES])[anatomy.tumour.tumour_class]
    return Kinetics(
        between=between,
        within=jax.tree.map(lambda *leaves: jnp.stack(leaves), *fields),
        delay=gaussian_field(key_delay, _DELAY_LENGTH_MM, _DELAY_MODES),
        tumour=jnp.where(anatomy.tumour.enhancing, by_class, NON_ENHANCING),
    )


def _patient_table(kinetics: Kinetics, attribute: str) -> jax.Array:
    """One number of the priors [K, 5], with the tumour's of this patient's kind, on which T10 and protons do not
    depend."""

    def table(priors: Sequence[Tissue | TumourKinetics], quantities: Sequence[str]) -> jax.Array:
        return jnp.array([[getattr(getattr(prior, q), attribute) for q in quantities] for prior in priors])

    kinds = table(TUMOUR_KINETICS, _QUANTITIES[:3])
    return table(TISSUES, _QUANTITIES).at[TUMOUR, :3].set(kinds[kinetics.tumour])


def _typical(kinetics: Kinetics) -> jax.Array:
    """Values [K, 5] of this patient's tissues, before they vary over space."""
    median, between = (_patient_table(kinetics, a) for a in ("median", "between"))
    return median * jnp.exp(between * kinetics.between)


def blood_t10(kinetics: Kinetics) -> jax.Array:
    """Native T1 [2] in min of blood in large arteries and veins."""
    return _typical(kinetics)[jnp.array([ARTERY, VEIN]), 3] / SECONDS_PER_MINUTE


def properties(kinetics: Kinetics, shares: jax.Array, points: jax.Array, hematocrit: jax.Array) -> Properties:
    """Mix the tissues at each point.

    Ktrans, vp and ve are those of the tissues times their shares [V, K], as plasma, leakage and interstitium of a voxel
    add up. Relaxation rates are weighted by protons. Points [V, 3] are in mm in the head.
    """
    fields = jax.vmap(evaluate, (0, None))(kinetics.within, points)
    local = _correlate(fields.T).clip(-3.0, 3.0).T  # [5, V]
    # Without this the compiler computes shares and fields again for every sum below.
    shares, local = jax.lax.optimization_barrier((shares, local))
    typical, within = _typical(kinetics), _patient_table(kinetics, "within")
    ktrans, vp, ve, protons, rate = jnp.zeros((5, len(points)))
    # One tissue after another: all of them at once would be an array fifteen times as large as any result.
    for index in range(len(TISSUES)):
        if index in (ARTERY, VEIN):
            continue
        share = shares[:, index]
        own = [typical[index, q] * jnp.exp(within[index, q] * local[q]) for q in range(len(_QUANTITIES))]
        own_ktrans, own_vp, own_ve, own_t10, own_m0 = own
        ktrans += share * jnp.minimum(own_ktrans, PRIORS.most_ktrans)
        vp += share * own_vp
        # A plasma and an interstitial space must fit into the voxel.
        ve += share * jnp.minimum(own_ve, 0.9 - jnp.minimum(own_vp, 0.4))
        protons += share * own_m0
        rate += share * own_m0 * SECONDS_PER_MINUTE / own_t10
    return Properties(
        params=ExtendedTofts(ktrans, vp, ve),
        t10=jnp.where(protons > 0, protons, 1.0) / jnp.where(protons > 0, rate, 1.0),
        m0=protons,
        artery=shares[:, ARTERY],
        vein=shares[:, VEIN],
        blood_t10=blood_t10(kinetics),
        hematocrit=hematocrit,
        delay=PRIORS.tissue_delay_sd_s / SECONDS_PER_MINUTE * evaluate(kinetics.delay, points),
        tumour=shares[:, TUMOUR],
    )


def tissue_share(tissue: Properties) -> jax.Array:
    """Share [V] of voxels outside large vessels, at least what is safe to divide by: less sends hardly any signal."""
    return jnp.maximum(1.0 - tissue.artery - tissue.vein, _LEAST_TISSUE)


def true_maps(tissue: Properties) -> jax.Array:
    """Ktrans, vp, ve [V, 3] as an ideal reader would report them: large vessels count as plasma."""
    plasma = (1.0 - tissue.hematocrit) * (tissue.artery + tissue.vein)
    return jnp.stack([tissue.params.ktrans, tissue.params.vp + plasma, tissue.params.ve], -1)


def relaxation(tissue: Properties) -> tuple[jax.Array, jax.Array]:
    """Protons [V] relative to CSF of all that sends signal in a voxel, blood included, and the sum of their native
    relaxation rates [V] in 1/min; T1 is the ratio of the two."""
    protons = tissue.m0 + tissue.artery + tissue.vein  # blood's density is the unit
    rate = tissue.m0 / tissue.t10 + tissue.artery / tissue.blood_t10[0] + tissue.vein / tissue.blood_t10[1]
    return protons, rate
