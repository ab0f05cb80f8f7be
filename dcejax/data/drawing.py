"""What pictures of cases share: slices as radiologists hang them, panels with scales, the measured series."""

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from dcejax.data import nifti
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Scan

_TOP_PERCENTILE = 99.5  # a few extreme voxels would darken the rest
_TOP_PERCENTILE_GREY = 98.0  # vessels at their peak are several times brighter than tissue
_MARGIN_VOXELS = 6
_BASELINE_FRAMES = 3  # the bolus arrives later in any usable scan
_OUTSIDE = "#30343a"


class Hanging:
    """Turns slices as radiologists hang them: right of the patient on the left, front or top up."""

    def __init__(self, affine: np.ndarray):
        codes = nifti.axis_codes(affine)
        sides = {"L": "LR", "R": "LR", "A": "AP", "P": "AP", "S": "SI", "I": "SI"}
        # The horizontal axis is left-right where the slice has one, else front-back.
        order = ("LR", "AP", "SI")
        self._swap = order.index(sides[codes[0]]) > order.index(sides[codes[1]])
        across, down = (codes[1], codes[0]) if self._swap else (codes[0], codes[1])
        self._flip_across, self._flip_down = across in "RA", down in "AS"
        self.left = across if self._flip_across else sides[across].replace(across, "")
        self.top = down if self._flip_down else sides[down].replace(down, "")
        size = np.linalg.norm(affine[:3, :3], axis=0)
        self.mm = (float(size[1]), float(size[0])) if self._swap else (float(size[0]), float(size[1]))
        """Size of a voxel across and down."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Turn a slice [X, Y, ...] to rows of an image, row 0 at the top."""
        image = image if self._swap else image.swapaxes(0, 1)
        image = image[:, ::-1] if self._flip_across else image
        return image[::-1] if self._flip_down else image


class View:
    """Shows a slice as radiologists hang it, cut to the mask."""

    def __init__(self, scan: Scan, z: int):
        columns, rows = np.flatnonzero(scan.mask[:, :, z].any(1)), np.flatnonzero(scan.mask[:, :, z].any(0))
        nx, ny = scan.mask.shape[:2]
        self._box = (
            slice(max(columns[0] - _MARGIN_VOXELS, 0), min(columns[-1] + 1 + _MARGIN_VOXELS, nx)),
            slice(max(rows[0] - _MARGIN_VOXELS, 0), min(rows[-1] + 1 + _MARGIN_VOXELS, ny)),
        )
        self._z = z
        self._hang = Hanging(scan.affine)
        self.left, self.top = self._hang.left, self._hang.top
        self.aspect = self._hang.mm[1] / self._hang.mm[0]
        self._outside = ~scan.mask[:, :, z][self._box]

    def __call__(self, volume: np.ndarray, *, masked: bool) -> np.ndarray:
        """Cut a volume [X, Y, Z], or a series of them [X, Y, Z, T], to an image or images, row 0 at the top."""
        image = np.array(volume[:, :, self._z][self._box], np.float64)
        if masked:
            image[self._outside] = np.nan
        return self._hang(image)


def choose_slice(scan: Scan, ktrans: np.ndarray) -> int:
    """The slice with most segmented voxels, else with most Ktrans, inside the mask."""
    if scan.segmentation is not None and (scan.segmentation[scan.mask] > 0).any():
        weight = ((scan.segmentation > 0) & scan.mask).sum(axis=(0, 1))
    else:
        inside = scan.mask.any(axis=(0, 1))
        weight = np.where(inside, (ktrans * scan.mask).sum(axis=(0, 1)), -np.inf)
    return int(np.argmax(weight))


def top_of(*images: np.ndarray, percentile: float = _TOP_PERCENTILE) -> float:
    """Upper end of a scale that shows images without their few extreme voxels; 1 where no value is finite."""
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if not values.size:
        return 1.0
    return max(float(np.percentile(values, percentile)), 1e-6)


def show(
    axes: Axes, view: View, image: np.ndarray, title: str, low: float, high: float, colours: str | Colormap
) -> AxesImage:
    """Draw a cut image from `low` to `high`, with its sides."""
    shown = axes.imshow(image, vmin=low, vmax=high, cmap=colours, aspect=view.aspect, interpolation="nearest")
    axes.set_facecolor(_OUTSIDE)
    axes.set_title(title, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
    style = {"transform": axes.transAxes, "color": "white", "fontsize": 8}
    axes.text(0.02, 0.5, view.left, va="center", **style)
    axes.text(0.5, 0.98, view.top, ha="center", va="top", **style)
    return shown


def panel(
    figure: Figure,
    axes: Axes,
    view: View,
    image: np.ndarray,
    title: str,
    top: float,
    colours: str | Colormap,
    low: float = 0.0,
) -> None:
    """Draw a cut image from `low` to `top`, with its sides and its scale, which is pointed where values lie beyond."""
    shown = show(axes, view, image, title, low, top, colours)
    with np.errstate(invalid="ignore"):
        beyond = bool((image < low).any()), bool((image > top).any())
    extend = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}[beyond]
    figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.03, extend=extend).ax.tick_params(labelsize=8)


def _mean_curve(curves: np.ndarray) -> np.ndarray:
    """Mean [T] of the curves [V, T] that are finite; NaN where none is."""
    finite = np.isfinite(curves).all(axis=1)
    return curves[finite].mean(axis=0) if finite.any() else np.full(curves.shape[1], np.nan)


def _curve_panel(axes: Axes, scan: Scan) -> None:
    seconds = scan.times * SECONDS_PER_MINUTE
    axes.plot(seconds, _mean_curve(scan.values[scan.mask]), label="mask", color="#1f6feb")
    if scan.segmentation is not None and (inside := (scan.segmentation > 0) & scan.mask).any():
        axes.plot(seconds, _mean_curve(scan.values[inside]), label="segmentation", color="#d1242f")
    unit = "mM" if scan.quantity == "concentration" else "scanner units"
    axes.set_title(f"Mean {scan.quantity} ({unit})", fontsize=10)
    axes.set_xlabel("time (s)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.legend(fontsize=8, frameon=False)


def series_panels(figure: Figure, grid: np.ndarray, view: View, scan: Scan) -> None:
    """Draw the series before contrast and at its peak on one slice, and its mean over time, into three axes."""
    frames = view(scan.values, masked=False)
    before, after = frames[..., :_BASELINE_FRAMES].mean(axis=-1), frames.max(axis=-1)
    top = top_of(after, percentile=_TOP_PERCENTILE_GREY)
    # Concentration is near zero before the bolus, and stretched noise would look like something.
    top_before = top if scan.quantity == "concentration" else top_of(before, percentile=_TOP_PERCENTILE_GREY)
    name = "signal" if scan.quantity == "signal" else "concentration (mM)"
    panel(figure, grid[0], view, before, f"Baseline {name}", top_before, "gray")
    panel(figure, grid[1], view, after, f"Peak {name}", top, "gray")
    _curve_panel(grid[2], scan)


def png(figure: Figure) -> bytes:
    """Content of a PNG file."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
