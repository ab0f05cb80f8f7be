"""The parts of an examination that a conventional analysis of a tumour needs, without the rest of the head.

Windows around both middle cerebral arteries, where readers measure the arterial input, come from the reference object's
renderer at the published matrix; their voxels are those of a full image, but for ringing and large movements of what
lies beyond the window. Of the tumour, as many voxels as a mean needs are drawn at random.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.rng import fold
from dcejax.simulation.anatomy.head_anatomy import CORE, TUMOUR, tissue_shares
from dcejax.simulation.reference_object.fine_time import Tables
from dcejax.simulation.reference_object.paint import Exposure, Subject, expose
from dcejax.simulation.reference_object.render import BLUR_OF_POINT, Frame, signal, subject_of
from dcejax.simulation.reference_object.session import Session
from dcejax.simulation.scanner.imaging import (
    FIELD_OF_VIEW_MM,
    SIGNAL_UNITS,
    SIZES,
    Size,
    acquire,
    fine_points,
    halo,
    noise_map,
    noise_sd,
    over_voxels,
)
from dcejax.simulation.scanner.session_fields import to_head, to_scanner
from dcejax.simulation.training.point_measurement import complex_noise
from dcejax.types import Acquisition

WINDOW = Size((32, 32, 3), acquired=24, field_of_view_mm=(30.0, 30.0, 9.0))
"""The published voxels and k-space, on 30 x 30 x 9 mm around an M1 segment."""

ROI_VOXELS = 512
"""Voxels that stand for a tumour; the standard error of their mean is a few percent of their spread."""

_M1_MM = np.array([22.0, 15.0, -21.5])  # middle of the right M1 in the typical head
_MARGIN = 3  # voxels at the sides of a window that its k-space wraps around to
_PLACES = 1 << 14  # tried, to find that many voxels of the tumour
_REACH = 1.6  # radii within which all of a tumour lies
_WITHIN_VOXEL = np.stack(np.meshgrid(*[[-0.25, 0.25]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)


class Window(NamedTuple):
    """What is seen of one middle cerebral artery."""

    series: np.ndarray  # [X, Y, Z, T] int16 signal
    mask: np.ndarray  # [X, Y, Z] bool, voxels within the brain's mask and off the window's sides


def _frames(tables: Tables) -> Frame:
    return Frame(tables.tissue, tables.convolved, tables.artery, tables.vein)


@partial(jax.jit, static_argnames="edge")
def _paint(subject: Subject, centre: jax.Array, edge: int) -> tuple[Exposure, jax.Array]:
    """The points of a window's object, halo included, and the share [X, Y, Z] of each voxel in the mask."""
    planes = WINDOW.slices * WINDOW.sub_slices
    points = fine_points(WINDOW, -edge, planes + 2 * edge, centre)
    exposure, truth = expose(subject, tissue_shares, points.reshape(-1, 3), BLUR_OF_POINT * WINDOW.fine_mm[0])
    mask = truth.mask.reshape(points.shape[:3])[edge : edge + planes]
    mask = mask.reshape(WINDOW.slices, WINDOW.sub_slices, WINDOW.fine, WINDOW.fine)
    return exposure, jnp.moveaxis(jax.vmap(partial(over_voxels, WINDOW))(mask), 0, 2)


@partial(jax.jit, static_argnames=("exchange",))
def _acquire(
    key: jax.Array,
    points: Exposure,
    frames: Frame,
    delay_step: jax.Array,
    acquisition: Acquisition,
    session: tuple[jax.Array, jax.Array],
    noise: jax.Array,
    centre: jax.Array,
    exchange: bool,
) -> jax.Array:
    """The series [X, Y, Z, T] of a window's object; session holds poses [T, 6] and gains [T]."""

    def image(t):
        frame, (pose, gain) = jax.tree.map(lambda a: a[t], (frames, session))
        volume = signal(points, frame, delay_step, acquisition, exchange).reshape(-1, WINDOW.fine, WINDOW.fine)
        return acquire(jax.random.fold_in(key, t), volume, pose, gain, noise, 0, centre, WINDOW)

    return jnp.moveaxis(jax.lax.map(image, jnp.arange(len(frames.vein))), (0, 1), (3, 2))


def window_centre(session: Session, side: int) -> np.ndarray:
    """Centre [3] in the scanner, mm, of the window on a side, +1 for the right: over its M1, on the full image's grid.

    The grids of voxels and of points, 0.9375 mm and 0.625 mm apart, agree every 1.875 mm.
    """
    typical = _M1_MM * [side, 1, 1] * np.asarray(session.patient.anatomy.scale)
    found = np.asarray(to_scanner(session.scanner.placement, jnp.asarray(typical[None], jnp.float32)))[0]
    corner = found - np.array(WINDOW.field_of_view_mm) / 2 + FIELD_OF_VIEW_MM / 2
    step = np.array([1.875, 1.875, SIZES["full"].voxel_mm[2]])
    return np.round(corner / step) * step + found - corner


def arterial_windows(key: jax.Array, session: Session, tables: Tables) -> tuple[Window, Window]:
    """Render the windows on the left and on the right.

    Args:
        key: of the noise.
        session: everything else that is random.
        tables: of the session.
    """
    subject, protocol, frames = subject_of(session), session.protocol, jax.device_put(_frames(tables))
    edge = halo(WINDOW, session.poses)
    inner = np.zeros(WINDOW.shape, bool)
    inner[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN] = True

    def render(side: int) -> Window:
        centre = window_centre(session, side)
        noise = noise_map(WINDOW, float(session.scanner.noise), session.g_factor, centre)
        centre = jnp.asarray(centre, jnp.float32)
        with jax.default_matmul_precision("highest"):  # the setting belongs to the thread
            points, inside = _paint(subject, centre, edge)
            series = _acquire(
                fold(key, "window", side + 1),
                points,
                frames,
                tables.delay_step,
                protocol.tissue,
                (session.poses, session.gain),
                noise,
                centre,
                session.plasma_flow is not None,
            )
        return Window(np.asarray(series), (np.asarray(inside) > 0.5) & inner)

    with ThreadPoolExecutor(2) as pool:  # most operations on so few points keep one core busy
        left, right = pool.map(render, (-1, 1))
    return left, right


@jax.jit
def _enhancing_voxels(key: jax.Array, subject: Subject) -> tuple[jax.Array, jax.Array]:
    """Centres [ROI_VOXELS, 3] in the scanner of random voxels of the enhancing tumour, and how many of the places
    tried lie in one: a small tumour's voxels are drawn more than once."""
    anatomy, voxel = subject.geometry, jnp.asarray(SIZES["full"].voxel_mm, jnp.float32)
    centre = to_scanner(subject.scanner.placement, anatomy.centre[None])
    places = jax.random.uniform(key, (_PLACES, 3), minval=-1.0, maxval=1.0) * _REACH * anatomy.radius
    corner = -jnp.asarray(FIELD_OF_VIEW_MM, jnp.float32) / 2
    places = (jnp.floor((centre + places - corner) / voxel) + 0.5) * voxel + corner
    shares, mask = tissue_shares(anatomy, to_head(subject.scanner.placement, places))
    tumour, core = shares[:, TUMOUR], shares[:, CORE]
    inside = mask & (tumour + core > 0.5) & (tumour >= core)
    (index,) = jnp.nonzero(inside, size=ROI_VOXELS, fill_value=0)
    return places[index], inside.sum()


@partial(jax.jit, static_argnames="exchange")
def _measure(
    key: jax.Array,
    subject: Subject,
    centres: jax.Array,
    frames: Frame,
    delay_step: jax.Array,
    gain: jax.Array,
    noise: jax.Array,
    g_factor: jax.Array,
    exchange: bool,
) -> jax.Array:
    """Signal [V, T] of voxels around centres [V, 3], each the mean of eight points."""
    voxel = jnp.asarray(SIZES["full"].voxel_mm, jnp.float32)
    points = centres[:, None] + _WITHIN_VOXEL * voxel
    exposure, _ = expose(subject, tissue_shares, points.reshape(-1, 3), voxel[0] / 4)

    def image(frame):
        clean = signal(exposure, frame, delay_step, subject.acquisition, exchange)
        return clean.reshape(points.shape[:2]).mean(axis=1)

    clean = jax.lax.map(image, frames).T * gain
    sd = noise_sd(centres[:, 0], centres[:, 1], noise, g_factor)[:, None]
    real, imaginary = complex_noise(key, clean.shape)
    return SIGNAL_UNITS * jnp.hypot(clean + sd * real, sd * imaginary)


def tumour_signal(key: jax.Array, session: Session, tables: Tables) -> np.ndarray | None:
    """Signal [V, T] of `ROI_VOXELS` random voxels of the enhancing tumour; None where nothing enhances.

    Voxels are boxes of the published size at rest, without the ringing of a finite k-space.

    Args:
        key: of places and noise.
        session: everything else that is random.
        tables: of the session.
    """
    if not session.patient.anatomy.enhancing:
        return None
    subject = subject_of(session)
    centres, found = _enhancing_voxels(fold(key, "places"), subject)
    if found < ROI_VOXELS:  # of the smallest, fewer places hit the tumour: repeat them
        centres = centres[np.arange(ROI_VOXELS) % max(int(found), 1)]
    if not found:
        return None
    with jax.default_matmul_precision("highest"):
        return np.asarray(
            _measure(
                fold(key, "noise"),
                subject,
                centres,
                _frames(tables),
                tables.delay_step,
                session.gain,
                session.scanner.noise,
                session.g_factor,
                session.plasma_flow is not None,
            )
        )
