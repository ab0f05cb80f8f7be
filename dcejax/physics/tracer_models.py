"""The tracer-kinetic models: one record each, from which fits, selection, maps, tables, sidecars and flags follow.

A new model is one more record. Built-in ones stand in `MODELS`; a record of your own is given to `fit`, `predict` and
`select` itself, or to `dcejax-fit` as --model=MODULE:RECORD.

With an arterial input Cp, many models are C = a A + b B, where the columns A and B are Cp ("plasma"), its integral
("integral") or its convolution with exp(-k t) ("exponential"). In a linear model the amplitudes a and b are parameters:
a fit finds their best values in closed form and the rate k by variable projection, and needs no start value. Where they
are functions of the parameters, a coarse grid of rates gives a start near the global optimum (`start_search`), and the
columns give curves and derivatives of all voxels at once (`column_curves`). A model without columns starts from the
best of many points between its bounds.
"""

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.physics import kinetics
from dcejax.physics.convolution import exponential_convolution

Column = Literal["integral", "exponential", "plasma"]


@dataclass(frozen=True)
class Quantity:
    """What a map holds."""

    name: str  # of the map
    unit: str
    description: str
    osipi: str | None = None  # identifier in OSIPI's lexicon (CAPLEX)
    bounds: tuple[float, float] | None = None  # of a parameter: the least and the greatest value that a fit may report


_LINEAR = ({"plasma"}, {"integral"}, {"integral", "plasma"}, {"exponential", None}, {"exponential", "plasma", None})
_PAIRS = (("integral", "exponential"), ("exponential", "exponential"), ("exponential", "plasma"))


@dataclass(frozen=True, kw_only=True)
class TracerModel:
    """One model; the module says what columns are.

    Raises:
        ValueError: fields that contradict each other.
    """

    name: str
    description: str
    curve: Callable[..., jax.Array]  # called as the models of `kinetics` are
    typical: Any  # NamedTuple of plain numbers: the parameters of a typical tissue
    quantities: tuple[Quantity, ...]  # what the parameters are, in their order
    linear: tuple[Column | None, ...] = ()  # of a linear model: the column that each parameter multiplies, or None
    rate: Quantity | None = None  # of a linear model's exponential: the parameter that multiplies it / the one of None
    columns: tuple[Column, ...] = ()  # of any other model: A and B
    from_amplitudes: Callable | None = None  # with columns: (a, b, rate of A, rate of B) -> parameters, not bounded
    to_amplitudes: Callable | None = None  # with columns: parameters -> (a, b, rate of A, rate of B), differentiable
    nested: tuple["TracerModel", ...] = ()  # special cases that have some of the parameters, simplest first
    osipi: str | None = None  # identifier in OSIPI's lexicon

    def __post_init__(self):
        names, linear = self.params._fields, self.linear
        bounded = len(self.quantities) == len(names) and all(each.bounds for each in self.quantities)
        bounded &= all(each.name.isalnum() for each in self.maps)
        each_once = len(linear) == len(names) == len(set(linear)) and set(linear) in _LINEAR
        divisors = [each for each, column in zip(self.quantities, linear, strict=False) if each.bounds and not column]
        allowed = ((),) if linear else ((), *_PAIRS)
        inside = all(set(model.params._fields) < set(names) for model in self.nested)
        for field, right, expected in (
            ("quantities", bounded, f"one with bounds, and a name of letters and digits, for each of {names}"),
            ("linear", not linear or each_once, f"() or one of {_LINEAR} in the order of {names}"),
            ("rate", (self.rate is not None) == ("exponential" in linear), "a quantity if an exponential is linear"),
            ("bounds", all(each.bounds[0] > 0 for each in divisors), "a lower bound above 0 of what divides"),
            ("columns", self.columns in allowed, f"one of {allowed}"),
            ("from_amplitudes", bool(self.columns) == bool(self.from_amplitudes), "a function if there are columns"),
            ("to_amplitudes", bool(self.columns) == bool(self.to_amplitudes), "a function if there are columns"),
            ("nested", inside, f"models with some of {names}"),
        ):
            if not right:
                found = getattr(self, field)
                raise ValueError(f"tracer model {self.name}: {field}: expected {expected}, found {found}")

    @property
    def params(self) -> type:
        """NamedTuple of the parameters."""
        return type(self.typical)

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """Default (lower, upper) of each parameter."""
        return tuple(quantity.bounds for quantity in self.quantities)

    @property
    def maps(self) -> tuple[Quantity, ...]:
        """What a fit gives maps of."""
        return (*self.quantities, self.rate) if self.rate else self.quantities

    @property
    def basis(self) -> tuple[Column, ...]:
        """The columns A and B of any model, or A alone; () if it has none."""
        return self.columns or tuple(c for c in ("integral", "exponential", "plasma") if c in self.linear)

    def parameters(self, a: Any, b: Any, rate_a: Any, rate_b: Any) -> tuple:
        """Parameters, not bounded, of a A + b B with the rates of the columns."""
        if self.from_amplitudes:
            return self.from_amplitudes(a, b, rate_a, rate_b)
        values = dict(zip(self.basis, (a, b), strict=False)) | ({None: a / rate_a} if self.rate else {})
        return tuple(values[column] for column in self.linear)

    def amplitudes(self, *params: jax.Array) -> tuple:
        """Amplitudes a and b of the columns and their rates, of any model with columns; 0 for what it lacks."""
        if self.to_amplitudes:
            return self.to_amplitudes(*params)
        values = dict(zip(self.linear, params, strict=True))
        nothing = jnp.zeros_like(params[0])
        first, second = (*(values[column] for column in self.basis), nothing)[:2]
        return first, second, values["exponential"] / values[None] if self.rate else nothing, nothing


_FRACTION = "0-1; CAPLEX gives mL/100 mL, 100 times as much"
_FLOW = "CAPLEX gives mL/(100 mL min), 100 times as much"
KTRANS = Quantity("Ktrans", "1/min", "volume transfer constant", "Q.PH1.008", (0.0, 5.0))
VP = Quantity("vp", "1", f"plasma volume fraction, {_FRACTION}", "Q.PH1.001.[p]", (0.0, 1.0))
VE = Quantity("ve", "1", f"extravascular extracellular volume fraction, {_FRACTION}", "Q.PH1.001.[e]", (0.005, 1.0))
FP = Quantity("Fp", "mL/(mL min)", f"plasma flow; {_FLOW}", "Q.PH1.002", (0.0, 5.0))
PS = Quantity("PS", "mL/(mL min)", f"permeability-surface product; {_FLOW}", "Q.PH1.004", (0.0, 5.0))
KEP = Quantity("kep", "1/min", "rate constant of efflux, Ktrans / ve; CAPLEX gives 1/s", "Q.PH1.009")


def _uptake(a: jax.Array, b: jax.Array, _, rate: jax.Array) -> tuple[jax.Array, ...]:
    """Fp, PS and vp from C = Fp E ∫Cp + Fp (1 - E) I(k) with E = PS / (Fp + PS) and k = (Fp + PS) / vp."""
    fp = a + b
    ps = fp * a / b
    return fp, ps, (fp + ps) / rate


def _residue(fp: jax.Array, ps: jax.Array, vp: jax.Array, ve: jax.Array | float = np.inf) -> tuple[jax.Array, ...]:
    """Amplitudes and rates of the slow and the fast part of the residue function."""
    slow, fast, gap, remainder, _ = kinetics.two_compartment_residue(fp, ps, vp, ps / ve)
    share = jnp.where(gap > 0, remainder / jnp.where(gap > 0, gap, 1.0), 0.0)
    return fp * share, fp * (1.0 - share), slow, fast


def _exchange(a: jax.Array, b: jax.Array, slow: jax.Array, fast: jax.Array) -> tuple[jax.Array, ...]:
    """Parameters of the residue function a exp(-slow t) + b exp(-fast t).

    Its value and slope at zero are Fp and -Fp² / vp, its integral is vp + ve, and the product of the rates is
    Fp PS / (vp ve).
    """
    fp = a + b
    vp = fp**2 / (a * slow + b * fast)
    ve = a / slow + b / fast - vp
    return fp, slow * fast * vp * ve / fp, vp, ve


PLASMA_ONLY = TracerModel(
    name="plasma_only",
    description="plasma that nothing leaves",
    curve=kinetics.plasma_only,
    typical=kinetics.PlasmaOnly(0.05),
    quantities=(VP,),
    linear=("plasma",),
)
TOFTS = TracerModel(
    name="tofts",
    description="leakage from plasma of negligible volume, with backflow",
    curve=kinetics.tofts,
    typical=kinetics.Tofts(0.07, 0.25),
    quantities=(KTRANS, VE),
    linear=("exponential", None),
    rate=KEP,
    osipi="M.IC1.004",
)
PATLAK = TracerModel(
    name="patlak",
    description="plasma, and leakage without backflow",
    curve=kinetics.patlak,
    typical=kinetics.Patlak(0.02, 0.05),
    quantities=(KTRANS, VP),
    linear=("integral", "plasma"),
    nested=(PLASMA_ONLY,),
    osipi="M.IC1.006",
)
EXTENDED_TOFTS = TracerModel(
    name="extended_tofts",
    description="plasma, and leakage with backflow",
    curve=kinetics.extended_tofts,
    typical=kinetics.ExtendedTofts(0.07, 0.05, 0.25),
    quantities=(KTRANS, VP, VE),
    linear=("exponential", "plasma", None),
    rate=KEP,
    nested=(PLASMA_ONLY, PATLAK, TOFTS),
    osipi="M.IC1.005",
)
TWO_COMPARTMENT_UPTAKE = TracerModel(
    name="two_compartment_uptake",
    description="plasma with a flow, and leakage without backflow",
    curve=kinetics.two_compartment_uptake,
    typical=kinetics.TwoCompartmentUptake(0.3, 0.02, 0.05),
    quantities=(FP, PS, VP),
    columns=("integral", "exponential"),
    from_amplitudes=_uptake,
    to_amplitudes=_residue,
    osipi="M.IC1.007",
)
TWO_COMPARTMENT_EXCHANGE = TracerModel(
    name="two_compartment_exchange",
    description="plasma with a flow, and leakage with backflow",
    curve=kinetics.two_compartment_exchange,
    typical=kinetics.TwoCompartmentExchange(0.3, 0.05, 0.05, 0.2),
    quantities=(FP, PS, VP, VE),
    columns=("exponential", "exponential"),
    from_amplitudes=_exchange,
    to_amplitudes=_residue,
    nested=(TWO_COMPARTMENT_UPTAKE,),
    osipi="M.IC1.009",
)

MODELS: Mapping[str, TracerModel] = {
    model.name: model
    for model in (PLASMA_ONLY, TOFTS, EXTENDED_TOFTS, PATLAK, TWO_COMPARTMENT_UPTAKE, TWO_COMPARTMENT_EXCHANGE)
}
"""The built-in models by name."""


def find(model: str | TracerModel) -> TracerModel:
    """Find a model: a name in `MODELS`, MODULE:RECORD for a record in a module that Python can import, or a record.

    Raises:
        ValueError: there is no such model, or its curve is not what its columns say.
    """
    if model in MODELS:
        return MODELS[model]
    found = model
    if isinstance(model, str) and ":" in model:
        module, record = model.split(":", 1)
        try:
            found = getattr(importlib.import_module(module), record)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(
                f"model: expected MODULE:RECORD that Python can import, found {model!r} ({error}); put the folder of "
                "the module into PYTHONPATH"
            ) from error
    if not isinstance(found, TracerModel):
        raise ValueError(f"model: expected one of {', '.join(MODELS)} or MODULE:RECORD of your own, found {model!r}")
    if found.linear and found not in MODELS.values():
        check_columns(found)
    return found


@functools.cache
def check_columns(model: TracerModel) -> None:
    """Compare a linear model's curve of a typical tissue with the sum of its columns, which a fit relies on.

    Raises:
        ValueError: they differ by more than 1 % of the maximum.
    """
    times, aif = np.array([0.0, 0.2, 0.3, 0.5, 0.9, 2.0, 5.0]), np.array([0.0, 0.0, 4.0, 2.0, 1.5, 1.0, 0.5])
    values = dict(zip(model.linear, model.typical, strict=True))
    rate = values["exponential"] / values[None] if model.rate else 0.0
    integral, exponential = (exponential_convolution(k, times, aif) for k in (0.0, rate))
    columns = {"plasma": aif, "integral": integral, "exponential": exponential}
    expected = sum(values[column] * columns[column] for column in model.basis)
    found = model.curve(model.typical, times, aif)
    if not np.abs(found - expected).max() <= 0.01 * np.abs(expected).max():
        raise ValueError(
            f"tracer model {model.name}: expected the curve of {model.typical} to be the sum of its columns, "
            f"{expected}, found {found}; correct linear or the curve"
        )
