"""Types of the public API, as a checker sees them in code that uses the package."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import dcejax

ROOT = Path(__file__).resolve().parents[1]
RIGHT = """
from pathlib import Path

import dcejax
import numpy as np
from dcejax.methods import lyoo2025
from dcejax.physics.convolution import exponential_convolution
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts

patient = dcejax.simulate(seed=1, size="slab")
scan = dcejax.make_scan(np.ones((2, 2, 1, 60)), np.arange(60) / 12, np.ones((2, 2, 1), bool), tr_ms=2.8)
opened = dcejax.open_scan("dce.nii.gz", mask="mask.nii.gz", dt_s=5.1)
maps = dcejax.predict(opened, dcejax.load_weights("paper-v0"))
fitted = dcejax.fit(np.ones((3, 60)), scan.times, patient.arterial, "tofts")
reveal_type(patient)
reveal_type(scan)
reveal_type(opened)
reveal_type(maps)
reveal_type(dcejax.save_maps(Path("out"), scan, maps))
reveal_type(fitted)
reveal_type(dcejax.__version__)
reveal_type(exponential_convolution(1.0, scan.times, patient.arterial))
reveal_type(extended_tofts(ExtendedTofts(0.1, 0.05, 0.3), scan.times, patient.arterial, delay=0.1))
reveal_type(dcejax.make_stage(lyoo2025.Config(), "tcn"))
"""
REVEALED = [
    "dcejax.types.SimulatedScan",
    "dcejax.types.Scan",
    "dcejax.types.Scan",
    "dict[str, numpy.ndarray",
    "list[pathlib.Path]",
    "FitResult",
    "str",
    "Array",
    "Array",
    "Stage",
]
WRONG = {
    'dcejax.simulate(seed="one")': "arg-type",
    "dcejax.simulate(1, 2)": "call-arg|misc",
    "dcejax.predict(7)": "arg-type",
    'dcejax.open_scan("a.nii.gz", dt="5")': "call-arg",
    "dcejax.no_such_name": "attr-defined",
}


def checked(folder, text, *words):
    """What mypy says of a module that uses dcejax, one message a line."""
    pytest.importorskip("mypy", reason="needs pip install '.[dev]'")
    user = folder / "user.py"
    user.write_text(text, encoding="utf-8")
    cache = ["--cache-dir", folder / "cache"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", *cache, *words, user],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def messages(tmp_path_factory):
    """Of the right lines and the wrong ones in one run, which takes most of a minute."""
    lines = checked(tmp_path_factory.mktemp("types"), RIGHT + "\n".join(WRONG) + "\n")
    return [re.fullmatch(r".*user\.py:(\d+): (.*)", line).groups() for line in lines if "user.py:" in line]


@pytest.mark.slow
def test_results_have_the_types_that_the_document_says(messages):
    shown = [text for _, text in messages if "Revealed type" in text]
    assert len(shown) == len(REVEALED)
    for text, expected in zip(shown, REVEALED, strict=True):
        assert expected in text, text


@pytest.mark.slow
def test_wrong_calls_are_found_and_right_ones_are_not(messages):
    first = RIGHT.count("\n") + 1
    errors = [(int(line), text) for line, text in messages if text.startswith("error")]
    assert {line for line, _ in errors} == set(range(first, first + len(WRONG)))
    for number, code in enumerate(WRONG.values()):
        assert any(line == first + number and re.search(rf"\[({code})\]", text) for line, text in errors), errors


@pytest.mark.slow
def test_the_public_api_is_annotated_in_full_and_agrees_with_itself(tmp_path):
    pytest.importorskip("mypy", reason="needs pip install '.[dev]'")
    words = [sys.executable, "-m", "mypy", "--no-error-summary", "--cache-dir", tmp_path]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)  # of the files that pyproject.toml states
    assert done.returncode == 0, done.stdout + done.stderr


def test_checkers_see_the_public_names():
    stub = (ROOT / "dcejax" / "__init__.pyi").read_text(encoding="utf-8")
    declared = set(re.findall(r"^from \S+ import (\w+) as \1$", stub, re.M)) | set(re.findall(r"^(\w+): ", stub, re.M))
    assert declared == set(dcejax.__all__)
    assert (ROOT / "dcejax" / "py.typed").is_file()
