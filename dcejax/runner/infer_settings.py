"""How maps of networks are made, checked before the networks are imported."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class InferSettings:
    """What shapes the maps, beside a case's files and facts and the weights."""

    num_samples: int | None  # in place of the number in the weights' configuration
    seed: int
    aif_clock: str | None = None  # of an arterial input from a file; None looks at its samples
    modelled: bool = False  # write the series that the maps explain, which is as large as the input

    def __post_init__(self):
        if self.num_samples is not None and self.num_samples < 1:
            raise ValueError(f"--num_samples: expected 1 latent sample or more, found {self.num_samples}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed: expected 0 to 2**32 - 1, found {self.seed}")
