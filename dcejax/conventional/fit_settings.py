"""How a conventional analysis is made: every default and its range in one place."""

from dataclasses import dataclass

from dcejax.config import ProtocolConfig
from dcejax.data.loading import LONGEST_PLAUSIBLE_T1_S
from dcejax.physics.fitting import MODELS
from dcejax.physics.linear import LINEAR_MODELS
from dcejax.physics.selection import NESTED

_ASSUMED = ProtocolConfig()


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What shapes the results of all cases; what is assumed holds where a case states nothing."""

    model: str = "extended_tofts"
    method: str = "nlls"
    fit_delay: bool = False
    select: bool = False  # the best of the models nested in `model`, voxel by voxel
    assumed_hematocrit: float = _ASSUMED.hematocrit
    assumed_relaxivity_per_mM_s: float = _ASSUMED.relaxivity_per_mM_s
    assumed_t1_s: float = _ASSUMED.t10_s
    blood_t1_s: float = _ASSUMED.blood_t10_s
    baseline_frames: int | None = None  # before contrast; found automatically if None
    te_ms: float | None = None
    r2_star_relaxivity: float | None = None  # 1/(mM s)
    modelled: bool = True  # write the modelled series, which is as large as the input

    def __post_init__(self):
        if self.model not in MODELS:
            raise ValueError(f"--model: expected one of {', '.join(MODELS)}, found {self.model!r}")
        if self.method not in ("nlls", "linear"):
            raise ValueError(f"--method: expected nlls or linear, found {self.method!r}")
        if self.method == "linear" and (self.model not in LINEAR_MODELS or self.fit_delay or self.select):
            raise ValueError(
                f"--method=linear: expected one of {', '.join(LINEAR_MODELS)} without --fit_delay and --select, found "
                f"{self.model}{' with --fit_delay' * self.fit_delay}{' with --select' * self.select}; use --method=nlls"
            )
        if self.select and self.model not in NESTED:
            raise ValueError(f"--select: expected --model to be one of {', '.join(NESTED)}, found {self.model}")
        if self.baseline_frames is not None and self.baseline_frames < 1:
            raise ValueError(f"--baseline_frames: expected 1 frame or more, found {self.baseline_frames}")
        if (self.te_ms is None) != (self.r2_star_relaxivity is None):
            raise ValueError(
                "--te_ms and --r2_star_relaxivity: expected both, or neither for no decay by T2*, found one of them"
            )
        for name in ("te_ms", "r2_star_relaxivity"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name}: expected a positive number, found {value}")
        if not 0 < self.blood_t1_s <= LONGEST_PLAUSIBLE_T1_S:
            raise ValueError(f"--blood_t1_s: expected T1 in s, found {self.blood_t1_s:g}; divide a T1 in ms by 1000")
