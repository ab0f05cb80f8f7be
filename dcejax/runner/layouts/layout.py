"""What a layout is, and the one without flags: all files of all cases in one folder."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.data.cases import Case
from dcejax.types import Output, Scan


class Place(NamedTuple):
    """Where the files of a case lie that every layout has."""

    folder: Path
    stem: str  # how their names begin


@dataclass(frozen=True)
class Told:
    """A case whose files are written but for its record, as a layout sees it."""

    case: Case
    scan: Scan  # its case_id is the stem
    record: Mapping[str, Any]
    outputs: Sequence[Output]  # of every NIfTI file
    estimates: Mapping[str, np.ndarray]  # quantity -> [X, Y, Z]; NaN where the case has none
    rows: Sequence[Mapping[str, Any]]  # of the table of regions, with `label`, `map`, `voxels` and maybe `fitted`
    quality: Mapping[str, float]  # figures that say whether to trust the maps
    modelled: np.ndarray | None = None  # [V, T] in the scan's quantity
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # name of a map of codes -> code -> meaning
    label_names: Mapping[int, str] = field(default_factory=dict)


class Layout:
    """All files in one folder, and nothing beside what the commands write."""

    wants_modelled = False
    """Whether the modelled series is needed, asked for or not."""

    has_tables = False
    """Whether the layout writes tables of regions in place of the commands'."""

    def __init__(self, root: Path, analysis: str, cases: Sequence[Case]):
        """A folder of results, how records are called ("dcejax" or "fit"), and all cases of all processes."""
        self.root, self.analysis = root, analysis

    def check(self, quantities: Collection[str]) -> None:
        """Refuse an analysis that estimates other quantities than the layout is for.

        Raises:
            ValueError: it does.
        """

    def place(self, case_id: str) -> Place:
        """Where a case lies."""
        return Place(self.root, case_id)

    def is_whole(self, case_id: str) -> bool:
        """Whether a case with a record has all files of the layout, too."""
        return True

    def write(self, case_id: str, told: Told) -> dict[str, Any]:
        """Write what a case has beside the commands' files; returns what its record says of it.

        Raises:
            ValueError: the folder cannot be written.
        """
        return {}

    def conclude(self) -> None:
        """Write what is about all cases of the folder, once those of this process are done.

        Raises:
            ValueError: the folder cannot be written.
        """
