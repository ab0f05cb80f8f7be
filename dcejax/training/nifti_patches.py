"""Training patches of labelled examinations in a folder, real or simulated; see `labelled_examinations` for its layout.

A patch is a square of one slice (third axis) on the examination's own grid; its curves are the signal on its own
frames. Decoded examinations are kept in memory up to a limit, those used last.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.batch import Batch, Truth, map_examples
from dcejax.methods.stage import StageConfig
from dcejax.protocol import Protocol
from dcejax.simulation.training.patches import Patches
from dcejax.training import labelled_examinations
from dcejax.training.batch_source import Source, Split, part_of
from dcejax.training.labelled_examinations import LabelledCase, LabelledExamination
from dcejax.types import Known

CACHE_BYTES = 2 << 30
"""Limit of decoded examinations in memory for each source; one of 400,000 voxels and 60 frames takes 0.1 GiB."""


class _Recent:
    """Examinations by number, of which those used last are kept."""

    def __init__(self, load: Callable[[int], LabelledExamination], most_bytes: int):
        self._load, self._most_bytes = load, most_bytes
        self._kept: dict[int, LabelledExamination] = {}  # in order of use

    def __call__(self, number: int) -> LabelledExamination:
        examination = self._kept.pop(number, None) or self._load(number)
        self._kept[number] = examination
        while len(self._kept) > 1 and sum(map(_bytes, self._kept.values())) > self._most_bytes:
            del self._kept[next(iter(self._kept))]
        return examination


def _bytes(examination: LabelledExamination) -> int:
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(examination))


def subjects_of(examinations: list[LabelledCase], split: Split, folder: Path) -> set[str]:
    """The subjects of a split: in order of a hash of their labels, the last eighth, rounded up, validates.

    So the same folder is always divided alike; subjects that are added later may move others to the other split.

    Raises:
        ValueError: fewer than two subjects.
    """
    subjects = {examination.subject for examination in examinations}
    ordered = sorted(subjects, key=lambda subject: hashlib.sha256(subject.encode()).digest())
    return set(part_of(ordered, split, f"{folder}: subjects"))


def _corners(key: jax.Array, examination: LabelledExamination, settings: Patches) -> np.ndarray:
    """First voxels [P, 3] of patches, chosen as `dcejax.simulation.training.patches.patch_corners` does."""
    key_tumour, key_anywhere = jax.random.split(key)
    count, shape = settings.patches_per_patient, np.array(examination.index.shape)
    centre = np.array(jax.random.randint(key_anywhere, (count, 3), 0, shape))
    on_tumour = round(settings.tumour_fraction * count)
    if on_tumour and len(examination.tumour_voxels):
        chosen = jax.random.randint(key_tumour, (on_tumour,), 0, len(examination.tumour_voxels))
        centre[:on_tumour] = examination.tumour_voxels[np.asarray(chosen)]
    size = np.array([settings.patch_size, settings.patch_size, 1])
    return np.clip(centre - size // 2, 0, shape - size)


def _patches(key: jax.Array, examination: LabelledExamination, settings: Patches) -> Batch:
    """Patches of one examination, arrays of NumPy; the fields of examinations have no axis for it yet."""
    key_corners, key_lesion = jax.random.split(key)
    side = np.arange(settings.patch_size)
    x, y, z = _corners(key_corners, examination, settings).T[:, :, None, None]
    rows = examination.index[x + side[:, None], y + side, z]  # [P, size, size]
    inside = rows >= 0
    lesion = inside & examination.tumour[rows]
    alone = np.asarray(jax.random.uniform(key_lesion, (len(rows),))) < settings.lesion_mask_fraction
    mask = np.where((alone & lesion.any(axis=(1, 2)))[:, None, None], lesion, inside)
    context = examination.context

    def of_patches(known: Known, outside: float) -> Known:
        values = np.broadcast_to(np.asarray(known.values, np.float32), examination.tumour.shape)
        return Known(np.where(inside, values[rows], np.float32(outside)), np.full(len(rows), known.known))

    return Batch(
        np.where(mask[..., None], examination.curves[rows], np.float32(0.0)),
        mask,
        context._replace(t10=of_patches(context.t10, 1.0), b1=of_patches(context.b1, 1.0)),
        Truth(np.where(mask[..., None], examination.maps[rows], np.float32(0.0))),
        np.zeros(len(rows), np.int32),
    )


def make_source(
    folder: Path, config: StageConfig, protocol: Protocol, split: Split, cache_bytes: int = CACHE_BYTES
) -> Source:
    """The source that draws examinations of a folder, with replacement, and patches of each.

    Every voxel of a volume, including the last row, column and slice, can be drawn. The scale that `fixed_grid.encode`
    finds in the context is that of the whole scan. Of the truth only the maps are known.

    `cache_bytes` limits the decoded examinations in memory; the one in use is kept in any case.

    Raises:
        ValueError: as `labelled_examinations.find`, an image smaller than a patch, or fewer than two subjects. The
            source raises what `labelled_examinations.load` does.
    """
    found = labelled_examinations.find(folder)
    for one in found:
        if min(one.shape[:2]) < config.patch_size:
            raise ValueError(
                f"{one.case.path}: expected slices of at least patch_size = {config.patch_size} voxels along both "
                f"sides, found {one.shape[0]} x {one.shape[1]}; choose a smaller patch_size"
            )
    brightest = labelled_examinations.brightest_needed(found, protocol)
    subjects = subjects_of(found, split, folder)
    mine = [one for one in found if one.subject in subjects]
    examinations = _Recent(lambda i: labelled_examinations.load(mine[i], protocol, brightest), cache_bytes)
    draw = partial(_patches, settings=config.patches)

    def source(key: jax.Array) -> Batch:
        key_choice, *keys = jax.random.split(key, 1 + config.patients_per_step)
        chosen = np.asarray(jax.random.randint(key_choice, (len(keys),), 0, len(mine))).tolist()
        drawn = [draw(of, examinations(number)) for of, number in zip(keys, chosen, strict=True)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *drawn)
        batch = map_examples(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), stacked)
        row = np.repeat(np.arange(len(drawn)), config.patches_per_patient)
        return jax.tree.map(jnp.asarray, batch._replace(row=row))

    return source
