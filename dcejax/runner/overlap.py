"""Many cases whose steps overlap: while one is computed, the next is read and the one before is written.

Never more than these three are in memory. All that is told and recorded goes through the thread that writes, case
after case, so a log and a record read as if nothing overlapped.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from dcejax.runner import case_runner
from dcejax.runner.case_runner import Identified, Ledger, RunSettings, Status
from dcejax.types import Reporter

_CaseT = TypeVar("_CaseT", bound=Identified)
_ReadyT = TypeVar("_ReadyT")
_MadeT = TypeVar("_MadeT")


class Steps(Protocol[_CaseT, _ReadyT, _MadeT]):
    """What a case goes through; each step gives what the next one needs, or the status that the case ends with.

    Steps of one kind never overlap, and each raises ValueError or OSError where the input is at fault.
    """

    def read(self, case: _CaseT, line: Callable[[str], None]) -> _ReadyT | Status:
        """Runs in a thread of its own; `line` tells what stays, in the case's turn."""

    def compute(self, ready: _ReadyT, position: str) -> _MadeT | Status:
        """Runs in the thread that called `run`, and alone tells how far it is at the position given in words."""

    def write(self, made: _MadeT) -> Status:
        """Runs in a thread of its own."""


class _Visit:
    """One case on its way; what it says and what goes wrong travels with it until its turn."""

    def __init__(self, case: Identified, position: str):
        self.case = case
        self.position = position
        self.seconds = 0.0  # inside its steps; waiting for its turn does not count
        self._lines: list[str] = []

    def take(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """What a step gives, or the exception it raises."""
        start = time.perf_counter()
        try:
            return step(*arguments)
        except Exception as error:  # the ledger decides, in the case's turn
            return error
        finally:
            self.seconds += time.perf_counter() - start

    def read(self, steps: Steps) -> Any:
        return self.take(steps.read, self.case, self._lines.append)

    def tell(self, report: Reporter) -> None:
        for line in self._lines:
            report.line(line)

    def close(self, steps: Steps, outcome: Any, ledger: Ledger) -> None:
        if not _has_ended(outcome):
            outcome = self.take(steps.write, outcome)
        ledger.settle(self.case, outcome, self.seconds)


def _has_ended(outcome: Any) -> bool:
    return isinstance(outcome, (str, Exception))


def _finish(tasks: list[Future]) -> None:
    """Wait for tasks, and raise what they raised."""
    while tasks:
        tasks.pop(0).result()


def run(
    all_cases: Sequence[_CaseT],
    make_steps: Callable[[], Steps[_CaseT, Any, Any]],
    settings: RunSettings,
    report: Reporter,
) -> int:
    """Process this process's share of the cases, like `dcejax.runner.case_runner.run` and with the same results.

    An interruption waits for the case that is being read, which is thrown away, and for the one being written.

    Args:
        all_cases: every case of the run, the same in all processes.
        make_steps: called once the folder is known to be writable.
        settings: how.
        report: where progress is told, from several threads.

    Returns:
        0, or 1 if some of several cases are bad (the others are done).

    Raises:
        ValueError: the only case is bad, or the folder cannot be written.
        OSError: a file of the only case may not be read, or the record of cases may not be written.
    """
    ledger = Ledger(all_cases, settings, report)
    visits = [_Visit(case, position) for case, position in case_runner.share_of(all_cases, settings)]
    steps = make_steps()
    with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:
        ahead = [reader.submit(visit.read, steps) for visit in visits[:1]]
        behind: list[Future] = []
        for number, visit in enumerate(visits, start=1):
            report.status(f"{visit.position}: reading")
            outcome = ahead.pop().result()
            ahead = [reader.submit(following.read, steps) for following in visits[number : number + 1]]
            behind.append(writer.submit(visit.tell, report))
            if not _has_ended(outcome):
                outcome = visit.take(steps.compute, outcome, visit.position)
            if not _has_ended(outcome):
                report.status(f"{visit.position}: writing")
            _finish(behind)  # so that a case that is computed waits here, not in memory beside the next
            behind = [writer.submit(visit.close, steps, outcome, ledger)]
            del outcome
        _finish(behind)
    return ledger.exit_code
