"""What measurements share: seconds, trials of PyTorch's forms, rounds, the machine."""

import importlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

from dcejax import cores
from dcejax.data.provenance import versions
from dcejax.types import Reporter

_T = TypeVar("_T")


def timed(run: Callable[[], _T]) -> tuple[_T, float]:
    """What a function returns, and the seconds it took."""
    start = time.perf_counter()
    found = run()
    return found, time.perf_counter() - start


class Trial(NamedTuple):
    """The fastest of several forms of one thing, and the seconds of each or the reason why it failed."""

    fastest: Any
    name: str
    seconds: dict[str, float | str]

    def rates(self, examples: int) -> dict[str, float | str]:
        """Examples per second of each form, or the reason."""
        return {name: examples / s if isinstance(s, float) else s for name, s in self.seconds.items()}


def try_forms(
    makers: Mapping[str, Callable[[], _T]], run: Callable[[_T], Any], repeats: int, report: Reporter
) -> Trial:
    """Make every form, time it after a first time in which it may be compiled, and choose the fastest."""
    forms, seconds = {}, {}
    for name, make in makers.items():
        report.status(f"PyTorch: {name}")
        try:
            form = make()
            run(form)
            seconds[name] = min(timed(partial(run, form))[1] for _ in range(repeats))
            forms[name] = form
        except Exception as error:  # a compiler may raise anything, and the other forms are still of use
            seconds[name] = f"failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    name = min(forms, key=seconds.__getitem__)
    return Trial(forms[name], name, seconds)


def over_rounds(
    measure: Callable[[], Mapping[str, float]], rounds: int, seconds: float, report: Reporter
) -> dict[str, Any]:
    """Measure in several rounds.

    Args:
        measure: every implementation once; returns its figures.
        rounds: how many.
        seconds: no round begins that would end later than this after the first one's start, but for the first.
        report: where progress is told.

    Returns:
        The number of rounds and, of each figure, its median and range; of a largest difference the largest.
    """
    start = time.perf_counter()
    longest, rows = 0.0, []
    for number in range(rounds):
        if number and time.perf_counter() - start + longest > seconds:
            break
        report.status("rounds", number, rounds)
        row, took = timed(measure)
        rows.append(row)
        longest = max(longest, took)
    found: dict[str, Any] = {"rounds": len(rows)}
    for name in rows[0]:
        values = [row[name] for row in rows]
        if name.startswith("max_difference"):
            found[name] = max(values)
        else:
            found |= {name: float(np.median(values)), f"{name}_range": [min(values), max(values)]}
    return found


def import_torch(name: str, keys: Iterable[str]) -> tuple[ModuleType | None, dict[str, Any]]:
    """A module of this package that needs PyTorch, and its version.

    Where it cannot be imported, None, and in place of the version the reason, with None for all keys.
    """
    try:
        return importlib.import_module(f"dcejax.benchmark.{name}"), {"torch": versions(("torch",))["torch"]}
    except ImportError as error:
        return None, {"torch": f"cannot be imported: {error}", **dict.fromkeys(keys)}


def machine(packages: Sequence[str]) -> dict[str, Any]:
    """Device, number of cores, versions of Python and of packages, and how busy the machine is.

    The load average is of processes that wanted a core in the last minute, where the system tells. A busy core costs
    PyTorch, whose threads wait for each other after every layer, ten times what it costs XLA.
    """
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    device = jax.devices()[0].device_kind
    return {"device": device, "cpus": cores.usable(), "versions": versions(packages), "load_average_before": load}
