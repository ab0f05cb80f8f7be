"""The page of a fitted case."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from dcejax.conventional import fit_outputs, fit_picture
from dcejax.conventional.analysis import Analysis
from dcejax.conventional.preparation import Prepared
from dcejax.conventional.voxel_status import has_estimates
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.runner.case_report import curves, page
from dcejax.runner.case_report.beside import Beside
from dcejax.runner.case_report.curves import Curves, Line
from dcejax.runner.case_report.panels import Codes
from dcejax.types import Output

_ERROR = "standard error of a voxel, of noise alone; none where the parameter lies on a bound or is not determined"


def _maps(prepared: Prepared, found: Analysis) -> tuple[list[Output], dict[str, np.ndarray]]:
    """Outputs and their maps, NaN where a voxel has no estimate."""
    outputs, maps, mask = [], {}, prepared.scan.mask
    for name, values in found.maps.items():
        quantity = found.quantity(name)
        output = Output("fit", name, quantity.unit, "estimate", quantity.description)
        outputs.append(output)
        maps[output.name] = fit_outputs.volume(np.where(found.has_value(name), values, np.nan), mask)
    for name, values in found.errors.items():
        output = Output("se", name, found.quantity(name).unit, "spread", _ERROR)
        outputs.append(output)
        maps[output.name] = fit_outputs.volume(np.where(found.has_value(name) & (values > 0), values, np.nan), mask)
    if prepared.fitted_t1 is not None:
        output = Output("fit", "T1", "s", "estimate", "native T1, fitted to the flip angles")
        t1 = prepared.fitted_t1 * SECONDS_PER_MINUTE
        outputs.append(output)
        maps[output.name] = fit_outputs.volume(np.where(t1 > 0, t1, np.nan), mask)
    return outputs, maps


def curves_of(prepared: Prepared, found: Analysis, beside: Beside) -> Curves:
    """What is drawn over time: mean concentration and its fit, and the arterial input."""
    scan = prepared.scan
    labels = None if scan.segmentation is None else scan.segmentation[scan.mask]
    chosen = curves.voxels(labels, len(found.status))
    fitted = has_estimates(found.status[chosen])[:, None]
    measured, modelled = (np.where(fitted, each[chosen], np.nan) for each in (prepared.concentration, found.modelled))
    arterial = [Line(str(prepared.arterial.provenance["source"]), scan.times, prepared.arterial.plasma)]
    labels = None if labels is None else labels[chosen]
    return curves.of_regions(scan.times, "concentration", measured, modelled, labels, beside.names, arterial)


def _codes(prepared: Prepared, found: Analysis) -> list[Codes]:
    def of(title: str, values: np.ndarray, names: dict[int, str], colours: tuple[str, ...]) -> Codes:
        ordered = sorted(names)
        shown = dict(zip(ordered, colours, strict=False))
        return Codes(title, fit_outputs.volume(values.astype(np.int16), prepared.scan.mask, ordered[0]), names, shown)

    made = [of("Status of the fit", found.status, fit_picture.status_names(), fit_picture.STATUS_COLOURS)]
    if found.chosen is not None:
        made.append(of("Chosen model", found.chosen, fit_picture.model_names(found), fit_picture.MODEL_COLOURS))
    return made


def html(
    prepared: Prepared, found: Analysis, record: Mapping[str, Any], how: str, drawn: Curves, beside: Beside
) -> str:
    """Content of the page; `how` says which fit it is."""
    outputs, maps = _maps(prepared, found)
    left_out = ("warnings", "maps", "standard_errors", "status")
    return page.render(
        page.Told(
            scan=prepared.scan,
            title=prepared.scan.case_id,
            subtitle=f"dcejax-fit, {how}. Research only, not for clinical decisions.",
            outputs=outputs,
            maps=maps,
            warnings=record["warnings"],
            record={name: value for name, value in record.items() if name not in left_out},
            curves=drawn,
            beside=beside,
            codes=_codes(prepared, found),
        )
    )
