"""How fast and how true the conventional fit is, beside what a user could pick instead."""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dcejax.benchmark import curve_fit
from dcejax.benchmark.measuring import timed, worker
from dcejax.benchmark.problem import Problem, make_problem
from dcejax.physics import variable_projection
from dcejax.physics.fitting import fit
from dcejax.types import Reporter

_PAIRS = 5  # of dcejax and curve_fit, alternating
_VOXELS = 100_000
_VOXELS_CURVE_FIT = 600
_VOXELS_CLEAN = 2_000
_WHOLE_BRAIN = 650_000
_SCALING = (1_000, 10_000, 100_000, 1_000_000)
_PYTHONS = ("python3.12", "python3.13", "python3.14")  # osipy needs 3.12 or newer


def _seconds(run: Callable[[], Any]) -> float:
    return timed(run)[1]


def _fit(problem: Problem):
    return fit("extended_tofts", problem.curves, problem.times, problem.aif)


def _first(problem: Problem, voxels: int) -> Problem:
    return problem._replace(
        curves=problem.curves[:voxels], truth=problem.truth._make(v[:voxels] for v in problem.truth)
    )


def _beside_curve_fit(problem: Problem, report: Reporter) -> dict[str, Any]:
    few = _first(problem, _VOXELS_CURVE_FIT)
    ours, theirs = [], []
    for pair in range(_PAIRS):
        report.status("dcejax and curve_fit", pair, _PAIRS, "pairs")
        ours.append(len(problem.curves) / _seconds(lambda: _fit(problem)))
        theirs.append(_VOXELS_CURVE_FIT / _seconds(lambda: curve_fit.fit(few)))
    ratios = np.array(ours) / theirs
    return {
        "voxels_per_s": float(np.median(ours)),
        "voxels_per_s_curve_fit": float(np.median(theirs)),
        "ratio_curve_fit": float(np.median(ratios)),
        "ratio_curve_fit_range": [float(ratios.min()), float(ratios.max())],
    }


def _find_osipy(stated: str | None) -> str | None:
    """An interpreter that can import osipy: the one stated, else this one or a newer one on the path."""
    for candidate in [stated] if stated else [sys.executable, *filter(None, map(shutil.which, _PYTHONS))]:
        try:
            found = subprocess.run([candidate, "-c", "import osipy"], capture_output=True, check=False)
        except OSError as error:
            raise ValueError(
                f"--osipy_python: expected an interpreter, found {candidate} ({error.strerror}); give its path"
            ) from error
        if found.returncode == 0:
            return candidate
        if stated:
            raise ValueError(
                f"--osipy_python: expected an interpreter that imports osipy, found {candidate}: "
                f"{found.stderr.decode().strip().splitlines()[-1]}; install osipy there"
            )
    return None


def _beside_osipy(python: str | None, problem: Problem, clean: Problem, report: Reporter) -> dict[str, Any]:
    if python is None:
        reason = "no interpreter with osipy was found (it needs Python >= 3.12); give --osipy_python"
        return {"ratio_osipy": None, "osipy": reason}
    report.status("osipy")
    ours = _seconds(lambda: _fit(problem)) / len(problem.curves)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        arrays = {"curves": problem.curves, "times_s": problem.times * 60.0, "aif": problem.aif}
        np.savez(path, **arrays, clean=clean.curves, vp=clean.truth.vp)
        command = [python, str(Path(__file__).with_name("osipy_worker.py")), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"ratio_osipy": None, "osipy": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    found = json.loads(done.stdout.splitlines()[-1])
    again = _seconds(lambda: _fit(problem)) / len(problem.curves)
    theirs = float(np.median(found["seconds"])) / found["voxels"]
    return {
        "osipy": found["version"],
        "voxels_per_s_osipy": 1.0 / theirs,
        "ratio_osipy": theirs / (0.5 * (ours + again)),
        "vp_bias_median_osipy": found["vp_bias_median"],
        "vp_error_p95_osipy": found["vp_error_p95"],
    }


def _whole_brain(report: Reporter) -> dict[str, Any]:
    report.status(f"{_WHOLE_BRAIN} voxels in a process of their own")
    found = worker("whole_brain_worker", str(_WHOLE_BRAIN))
    return {"whole_brain_voxels": found["voxels"], "seconds": found["seconds"], "peak_rss_gib": found["peak_rss_gib"]}


def _scaling(report: Reporter) -> dict[str, Any]:
    problem = make_problem(_SCALING[-1], seed=2)
    seconds = {}
    for voxels in _SCALING:
        report.status(f"{voxels} voxels")
        part = _first(problem, voxels)
        seconds[voxels] = min(_seconds(lambda part=part: _fit(part)) for _ in range(3))
    return {"seconds_by_voxels": seconds}


def _vp_bias(clean: Problem) -> dict[str, Any]:
    error = np.asarray(_fit(clean).params.vp) / clean.truth.vp - 1.0
    return {"vp_bias_median": float(np.median(error)), "vp_error_p95": float(np.percentile(np.abs(error), 95))}


def _floor() -> dict[str, Any]:
    """What the method must do a voxel: two products with its table, one curve in, parameters and covariance out."""
    table = jax.eval_shape(variable_projection.make_table, np.zeros(60, np.float32), np.zeros(60, np.float32))
    nodes, frames = table.convolved.shape
    return {"floor_matrix_flop_per_voxel": 4 * nodes * frames, "floor_bytes_per_voxel": 4 * (frames + 3 + 9 + 4)}


def run(osipy_python: str | None, report: Reporter) -> dict[str, Any]:
    """Measure bounded extended Tofts with standard errors at 60 frames.

    Args:
        osipy_python: an interpreter that has osipy; searched for if None.
        report: where progress is told.

    Returns:
        Plain numbers: voxels per second and their ratios to curve_fit and osipy (None with a reason where it cannot
        run), seconds and peak memory of a whole brain, seconds by number of voxels, and median and 95th percentile of
        the relative error of vp in noise-free curves, where frames of 5 s are all that is known of the arterial input.

    Raises:
        ValueError: an interpreter was stated that cannot import osipy.
    """
    python = _find_osipy(osipy_python)
    clean = make_problem(_VOXELS_CLEAN, seed=3, noise_mM=0.0, fine=True)
    problem = make_problem(_VOXELS, seed=1)
    _fit(problem)  # compile
    return {
        **_beside_curve_fit(problem, report),
        **_beside_osipy(python, problem, clean, report),
        **_whole_brain(report),
        **_scaling(report),
        **_vp_bias(clean),
        **_floor(),
        "device": jax.devices()[0].device_kind,
    }
