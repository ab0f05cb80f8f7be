"""A brain mask by deepbet (Fisch et al. 2024), whose wheel holds its weights, or by HD-BET where that is installed.

deepbet was trained on T1-weighted images of healthy adults, with 1 mm voxels; on thick slices and tumours look at what
it gives.
"""

import shutil
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np

from dcejax.data import nifti
from dcejax.preprocessing import packages

TOOLS = ("deepbet", "hd-bet")


def find(volume: np.ndarray, affine: np.ndarray, tool: str) -> np.ndarray:
    """The brain [X, Y, Z] bool in a volume [X, Y, Z] whose affine [4, 4] leads to mm, by one of `TOOLS`.

    Raises:
        ValueError: the tool is not installed, fails, or finds no brain.
    """
    run = _deepbet if tool == "deepbet" else _hd_bet
    with tempfile.TemporaryDirectory(prefix="dcejax-") as name:
        source, made = Path(name) / "in.nii.gz", Path(name) / "mask.nii.gz"
        nifti.write(source, np.asarray(volume, np.float32), affine, None, "mean of a series", level=1)
        grid = nifti.Image(source, volume[..., None], affine, None)
        try:
            found = run(source, made)
            return nifti.read_mask(found, grid)
        except (AssertionError, RuntimeError, OSError, ValueError) as error:
            if "dcejax[prep]" in str(error) or "pip install" in str(error):
                raise
            raise ValueError(f"brain mask: expected a brain, found none by {tool} ({error}); give --mask") from error


def _deepbet(source: Path, made: Path) -> Path:
    deepbet = packages.require("deepbet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of how it loads its weights
        deepbet.BrainExtraction(no_gpu=True).run(str(source), mask_path=str(made))
    return made


def _hd_bet(source: Path, made: Path) -> Path:
    if shutil.which("hd-bet") is None:
        raise ValueError(
            "brain mask: expected the program hd-bet, found none; run pip install hd-bet, which loads its weights from "
            "the internet when it first runs, or use --brain_mask=deepbet"
        )
    command = [
        "hd-bet",
        "-i",
        source,
        "-o",
        made,
        "-device",
        "cpu",
        "--disable_tta",
        "--save_bet_mask",
        "--no_bet_image",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    masks = sorted(made.parent.glob("mask*bet*.nii.gz"))
    if done.returncode or not masks:
        raise RuntimeError((done.stderr.strip().splitlines() or ["no message"])[-1])
    return masks[0]
