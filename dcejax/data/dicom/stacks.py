"""Planes sorted into stacks of slices over time, with what is missing, doubled or mixed found here.

A stack is what one acquisition measured: one series, kind of image, matrix, orientation, TR, flip angle and echo time.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from dcejax.data.dicom.headers import CLOCKS, Folder, Plane

_SAME_HEIGHT_MM = 0.01
_EVEN_MM = 0.05  # slices may be unevenly spaced by this, and by this share of their distance
_EVEN_SHARE = 0.02
_MOSTLY = 0.5  # of slices times frames are there, where a number is that of the frame

# Numbers that may count the frames, the most trusted first.
_COUNTERS: tuple[tuple[str, Callable[[Plane], Any]], ...] = (
    ("temporal position", lambda plane: plane.temporal_index),
    *((name, lambda plane, name=name: plane.clocks.get(name)) for name in CLOCKS),
    ("AcquisitionNumber", lambda plane: plane.acquisition_number),
)


@dataclass(frozen=True)
class Stack:
    """Slices, each at every frame."""

    planes: tuple[tuple[Plane, ...], ...]  # [T][Z], slices along the normal

    @property
    def first(self) -> Plane:
        """The plane that says what all of them share."""
        return self.planes[0][0]

    @property
    def frames(self) -> int:
        """How many times each slice was measured."""
        return len(self.planes)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices: the NIfTI's [X, Y, Z]."""
        rows, columns = self.first.shape
        return columns, rows, len(self.planes[0])

    @property
    def name(self) -> str:
        """How messages call it."""
        first, last = self.first, self.planes[-1][0]
        until = f" to {last.series_number}" if last.series_uid != first.series_uid else ""
        return name_of(first, until)

    def by_series(self) -> list["Stack"]:
        """The stack in parts of one series each, in order of time; most are one part."""
        return [Stack(tuple(part)) for _, part in groupby(self.planes, key=lambda frame: frame[0].series_uid)]

    def same_grid(self, other: "Stack") -> bool:
        """Whether both have their voxels in the same places, to a tenth of a millimetre."""
        if self.shape != other.shape:
            return False
        here, there = (
            np.concatenate([s.planes[0][0].position, s.planes[0][-1].position, s.first.spacing, s.first.orientation])
            for s in (self, other)
        )
        return bool(np.abs(here - there).max() < 0.1)


def name_of(plane: Plane, until: str = "") -> str:
    """A series' number and description."""
    return f"series {plane.series_number}{until}{f' ({plane.description})' if plane.description else ''}"


def _kind(plane: Plane) -> tuple:
    cosines = tuple(round(value, 3) + 0.0 for value in plane.orientation)
    numbers = tuple(None if v is None else round(v, 3) for v in (plane.tr_ms, plane.flip_angle_deg, plane.te_ms))
    kind = (plane.modality, plane.derived, plane.magnitude, plane.gradient_echo)
    return plane.series_uid, kind, plane.shape, cosines, numbers


def _without_copies(folder: Folder) -> tuple[list[Plane], list[str]]:
    """Planes without files that are there twice, byte by byte, and what to say of those.

    Raises:
        ValueError: two files say that they are the same instance and differ.
    """
    seen: dict[tuple[str, int], Plane] = {}
    copies, digests = set(), {}

    def digest(plane: Plane) -> str:
        if plane.path not in digests:
            with open(plane.path, "rb") as file:
                digests[plane.path] = hashlib.file_digest(file, "sha256").hexdigest()
        return digests[plane.path]

    kept = []
    for plane in folder.planes:
        other = seen.setdefault((plane.instance_uid, plane.frame), plane)
        if other is plane:
            kept.append(plane)
        elif digest(other) == digest(plane):
            copies.add(plane.path)
        else:
            raise ValueError(
                f"{plane.path}: expected each instance once, found {other.path} with the same SOPInstanceUID and other "
                "content; remove the wrong one"
            )
    warnings = (
        [f"{len(copies)} file(s) are copies of others, such as {min(copies)}, and are left out"] if copies else []
    )
    return kept, warnings


def _slices(planes: Sequence[Plane]) -> list[float]:
    """Distinct heights along the normal."""
    heights = np.sort([plane.height for plane in planes])
    first = np.concatenate([[True], np.diff(heights) > _SAME_HEIGHT_MM])
    return heights[first].tolist()


def _check_spacing(heights: Sequence[float], first: Plane) -> None:
    gaps = np.diff(heights)
    if gaps.size and np.ptp(gaps) > max(_EVEN_MM, _EVEN_SHARE * np.median(gaps)):
        wide = int(np.argmax(gaps))
        raise ValueError(
            f"{first.path.parent}: {name_of(first)}: expected evenly spaced slices, found {np.median(gaps):.3g} "
            f"and {gaps[wide]:.3g} mm between those at {heights[wide]:.5g} and {heights[wide + 1]:.5g} mm; a slice "
            "seems to be missing: export the whole series again"
        )


def _counter(planes: Sequence[Plane], slots: dict[int, int], slices: int) -> tuple[str, list[Any]] | None:
    """What counts the frames: a number that occurs once a slice and, but for lost files, in each slice.

    Raises:
        ValueError: whatever counts does so twice in a slice.
    """
    twice = None
    for name, read in _COUNTERS:
        numbers = [read(plane) for plane in planes]
        if None in numbers or len(set(numbers)) < 2:
            continue
        seen: dict[tuple, Plane] = {}
        for plane, number in zip(planes, numbers, strict=True):
            other = seen.setdefault((slots[id(plane)], number), plane)
            if other is not plane:
                twice = twice or (name, number, plane, other)
                break
        else:
            if len(planes) > _MOSTLY * slices * len(set(numbers)):
                return name, numbers
            twice = None
            break  # one time for each slice of each frame: the order within the slice counts
    if twice is not None:
        name, number, plane, other = twice
        raise ValueError(
            f"{plane.path}: {name_of(plane)}: expected one image of a slice at each {name}, found {other.path} with "
            f"{number:g} as well; remove what does not belong to the series"
        )
    return None


def _by_rank(planes: Sequence[Plane], slots: dict[int, int], slices: int) -> list[int]:
    """Frames counted within each slice, by time and then by the number of the instance."""
    by_slice: dict[int, list[Plane]] = defaultdict(list)
    for plane in planes:
        by_slice[slots[id(plane)]].append(plane)
    counts = [len(by_slice[z]) for z in range(slices)]
    if len(set(counts)) > 1:
        usual = int(np.bincount(counts).argmax())
        odd = next(z for z, count in enumerate(counts) if count != usual)
        plane = by_slice[odd][0]
        raise ValueError(
            f"{plane.path.parent}: {name_of(plane)}: expected every slice {usual} times, found the one at "
            f"{plane.height:.5g} mm {counts[odd]} times; export the whole series again, and it alone"
        )
    ranks = {}
    for own in by_slice.values():
        order = sorted(own, key=lambda p: (next((p.clocks[c] for c in CLOCKS if c in p.clocks), 0), p.instance_number))
        ranks |= {id(plane): rank for rank, plane in enumerate(order)}
    return [ranks[id(plane)] for plane in planes]


def _stack(planes: Sequence[Plane]) -> Stack:
    """Sort the planes of one kind.

    Raises:
        ValueError: a slice that is missing from some frames or from all.
    """
    heights, first = _slices(planes), planes[0]
    slots = {id(p): int(np.argmin([abs(p.height - height) for height in heights])) for p in planes}
    counted = _counter(planes, slots, len(heights))
    name, numbers = counted or ("the order of instances", _by_rank(planes, slots, len(heights)))
    grid: dict[Any, dict[int, Plane]] = defaultdict(dict)
    for plane, number in zip(planes, numbers, strict=True):
        grid[number][slots[id(plane)]] = plane
    for frame, number in enumerate(sorted(grid)):
        lacking = sorted(set(range(len(heights))) - set(grid[number]))
        if lacking:
            raise ValueError(
                f"{first.path.parent}: {name_of(first)}: expected {len(heights)} slices in each of {len(grid)} frames, "
                f"found {len(grid[number])} in frame {frame} (counted from 0, by {name}): the one at "
                f"{heights[lacking[0]]:.5g} mm is missing; export the whole series again, or remove this frame's files"
            )
    _check_spacing(heights, first)
    return Stack(tuple(tuple(grid[number][z] for z in range(len(heights))) for number in sorted(grid)))


def joined(stacks: Sequence[Stack]) -> list[Stack]:
    """Series of one frame each that are the frames of one acquisition, as some scanners send them, in order of time."""
    groups: dict[tuple, list[Stack]] = defaultdict(list)
    for stack in stacks:
        if stack.frames == 1:
            groups[(*_kind(stack.first)[1:], stack.first.description)].append(stack)
    made = []
    for group in groups.values():
        clock = next((c for c in CLOCKS if len({s.first.clocks.get(c) for s in group} - {None}) == len(group)), None)
        if clock is not None and all(s.same_grid(group[0]) for s in group):
            made.append(Stack(tuple(s.planes[0] for s in sorted(group, key=lambda s: s.first.clocks[clock]))))
    return made


@dataclass(frozen=True)
class Broken:
    """A stack that is not whole."""

    first: Plane
    frames: float  # images for each slice
    reason: str


@dataclass(frozen=True)
class Sorted:
    """The stacks of a folder, those that are not whole, and warnings."""

    stacks: tuple[Stack, ...]
    broken: tuple[Broken, ...]
    warnings: tuple[str, ...]


def sort_planes(folder: Folder) -> Sorted:
    """Sort the planes of a folder into stacks.

    Raises:
        ValueError: several studies, or files that claim to be the same instance.
    """
    planes, warnings = _without_copies(folder)
    studies = {plane.study_uid for plane in planes}
    if len(studies) > 1:
        raise ValueError(
            f"{folder.path}: expected one examination, found {len(studies)} studies; give each a folder of its own"
        )
    groups: dict[tuple, list[Plane]] = defaultdict(list)
    for plane in planes:
        groups[_kind(plane)].append(plane)
    stacks, broken = [], []
    for group in groups.values():
        try:
            stacks.append(_stack(group))
        except ValueError as error:  # one broken series matters only if it is the one that is meant
            broken.append(Broken(group[0], len(group) / len(_slices(group)), str(error)))
    return Sorted(tuple(stacks), tuple(broken), tuple(warnings))
