"""The artery in a simulated patient and in a real scan."""

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage
from vessels import SPGR, T10, candidates

from dcejax.physics.aif_detection import detect
from dcejax.physics.signal import spgr_to_concentration
from dcejax.rng import stream
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.composition import ARTERY, VEIN
from dcejax.simulation.reference_object import fine_time, render, session
from dcejax.simulation.scanner import imaging


@pytest.fixture(scope="module")
def simulated():
    """A slab through the base of the brain, with carotid and middle cerebral arteries, and the session it shows."""
    drawn = (session.sample_session(stream(0, "arteries", i), 0, cohort_definitions.ScanPriors()) for i in range(100))
    # At frames of 5 s an artery cannot be told from tissue that follows it within a second.
    shown = next(
        s
        for s in drawn
        if abs(float(s.patient.anatomy.tumour.centre[2]) + 22) < 6 and s.arterial.tissue_delay > 1.5 / 60
    )
    size = imaging.Size((192, 192, 40), acquired=144, slab=6)
    return render.render(stream(0, "arteries noise"), shown, size, "sub-test"), shown


def sinus_curve(shown):
    """True concentration at the sinuses [T], mM of plasma, at the middle of the frames."""
    fine = fine_time.fine_time(shown)
    sinus = fine_time.arterial_curves(shown, fine)[2]
    return sinus.reshape(-1, fine.per_frame)[:, fine.per_frame // 2]


@pytest.mark.slow
def test_arteries_of_a_simulated_patient(simulated):
    simulated, shown = simulated
    scan = simulated.scan
    found = detect(scan.values, scan.mask, scan.times, "signal")
    assert (simulated.tissue[found.voxels] == ARTERY).all()
    among = simulated.tissue[tuple(found.candidates.T)]
    assert (among == ARTERY).mean() > 0.6
    assert (among == VEIN).mean() < 0.05
    share = simulated.truth[..., 1] / (1 - float(shown.arterial.hematocrit))
    assert share[found.voxels].mean() > 0.7

    frames_before = int(found.measures["baseline_frames"])
    baseline = found.curve[:frames_before].mean()
    b1 = float(simulated.b1_map[found.voxels].mean())
    concentration = np.asarray(spgr_to_concentration(found.curve, baseline, T10, SPGR, b1=b1))
    with_sinus = np.corrcoef(concentration, sinus_curve(shown))[0, 1]
    assert np.corrcoef(concentration, simulated.arterial)[0, 1] > max(0.97, with_sinus)
    assert found.arrival == pytest.approx(float(shown.arterial.arrival), abs=5 / 60)


@pytest.mark.slow
def test_arteries_of_a_simulated_patient_in_concentration(simulated):
    simulated, _ = simulated
    scan = simulated.scan
    inside = scan.values[scan.mask].astype(np.float32)
    values = np.full(scan.values.shape, np.nan, np.float32)
    values[scan.mask] = spgr_to_concentration(inside, inside[:, :3].mean(1, keepdims=True), 1.5 / 60, SPGR)
    found = detect(values, scan.mask, scan.times, "concentration")
    assert (simulated.tissue[found.voxels] == ARTERY).all()
    by_signal = candidates(detect(scan.values, scan.mask, scan.times, "signal"), scan.mask.shape)
    assert by_signal[tuple(found.candidates.T)].mean() > 0.6


@pytest.mark.slow
def test_no_artery_in_the_rest_of_a_simulated_patient(simulated):
    simulated, shown = simulated
    scan = simulated.scan
    share = simulated.truth[..., 1] / (1 - float(shown.arterial.hematocrit))
    near = (simulated.tissue == ARTERY) | ((share > 0.1) & (simulated.tissue != VEIN))
    near = ndimage.binary_dilation(near, np.ones((5, 5, 3)))  # as far as an image spreads an artery
    with pytest.raises(ValueError, match="criterion"):
        detect(scan.values, scan.mask & ~near, scan.times, "signal")


def test_the_heart_in_a_real_slice_of_the_breast(reference_data):
    """The slice holds a heart and no artery, in noise and at frames of 16 s: a poor curve, which its quality says.

    The arterial input given with the scan begins a frame later than the heart does, and than tissue in this slice.
    """
    folder = reference_data / "breast_dcemri"
    values = np.asarray(nibabel.load(folder / "dce_signal.nii.gz").dataobj, np.float32).reshape(192, 192, 1, 25)
    times = np.array(json.loads((folder / "acquisition.json").read_text())["times_s"]) / 60
    given = np.loadtxt(folder / "aif.csv", delimiter=",", skiprows=1)[:, 1]
    found = detect(values, np.ones(values.shape[:3], bool), times, "signal")
    assert found.quality < 0.5
    x, y, _ = np.argwhere(found.voxels).T
    assert ((x > 100) & (x < 135) & (y > 140) & (y < 180)).all()
    assert found.curve.argmax() == given.argmax() - 1
    assert np.corrcoef(found.curve[:-1], given[1:])[0, 1] > 0.8
