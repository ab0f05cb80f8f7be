"""Training patches of labelled examinations in a folder, real or simulated; see `labelled_examinations` for its layout.

A patch is a square of one slice (third axis) on the examination's own grid; its curves are the signal on its own
frames. Decoded examinations are kept in memory up to a limit, those used last; one of 400,000 voxels and 60 frames
takes 0.1 GiB. Of several processes each reads the examinations of its own examples only.
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
from dcejax.training.batch_source import PerCurve, Source, Split, part_of
from dcejax.training.labelled_examinations import LabelledCase, LabelledExamination
from dcejax.types import PARAMETERS, Known

_ROWS = 16_384


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
        np.where(mask[..., None], examination.curves[rows], examination.outside),
        mask,
        context._replace(t10=of_patches(context.t10, 1.0), b1=of_patches(context.b1, 1.0)),
        Truth(np.where(mask[..., None], examination.maps[rows], np.float32(0.0))),
        np.zeros(len(rows), np.int32),
    )


def _own(patients: int) -> range:
    """Which patients of a batch have examples that belong to devices of this process, see `placement.spread`."""
    process, processes = jax.process_index(), jax.process_count()
    return range(process * patients // processes, -(-(process + 1) * patients // processes))


def _reduced(examination: LabelledExamination, per_curve: PerCurve) -> LabelledExamination:
    """The examination with the numbers of each voxel in place of its curve."""
    voxels = len(examination.curves)
    rows = voxels + 1 + -(voxels + 1) % _ROWS  # of few numbers, each of which is compiled; the last is outside
    curves = np.pad(examination.curves, [(0, rows - voxels), (0, 0)])
    maps = np.zeros((rows, len(PARAMETERS)), np.float32)
    whole = Batch(curves, np.ones(rows, bool), examination.context, Truth(maps), np.int32(0))
    numbers = np.asarray(per_curve(jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], whole)).curves[0])
    return examination._replace(curves=numbers[:voxels], outside=numbers[-1])


def make_source(
    folder: Path, config: StageConfig, protocol: Protocol, split: Split, per_curve: PerCurve | None = None
) -> Source:
    """The source that draws examinations of a folder, with replacement, and patches of each.

    Every voxel of a volume, including the last row, column and slice, can be drawn. The scale that `fixed_grid.encode`
    finds in the context is that of the whole scan. Of the truth only the maps are known. With
    `config.validation_batches`, which has a folder of its own, all subjects of this one belong to the split.

    `config.cache_gib` limits the decoded examinations in memory; the one in use is kept in any case. What belongs to
    other processes is zero in the batch of this one.

    Raises:
        ValueError: as `labelled_examinations.find`, an image smaller than a patch, or fewer than two subjects to
            divide. The source raises what `labelled_examinations.load` does.
    """
    found = labelled_examinations.find(folder, config.labels)
    for one in found:
        if min(one.shape[:2]) < config.patch_size:
            raise ValueError(
                f"{one.case.path}: expected slices of at least patch_size = {config.patch_size} voxels along both "
                f"sides, found {one.shape[0]} x {one.shape[1]}; choose a smaller patch_size"
            )
    brightest = labelled_examinations.brightest_needed(found, protocol)
    if not config.validation_batches:
        subjects = subjects_of(found, split, folder)
        found = [one for one in found if one.subject in subjects]

    def load(number: int) -> LabelledExamination:
        examination = labelled_examinations.load(found[number], protocol, brightest)
        return examination if per_curve is None else _reduced(examination, per_curve)

    examinations = _Recent(load, int(config.cache_gib * 2**30))
    draw, patients = partial(_patches, settings=config.patches), config.patients_per_step
    own = _own(patients)

    def source(key: jax.Array) -> Batch:
        key_choice, *keys = jax.random.split(key, 1 + patients)
        chosen = np.asarray(jax.random.randint(key_choice, (patients,), 0, len(found))).tolist()
        drawn = [draw(keys[i], examinations(chosen[i])) for i in own]
        nothing = jax.tree.map(np.zeros_like, drawn[0])
        all_of = [drawn[i - own.start] if i in own else nothing for i in range(patients)]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *all_of)
        batch = map_examples(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), stacked)
        row = np.repeat(np.arange(patients), config.patches_per_patient)
        return jax.tree.map(jnp.asarray, batch._replace(row=row))

    return source
