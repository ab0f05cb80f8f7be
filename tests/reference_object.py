"""Measure the digital reference object and write docs/reference_object.md with its pictures.

    python tests/reference_object.py [--patients=N]

It takes about half an hour on two cores. All patients are of the validation cohort.
"""

import argparse
import io
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from scipy import ndimage

from dcejax import rng
from dcejax.physics.fitting import fit
from dcejax.physics.signal import spgr_to_concentration
from dcejax.simulation import anatomy, cohorts, fine_time, imaging, priors, reference, session
from dcejax.types import PARAMETERS

mpl.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"
COHORT = cohorts.cohort("val-62")
SEED = 0
FRAME = 30
GOALS = {
    "white matter": (0.11, 0.16),
    "tumour rim": (0.22, 0.40),
    "sagittal and transverse sinus": (0.45, 0.65),
    "CSF": (0.03, 0.06),
}


def draw(number, scan=COHORT.scan):
    """A patient of the cohort and the key of the noise."""
    person = cohorts.participants(COHORT, SEED)[number]
    key = cohorts.patient_key(COHORT, SEED, number)
    return session.sample_session(key, person.tumour_class, scan), rng.fold(key, "noise", 0)


def interior(labels, index, mask, width):
    """Voxels [X, Y, Z] of a tissue whose neighbours in plane, `width` across, are of it too."""
    return ndimage.binary_erosion((labels == index) & mask, np.ones((width, width, 1)))


def levels(simulated, session):
    """Signal at frame 30 over the 4-D maximum in the mask, by tissue, and the SNR of white matter before contrast."""
    scan = simulated.scan
    signal = scan.values[..., FRAME] / scan.values[scan.mask].max()
    rim = scan.segmentation == 1 if "glioblastoma" in session["tumour"]["kinetics"] else np.zeros_like(scan.mask)
    regions = {
        "white matter": interior(simulated.tissue, anatomy.WHITE, scan.mask, 3),
        "tumour rim": rim,
        "sagittal and transverse sinus": interior(simulated.tissue, anatomy.VEIN, scan.mask, 3),
        "CSF": interior(simulated.tissue, anatomy.CSF, scan.mask, 5),
    }
    found = {name: np.median(signal[region]) if region.sum() > 50 else np.nan for name, region in regions.items()}
    arrival = int(session["arterial_input"]["arrival_s"] / session["protocol"]["frame_interval_s"])
    baseline = scan.values[regions["white matter"]][:, : arrival - 1].astype(float)
    # Differences of successive frames: slow drift is no noise; the median over voxels: nor are vessels that move.
    noise = np.median(np.abs(np.diff(baseline, axis=1))) / 0.6745 / np.sqrt(2)
    return found, np.median(baseline) / noise


def ssim_of_nothing(truth):
    """SSIM [Z] of an all-zero map, by the published definition: Gaussian window of 11, σ 1.5, range 1, all voxels."""
    clipped = truth.clip(0, 1).astype(np.float64)

    def blur(image):
        return ndimage.gaussian_filter(image, (1.5, 1.5, 0), truncate=5 / 1.5, mode="constant")

    mean, square = blur(clipped), blur(clipped**2)
    c1, c2 = 0.01**2, 0.03**2
    ssim = c1 / (mean**2 + c1) * c2 / (square - mean**2 + c2)
    return ssim.mean(axis=(0, 1))
