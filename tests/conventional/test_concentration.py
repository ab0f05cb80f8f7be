import dataclasses

import exams
import numpy as np
import pytest
import scans

from dcejax.conventional import concentration
from dcejax.conventional.concentration import Conversion
from dcejax.conventional.fit_facts import FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.voxel_status import VoxelStatus
from dcejax.data import loading
from dcejax.data.cases import Case
from dcejax.physics.fitting import FitStatus

SETTINGS = FitSettings()
INSIDE = scans.head(exams.SHAPE)


@pytest.fixture(scope="module")
def exam():
    return exams.simulate()


@pytest.fixture(scope="module")
def files(tmp_path_factory, exam):
    return exams.write(tmp_path_factory.mktemp("exam"), exam)


def case_of(files, **facts):
    stated = {"mask": files["mask"], "tr_ms": exams.TR_MS, "flip_angle_deg": exams.FLIP_DEG} | facts
    case = Case("signal", files["signal"], FitFacts(**stated))
    return case, loading.load_scan(case)


def conversion_of(exam):
    baseline = exam.signal[INSIDE][:, :5].mean(axis=1)
    return Conversion(exams.ACQUISITION, exam.t1_s[INSIDE] / np.float32(60), exam.b1[INSIDE], baseline, 5)


@pytest.mark.parametrize("voxels", [65_536, 7])  # one chunk, and many of which the last is not full
def test_there_and_back(exam, monkeypatch, voxels):
    monkeypatch.setattr(concentration, "_VOXELS_PER_CHUNK", voxels)
    conversion = conversion_of(exam)
    found, status = concentration.to_concentration(exam.signal[INSIDE], conversion)
    assert (status == FitStatus.CONVERGED).all()
    np.testing.assert_allclose(found, exam.concentration[INSIDE], rtol=1e-3, atol=1e-4)
    fitted = np.arange(len(found)) % 5 > 0
    signal = concentration.to_signal(found, conversion, fitted)
    np.testing.assert_allclose(signal[fitted], exam.signal[INSIDE][fitted], rtol=1e-4)
    assert not signal[~fitted].any()


def test_the_first_reason_is_reported(exam):
    conversion = conversion_of(exam)
    signal = exam.signal[INSIDE].copy()
    t1, b1, baseline = (np.array(a) for a in (conversion.t1, conversion.b1, conversion.baseline))
    t1[:4] = 0
    b1[2:6] = 0
    baseline[4:8] = 0
    signal[6:10, 20] *= 100
    signal[10, 20] = -1.0  # noise about zero
    signal[11, 20] = np.inf
    found, status = concentration.to_concentration(signal, conversion._replace(t1=t1, b1=b1, baseline=baseline))
    reasons = [VoxelStatus.NO_T1] * 2 + [VoxelStatus.NO_B1] * 4 + [VoxelStatus.NO_BASELINE] * 2
    reasons += [VoxelStatus.SATURATED] * 2 + [FitStatus.CONVERGED, FitStatus.NOT_FITTED]
    assert status[:12].tolist() == reasons
    assert np.isfinite(found[status == FitStatus.CONVERGED]).all()


def test_t1_from_flip_angles_needs_the_transmit_field(files, exam):
    angles = exams.VFA_DEG
    case, scan = case_of(files, vfa=files["vfa"], vfa_flip_angles_deg=angles, b1_map=files["b1_map"])
    b1 = concentration.transmit_field(case, scan)[0]
    found = concentration.tissue_t1(case, scan, b1, SETTINGS)
    np.testing.assert_allclose(found.t1 * 60, exam.t1_s[INSIDE], rtol=1e-3)
    assert found.provenance["voxels"]["OK"] == INSIDE.sum()
    nominal = concentration.tissue_t1(case, scan, np.ones_like(b1), SETTINGS)
    assert np.abs(nominal.t1 * 60 / exam.t1_s[INSIDE] - 1).max() > 0.1


def test_t1_from_flip_angles_has_its_own_tr(files, exam):
    facts = {"vfa": files["vfa"], "vfa_flip_angles_deg": exams.VFA_DEG, "b1_map": files["b1_map"]}
    case, scan = case_of(files, **facts, vfa_tr_ms=2 * exams.TR_MS)
    found = concentration.tissue_t1(case, scan, concentration.transmit_field(case, scan)[0], SETTINGS)
    # The signal depends on TR / T1 alone, so twice the TR is taken for twice the T1.
    np.testing.assert_allclose(found.t1 * 60, 2 * exam.t1_s[INSIDE], rtol=1e-3)


@pytest.fixture
def beside(files, exam, tmp_path):
    """T1 from flip angles beside a sidecar of its own; takes what is stated and what the sidecar holds."""
    path = scans.save(tmp_path / "vfa.nii.gz", exam.vfa)

    def t1(stated, **fields):
        scans.save_sidecar(path, **fields)
        case, scan = case_of(files, vfa=path, b1_map=files["b1_map"], **stated)
        return concentration.tissue_t1(case, scan, concentration.transmit_field(case, scan)[0], SETTINGS)

    return t1


TR_DIFFERS = "vfa_tr_ms of vfa.nii.gz is 4 as stated, though RepetitionTime in vfa.json gives 4.05"
ANGLES_DIFFER = "vfa_flip_angles_deg of vfa.nii.gz is 2, 5, 10, 15 as stated, though FlipAngle in vfa.json gives "
ANGLES = {"vfa_flip_angles_deg": exams.VFA_DEG}


@pytest.mark.parametrize(
    ("stated", "fields", "tr", "source"),
    [
        (ANGLES, {}, 1, "assumed"),
        (ANGLES, {"RepetitionTime": 0.002 * exams.TR_MS, "FlipAngle": 15}, 2, "sidecar"),
        (ANGLES | {"vfa_tr_ms": 2 * exams.TR_MS}, {"RepetitionTime": 0.00201 * exams.TR_MS}, 2, "stated"),
        ({}, {"RepetitionTime": 0.003 * exams.TR_MS, "FlipAngle": exams.VFA_DEG}, 3, "sidecar"),
    ],
)
def test_the_sidecar_of_flip_angles_is_used(beside, exam, stated, fields, tr, source):
    found = beside(stated, **fields)
    np.testing.assert_allclose(found.t1 * 60, tr * exam.t1_s[INSIDE], rtol=1e-3)
    assert found.provenance["tr_source"] == source
    assert found.provenance["flip_angles_deg"] == list(exams.VFA_DEG)
    told = "no TR of vfa.nii.gz was given; that of the series, 4 ms, is assumed: --vfa_tr_ms"
    assert found.warnings == ((told,) if source == "assumed" else ())


@pytest.mark.parametrize(
    ("fields", "differ"),
    [
        (
            {"RepetitionTime": 0.001 * 1.0125 * exams.TR_MS},
            TR_DIFFERS,
        ),
        ({"FlipAngle": [2, 5, 10, 20]}, ANGLES_DIFFER + "2, 5, 10, 20"),
        ({"FlipAngle": [2, 5, 10]}, ANGLES_DIFFER + "2, 5, 10"),
    ],
)
def test_what_is_stated_wins_over_the_sidecar_of_flip_angles_and_is_told(beside, exam, fields, differ):
    found = beside(ANGLES | {"vfa_tr_ms": exams.TR_MS}, **fields)
    np.testing.assert_allclose(found.t1 * 60, exam.t1_s[INSIDE], rtol=1e-3)
    assert found.warnings == (differ,)


@pytest.mark.parametrize(
    ("stated", "fields", "message"),
    [
        ({}, {"RepetitionTimeExcitation": 4.0}, r"expected a TR of 0\.5 to 500 ms, found 4000; check its unit"),
        ({}, {"RepetitionTime": 0.15}, r"expected RepetitionTime below 0\.1 s"),
        ({}, {"RepetitionTime": "4 ms"}, r"vfa\.json: expected a positive number for RepetitionTime, found '4 ms'"),
        ({}, {"FlipAngle": ["2", "5"]}, r"vfa\.json: expected a list of degrees for FlipAngle"),
    ],
)
def test_a_sidecar_of_flip_angles_that_cannot_be_used(beside, stated, fields, message):
    with pytest.raises(ValueError, match=message):
        beside(ANGLES | stated, **fields)


def test_voxels_without_t1_are_told(files, exam, tmp_path):
    vfa = exam.vfa.copy()
    vfa[5, 4, 0] = 0
    path = scans.save(tmp_path / "vfa.nii.gz", vfa)
    case, scan = case_of(files, vfa=path, vfa_flip_angles_deg=exams.VFA_DEG, vfa_tr_ms=exams.TR_MS)
    found = concentration.tissue_t1(case, scan, np.ones(INSIDE.sum(), np.float32), SETTINGS)
    assert (found.t1 == 0).sum() == 1
    assert found.warnings == ("1 voxels of the mask have no T1: not fitted",)
    scans.save(path, np.zeros_like(vfa))
    with pytest.raises(ValueError, match=r"expected T1 in the mask's voxels, found none that could be fitted"):
        concentration.tissue_t1(case, scan, np.ones(INSIDE.sum(), np.float32), SETTINGS)


def test_an_assumed_t1_is_told_and_a_stated_one_is_not(files):
    case, scan = case_of(files)
    b1 = concentration.transmit_field(case, scan)[0]
    assert (b1 == 1).all()
    assumed = concentration.tissue_t1(case, scan, b1, SETTINGS)
    np.testing.assert_allclose(assumed.t1, 1.5 / 60)
    assert "1.5 s is assumed everywhere" in assumed.warnings[0]
    stated = concentration.tissue_t1(dataclasses.replace(case, facts=FitFacts(t1_s=1.2)), scan, b1, SETTINGS)
    np.testing.assert_allclose(stated.t1, 1.2 / 60)
    assert stated.warnings == ()


def test_acquisition_comes_from_the_sidecar(files, exam, tmp_path):
    path = scans.save(tmp_path / "s.nii.gz", exam.signal, dt_s=exams.DT_S)
    scans.save_sidecar(path, RepetitionTime=0.004, FlipAngle=15)
    case = Case("s", path, FitFacts(mask=files["mask"], relaxivity=3.3))
    settings = dataclasses.replace(SETTINGS, te_ms=1.2, r2_star_relaxivity=6.0)
    found = concentration.acquisition_of(case, loading.load_scan(case), settings)
    expected = (4e-3 / 60, np.deg2rad(15), 3.3 * 60, 1.2e-3 / 60, 360.0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    scans.save_sidecar(path, RepetitionTimeExcitation=4.0, FlipAngle=15)
    with pytest.raises(ValueError, match=r"expected tr_ms of 0\.5 to 500 ms, found 4000; check its unit"):
        concentration.acquisition_of(case, loading.load_scan(case), SETTINGS)
