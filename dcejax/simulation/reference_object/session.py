"""How one patient of a cohort is examined: every setting and imperfection, drawn and recorded."""

from dataclasses import asdict, dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.units import MILLISECONDS_PER_MINUTE, SECONDS_PER_MINUTE, acquisition
from dcejax.rng import fold
from dcejax.simulation.aif_prior import FAMILIES, SampledAif, reinject, sample_arterial_input
from dcejax.simulation.cohort_definitions import Range, ScanPriors
from dcejax.simulation.priors import PRIORS, TISSUES, TUMOUR_CLASSES, TUMOUR_KINETICS
from dcejax.simulation.scanner.session_fields import Scanner, sample_scanner
from dcejax.simulation.tissue_kinetics import blood_t10
from dcejax.simulation.training.patient import Patient, sample_patient
from dcejax.types import Acquisition

RELAXIVITY_PER_MM_S = 4.5  # gadobutrol in whole blood at 3 T (Shen 2015)
_BLOOD_R2_STAR_PER_MM_S = 5.0  # 2.6 C + 0.49 C² at 3 T, taken as linear up to the peak's 5 mM
_TISSUE_R2_STAR_PER_MM_S = 10.0  # 5 to 15 reported
_ROTATION_DEG_PER_MM = 0.5  # of residual motion: a surface 115 mm from the centre moves as far by either


@dataclass(frozen=True)
class Protocol:
    """The settings that a scanner's console would show."""

    frames: int
    frame_interval_s: float
    tr_ms: float
    te_ms: float
    flip_angle_deg: float
    dose_mmol_per_kg: float

    @property
    def times(self) -> np.ndarray:
        """Start [T] of each frame, min."""
        return np.arange(self.frames) * self.frame_interval_s / SECONDS_PER_MINUTE

    @property
    def nominal(self) -> Acquisition:
        """The acquisition as readers believe it to be, without decay by T2*."""
        return acquisition(self.tr_ms, self.flip_angle_deg, RELAXIVITY_PER_MM_S)

    def _decaying(self, r2_star_per_mM_s: float) -> Acquisition:
        te = self.te_ms / MILLISECONDS_PER_MINUTE
        return self.nominal._replace(te=te, r2_star_relaxivity=r2_star_per_mM_s * SECONDS_PER_MINUTE)

    @property
    def tissue(self) -> Acquisition:
        """As tissue sees it."""
        return self._decaying(_TISSUE_R2_STAR_PER_MM_S)

    @property
    def blood(self) -> Acquisition:
        """As blood in large vessels sees it."""
        return self._decaying(_BLOOD_R2_STAR_PER_MM_S)


class Session(NamedTuple):
    """One examination of one patient; everything random about it but the noise."""

    patient: Patient
    arterial: SampledAif
    scanner: Scanner
    protocol: Protocol
    snr: float
    g_factor: float  # of the centre, relative to the edge of the head
    gain: np.ndarray  # [T] relative
    poses: np.ndarray  # [T, 6] departure of each frame: shifts in mm, rotations in rad about x, y, z
    plasma_flow: float | None  # 1/min, of a tumour that follows the exchange model; None: extended Tofts


def _uniform(key: jax.Array, bounds: Range) -> float:
    return float(jax.random.uniform(key, minval=bounds[0], maxval=bounds[1]))


def _integer(key: jax.Array, bounds: tuple[int, int]) -> int:
    return int(jax.random.randint(key, (), bounds[0], bounds[1] + 1))


def sample_protocol(key: jax.Array, priors: ScanPriors) -> Protocol:
    """Draw the settings of an examination."""
    numbers = ("frame_interval_s", "tr_ms", "te_ms", "flip_angle_deg", "dose_mmol_per_kg")
    drawn = {name: round(_uniform(fold(key, name), getattr(priors, name)), 3) for name in numbers}
    return Protocol(frames=_integer(fold(key, "frames"), priors.frames), **drawn)


def _gain(key: jax.Array, frames: int, drift: float) -> np.ndarray:
    """A linear drift, up or down."""
    slope = _uniform(key, (-drift, drift))
    return 1.0 + slope * np.linspace(-0.5, 0.5, frames)


def _poses(key: jax.Array, frames: int, priors: ScanPriors) -> np.ndarray:
    """Jitter that motion correction leaves, and steps that were not corrected."""
    sd_mm = _uniform(fold(key, "residual"), priors.residual_motion_mm) / np.sqrt(3)  # of each axis
    scale = sd_mm * np.array([1.0] * 3 + [np.deg2rad(_ROTATION_DEG_PER_MM)] * 3)
    poses = scale * np.asarray(jax.random.normal(fold(key, "jitter"), (frames, 6)))
    for step in range(_integer(fold(key, "steps"), priors.motion_steps)):
        key_frame, key_shift, key_turn, key_size = jax.random.split(fold(key, "step", step), 4)
        shift, turn = (np.asarray(jax.random.normal(k, (3,))) for k in (key_shift, key_turn))
        size = _uniform(key_size, priors.motion_step)
        move = size * np.concatenate([shift / np.linalg.norm(shift), np.deg2rad(turn / np.linalg.norm(turn))])
        poses[_integer(key_frame, (1, frames - 1)) :] += move
    return poses


def sample_session(key: jax.Array, tumour_class: int, priors: ScanPriors, number: int = 0) -> Session:
    """Draw a patient with a tumour of a class (index into `TUMOUR_CLASSES`), and one of the examinations, from 0.

    Sessions of one key are of one patient.
    """
    key_session = fold(key, "session", number)
    protocol = sample_protocol(fold(key_session, "protocol"), priors)
    low, high = np.log(priors.snr)
    snr = float(np.exp(_uniform(fold(key_session, "SNR"), (low, high))))
    patient = jax.jit(sample_patient)(key, jnp.asarray(tumour_class))
    arterial = sample_arterial_input(fold(key, "arterial input"), priors.families, protocol.dose_mmol_per_kg)
    if number > 0:
        arterial = reinject(fold(key_session, "arterial input"), arterial, protocol.dose_mmol_per_kg)
    follows_exchange = _uniform(fold(key, "exchange"), (0.0, 1.0)) < priors.exchange_share
    prior = PRIORS.plasma_flow_per_min
    flow = prior.median * float(
        jnp.exp(prior.between * jax.random.truncated_normal(fold(key, "plasma flow"), -2.0, 2.0))
    )
    return Session(
        patient=patient,
        arterial=arterial,
        scanner=jax.jit(sample_scanner)(fold(key_session, "scanner"), protocol.tissue, snr),
        protocol=protocol,
        snr=snr,
        g_factor=_uniform(fold(key_session, "g factor"), priors.g_factor),
        gain=_gain(fold(key_session, "gain"), protocol.frames, priors.gain_drift),
        poses=_poses(fold(key_session, "motion"), protocol.frames, priors),
        plasma_flow=flow if follows_exchange else None,
    )


def record(session: Session) -> dict:
    """Every sampled number of an examination but those of random fields and shapes, ready for JSON."""
    anatomy, kinetics = session.patient
    arterial = {name: float(value) for name, value in session.arterial._asdict().items()}
    family = FAMILIES[int(arterial.pop("family"))]
    inflow = arterial.pop("inflow") / SECONDS_PER_MINUTE
    seconds = {
        f"{name}_s": arterial.pop(name) * SECONDS_PER_MINUTE
        for name in list(arterial)
        if name in ("arrival", "injection") or name.endswith(("delay", "dispersion"))
    }
    placement, *_ = session.scanner
    return {
        "tumour": {
            "class": TUMOUR_CLASSES[int(anatomy.tumour.tumour_class)].name,
            "kinetics": TUMOUR_KINETICS[int(kinetics.tumour)].name,
            "enhancing": bool(anatomy.tumour.enhancing),
            "necrotic_core": bool(anatomy.tumour.has_core),
            "centre_mm": [round(float(x), 3) for x in anatomy.tumour.centre],
            "radius_mm": float(anatomy.tumour.radius),
            "rim_mm": float(anatomy.tumour.rim),
            "infiltration_mm": float(anatomy.tumour.infiltration),
            "oedema_mm": float(anatomy.tumour.oedema),
            "mass_effect": float(anatomy.tumour.push),
            "model": "extended Tofts" if session.plasma_flow is None else "two-compartment exchange",
            "plasma_flow_per_min": session.plasma_flow,
        },
        "head": {"scale": [float(x) for x in anatomy.scale], "atrophy_mm": float(anatomy.atrophy)},
        "tissues": {
            "departures_sd": {
                tissue.name: [round(float(z), 4) for z in row]  # of Ktrans, vp, ve, T10, protons
                for tissue, row in zip(TISSUES, kinetics.between, strict=True)
            },
            "blood_t10_s": [float(t) * SECONDS_PER_MINUTE for t in blood_t10(kinetics)],  # arterial, venous
        },
        "arterial_input": {"family": family, **arterial, **seconds, "inflow_mm_per_s": inflow},
        "protocol": asdict(session.protocol)
        | {
            "relaxivity_per_mM_s": RELAXIVITY_PER_MM_S,
            "r2_star_blood_per_mM_s": _BLOOD_R2_STAR_PER_MM_S,
            "r2_star_tissue_per_mM_s": _TISSUE_R2_STAR_PER_MM_S,
        },
        "scanner": {
            "snr_white_matter": session.snr,
            "noise_sd": float(session.scanner.noise),
            "g_factor": session.g_factor,
            "b1_centre": float(session.scanner.b1_centre),
            "b1_edge_drop": float(session.scanner.b1_edge_drop),
            "receive_log_slope": [float(x) for x in session.scanner.bias],
            "placement_rotation": np.asarray(placement.rotation, float).tolist(),
            "placement_shift_mm": np.asarray(placement.shift, float).tolist(),
            "gain": session.gain.round(5).tolist(),
            "motion_mm_rad": session.poses.round(5).tolist(),
        },
    }
