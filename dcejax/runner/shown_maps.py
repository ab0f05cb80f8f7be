"""Which of a method's maps a reader sees first, chosen by what kind of number they hold."""

from collections.abc import Sequence
from typing import NamedTuple

from dcejax.data import scales
from dcejax.types import PARAMETERS, Kind, Output

_MOST_QUANTITIES = 4


class Row(NamedTuple):
    """Maps of one kind, side by side."""

    title: str
    kind: Kind
    outputs: tuple[Output, ...]  # at most one a quantity


class Shown(NamedTuple):
    """What is seen first, and all else."""

    quantities: tuple[str, ...]
    rows: tuple[Row, ...]  # estimates first
    others: tuple[Output, ...]


def _quantities(outputs: Sequence[Output]) -> tuple[str, ...]:
    """Ktrans, vp and ve where all have an estimate and what is uncertain about it, else the first that have."""
    estimated = dict.fromkeys(o.quantity for o in outputs if o.kind == "estimate")
    uncertain = {o.quantity for o in outputs if o.kind in ("quantile", "spread")}
    both = [name for name in estimated if name in uncertain] or list(estimated)
    return PARAMETERS if set(PARAMETERS) <= set(both) else tuple(both[:_MOST_QUANTITIES])


def choose(outputs: Sequence[Output]) -> Shown:
    """Estimates; then the ends of an interval, or a spread in the unit of the estimates; then marks."""
    quantities = _quantities(outputs)

    def of(kind: Kind) -> dict[str, list[Output]]:
        return {name: [o for o in outputs if (o.kind, o.quantity) == (kind, name)] for name in quantities}

    def row(title: str, kind: Kind, chosen: list[Output]) -> list[Row]:
        return [Row(title, kind, tuple(chosen))] if chosen else []

    rows = row("Estimate", "estimate", [found[0] for found in of("estimate").values() if found])
    if any(quantiles := of("quantile").values()):
        rows += row("Lower end of the interval", "quantile", [found[0] for found in quantiles if found])
        rows += row("Upper end of the interval", "quantile", [found[-1] for found in quantiles if len(found) > 1])
    else:
        spreads = (sorted(found, key=lambda o: scales.is_relative(o, outputs)) for found in of("spread").values())
        rows += row("Uncertainty", "spread", [found[0] for found in spreads if found])
    masks = dict.fromkeys(o.statistic for o in outputs if o.kind == "mask" and o.quantity in quantities)
    for statistic in masks:
        marked = [o for found in of("mask").values() for o in found if o.statistic == statistic]
        rows += row(statistic.capitalize(), "mask", marked)
    seen = {output for each in rows for output in each.outputs}
    return Shown(quantities, tuple(rows), tuple(o for o in outputs if o not in seen))
