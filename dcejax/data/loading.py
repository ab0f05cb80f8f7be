"""From a case's files to one record in the package's units, with all that can be wrong with them found here."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dcejax.data import facts, foreground, frames, nifti, ranges, sidecars, timing
from dcejax.data.cases import Case
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.types import Scan


class _Plausible(NamedTuple):
    """What a map may hold."""

    name: str
    content: str
    median: tuple[float, float]
    values: tuple[float, float]
    unit: str
    remedy: str


_T1_RANGE_S = (ranges.SHORTEST_PLAUSIBLE_T1_S, ranges.LONGEST_PLAUSIBLE_T1_S)
_T1 = _Plausible(
    "T1", "T1 in s", _T1_RANGE_S, _T1_RANGE_S, " s", "divide a map in ms by 1000, multiply one in min by 60"
)
_B1 = _Plausible(
    "B1",
    "the ratio of true to nominal flip angle",
    ranges.MEDIAN_B1,
    ranges.PLAUSIBLE_B1,
    "",
    "divide a map in percent by 100, one of flip angles by the nominal one in the same unit",
)


def _read_map(path: Path, image: nifti.Image, mask: np.ndarray, plausible: _Plausible) -> tuple[np.ndarray, list[str]]:
    """A map [X, Y, Z] float32 with a plausible median in the mask, and warnings.

    Maps hold zero or NaN where their own fit failed; where it gave what nothing has, the map is zero, too.
    """
    values = nifti.read_volume(path, f"{plausible.name} map", image).values
    inside = values[mask]
    inside = inside[np.isfinite(inside) & (inside > 0)]
    if not inside.size:
        raise ValueError(
            f"{path}: expected {plausible.content} in the mask's voxels, found none above zero; check the map"
        )
    median = float(np.median(inside))
    low, high = plausible.median
    if not low <= median <= high:
        raise ValueError(
            f"{path}: expected {plausible.content}, found a median of {median:.6g} in the mask; {plausible.remedy}"
        )
    low, high = plausible.values
    warnings = []
    for count, side in (
        (np.count_nonzero(inside > high), f"above {high:g}{plausible.unit}"),
        (np.count_nonzero(inside < low), f"below {low:g}{plausible.unit}"),
    ):
        if count:
            warnings.append(
                f"{path.name}: {count} voxels of the mask have {plausible.name} {side} and count as without "
                f"{plausible.name}; check the fit of the map"
            )
    if warnings:
        values = np.where((values > 0) & ((values < low) | (values > high)), np.float32(0.0), values)
    return values, warnings


def _excitation_ms(path: Path, sidecar: Mapping[str, Any]) -> tuple[float, str] | None:
    found = sidecars.excitation_s(path, sidecar)
    return None if found is None else (1e3 * found[0], found[1])


def _flip_angle_deg(path: Path, sidecar: Mapping[str, Any]) -> tuple[float, str] | None:
    key = "FlipAngle"
    return (sidecars.positive_number(path, sidecar, key), key) if key in sidecar else None


_ACQUISITION = {"tr_ms": _excitation_ms, "flip_angle_deg": _flip_angle_deg}


def _acquisition(case: Case, sidecar: Mapping[str, Any]) -> tuple[dict[str, float], list[str]]:
    """TR and flip angle as far as they are known, from the user, else from the sidecar; and where both say otherwise.

    Raises:
        ValueError: nothing is stated, and what the sidecar holds is no positive number, may be another TR, or is in
            another unit.
    """
    known, warnings = {}, []
    for name, read in _ACQUISITION.items():
        stated = getattr(case.facts, name)
        try:
            found = read(case.path, sidecar)
        except ValueError:
            if stated is None:
                raise
            found = None  # what cannot be told says nothing against what is stated
        if stated is not None and found is not None:
            warnings += sidecars.disagreement(case.path, found[1], name, [stated], [found[0]])
        if stated is not None:
            known[name], where = float(stated), str(case.path)
        elif found is not None:
            known[name], where = found[0], f"{case.path}: {found[1]} in the sidecar, over which --{name} wins"
        if name in known and case.quantity == "signal":
            ranges.check_acquisition({name: known[name]}, where)
    return known, warnings


def load_scan(case: Case) -> Scan:
    """Read a case's files.

    Returns:
        The scan; provenance holds `timing`, `mask` and `acquisition` (tr_ms and flip_angle_deg as far as known).

    Raises:
        ValueError: whatever is wrong with the files, as the modules `nifti`, `timing` and `foreground` say.
    """
    facts.check_numbers(case.facts, str(case.path))
    image = nifti.read_series(case.path)
    sidecar = sidecars.read(case.path)
    given = {"times_file": case.facts.times, "dt_s": case.facts.dt_s}
    resolved = timing.resolve(case.path, image.values.shape[-1], sidecar, image.header, **given)
    warnings, times, start = list(resolved.warnings), resolved.times, resolved.start
    numbers = frames.kept(str(case.path), times.size, case.facts.drop_frames or ())
    if case.facts.drop_frames:
        image = dataclasses.replace(image, values=image.values[..., numbers])
        start, times = start + times[numbers[0]], times[numbers] - times[numbers[0]]
    if case.facts.mask is not None:
        mask, mask_source = nifti.read_mask(case.facts.mask, image), f"file {case.facts.mask.name}"
    else:
        mask, mask_source = foreground.find(image.values, case.quantity, str(case.path)), "automatic foreground"
        content = "scalp and bone" if case.quantity == "signal" else "every voxel that is not zero"
        warnings.append(
            f"no mask was given; the automatic foreground ({np.count_nonzero(mask)} voxels) is used and may hold "
            f"{content}: give a mask"
        )
    odd = frames.check(str(case.path), image.values, mask, times, case.quantity, numbers)
    warnings += odd
    t1_map = None
    if case.facts.t1_map is not None:
        t1_s, told = _read_map(case.facts.t1_map, image, mask, _T1)
        warnings += told
        t1_map = t1_s / np.float32(SECONDS_PER_MINUTE)
    stated = [name for name in _ACQUISITION if getattr(case.facts, name) is not None]
    acquisition, told = _acquisition(case, sidecar)
    if case.quantity == "signal":
        warnings += told
    elif stated:
        warnings.append(f"{' and '.join(stated)} without effect on concentration input")
    labels = None if case.facts.segmentation is None else nifti.read_labels(case.facts.segmentation, image)
    if labels is not None and (outside := np.count_nonzero((labels > 0) & ~mask)):
        warnings.append(f"{outside} voxels of the segmentation lie outside the mask and are left out of the ROI table")
    return Scan(
        case_id=case.case_id,
        values=image.values,
        quantity=case.quantity,
        times=times,
        start=start,
        mask=mask,
        affine=image.affine,
        header=image.header,
        t1_map=t1_map,
        segmentation=labels,
        warnings=tuple(warnings),
        provenance={
            "timing": resolved.provenance,
            **({"dropped_frames": list(case.facts.drop_frames)} if case.facts.drop_frames else {}),
            "mask": {"source": mask_source, "voxels": int(np.count_nonzero(mask))},
            "acquisition": acquisition,
        },
        odd=odd,
    )


@contextmanager
def explained(scan: Scan) -> Iterator[None]:
    """Let a refusal of a scan also say what is odd about its curves, which may be why.

    Raises:
        ValueError: as raised within, with what is odd.
    """
    try:
        yield
    except ValueError as error:
        if not scan.odd:
            raise
        raise ValueError(f"{error}{''.join(f' ({each})' for each in scan.odd)}") from error


def require_finite(case: Case, scan: Scan) -> None:
    """Refuse NaN and infinity in the mask; outside it, skull-stripped and registered images often hold them.

    Raises:
        ValueError: the number of such voxels and where the first lies.
    """
    bad = ~np.isfinite(scan.values[scan.mask]).all(axis=-1)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(scan.mask)[int(np.argmax(bad))])
        raise ValueError(
            f"{case.path}: expected finite values in the {'mask' if case.facts.mask else 'automatic foreground'}, "
            f"found NaN or infinity in {np.count_nonzero(bad)} of its {bad.size} voxels, the first at {first}; correct "
            "the image or take these voxels out of the mask"
        )


def grid_of(case: Case, scan: Scan) -> nifti.Image:
    """The image whose grid all other images of a case must share."""
    return nifti.Image(case.path, scan.values, scan.affine, scan.header)


def load_b1_map(case: Case, scan: Scan) -> tuple[np.ndarray | None, list[str]]:
    """Read the transmit field, relative to nominal, if the case has one.

    Returns:
        [X, Y, Z] float32 or None, and warnings.

    Raises:
        ValueError: as `nifti.read_volume`, or a median in the mask, over values above zero, that is no ratio.
    """
    if case.facts.b1_map is None:
        return None, []
    return _read_map(case.facts.b1_map, grid_of(case, scan), scan.mask, _B1)
