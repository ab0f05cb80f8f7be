"""Examinations that weights for any acquisition were not trained for."""

import dataclasses
import json
from pathlib import Path

import examinations
import numpy as np
import pytest
import scans

from dcejax.data import weights
from dcejax.data.aif_csv import MeasuredAif
from dcejax.methods import dcejax2026, envelope, lyoo2025
from dcejax.methods.dcejax2026 import Config
from dcejax.methods.fixed_grid import NOTHING_BESIDE, Beside


def warnings_of(scan, beside=NOTHING_BESIDE):
    return dcejax2026.series_of(scan, beside, Config()).warnings


def published_of(scan):
    return lyoo2025.series_of(scan, NOTHING_BESIDE, scans.tiny_config()).warnings


@pytest.mark.parametrize("series_of", [warnings_of, published_of])
@pytest.mark.parametrize(
    ("changed", "frames", "message"),
    [
        ({"contrast": 0.0}, slice(0, 60), "expected a bolus of contrast agent, found none"),
        ({"arrival_s": 310.0}, slice(0, 60), "expected a bolus of contrast agent, found none"),
        ({"arrival_s": 265.0}, slice(0, 60), "at least 60 s after the arrival of the bolus, found"),
        ({"frames": 72}, slice(11, 71), "contrast was there before the first frame"),
        ({}, slice(59, None, -1), "frames are in reverse order"),
    ],
)
def test_a_series_without_its_bolus_is_refused_by_every_method(series_of, changed, frames, message):
    scan = examinations.make_scan(**changed)
    scan = dataclasses.replace(scan, values=scan.values[..., frames], times=scan.times[:60])
    with pytest.raises(ValueError, match=message):
        series_of(scan)


def test_the_published_method_tells_of_an_early_bolus():
    assert any("within the first two frames" in w for w in published_of(examinations.make_scan(arrival_s=4.0)))


def with_facts(scan, tr_ms=2.8, flip_angle_deg=10.0):
    facts = {"tr_ms": tr_ms, "flip_angle_deg": flip_angle_deg}
    return dataclasses.replace(scan, provenance={"acquisition": facts})


def test_an_examination_of_the_trained_kind_has_no_warnings():
    assert warnings_of(with_facts(examinations.make_scan())) == ()


def test_voxels_of_another_size_are_told():
    scan = with_facts(examinations.make_scan())
    (warning,) = warnings_of(dataclasses.replace(scan, affine=np.diag([2.0, 4.0, 3.0, 1.0])))
    assert warning.startswith("voxel size along the second axis (mm) is 4, but the weights were trained on")
    (warning,) = warnings_of(dataclasses.replace(scan, affine=np.diag([2.0, 2.0, 9.0, 1.0])))
    assert warning.startswith("slice thickness")


def test_an_acquisition_that_is_not_known_is_told():
    (warning,) = warnings_of(examinations.make_scan())
    assert "tr_ms 2.8, flip_angle_deg 10 assumed" in warning


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"interval_s": 15.0, "frames": 30}, "at most 12 s apart, found 15"),
        ({"frames": 14}, "at least 60 s after the arrival"),
        ({"contrast": 0.0}, "expected a bolus of contrast agent, found none"),
        ({"shape": (2, 2, 1)}, "8 voxels or more in the mask, found 4"),
    ],
)
def test_what_cannot_be_answered_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        warnings_of(examinations.make_scan(**changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"frames": 21}, "follow the arrival of the bolus"),
        ({"interval_s": 10.0, "frames": 30}, "frame interval"),
        (
            {"interval_s": 8.0, "frames": 90},
            "length of the series (s) is 712, but the weights were trained on 100 to 540",
        ),
        ({"vessels": 0, "contrast": 0.15}, "no voxel of the mask brightens as large vessels do"),
        ({"arrival_s": 4.0}, "within the first two frames"),
    ],
)
def test_what_is_outside_the_range_is_told(changed, message):
    assert any(message in warning for warning in warnings_of(examinations.make_scan(**changed)))


def test_another_acquisition_is_told():
    scan = with_facts(examinations.make_scan(), tr_ms=9.0, flip_angle_deg=30.0)
    assert sum("weights were trained on" in warning for warning in warnings_of(scan)) == 2


@pytest.mark.parametrize("facts", [{"flip_angle_deg": 1.0}, {"tr_ms": 200.0}])
def test_signal_that_nothing_gives_is_told(facts):
    assert any(
        "a signal that no concentration gives" in w for w in warnings_of(with_facts(examinations.make_scan(), **facts))
    )


def test_where_maps_have_no_value_is_told():
    scan = with_facts(examinations.make_scan())
    t1, b1 = np.full(scan.mask.shape, 1.5 / 60, np.float32), np.ones(scan.mask.shape, np.float32)
    assert warnings_of(dataclasses.replace(scan, t1_map=t1), Beside(b1_map=b1)) == ()
    t1[:2], b1[0] = 0.0, np.nan
    first, second = warnings_of(dataclasses.replace(scan, t1_map=t1), Beside(b1_map=b1))
    assert first.startswith("the T1 map has no value in 40 voxels of the mask")
    assert second.startswith("the B1 map has no value in 20 voxels of the mask")


def test_a_known_arterial_input_needs_no_vessels():
    times = np.arange(60) * 5 / 60
    aif = MeasuredAif(times, 5 * (times > 0.5))
    assert not any(
        "no voxel" in w for w in warnings_of(examinations.make_scan(vessels=0, contrast=0.15), Beside(aif=aif))
    )


def test_a_residual_beyond_those_of_simulated_patients_is_told():
    usual = np.random.default_rng(0).uniform(0.9, 1.3, 4000).astype(np.float32)
    score, warnings = envelope.check_residual(usual)
    assert (score, warnings) == (pytest.approx(1.2 / 1.1, abs=0.01), ())
    score, (warning,) = envelope.check_residual(3 * usual)
    assert score == pytest.approx(1.2 / 1.1, abs=0.01)
    assert warning.startswith("maps leave 3.29 noise SDs of the curves unexplained")
    moved = np.where(np.arange(4000) % 5 < 2, 4 * usual, usual)
    score, (warning,) = envelope.check_residual(moved)
    assert score > 3
    assert warning.startswith("the residual is spread unevenly")


def test_what_counts_as_beyond_is_what_was_measured():
    path = Path(__file__).parents[2] / "docs" / "model_accuracy.json"
    measured = json.loads(path.read_text())
    assert measured["sha256"] == weights.load(None).record["sha256"]
    patients = measured["nothing"]["patients"]
    greatest = {name: max(row[name] for row in patients) for name in ("median_residual", "score")}
    even = np.full(100, greatest["median_residual"])
    uneven = np.where(np.arange(100) < 60, 1.0, greatest["score"])
    for residual in (even, uneven):
        assert envelope.check_residual(0.999 * residual if residual is even else residual**0.999)[1] == ()
        assert envelope.check_residual(1.001 * residual if residual is even else residual**1.001)[1]
