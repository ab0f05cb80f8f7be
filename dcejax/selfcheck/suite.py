"""The whole self-check, in the order in which it runs."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dcejax.selfcheck import (
    aif_checks,
    compiler_checks,
    estimates,
    osipi,
    reference_data,
    scan_checks,
    signal_checks,
    tissue_curves,
)
from dcejax.selfcheck.check import Check, Result, run
from dcejax.types import Reporter

ANALYTIC: tuple[Check, ...] = (
    *tissue_curves.CHECKS,
    *signal_checks.CHECKS,
    *aif_checks.CHECKS,
    *estimates.CHECKS,
    *compiler_checks.CHECKS,
)
REFERENCE: tuple[Check, ...] = scan_checks.CHECKS + osipi.CHECKS
NOT_COVERED = ("osipi/T1_mapping column 'T1 linear B1cor': not what a linear fit at the corrected angles gives",)


def run_all(folder: Path | None, report: Reporter) -> tuple[Result, ...]:
    """Run the analytic checks, and those on the folder of reference data if there is one.

    Raises:
        ValueError: a folder that is not the reference data.
    """
    if folder is not None:
        reference_data.validate(folder)
    plan = [(check,) for check in ANALYTIC]
    plan += [(check, folder) for check in REFERENCE] if folder is not None else []
    results = []
    # Most of the time goes into compilation, which keeps one core busy: two checks at a time.
    with ThreadPoolExecutor(max_workers=2) as pool:
        for number, result in enumerate(pool.map(lambda step: run(*step), plan), 1):
            report.status("checking", number, len(plan), "checks")
            results.append(result)
    report.note(f"{len(plan)} checks run")
    return tuple(results)
