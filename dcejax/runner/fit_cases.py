"""The conventional analysis over many cases: what each case goes through, from its files to its sidecar."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from dcejax.conventional import analysis, fit_outputs, fit_picture
from dcejax.conventional import concentration as conversions
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.preparation import prepare
from dcejax.conventional.voxel_status import count, has_estimates
from dcejax.data import provenance, results
from dcejax.data.cases import Case
from dcejax.physics.fitting import FitStatus
from dcejax.runner import case_runner
from dcejax.runner.case_runner import Status
from dcejax.types import Reporter

_MOSTLY = 0.9
_VERSIONED = ("dcejax", "jax", "numpy", "nibabel")


class _Runner:
    """What all cases share."""

    def __init__(self, settings: FitSettings, report: Reporter):
        self._settings = settings
        self._report = report

    def run(self, case: Case, position: str) -> Status:
        """Process one case.

        Raises:
            ValueError: the input is bad; nothing was written.
            OSError: a file may not be read.
        """
        settings, report = self._settings, self._report
        watch = case_runner.Stopwatch()
        report.status(f"{position}: reading")
        inputs = provenance.inputs_of(case)
        run_only = {field.name for field in dataclasses.fields(case_runner.RunSettings)}
        shaping = {name: value for name, value in vars(settings).items() if name not in run_only}
        case_hash = provenance.case_hash(case, inputs, {"fit": shaping})
        sidecar = fit_outputs.sidecar_path(settings.output_dir, case.case_id)
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
        picture = fit_picture.overview(scan, ready.concentration, found, ready.arterial, footer)
        modelled = None
        if settings.modelled:
            modelled = found.modelled
            if ready.conversion is not None:
                modelled = conversions.to_signal(modelled, ready.conversion, has_estimates(found.status))
        fit_outputs.write_case(settings.output_dir, scan, found, ready.arterial, modelled, picture)
        watch.lap("write")
        fit_outputs.write_sidecar(
            settings.output_dir,
            case.case_id,
            {
                **fit_outputs.conventions(found),
                "hash": case_hash,
                "model": analysis.describe(settings, found),
                "voxels": count(found.status),
                "inputs": inputs,
                **ready.provenance,
                "warnings": warnings,
                "seconds": watch.seconds,
                "versions": provenance.versions(_VERSIONED),
                "device": jax.devices()[0].device_kind,
            },
        )
        return "done"


def run(all_cases: Sequence[Case], settings: FitSettings, report: Reporter) -> int:
    """Process this process's share of the cases; see `dcejax.runner.case_runner.run`."""
    return case_runner.run(all_cases, lambda: _Runner(settings, report).run, settings, report)
