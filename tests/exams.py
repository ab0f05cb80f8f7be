"""Small simulated examinations of known truth, as files, for the tests of the conventional analysis."""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import scans

from dcejax.data import aif_csv
from dcejax.physics import kinetics, units
from dcejax.physics.aif import parker
from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.signal import spgr

SHAPE = (11, 9, 2)
FRAMES, DT_S = 40, 5.0
TIMES = np.arange(FRAMES) * DT_S / 60
TR_MS, FLIP_DEG, RELAXIVITY = 4.0, 15.0, 4.5
VFA_DEG = (2.0, 5.0, 10.0, 15.0)
PLASMA = np.asarray(parker(TIMES, arrival=0.6), np.float64)
PLAIN = {"model": "extended_tofts", "fit_delay": False}
"""Flags of the fit that these examinations obey to the last digit: blood arrives nowhere late."""
ACQUISITION = units.acquisition(TR_MS, FLIP_DEG, RELAXIVITY)


class Exam(NamedTuple):
    """What was simulated, on the grid of `SHAPE`."""

    truth: dict[str, np.ndarray]  # Ktrans, vp, ve
    concentration: np.ndarray  # [X, Y, Z, T] mM
    signal: np.ndarray  # [X, Y, Z, T]
    t1_s: np.ndarray
    b1: np.ndarray
    vfa: np.ndarray  # [X, Y, Z, A]


def simulate(seed: int = 0, acquisition=ACQUISITION) -> Exam:
    rng = np.random.default_rng(seed)
    ktrans, vp, ve = (rng.uniform(*limits, SHAPE) for limits in ((0.05, 0.2), (0.02, 0.1), (0.15, 0.4)))
    model = jax.vmap(kinetics.extended_tofts, (0, None, None))
    voxels = ExtendedTofts(*(a.ravel().astype(np.float32) for a in (ktrans, vp, ve)))
    concentration = np.asarray(model(voxels, TIMES, PLASMA)).reshape(*SHAPE, FRAMES)
    t1_s, b1 = rng.uniform(0.9, 1.8, SHAPE), rng.uniform(0.85, 1.15, SHAPE)
    s0 = rng.uniform(800, 1200, SHAPE)
    t1 = t1_s / 60
    signal = spgr(concentration, t1[..., None], acquisition, s0=s0[..., None], b1=b1[..., None])
    vfa = [spgr(0.0, t1, acquisition._replace(flip_angle=np.deg2rad(a)), s0=s0, b1=b1) for a in VFA_DEG]
    single = (np.asarray(a, np.float32) for a in (concentration, signal, t1_s, b1, np.stack(vfa, -1)))
    return Exam({"Ktrans": ktrans, "vp": vp, "ve": ve}, *single)


def write(folder: Path, exam: Exam) -> dict[str, Path]:
    """Write an examination; returns its files by role."""
    plain = {"t1_map": exam.t1_s, "b1_map": exam.b1, "vfa": exam.vfa}
    files = {name: scans.save(folder / f"{name}.nii.gz", values) for name, values in plain.items()}
    for name in ("signal", "concentration"):
        files[name] = scans.save(folder / f"{name}.nii.gz", getattr(exam, name), dt_s=DT_S)
    files["mask"] = scans.save_mask(folder / "mask.nii.gz", scans.head(SHAPE))
    files["aif"] = folder / "aif.csv"
    aif_csv.write(files["aif"], TIMES, PLASMA)
    return files
