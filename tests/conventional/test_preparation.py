"""Series whose bolus does not lie within them, and what two injections do to the baseline."""

import examinations
import numpy as np
import pytest
import scans

from dcejax.conventional.fit_facts import ArterialSource, FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.preparation import prepare
from dcejax.data.cases import Case


@pytest.fixture
def prepared(tmp_path):
    """Prepare a series of signal with Parker's input, which asks the series when the bolus arrives."""

    def prepare_values(values, aif_arrival_s=None, **settings):
        image = scans.save(tmp_path / "a.nii.gz", values, dt_s=5.0)
        mask = scans.save(tmp_path / "mask.nii.gz", np.ones(values.shape[:3], np.uint8))
        stated = {"tr_ms": 2.8, "flip_angle_deg": 10.0, "t1_s": 1.5, "aif": ArterialSource("parker")}
        stated["aif_arrival_s"] = aif_arrival_s
        return prepare(Case("a", image, FitFacts(mask=mask, **stated)), FitSettings(**settings))

    return prepare_values


def values(**changes):
    return examinations.make_scan(**changes).values


def test_contrast_before_the_first_frame_is_refused(prepared):
    with pytest.raises(ValueError, match="contrast was there before the first frame, or frames are in reverse order"):
        prepared(values()[..., 11:])
    (warning,) = prepared(values()[..., 11:], aif_arrival_s=1.0, baseline_frames=1).warnings[:1]
    assert "there is no baseline" in warning


@pytest.mark.parametrize(("arrival_s", "refused"), [(265.0, False), (283.0, True)])
def test_contrast_close_to_the_end(prepared, arrival_s, refused):
    if refused:
        with pytest.raises(ValueError, match="at least 20 s after the arrival of the bolus"):
            prepared(values(arrival_s=arrival_s))
    else:
        assert any(
            "follow the arrival of the bolus" in warning for warning in prepared(values(arrival_s=265.0)).warnings
        )


def test_a_refusal_says_what_is_odd_about_the_series(prepared):
    """Slices that were written frame by frame, read as if all frames of a slice came first."""
    right = values(shape=(8, 7, 4), vessels=40, arrival_s=30.0) * np.float32([1.0, 1.1, 1.2, 1.15])[:, None]
    with pytest.raises(
        ValueError, match=r"expected a bolus .* \(curves do not cohere in time in .* look at the series\)$"
    ):
        prepared(np.ascontiguousarray(np.moveaxis(right, 2, 3)).reshape(right.shape))


@pytest.mark.parametrize("second", [1.0, 3.0])
def test_two_injections_leave_the_baseline(prepared, second):
    later = values(arrival_s=150.0, contrast=second)
    found, alone = prepared(values() + later - later[..., :1]), prepared(values())
    assert found.conversion.frames == alone.conversion.frames
    assert any("contrast rises 2 times" in warning for warning in found.warnings)
    assert not any("contrast rises" in warning for warning in alone.warnings)
