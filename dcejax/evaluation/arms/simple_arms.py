"""What is compared: each arm makes maps of one examination. These arms do not analyse the series."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from dcejax.evaluation.examinations import Loaded
from dcejax.simulation import priors

ENHANCING, NECROTIC, OTHER_ABNORMAL = 1, 2, 3
"""Labels of a data set's tumour segmentation."""


@dataclass(frozen=True)
class Description:
    """What the report says of an arm."""

    name: str  # in files and tables
    label: str  # for people
    kind: str  # baseline, reader, fit, network or maps
    text: str  # one sentence


INTERVAL = ("q05", "q95")
"""What methods call the ends of an interval of 90 %."""


@dataclass(frozen=True)
class Maps:
    """What an arm gives for one examination."""

    values: np.ndarray  # [X, Y, Z, C] float32
    sd: np.ndarray | None = None  # [X, Y, Z, C] at or above 0; None where the arm states no uncertainty
    interval: tuple[np.ndarray, np.ndarray] | None = None  # ends [X, Y, Z, C] of 90 %; those of a Gaussian if None
    halves: tuple[np.ndarray, np.ndarray] | None = None  # [X, Y, Z, C] means of two halves of the samples
    prior: tuple[np.ndarray, np.ndarray] | None = None  # means and SDs [Z', L] of the latent in each slice with brain
    seconds: Mapping[str, float | None] = field(default_factory=dict)  # inference, and total with reading
    statistic: str = "estimate"  # what the values are: mean or median, if there is a distribution


class Arm(Protocol):
    """Makes maps; a ValueError from `maps` says why an examination is refused."""

    @property
    def description(self) -> Description:
        """What it is."""

    def identity(self, case_id: str) -> Any:
        """What shapes its maps of an examination beside the examination itself, ready for JSON.

        Raises:
            ValueError: it has none for this case.
        """

    def maps(self, loaded: Loaded) -> Maps:
        """Make the maps of an examination."""


class AllZero:
    """Zero everywhere."""

    description = Description("all-zero", "All zero", "baseline", "Zero in every voxel; it looks at nothing.")

    def identity(self, case_id: str) -> str:
        """The same for every case."""
        return "zero"

    def maps(self, loaded: Loaded) -> Maps:
        """Zero."""
        return Maps(np.zeros_like(loaded.simulated.truth))


def _medians(kinetics: priors.Tissue | priors.TumourKinetics) -> tuple[float, float, float]:
    return kinetics.ktrans.median, kinetics.vp.median, kinetics.ve.median


def enhancing_medians() -> np.ndarray:
    """Medians [C] of the priors of enhancing tumour, averaged over the training population's enhancing patients."""
    weights = np.array([c.training * (1.0 - c.non_enhancing) for c in priors.TUMOUR_CLASSES])
    medians = np.array([_medians(priors.TUMOUR_KINETICS[c.kinetics]) for c in priors.TUMOUR_CLASSES])
    return weights @ medians / weights.sum()


def _tissue_medians(names: Sequence[str]) -> np.ndarray:
    """Medians [N, C] of the priors of tissues by name; vessels hold plasma, tumour what does not enhance."""
    by_name = {tissue.name: _medians(tissue) for tissue in priors.TISSUES}
    by_name["tumour"] = _medians(priors.TUMOUR_KINETICS[priors.NON_ENHANCING])
    by_name |= dict.fromkeys(("artery", "vein"), (0.0, 1.0 - priors.PRIORS.hematocrit[0], 0.0))
    return np.array([by_name.get(name, (0.0, 0.0, 0.0)) for name in names])


class ClassMedian:
    """The median of the priors for each voxel's true class."""

    description = Description(
        "class-median",
        "Class median",
        "baseline",
        "Each voxel gets the prior median of its true class, from the true segmentation and tissue map: enhancing "
        "tumour the medians of all enhancing diagnoses averaged by their number in training, every other class its "
        "own; it never looks at the series.",
    )

    def identity(self, case_id: str) -> list:
        """The medians."""
        return [enhancing_medians().tolist(), _tissue_medians([tissue.name for tissue in priors.TISSUES]).tolist()]

    def maps(self, loaded: Loaded) -> Maps:
        """Look up the medians."""
        simulated = loaded.simulated
        medians = _tissue_medians(simulated.tissue_names)
        values = medians[simulated.tissue]
        by_name = dict(zip(simulated.tissue_names, medians, strict=True))
        labels = simulated.scan.segmentation
        values[labels == ENHANCING] = enhancing_medians()
        values[labels == NECROTIC] = by_name["necrotic core"]
        return Maps(np.where(simulated.scan.mask[..., None], values, 0.0).astype(np.float32))


class Reader:
    """A reader whose maps are part of the data set."""

    def __init__(self, name: str):
        self._name = name
        number = name.removeprefix("reader")
        self.description = Description(
            name,
            f"Reader {number}",
            "reader",
            f"Simulated reader {number}: an arterial input measured in an arterial voxel of their own choice; plasma "
            "only, Patlak or extended Tofts with a delay; T1 of 1.5 s everywhere, nominal flip angle.",
        )

    def identity(self, case_id: str) -> str:
        """The name; the hash of the examination covers the maps of its readers."""
        return self._name

    def maps(self, loaded: Loaded) -> Maps:
        """Take them from the data set."""
        found = loaded.simulated.readers
        if self._name not in found:
            raise ValueError(f"the data set holds no maps of {self._name} for this examination")
        return Maps(found[self._name])
