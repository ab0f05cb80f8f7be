import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dcejax.conventional import plausibility
from dcejax.data import aif_csv
from dcejax.physics import units
from dcejax.physics.aif import parker, weinmann
from dcejax.physics.relaxometry import t1_nonlinear
from dcejax.physics.signal import invert_spgr

SCAN = np.arange(60) * 5 / 60


def test_tissue():
    """From nothing but noise to pure blood all passes; a thousand times more or less of real tissue does not."""
    plasma = np.asarray(parker(SCAN, arrival=0.5))
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.01, (2000, 60))
    for share in (0.0, 0.01, 0.6):
        plausibility.check_tissue("x", share * plasma + noise, plasma)
    tissue = 0.05 * plasma + noise
    tissue[0] = np.nan
    with pytest.raises(ValueError, match="in µM"):
        plausibility.check_tissue("x", tissue * 1e3, plasma)
    with pytest.raises(ValueError, match="in M "):
        plausibility.check_tissue("x", tissue / 1e3 / 60, plasma)
    plausibility.check_tissue("x", np.full((3, 60), np.nan), plasma)  # each voxel's status says so


def test_tissue_that_exceeds_blood_sixty_times():
    tissue = np.full((100, 60), 67.0)
    with pytest.raises(ValueError, match=r"found peaks of 67 .* beside an arterial peak of 10 mM; .* another unit"):
        plausibility.check_tissue("x", tissue, np.full(60, 10.0))


def test_vessels_beside_an_input_without_a_first_pass():
    blood = 0.58 * np.asarray(parker(SCAN, arrival=0.5))
    plasma = np.asarray(weinmann(SCAN, arrival=0.5))
    assert blood.max() > 5 * plasma.max()
    plausibility.check_tissue("x", blood[None], plasma)


@pytest.mark.parametrize("visit", [1, 2, 3])
def test_a_real_glioblastoma_is_far_from_the_limit(reference_data, visit):
    stem = reference_data / "glioblastoma_rrift" / f"TCGA-06-0185-{visit}"
    inside = nib.load(f"{stem}_tumour_mask.nii.gz").get_fdata() > 0
    curves = nib.load(f"{stem}_concentration.nii.gz").get_fdata(dtype=np.float32)[inside]
    plasma = aif_csv.read(Path(f"{stem}_aif.csv")).plasma
    for factor in (0.1, 1.0, 10.0):
        plausibility.check_tissue("x", factor * curves, plasma)
    with pytest.raises(ValueError, match="another unit"):
        plausibility.check_tissue("x", 60 * curves, plasma)


def test_a_real_slice_of_breasts_and_heart_is_far_from_the_limit(reference_data):
    folder = reference_data / "breast_dcemri"
    facts = json.loads((folder / "acquisition.json").read_text())
    series = nib.load(folder / "dce_signal.nii.gz").get_fdata(dtype=np.float32)
    flips = nib.load(folder / "vfa_signal.nii.gz").get_fdata(dtype=np.float32)
    tissue = (flips.min(-1) > 0) & (flips.max(-1) > 0.1 * np.percentile(flips, 99))
    tr = facts["tr_s"] / 60
    t1 = np.asarray(t1_nonlinear(flips[tissue], np.deg2rad(facts["vfa_flip_angles_deg"]), tr).t1)
    signal, t1 = series[tissue][t1 > 0], t1[t1 > 0]
    protocol = units.acquisition(tr * 6e4, facts["dce_flip_angle_deg"], facts["relaxivity_per_mM_s"])
    curves = np.asarray(invert_spgr(signal, signal[:, :1], t1[:, None], protocol).concentration)
    plasma = aif_csv.read(folder / "aif.csv").plasma
    for factor in (0.1, 1.0, 3.0):
        plausibility.check_tissue("x", factor * curves, plasma)
    with pytest.raises(ValueError, match="another unit"):
        plausibility.check_tissue("x", 60 * curves, plasma)
