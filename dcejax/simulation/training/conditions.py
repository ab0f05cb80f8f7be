"""How training examinations are measured: whatever lies between scanners, protocols and users."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.protocol import Protocol
from dcejax.rng import fold
from dcejax.types import Acquisition

MOST_FRAMES = 90
LONGEST_S = 640.0
"""Of a series."""

_SLAB_MM = 60.0  # half of what is excited
_KNOWN = {"T1 map": 0.5, "AIF": 0.3, "hematocrit": 0.35}  # to so many
_DEPARTS = {"share": 0.5, "median": 0.06, "log-SD": 0.6}  # of tissue from extended Tofts
_CONCENTRATION = 0.08  # of users bring it instead of signal, converted with T1 and B1 maps of their own
_MOVEMENTS = 3  # at most, of a patient who moves


class Conditions(NamedTuple):
    """How an examination is measured; scalars unless stated."""

    acquisition: Acquisition
    frame_interval: jax.Array  # min
    frames: jax.Array
    voxel_mm: jax.Array  # [3] distance of voxels, thickness of slices
    resolution: jax.Array  # in plane, in voxels: more than one where k-space was filled with zeros
    window: jax.Array  # 0 for a k-space cut sharply, 1 for one with a Hann window
    slab: jax.Array  # [2] mm, lowest and highest position
    motion_mm: jax.Array  # SD of each frame's position, which motion correction leaves
    movements: jax.Array  # [K] mm and degrees, sizes of movements that were not corrected; zero for most patients
    gain_drift: jax.Array  # relative, over the series
    g_factor: jax.Array
    known: jax.Array  # [4] bool: T1 map, B1 map, arterial input, haematocrit
    lesion_only: jax.Array  # bool, whether the mask is that of the tumour, as some users' masks are
    departure: jax.Array  # of tissue from extended Tofts, relative to its concentration
    concentration: jax.Array  # bool, whether a user brings concentration instead of signal


def sample_conditions(key: jax.Array, protocol: Protocol, tumour_height: jax.Array) -> Conditions:
    """Draw how an examination is measured; two of five as the protocol says but for voxel and slab."""

    def uniform(name: str, low: float, high: float, shape: tuple[int, ...] = ()) -> jax.Array:
        return jax.random.uniform(fold(key, name), shape, minval=low, maxval=high)

    usual = uniform("usual", 0, 1) < 0.4
    interval = jnp.where(
        usual, protocol.frame_interval_s, jnp.exp(uniform("interval", float(np.log(2.0)), float(np.log(8.0))))
    )
    duration = jnp.exp(uniform("duration", float(np.log(100.0)), float(np.log(620.0))))
    count = jnp.round(duration / interval).clip(30, MOST_FRAMES)
    most = jnp.floor((LONGEST_S - interval) / interval)
    acquisition = protocol.acquisition
    degrees = np.pi / 180
    other = Acquisition(
        uniform("TR", 2.5, 5.5) / 1e3 / SECONDS_PER_MINUTE,
        uniform("flip angle", 8 * degrees, 20 * degrees),
        acquisition.relaxivity * uniform("relaxivity", 0.8, 1.2),
        0.0,
        0.0,
    )
    about_tumour, height = uniform("slab", 0, 1) < 0.65, uniform("height", 20.0, 60.0)
    low = (tumour_height - uniform("offset", 0.15, 0.85) * height).clip(-_SLAB_MM, _SLAB_MM - height)
    whole = jnp.array([-_SLAB_MM, _SLAB_MM])
    plane = jnp.exp(uniform("in plane", float(np.log(0.9)), float(np.log(3.0))))
    size = jnp.stack([plane, plane, uniform("thickness", 2.0, 6.5)])
    t10_map, aif, hematocrit = (uniform(what, 0, 1) < share for what, share in _KNOWN.items())
    moves = uniform("moves", 0, 1) < 0.15
    present = jnp.arange(_MOVEMENTS) <= jax.random.randint(fold(key, "how many"), (), 0, _MOVEMENTS)
    b1_map = t10_map ^ (uniform("B1 map", 0, 1) < 0.2)  # who maps one usually maps both
    converted = uniform("concentration", 0, 1) < _CONCENTRATION
    departs = uniform("departs", 0, 1) < _DEPARTS["share"]
    departure = _DEPARTS["median"] * jnp.exp(_DEPARTS["log-SD"] * jax.random.normal(fold(key, "departure")))
    return Conditions(
        acquisition=jax.tree.map(lambda a, b: jnp.where(usual, jnp.asarray(a, jnp.float32), b), acquisition, other),
        frame_interval=interval / SECONDS_PER_MINUTE,
        frames=jnp.minimum(jnp.where(usual, protocol.frames, count), most).astype(int),
        voxel_mm=jnp.where(uniform("points", 0, 1) < 0.05, 0.3, size),  # hardly more than points
        resolution=uniform("resolution", 0.8, 1.5).clip(1.0),
        window=uniform("window", -1.0, 1.0).clip(0.0),
        slab=jnp.where(about_tumour, jnp.stack([low, low + height]), whole),
        motion_mm=uniform("motion", 0.0, 0.2),
        movements=jnp.where(moves, uniform("movements", 0.5, 3.5, (_MOVEMENTS,)) * present, 0.0),
        gain_drift=uniform("gain", -0.02, 0.02),
        g_factor=uniform("g-factor", 1.0, 1.6),
        known=jnp.stack([t10_map | converted, b1_map | converted, aif, hematocrit]),
        lesion_only=uniform("mask", 0, 1) < 0.12,
        departure=jnp.where(departs, departure, 0.0),
        concentration=converted,
    )
