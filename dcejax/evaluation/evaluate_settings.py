"""How an evaluation is made: every default and its range in one place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings:
    """What is evaluated on whom; everything but the folders and `limit` shapes the results."""

    cohort: str  # folder of a data set, or name of a cohort
    retest: str | None = None  # the same, of patients who were examined twice
    size: str | None = None  # of images that are rendered on the fly; None where all cohorts are folders
    limit: int | None = None  # patients of each cohort, if not all
    cohort_seed: int = 0  # of cohorts that are rendered on the fly
    weights: tuple[str, ...] = ()  # .npz files, or names of weights in the package
    maps: tuple[tuple[str, Path], ...] = ()  # label and folder
    num_samples: int = 4
    seed: int = 0

    def __post_init__(self):
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit: expected 1 patient or more, found {self.limit}")
        if self.num_samples < 2 or self.num_samples % 2:
            raise ValueError(
                f"--num_samples: expected an even number from 2 on, because its halves are compared, found "
                f"{self.num_samples}"
            )
        for name in ("seed", "cohort_seed"):
            if not 0 <= getattr(self, name) < 2**32:
                raise ValueError(f"--{name}: expected 0 to 2**32 - 1, found {getattr(self, name)}")

    def shaping(self) -> dict[str, Any]:
        """What shapes a case's results beside its own files and the arms', ready for JSON."""
        return {"num_samples": self.num_samples, "seed": self.seed}
