"""The self-check: every comparison with reference data, the command, its exit codes, and that it notices a fault."""

import math
import subprocess
import sys

import numpy as np
import pytest

from dcejax.cli import selfcheck
from dcejax.physics import fitting
from dcejax.selfcheck import check_table, osipi, suite
from dcejax.selfcheck.check import Check, Finding, Result, largest, run

CONVERSIONS = next(check for check in suite.REFERENCE if check.name == "OSIPI signal to concentration")


@pytest.fixture
def small_chunks(monkeypatch):
    """Few curves are fitted here, and others would be filled up to a chunk of hundreds."""
    monkeypatch.setattr(fitting, "chunk_size", lambda way: 32)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("check", suite.REFERENCE, ids=lambda check: check.name)
def test_reference_data(reference_data, check):
    result = run(check, reference_data)
    assert result.failures == ()
    assert {finding.case for finding in result.known} == set(check.known)


def test_all_rows_of_the_reference_data_are_seen(reference_data):
    expected = {"Parker input": 11, "Parker input, delayed": 9, "Georgiou input": 7, "signal to concentration": 5}
    expected |= {"T1, nonlinear": 171, "T1, linear": 171, "curves at their true parameters": 3 + 5 + 2 * (9 + 24 + 27)}
    for check in suite.REFERENCE:
        count = expected.get(check.name.removeprefix("OSIPI "))
        if count:
            assert len(run(check, reference_data).by_case) == count
    for name, count in {"Tofts": 25, "extended Tofts": 15, "Patlak": 9, "2CXM": 24}.items():
        assert len(osipi.CURVES[name].rows(reference_data, 5)) == count


@pytest.mark.slow
def test_the_command_without_data_as_a_user_runs_it(tmp_path):
    command = [sys.executable, "-m", "dcejax.cli.selfcheck"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[2].split()[:3] == ["check", "cases", "passed"]
    assert all(any(line.startswith(check.name) for line in lines) for check in suite.ANALYTIC)
    assert f"all {len(suite.ANALYTIC)} checks passed" in lines[-1]
    assert f"{len(suite.ANALYTIC)} checks run" in done.stderr


@pytest.fixture
def call(capsys, monkeypatch):
    """Run the command in this process with one quick check; returns its exit code, stdout and stderr."""
    monkeypatch.setattr(suite, "ANALYTIC", ())
    monkeypatch.setattr(suite, "REFERENCE", (CONVERSIONS,))

    def command(*arguments):
        with pytest.raises(SystemExit) as stop:
            selfcheck.main(["dcejax-selfcheck", *map(str, arguments)])
        return stop.value.code, *capsys.readouterr()

    return command


@pytest.fixture
def copy(reference_data, tmp_path):
    """The reference data by links, with the file of conversions as its own copy."""
    conversions = "osipi/SI_to_Conc/data/SI2Conc_data.csv"
    for path in reference_data.rglob("*"):
        target = tmp_path / "data" / path.relative_to(reference_data)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.name != "SI2Conc_data.csv":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)
    (tmp_path / "data" / conversions).write_bytes((reference_data / conversions).read_bytes())
    return tmp_path / "data"


def test_one_wrong_value_in_the_reference_is_named(call, copy):
    code, out, _ = call(f"--reference={copy}")
    assert code == 0
    assert "all 1 checks passed: 5 cases" in out
    file = copy / "osipi/SI_to_Conc/data/SI2Conc_data.csv"
    head, first, *rest = file.read_text(encoding="utf-8-sig").split("\n")
    cells = first.split(",")
    values = cells[-1].split()
    values[30] = repr(float(values[30]) + 1e-3)
    file.write_text("\n".join([head, ",".join([*cells[:-1], " ".join(values)]), *rest]), encoding="utf-8")
    code, out, _ = call(f"--reference={copy}")
    assert code == 1
    assert "MISSED in OSIPI signal to concentration:\n  vox_1: 0.001 mM" in out
    assert "1 of 1 checks MISSED" in out


def test_a_file_that_is_gone_is_a_miss(call, copy):
    (copy / "osipi/SI_to_Conc/data/SI2Conc_data.csv").unlink()
    code, out, _ = call(f"--reference={copy}")
    assert code == 1
    assert "did not finish (FileNotFoundError" in out


def test_a_folder_that_is_not_the_reference_data_is_refused(call, tmp_path):
    (tmp_path / "qiba_v6").mkdir()
    code, out, err = call(f"--reference={tmp_path}")
    assert (code, out) == (2, "")
    assert "none of its subfolders osipi/DCEmodels/data, " in err
    assert "qiba_v6" not in err
    code, _, err = call(f"--reference={tmp_path / 'absent'}")
    assert code == 2
    assert "no such folder" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--refrence=x"], "refrence"), (["x"], "flags only, found 'x'"), (["--reference="], "--reference: expected")],
)
def test_bad_flags_are_refused(call, words, message):
    code, out, err = call(*words)
    assert (code, out) == (2, "")
    assert message in err


def test_help(call):
    code, out, _ = call("--help")
    assert code == 0
    assert "--reference" in out
    assert "Exit codes" in out


FINDINGS = (
    Finding("good", 0.5, 1.0, "mM"),
    Finding("bad", 0.1, 1.0, "mM"),
    Finding("bad", 3.0, 2.0, "s"),
    Finding("bad", 9.0, 1.0, "s"),
    Finding("lost", math.nan, 1.0, "mM"),
    Finding("old", 2.0, 1.0, "mM"),
)


def test_a_case_passes_only_if_all_its_findings_hold_and_known_ones_are_no_failure():
    result = run(Check("example", "1", lambda: FINDINGS, known={"old": "its reason", "good": "never needed"}))
    assert (len(result.by_case), len(result.missed)) == (4, 3)
    assert [finding.case for finding in result.failures] == ["bad", "lost"]
    assert result.failures[0].error == 9.0
    assert [finding.case for finding in result.known] == ["old"]
    assert result.worst.case == "lost"
    text = check_table.render([result], ["nothing else"], 3.2)
    assert "example      4       1  no number" in text
    assert "MISSED in example:\n  bad: 9 s (× 9)\n  lost: no number\n" in text
    assert "example: old: 2 mM (× 2); its reason" in text
    assert "Not covered:\n  nothing else" in text
    assert text.endswith("1 of 1 checks MISSED: 4 cases, 1 known to fail, 3 s")


def test_long_lists_are_cut():
    result = Result(Check("many", "0", tuple), tuple(Finding(f"case {i}", 1.0, 0.0, "mM") for i in range(25)))
    text = check_table.render([result], [], 0.0)
    assert "  case 19: " in text
    assert "  case 20: " not in text
    assert "  and 5 more" in text


@pytest.mark.parametrize("measure", [lambda: 1 / 0, tuple])
def test_what_stops_a_check_is_a_miss(measure):
    result = run(Check("broken", "0", measure))
    assert len(result.failures) == 1
    assert "did not finish" in result.failures[0].case


def test_the_worst_element_is_relative_to_its_own_tolerance():
    finding = largest("a", [1.0, 100.0], [1.1, 101.0], absolute=0.05, relative=0.01, unit="mM")
    np.testing.assert_allclose([finding.error, finding.tolerance], [0.1, 0.061])
    assert math.isnan(largest("a", [1.0, np.nan], [1.0, 1.0], absolute=1.0, unit="mM").error)
    with pytest.raises(ValueError, match="expected shape"):
        largest("a", [1.0], [1.0, 2.0], unit="mM")


@pytest.mark.parametrize(("module", "name", "check"), [("signal_checks", "spgr", 3), ("aif_checks", "parker", 6)])
def test_a_fault_of_one_part_in_a_thousand_is_noticed(monkeypatch, module, name, check):
    home = getattr(suite, module)
    right = getattr(home, name)
    monkeypatch.setattr(home, name, lambda *args, **options: 1.001 * right(*args, **options))
    assert run(suite.ANALYTIC[check]).failures
