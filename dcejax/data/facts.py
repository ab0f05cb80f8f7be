"""What a user may state about a case besides its image; each fact is a flag and a column of a manifest.

A command that accepts more than `Facts` extends it; manifests, BIDS folders and flags follow from the fields.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from dcejax.data import frame_numbers, plain_text, ranges
from dcejax.types import Quantity


def _quantity(text: str, folder: Path) -> Quantity:
    if text not in get_args(Quantity):
        raise ValueError(text)
    return text


def fact(
    parse: Callable[[str, Path], Any],
    expected: str,
    *,
    on_grid: bool = False,
    positive: bool = False,
    check: Callable[[float, str], None] | None = None,
) -> Mapping[str, Any]:
    """Describe a field of facts.

    Args:
        parse: from the text and the folder that relative paths start from; a ValueError says that it is no such thing.
        expected: what the text should hold, for messages.
        on_grid: a file on the image's own grid, which two cases cannot share.
        positive: a number that must be above zero.
        check: called with a number and where it stands; a ValueError says that it is in another unit.
    """
    return {"parse": parse, "expected": expected, "on_grid": on_grid, "positive": positive, "check": check}


def number(*, positive: bool = False, check: Callable[[float, str], None] | None = None) -> Mapping[str, Any]:
    """Describe a field that is a number, as `fact` does."""
    return fact(lambda text, folder: plain_text.number(text), "a number", positive=positive, check=check)


# In a manifest, a path is relative to the manifest, unless it is absolute.
FILE = fact(lambda text, folder: folder / text, "a path")
GRID_FILE = fact(lambda text, folder: folder / text, "a path", on_grid=True)
NUMBER = number()
POSITIVE = number(positive=True)
RELAXIVITY = number(positive=True, check=ranges.check_relaxivity)
HEMATOCRIT = number(check=ranges.check_hematocrit)
FRAMES = fact(lambda text, folder: frame_numbers.parse(text), "numbers of frames such as 0,50-59")
QUANTITY = fact(_quantity, "signal or concentration")


@dataclass(frozen=True)
class Facts:
    """What every command may be told."""

    mask: Path | None = field(default=None, metadata=GRID_FILE)
    t1_map: Path | None = field(default=None, metadata=GRID_FILE)
    b1_map: Path | None = field(default=None, metadata=GRID_FILE)
    segmentation: Path | None = field(default=None, metadata=GRID_FILE)
    times: Path | None = field(default=None, metadata=FILE)  # text, one frame time in s per line
    aif: Path | None = field(default=None, metadata=FILE)  # CSV, plasma mM
    drop_frames: tuple[int, ...] | None = field(default=None, metadata=FRAMES)  # from 0 on
    dt_s: float | None = field(default=None, metadata=POSITIVE)
    tr_ms: float | None = field(default=None, metadata=POSITIVE)
    flip_angle_deg: float | None = field(default=None, metadata=POSITIVE)
    relaxivity: float | None = field(default=None, metadata=RELAXIVITY)  # 1/(mM s)
    hematocrit: float | None = field(default=None, metadata=HEMATOCRIT)  # of large vessels
    input_quantity: Quantity | None = field(default=None, metadata=QUANTITY)  # signal unless stated

    def siblings(self) -> dict[str, str]:
        """Files beside a series of a BIDS folder that are of use, by role and ending of the name."""
        endings = {"mask": "_desc-brain_mask.nii.gz", "segmentation": "_desc-tumour_dseg.nii.gz"}
        if self.input_quantity == "concentration":  # signal goes to the networks as it is and needs none of these
            endings |= {"t1_map": "_T1map.nii.gz", "b1_map": "_B1map.nii.gz", "aif": "_aif.csv"}
        return endings

    def either(self) -> tuple[tuple[str, str], ...]:
        """Pairs of files beside a series of which only the first is used, where both are there."""
        return ()

    def files(self) -> dict[str, Path]:
        """Every file stated, by role."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Path)}

    def on_grid(self) -> list[str]:
        """Names of the files stated that lie on one image's grid."""
        return [f.name for f in dataclasses.fields(self) if f.metadata["on_grid"] and getattr(self, f.name) is not None]

    def values(self) -> dict[str, Any]:
        """All that is neither a file nor the quantity, stated or None, ready for JSON."""
        others = (FILE["expected"], QUANTITY["expected"])
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.metadata["expected"] not in others}


def names(kind: type[Facts]) -> tuple[str, ...]:
    """Names of the facts of a kind, in order."""
    return tuple(f.name for f in dataclasses.fields(kind))


def parse(kind: type[Facts], name: str, text: str, *, folder: Path, where: str, place: str) -> Any:
    """Read one fact from text.

    Args:
        kind: which facts there are.
        name: of the fact.
        text: what stands in the cell or after the flag.
        folder: that relative paths start from.
        where: the file and line or the flag, for messages.
        place: how the message calls the place, such as "in column dt_s" or nothing.

    Raises:
        ValueError: the text is no such thing.
    """
    (metadata,) = (f.metadata for f in dataclasses.fields(kind) if f.name == name)
    try:
        return metadata["parse"](text, folder)
    except ValueError as error:
        raise ValueError(f"{where}: expected {metadata['expected']}{place}, found {text!r:.60}; correct it") from error


def check_numbers(stated: Facts, where: str | None = None) -> None:
    """Refuse numbers that no case can have, whatever its files hold.

    Args:
        stated: of one case, or of all by flags.
        where: the case, for messages; None where flags state them.

    Raises:
        ValueError: a number that must be positive and is not, or one in another unit.
    """
    for each in dataclasses.fields(stated):
        value, place = getattr(stated, each.name), where or f"--{each.name}"
        if value is None:
            continue
        if each.metadata["positive"] and not (math.isfinite(value) and value > 0):
            raise ValueError(f"{place}: expected a positive {each.name}, found {value:g}; correct it")
        if each.metadata["check"]:
            each.metadata["check"](value, place)
