"""The same series in other types and grids, and masks and segmentations of any values."""

from pathlib import Path

import numpy as np
from hostile_inputs import (
    PLAIN,
    SHAPE,
    SLOPE,
    Kind,
    answer,
    content,
    like_plain,
    plain_values,
    put,
    scan_of,
    whole_numbers,
)
from hypothesis import strategies as st

_REAL = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_OTHER = ("c8", "c16", "rgb", "rgba")
TYPES = st.tuples(
    st.sampled_from((*_REAL, *_OTHER)),
    st.sampled_from("<>"),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.integers(0, 40),
)


def stored_as(kind: str, order: str, version: int, shift: int) -> bytes:
    """The plain series in another type; integers are scaled, and shifted."""
    whole = whole_numbers()
    if kind in ("rgb", "rgba"):
        return content(np.zeros(whole.shape, [(c, "u1") for c in kind.upper()]), order=order, version=version)
    if kind[0] in "fc":
        return content((whole * SLOPE).astype(kind), order=order, version=version)
    stored = (whole - shift).astype(kind) if kind[0] == "i" else (whole + shift).astype(kind)
    inter = shift * SLOPE * (1 if kind[0] == "i" else -1)
    return content(stored, order=order, version=version, slope=SLOPE, inter=inter)


def _judge_types(folder: Path, drawn: tuple) -> str:
    kind, order, version, zipped, shift = drawn
    name = "scan.nii.gz" if zipped else "scan.nii"
    data = stored_as(kind, order, version, shift)
    found = answer(lambda: like_plain(scan_of(folder, data, name)), folder / name)
    assert (found == "same") == (kind in _REAL), f"{kind} {found}"
    return found


ROTATIONS = st.tuples(
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(*[st.floats(0.3, 8.0)] * 3),
    st.sampled_from(["both", "sform", "qform", "none"]),
    st.booleans(),
)


def turned(angles: tuple, axes: list, signs: tuple, zooms: tuple) -> np.ndarray:
    """An affine: oblique, permuted, flipped."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, axes] * signs * zooms
    affine[:3, 3] = 10 * np.asarray(angles)
    return affine


def _judge_geometry(folder: Path, drawn: tuple) -> str:
    """Values do not depend on the affine; a mask elsewhere in space is refused."""
    *how, coded, elsewhere = drawn
    affine = turned(*how)
    data = content(plain_values(), affine=affine, coded=coded)
    moved = affine.copy()
    moved[:3, 3] += 0.6 * min(how[-1])
    mask = content(np.ones(SHAPE, np.uint8), affine=moved if elsewhere else affine, coded=coded)
    found = answer(lambda: like_plain(scan_of(folder, data, mask=mask)), folder / "mask.nii")
    if coded == "none":  # both lie where the size of their voxels says
        return found
    assert (found == "refused") == elsewhere
    return found


MASKS = st.tuples(
    st.lists(st.floats(width=32), min_size=1, max_size=6),
    st.sampled_from([SHAPE, (4, 3, 3), (4, 3), (*SHAPE, 1), (*SHAPE, 2), (4, 6, 1)]),
    st.sampled_from(["f4", "f8", "i2", "u1", "c8"]),
    st.sampled_from(["mask", "segmentation"]),
)


def _judge_masks(folder: Path, drawn: tuple) -> str:
    numbers, shape, kind, role = drawn
    values = np.resize(np.array(numbers, np.float64), shape)
    if kind in ("i2", "u1"):
        values = np.clip(np.nan_to_num(values), 0, 200)
    with np.errstate(all="ignore"):
        stored = values.astype(kind)
    stored_file, other = content(stored), folder / ("mask.nii" if role == "mask" else "labels.nii.gz")

    def read() -> str:
        if role == "mask":
            scan = scan_of(folder, PLAIN, mask=stored_file)
        else:
            scan = scan_of(folder, PLAIN, segmentation=put(other, stored_file))
        if role == "mask":
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(scan.mask, stored > 0)
        else:
            assert scan.segmentation.min() >= 0
            usual = np.nan_to_num(stored.astype(np.float64))
            assert np.abs(scan.segmentation - usual).max() <= 1e-3 * max(1.0, usual.max())
        return "accepted"

    found = answer(read, other)
    assert found == "refused" or shape == SHAPE
    return found


KINDS = {
    "types of voxels, byte orders, versions, scaling": Kind(TYPES, _judge_types),
    "oblique, flipped and permuted grids": Kind(ROTATIONS, _judge_geometry),
    "masks and segmentations": Kind(MASKS, _judge_masks),
}
