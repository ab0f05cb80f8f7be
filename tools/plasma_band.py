"""How far the recommended model's plasma curve is from the truth, and the band that `methods.plasma_band` has.

    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=VALIDATION
    dcejax-simulate --cohort=test-102 --size=half --output_dir=TEST
    python tools/plasma_band.py VALIDATION TEST > docs/plasma_band.json

With nothing known, with the haematocrit, and with the arterial input. The truth is what arrives in tissue before any
delay, as in training. Of validation patients: the factor within which nine of ten areas under the curve lie (the
quantile is that of conformal prediction), and the least shift with which the band then holds nine of ten values of
the first pass and those after it. Of test patients: how many it holds, errors of peak and area, and the ICC of their
logarithms with the truth. Simulated results.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_accuracy
import numpy as np
import true_plasma
from calibrate import INSIDE
from cohort_studies import interval
from model_accuracy import stem_of

from dcejax.data import aif_csv, cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.evaluation.metrics.reliability import icc_agreement
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.examination_posterior import estimated_plasma
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.plasma_band import BANDS, Band, around
from dcejax.physics.bolus_grid import GRID

FIRST_PASS = slice(2, 13)  # steps of the grid: from before its arrival to its end
SHIFTS_S = np.arange(0.0, 5.1, 0.5)
NOTHING_MM = 0.02  # by which a value may leave the band


def examine(folder: Path, trained: dcejax2026.Trained, config: dcejax2026.Config) -> dict[str, list[np.ndarray]]:
    """Found and true curves of all patients, as far as each scan goes, by what is known."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in ("true", *BANDS)}
    for case in cases.enumerate_cases([str(folder)], Facts()):
        stem, scan = stem_of(case), loading.load_scan(case)
        hematocrit = true_plasma.sampled_of(stem).hematocrit
        known = {
            "nothing": Beside(),
            "hematocrit": Beside(hematocrit=hematocrit),
            "arterial input": Beside(aif=aif_csv.read(Path(f"{stem}_aif.csv"))),
        }
        for name, beside in known.items():
            plasma, arrival = estimated_plasma(trained, dcejax2026.series_of(scan, beside, config))
            found[name].append(plasma)
        found["true"].append(true_plasma.on_grid(stem, arrival)[: len(plasma)])
        print(case.case_id, file=sys.stderr, flush=True)
    return found


def held(found: list[np.ndarray], true: list[np.ndarray], band: Band) -> dict[str, float]:
    """Share of values in the band, of the first pass and later, mean over patients."""
    shares = []
    for curve, of in zip(found, true, strict=True):
        low, high = around(curve, band)
        inside = (of >= low - NOTHING_MM) & (of <= high + NOTHING_MM)
        shares.append([inside[FIRST_PASS].mean(), inside[FIRST_PASS.stop :].mean()])
    return dict(zip(("first pass", "later"), np.mean(shares, axis=0).tolist(), strict=True))


def area(curve: np.ndarray) -> float:
    """Under a curve on the first steps of the grid, mM min."""
    return float(np.trapezoid(curve, GRID[: len(curve)]))


def logarithms(of: Callable[[np.ndarray], float], *curves: list[np.ndarray]) -> np.ndarray:
    """Logarithms [P, K] of a figure of K curves of each patient."""
    return np.log([[of(curve) for curve in each] for each in zip(*curves, strict=True)])


def calibrate(found: list[np.ndarray], true: list[np.ndarray]) -> Band:
    """The band that holds nine of ten validation patients.

    Raises:
        ValueError: no shift is large enough.
    """
    errors = np.sort(np.abs(np.diff(logarithms(area, true, found))[:, 0]))
    scale = float(errors[int(np.ceil((len(errors) + 1) * INSIDE)) - 1])
    for shift in SHIFTS_S.tolist():
        band = Band(round(scale, 3), shift)
        if min(held(found, true, band).values()) >= INSIDE:
            return band
    raise ValueError(f"expected a shift of at most {SHIFTS_S[-1]} s to hold {INSIDE:.0%}, found none")


def agreement(found: list[np.ndarray], true: list[np.ndarray]) -> dict[str, Any]:
    """Errors of peak and area and the ICC of their logarithms with the truth."""
    told = {}
    for name, of in (("peak", np.max), ("area", area)):
        pairs = logarithms(of, true, found)
        told[name] = {
            "error": interval(np.abs(pairs[:, 1] - pairs[:, 0])),
            "icc": interval(pairs, lambda some, axis: np.asarray(icc_agreement(some))),
        }
    return told


def main() -> None:
    """Calibrate, judge and print."""
    loaded = weights.load(None)
    config = method.config_of(loaded)
    trained = dcejax2026.load(loaded.params, config, default_policy())
    validation, test = (examine(Path(folder), trained, config) for folder in sys.argv[1:3])
    result: dict[str, Any] = {"what": "simulated patients, not clinical evidence", "weights": loaded.name}
    result["sha256"] = loaded.record["sha256"]
    for name in BANDS:
        band = calibrate(validation[name], validation["true"])
        result[name] = {
            "band": band._asdict(),
            "validation": {"patients": len(validation["true"])} | held(validation[name], validation["true"], band),
            "test": {"patients": len(test["true"])} | held(test[name], test["true"], band),
        } | agreement(test[name], test["true"])
    print(json.dumps(model_accuracy.shortened(result), indent=1))


if __name__ == "__main__":
    main()
