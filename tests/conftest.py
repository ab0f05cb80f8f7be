"""Fixtures shared by all tests."""

import atexit
import os
import signal
from functools import partial
from pathlib import Path

import compiler_settings  # noqa: F401 - before anything imports JAX
import exams
import jax
import pytest
import scans
import simulations

from dcejax.evaluation.arms import fit_arms
from dcejax.evaluation.figures import all_figures
from dcejax.execution import interruption
from dcejax.physics.selection import select
from dcejax.simulation.reference_object import readers
from dcejax.simulation.scanner import imaging

_FORGET_ABOVE = 3 * 2**30  # bytes


def _memory() -> float:
    """Bytes that this process holds now; as much as can be where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if status.exists() else float("inf")


@pytest.fixture(scope="module", autouse=True)
def _forget_programs():
    """Programs of one file are hardly used by the next, and those of all take gigabytes."""
    yield
    if _memory() > _FORGET_ABOVE:
        jax.clear_caches()


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of data that nobody on this project wrote; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("DCEJAX_REFERENCE_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; set DCEJAX_REFERENCE_DATA to its folder")
    return folder


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> Path:
    """Random weights of small networks, exported as training does."""
    return scans.export_tiny_weights(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="session")
def exam():
    """A small examination of known T1 and B1, for the commands of conventional analysis."""
    return exams.simulate()


@pytest.fixture
def files(tmp_path, exam):
    """Its files."""
    return exams.write(tmp_path / "in", exam)


@pytest.fixture(scope="module")
def coarse_slab():
    """The slab of simulated cohorts on a grid that is rendered in a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(imaging.SIZES, "slab", simulations.COARSE)
        yield


@pytest.fixture(scope="module")
def quick_fits():
    """Evaluations and readers whose fits have one model and no delay; the tests of the arms and of the readers fit as
    users' do."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (fit_arms, readers):
            patch.setattr(module, "select_carefully", partial(select, "extended_tofts"))
        yield


@pytest.fixture
def plain(monkeypatch):
    """Evaluations without figures, which take longer than all else."""
    for name in ("cases", "scatter", "agreement", "curves", "calibration"):
        monkeypatch.setattr(all_figures, name, lambda pool: {})


@pytest.fixture
def run_infer(tiny_weights, capsys, monkeypatch):
    """Run the command in this process; returns its exit code and what it wrote to stderr.

    Without the picture, which takes longer than all else; the tests in another process and the demo draw it.
    """
    from dcejax.cli import infer
    from dcejax.runner import map_picture

    monkeypatch.setattr(map_picture, "overview", lambda *_: b"picture")

    def call(*arguments, **flags):
        words = [f"--{name}={value}" for name, value in ({"weights": tiny_weights} | flags).items()]
        with pytest.raises(SystemExit) as stop:
            infer.main(["infer.py", *map(str, arguments), *words])
        return stop.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def run_fit(capsys, monkeypatch):
    """Run the conventional analysis in this process, without its picture; returns its exit code and its stderr."""
    from dcejax.cli import fit
    from dcejax.conventional import fit_picture

    monkeypatch.setattr(fit_picture, "overview", lambda *_: b"picture")

    def call(*arguments, **flags):
        words = [f"--{name}={value}" for name, value in flags.items()]
        with pytest.raises(SystemExit) as stop:
            fit.main(["dcejax-fit", *map(str, arguments), *words])
        return stop.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def handlers():
    """Handlers of signals and of exit as they were: a command leaves its own to the process that it ends.

    Processes that a test starts hear SIGINT, even where the tests themselves were started to ignore it.
    """
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield {number: signal.getsignal(number) for number in former}
    for number, handler in former.items():
        signal.signal(number, handler)
    atexit.unregister(interruption.leave)


@pytest.fixture
def scan(tmp_path):
    return scans.save_scan(tmp_path / "in" / "p1.nii.gz")


@pytest.fixture
def mask(tmp_path):
    return scans.save_mask(tmp_path / "in" / "mask.nii.gz")


@pytest.fixture
def torch(monkeypatch):
    """PyTorch without its compiler, which takes half a minute a form, and on one of the cores that tests share."""
    torch = pytest.importorskip("torch", reason="the comparison needs torch")

    def refuse(module, **_):
        raise RuntimeError("no compiler\nat all")

    monkeypatch.setattr(torch, "compile", refuse)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield torch
    torch.set_num_threads(threads)
