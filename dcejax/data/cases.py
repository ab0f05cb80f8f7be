"""Which cases an input names, with the files and facts that belong to each.

An input is the path of a 4-D NIfTI, a glob, a BIDS folder or a CSV manifest. A missing or damaged image is found when
its case is loaded, so that one bad case does not stop the others.
"""

import dataclasses
import errno
import glob
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from dcejax.data import csv_rows, facts, nifti, presence, sidecars
from dcejax.data.facts import Facts
from dcejax.types import Quantity

SUFFIXES = ("dce", "DCE")
"""How names of series end, the second as other pipelines write it; BIDS has no suffix for them yet."""

_SUBJECT_PATTERNS = tuple(
    f"{session}{kind}/*_{suffix}{ending}"
    for session in ("", "ses-*/")
    for kind in ("perf", "anat")
    for suffix in SUFFIXES
    for ending in (".nii.gz", ".nii")
)

_LONGEST_ID = 215  # leaves forty for the longest ending of a file's name


@dataclass(frozen=True)
class Case:
    """One series to process."""

    case_id: str
    path: Path
    facts: Facts

    @property
    def quantity(self) -> Quantity:
        """What the series holds."""
        return self.facts.input_quantity or "signal"

    def files(self) -> dict[str, Path]:
        """Every file the result depends on, by role; sidecars only if there are any."""
        return {"input": self.path, **self.facts.files(), **sidecars.by_role(self.path, "sidecar")}


def case_id_of(path: Path) -> str:
    """BIDS entities of a series without the suffix, so that a file has one id however it was named as input."""
    name = nifti.strip_suffix(path)
    for suffix in SUFFIXES:
        name = name.removesuffix(f"_{suffix}")
    return name


def _case(case_id: str, path: Path, facts: Facts, source: str) -> Case:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", case_id):
        raise ValueError(
            f"{source}: expected a case id of letters, digits, '.', '_' and '-' (it names the output files), found "
            f"{case_id!r}; give one in a manifest's case_id column"
        )
    if len(case_id) > _LONGEST_ID:
        raise ValueError(
            f"{source}: expected a case id of at most {_LONGEST_ID} characters (it names the output files), found "
            f"{len(case_id)}; give a shorter one in a manifest's case_id column"
        )
    return Case(case_id, path, facts)


def _fill(stated: Facts, found: Facts) -> Facts:
    """What was stated, with found values where nothing was."""
    own = {name: value for name, value in vars(stated).items() if value is not None}
    return dataclasses.replace(found, **own)


def _bids_siblings(path: Path, stated: Facts) -> Facts:
    kind = type(stated)
    prefix = path.parent / case_id_of(path)
    paths = {name: f"{prefix}{ending}" for name, ending in stated.siblings().items()}
    there = {name: sibling for name, sibling in paths.items() if os.path.isfile(sibling)}
    for first, second in stated.either():
        if first in there:
            there.pop(second, None)
    return kind(
        **{
            name: facts.parse(kind, name, sibling, folder=Path(), where=str(path), place="")
            for name, sibling in there.items()
        }
    )


def _series_in(folder: Path) -> list[Path]:
    """The series of a BIDS data set, or of the folder of one of its subjects."""
    above = "" if folder.name.startswith("sub-") else "sub-*/"
    return sorted({path for pattern in _SUBJECT_PATTERNS for path in folder.glob(above + pattern)})


def is_data_set(folder: Path) -> bool:
    """Whether a folder is a BIDS data set, or a subject's, with series."""
    return bool(_series_in(folder))


def _bids(folder: Path, stated: Facts) -> list[Case]:
    paths = _series_in(folder)
    if not paths:
        raise ValueError(
            f"{folder}: expected a BIDS folder with sub-*/[ses-*/]{{perf,anat}}/*_{{dce,DCE}}.nii.gz, or DICOM files, "
            "found neither; give the files themselves or a CSV manifest"
        )
    return [_case(case_id_of(path), path, _fill(stated, _bids_siblings(path, stated)), str(path)) for path in paths]


_NOTHING = ("", "n/a", "N/A")
"""Cells that say nothing; BIDS writes n/a."""


def _manifest_row(cells: Mapping[str, str], folder: Path, stated: Facts, where: str) -> Case:
    if cells["input"] in _NOTHING:
        raise ValueError(f"{where}: expected a path in column input, found none; give one")
    kind = type(stated)
    found = {
        column: facts.parse(kind, column, text, folder=folder, where=where, place=f" in column {column}")
        for column, text in cells.items()
        if text not in _NOTHING and column not in ("input", "case_id")
    }
    for name, value in found.items():
        flag = getattr(stated, name)
        if flag is not None and flag != value:
            raise ValueError(f"{where}: expected one {name}, found {value} here and --{name}={flag}; remove one")
    path = folder / cells["input"]
    stated_id = cells.get("case_id", "")
    return _case(case_id_of(path) if stated_id in _NOTHING else stated_id, path, _fill(stated, kind(**found)), where)


def _manifest(path: Path, stated: Facts) -> list[Case]:
    try:
        (_, columns), *rows = csv_rows.read(path) or [(1, [])]
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: expected a CSV manifest, found {error}; save it as text in UTF-8") from error
    known = ("input", "case_id", *facts.names(type(stated)))
    unknown = [name for name in columns if name not in known]
    if unknown or "input" not in columns or len(set(columns)) != len(columns):
        found = f"the unknown column {unknown[0]!r}" if unknown else f"the columns {', '.join(columns) or 'none'}"
        raise ValueError(
            f"{path}: expected the column input and, each at most once, any of {', '.join(known[1:])}, found {found}; "
            "correct the first line"
        )
    if not rows:
        raise ValueError(f"{path}: expected one row per case, found none; give one or more")
    cases = []
    for line, row in rows:
        where = f"{path}, line {line}"
        if len(row) > len(columns):
            raise ValueError(f"{where}: expected {len(columns)} cells, found more; quote cells that hold a comma")
        cells = dict(zip_longest(columns, row, fillvalue=""))
        cases.append(_manifest_row(cells, path.parent, stated, where))
    return cases


def _cases_of(text: str, stated: Facts) -> list[Case]:
    path = Path(text)
    # os.path calls what it may not see absent: such a case, too, is found bad when it is loaded, without the others.
    if os.path.isdir(path):
        return _bids(path, stated)
    if path.suffix == ".csv":
        return _manifest(path, stated)
    if glob.has_magic(text) and not os.path.exists(path):
        # A wide pattern catches sidecars too; masks and maps that it catches are the user's to exclude.
        paths = [p for p in map(Path, sorted(glob.glob(text, recursive=True))) if nifti.is_nifti_name(p)]
        if not paths:
            raise ValueError(f"{text}: expected NIfTI files that match the pattern, found none; check the path")
    elif nifti.is_nifti_name(path):
        paths = [path]
    else:
        found = "a file of another type" if os.path.exists(path) else "nothing of that name"
        raise ValueError(
            f"{text}: expected a 4-D NIfTI (.nii, .nii.gz), a glob, a BIDS folder or a CSV manifest, found {found}; "
            "check the path"
        )
    return [_case(case_id_of(p), p, stated, str(p)) for p in paths]


def enumerate_cases(inputs: Sequence[str], stated: Facts) -> list[Case]:
    """List the cases that inputs name: inputs and manifests in their own order, a folder and a glob sorted by path.

    Args:
        inputs: paths, globs, BIDS folders or manifests.
        stated: facts that hold for every case; their kind says which columns a manifest may have. In a BIDS folder they
            come before files found beside the series; in a manifest a cell that says otherwise is an error.

    Raises:
        ValueError: an input that names nothing, a bad manifest, two cases with one id, or a file on one image's grid
            stated for several cases.
    """
    cases = [case for text in inputs for case in _cases_of(text, stated)]
    seen: dict[str, Case] = {}
    for case in cases:
        if case.case_id in seen:
            raise ValueError(
                f"case id {case.case_id!r}: expected one case per id (it names the output files), found "
                f"{seen[case.case_id].path} and {case.path}; give each an id in a manifest's case_id column"
            )
        seen[case.case_id] = case
    shared = stated.on_grid()
    if shared and len(cases) > 1:
        raise ValueError(
            f"--{shared[0]}: expected one case, because the file lies on one image's grid, found {len(cases)}; use a "
            "CSV manifest with a column for it"
        )
    return cases


def refuse_missing(found: Sequence[Case]) -> None:
    """Look for the files of an only case; of several, one that lacks a file is a bad one, and the others are done.

    Raises:
        ValueError: one that does not exist.
    """
    if len(found) == 1:
        for path in found[0].files().values():
            if not presence.exists(path):
                raise ValueError(
                    f"{path}: expected a file that can be read, found {os.strerror(errno.ENOENT)}; check the path"
                )
