"""What lies at each point of a slice: what it sends in every frame, and what is true in each voxel."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.simulation.aif_prior import SampledAif
from dcejax.simulation.reference_object.fine_time import FRESHNESS_PULSES, RATES
from dcejax.simulation.scanner.session_fields import Scanner, receive_field, to_head, transmit_field
from dcejax.simulation.tissue_kinetics import Kinetics, Properties, properties, relaxation, tissue_share, true_maps
from dcejax.simulation.training.point_measurement import excitations, total_delay
from dcejax.types import Acquisition

_TUMOUR_SHARE = 0.5  # more of a point than that follows the exchange model, if the tumour does
_MOST_EXTRACTION = 0.9  # Ktrans over plasma flow

SharesAt = Callable[[Any, jax.Array, float], tuple[jax.Array, jax.Array]]
"""From a geometry, positions [V, 3] in the head in mm and the half-width of borders in mm, to shares [V, K] of the
tissues and the brain mask [V]."""


class Subject(NamedTuple):
    """What of an examination decides how a point looks."""

    geometry: Any  # of the anatomy, as its SharesAt understands it
    kinetics: Kinetics
    arterial: SampledAif
    scanner: Scanner
    acquisition: Acquisition  # as tissue sees it
    plasma_flow: jax.Array | None  # 1/min, of a tumour that follows the exchange model


class Exposure(NamedTuple):
    """All that decides the signal of points, each [V]; amplitudes contain the receive field.

    The concentration in tissue is vp times the plasma's plus two exponentials, given by amplitudes in 1/min and by
    positions among `fine_time.RATES`.
    """

    tissue: jax.Array  # amplitude of tissue
    r10: jax.Array  # 1/min
    b1: jax.Array
    vp: jax.Array
    slow: jax.Array
    slow_rate: jax.Array
    fast: jax.Array  # zero but in tumours of the exchange model
    fast_rate: jax.Array
    delay: jax.Array  # min
    artery: jax.Array  # amplitude of arterial blood
    freshness: jax.Array  # of that blood
    vein: jax.Array  # amplitude of venous blood


class Truth(NamedTuple):
    """What is true at points, in quantities that may be averaged over a voxel; each [V, ...]."""

    maps: jax.Array  # [V, C]
    shares: jax.Array  # [V, K]
    mask: jax.Array  # [V] 0 or 1
    protons: jax.Array
    rates: jax.Array  # 1/min, of all protons


def exchange_terms(ktrans: jax.Array, vp: jax.Array, ve: jax.Array, flow: jax.Array) -> tuple[jax.Array, ...]:
    """Impulse response of the two-compartment exchange model as two exponentials (Sourbron and Buckley 2011).

    Args:
        ktrans: E Fp, 1/min; below the flow.
        vp: plasma volume.
        ve: interstitial volume.
        flow: Fp, plasma flow per volume of tissue, 1/min.

    Returns:
        Amplitude (1/min) and rate (1/min) of the slow exponential, then of the fast one.
    """
    ps = ktrans * flow / (flow - ktrans)
    out_of_plasma = (flow + ps) / vp
    out_of_interstitium = ps / ve
    total = out_of_plasma + out_of_interstitium
    root = jnp.sqrt(jnp.maximum(total**2 - 4.0 * out_of_interstitium * flow / vp, 0.0))
    fast_rate = 0.5 * (total + root)
    slow_rate = out_of_interstitium * flow / vp / fast_rate  # product of the rates; no cancellation
    share = (fast_rate - flow / vp) / root
    return flow * share, slow_rate, flow * (1.0 - share), fast_rate


def rate_position(rate: jax.Array) -> jax.Array:
    """Position of a rate among RATES, which are even on a logarithmic scale."""
    step = np.log(RATES[1] / RATES[0])
    return (jnp.log(jnp.maximum(rate, RATES[0]) / RATES[0]) / step).clip(0.0, len(RATES) - 1.001)


def exponentials(tissue: Properties, flow: jax.Array | None) -> tuple[jax.Array, ...]:
    """vp, and amplitude and rate of both exponentials; per volume of tissue without large vessels."""
    solid = tissue_share(tissue)
    ktrans, vp, ve = (value / solid for value in tissue.params)
    none = jnp.zeros_like(ktrans)
    terms = vp, ktrans, ktrans / jnp.maximum(ve, 1e-3), none, none
    if flow is None:
        return terms
    follows = (tissue.tumour > _TUMOUR_SHARE) & (vp > 1e-3) & (ve > 1e-3) & (ktrans > 1e-5)
    safe = (jnp.where(follows, value, 0.1) for value in (ktrans, vp, ve))
    exchange = none, *exchange_terms(*safe, flow)
    return tuple(jnp.where(follows, new, old) for new, old in zip(exchange, terms, strict=True))


def expose(subject: Subject, shares_at: SharesAt, points: jax.Array, blur_mm: float) -> tuple[Exposure, Truth]:
    """Everything about points [V, 3] in the scanner, mm."""
    arterial, scanner = subject.arterial, subject.scanner
    inside = to_head(scanner.placement, points)
    shares, mask = shares_at(subject.geometry, inside, blur_mm)
    tissue = properties(subject.kinetics, shares, inside, arterial.hematocrit)
    if subject.plasma_flow is not None:  # leakage cannot exceed the flow
        most = jnp.where(tissue.tumour > _TUMOUR_SHARE, _MOST_EXTRACTION * subject.plasma_flow, jnp.inf)
        tissue = tissue._replace(params=tissue.params._replace(ktrans=jnp.minimum(tissue.params.ktrans, most)))
    vp, slow, slow_rate, fast, fast_rate = exponentials(tissue, subject.plasma_flow)
    receive = receive_field(scanner, points)
    pulses = excitations(points, arterial, subject.acquisition)
    exposure = Exposure(
        tissue=tissue.m0 * receive,
        r10=1.0 / tissue.t10,
        b1=transmit_field(scanner, points),
        vp=vp,
        slow=slow,
        slow_rate=rate_position(slow_rate),
        fast=fast,
        fast_rate=rate_position(fast_rate),
        delay=total_delay(tissue, arterial),
        artery=tissue.artery * receive,
        freshness=jnp.exp(-pulses / FRESHNESS_PULSES),
        vein=tissue.vein * receive,
    )
    return exposure, Truth(true_maps(tissue), shares, mask.astype(jnp.float32), *relaxation(tissue))
