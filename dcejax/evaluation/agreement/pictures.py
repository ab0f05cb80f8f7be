"""One slice of an examination by every analysis side by side, and what is kept to draw it."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dcejax.data.drawing import Hanging
from dcejax.data.scales import RANGES
from dcejax.evaluation.agreement.examined import WHOLE, Loaded
from dcejax.evaluation.figures.panels import LABELS
from dcejax.types import PARAMETERS, UNITS

_MOST = 3  # analyses beside each other
_MARGIN_VOXELS = 4
_OUTSIDE = "#30343a"
_LEVELS = 48  # of a colour map: more can hardly be distinguished, and two whole ones do not go into one file
_SHARE = 0.25  # of the scale of a map, that of differences


def keep(loaded: Loaded) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What is kept to draw the slice with most of the segmentation, else of the estimates: facts, and images.

    Images are hung as radiologists do and cut to the estimates: label/parameter -> [H, W] float16, NaN without an
    estimate, and "outline" -> [H, W] bool.
    """
    usable = np.any([analysis.usable for analysis in loaded.analyses.values()], axis=0)
    regions = [region for name, (_, region) in loaded.regions.items() if name != WHOLE]
    outline = np.any(regions, axis=0) & usable if regions else np.zeros_like(usable)
    z = int((outline if outline.any() else usable).sum(axis=(0, 1)).argmax())
    box = []
    for axis, size in enumerate(usable.shape[:2]):
        found = np.flatnonzero(usable.any(axis=(1 - axis, 2)))
        ends = (found[0], found[-1]) if found.size else (0, size - 1)
        box.append(slice(max(ends[0] - _MARGIN_VOXELS, 0), ends[1] + 1 + _MARGIN_VOXELS))
    hang, place = Hanging(loaded.grid.affine), (*box, z)
    images = {"outline": hang(outline[place])}
    for label, analysis in loaded.analyses.items():
        for name, values in analysis.maps.items():
            shown = np.where(analysis.usable, np.clip(values, -6e4, 6e4), np.nan)
            images[f"{label}/{name}"] = hang(shown[place]).astype(np.float16)
    facts = {"slice": z + 1, "slices": usable.shape[2], "left": hang.left, "top": hang.top}
    return facts | {"aspect": hang.mm[1] / hang.mm[0]}, images


def figure(facts: Mapping[str, Any], images: Mapping[str, np.ndarray], arms: list[str]) -> Figure:
    """Draw maps of the first analyses that have them, and the difference of the first two; a row a parameter."""
    arms = [arm for arm in arms if any(name.startswith(f"{arm}/") for name in images)][:_MOST]
    names = [name for name in PARAMETERS if any(f"{arm}/{name}" in images for arm in arms)]
    columns = [*arms, *([f"{arms[0]} − {arms[1]}"] if len(arms) > 1 else [])]
    height, width = images["outline"].shape
    tall = min(max(height / width * facts["aspect"], 0.5), 1.6)
    drawn = Figure(figsize=(3.4 * len(columns), (2.6 * tall + 0.35) * len(names)), layout="constrained")
    grid = drawn.subplots(len(names), len(columns), squeeze=False)
    for line, name in zip(grid, names, strict=True):
        low, high = RANGES[name, UNITS[name]]
        stack = [images.get(f"{arm}/{name}") for arm in arms]
        for axes, column, image in zip(line, columns, [*stack, None], strict=False):
            if column not in arms:
                both = [np.asarray(each, np.float64) for each in stack[:2] if each is not None]
                image = both[0] - both[1] if len(both) == 2 else None
                scale = (-_SHARE * high, _SHARE * high, "RdBu_r")
            else:
                scale = (low, high, "inferno")
            axes.set_title(f"{column}: {LABELS[name]}", fontsize=10)
            axes.set_xticks([])
            axes.set_yticks([])
            if image is None:
                axes.text(0.5, 0.5, "no map", transform=axes.transAxes, ha="center")
                continue
            image = np.asarray(image, np.float64)
            colours = matplotlib.colormaps[scale[2]].resampled(_LEVELS).with_extremes(bad=_OUTSIDE)
            shown = axes.imshow(image, vmin=scale[0], vmax=scale[1], cmap=colours, aspect=facts["aspect"])
            if images["outline"].any() and not images["outline"].all():
                axes.contour(images["outline"], [0.5], colors="#3dff8f", linewidths=0.8)
            style = {"transform": axes.transAxes, "color": "white", "fontsize": 8}
            axes.text(0.02, 0.5, facts["left"], va="center", **style)
            axes.text(0.5, 0.98, facts["top"], ha="center", va="top", **style)
            with np.errstate(invalid="ignore"):
                beyond = bool((image < scale[0]).any()), bool((image > scale[1]).any())
            extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[beyond]
            bar = drawn.colorbar(shown, ax=axes, fraction=0.046, pad=0.03, extend=extend)
            bar.ax.tick_params(labelsize=8)
    return drawn
