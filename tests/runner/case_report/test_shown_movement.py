"""How a head moved, on a case's page."""

import base64
import re

import nibabel as nib
import numpy as np
import pytest
from case_pages import scan_of, told, words

from dcejax.data.cases import Case
from dcejax.data.facts import Facts
from dcejax.preprocessing import motion, motion_files, rigid
from dcejax.runner.case_report import beside, movement, page
from dcejax.runner.case_report.beside import Beside

FRAMES = 60


@pytest.fixture
def moved():
    """Two runs of frames that lie away from the others, one without a position of its own."""
    numbers = np.zeros((FRAMES, 6))
    numbers[12:25, 0], numbers[40, 2] = 2.5, -1.2
    poses = np.array([rigid.pose_of(each) for each in numbers])
    return motion.Motion(poses, np.zeros((4, 3)), 10, (24,))


@pytest.fixture
def case(moved, tmp_path):
    series = tmp_path / "sub-1_dce.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, FRAMES), np.float32), np.eye(4)), series)
    (tmp_path / "sub-1_desc-motion_timeseries.tsv").write_text(motion_files.table(moved, 1.0))
    series.with_name("sub-1_dce.json").write_text('{"Preprocessing": {"motion": {"threshold_mm": 1.0}}}')
    return Case("sub-1", series, Facts())


def test_the_table_is_read_back(moved, case):
    found = beside.read(case, scan_of(), ())
    np.testing.assert_allclose(found.movement.displacement_mm, moved.displacement_mm, atol=1e-5)
    np.testing.assert_allclose(found.movement.step_mm, moved.step_mm, atol=1e-5)
    np.testing.assert_array_equal(np.flatnonzero(found.movement.flagged), [*range(12, 25), 40])
    np.testing.assert_array_equal(np.flatnonzero(~found.movement.found), [24])
    assert (found.threshold_mm, found.provenance["movement"]) == (1.0, "sub-1_desc-motion_timeseries.tsv")


def test_a_page_tells_it_in_words_and_draws_it(case):
    content = page.render(told(beside=beside.read(case, scan_of(), ())))
    said = words(content)
    assert "3 warnings: read before the maps" in said
    assert "14 of 60 frames lay more than 1 mm from the reference" in said
    assert "2.5 mm at most (frames 12-24, 40, counted from 0)" in said
    assert "no position was found for frame 24 " in said
    assert "Flagged (red): frames 12-24, 40." in said
    drawn = [base64.b64decode(part).decode() for part in re.findall(r"svg\+xml;base64,([^\"]+)", content)]
    assert any("displacement (mm)" in image and "no position found" in image for image in drawn)
    assert "Movement of the head" not in page.render(told())


def test_a_head_that_lay_still_is_no_warning():
    still = motion_files.MotionTable(*np.zeros((2, 5)), np.zeros(5, bool), np.ones(5, bool))
    assert movement.warnings(still, 1.0) == []
    content = words(page.render(told(beside=Beside(movement=still, threshold_mm=1.0))))
    assert "1 warning: read" in content
    assert "No frame is flagged." in content


def test_tables_that_do_not_fit_are_refused(case):
    path = case.path.with_name("sub-1_desc-motion_timeseries.tsv")
    text = path.read_text()
    path.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"expected a row for each of the 60 frames of sub-1_dce\.nii\.gz, found 59"):
        beside.read(case, scan_of(), ())
    path.write_text(text.replace("displacement_mm", "distance", 1))
    with pytest.raises(ValueError, match="expected numbers in the columns displacement_mm"):
        beside.read(case, scan_of(), ())


def test_frames_are_written_as_runs():
    assert movement.runs(np.array([0, 1, 2, 5, 8, 9])) == "0-2, 5, 8-9"
    assert movement.runs(np.arange(0, 40, 2)).endswith("14 and 12 more runs")
