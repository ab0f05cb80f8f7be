"""Examinations with labels in a folder: which there are, and one of them in memory as inference receives it.

The layout is that of `dcejax.data.dataset`, of which these files are used, all beside the series:

    sub-<id>/[ses-<n>/]perf/sub-<id>[_ses-<n>]_dce.nii.gz and .json
      _desc-brain_mask.nii.gz  _desc-tumour_dseg.nii.gz           needed; a tumour's segmentation may be empty
      _desc-truth_{Ktrans,vp,ve}.nii.gz or _desc-reader1_*        labels; the truth, where any examination has it
      _T1map.nii.gz  _B1map.nii.gz  _aif.csv                      optional; what is there counts as known
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dcejax.data import aif_csv, aif_on_scan, cases, loading, nifti, presence, results
from dcejax.data.cases import Case
from dcejax.data.dataset import TRUTH
from dcejax.data.facts import Facts
from dcejax.methods import fixed_grid
from dcejax.methods.fixed_grid import Beside
from dcejax.protocol import Protocol
from dcejax.types import PARAMETERS, Brightest, Context, Series

LABELS = (TRUTH, "reader1")
"""What label files are named by, the preferred first."""

_SOLID_TUMOUR = (1, 2)  # enhancing tumour and necrotic core; label 3 is non-enhancing tumour and oedema


@dataclass(frozen=True)
class _SignalFacts(Facts):
    """All that may lie beside a series of signal."""

    def siblings(self) -> dict[str, str]:
        return super().siblings() | {"t1_map": "_T1map.nii.gz", "b1_map": "_B1map.nii.gz", "aif": "_aif.csv"}


@dataclass(frozen=True)
class LabelledCase:
    """One examination on disk."""

    case: Case
    subject: str  # BIDS label with its sub-
    labels: tuple[Path, ...]  # maps in the order of `PARAMETERS`
    shape: tuple[int, int, int, int]  # X, Y, Z, T
    mask_voxels: int


class LabelledExamination(NamedTuple):
    """One examination in memory, V voxels of its mask."""

    curves: np.ndarray  # [V, T] float32 signal
    maps: np.ndarray  # [V, C] float32 Ktrans (1/min), vp, ve, from 0 to 1
    tumour: np.ndarray  # [V] bool
    tumour_voxels: np.ndarray  # [N, 3] where it lies
    index: np.ndarray  # [X, Y, Z] int32, the row of each voxel; -1 outside the mask
    outside: np.ndarray  # [T], what stands for the curve of a voxel outside the mask
    context: Context  # its maps are [V], or a scalar where they are unknown


def _label_paths(case: Case, description: str) -> tuple[Path, ...]:
    return tuple(results.map_path(case.path.parent, case.case_id, description, name) for name in PARAMETERS)


def _require(path: Path, what: str) -> None:
    if not presence.is_file(path):
        raise ValueError(f"{path}: expected {what}, found no file of that name; add it or take the examination out")


def find(folder: Path, labels: str = "") -> list[LabelledCase]:
    """List the labelled examinations of a folder, in order of their names; reads headers and masks only.

    `labels` is one of `LABELS`; empty, the first of them that any examination has.

    Raises:
        ValueError: no such folder, no examination, a file that is missing or damaged, or examinations that differ in
            their number of frames.
    """
    if not presence.is_dir(folder):
        raise ValueError(f"{folder}: expected a folder of labelled examinations, found none; check the path")
    found = cases.enumerate_cases([str(folder)], _SignalFacts())
    with_truth = any(presence.is_file(_label_paths(case, TRUTH)[0]) for case in found)
    description = labels or (LABELS[0] if with_truth else LABELS[1])
    labelled = []
    for case in found:
        for ending in ("desc-brain_mask", "desc-tumour_dseg"):
            _require(case.path.parent / f"{case.case_id}_{ending}.nii.gz", "an image beside each series")
        for path in (labels := _label_paths(case, description)):
            _require(path, f"a label (one of {', '.join(LABELS)}, the same for all examinations)")
        subject = case.path.relative_to(folder).parts[0]
        voxels = int(np.count_nonzero(nifti.read_label_map(case.facts.mask).values > 0))
        labelled.append(LabelledCase(case, subject, labels, nifti.series_shape(case.path), voxels))
    first = labelled[0]
    for other in labelled:
        if other.shape[-1] != first.shape[-1]:
            raise ValueError(
                f"{other.case.path}: expected {first.shape[-1]} frames like {first.case.path.name}, found "
                f"{other.shape[-1]}; keep examinations of different numbers of frames in folders of their own"
            )
    return labelled


def brightest_needed(examinations: Sequence[LabelledCase], protocol: Protocol) -> int:
    """How many of the brightest voxels hold the scale of each examination, whichever voxels they are.

    The scale is a percentile over all values on the protocol's grid, so it lies between two of the highest values, and
    these belong to at most as many voxels. One more is for rounding.
    """
    share = 1.0 - protocol.scale_percentile / 100.0
    counts = [min(e.mask_voxels, int(share * e.mask_voxels * protocol.frames) + 3) for e in examinations]
    return max(counts)


def _brightest(series: Series, encoded: np.ndarray, count: int) -> Brightest:
    """The voxels with the highest peaks on the protocol's grid; fewer than so many are filled up with low signal."""
    order = np.argsort(encoded.max(axis=1), kind="stable")
    curves = series.curves[order[-count:]]
    missing = ((0, count - len(curves)), (0, 0))
    return Brightest(np.pad(curves, missing, constant_values=series.curves.min()), len(series.curves))


def load(labelled: LabelledCase, protocol: Protocol, brightest: int) -> LabelledExamination:
    """Read an examination with so many of its brightest voxels, see `brightest_needed`.

    The protocol's grid and percentile decide which voxels these are; it stands in for what files do not tell.

    Raises:
        ValueError: a file that is missing, damaged or on another grid, values that are not finite in the mask, or a
            scan that does not suit the protocol.
    """
    case = labelled.case
    scan = loading.load_scan(case)
    loading.require_finite(case, scan)
    aif = None
    if case.facts.aif is not None:
        given = aif_csv.read(case.facts.aif)
        aif = aif_on_scan.on_scan(case.facts.aif, given, scan.start, scan.times).curve
    series = fixed_grid.series_of(scan, protocol, Beside(b1_map=loading.load_b1_map(case, scan)[0], aif=aif))
    try:
        encoded, _ = fixed_grid.encode_series(series, protocol)
    except ValueError as error:
        raise ValueError(f"{case.path}: {error}") from error
    grid, mask = loading.grid_of(case, scan), scan.mask
    maps = np.stack([nifti.read_volume(path, "label", grid).values[mask] for path in labelled.labels], axis=-1)
    for path, values in zip(labelled.labels, maps.T, strict=True):
        if bad := np.count_nonzero(~np.isfinite(values)):
            raise ValueError(
                f"{path}: expected finite labels in the mask, found NaN or infinity in {bad} of its {values.size} "
                "voxels; correct them or take these voxels out of the mask"
            )
    maps = np.clip(maps, 0.0, 1.0)  # as published: what a fit of noise gives beyond would rule the losses
    labels = scan.segmentation[mask]
    solid = np.isin(labels, _SOLID_TUMOUR)
    tumour = solid if solid.any() else labels > 0  # the latter where nothing of a tumour enhances
    index = np.full(mask.shape, -1, np.int32)
    index[mask] = np.arange(len(maps))
    return LabelledExamination(
        curves=series.curves,
        maps=maps,
        tumour=tumour,
        tumour_voxels=np.argwhere(mask)[tumour],
        index=index,
        outside=np.zeros(series.curves.shape[1], np.float32),
        context=series.context._replace(brightest=_brightest(series, encoded, brightest)),
    )
