"""Commands that are killed (SIGKILL) at random moments, and started again until they end.

Every try is a process of its own, a fork of this one, which has imported all and computed nothing. Outputs are compared
without what tells of the run itself: its times, and the record of cases.
"""

import contextlib
import json
import logging as standard_logging
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import fault_targets
from fault_positions import Fault, differences

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import simulations
import toy_method
import training_examples
from absl import logging

from dcejax.cli import evaluate, fit, infer, simulate
from dcejax.evaluation.arms import fit_arms
from dcejax.execution.interruption import Stop
from dcejax.physics.selection import select
from dcejax.simulation.reference_object import readers
from dcejax.simulation.scanner import imaging
from dcejax.training import batches, loop, validation
from dcejax.training.run import train

_TIMES = ("seconds",)
_LONGEST_S = 600.0


class Program(NamedTuple):
    """What is killed."""

    run: Callable[[Path], Any]  # into a folder
    outputs: Callable[[Path], Mapping[str, bytes]]


def _call(main: Callable[[list[str]], None], *words: Any) -> Any:
    main(["command", *map(str, words)])


class _Silent:
    def status(self, *_: Any) -> None:
        pass

    note = line = status


def _train(folder: Path) -> None:
    def source_of(*_: Any) -> Callable[[Any], Any]:
        return lambda key: training_examples.make_batch((4, 8, 8), seed=1)

    for module in (batches, loop, validation):
        module.source_of = source_of
    train(toy_method.Config(checkpoint_minutes=0.0), folder, "a command", _Silent(), Stop())


def _strip(value: Any) -> Any:
    """JSON without times."""
    if isinstance(value, dict):
        return {name: _strip(inner) for name, inner in value.items() if name not in _TIMES}
    return [_strip(inner) for inner in value] if isinstance(value, list) else value


def _without_times(folder: Path, *left_out: str) -> dict[str, bytes]:
    found = {}
    for name, content in fault_targets.bytes_of(folder).items():
        if any(Path(name).match(pattern) for pattern in left_out):
            continue
        lines = [content] if name.endswith(".json") else content.splitlines() if name.endswith(".jsonl") else None
        found[name] = (
            content if lines is None else b"\n".join(json.dumps(_strip(json.loads(x))).encode() for x in lines)
        )
    return found


def _trained(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in _without_times(folder).items() if not name.startswith("checkpoints/")}


def _scored(folder: Path) -> dict[str, bytes]:
    """Scores, and tables but that of times; the report and its figures are drawn from these."""
    return _without_times(folder, "tables/time*", "figures/*", "report.html", "results.json")


def programs(shared: Path) -> dict[str, Program]:
    """All of them, with inputs in the folder; made in a process of its own."""
    for name, concentration in (("fit", True), ("infer", False)):
        if not (shared / name).exists():
            fault_targets.write_inputs(shared / name, concentration=concentration, cases=3)
    weights, patients = shared / "tiny.npz", shared / "patients"
    simulated = ("--cohort=train", "--size=slab", "--limit=2")

    def prepare() -> None:
        fault_targets.hostile_commands.tiny_weights(shared / "tiny")
        _call(simulate.main, *simulated, f"--output_dir={patients}")

    if not weights.exists():
        code, said = Child(prepare, shared / "prepared.log").ended()
        if code != 0 and not patients.exists():
            raise AssertionError(said)
    fitted, inferred = fault_targets.fit_words(shared / "fit"), fault_targets.infer_words(shared / "infer", weights)
    evaluated = (f"--cohort={patients}", f"--weights={weights}")
    return {
        "training": Program(_train, _trained),
        "inference": Program(partial(_to, infer.main, inferred), _without_times),
        "fit": Program(partial(_to, fit.main, fitted), _without_times),
        "simulation": Program(partial(_to, simulate.main, simulated), _without_times),
        "evaluation": Program(partial(_to, evaluate.main, evaluated), _scored),
    }


def _to(main: Callable[[list[str]], None], words: Any, folder: Path) -> None:
    _call(main, *words, f"--output_dir={folder}")


def _as_small() -> None:
    """The slab of patients on a coarse grid, fits of one model, and no word of Orbax."""
    logging.set_verbosity(logging.FATAL)  # these two as dcejax-train
    standard_logging.getLogger("asyncio").setLevel(standard_logging.CRITICAL)
    imaging.SIZES["slab"] = simulations.COARSE
    for module in (fit_arms, readers):
        module.select_carefully = partial(select, "extended_tofts")


class Child:
    """A process that runs a function; its exit code is that of the command, or 0."""

    def __init__(self, function: Callable[[], Any], log: Path):
        self._log = log
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            out = os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(out, 1), os.dup2(out, 2)
            _as_small()
            function()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException as error:
            print(repr(error), flush=True)
        finally:
            with contextlib.suppress(Exception):
                sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    def ended(self, within: float = _LONGEST_S) -> tuple[int | None, str]:
        """Its exit code and what it said, once it has ended; code None where it has not within so many seconds."""
        until = time.monotonic() + within
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status), self._log.read_text(errors="replace")
            if time.monotonic() > until:
                return None, ""
            time.sleep(0.02)

    def kill(self) -> None:
        """End it as `kill -9` does."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def kills(name: str, program: Program, shared: Path, count: int, seed: int) -> Iterator[Fault]:
    """Kill a program that often, and let it end after each; the moments are drawn from the time of a whole run."""
    draw, log = random.Random(f"{name} {seed}"), shared / f"{name}.log"
    whole = shared / f"{name}-whole"
    for _ in range(2):  # the first may compile what later ones find in the cache
        shutil.rmtree(whole, ignore_errors=True)
        start = time.monotonic()
        code, said = Child(partial(program.run, whole), log).ended()
        if code != 0:
            raise AssertionError(f"{name}: an undisturbed run ends with {code}: {said[-500:]}")
        takes = time.monotonic() - start
    expected, tried, number = program.outputs(whole), 0, 0
    while tried < count:
        folder, number = shared / f"{name}-{number}", number + 1
        moments = []
        while tried < count:
            moment = draw.uniform(0.1, 1.0) * takes
            child = Child(partial(program.run, folder), log)
            code, said = child.ended(within=moment)
            if code is not None:
                break
            child.kill()
            moments.append(moment)
            tried += 1
            if draw.random() < 0.5:
                break
        code, said = Child(partial(program.run, folder), log).ended()
        wrong = f"the next run ends with {code}: {said[-300:]}" if code != 0 else ""
        wrong = wrong or differences(program.outputs(folder), expected)
        for moment in moments:
            yield Fault(f"{name}: kill -9", f"after {moment:.2f} of {takes:.2f} s, seed {seed}", wrong)
        shutil.rmtree(folder, ignore_errors=True)
