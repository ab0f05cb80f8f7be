from pathlib import Path

import pytest

from dcejax.data import atomic, cases, loading
from dcejax.data.facts import Facts

NOTHING = Facts()


def ids(found):
    return [case.case_id for case in found]


def test_path_need_not_exist_until_it_is_loaded(tmp_path):
    (case,) = cases.enumerate_cases([str(tmp_path / "scan.nii.gz")], NOTHING)
    assert (case.case_id, case.quantity, case.facts) == ("scan", "signal", NOTHING)
    with pytest.raises(ValueError, match=r"scan\.nii\.gz: expected a 4-D NIfTI.*no file of that name"):
        loading.load_scan(case)


def test_glob_takes_images_only_and_sorts(tmp_path):
    for name in ("b_dce.nii.gz", "a_dce.nii", "a_dce.json"):
        (tmp_path / name).touch()
    assert ids(cases.enumerate_cases([str(tmp_path / "*_dce*")], NOTHING)) == ["a", "b"]
    with pytest.raises(ValueError, match="expected NIfTI files that match the pattern"):
        cases.enumerate_cases([str(tmp_path / "c*.nii.gz")], NOTHING)


@pytest.fixture
def bids(tmp_path):
    for name in (
        "sub-1/perf/sub-1_dce.nii.gz",
        "sub-1/perf/sub-1_desc-brain_mask.nii.gz",
        "sub-1/perf/sub-1_T1map.nii.gz",
        "sub-2/ses-2/perf/sub-2_ses-2_dce.nii.gz",
        "sub-2/ses-2/perf/sub-2_ses-2_desc-tumour_dseg.nii.gz",
        "sub-2/ses-1/perf/sub-2_ses-1_dce.nii.gz",
        "sub-3/anat/sub-3_T1w.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_bids_folder(bids):
    found = cases.enumerate_cases([str(bids)], NOTHING)
    assert ids(found) == ["sub-1", "sub-2_ses-1", "sub-2_ses-2"]
    assert found[0].facts == Facts(mask=bids / "sub-1/perf/sub-1_desc-brain_mask.nii.gz")
    assert found[1].facts == NOTHING
    assert found[2].facts.segmentation.name == "sub-2_ses-2_desc-tumour_dseg.nii.gz"


def test_series_as_other_pipelines_name_them(bids):
    for name in (
        "sub-3/anat/sub-3_DCE.nii.gz",
        "sub-4/ses-1/perf/sub-4_ses-1_DCE.nii",
        "sub-4/ses-2/anat/sub-4_ses-2_dce.nii",
    ):
        (bids / name).parent.mkdir(parents=True, exist_ok=True)
        (bids / name).touch()
    (bids / "sub-3/anat/sub-3_desc-brain_mask.nii.gz").touch()
    found = cases.enumerate_cases([str(bids)], NOTHING)
    assert ids(found)[3:] == ["sub-3", "sub-4_ses-1", "sub-4_ses-2"]
    assert found[3].facts.mask == bids / "sub-3/anat/sub-3_desc-brain_mask.nii.gz"
    assert ids(cases.enumerate_cases([str(found[4].path)], NOTHING)) == ["sub-4_ses-1"]
    (bids / "sub-3/perf").mkdir()
    (bids / "sub-3/perf/sub-3_dce.nii.gz").touch()
    with pytest.raises(ValueError, match="expected one case per id"):
        cases.enumerate_cases([str(bids)], NOTHING)


def test_folder_of_one_subject(bids):
    found = cases.enumerate_cases([str(bids / "sub-2"), str(bids / "sub-1")], NOTHING)
    assert ids(found) == ["sub-2_ses-1", "sub-2_ses-2", "sub-1"]
    assert found[2].facts.mask == bids / "sub-1/perf/sub-1_desc-brain_mask.nii.gz"
    assert not cases.is_data_set(bids / "sub-3")


def test_bids_folder_of_concentration_brings_its_t1_map(bids):
    found = cases.enumerate_cases([str(bids)], Facts(input_quantity="concentration"))
    assert found[0].facts.t1_map.name == "sub-1_T1map.nii.gz"


def test_a_file_has_one_id_however_it_was_named(bids):
    path = str(bids / "sub-2/ses-1/perf/sub-2_ses-1_dce.nii.gz")
    assert ids(cases.enumerate_cases([path], NOTHING)) == ["sub-2_ses-1"]


def test_folder_without_images(tmp_path):
    with pytest.raises(ValueError, match=r"expected a BIDS folder with sub-\*"):
        cases.enumerate_cases([str(tmp_path)], NOTHING)


@pytest.mark.parametrize("name", ["scan.txt", "nothing"])
def test_input_of_another_kind(tmp_path, name):
    with pytest.raises(ValueError, match="expected a 4-D NIfTI"):
        cases.enumerate_cases([str(tmp_path / name)], NOTHING)


def manifest(tmp_path, *lines):
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return str(path)


def test_manifest(tmp_path):
    path = manifest(
        tmp_path,
        "input, case_id,mask,dt_s,tr_ms,input_quantity",
        "a/dce.nii.gz,P2,a/mask.nii.gz,5.1,,concentration",
        "/data/P1.nii.gz,,,,3.0,",
    )
    second, first = cases.enumerate_cases([path], Facts(relaxivity=4.0))  # in the manifest's order
    assert (first.case_id, first.path) == ("P1", Path("/data/P1.nii.gz"))
    assert first.facts == Facts(tr_ms=3.0, relaxivity=4.0)
    assert (second.case_id, second.path) == ("P2", tmp_path / "a/dce.nii.gz")
    assert second.facts == Facts(
        mask=tmp_path / "a/mask.nii.gz", dt_s=5.1, input_quantity="concentration", relaxivity=4.0
    )


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["input,maske", "a.nii.gz,b.nii.gz"], "found the unknown column 'maske'"),
        (["mask", "b.nii.gz"], "expected the column input"),
        (["input,input", "a.nii.gz,b.nii.gz"], "each at most once"),
        ([""], "found the columns none"),
        (["input"], "expected one row per case, found none"),
        (["input,mask", ",b.nii.gz"], "line 2: expected a path in column input"),
        (["input,dt_s", "a.nii.gz,fast"], "line 2: expected a number in column dt_s, found 'fast'"),
        (["input,input_quantity", "a.nii.gz,mM"], "line 2: expected signal or concentration"),
        (["input,mask", "a.nii.gz,b.nii.gz,c"], "line 2: expected 2 cells"),
        (["input,case_id", "a.nii.gz,../a"], "line 2: expected a case id of letters"),
    ],
)
def test_bad_manifest(tmp_path, lines, message):
    with pytest.raises(ValueError, match=rf"cohort\.csv.*{message}"):
        cases.enumerate_cases([manifest(tmp_path, *lines)], NOTHING)


def test_manifest_that_contradicts_a_flag(tmp_path):
    path = manifest(tmp_path, "input,dt_s", "a.nii.gz,5")
    with pytest.raises(ValueError, match=r"line 2: expected one dt_s, found 5\.0 here and --dt_s=6\.0"):
        cases.enumerate_cases([path], Facts(dt_s=6.0))
    assert cases.enumerate_cases([path], Facts(dt_s=5.0))[0].facts.dt_s == 5.0


def test_missing_manifest(tmp_path):
    with pytest.raises(ValueError, match=r"cohort\.csv: expected a CSV manifest"):
        cases.enumerate_cases([str(tmp_path / "cohort.csv")], NOTHING)


def test_two_cases_with_one_id():
    with pytest.raises(ValueError, match=r"'scan'.*found a/scan\.nii\.gz and b/scan\.nii\.gz"):
        cases.enumerate_cases(["a/scan.nii.gz", "b/scan.nii.gz"], NOTHING)


def test_one_mask_for_two_cases():
    with pytest.raises(ValueError, match=r"--mask: expected one case.*found 2; use a CSV manifest"):
        cases.enumerate_cases(["a.nii.gz", "b.nii.gz"], Facts(mask=Path("m.nii.gz")))


def test_names_of_files_fit(tmp_path):
    """A file system takes 255 bytes; forty are kept for endings, and temporary names are short."""
    path = tmp_path / f"{'x' * 216}.nii.gz"
    with pytest.raises(ValueError, match=r"expected a case id of at most 215 characters .* found 216; give a shorter"):
        cases.enumerate_cases([str(path)], Facts())
    final = tmp_path / ("y" * 255)
    atomic.write_text(final, "content")
    assert final.read_text() == "content"


def test_an_only_case_must_have_its_files(tmp_path):
    facts = Facts(mask=tmp_path / "mask.nii.gz")
    (tmp_path / "a.nii.gz").touch()
    with pytest.raises(ValueError, match=r"mask\.nii\.gz: expected a file that can be read"):
        cases.refuse_missing(cases.enumerate_cases([str(tmp_path / "a.nii.gz")], facts))
    facts.mask.touch()
    cases.refuse_missing(cases.enumerate_cases([str(tmp_path / "a.nii.gz")], facts))


def test_of_several_cases_one_may_lack_its_file(tmp_path):
    (tmp_path / "a.nii.gz").touch()
    both = [str(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")]
    cases.refuse_missing(cases.enumerate_cases(both, Facts()))
