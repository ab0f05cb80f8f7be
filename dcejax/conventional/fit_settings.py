"""How a conventional analysis is made: every default and its range in one place."""

from dataclasses import dataclass

from dcejax.data import ranges
from dcejax.physics.fitting import check_method
from dcejax.physics.selection import CAREFUL_MODELS
from dcejax.physics.tracer_models import EXTENDED_TOFTS, MODELS, TracerModel, find
from dcejax.protocol import Protocol

_ASSUMED = Protocol()
_RANGES = (  # beyond which a number is in another unit
    ("te_ms", 0.2, 50.0, "ms", "multiply one in s by 1000"),
    ("r2_star_relaxivity", 1.0, 500.0, "1/(mM s)", "multiply one per ms by 1000, divide one per min by 60"),
    ("dispersion_s", 0.05, 60.0, "s", "multiply one in min by 60, divide one in ms by 1000"),
)


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What shapes the results of all cases; what is assumed holds where a case states nothing."""

    # None is what a careful analyst would do, and becomes what that is: if no model is stated, the best of those nested
    # in extended Tofts, voxel by voxel; a delay wherever the model has columns.
    model: str | None = None  # a name of `tracer_models.MODELS`, or MODULE:RECORD
    method: str = "nlls"
    fit_delay: bool | None = None
    select: bool | None = None  # the best of the models nested in `model`, voxel by voxel
    assumed_hematocrit: float = _ASSUMED.hematocrit
    assumed_relaxivity_per_mM_s: float = _ASSUMED.relaxivity_per_mM_s
    assumed_t1_s: float = _ASSUMED.t10_s
    blood_t1_s: float = _ASSUMED.blood_t10_s
    aif_clock: str | None = None  # of an arterial input from a file: "scan" or "frames"; None looks at its samples
    dispersion_s: float | None = None  # time constant of the way from artery to tissue; None for none
    baseline_frames: int | None = None  # before contrast; found automatically if None
    te_ms: float | None = None
    r2_star_relaxivity: float | None = None  # 1/(mM s)
    modelled: bool = False  # write the modelled series, which is as large as the input

    def __post_init__(self):
        try:
            free = {
                "select": self.model is None and self.method != "linear",
                "model": EXTENDED_TOFTS.name,
                "fit_delay": self.method == "nlls" and bool(find(self.model or EXTENDED_TOFTS).basis),
            }
            for name, value in free.items():
                if getattr(self, name) is None:
                    object.__setattr__(self, name, value)
            check_method(self.tracer_model, self.method, self.fit_delay)
        except ValueError as error:
            raise ValueError(f"--{error}") from error
        if self.select and (self.method == "linear" or not self.tracer_model.nested):
            full = ", ".join(name for name, model in MODELS.items() if model.nested)
            raise ValueError(
                f"--select: expected --model to be one of {full} with --method=nlls, found {self.model} with "
                f"--method={self.method}"
            )
        if self.baseline_frames is not None and self.baseline_frames < 1:
            raise ValueError(f"--baseline_frames: expected 1 frame or more, found {self.baseline_frames}")
        if (self.te_ms is None) != (self.r2_star_relaxivity is None):
            raise ValueError(
                "--te_ms and --r2_star_relaxivity: expected both, or neither for no decay by T2*, found one of them"
            )
        for name in ("te_ms", "r2_star_relaxivity", "dispersion_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name}: expected a positive number, found {value}")
        for name, low, high, unit, remedy in _RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"--{name}: expected {low:g} to {high:g} {unit}, found {value:g}; {remedy}")
        ranges.check_t1("--blood_t1_s", self.blood_t1_s)

    @property
    def tracer_model(self) -> TracerModel:
        """The record of `model`."""
        return find(self.model)

    @property
    def candidates(self) -> tuple[TracerModel, ...]:
        """The models that a voxel can have, simplest first."""
        if not self.select:
            return (self.tracer_model,)
        return (*(CAREFUL_MODELS if self.is_careful else self.tracer_model.nested), self.tracer_model)

    @property
    def is_careful(self) -> bool:
        """Whether extended Tofts with a delay is chosen against `CAREFUL_MODELS` within its own bounds of kep."""
        return self.select and self.fit_delay and self.tracer_model is EXTENDED_TOFTS
