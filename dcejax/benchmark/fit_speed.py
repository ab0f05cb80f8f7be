"""How fast the conventional fit is, beside what a user could pick instead."""

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

from dcejax.benchmark import curve_fit, own_process
from dcejax.benchmark.measuring import timed
from dcejax.benchmark.problem import ExchangeProblem, Problem, fit, fit_with_delay, make_exchange_problem, make_problem
from dcejax.types import Reporter

_PAIRS = 5  # of dcejax and curve_fit, alternating
_VOXELS = 100_000
_VOXELS_CURVE_FIT = 600
_VOXELS_EXCHANGE = 20_000
_WHOLE_BRAIN = 650_000
_ROUNDING = 1e-5  # of a sum of squares in single precision
_PYTHONS = ("python3.12", "python3.13", "python3.14")  # osipy needs 3.12 or newer


def _rate(run: Callable[[Any], Any], problem: Problem | ExchangeProblem) -> float:
    """Voxels per second."""
    return len(problem.curves) / timed(lambda: run(problem))[1]


def _beside_curve_fit(problem: Problem, report: Reporter) -> dict[str, Any]:
    few = problem.first(_VOXELS_CURVE_FIT)
    ours, theirs = [], []
    for pair in range(_PAIRS):
        report.status("dcejax and curve_fit", pair, _PAIRS, "pairs")
        ours.append(_rate(fit, problem))
        theirs.append(_rate(curve_fit.fit, few))
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
            done = subprocess.run([candidate, "-c", "import osipy"], capture_output=True, text=True, check=False)
            reason = done.stderr.strip().splitlines()[-1:]
        except OSError as error:
            done, reason = None, [error.strerror]
        if done and done.returncode == 0:
            return candidate
        if stated:
            raise ValueError(
                f"--osipy_python: expected an interpreter that imports osipy, found {candidate}: {''.join(reason)}; "
                "give its path, or install osipy there"
            )
    return None


def _beside_osipy(python: str | None, problem: Problem, report: Reporter) -> dict[str, Any]:
    if python is None:
        reason = "no interpreter with osipy was found (it needs Python >= 3.12); give --osipy_python"
        return {"ratio_osipy": None, "osipy": reason}
    report.status("osipy")
    before = _rate(fit, problem)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "problem.npz"
        np.savez(path, curves=problem.curves, times_s=problem.times * 60.0, aif=problem.aif)
        command = [python, str(Path(__file__).with_name("osipy_worker.py")), str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"ratio_osipy": None, "osipy": f"failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"}
    found = json.loads(done.stdout.splitlines()[-1])
    ours, theirs = 0.5 * (1.0 / before + 1.0 / _rate(fit, problem)), found["seconds_per_voxel"]
    return {"osipy": found["version"], "voxels_per_s_osipy": 1.0 / theirs, "ratio_osipy": theirs / ours}


def _exchange(delayed: bool) -> dict[str, Any]:
    """Two-compartment exchange: voxels per second, and how many end above the residual of their truth."""
    problem = make_exchange_problem(_VOXELS_EXCHANGE, seed=2, delayed=delayed)
    result = problem.fit()  # compile
    rates = [_rate(ExchangeProblem.fit, problem) for _ in range(_PAIRS)]
    missed = result.residual > problem.residual * (1.0 + _ROUNDING)
    return {
        "voxels_per_s": float(np.median(rates)),
        "range": [min(rates), max(rates)],
        "share_above_truth": float(missed.mean()),
        "voxels": _VOXELS_EXCHANGE,
    }


def run(osipy_python: str | None, report: Reporter) -> dict[str, Any]:
    """Measure bounded fits with standard errors at 60 frames, and what is done without flags.

    Returns:
        Plain numbers: extended Tofts' voxels per second and their ratios to curve_fit and osipy (None with a reason
        where it cannot run), the same with a delay, two-compartment exchange without and with one, seconds and peak
        memory of a whole brain, also of what `dcejax-fit` does without flags.

    Raises:
        ValueError: an interpreter was stated that cannot import osipy.
    """
    python = _find_osipy(osipy_python)
    problem = make_problem(_VOXELS, seed=1)
    fit(problem)  # compile
    results = _beside_curve_fit(problem, report) | _beside_osipy(python, problem, report)
    report.status("with a delay")
    fit_with_delay(problem)  # compile
    rates = [_rate(fit_with_delay, problem) for _ in range(_PAIRS)]
    results |= {"voxels_per_s_with_delay": float(np.median(rates)), "range_with_delay": [min(rates), max(rates)]}
    for name, delayed in (("exchange", False), ("exchange_with_delay", True)):
        report.status(name.replace("_", " "))
        results[name] = _exchange(delayed)
    report.status(f"{_WHOLE_BRAIN} voxels in a process of their own")
    return {
        **results,
        **own_process.measure("whole_brain", "fit", str(_WHOLE_BRAIN)),
        "without_flags": own_process.measure("whole_brain", "choose", str(_WHOLE_BRAIN)),
        "whole_brain_voxels": _WHOLE_BRAIN,
        "device": jax.devices()[0].device_kind,
    }
