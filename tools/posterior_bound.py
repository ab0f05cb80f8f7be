"""What can be known of a tumour voxel's Ktrans, vp and ve, by what is known beside its curve: a table of docs/model.md.

    python tools/posterior_bound.py > docs/posterior_bound.json

The posterior covariance of the logarithms at draws from the priors of the training generator, linearised at each
(`physics.bounds.van_trees` at a point, not the bound proper, which takes the information averaged over the prior): what
is possible for such a voxel alone, optimistic where kep is so high that a second explanation is as good. Unknown beside
the three parameters are the voxel's T10, proton density and delay, the injection, haematocrit and dispersion, transmit
and receive field, and native T1 of blood, inflow and delay of the vessels that may be seen; the family of the arterial
input is not.
"""

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.bounds import van_trees
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.protocol import Protocol
from dcejax.simulation.aif_prior import SampledAif, disperse, plasma_concentration, sample_arterial_input
from dcejax.simulation.anatomy.composition import ARTERY, TUMOUR, VEIN, WHITE
from dcejax.simulation.anatomy.skull import BRAIN_SEMI_AXES_MM
from dcejax.simulation.priors import PRIORS, TISSUES
from dcejax.simulation.training.point_measurement import excitations
from dcejax.types import Acquisition

DRAWS = 192
SEEN = {"sinus": 64, "artery": 20}  # voxels of vessels, whose noise averages out
# Enhancing tumour of the training mix: medians, SDs and correlation of log Ktrans, log vp and log ve.
MEDIAN, SD = np.array([0.0585, 0.0366, 0.245]), np.array([0.82, 0.59, 0.53])
CORRELATION = np.array([[1, 0.55, 0.5], [0.55, 1, 0.33], [0.5, 0.33, 1]])
LEAST_KTRANS = 0.01  # 1/min
# Positions of tumour, sinus and artery, relative to the brain's semi-axes.
PLACES = {"tumour": (0.45, 0.2, 0.1), "sinus": (0.05, -0.95, 0.35), "artery": (0.2, 0.1, -0.4)}
_FINE_S, _SAMPLES = 1.0, 8  # step of the arterial input; samples within a frame


class Unknown(NamedTuple):
    """Everything that decides an examination, each a scalar; min, mM, mm."""

    log_ktrans: jax.Array
    log_vp: jax.Array
    log_ve: jax.Array
    log_t10: jax.Array
    log_m0: jax.Array
    delay: jax.Array
    tissue_dispersion: jax.Array
    b1_centre: jax.Array
    b1_edge_drop: jax.Array
    receive_x: jax.Array
    receive_y: jax.Array
    receive_z: jax.Array
    log_amplitude: jax.Array
    log_width: jax.Array
    log_tail: jax.Array
    log_clearance: jax.Array
    hematocrit: jax.Array
    arrival: jax.Array
    injection: jax.Array
    dispersion: jax.Array
    log_artery_t10: jax.Array
    log_vein_t10: jax.Array
    sinus_delay: jax.Array
    sinus_dispersion: jax.Array
    log_inflow: jax.Array


def _flat(bounds: Sequence[float]) -> float:
    """SD in min of a time that is uniform between bounds in s."""
    return (bounds[1] - bounds[0]) / np.sqrt(12) / SECONDS_PER_MINUTE


def _prior_sd() -> Unknown:
    blood = 0.05  # of the logarithm of its native T1
    slowest, fastest = PRIORS.inflow_mm_per_s
    tumour = TISSUES[TUMOUR]
    return Unknown(
        *SD,
        log_t10=float(np.hypot(tumour.t10_s.between, tumour.t10_s.within)),
        log_m0=float(np.hypot(tumour.m0.between, tumour.m0.within)),
        delay=float(np.hypot(_flat(PRIORS.tissue_delay_s), _flat(PRIORS.tumour_delay_s))),
        tissue_dispersion=_flat(PRIORS.tissue_dispersion_s),
        b1_centre=PRIORS.b1_sd,
        b1_edge_drop=PRIORS.b1_sd,
        receive_x=PRIORS.bias_log_sd,
        receive_y=PRIORS.bias_log_sd,
        receive_z=PRIORS.bias_log_sd,
        log_amplitude=PRIORS.amplitude_log_sd,
        log_width=PRIORS.width_log_sd,
        log_tail=PRIORS.tail_log_sd,
        log_clearance=PRIORS.clearance_log_sd,
        hematocrit=PRIORS.hematocrit[1],
        arrival=_flat(PRIORS.arrival_s),
        injection=_flat(PRIORS.injection_s),
        dispersion=_flat(PRIORS.arterial_dispersion_s),
        log_artery_t10=blood,
        log_vein_t10=blood,
        sinus_delay=_flat(PRIORS.sinus_delay_s),
        sinus_dispersion=_flat(PRIORS.sinus_dispersion_s),
        log_inflow=(fastest - slowest) / np.sqrt(12) / (0.5 * (fastest + slowest)),
    )


def draw(key: jax.Array) -> tuple[Unknown, jax.Array]:
    """A tumour voxel and its examination, and the family of the arterial input."""
    sd, (of_input, of_rest) = _prior_sd(), jax.random.split(key)
    z = Unknown(*jax.random.normal(of_rest, (len(Unknown._fields),)))
    kinetics = jnp.log(MEDIAN) + jnp.linalg.cholesky(CORRELATION * SD * SD[:, None]) @ jnp.stack(z[:3])
    arterial = sample_arterial_input(of_input)
    tumour = TISSUES[TUMOUR]
    drawn = Unknown(
        log_ktrans=jnp.maximum(kinetics[0], np.log(LEAST_KTRANS)),
        log_vp=kinetics[1],
        log_ve=kinetics[2],
        log_t10=np.log(tumour.t10_s.median / SECONDS_PER_MINUTE) + sd.log_t10 * z.log_t10,
        log_m0=np.log(tumour.m0.median) + sd.log_m0 * z.log_m0,
        delay=jnp.maximum(arterial.tissue_delay + arterial.tumour_delay, 0.0),
        tissue_dispersion=arterial.tissue_dispersion,
        b1_centre=PRIORS.b1_centre + sd.b1_centre * z.b1_centre,
        b1_edge_drop=PRIORS.b1_edge_drop + sd.b1_edge_drop * z.b1_edge_drop,
        receive_x=sd.receive_x * z.receive_x,
        receive_y=sd.receive_y * z.receive_y,
        receive_z=sd.receive_z * z.receive_z,
        log_amplitude=jnp.log(arterial.amplitude),
        log_width=jnp.log(arterial.width),
        log_tail=jnp.log(arterial.tail),
        log_clearance=jnp.log(arterial.clearance),
        hematocrit=arterial.hematocrit,
        arrival=arterial.arrival,
        injection=arterial.injection,
        dispersion=arterial.dispersion,
        log_artery_t10=np.log(TISSUES[ARTERY].t10_s.median / SECONDS_PER_MINUTE) + sd.log_artery_t10 * z.log_artery_t10,
        log_vein_t10=np.log(TISSUES[VEIN].t10_s.median / SECONDS_PER_MINUTE) + sd.log_vein_t10 * z.log_vein_t10,
        sinus_delay=arterial.sinus_delay,
        sinus_dispersion=arterial.sinus_dispersion,
        log_inflow=jnp.log(arterial.inflow),
    )
    return drawn, arterial.family


def _arterial(x: Unknown, family: jax.Array) -> SampledAif:
    zero = jnp.zeros(())
    return SampledAif(
        family=family,
        amplitude=jnp.exp(x.log_amplitude),
        width=jnp.exp(x.log_width),
        tail=jnp.exp(x.log_tail),
        clearance=jnp.exp(x.log_clearance),
        hematocrit=x.hematocrit,
        arrival=x.arrival,
        injection=x.injection,
        dispersion=x.dispersion,
        tissue_delay=zero,
        tissue_dispersion=x.tissue_dispersion,
        tumour_delay=zero,
        sinus_delay=x.sinus_delay,
        sinus_dispersion=x.sinus_dispersion,
        inflow=jnp.exp(x.log_inflow),
    )


def signals(
    x: Unknown, family: jax.Array, acquisition: Acquisition, frames: int, interval: float
) -> dict[str, jax.Array]:
    """Noise-free signal [T] of a voxel of the tumour, of the sinus and of an artery."""
    fine = jnp.arange(int((frames + 1) * interval * SECONDS_PER_MINUTE / _FINE_S)) * (_FINE_S / SECONDS_PER_MINUTE)
    within = (jnp.arange(frames)[:, None] + (jnp.arange(_SAMPLES) + 0.5) / _SAMPLES) * interval
    arterial = _arterial(x, family)
    artery = plasma_concentration(arterial, fine)
    tissue, sinus = disperse(fine, artery, x.tissue_dispersion), disperse(fine, artery, x.sinus_dispersion)
    rate = jnp.exp(x.log_ktrans - x.log_ve)
    curve = jnp.exp(x.log_vp) * tissue + jnp.exp(x.log_ktrans) * exponential_convolution(rate, fine, tissue)

    def seen(values: jax.Array, delay: jax.Array) -> jax.Array:
        return jnp.interp((within - delay).ravel(), fine, values).reshape(frames, _SAMPLES).mean(axis=1)

    def fields(place: str) -> tuple[jax.Array, jax.Array]:
        at = jnp.array(PLACES[place])
        slopes = jnp.stack([x.receive_x, x.receive_y, x.receive_z])
        return x.b1_centre - x.b1_edge_drop * (at**2).sum(), jnp.exp(at @ slopes)

    whole, found = 1.0 - x.hematocrit, {}
    b1, receive = fields("tumour")
    found["tumour"] = receive * spgr(seen(curve, x.delay), jnp.exp(x.log_t10), acquisition, s0=jnp.exp(x.log_m0), b1=b1)
    b1, receive = fields("sinus")
    found["sinus"] = receive * spgr(whole * seen(sinus, x.sinus_delay), jnp.exp(x.log_vein_t10), acquisition, b1=b1)
    b1, receive = fields("artery")
    blood, t10, angle = whole * seen(artery, jnp.zeros(())), jnp.exp(x.log_artery_t10), acquisition.flip_angle * b1
    steady = spgr(blood, t10, acquisition, b1=b1)
    # Blood that has seen few excitations is brighter (`simulation.training.point_measurement.noise_free`).
    pulses = excitations(jnp.array([PLACES["artery"]]) * jnp.array(BRAIN_SEMI_AXES_MM), arterial, acquisition)[0]
    recovery = -acquisition.tr * (1.0 / t10 + acquisition.relaxivity * blood)
    fresh = jnp.exp(pulses * (recovery + jnp.log(jnp.cos(angle))))
    found["artery"] = receive * (steady + (jnp.sin(angle) - steady) * fresh)
    return found


def bound(
    x: Unknown, family: jax.Array, *, protocol: Protocol, snr: float, vessels: bool, known: frozenset[str]
) -> jax.Array:
    """Linearised posterior covariance [3, 3] of log Ktrans, log vp and log ve."""
    acquisition = protocol.acquisition
    white = TISSUES[WHITE]
    reference = white.m0.median * spgr(0.0, white.t10_s.median / SECONDS_PER_MINUTE, acquisition)
    kinds = ("tumour", *SEEN) if vessels else ("tumour",)
    weight = jnp.array([snr / reference * np.sqrt(SEEN.get(kind, 1)) for kind in kinds])[:, None, None]

    def data(values: jax.Array) -> jax.Array:
        found = signals(Unknown(*values), family, acquisition, protocol.frames, protocol.frame_interval_s / 60)
        return jnp.stack([found[kind] for kind in kinds])

    jacobian = (jax.jacfwd(data)(jnp.stack(x)) * weight).reshape(-1, len(Unknown._fields))
    variances = jnp.array([0.0 if name in known else sd**2 for name, sd in _prior_sd()._asdict().items()])
    prior = jnp.diag(variances).at[:3, :3].set(CORRELATION * SD * SD[:, None])
    return van_trees(jacobian.T @ jacobian, prior)[:3, :3]


_INPUT = frozenset(
    ("log_amplitude", "log_width", "log_tail", "log_clearance", "hematocrit", "arrival", "injection", "dispersion")
)
_B1 = frozenset(("b1_centre", "b1_edge_drop"))
_MAPS = _B1 | {"log_t10"}
CASES: dict[str, tuple[bool, frozenset[str]]] = {
    "nothing of the arterial input": (False, frozenset()),
    "vessels seen": (True, frozenset()),
    "vessels seen, T1 and B1 maps": (True, _MAPS),
    "vessels seen, haematocrit": (True, frozenset(["hematocrit"])),
    "arterial input": (True, _INPUT),
    "arterial input, T1 and B1 maps": (True, _INPUT | _MAPS),
}


def rms(protocol: Protocol, snr: float, case: str, dose_mmol_per_kg: float = PRIORS.dose_mmol_per_kg) -> list[float]:
    """Root mean square over draws of the SDs."""
    vessels, known = CASES[case]
    drawn, families = jax.vmap(draw)(jax.random.split(jax.random.key(0), DRAWS))
    drawn = drawn._replace(log_amplitude=drawn.log_amplitude + np.log(dose_mmol_per_kg / PRIORS.dose_mmol_per_kg))
    of_one = partial(bound, protocol=protocol, snr=snr, vessels=vessels, known=known)
    variances = np.diagonal(jax.jit(jax.vmap(of_one))(drawn, families), axis1=1, axis2=2)
    return np.sqrt(variances.mean(axis=0)).round(4).tolist()


def main() -> None:
    """Print the table."""
    found = {
        "what": "root mean square over draws of the linearised posterior SDs of log Ktrans, log vp, log ve",
        "draws": DRAWS,
    }
    with jax.enable_x64(True):
        for snr in (27.0, 15.0, 50.0):
            found[f"SNR {snr:g}"] = {case: rms(Protocol(), snr, case) for case in CASES}
            print(snr, found[f"SNR {snr:g}"], file=sys.stderr, flush=True)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
