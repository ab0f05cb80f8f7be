"""Signal, its inverse and T1 against the Ernst equation in float64."""

from collections.abc import Iterator

import numpy as np

from dcejax.physics import units
from dcejax.physics.relaxometry import t1_linear, t1_nonlinear
from dcejax.physics.signal import invert_spgr, spgr
from dcejax.selfcheck.check import Check, Finding, largest
from dcejax.types import InversionStatus, T1Status

_TR_S, _FLIP_DEG, _R1 = 2.8e-3, 10.0, 4.5  # s, degrees, 1/(mM s)
_TE_S, _R2_STAR = 1.7e-3, 7.1  # s, 1/(mM s)
_PROTOCOL = units.acquisition(_TR_S * 1e3, _FLIP_DEG, _R1)
_DECAYING = _PROTOCOL._replace(te=_TE_S / 60.0, r2_star_relaxivity=_R2_STAR * 60.0)
_CONCENTRATION = np.concatenate([[-0.05, 0.0], np.geomspace(1e-3, 10.0, 30)])  # mM
_ANGLES_DEG = np.array([2.0, 5.0, 10.0, 15.0])
_VFA_TR_S = 5.4e-3


def _ernst(r1_per_s: np.ndarray, tr_s: float, flip_deg: np.ndarray) -> np.ndarray:
    e, angle = np.exp(-tr_s * r1_per_s), np.deg2rad(flip_deg)
    return np.sin(angle) * (1.0 - e) / (1.0 - np.cos(angle) * e)


def _round_trip() -> Iterator[Finding]:
    # Under T2* decay the signal falls again beyond some 4 mM, and the inverse is the one on the rising side.
    for name, protocol, r2_star, highest in (("without", _PROTOCOL, 0.0, 10.0), ("with", _DECAYING, _R2_STAR, 3.0)):
        concentration = _CONCENTRATION[highest >= _CONCENTRATION]
        for t10_s in (0.8, 1.4, 1.9):
            for b1 in (0.8, 1.0, 1.2):
                case = f"T10 {t10_s} s, B1 {b1}, {name} T2* decay"
                exact = 700.0 * _ernst(1.0 / t10_s + _R1 * concentration, _TR_S, _FLIP_DEG * b1)
                exact *= np.exp(-_TE_S * r2_star * concentration)
                signal = spgr(concentration, t10_s / 60.0, protocol, s0=700.0, b1=b1)
                yield largest(f"signal, {case}", signal, exact, relative=1e-5, unit="of s0 700")
                found = invert_spgr(exact, exact[1], t10_s / 60.0, protocol, b1=b1).concentration
                yield largest(f"inverse, {case}", found, concentration, absolute=1e-4, relative=1e-3, unit="mM")


def _statuses() -> Iterator[Finding]:
    baseline = float(_ernst(np.array(1.0 / 1.4), _TR_S, np.array(_FLIP_DEG)))
    full = float(np.sin(np.deg2rad(_FLIP_DEG)))  # fully relaxed: no concentration gives more
    cases = {
        "just below saturation": (0.99 * full, baseline, 1.4, InversionStatus.OK),
        "just above saturation": (1.01 * full, baseline, 1.4, InversionStatus.SATURATED),
        "no signal": (-0.1 * baseline, baseline, 1.4, InversionStatus.NO_SIGNAL),
        "no baseline": (baseline, 0.0, 1.4, InversionStatus.NO_BASELINE),
        "T10 of zero": (baseline, baseline, 0.0, InversionStatus.BAD_INPUT),
        "signal that is no number": (np.nan, baseline, 1.4, InversionStatus.BAD_INPUT),
    }
    for case, (signal, before, t10_s, expected) in cases.items():
        found = invert_spgr(signal, before, t10_s / 60.0, _PROTOCOL)
        yield Finding(case, float(int(found.status) != expected), 0.0, "wrong status")
        if expected != InversionStatus.NO_SIGNAL:  # there the value goes on below zero, so that noise keeps its mean
            told = bool(np.isfinite(found.concentration))
            yield Finding(case, float(told != (expected == InversionStatus.OK)), 0.0, "wrong about a concentration")


def _t1() -> Iterator[Finding]:
    t1_s = np.array([0.2, 0.8, 1.6, 4.0])
    for b1 in (0.8, 1.0, 1.2):
        signal = 900.0 * _ernst(1.0 / t1_s[:, None], _VFA_TR_S, _ANGLES_DEG * b1)
        for name, method in (("linear", t1_linear), ("nonlinear", t1_nonlinear)):
            fit = method(signal, np.deg2rad(_ANGLES_DEG), _VFA_TR_S / 60.0, b1=b1)
            for true, found, status in zip(t1_s, np.asarray(fit.t1) * 60.0, np.asarray(fit.status), strict=True):
                case = f"{name}, T1 {true} s, B1 {b1}"
                yield largest(case, found if status == T1Status.OK else np.nan, true, relative=1e-3, unit="s")


CHECKS = (
    Check("signal and its inverse", "signal 1e-5, mM 1e-4 + 0.1 %, float32", _round_trip),
    Check("status where the inverse has no answer", "exact", _statuses),
    Check("T1 from flip angles, with B1", "0.1 %, float32", _t1),
)
