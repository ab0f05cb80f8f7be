"""What the figures of an evaluation share: names with units, colours, and the grid of conditions by parameters.

The modules of figures return matplotlib `Figure`s, and raise ValueError for panels that `by_row` refuses; `png` makes
files of them. Colours are those of
Okabe & Ito (2008, Color Universal Design), which people with any common colour blindness can tell apart; no figure
relies on them alone.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.spatial import cKDTree

from dcejax.data import drawing
from dcejax.types import PARAMETERS, UNITS

UNIT_NAMES = {name: "fraction" if unit == "1" else unit for name, unit in UNITS.items()}
"""Units of the maps for people."""

LABELS = {name: f"{name} ({unit})" for name, unit in UNIT_NAMES.items()}
"""Names of the maps with their units."""

BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
SERIES_COLOURS = (BLUE, VERMILION, GREEN, "#CC79A7", "#000000", "#E69F00", "#56B4E9")
SERIES_LINES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (1, 1)), (0, (8, 3)))
SERIES_MARKERS = "osD^vP*"
"""Style of the i-th curve or group of a panel; after seven they begin again."""

GREY = "#6b7280"
REFERENCE = {"color": GREY, "lw": 1.0, "zorder": 1}
"""Style of lines that are no data: identity, chance, zero."""

_PACK = np.array([1 << 16, 1 << 8, 1], np.uint32)  # red, green and blue into one number


@dataclass(frozen=True)
class Panel:
    """What is drawn at one place of a grid."""

    title: str  # of its row
    parameter: str  # its column, one of `PARAMETERS`

    def __len__(self) -> int:
        """How many patients or curves there are to draw; with 0 the place says that there are no data."""
        return 1


P = TypeVar("P", bound=Panel)


def by_row(panels: Sequence[P]) -> dict[str, dict[str, P]]:
    """Sort panels into rows by title, in order of appearance, and columns by parameter.

    Raises:
        ValueError: no panels, two for one place, or a parameter of another name.
    """
    rows: dict[str, dict[str, P]] = {}
    for panel in panels:
        row = rows.setdefault(panel.title, {})
        if panel.parameter not in PARAMETERS or panel.parameter in row:
            raise ValueError(
                f"panels: expected one panel for each title and parameter ({', '.join(PARAMETERS)}), found "
                f"{panel.parameter!r} {'twice ' if panel.parameter in row else ''}in {panel.title!r}; name them apart"
            )
        row[panel.parameter] = panel
    if not rows:
        raise ValueError("panels: expected at least one, found none; leave the figure out")
    return rows


def grid_of_panels(
    panels: Sequence[P], draw: Callable[[Axes, P], None], height: float, more: float = 0.0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Draw a row for each title and a column for each parameter.

    Args:
        panels: what is drawn.
        draw: draws one panel that is not empty.
        height: of a row in inches.
        more: inches beside the rows.
        options: of `Figure.subplots`.

    Returns:
        The figure and its axes [rows, parameters].
    """
    rows = by_row(panels)
    figure = Figure(figsize=(11, height * len(rows) + more), layout="constrained")
    grid = figure.subplots(len(rows), len(PARAMETERS), squeeze=False, **options)
    for line, row in zip(grid, rows.values(), strict=True):
        for axes, name in zip(line, PARAMETERS, strict=True):
            if panel := row.get(name):
                draw(axes, panel)
            else:  # an empty frame would look like a fault
                axes.set_axis_off()
                say(axes, "no data", x=0.5, y=0.5, va="center", ha="center")
    return figure, grid


def tidy(axes: Axes, x: str, y: str) -> None:
    """Label the two axes, remove the others, and make the numbers small."""
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.tick_params(labelsize=8, color=GREY)


def say(axes: Axes, text: str, **style: Any) -> None:
    """Write into the upper left corner of a panel; a style moves it elsewhere."""
    style = {"x": 0.03, "y": 0.97, "va": "top", "ha": "left"} | style
    axes.text(s=text, transform=axes.transAxes, fontsize=8, color="#374151", **style)


def png(figure: Figure) -> bytes:
    """Content of a PNG file of 256 colours, a third to half the size that all colours take.

    A report carries all its figures in itself, and noise in maps does not compress. The colours of maps are kept as
    they are, then the most frequent others; what changes are edges of lines and letters.
    """
    with Image.open(io.BytesIO(drawing.png(figure))) as drawn:
        colours, index, counts = np.unique(
            np.asarray(drawn.convert("RGB"), np.uint32) @ _PACK, return_inverse=True, return_counts=True
        )
    maps = {image.get_cmap().name: image.get_cmap() for axes in figure.axes for image in axes.images}
    kept = [shades(np.arange(shades.N), bytes=True)[:, :3] @ _PACK for shades in maps.values()]
    kept = np.unique(np.concatenate([*kept, np.zeros(0, np.uint32)]))
    others = colours[np.argsort(-counts, kind="stable")]
    others = others[~np.isin(others, kept)]
    palette = _unpack(np.concatenate([kept, others])[:256])
    nearest = cKDTree(palette).query(_unpack(colours))[1].astype(np.uint8)
    image = Image.fromarray(nearest[index])
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _unpack(colours: np.ndarray) -> np.ndarray:
    """Red, green and blue [N, 3] of colours [N] packed into one number each."""
    return (colours[:, None] // _PACK % 256).astype(np.uint8)
