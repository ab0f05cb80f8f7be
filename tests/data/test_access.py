"""Folders that cannot take results are found before the work."""

import os
from collections import namedtuple

import exams
import pytest

from dcejax.conventional.fit_facts import ArterialSource, FitFacts
from dcejax.conventional.fit_settings import FitSettings
from dcejax.data import access, provenance
from dcejax.data.cases import Case
from dcejax.runner import fit_cases
from dcejax.runner.case_record import RunSettings


class Log:
    def line(self, text):
        pass

    status = note = line


def test_space(tmp_path, monkeypatch):
    access.check_space(tmp_path / "not" / "yet", 1000)
    usage = namedtuple("usage", "free")
    seen = []
    monkeypatch.setattr(access.shutil, "disk_usage", lambda path: seen.append(path) or usage(10 << 20))
    access.check_space(tmp_path / "not" / "yet", 5 << 20)
    with pytest.raises(
        ValueError, match=r"yet: expected 20 MiB of free space .* found 10 MiB; .* another --output_dir"
    ):
        access.check_space(tmp_path / "not" / "yet", 10 << 20)
    assert set(seen) == {tmp_path}
    assert not (tmp_path / "not").exists()


def test_a_full_disk_is_found_before_the_fit(tmp_path, monkeypatch):
    files = exams.write(tmp_path, exams.simulate())
    facts = FitFacts(mask=files["mask"], aif=ArterialSource("file", files["aif"]), input_quantity="concentration")
    monkeypatch.setattr(access.shutil, "disk_usage", lambda path: namedtuple("usage", "free")(100))
    monkeypatch.setattr(fit_cases.analysis, "analyse", lambda *_, **__: pytest.fail("computed"))
    how = RunSettings(output_dir=tmp_path / "out")
    with pytest.raises(ValueError, match="of free space or more for the results, found 0 MiB"):
        fit_cases.run([Case("a", files["concentration"], facts)], FitSettings(), how, Log())
    assert not (tmp_path / "out" / "a_desc-fit.json").exists()


@pytest.mark.parametrize("way", ["content", "time", "gone"])
def test_an_input_that_changes_while_it_is_read_is_refused(tmp_path, way):
    path = tmp_path / "scan.nii"
    path.write_bytes(b"first")
    case = Case("scan", path, FitFacts())
    before = provenance.states_of(case)
    provenance.require_same(case, before)
    if way == "gone":
        path.unlink()
        with pytest.raises(ValueError, match=r"scan\.nii: expected a file that can be read, found No such file"):
            provenance.require_same(case, before)
        return
    if way == "content":
        path.write_bytes(b"second")
    else:
        os.utime(path, (0, 0))
    with pytest.raises(ValueError, match=r"scan\.nii: expected a file that stays as it is .* run again") as found:
        provenance.require_same(case, before)
    assert access.may_pass(found.value)  # it may be whole by then
