"""How well each way of analysis tells diagnoses apart: ROC curves, arm against arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dcejax.evaluation.figures.panels import REFERENCE, SERIES, Panel, grid_of_panels, tidy
from dcejax.evaluation.metrics.bootstrap import Interval
from dcejax.evaluation.tables.table_cells import marked


@dataclass(frozen=True)
class RocCurve:
    """One arm, as `diagnosis.roc` and `diagnosis.auc` give it."""

    label: str
    fpr: np.ndarray  # [K] 1 - specificity
    tpr: np.ndarray  # [K] sensitivity
    area: Interval  # AUC with its 95 % interval


@dataclass(frozen=True)
class RocPanel(Panel):
    """One question asked of one parameter; of "IDH wildtype vs mutant" the first is what a positive is."""

    positives: int  # patients
    negatives: int
    curves: Sequence[RocCurve]  # an arm has the same place, and so the same style, in every panel

    def __len__(self) -> int:
        return len(self.curves)


def roc_figure(panels: Sequence[RocPanel]) -> Figure:
    """Draw ROC curves, a row a question and a column a parameter, with AUC [95 % CI] in each legend."""
    return grid_of_panels(panels, _roc, 4.1)[0]


def _roc(axes: Axes, panel: RocPanel) -> None:
    axes.plot([0, 1], [0, 1], **REFERENCE)
    for curve, (colour, line, _) in zip(panel.curves, cycle(SERIES), strict=False):
        axes.plot(curve.fpr, curve.tpr, color=colour, ls=line, lw=1.6, label=_legend(curve, panel))
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set_title(f"{panel.parameter}: {panel.title}", fontsize=10.5, pad=20)
    counts = f"{panel.positives} positive, {panel.negatives} negative"
    axes.text(0.5, 1.02, counts, ha="center", fontsize=8.5, color="#374151", transform=axes.transAxes)
    tidy(axes, "1 − specificity", "sensitivity")
    legend = axes.legend(loc="lower right", fontsize=7.5, handlelength=2.6, title="AUC [95 % CI]", frameon=True)
    legend.get_title().set_fontsize(7.5)
    legend.get_frame().set(edgecolor="none", alpha=0.8)


def _legend(curve: RocCurve, panel: RocPanel) -> str:
    ends = f"{curve.area.low:.2f}–{curve.area.high:.2f}" if np.isfinite(curve.area[1:]).all() else "–"
    return f"{curve.label} {curve.area.estimate:.2f} [{marked(ends, panel.positives + panel.negatives)}]"
