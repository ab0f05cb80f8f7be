"""Maps of one patient side by side: conventional, true and predicted, and the stated SD beside the error."""

from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dcejax.data import drawing
from dcejax.evaluation.figures.panels import LABELS, UNIT_NAMES
from dcejax.types import PARAMETERS

CV_TOP = 0.5  # of every panel of CV, so that patients compare

_MARGIN_VOXELS = 4
_BAR_MM = 20.0
_OUTSIDE = "#30343a"
_NO_VALUE = "#4fd8ff"  # cyan, which none of the colour maps has
_COLOURS = ("inferno",) * 3 + ("cividis",) + ("viridis",) * 2  # of maps, SD / estimate, and SD and error
_LEVELS = 48  # of a colour map: more can hardly be distinguished, and noise in them makes files large
_EDGE = [patheffects.withStroke(linewidth=2.2, foreground="black")]  # so that white shows on bright colours too


@dataclass(frozen=True)
class CasePanel:
    """One slice of one patient; the channels C are Ktrans (1/min), vp, ve (fractions)."""

    title: str  # who: diagnosis, case, slice
    arm: str  # whose maps are judged
    statistic: str  # what its values are: mean, median or estimate
    note: str  # below the maps: what a reader must know to judge them
    mm: tuple[float, float]  # size of a voxel along x and y
    reference: np.ndarray  # [X, Y, C] conventional analysis by reader 1; NaN where it gave no value
    truth: np.ndarray  # [X, Y, C]
    estimate: np.ndarray  # [X, Y, C] of the arm
    cv: np.ndarray  # [X, Y, C] SD / estimate
    sd: np.ndarray  # [X, Y, C] as the arm states it
    error: np.ndarray  # [X, Y, C] |estimate - truth|
    tumour: np.ndarray  # [X, Y] bool, what is outlined
    brain: np.ndarray  # [X, Y] bool, what is shown

    @property
    def stacks(self) -> tuple[np.ndarray, ...]:
        """What is drawn [X, Y, C], from left to right."""
        return self.reference, self.truth, self.estimate, self.cv, self.sd, self.error


def hang(image: np.ndarray) -> np.ndarray:
    """Turn a slice [X, Y, ...], x to the patient's right and y to the front, to rows of an image [Y, X, ...].

    As radiologists hang it: right of the patient on the left, front up. Files whose affine is a positive diagonal are
    stored in this order; others must be brought to it first.
    """
    return image.swapaxes(0, 1)[::-1, ::-1]


def _box(brain: np.ndarray) -> tuple[slice, slice]:
    """What a slice is cut to: the brain and a margin, or all of it without one."""
    if not brain.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(brain.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    return tuple(slice(max(first - _MARGIN_VOXELS, 0), last + 1 + _MARGIN_VOXELS) for first, last in ends)


def _colours(name: str) -> Colormap:
    return matplotlib.colormaps[name].resampled(_LEVELS).with_extremes(bad=_NO_VALUE)


class _Slice:
    """Draws cut images of one patient alike."""

    def __init__(self, case: CasePanel):
        self._box = _box(case.brain)
        self._inside = hang(case.brain[self._box])
        self._tumour = hang(case.tumour[self._box])
        self._mm = case.mm

        rows, columns = self._inside.shape
        self.tallness = (rows * self._mm[1]) / (columns * self._mm[0])

    def cut(self, image: np.ndarray) -> np.ndarray:
        """Cut [X, Y] to the image that is drawn."""
        return hang(image[self._box])

    def within(self, image: np.ndarray) -> np.ndarray:
        """Values [N] of a cut image inside the brain."""
        return image[self._inside]

    def draw(self, axes: Axes, image: np.ndarray, top: float, colours: str) -> AxesImage:
        """Draw a cut image from 0 to `top` with its sides and the outline of the tumour."""
        shown = axes.imshow(
            np.ma.masked_invalid(image),
            vmin=0.0,
            vmax=top,
            cmap=_colours(colours),
            aspect=self._mm[1] / self._mm[0],
            interpolation="nearest",
            alpha=self._inside.astype(float),
        )
        axes.set_facecolor(_OUTSIDE)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        if self._tumour.any() and not self._tumour.all() and min(self._tumour.shape) > 1:
            outline = axes.contour(self._tumour.astype(float), levels=[0.5], colors="white", linewidths=0.9)
            outline.set_path_effects(_EDGE)
        style = {"va": "top", "color": "white", "fontsize": 9, "transform": axes.transAxes}
        axes.text(0.03, 0.98, "R", ha="left", **style)
        axes.text(0.97, 0.98, "L", ha="right", **style)
        return shown

    def scale_bar(self, axes: Axes) -> None:
        """Draw a bar of 2 cm near the lower left corner."""
        start, height = 0.04 * self._inside.shape[1], 0.965 * self._inside.shape[0]
        end = start + _BAR_MM / self._mm[0]
        axes.autoscale(False)
        axes.plot([start, end], [height, height], color="white", lw=2.5, solid_capstyle="butt")
        style = {"ha": "center", "va": "bottom", "color": "white", "fontsize": 7}
        axes.text((start + end) / 2, height - 0.015 * self._inside.shape[0], "2 cm", **style)


def case_figure(case: CasePanel) -> Figure:
    """Draw three rows Ktrans, vp, ve: conventional, true and predicted map, CV, SD, and |error|.

    The three maps of a row share one range, from 0 to the 99.5th percentile of the true and the conventional map in
    the brain; SD and |error| share another, likewise; CV has the same in every figure.
    """
    cut = _Slice(case)
    across = 1.6  # inches of one map
    down = float(np.clip(across * cut.tallness, 1.0, 2.6))
    figure = Figure(figsize=(12.4, 3 * down + 1.3), layout="compressed")
    grid = figure.subplots(len(PARAMETERS), 6, squeeze=False)
    arm = case.arm if len(case.arm) <= 14 else f"{case.arm[:13]}…"
    ratio = f"SD / {case.statistic}"
    heads = ["Conventional, reader 1", "Truth"]
    heads += [f"{arm}, {what}" for what in (case.statistic, ratio, "SD")] + [f"|Error| of {case.statistic}"]
    for axes, head in zip(grid[0], heads, strict=True):
        axes.set_title(head, fontsize=10)
    for channel, (name, row) in enumerate(zip(PARAMETERS, grid, strict=True)):
        images = [cut.cut(np.asarray(stack[..., channel], np.float64)) for stack in case.stacks]
        top = drawing.top_of(*map(cut.within, images[:2]))
        top_error = drawing.top_of(*map(cut.within, images[4:]))
        tops = (top, top, top, CV_TOP, top_error, top_error)
        shown = [cut.draw(*what) for what in zip(row, images, tops, _COLOURS, strict=True)]
        cut.scale_bar(row[0])
        row[0].set_ylabel(name, fontsize=12)
        bars = (
            (shown[0], row[:3], LABELS[name]),
            (shown[3], row[3:4], f"{name}, {ratio} (ratio)"),
            (shown[4], row[4:], f"{name}, SD and |error| ({UNIT_NAMES[name]})"),
        )
        for image, axes, label in bars:
            bar = figure.colorbar(image, ax=list(axes), extend="max", aspect=24, pad=0.015, fraction=0.05)
            bar.set_label(label, fontsize=8.5)
            bar.ax.tick_params(labelsize=8)
    figure.suptitle(case.title, fontsize=14)
    figure.supxlabel(_note(case, cut), fontsize=9)
    return figure


def _note(case: CasePanel, cut: _Slice) -> str:
    lines = [case.note] if case.note else []
    if any(not np.isfinite(cut.within(cut.cut(stack))).all() for stack in case.stacks):
        lines.append("Cyan inside the brain: no value.")
    lines.append(
        f"White line: tumour. R, L: right and left of the patient. SD / {case.statistic} is by definition 0 where the "
        f"{case.statistic} is 0.01 or less."
    )
    return "\n".join(lines)
