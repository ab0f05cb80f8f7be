"""The digital reference object: whole examinations, rendered by numerical methods of their own.

Anatomy and kinetics are those of the training generator. Everything else differs: a spatial grid twice as fine as the
acquisition, on which tissues and blood send their own signals; a time grid of 0.1 s averaged within frames; rigid
motion; a k-space cut to the acquired lines and zero-filled; complex noise shaped by a g-factor.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.rng import fold
from dcejax.simulation.anatomy.composition import CORE, OEDEMA, TISSUE_NAMES, TUMOUR
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.reference_object.fine_time import (
    B1_NODES,
    FRESHNESS_NODES,
    GROUP_WEIGHTS,
    RATES,
    Frames,
    Tables,
    make_tables,
)
from dcejax.simulation.reference_object.paint import Exposure, SharesAt, Subject, Truth, expose
from dcejax.simulation.reference_object.session import Session, record
from dcejax.simulation.scanner.imaging import FIELD_OF_VIEW_MM, Size, acquire, fine_points, halo, noise_map, over_voxels
from dcejax.simulation.scanner.session_fields import to_scanner, transmit_field
from dcejax.types import Acquisition, Scan, SimulatedScan

_POINTS_PER_CALL = 1 << 16
BLUR_OF_POINT = 0.4
"""Half-width of borders, in points of the fine grid."""
_LEAST_SIGNAL = 1e-4  # of fully relaxed CSF; air sends none
_CENTRE = np.zeros(3, np.float32)  # of the field of view, mm in the scanner
_ENHANCING, _CORE, _NON_ENHANCING = 1, 2, 3  # labels of the segmentation
_M1_Z_MM = -22.0  # level of the middle cerebral arteries, which a slab should hold if it can

Progress = Callable[[str, int, int], None]
"""Called with what is being made (slices or frames), how many are done and how many there will be."""


def first_slice(session: Session, size: Size, centre_mm: jax.Array) -> int:
    """Index of the first slice rendered: a slab holds a centre [3] in the head, mm, and comes as near to the large
    arteries at the base as that allows."""
    centre = to_scanner(session.scanner.placement, jnp.asarray(centre_mm)[None])[0, 2]
    thickness = size.voxel_mm[2]

    def slice_at(z: float) -> float:
        return (z + FIELD_OF_VIEW_MM[2] / 2) / thickness - 0.5

    slack = size.slices // 2 - 1  # the tumour's centre stays a slice away from the slab's ends
    middle = np.clip(slice_at(_M1_Z_MM), slice_at(float(centre)) - slack, slice_at(float(centre)) + slack)
    return int(np.clip(round(float(middle) - (size.slices - 1) / 2), 0, size.shape[2] - size.slices))


def tissue_signal(
    points: Exposure, frame: Frames, delay_step: jax.Array, acquisition: Acquisition, exchange: bool
) -> jax.Array:
    """Signal [V, G] of the tissue at points in each group of a frame, relative to the points' amplitudes.

    Args:
        points: what they are made of.
        frame: what one frame can see.
        delay_step: min, between the tables' delays.
        acquisition: as tissue sees it.
        exchange: whether a tumour follows the exchange model, which has a second exponential.
    """
    node = jnp.round(points.delay / delay_step).astype(int)
    concentration = points.vp[:, None] * frame.tissue[node]
    terms = ((points.slow, points.slow_rate), (points.fast, points.fast_rate))
    for amplitude, position in terms if exchange else terms[:1]:
        lower = position.astype(int)
        weight = (position - lower)[:, None]
        row = node * len(RATES) + lower
        leaked = (1.0 - weight) * frame.convolved[row] + weight * frame.convolved[row + 1]
        concentration += amplitude[:, None] * leaked
    return spgr(concentration, 1.0 / points.r10[:, None], acquisition, b1=points.b1[:, None])


@partial(jax.jit, static_argnames="exchange")
def signal(
    points: Exposure, frame: Frames, delay_step: jax.Array, acquisition: Acquisition, exchange: bool
) -> jax.Array:
    """Signal [V] of points in a frame, blood included."""
    tissue = tissue_signal(points, frame, delay_step, acquisition, exchange) @ GROUP_WEIGHTS
    angle = (points.b1 - B1_NODES[0]) / (B1_NODES[1] - B1_NODES[0])
    freshness = points.freshness / FRESHNESS_NODES[1]
    arterial = map_coordinates(frame.artery, [angle, freshness], order=1, mode="nearest")
    venous = map_coordinates(frame.vein, [angle], order=1, mode="nearest")
    return points.tissue * tissue + points.artery * arterial + points.vein * venous


@partial(jax.jit, static_argnames=("shares_at", "size"))
def paint_slice(
    subject: Subject, shares_at: SharesAt, size: Size, index: jax.Array, centre: jax.Array
) -> tuple[Exposure, Truth]:
    """Expose the points of a slice, [V], and average their truth over its voxels, [X, Y, ...]."""
    points = fine_points(size, index * size.sub_slices, size.sub_slices, centre)
    exposure, truth = expose(subject, shares_at, points.reshape(-1, 3), BLUR_OF_POINT * size.fine_mm[0])
    truth = jax.tree.map(lambda values: over_voxels(size, values.reshape(*points.shape[:3], *values.shape[1:])), truth)
    return exposure, truth


def _paint(
    subject: Subject, shares_at: SharesAt, size: Size, first: int, edge: int, progress: Progress
) -> tuple[Exposure, np.ndarray, Truth]:
    """Expose every point, slice by slice, and of those beyond either end the `edge` nearest planes.

    Returns:
        The points that send signal, their flat indices in the object, and the truth of each voxel [X, Y, Z, ...].
    """
    plane = size.fine**2
    total = (size.slices * size.sub_slices + 2 * edge) * plane
    beyond = -(-edge // size.sub_slices)

    def paint(number: int) -> tuple[Exposure, np.ndarray, Truth]:
        progress("slices", number + beyond, size.slices + 2 * beyond)
        exposure, truth = jax.device_get(paint_slice(subject, shares_at, size, first + number, _CENTRE))
        index = np.arange(size.sub_slices * plane) + (number * size.sub_slices + edge) * plane
        sends = exposure.tissue + exposure.artery + exposure.vein > _LEAST_SIGNAL
        sends &= (index >= 0) & (index < total)
        return Exposure(*(a[sends] for a in exposure)), index[sends], truth

    painted = [paint(number) for number in range(-beyond, size.slices + beyond)]
    parts, indices, truths = zip(*painted, strict=True)
    truths = truths[beyond : beyond + size.slices]
    points = Exposure(*(np.concatenate(a) for a in zip(*parts, strict=True)))
    if not points.tissue.size:
        raise ValueError("anatomy: expected something that sends signal in the field of view, found air alone")
    return points, np.concatenate(indices), Truth(*(np.stack(a, axis=2) for a in zip(*truths, strict=True)))


def _frames(
    key: jax.Array,
    session: Session,
    tables: Tables,
    size: Size,
    first: int,
    points: Exposure,
    index: np.ndarray,
    planes: int,
    progress: Progress,
) -> np.ndarray:
    """The series [X, Y, Z, T] int16 of points at flat indices of an object of so many planes."""
    protocol = session.protocol
    per_call = min(_POINTS_PER_CALL, planes * size.fine**2)
    padding = -len(index) % per_call
    padded = [np.pad(a, (0, padding), "edge") for a in points]
    chunks = [
        Exposure(*(jnp.asarray(a[start : start + per_call]) for a in padded))
        for start in range(0, len(index), per_call)
    ]
    noise = noise_map(size, float(session.scanner.noise), session.g_factor, _CENTRE)
    exchange = session.plasma_flow is not None

    def image(t: int) -> np.ndarray:
        progress("frames", t, protocol.frames)
        frame = Frames(*(table[t] for table in tables.frames))
        values = [signal(chunk, frame, tables.delay_step, protocol.tissue, exchange) for chunk in chunks]
        volume = np.zeros(planes * size.fine**2, np.float32)
        volume[index] = np.concatenate(values)[: len(index)]
        volume = volume.reshape(-1, size.fine, size.fine)
        return np.asarray(acquire(fold(key, t), volume, session.poses[t], session.gain[t], noise, first, _CENTRE, size))

    return np.moveaxis(np.stack([image(t) for t in range(protocol.frames)], axis=-1), 0, 2)


def segmentation(truth: Truth, *, enhancing: bool) -> np.ndarray:
    """Labels [X, Y, Z] uint8: tumour that enhances (if this one does), core, and what is abnormal without it."""
    tumour, core = truth.shares[..., TUMOUR], truth.shares[..., CORE]
    solid = tumour + core > 0.5
    abnormal = tumour + core + truth.shares[..., OEDEMA] > 0.5
    inside = np.where(core > tumour, _CORE, _ENHANCING if enhancing else _NON_ENHANCING)
    labels = np.where(solid, inside, np.where(abnormal, _NON_ENHANCING, 0))
    return np.where(truth.mask > 0.5, labels, 0).astype(np.uint8)


def subject_of(session: Session, geometry: Any = None) -> Subject:
    """What of an examination decides how a point looks; the geometry is the patient's own anatomy if not another."""
    return Subject(
        geometry=session.patient.anatomy if geometry is None else geometry,
        kinetics=session.patient.kinetics,
        arterial=session.arterial,
        scanner=session.scanner,
        acquisition=session.protocol.tissue,
        plasma_flow=session.plasma_flow,
    )


def render(
    key: jax.Array,
    session: Session,
    size: Size,
    case_id: str,
    shares_at: SharesAt = tissue_shares,
    geometry: Any = None,
    centre_mm: np.ndarray | None = None,
    progress: Progress = lambda *_: None,
) -> SimulatedScan:
    """Render an examination.

    Args:
        key: of the noise.
        session: everything else that is random.
        size: of the image, one of `SIZES` or another.
        case_id: name given to the scan.
        shares_at: the anatomy as a function of position.
        geometry: its first argument, if not the patient's own anatomy.
        centre_mm: [3] of what a slab must show, in the head, if not the patient's own tumour.
        progress: see `Progress`.

    Raises:
        ValueError: nothing in the field of view sends signal.
    """
    centre = session.patient.anatomy.tumour.centre if centre_mm is None else centre_mm
    first = first_slice(session, size, centre)
    tables = make_tables(session)
    series, truth = examine(key, session, tables, size, first, shares_at, geometry, progress=progress)
    return _simulated_scan(session, size, case_id, first, series, tables.aif, truth)


def examine(
    key: jax.Array,
    session: Session,
    tables: Tables,
    size: Size,
    first: int,
    shares_at: SharesAt = tissue_shares,
    geometry: Any = None,
    progress: Progress = lambda *_: None,
) -> tuple[np.ndarray, Truth]:
    """The series [X, Y, Z, T] int16 of an examination, and what is true in it, [X, Y, Z, ...].

    Arguments and errors are those of `render`; `tables` are of the session, `first` is the index of the first slice.
    """
    edge = halo(size, session.poses)
    subject = subject_of(session, geometry)
    planes = size.slices * size.sub_slices + 2 * edge
    with jax.default_matmul_precision("highest"):  # accelerators would round products to bfloat16 or TF32
        points, index, truth = _paint(subject, shares_at, size, first, edge, progress)
        return _frames(key, session, tables, size, first, points, index, planes, progress), truth


def _simulated_scan(
    session: Session, size: Size, case_id: str, first: int, series: np.ndarray, aif: np.ndarray, truth: Truth
) -> SimulatedScan:
    mask, sends = truth.mask > 0.5, truth.protons > _LEAST_SIGNAL
    affine = np.diag([*size.voxel_mm, 1.0])
    affine[:3, 3] = (np.array([0, 0, first]) + 0.5) * size.voxel_mm - FIELD_OF_VIEW_MM / 2
    voxels = np.moveaxis(np.indices((*size.shape[:2], size.slices)), 0, -1)
    b1 = transmit_field(session.scanner, (voxels @ affine[:3, :3] + affine[:3, 3]).reshape(-1, 3).astype(np.float32))
    protocol = session.protocol
    settings = record(session)
    scan = Scan(
        case_id=case_id,
        values=series,
        quantity="signal",
        times=protocol.times,
        mask=mask,
        affine=affine,
        t1_map=np.where(sends, truth.protons / np.where(sends, truth.rates, 1.0), 0.0).astype(np.float32),
        segmentation=segmentation(truth, enhancing=bool(session.patient.anatomy.tumour.enhancing)),
        provenance={
            "source": "simulated",
            "acquisition": {"tr_ms": protocol.tr_ms, "flip_angle_deg": float(protocol.flip_angle_deg)},
        },
    )
    return SimulatedScan(
        scan=scan,
        truth=np.where(mask[..., None], truth.maps, 0.0).astype(np.float32),
        b1_map=np.asarray(b1, np.float32).reshape(mask.shape),
        tissue=truth.shares.argmax(-1).astype(np.uint8),
        tissue_names=TISSUE_NAMES,
        arterial=aif,
        sidecar={
            "Simulated": True,
            "VolumeTiming": [round(float(t) * SECONDS_PER_MINUTE, 6) for t in protocol.times],
            "RepetitionTimeExcitation": protocol.tr_ms / 1e3,
            "EchoTime": protocol.te_ms / 1e3,
            "FlipAngle": protocol.flip_angle_deg,
            "MagneticFieldStrength": 3,
            "ContrastBolusIngredient": "GADOLINIUM",
            "ContrastAgent": "gadobutrol",
            "ContrastDose_mmol_per_kg": protocol.dose_mmol_per_kg,
        },
        settings=settings,
        description=settings["tumour"]["class"],
    )
