"""The conventional analysis over many cases: what each case goes through, from its files to its sidecar."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from dcejax.conventional import analysis, outputs, qc
from dcejax.conventional import concentration as conversions
from dcejax.conventional.preparation import prepare
from dcejax.conventional.settings import Settings
from dcejax.conventional.status import count, has_estimates
from dcejax.data import cohort, results
from dcejax.data.cases import Case
from dcejax.data.cohort import Status
from dcejax.physics.fitting import FitStatus
from dcejax.types import Report

_MOSTLY = 0.9
_VERSIONED = ("dcejax", "jax", "numpy", "nibabel")


class _Runner:
    """What all cases share."""

    def __init__(self, settings: Settings, report: Report):
        self._settings = settings
        self._report = report

    def run(self, case: Case, position: str) -> Status:
        """Process one case.

        Raises:
            ValueError: the input is bad; nothing was written.
            OSError: a file may not be read.
        """
        settings, report = self._settings, self._report
        watch = cohort.Stopwatch()
        report.status(f"{position}: reading")
        inputs = cohort.inputs_of(case)
        run_only = {field.name for field in dataclasses.fields(cohort.Settings)}
        shaping = {name: value for name, value in vars(settings).items() if name not in run_only}
        case_hash = cohort.case_hash(case, inputs, {"fit": shaping})
        sidecar = outputs.sidecar_path(settings.output_dir, case.case_id)
        if not settings.overwrite and results.stored_hash(sidecar) == case_hash:
            return "skipped"
        ready = prepare(case, settings)
        scan = ready.scan
        watch.lap("prepare")
        for warning in ready.warnings:
            report.line(f"{case.case_id}: warning: {warning}")
        if settings.dry_run:
            return "checked"

        report.status(f"{position}: fitting {len(ready.status)} voxels")
        found = analysis.analyse(
            ready.concentration, ready.status, scan.times, ready.arterial.plasma, settings, ready.iauc_weights
        )
        watch.lap("fit")
        warnings = list(ready.warnings)
        if (share := np.mean(found.status == FitStatus.NOT_ENHANCING)) > _MOSTLY:
            warnings.append(f"{share:.0%} of the mask's voxels do not enhance: check mask, arterial input and timing")
            report.line(f"{case.case_id}: warning: {warnings[-1]}")
        report.status(f"{position}: writing")
        method = "linear" if settings.method == "linear" else "nonlinear"
        footer = f"{settings.model}, {method} least squares · research only, not for clinical decisions"
        if warnings:
            footer += f" · {len(warnings)} warning(s), see {sidecar.name}"
        picture = qc.overview(scan, ready.concentration, found, ready.arterial, footer)
        modelled = None
        if settings.modelled:
            modelled = found.modelled
            if ready.conversion is not None:
                modelled = conversions.to_signal(modelled, ready.conversion, has_estimates(found.status))
        outputs.write_case(settings.output_dir, scan, found, ready.arterial, modelled, picture)
        watch.lap("write")
        outputs.write_sidecar(
            settings.output_dir,
            case.case_id,
            {
                **outputs.conventions(found),
                "hash": case_hash,
                "model": analysis.describe(settings, found),
                "voxels": count(found.status),
                "inputs": inputs,
                **ready.provenance,
                "warnings": warnings,
                "seconds": watch.seconds,
                "versions": cohort.versions(_VERSIONED),
                "device": jax.devices()[0].device_kind,
            },
        )
        return "done"


def run(all_cases: Sequence[Case], settings: Settings, report: Report) -> int:
    """Process this process's share of the cases; see `dcejax.data.cohort.run`."""
    return cohort.run(all_cases, lambda: _Runner(settings, report).run, settings, report)
