"""Curves of vessels and tissue after a bolus, made from a population's arterial input."""

import functools

import numpy as np

from dcejax.physics.aif import parker
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.signal import spgr
from dcejax.physics.units import acquisition
from dcejax.protocol import Protocol

PROTOCOL = Protocol()
SPGR = acquisition(PROTOCOL.tr_ms, PROTOCOL.flip_angle_deg, PROTOCOL.relaxivity_per_mM_s)
T10 = 1.65 / 60  # min
FINE = np.arange(0, 7, 0.25 / 60)
TIMES = np.arange(60) * 5 / 60
START = 0.6  # min, of the bolus in the artery


@functools.cache
def _blood():
    return np.asarray(parker(FINE, hematocrit=0.0), np.float64)


def blood(start=START):
    return np.interp(FINE - start, FINE, _blood(), left=0.0)


def tissue(ktrans, vp, ve, start=START + 2 / 60):
    leaked = ktrans * np.asarray(exponential_convolution(ktrans / ve, FINE, _blood()), np.float64)
    return np.interp(FINE - start, FINE, (vp * _blood() + leaked) / 0.58, left=0.0)


def frames(curve, times=TIMES, fine=FINE):
    """Average a fine curve over frames that begin at the times."""
    area = np.concatenate([[0], np.cumsum((curve[1:] + curve[:-1]) / 2 * np.diff(fine))])
    ends = np.append(times, 2 * times[-1] - times[-2])
    return np.diff(np.interp(ends, fine, area)) / np.diff(ends)


def to_signal(concentration):
    return np.asarray(spgr(concentration, T10, SPGR, s0=1000.0))


def candidates(found, shape):
    """Where what was found may be, [X, Y, Z]."""
    inside = np.zeros(shape, bool)
    inside[tuple(found.candidates.T)] = True
    return inside
