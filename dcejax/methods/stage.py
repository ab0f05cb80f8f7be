"""A training stage of a method: its batches, its losses, and when it ends."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from dcejax.batch import Batch
from dcejax.config import require, require_positive
from dcejax.protocol import Protocol
from dcejax.simulation.training.patches import Patches

Weight = float | tuple[float, ...]


@dataclass(frozen=True)
class StageConfig:
    """Which batches a stage sees, the weights of its losses, and its schedule."""

    batches: str = "simulated"  # or examinations, pool:FOLDER, nifti:FOLDER; see `dcejax.training.batches`
    validation_batches: str = ""  # nifti:FOLDER of other subjects; empty for an eighth of what `batches` names
    labels: str = ""  # of nifti:FOLDER, truth or reader1; empty for the first of these that it holds
    cache_gib: float = 2.0  # of memory for the decoded examinations of nifti:FOLDER
    pool_batches: int = 0  # made before the first step, kept in the working folder, and drawn again; 0: all are new
    patients_per_step: int = 1
    patches_per_patient: int = 16
    patch_size: int = 64  # voxels along each side
    tumour_fraction: float = 0.5  # share of patches centred on a tumour voxel; the others lie anywhere
    lesion_mask_fraction: float = 0.0  # share of patches whose mask holds the tumour alone, as some users' masks do
    losses: Mapping[str, Weight] = field(default_factory=dict)  # name in `dcejax.training.losses` -> weight
    learning_rate: float = 3e-4
    cosine_decay: bool = False  # of the learning rate, to zero after max_epochs; the published rate is constant
    warmup_steps: int = 0  # in which the learning rate rises from zero
    most_gradient: float = 0.0  # norm above which a gradient is shortened to it; 0 for any
    steps_per_epoch: int = 165  # one step per training patient of the published cohort
    max_epochs: int = 100
    patience: int = 5  # epochs without a better validation loss before the stage ends
    validation_patients: int = 62
    take: str = "best"  # or last: of which epoch, by its validation loss, the parameters are taken

    def __post_init__(self):
        require_positive(
            self,
            "patients_per_step",
            "patches_per_patient",
            "patch_size",
            "learning_rate",
            "steps_per_epoch",
            "max_epochs",
            "patience",
            "validation_patients",
        )
        require(self.pool_batches != 1 and self.pool_batches >= 0, "pool_batches", self.pool_batches, "0, or 2 or more")
        for name in ("warmup_steps", "most_gradient"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        kind, _, folder = self.batches.partition(":")
        require(
            self.batches in ("simulated", "examinations") or (kind in ("pool", "nifti") and folder != ""),
            "batches",
            self.batches,
            "simulated, examinations, pool:FOLDER or nifti:FOLDER",
        )
        others, _, folder = self.validation_batches.partition(":")
        require(
            not self.validation_batches or (kind == others == "nifti" and folder != ""),
            "validation_batches",
            self.validation_batches,
            "nifti:FOLDER beside batches of nifti:FOLDER, or nothing",
        )
        require(self.labels in ("", "truth", "reader1"), "labels", self.labels, "truth, reader1 or nothing")
        require(self.take in ("best", "last"), "take", self.take, "best or last")
        require(self.cache_gib >= 0, "cache_gib", self.cache_gib, "0 or more")
        for name in ("tumour_fraction", "lesion_mask_fraction"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "0 to 1")
        require(len(self.losses) > 0, "losses", self.losses, "one loss or more")
        for name, weight in self.losses.items():
            weights = weight if isinstance(weight, tuple) else (weight,)
            require(all(w >= 0 for w in weights), f"losses.{name}", weight, "0 or more")

    @property
    def patches(self) -> Patches:
        """Which patches are drawn of a patient."""
        return Patches(self.patches_per_patient, self.patch_size, self.tumour_fraction, self.lesion_mask_fraction)


class Stage(NamedTuple):
    """What the training loop needs to know of a stage; it trains one part of the weights, which has its name."""

    name: str
    config: StageConfig
    init: Callable[[jax.Array], Any]  # key -> parameters
    prepare: Callable[[Batch], tuple[Any, Batch]]  # batch -> inputs and batch by example, outside the gradient
    apply: Callable[[Any, Any, jax.Array], dict[str, Any]]  # (parameters, inputs, key) -> outputs, for the losses
    judge: Callable[[Any, Any, jax.Array], dict[str, Any]]  # the same without what inference cannot see
    judged_by: Mapping[str, Weight]  # losses of the validation
    protocol: Protocol  # acquisition of simulated batches
    piece: int | None = None  # how many examples a gradient takes at once; None for all
    per_curve: Callable[[Batch], Batch] | None = None
    """What is made of each curve alone, of batches of any shape, before `prepare`: a batch with these numbers in place
    of the curves. Sources that keep examinations keep the numbers."""

    def reduced(self, batch: Batch) -> Batch:
        """The batch after `per_curve`."""
        return batch if self.per_curve is None else self.per_curve(batch)
