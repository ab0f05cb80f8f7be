"""The page of a case whose maps a network made."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from dcejax.methods.method import Prediction
from dcejax.runner.case_report import curves, page
from dcejax.runner.case_report.beside import Beside
from dcejax.runner.case_report.curves import Curves, Line
from dcejax.types import Known, Scan, Series


def _part(series: Series, chosen: np.ndarray) -> Series:
    """Some voxels [N] of a series."""
    size = len(series.curves)

    def of(known: Known) -> Known:
        values = np.asarray(known.values)
        return known._replace(values=values[chosen]) if values.shape[:1] == (size,) else known

    context = series.context
    points = None if context.points is None else np.asarray(context.points)[chosen]
    mask = np.zeros_like(series.mask)
    mask[tuple(np.argwhere(series.mask)[chosen].T)] = True
    context = context._replace(t10=of(context.t10), b1=of(context.b1), points=points)
    return replace(series, curves=series.curves[chosen], mask=mask, context=context)


def curves_of(
    method: ModuleType,
    scan: Scan,
    series: Series,
    prediction: Prediction,
    modelled: np.ndarray | None,
    beside: Beside,
    given: Sequence[Line],
) -> Curves:
    """What is drawn over time: mean curves, what the method makes of them, and its arterial input beside a given one.

    The modelled series [V, T] is used where it was made, else made for these voxels, if the method can.
    """
    labels = None if scan.segmentation is None else scan.segmentation[scan.mask]
    chosen = curves.voxels(labels, len(series.curves))
    measured = scan.values[tuple(np.argwhere(scan.mask)[chosen].T)]
    if modelled is not None:
        modelled = modelled[chosen]
    elif hasattr(method, "modelled_series"):
        modelled = method.modelled_series(_part(series, chosen), prediction, scan.quantity)
    arterial = list(given)
    if hasattr(method, "plasma_curve"):
        arterial.insert(0, Line("estimated from the images", *method.plasma_curve(prediction)))
    labels = None if labels is None else labels[chosen]
    return curves.of_regions(scan.times, scan.quantity, measured, modelled, labels, beside.names, arterial)


def html(
    method: ModuleType,
    scan: Scan,
    maps: Mapping[str, np.ndarray],
    record: Mapping[str, Any],
    drawn: Curves,
    beside: Beside,
    rows: Sequence[Mapping[str, Any]],
) -> str:
    """Content of the page."""
    weights = record["weights"]
    return page.render(
        page.Told(
            scan=scan,
            title=scan.case_id,
            subtitle=f"dcejax-infer, weights {weights['name']}. Research only, not for clinical decisions.",
            outputs=method.OUTPUTS,
            maps=maps,
            warnings=record["warnings"],
            record={name: value for name, value in record.items() if name != "warnings"},
            curves=drawn,
            beside=beside,
            rows=rows,
        )
    )
