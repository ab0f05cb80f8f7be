"""The examinations that folders of maps hold, and one of them in memory."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.data import csv_rows, nifti, plain_text, presence, results
from dcejax.evaluation import map_places
from dcejax.runner.case_report.beside import label_names
from dcejax.runner.layouts import bids_names
from dcejax.runner.layouts.layout import Place
from dcejax.types import PARAMETERS

WHOLE = "all voxels"
"""The region of all voxels that have estimates; left out where a single label holds all of them."""

_ESTIMATES = ("median", "mean", "fit", "")  # what programs call an estimate, the first that is there
_SEGMENTATIONS = ("desc-tumour_dseg.nii.gz", "dseg.nii.gz")


@dataclass(frozen=True)
class Examination:
    """One examination with the maps of one analysis or more."""

    case_id: str
    subject: str
    session: str | None  # with its ses-; None where the name has none
    series: str  # what the visits of a patient share: the name without its session
    places: Mapping[str, Place]  # label of an analysis -> where its files lie


class Interval(NamedTuple):
    """What is known of the median of a region: as it is expected, 5 and 95 % quantiles."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Analysis:
    """What one analysis makes of one examination."""

    statistic: str  # what stands behind the desc- of its maps
    maps: Mapping[str, np.ndarray]  # parameter -> [X, Y, Z]
    usable: np.ndarray  # [X, Y, Z] bool; all maps are finite, and not all are zero
    known: Mapping[tuple[int, str], Interval]  # label and parameter -> posterior of the region's median


@dataclass(frozen=True)
class Loaded:
    """An examination in memory, all on one grid."""

    examination: Examination
    grid: nifti.Image
    analyses: Mapping[str, Analysis]  # by label
    regions: Mapping[str, tuple[int | None, np.ndarray]]  # name -> label, [X, Y, Z] bool; the last may be `WHOLE`
    told: Sequence[str]  # for people


def _examination(key: str, places: Mapping[str, Place]) -> Examination:
    case_id = next(iter(places.values())).stem
    if not case_id.startswith("sub-"):
        return Examination(case_id, case_id, None, case_id, places)
    name = bids_names.of(key)
    series = "_".join(part for part in key.split("_") if not part.startswith("ses-"))
    return Examination(key, name.subject, name.session, series, places)


def visit_order(session: str | None) -> tuple[bool, int, str]:
    """By which sessions of a patient are sorted: numbers by size, then other labels as in a dictionary."""
    label = (session or "").removeprefix("ses-")
    return not label.isdecimal(), int(label) if label.isdecimal() else 0, label


def enumerate_examinations(folders: Sequence[tuple[str, Path]]) -> list[Examination]:
    """Every examination of some folders, given by the label of an analysis, a patient's visits in order.

    Raises:
        ValueError: a folder that is none or holds no maps, two labels alike, or of several folders no two that share an
            examination.
    """
    found: dict[str, dict[str, Place]] = {}
    for label, folder in folders:
        if not presence.is_dir(folder):
            raise ValueError(f"--maps: expected a folder for {label}, found {folder}; check the path")
        places = map_places.places_in(folder)
        if not places:
            raise ValueError(
                f"--maps: expected maps such as <case>_desc-median_Ktrans.nii.gz in {folder}, or as BIDS derivatives, "
                f"of {', '.join(PARAMETERS)}, found none; check the folder"
            )
        for key, place in places.items():
            if label in found.setdefault(key, {}):
                raise ValueError(f"--maps: expected a label for each folder, found {label} twice; rename one")
            found[key][label] = place
    if len(folders) > 1 and all(len(places) < 2 for places in found.values()):
        names = {label: key for key, places in found.items() for label in places}
        raise ValueError(
            "--maps: expected folders of maps of the same scans, found no case in two of them: "
            f"{', '.join(f'{key} in {label}' for label, key in names.items())}; give cases the same names"
        )
    examinations = [_examination(key, places) for key, places in found.items()]
    return sorted(examinations, key=lambda e: (e.subject, e.series, visit_order(e.session)))


def _record(place: Place, name: str) -> dict[str, Any]:
    """A record that a command left beside the maps; empty without one."""
    try:
        return dict(plain_text.read_json(place.folder / f"{place.stem}_desc-{name}.json"))
    except (OSError, ValueError, TypeError):
        return {}


def _said(record: Any, *names: str) -> Any:
    """What a record says under names, one within the other; None where it does not."""
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _chosen(place: Place) -> tuple[str, dict[str, Path]]:
    """Which maps of a case are its estimates: of dcejax-infer those that its record names, else `_ESTIMATES`.

    Raises:
        ValueError: there are several kinds of maps, and none is known to be estimates.
    """
    there = map_places.statistics_of(place)
    own = _said(_record(place, "dcejax"), "maps")
    entries = own.values() if isinstance(own, dict) else ()
    told = [_said(entry, "statistic") for entry in entries if _said(entry, "kind") == "estimate"]
    for name in (*told, *_ESTIMATES):
        if isinstance(name, str) and name in there:
            return name, there[name]
    if len(there) == 1:
        return next(iter(there.items()))
    raise ValueError(
        f"{place.folder / place.stem}_*: expected maps called desc-median, desc-mean or desc-fit, or of one kind, "
        f"found desc-{', desc-'.join(there)}; put those that are meant into a folder of their own"
    )


def _sha256(path: Path) -> str | None:
    """Hash of a file; None where there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # a name that none can have is a ValueError
        return None


def _segmentation(places: Mapping[str, Place], told: list[str]) -> Path | None:
    """The segmentation of a case: one beside its maps, else the one that a record of its maps names, if unchanged."""
    for place in places.values():
        for ending in _SEGMENTATIONS:
            if presence.is_file(path := place.folder / f"{place.stem}_{ending}"):
                return path
    for label, place in places.items():
        for name in ("dcejax", "fit"):
            file, digest = (_said(_record(place, name), "inputs", "segmentation", k) for k in ("file", "sha256"))
            if not (isinstance(file, str) and isinstance(digest, str)):
                continue
            path = Path(file)
            if _sha256(path) == digest:
                return path
            told.append(
                f"the segmentation of {label}, {path}, is not there any more or has changed: regions are left out"
            )
    return None


def _known(place: Place, segmentation: Path | None) -> dict[tuple[int, str], Interval]:
    """Posteriors of regions' medians from the table of the networks, if it is of this segmentation."""
    stated = _said(_record(place, "dcejax"), "inputs", "segmentation", "sha256")
    if segmentation is None or stated is None or stated != _sha256(segmentation):
        return {}
    flat, derivative = (place.folder / f"{place.stem}_{end}" for end in ("rois.csv", "desc-dcejax_rois.tsv"))
    if presence.is_file(derivative):
        rows = results.read_tsv(derivative)
    elif presence.is_file(flat):
        try:
            (_, columns), *lines = csv_rows.read(flat)
        except ValueError as error:
            raise ValueError(f"{flat}: expected the table of regions, found {error}; map the case again") from error
        rows = [dict(zip(columns, cells, strict=False)) for _, cells in lines]
    else:
        return {}
    found = {}
    for row in rows:
        try:
            numbers = Interval(*(float(row[name]) for name in ("expected_median", "median_q05", "median_q95")))
            if np.isfinite(numbers).all():
                found[int(row["label"]), row["map"]] = numbers
        except (KeyError, ValueError):  # weights that state no such interval, or a region without an estimate
            continue
    return found


def files_of(examination: Examination) -> dict[str, dict[str, str]]:
    """Hash of each file that an examination is read from: label, or "segmentation" -> name -> SHA-256.

    Raises:
        ValueError: maps of which none are known to be estimates.
    """
    found = {}
    for label, place in examination.places.items():
        paths = [*_chosen(place)[1].values(), *place.folder.glob(f"{place.stem}_desc-dcejax*")]
        paths += place.folder.glob(f"{place.stem}_rois.csv")
        found[label] = {path.name: _sha256(path) for path in paths if presence.is_file(path)}
    path = _segmentation(examination.places, [])
    return found | ({} if path is None else {"segmentation": {path.name: _sha256(path)}})


def load(examination: Examination) -> Loaded:
    """Read an examination.

    Raises:
        ValueError: a damaged file, or maps and a segmentation that do not lie on one grid.
    """
    told: list[str] = []
    segmentation = _segmentation(examination.places, told)
    grid, analyses = None, {}
    for label, place in examination.places.items():
        statistic, paths = _chosen(place)
        maps = {}
        for name, path in paths.items():
            image = nifti.read_alone(path, "map") if grid is None else nifti.read_volume(path, "map", grid)
            grid, maps[name] = grid or image, image.values
        stack = np.stack(list(maps.values()))
        usable = np.isfinite(stack).all(axis=0) & (stack != 0).any(axis=0)
        analyses[label] = Analysis(statistic, maps, usable, _known(place, segmentation))
    regions: dict[str, tuple[int | None, np.ndarray]] = {}
    if segmentation is not None:
        labels, names = nifti.read_labels(segmentation, grid), label_names(segmentation)
        for label in np.unique(labels[labels > 0]):
            name = names.get(int(label), f"label {label}")
            name = f"{name} ({label})" if name in regions or name == WHOLE else name
            regions[name] = int(label), labels == label
    there = np.any([analysis.usable for analysis in analyses.values()], axis=0)
    if len(regions) != 1 or (there & ~next(iter(regions.values()))[1]).any():
        regions[WHOLE] = None, np.ones(grid.values.shape, bool)
    return Loaded(examination, grid, analyses, regions, told)
