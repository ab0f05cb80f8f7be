"""Small examinations of tissue with vessels among it, of any frame times."""

import numpy as np

from dcejax.physics.signal import spgr
from dcejax.protocol import Protocol
from dcejax.types import Scan

ACQUISITION = Protocol().acquisition


def make_scan(interval_s=5.0, frames=60, unit=1000.0, shape=(6, 5, 4), vessels=12, arrival_s=30.0, contrast=1.0):
    """A scan of signal; the first voxels are vessels."""
    rng = np.random.default_rng(0)
    times = np.arange(frames) * interval_s / 60
    since = times - arrival_s / 60
    late = np.maximum(since, 0)
    blood = contrast * (6 * late / 0.1 * np.exp(1 - late / 0.1) + 1.2 * (since > 0))
    amount = rng.uniform(0.02, 0.1, shape)
    amount.ravel()[:vessels] = 0.9
    values = np.asarray(spgr(amount[..., None] * blood, 1.5 / 60, ACQUISITION), np.float32)
    values = unit * (values + 0.001 * rng.normal(size=values.shape)).astype(np.float32)
    return Scan("a", values, "signal", times, np.ones(shape, bool), np.diag([2.0, 2, 3, 1]))
