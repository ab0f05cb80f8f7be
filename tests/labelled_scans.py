"""Small data sets of examinations with labels, for the tests of training on files.

The labels tell where a voxel lies: Ktrans, vp and ve are its three indices, from 1, in hundredths.
"""

from pathlib import Path

import numpy as np
import scans

from dcejax.data import aif_csv
from dcejax.types import PARAMETERS

SHAPE = (11, 9, 3)
DT_S = 5.0


def labels(shape=SHAPE) -> np.ndarray:
    """[X, Y, Z, C]."""
    return (np.stack(np.indices(shape), axis=-1) + 1).astype(np.float32) / 100


def places(maps: np.ndarray) -> np.ndarray:
    """Indices [..., 3] of voxels, given their labels."""
    return np.rint(np.asarray(maps) * 100).astype(int) - 1


def write(
    folder: Path,
    subject: str,
    session: str | None = None,
    *,
    shape=SHAPE,
    frames: int = 60,
    dt_s: float = DT_S,
    seed: int = 0,
    mask: np.ndarray | None = None,
    tumour: np.ndarray | None = None,
    label: str = "truth",
    known: bool = False,
) -> Path:
    """Write an examination, all of it in the mask unless stated; returns the stem of its files."""
    name = subject if session is None else f"{subject}_{session}"
    stem = folder / subject / (session or "") / "perf" / name
    series = scans.save(Path(f"{stem}_dce.nii.gz"), scans.signal(shape, frames, seed), dt_s=dt_s)
    scans.save_sidecar(series, RepetitionTime=0.003, FlipAngle=12.0)
    scans.save_mask(Path(f"{stem}_desc-brain_mask.nii.gz"), np.ones(shape) if mask is None else mask)
    empty = np.zeros(shape, np.uint8)
    scans.save(Path(f"{stem}_desc-tumour_dseg.nii.gz"), empty if tumour is None else tumour.astype(np.uint8))
    for channel, parameter in enumerate(PARAMETERS):
        scans.save(Path(f"{stem}_desc-{label}_{parameter}.nii.gz"), labels(shape)[..., channel])
    if known:
        scans.save(Path(f"{stem}_T1map.nii.gz"), 60 * labels(shape)[..., 0])
        scans.save(Path(f"{stem}_B1map.nii.gz"), 1 + labels(shape)[..., 1])
        aif_csv.write(Path(f"{stem}_aif.csv"), np.arange(frames) * dt_s / 60, np.linspace(0, 5, frames))
    return stem
