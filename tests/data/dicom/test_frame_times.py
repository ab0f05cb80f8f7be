"""Times of frames from what scanners write, checked against each other."""

import numpy as np
import pytest

from dcejax.data.dicom import frame_times
from dcejax.data.dicom.headers import Plane
from dcejax.data.dicom.stacks import Stack


def stack(*frames):
    """A stack of one slice whose frames have these clocks."""
    fixed = dict.fromkeys(Plane.__dataclass_fields__) | {"series_number": 3, "series_uid": "1", "description": ""}
    return Stack(tuple((Plane(**fixed | {"clocks": clocks}),) for clocks in frames))


def of(name, seconds):
    return [{name: float(s)} for s in seconds]


@pytest.mark.parametrize("name", ["AcquisitionTime", "TriggerTime", "TemporalPositionTimeOffset"])
def test_one_clock(name):
    found = frame_times.of_stack(stack(*of(name, [100, 105, 110.5, 116])))
    np.testing.assert_allclose(found.seconds, [0, 5, 10.5, 16])
    assert (found.source, found.warnings) == (name, ())


def test_past_midnight_without_a_date():
    found = frame_times.of_stack(stack(*of("AcquisitionTime", [86390, 86395, 0, 5])))
    np.testing.assert_allclose(found.seconds, [0, 5, 10, 15])


def test_a_clock_that_stands_still_says_nothing():
    frames = [{"AcquisitionTime": 7.0, "TriggerTime": t} for t in (0.0, 4.0, 8.0)]
    assert frame_times.of_stack(stack(*frames)).source == "TriggerTime"


def test_clocks_that_agree_are_told():
    frames = [{"AcquisitionDateTime": 50 + t, "TriggerTime": t * 1.001} for t in (0.0, 4.0, 8.0)]
    assert frame_times.of_stack(stack(*frames)).source == "AcquisitionDateTime, as TriggerTime"


def test_clocks_that_contradict_each_other():
    frames = [{"AcquisitionDateTime": 50 + t, "TriggerTime": t * 1.02} for t in (0.0, 4.0, 8.0)]
    found = frame_times.of_stack(stack(*frames))
    assert found.seconds is None
    assert "AcquisitionDateTime gives 3 frames over 8 s, TriggerTime gives 3 frames over 8.16 s" in found.warnings[0]


@pytest.mark.parametrize("back", [[0, 5, 5, 15], [0, 5, 3, 15]])
def test_a_clock_that_jumps_back_is_not_used(back):
    both = [{"AcquisitionTime": float(b), "TriggerTime": 5.0 * i} for i, b in enumerate(back)]
    found = frame_times.of_stack(stack(*both))
    assert found.source == "TriggerTime"
    assert f"AcquisitionTime is not used: it goes from 5 to {back[2]} s at frames 1 and 2" in found.warnings[0]
    alone = frame_times.of_stack(stack(*of("AcquisitionTime", back)))
    assert alone.seconds is None
    assert "its headers hold no times of frames; state --dt_s or --times" in alone.warnings[-1]


def test_phases_of_a_heartbeat_are_no_frames():
    assert frame_times.of_stack(stack(*of("TriggerTime", [0, 0.05, 0.1]))).seconds is None


def test_a_frame_begins_with_its_first_slice():
    one = stack(*of("AcquisitionTime", [10, 20]))
    late = stack(*of("AcquisitionTime", [14, 24]))
    both = Stack(tuple((b[0], a[0]) for a, b in zip(one.planes, late.planes, strict=True)))
    np.testing.assert_allclose(frame_times.of_stack(both).seconds, [0, 10])
