"""All slices of a map as one image of few colours, of which a page shows one slice at a time."""

import base64
import io
from dataclasses import dataclass

import matplotlib
import numpy as np
from PIL import Image

from dcejax.data.drawing import Hanging
from dcejax.data.scales import Scale
from dcejax.types import Scan

LEVELS, FEW_LEVELS = 48, 24
"""Colours of a scale, of maps that are seen first and of others. More can hardly be distinguished, and noise in them
makes files large."""

_GREYS = 32
_COLUMNS = 8  # of a sheet
_FINE = 256  # width or height of a slice up to which outlines are finer than voxels
_MARGIN_VOXELS = 4

# The first colours of every sheet; the others are the scale's.
_OUTSIDE, _NO_VALUE, _BELOW, _ABOVE = range(4)
_SPECIAL = ("#000000", "#4a525c", "#2f6fd0", "#ffffff")
_SPECIAL_WITH_SIGN = ("#000000", "#4a525c", "#35c2ff", "#ff5df0")  # where white is the middle of the scale
FIRST = len(_SPECIAL)
"""Index of the lowest colour of a scale."""

_GREY_PERCENTILES = (1.0, 99.7)
_LABELS = ("#3dff8f", "#40c4ff", "#ff7ad9", "#ffd23f", "#ff8a50", "#b9a0ff", "#8affc1", "#f5f5f5")


def label_colours(labels: np.ndarray) -> dict[int, str]:
    """Colours of the labels above zero that occur, in order; of more than eight, some share one."""
    return {int(label): _LABELS[n % len(_LABELS)] for n, label in enumerate(np.unique(labels[labels > 0]))}


def _rgb(colours: list[str] | tuple[str, ...]) -> list[int]:
    return [int(colour[place : place + 2], 16) for colour in colours for place in (1, 3, 5)]


def colours_of(scale: Scale, levels: int) -> list[str]:
    """The colours of a scale from low to high, as CSS writes them."""
    shades = matplotlib.colormaps[scale.colours](np.linspace(0.0, 1.0, levels), bytes=True)
    return ["#" + bytes(shade[:3].tolist()).hex() for shade in shades]


@dataclass(frozen=True)
class Sheet:
    """Content of a PNG file, with what a reader of its colours needs."""

    png: bytes
    colours: tuple[str, ...]  # of its indices; the first is outside, where nothing is shown
    below: float = 0.0  # share of the mask's values that lie below the scale
    above: float = 0.0
    none: float = 0.0  # share of the mask's voxels without a value

    @property
    def address(self) -> str:
        """The file as the address of an image."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode("ascii")


class Sheets:
    """Makes sheets of volumes on the grid of a scan, of the slices that hold a part of its mask, cut to it."""

    def __init__(self, scan: Scan):
        self._mask = scan.mask
        self.slices = np.flatnonzero(scan.mask.any(axis=(0, 1)))
        self._box = tuple(
            slice(max(found[0] - _MARGIN_VOXELS, 0), found[-1] + 1 + _MARGIN_VOXELS)
            for found in (np.flatnonzero(scan.mask.any(axis=axes)) for axes in ((1, 2), (0, 2)))
        )
        self._hang = Hanging(scan.affine)
        self.left, self.top, self.mm = self._hang.left, self._hang.top, self._hang.mm
        self.columns = min(_COLUMNS, len(self.slices))
        self.rows = -(-len(self.slices) // self.columns)
        height, width = self._hang(self._mask[:, :, self.slices[0]][self._box]).shape
        self.size = (width, height)
        """Width and height of a slice in voxels."""

    def place(self, index: int) -> tuple[int, int]:
        """Column and row of the n-th slice of a sheet."""
        return index % self.columns, index // self.columns

    def _lay(self, volume: np.ndarray) -> np.ndarray:
        """A volume [X, Y, Z] as one image [H, W]."""
        width, height = self.size
        sheet = np.zeros((self.rows * height, self.columns * width), volume.dtype)
        for index, z in enumerate(self.slices):
            column, row = self.place(index)
            inside = slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)
            sheet[inside] = self._hang(volume[:, :, z][self._box])
        return sheet

    def _encode(self, indices: np.ndarray, colours: list[str], **shares: float) -> Sheet:
        return self._png(self._lay(indices.astype(np.uint8)), colours, **shares)

    def _png(self, image: np.ndarray, colours: list[str], **shares: float) -> Sheet:
        image = Image.fromarray(image.astype(np.uint8))
        image.putpalette(_rgb(colours))
        buffer = io.BytesIO()
        image.save(buffer, "PNG", transparency=0)
        return Sheet(buffer.getvalue(), tuple(colours), **shares)

    def of_map(self, volume: np.ndarray, scale: Scale, levels: int = LEVELS) -> Sheet:
        """A map [X, Y, Z] within the mask; NaN is no value."""
        values = np.asarray(volume, np.float32)
        with np.errstate(invalid="ignore"):
            level = np.floor((values - scale.low) / (scale.high - scale.low) * levels)
            indices = FIRST + np.nan_to_num(np.clip(level, 0, levels - 1))
            # Zero and a little less are the same colour, as they are to anyone who looks.
            below, above = values < scale.low - (scale.high - scale.low) / levels, values > scale.high
            none = ~np.isfinite(values)
        for chosen, code in ((below, _BELOW), (above, _ABOVE), (none, _NO_VALUE), (~self._mask, _OUTSIDE)):
            indices[chosen] = code
        shares = {
            name: float(np.mean(chosen[self._mask]))
            for name, chosen in (("below", below), ("above", above), ("none", none))
        }
        special = _SPECIAL if scale.low == 0.0 else _SPECIAL_WITH_SIGN
        return self._encode(indices, [*special, *colours_of(scale, levels)], **shares)

    def of_codes(self, volume: np.ndarray, colours: dict[int, str]) -> Sheet:
        """A map of codes [X, Y, Z] within the mask, a colour each."""
        codes = np.array(sorted(colours))
        indices = 1 + np.searchsorted(codes, np.clip(volume, codes[0], codes[-1]))
        return self._encode(np.where(self._mask, indices, _OUTSIDE), ["#000000", *(colours[code] for code in codes)])

    def of_image(self, volume: np.ndarray, like: np.ndarray | None = None) -> Sheet:
        """An image [X, Y, Z] in grey, also outside the mask; from dark to bright as suits another, or itself."""
        window = volume if like is None else like
        values = window[self._mask & np.isfinite(window)]
        low, high = np.percentile(values, _GREY_PERCENTILES) if values.size else (0.0, 1.0)
        low = max(low, 0.0)  # differences begin with none
        high = max(high, low + 1e-6)
        with np.errstate(invalid="ignore", over="ignore"):  # outside the mask anything may stand
            level = np.clip(np.nan_to_num((volume - low) / (high - low)), 0.0, 1.0) * (_GREYS - 1)
        return self._encode(1 + np.rint(level), ["#000000", *colours_of(Scale(0.0, 1.0, "", "gray"), _GREYS)])

    def of_outlines(self, labels: np.ndarray) -> Sheet:
        """Outlines of labels [X, Y, Z] in the mask, within each, so that labels that touch show both."""
        labels = np.where(self._mask & (labels > 0), labels, 0)
        colours = label_colours(labels)
        order = np.searchsorted([0, *colours], labels)
        repeats = 2 if max(self.size) <= _FINE else 1
        fine = np.pad(self._lay(order).repeat(repeats, axis=0).repeat(repeats, axis=1), 1)
        centre = fine[1:-1, 1:-1]
        edge = np.zeros(centre.shape, bool)
        for around in (fine[:-2, 1:-1], fine[2:, 1:-1], fine[1:-1, :-2], fine[1:-1, 2:]):
            edge |= around != centre
        palette = ["#000000", *dict.fromkeys(colours.values())]
        of_label = np.array([_OUTSIDE, *(palette.index(colour) for colour in colours.values())])
        return self._png(np.where(edge, of_label[centre], _OUTSIDE), palette)
