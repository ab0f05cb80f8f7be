"""What the module of a method holds, and how it is found."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from dcejax import config as configuration
from dcejax.config import require
from dcejax.execution.policy import Policy, default_policy
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.stage import Stage
from dcejax.types import PARAMETERS, Kind, Output, Scan, Series, Weights

Params = Mapping[str, Any]
"""Part of the weights -> tree of arrays."""

_PACKAGE = "dcejax.methods"


@dataclass(frozen=True)
class MethodConfig:
    """What the configuration of every method has."""

    seed: int = 0  # root of all random streams of training
    keep_latest: int = 2  # checkpoints kept for resuming
    keep_best: int = 1  # checkpoints kept for their validation loss
    checkpoint_minutes: float = 5.0  # after which there is a checkpoint within an epoch too; 0: after every step
    init_from: str = ""  # weights, a file or a name, whose parameters training begins with

    def __post_init__(self):
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        configuration.require_positive(self, "keep_latest", "keep_best")
        require(self.checkpoint_minutes >= 0, "checkpoint_minutes", self.checkpoint_minutes, "0 or more")


class Prediction(NamedTuple):
    """What a method finds in one examination."""

    maps: Mapping[str, np.ndarray]  # name of an output -> [X, Y, Z] float32, zero outside the mask
    record: Mapping[str, Any]  # what was done, ready for JSON
    # Of voxels [V] bool of the mask, further columns of the table of regions, by quantity: intervals that know which
    # errors are shared, as maps of SDs do not.
    regional: Callable[[np.ndarray], Mapping[str, Mapping[str, float]]] | None = None
    warnings: tuple[str, ...] = ()  # that could only be given once there were maps


class Method(Protocol):
    """A module with these names; `dcejax.methods.lyoo2025` is one.

    It may have `modelled_series(series, prediction, quantity)` too: the curves [V, T] that the maps explain, in the
    unit of the scan's quantity, which is signal or concentration; and `plasma_curve(prediction)`: times [G] in min
    after the first frame, the arterial plasma concentration [G] in mM that the method found, and the lower and upper
    ends [G] of its band, if it has one.

    Progress is told as `progress(stage)` or, where it can be counted, `progress(stage, done, total, unit)`.
    """

    Config: type[MethodConfig]  # frozen, checks itself
    OUTPUTS: Sequence[Output]
    ABOUT: str  # what weights trained by this method are, in sentences

    def stages(self, config: Any, policy: Policy) -> Sequence[Callable[[Params], Stage]]:
        """Training stages in order; each is made from the parameters of the parts before it."""

    def series_of(self, scan: Scan, beside: Beside, config: Any) -> Series:
        """What the method needs of a scan.

        Raises:
            ValueError: the scan does not suit the method.
        """

    def release(self, params: Params) -> Params:
        """The parameters that inference needs, in the precision in which they are stored."""

    def load(self, params: Params, config: Any, policy: Policy) -> Any:
        """Networks and their parameters on the devices, as `predict` takes them.

        Raises:
            ValueError: parameters that do not belong to the configuration.
        """

    def predict(self, networks: Any, series: Series, key: jax.Array, *, progress: Callable[..., None]) -> Prediction:
        """Maps of one examination.

        Raises:
            ValueError: the series does not suit the method, or the maps are not finite.
        """


def of_parameters(outputs: Sequence[Output], kind: Kind) -> tuple[Output, ...] | None:
    """The first output of a kind for Ktrans, vp and ve; None where one of them has none."""
    found = [next((o for o in outputs if (o.kind, o.quantity) == (kind, name)), None) for name in PARAMETERS]
    return None if None in found else tuple(found)


def stacked(outputs: Sequence[Output], maps: Mapping[str, np.ndarray], kind: Kind) -> np.ndarray | None:
    """Maps of a kind as [X, Y, Z, C] in the order Ktrans, vp, ve; None where one of them has none."""
    chosen = of_parameters(outputs, kind)
    return None if chosen is None else np.stack([maps[output.name] for output in chosen], axis=-1)


def find(name: str) -> ModuleType:
    """Import a method by the name of a module of `dcejax.methods`, or the full name of any other.

    Raises:
        ValueError: there is no such module, or it is no method.
    """
    named = isinstance(name, str) and all(part.isidentifier() for part in name.split("."))
    for full in (f"{_PACKAGE}.{name}", name) if named else ():
        try:
            module = importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name != full and not full.startswith(f"{error.name}."):
                raise  # something that the method itself imports
            continue
        missing = [part for part in ("Config", "OUTPUTS", "stages", "predict") if not hasattr(module, part)]
        if missing:
            raise ValueError(f"method {full}: expected {', '.join(missing)} in the module, found none; see Method")
        return module
    raise ValueError(
        f"method: expected a module of {_PACKAGE} or the full name of one that can be imported, found {name!r}; check "
        "the name and PYTHONPATH"
    )


def of(config: MethodConfig) -> ModuleType:
    """The method that a configuration belongs to: the module that defines its class."""
    return find(type(config).__module__)


def to_dict(config: MethodConfig) -> dict[str, Any]:
    """A configuration with the name of its method, ready for JSON."""
    name = type(config).__module__.removeprefix(f"{_PACKAGE}.")
    return {"method": name, **configuration.to_dict(config)}


def from_dict(values: Mapping[str, Any], prefix: str = "config") -> Any:
    """The configuration that `to_dict` wrote.

    Raises:
        ValueError: no method of that name, an unknown field, or a value out of range.
    """
    values = dict(values)
    if "method" not in values:
        raise ValueError(f"{prefix}.method: expected the name of a method, found none")
    return configuration.from_dict(values, find(values.pop("method")).Config, prefix)


def config_of(weights: Weights, num_samples: int | None = None) -> Any:
    """The configuration that weights were trained with, with another number of latent samples where one is given.

    Raises:
        ValueError: a field this version does not know, a value out of range, or a method that draws no samples.
    """
    try:
        config = from_dict(weights.record["config"], f"weights {weights.name}: config")
    except ValueError as error:
        raise ValueError(f"{error}; the .json must be the one that was written with the weights") from error
    if num_samples is None:
        return config
    if not hasattr(config, "num_samples"):
        raise ValueError(f"--num_samples: expected weights that sample a latent, found {weights.name}; leave it out")
    return replace(config, num_samples=num_samples)


def make_stage(
    config: MethodConfig,
    part: str | None = None,
    params: Params | None = None,
    policy: Policy | None = None,
) -> Stage:
    """The training stage of a part of a method's weights, the first part if none is named; `params` holds the trained
    parts that it builds on.

    Raises:
        ValueError: no stage trains such a part, or an earlier part is missing.
    """
    params, names = dict(params or {}), []
    for make in of(config).stages(config, policy or default_policy()):
        try:
            stage = make(params)
        except KeyError as error:
            raise ValueError(f"params: expected the part {error.args[0]!r}, which this stage builds on") from error
        if part in (None, stage.name):
            return stage
        names.append(stage.name)
        params.setdefault(stage.name, None)
    raise ValueError(f"part: expected one of {', '.join(names)}, found {part!r}")
