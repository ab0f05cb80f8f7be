"""The page of all cases of a derivatives data set."""

import json
import re
from urllib.parse import unquote

import pytest
from case_pages import words

from dcejax.data import results
from dcejax.evaluation.report import group_report

CASES = [f"sub-{number:02d}_ses-1" for number in range(9)]


@pytest.fixture
def derivatives(tmp_path):
    """Nine cases: the last has an odd residual and a region that is half outside the mask; the first has no page."""
    quality, rois = [], []
    for number, case in enumerate(CASES):
        subject = case[:6]
        identity = {"participant_id": subject, "session_id": "ses-1", "case_id": case}
        last = number == len(CASES) - 1
        quality.append(
            identity
            | {"voxels": 900, "warnings": int(last), "median_residual_curve": 9.0 if last else 1.0 + number / 50}
        )
        for name, value in (("ve", 0.2), ("Ktrans", 0.05)):
            row = {"label": 1, "name": "rim <b>" if number else None, "map": name, "voxels": 40}
            row |= {"share_covered": 0.5 if last else 1.0, "median": value, "q25": value / 2, "q75": 2 * value}
            rois.append(
                identity | row | {"mean": value, "sd": value, "expected_median": value, "median_q05": value / 3}
            )
            rois[-1]["median_q95"] = 3 * value
        folder = tmp_path / subject / "ses-1" / "perf"
        folder.mkdir(parents=True)
        record = {"warnings": ["the head may have moved"] if last else []}
        (folder / f"{case}_desc-dcejax.json").write_text(json.dumps(record))
        if number:
            (folder / f"{case}_report.html").write_text("a page")
    for table, rows in (("quality", quality), ("rois", rois)):
        (tmp_path / f"group_desc-dcejax_{table}.tsv").write_text(results.tsv_text(rows[0], rows))
    return tmp_path


def test_everything_is_on_the_page_and_links_lead_to_files(derivatives):
    path = group_report.write(derivatives, "dcejax")
    assert path.name == "group_desc-dcejax_report.html"
    content = path.read_text(encoding="utf-8")
    said = words(content)
    assert "9 cases of 9 participants." in said
    assert "With warnings: 1, sub-08_ses-1." in said
    assert "Regions with estimates in less than 90 % of their voxels: sub-08_ses-1 rim <b>." in said
    assert "Median residual curve far from that of the other cases (median 1.08): sub-08_ses-1." in said
    assert "Without a page of their own: sub-00_ses-1." in said
    assert "sub-08_ses-1: the head may have moved." in said
    assert "0.0500 (0.0167 to 0.1500)" in said
    assert "rim <b>" not in content  # escaped
    assert said.index("Region: label 1 · Map: Ktrans") < said.index("Region: label 1 · Map: ve")
    links = [link for link in re.findall(r'<a href="([^"#]+)"', content) if not link.startswith("#")]
    assert len(links) == 8
    assert all((derivatives / unquote(link)).read_text() == "a page" for link in links)
    assert content.count("data:image/png") == 1


def test_few_cases_without_regions(derivatives):
    (derivatives / "group_desc-dcejax_rois.tsv").unlink()
    path = derivatives / "group_desc-dcejax_quality.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    said = words(group_report.write(derivatives, "dcejax").read_text(encoding="utf-8"))
    assert "1 case of 1 participant. No case has warnings. No case has a page of its own" in said
    assert "No case has a segmentation." in said
    assert "far from" not in said


def test_a_damaged_table_is_refused(derivatives):
    (derivatives / "group_desc-dcejax_rois.tsv").write_text("a\tb\n1\n")
    with pytest.raises(ValueError, match="expected as many cells in each row"):
        group_report.write(derivatives, "dcejax")
