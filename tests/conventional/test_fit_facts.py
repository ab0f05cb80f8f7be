from pathlib import Path

import pytest

from dcejax.conventional.fit_facts import ArterialSource, FitFacts
from dcejax.data import cases
from dcejax.data.facts import Facts


def manifest(tmp_path, *lines):
    path = tmp_path / "cohort.csv"
    path.write_text("\n".join(lines) + "\n")
    return [str(path)]


def test_columns_of_the_fit(tmp_path):
    path = manifest(
        tmp_path,
        "input,aif,vfa,vfa_flip_angles_deg,t1_s,hematocrit",
        'a.nii.gz,roi:m.nii.gz,v.nii.gz,"2, 5,10",,0',
        "b.nii.gz,georgiou,,,1.2,",
        "c.nii.gz,/data/c.csv,,,,",
    )
    first, second, third = cases.enumerate_cases(path, FitFacts())
    assert first.facts == FitFacts(
        aif=ArterialSource("roi", tmp_path / "m.nii.gz"),
        vfa=tmp_path / "v.nii.gz",
        vfa_flip_angles_deg=(2.0, 5.0, 10.0),
        hematocrit=0.0,
    )
    assert first.files() == {"input": tmp_path / "a.nii.gz", "vfa": tmp_path / "v.nii.gz", "aif": tmp_path / "m.nii.gz"}
    (tmp_path / "v.json").write_text("{}")
    assert first.files()["vfa_sidecar"] == tmp_path / "v.json"
    assert second.facts == FitFacts(aif=ArterialSource("georgiou"), t1_s=1.2)
    assert third.facts == FitFacts(aif=ArterialSource("file", Path("/data/c.csv")))


@pytest.mark.parametrize("column", ["vfa", "t1_s"])
def test_columns_of_the_fit_are_unknown_to_the_networks(tmp_path, column):
    with pytest.raises(ValueError, match=f"found the unknown column '{column}'"):
        cases.enumerate_cases(manifest(tmp_path, f"input,{column}", "a.nii.gz,1"), Facts())


@pytest.mark.parametrize("text", ["automatic", "roi:", "aif.txt", "population"])
def test_a_source_that_is_none(tmp_path, text):
    with pytest.raises(ValueError, match=r"line 2: expected FILE\.csv, roi:MASK\.nii\.gz, auto, .* in column aif"):
        cases.enumerate_cases(manifest(tmp_path, "input,aif", f"a.nii.gz,{text}"), FitFacts())


def test_a_manifest_that_contradicts_the_flag(tmp_path):
    path = manifest(tmp_path, "input,aif", "a.nii.gz,parker")
    with pytest.raises(ValueError, match=r"expected one aif, found parker here and --aif=roi:m\.nii\.gz"):
        cases.enumerate_cases(path, FitFacts(aif=ArterialSource("roi", Path("m.nii.gz"))))


def test_flip_angles_beside_a_series_serve_where_t1_is_not_known(tmp_path):
    perf = tmp_path / "sub-1" / "perf"
    perf.mkdir(parents=True)
    for name in ("dce.nii.gz", "VFA.nii.gz"):
        (perf / f"sub-1_{name}").touch()

    def sources(**stated):
        (case,) = cases.enumerate_cases([str(tmp_path)], FitFacts(**stated))
        return [name for name in ("t1_map", "vfa", "t1_s") if getattr(case.facts, name) is not None]

    assert sources() == ["vfa"]
    assert sources(t1_s=1.2) == ["t1_s"]
    assert sources(t1_map=Path("t1.nii.gz")) == ["t1_map"]
    assert sources(input_quantity="concentration") == []
    (perf / "sub-1_T1map.nii.gz").touch()
    assert sources() == ["t1_map"]


def test_siblings_serve_what_is_not_stated(tmp_path):
    perf = tmp_path / "sub-1" / "perf"
    perf.mkdir(parents=True)
    for name in ("dce.nii.gz", "T1map.nii.gz", "B1map.nii.gz", "aif.csv", "desc-brain_mask.nii.gz"):
        (perf / f"sub-1_{name}").touch()

    def found(**stated):
        (case,) = cases.enumerate_cases([str(tmp_path)], FitFacts(**stated))
        return {name for name, value in vars(case.facts).items() if value is not None}

    assert found() == {"mask", "t1_map", "b1_map", "aif"}
    assert found(t1_s=1.5) == {"mask", "b1_map", "aif", "t1_s"}
    assert found(input_quantity="concentration") == {"mask", "aif", "input_quantity"}
    (case,) = cases.enumerate_cases([str(tmp_path)], FitFacts(aif=ArterialSource("auto")))
    assert case.facts.aif == ArterialSource("auto")
