"""The one runner for lists of cases: while one is computed, the next is read and the one before is written.

Never more than these three are in memory. All that is told and recorded goes through the thread that writes, case
after case, so a log and a record read as if nothing overlapped.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from signal import SIGINT
from typing import Any, TypeVar

from dcejax.data import access
from dcejax.execution import compiled_programs
from dcejax.execution.interruption import Interrupted, Stop
from dcejax.runner.case_record import CaseT, Ledger, RunSettings, Status, in_words
from dcejax.types import Reporter

ReadyT = TypeVar("ReadyT")
MadeT = TypeVar("MadeT")


class _StepReporter:
    """Where a step tells of its case. Telling how far it is ends it where the run was told to stop."""

    def __init__(self, told: Callable[..., None], lines: list[tuple[str, str]], stop: Stop):
        self._told, self._lines, self._stop = told, lines, stop

    def note(self, text: str) -> None:
        self._lines.append(("note", text))

    def line(self, text: str) -> None:
        self._lines.append(("line", text))

    def status(self, *stage: Any) -> None:
        self._stop.check()
        self._told(*stage)


@dataclass
class _Visit:
    """One case between its steps, with what it has to tell and what went wrong, until its turn."""

    case: Any
    seconds: float = 0.0  # inside its steps; waiting for its turn does not count
    lines: list[tuple[str, str]] = field(default_factory=list)  # each with the reporter's method that tells it

    def take(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """What a step gives, or the error it raises."""
        start = time.perf_counter()
        try:
            return step(*arguments)
        except Exception as error:  # the ledger decides, in the case's turn
            return error
        finally:
            self.seconds += time.perf_counter() - start

    def tell(self, report: Reporter) -> None:
        while self.lines:
            how, text = self.lines.pop(0)
            getattr(report, how)(f"{self.case.case_id}: {text}")

    def close(self, write: Callable[[Any], None], outcome: Any, report: Reporter, ledger: Ledger) -> None:
        if not _has_ended(outcome):
            outcome = self.take(write, outcome) or "done"
        self.tell(report)
        ledger.settle(self.case, outcome, self.seconds)


def _has_ended(outcome: Any) -> bool:
    return isinstance(outcome, (str, Exception))


def _finish(tasks: list[Future]) -> None:
    """Wait for tasks, and raise what they raised."""
    while tasks:
        tasks.pop(0).result()


def run_cases(
    cases: Sequence[CaseT],
    read: Callable[[CaseT, Reporter], ReadyT | Status],
    compute: Callable[[ReadyT, Reporter], MadeT],
    write: Callable[[MadeT], None],
    settings: RunSettings,
    report: Reporter,
    *,
    conclude: Callable[[], None] | None = None,
) -> int:
    """Process this process's share of the cases, in their order.

    Steps of one kind never overlap, and each raises ValueError or OSError where the input is wrong. After Ctrl-C or
    SIGTERM a case that is being computed is given up, one that is being read ends where it tells of its next stage, and
    what is computed is written.

    Args:
        cases: every case of the run, the same in all processes.
        read: gives what `compute` needs, or the status that the case ends with; runs in a thread of its own.
        compute: gives what `write` needs; runs in the calling thread, and alone is seen telling how far it is.
        write: leaves the results; runs in a thread of its own.
        settings: how.
        report: where progress is told, from several threads.
        conclude: called once all is written, before the summary; not in a dry run.

    Returns:
        See `Ledger.exit_code`.

    Raises:
        ValueError: the only case is bad, or the folder cannot be written.
        OSError: a file of the only case may not be read, or the record of cases may not be written.
        Interrupted: the process was told to stop; its text says what is done, what is left and how to go on.
    """
    if not settings.dry_run:
        access.check_writable(settings.output_dir)
    visits = [_Visit(case) for case in settings.share(cases)]
    ledger = Ledger(len(visits), settings, report, alone=len(cases) == 1)
    stop = Stop()
    interrupted = None
    try:
        with stop.listening():
            _overlapped(visits, (read, compute, write), ledger, report, stop)
    except KeyboardInterrupt as error:
        interrupted = getattr(error, "number", SIGINT)
    if interrupted:  # raised here, where what the error held is gone, and with it calls that wait for threads
        raise Interrupted(interrupted, ledger.left())
    if conclude and not settings.dry_run:
        conclude()
    (report.line if ledger.exit_code else report.note)(ledger.summary())
    return ledger.exit_code


def _overlapped(visits: list[_Visit], steps: tuple, ledger: Ledger, report: Reporter, stop: Stop) -> None:
    read, compute, write = steps
    start, worked = time.monotonic(), 0

    def read_ahead(visit: _Visit) -> Any:
        return visit.take(read, visit.case, _StepReporter(lambda *_: None, visit.lines, stop))

    with ThreadPoolExecutor(1, "reading") as reader, ThreadPoolExecutor(1, "writing") as writer:
        ahead = [reader.submit(read_ahead, visit) for visit in visits[:1]]
        behind: list[Future] = []
        for number, visit in enumerate(visits, start=1):
            left = (time.monotonic() - start) / worked * (len(visits) - number + 1) if worked else 0.0
            time_left = f" ({in_words(left)} left)" if worked else ""
            position = f"case {number} of {len(visits)}{time_left}, {visit.case.case_id}"

            def told(stage: str, *progress: Any, position: str = position) -> None:
                report.status(f"{position}: {stage}", *progress)

            stop.check()
            told("reading")
            outcome = ahead.pop().result()
            ahead = [reader.submit(read_ahead, following) for following in visits[number : number + 1]]
            behind.append(writer.submit(visit.tell, report))
            if not _has_ended(outcome):
                with stop.raising():
                    outcome = visit.take(compute, outcome, _StepReporter(told, visit.lines, stop))
                compiled_programs.forget_if_many()
            if not _has_ended(outcome):
                told("writing")
            worked += outcome != "skipped"
            _finish(behind)  # so that a case that is computed waits here, not in memory beside the next
            behind = [writer.submit(visit.close, write, outcome, report, ledger)]
            del outcome
        _finish(behind)
        stop.check()
