import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from dcejax.data import timing

PATH = Path("scan.nii.gz")


def header(interval=0.0, unit="unknown"):
    value = nib.Nifti1Header()
    value.set_xyzt_units("mm", unit)
    value["pixdim"][4] = interval
    return value


def resolve(frames=4, sidecar=None, head=None, times_file=None, dt_s=None):
    return timing.resolve(PATH, frames, sidecar or {}, head or header(), times_file=times_file, dt_s=dt_s)


def times_file(tmp_path, *seconds):
    path = tmp_path / "times.txt"
    path.write_text("\n".join(map(str, seconds)) + "\n")
    return path


@pytest.mark.parametrize(("interval", "unit"), [(5.385, "sec"), (5385.0, "msec"), (5_385_000.0, "usec")])
def test_header_with_a_unit(interval, unit):
    found = resolve(head=header(interval, unit))
    np.testing.assert_allclose(found.times * 60, np.arange(4) * 5.385, rtol=1e-12)
    assert found.provenance["source"] == "header pixdim[4]"


@pytest.mark.parametrize("head", [header(5.0, "unknown"), header(0.0, "sec"), header(np.nan, "sec"), header(5.0, "hz")])
def test_no_timing(head):
    with pytest.raises(ValueError, match=r"expected frame times, found none.*--dt_s=SECONDS or --times=FILE"):
        resolve(head=head)


def test_repetition_time_of_frames_is_timing_and_that_of_excitations_is_not():
    """dcm2niix writes the first for most scanners, and the second, in the header too, for others."""
    siemens = {"RepetitionTime": 5.13, "RepetitionTimeExcitation": 0.005}
    found = resolve(sidecar=siemens, head=header(5.13, "sec"))
    np.testing.assert_allclose(found.times * 60, np.arange(4) * 5.13)
    assert found.provenance["source"] == "sidecar RepetitionTime"
    assert found.warnings == ()
    other = {"sidecar": {"RepetitionTime": 0.005}, "head": header(0.005, "sec")}
    with pytest.raises(ValueError, match=r"found none: .*the TR of excitations is no timing"):
        resolve(**other)
    np.testing.assert_allclose(resolve(**other, dt_s=5.0).times * 60, np.arange(4) * 5.0)


@pytest.mark.parametrize("key", ["VolumeTiming", "FrameTimesStart"])
def test_lists_come_before_intervals(key):
    found = resolve(sidecar={key: [0, 4, 9, 15], "RepetitionTime": 5.0}, head=header(5.0, "sec"))
    np.testing.assert_allclose(found.times * 60, [0, 4, 9, 15])
    assert found.provenance["source"] == f"sidecar {key}"
    assert len(found.warnings) == 2  # of an uneven list an interval is the mean at best


def test_a_header_of_one_second_alone_is_refused():
    with pytest.raises(ValueError, match=r"exactly 1 s alone, .* --dt_s=1 where frames are 1 s apart"):
        resolve(head=header(1.0, "sec"))
    assert resolve(head=header(1.0, "sec"), dt_s=1.0).warnings == ()
    found = resolve(head=header(1.0, "sec"), sidecar={"FrameTimesStart": [0, 5, 10, 15]})
    assert found.provenance["duration_s"] == 15
    assert "sidecar FrameTimesStart is used" in found.warnings[0]


@pytest.mark.parametrize("seconds", [0.3, 1.0, 5.0, 39.6, 90.0, 120.0])
def test_frame_intervals_in_use_pass(seconds):
    timing.check_interval("x", np.arange(120) * seconds)


@pytest.mark.parametrize(("seconds", "unit"), [(5 / 60, "min"), (1 / 60, "min"), (1500.0, "ms"), (39600.0, "ms")])
def test_frame_intervals_in_another_unit(seconds, unit):
    with pytest.raises(ValueError, match=f"times seem to be in {unit}"):
        timing.check_interval("x", np.arange(120) * seconds)


@pytest.mark.parametrize("seconds", [np.arange(12) / 3, np.arange(12) * 5 / 60, np.arange(4) * 0.1])
def test_minutes_are_refused(tmp_path, seconds):
    with pytest.raises(ValueError, match=r"times seem to be in min \(multiply by 60\)"):
        resolve(len(seconds), times_file=times_file(tmp_path, *seconds))
    with pytest.raises(ValueError, match="times seem to be in min"):
        resolve(len(seconds), sidecar={"VolumeTiming": seconds.tolist()})


def test_an_interval_that_may_be_a_tr_is_said_to_be_one():
    with pytest.raises(ValueError, match=r"header pixdim\[4\]: .* in min \(.*, or the interval is a TR .* give --dt_s"):
        resolve(head=header(0.15, "sec"))
    with pytest.raises(ValueError, match=r"in min \(multiply by 60\)$"):
        resolve(dt_s=0.15)


def test_milliseconds_are_refused():
    with pytest.raises(ValueError, match=r"times seem to be in ms \(divide by 1000\)"):
        resolve(dt_s=5000.0)


def test_times_of_day_are_refused(tmp_path):
    since = np.arange(60) * 5 + 30
    clock = [101500 + 100 * int(s // 60) + int(s % 60) for s in since]
    with pytest.raises(ValueError, match=r"found 101555 then 101600 .* which look like times of day \(HHMMSS\)"):
        resolve(60, times_file=times_file(tmp_path, *clock))
    resolve(60, times_file=times_file(tmp_path, *(36900 + since)))  # seconds of the day are fine


def test_a_byte_order_mark_is_no_content(tmp_path):
    path = tmp_path / "times.txt"
    path.write_text("0\n5\n10\n15\n", encoding="utf-8-sig")
    np.testing.assert_allclose(resolve(times_file=path).times * 60, [0, 5, 10, 15])


def test_times_count_from_the_first_frame():
    found = resolve(sidecar={"FrameTimesStart": [10, 15, 21, 26]})
    np.testing.assert_allclose(found.times * 60, [0, 5, 11, 16])
    assert found.provenance["longest_frame_interval_s"] == 6


def test_sources_that_agree_within_one_percent():
    found = resolve(sidecar={"FrameTimesStart": [0, 5, 10, 15]}, head=header(5.04, "sec"), dt_s=5.02)
    np.testing.assert_allclose(found.times * 60, np.arange(4) * 5.02)
    assert found.provenance["source"] == "dt_s"
    assert found.warnings == ()


def test_files_that_disagree():
    with pytest.raises(ValueError, match=r"differ by more than 1%: sidecar VolumeTiming gives .* header pixdim\[4\]"):
        resolve(head=header(5.2, "sec"), sidecar={"VolumeTiming": [0, 5, 10, 15]})


def test_what_the_user_states_wins_and_says_so():
    found = resolve(head=header(5.2, "sec"), dt_s=5.0)
    np.testing.assert_allclose(found.times * 60, np.arange(4) * 5.0)
    assert re.search(r"disagree and dt_s is used: .*header pixdim\[4\] gives 4 frames over 15.6 s", found.warnings[0])


def test_times_file_wins_over_all_and_says_so(tmp_path):
    file = times_file(tmp_path, 1, 6.5, 12, 17.5)
    found = resolve(times_file=file, head=header(1.0, "sec"), sidecar={"FrameTimesStart": [0, 1]}, dt_s=5.5)
    np.testing.assert_allclose(found.times * 60, [0, 5.5, 11, 16.5])
    assert found.provenance["source"] == "times file times.txt"
    assert len(found.warnings) == 2  # the header disagrees, the sidecar is short; dt_s agrees


@pytest.mark.parametrize("seconds", [(0, 5, 5, 10), (0, 5, 4, 10)])
def test_times_that_do_not_increase(tmp_path, seconds):
    with pytest.raises(ValueError, match="expected increasing times, found 5 s then"):
        resolve(times_file=times_file(tmp_path, *seconds))
    with pytest.raises(ValueError, match=r"FrameTimesStart.*expected increasing times"):
        resolve(sidecar={"FrameTimesStart": list(seconds)})


def test_wrong_count(tmp_path):
    with pytest.raises(ValueError, match="expected 4 times, one per frame, found 3"):
        resolve(times_file=times_file(tmp_path, 0, 5, 10))
    with pytest.raises(ValueError, match="expected 4 times, one per frame, found 2"):
        resolve(sidecar={"FrameTimesStart": [0, 5]})


@pytest.mark.parametrize("content", ["0\nfive\n10\n15", "0,5,10,15", "0\nnan\n10\n15"])
def test_times_file_with_other_content(tmp_path, content):
    path = tmp_path / "times.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"times\.txt: expected"):
        resolve(times_file=path)


def test_missing_times_file(tmp_path):
    with pytest.raises(ValueError, match=r"times\.txt: expected a text file"):
        resolve(times_file=tmp_path / "times.txt")


@pytest.mark.parametrize("value", ["0", 5, [0, "5", 10, 15], [0, True, 10, 15]])
def test_frame_times_start_of_another_kind(value):
    with pytest.raises(ValueError, match="expected a list of seconds"):
        resolve(sidecar={"FrameTimesStart": value})


@pytest.mark.parametrize("dt_s", [0.0, -5.0, np.nan, np.inf])
def test_impossible_interval(dt_s):
    with pytest.raises(ValueError, match="expected a positive frame interval"):
        resolve(dt_s=dt_s)


def test_one_frame():
    with pytest.raises(ValueError, match="2 frames or more, found 1"):
        resolve(frames=1, dt_s=5.0)


def test_the_first_frame_keeps_its_place_on_the_clock(tmp_path):
    assert resolve(dt_s=5.0).start == 0
    found = resolve(sidecar={"FrameTimesStart": [30.0, 36, 42, 48]}, times_file=times_file(tmp_path, 90, 96, 102, 108))
    assert found.start == pytest.approx(1.5)
    np.testing.assert_allclose(found.times * 60, np.arange(4) * 6)
    assert found.warnings == ()  # clocks may differ, intervals agree
