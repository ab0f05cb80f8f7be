"""Where batches come from: a function from a key to a batch, whatever is behind it.

A batch is a function of its key, and its key of (seed, stage, step), so a run can stop and go on anywhere.
"""

from collections.abc import Iterator
from pathlib import Path

from dcejax.batch import Batch
from dcejax.methods.stage import Stage, StageConfig
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation.training import patches, voxel_sets
from dcejax.training import batch_pool, nifti_patches
from dcejax.training.batch_source import PerCurve, Source, Split


def source_of(
    config: StageConfig, protocol: Protocol, split: Split = "train", per_curve: PerCurve | None = None
) -> Source:
    """The source that `config.batches` names: "simulated" patches or "examinations" as sets of voxels (both in
    `dcejax.simulation.training`), "pool:FOLDER" (`batch_pool`) or "nifti:FOLDER" (`nifti_patches`).

    The protocol is the acquisition of simulated batches; for files it says which voxels decide the scale, and stands in
    for what they do not tell. The two splits are different batches of a pool and different subjects of a folder, or of
    two. `per_curve` is that of the `Stage` that the batches are for.

    Returns:
        source(key) -> batch of `patients_per_step` examinations with `patches_per_patient` examples
        [patch_size, patch_size, T] each, or, of sets of voxels, one example [V, T].

    Raises:
        ValueError: a frame interval that is not simulated, or a folder that does not hold what the configuration says.
    """
    kind, _, folder = config.batches.partition(":")
    if split == "validation" and config.validation_batches:
        kind, _, folder = config.validation_batches.partition(":")
    if kind == "nifti":
        return nifti_patches.make_source(Path(folder), config, protocol, split, per_curve)
    if kind == "pool":
        source = batch_pool.open_pool(Path(folder), config, split)
    elif kind == "examinations":
        source = voxel_sets.make_sampler(protocol, config.patients_per_step)
    else:
        source = patches.make_sampler(config.patches, protocol, config.patients_per_step)
    return source if per_curve is None else lambda key: per_curve(source(key))


def batches(stage: Stage, seed: int = 0, *, start: int = 0) -> Iterator[Batch]:
    """Batches of a stage without end, made on the device; the n-th one is the same in every process."""
    source = source_of(stage.config, stage.protocol, per_curve=stage.per_curve)
    while True:
        yield source(stream(seed, stage.name, "train", start))
        start += 1
