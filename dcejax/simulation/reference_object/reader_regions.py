"""Windows around both middle cerebral arteries, where readers measure the arterial input, without the rest of the head.

They come from the reference object's renderer at the published matrix; their voxels are those of a full image, but for
ringing and large movements of what lies beyond the window.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.rng import fold
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.reference_object.fine_time import Frames, Tables
from dcejax.simulation.reference_object.paint import Exposure, Subject, expose
from dcejax.simulation.reference_object.render import BLUR_OF_POINT, signal, subject_of
from dcejax.simulation.reference_object.session import Session
from dcejax.simulation.scanner.imaging import (
    FIELD_OF_VIEW_MM,
    SIZES,
    Size,
    acquire,
    fine_points,
    halo,
    noise_map,
    over_voxels,
)
from dcejax.simulation.scanner.session_fields import to_scanner
from dcejax.types import Acquisition

WINDOW = Size((32, 32, 3), acquired=24, field_of_view_mm=(30.0, 30.0, 9.0))
"""The published voxels and k-space, on 30 x 30 x 9 mm around an M1 segment."""

_M1_MM = np.array([22.0, 15.0, -21.5])  # middle of the right M1 in the typical head
_MARGIN = 3  # voxels at the sides of a window that its k-space wraps around to


class Window(NamedTuple):
    """What is seen of one middle cerebral artery."""

    series: np.ndarray  # [X, Y, Z, T] int16 signal
    mask: np.ndarray  # [X, Y, Z] bool, voxels within the brain's mask and off the window's sides


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
    frames: Frames,
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
    """Render the windows on the left and on the right of a session with its tables; the key is that of the noise."""
    subject, protocol, frames = subject_of(session), session.protocol, jax.device_put(tables.frames)
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
