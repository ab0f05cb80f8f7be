"""A whole simulated examination as a scan with known truth."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np

from dcejax.config import ProtocolConfig
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.rng import fold
from dcejax.simulation.anatomy import CORE, TISSUE_NAMES, TUMOUR
from dcejax.simulation.batches import voxel_centres
from dcejax.simulation.patient import SHAPE, VOXEL_MM, Patient, arterial_kernels, observe, sample_patient
from dcejax.simulation.priors import TUMOUR_CLASSES
from dcejax.types import Scan

_POINTS_PER_CALL = 65_536  # bounds memory; also the one shape that is compiled
_SIGNAL_UNITS = 4096.0  # scanner units of fully relaxed CSF

_ENHANCING, _CORE, _NON_ENHANCING = 1, 2, 3  # labels of the segmentation


@dataclass(frozen=True)
class SimulatedCase:
    """A scan, what is true in it, and who it stands for."""

    scan: Scan
    truth: np.ndarray  # [X, Y, Z, C] Ktrans (1/min), vp, ve; zero outside the mask
    tissue: np.ndarray  # [X, Y, Z] uint8, index of the dominant tissue
    tissue_names: dict[int, str]
    description: str


def simulate_case(key: jax.Array, protocol: ProtocolConfig, *, slices: int, case_id: str) -> SimulatedCase:
    """Simulate a patient on the published matrix, in a slab of slices through the tumour.

    Args:
        key: decides everything.
        protocol: acquisition; the frames come on its time grid.
        slices: thickness of the slab, at most the full 40.
        case_id: name given to the scan.

    Raises:
        ValueError: slices is not between 1 and 40.
    """
    if not 1 <= slices <= SHAPE[2]:
        raise ValueError(f"slices: expected 1 to {SHAPE[2]}, found {slices}")
    with jax.default_matmul_precision("highest"):  # as in training
        return _simulate(key, protocol, slices, case_id)


def _simulate(key: jax.Array, protocol: ProtocolConfig, slices: int, case_id: str) -> SimulatedCase:
    patient = jax.jit(partial(sample_patient, protocol=protocol))(fold(key, "patient"))
    kernels = jax.jit(partial(arterial_kernels, protocol=protocol))(patient)
    first = _first_slice(patient, slices)
    shape = (*SHAPE[:2], slices)
    index = np.indices(shape).reshape(3, -1).T + np.array([0, 0, first])
    observe_points = jax.jit(partial(observe, protocol=protocol))
    parts = []
    for start in range(0, len(index), _POINTS_PER_CALL):
        points = np.asarray(voxel_centres(index[start : start + _POINTS_PER_CALL]))
        valid = len(points)
        points = np.pad(points, ((0, _POINTS_PER_CALL - valid), (0, 0)))
        voxels = observe_points(fold(key, "noise", start), patient, kernels, points)
        parts.append([np.asarray(leaf)[:valid] for leaf in voxels])
    curves, maps, shares, mask = (np.concatenate(p).reshape(*shape, *p[0].shape[1:]) for p in zip(*parts, strict=True))
    tissue = shares.argmax(-1).astype(np.uint8)
    affine = np.diag([*VOXEL_MM, 1.0])
    affine[:3, 3] = voxel_centres(np.array([0, 0, first]))
    tumour_class = TUMOUR_CLASSES[int(patient.anatomy.tumour_class)]
    enhancing = tumour_class.name != "non-enhancing"
    scan = Scan(
        case_id=case_id,
        values=curves * np.float32(_SIGNAL_UNITS),
        quantity="signal",
        times=np.arange(protocol.frames) * protocol.frame_interval_s / SECONDS_PER_MINUTE,
        mask=mask,
        affine=affine,
        segmentation=np.where(
            mask, (tissue == TUMOUR) * (_ENHANCING if enhancing else _NON_ENHANCING) + (tissue == CORE) * _CORE, 0
        ).astype(np.uint8),
        provenance={"source": "simulated"},
    )
    return SimulatedCase(scan, maps, tissue, dict(enumerate(TISSUE_NAMES)), tumour_class.name)


def _first_slice(patient: Patient, slices: int) -> int:
    """Centre the slab on the tumour as far as the volume allows."""
    centre = float(patient.anatomy.centre[2]) / VOXEL_MM[2] + (SHAPE[2] - 1) / 2
    return int(np.clip(round(centre - (slices - 1) / 2), 0, SHAPE[2] - slices))
