"""Many cases: shards, resume, a line of record for each, and the loop that takes one after another."""

import json
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from dcejax.data import access, results
from dcejax.types import Reporter

Status = Literal["done", "skipped", "checked", "bad", "failed"]
"""`bad`: the input is at fault and the reason says how; `failed`: the program is, and the log holds the traceback."""


class Identified(Protocol):
    """What a run needs to know of a case."""

    @property
    def case_id(self) -> str:
        """Names it in messages, records and files."""


_CaseT = TypeVar("_CaseT", bound=Identified)


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a run is made, whatever is done with each case."""

    output_dir: Path
    shard: tuple[int, int]  # this process's index and the number of processes
    overwrite: bool
    dry_run: bool

    def __post_init__(self):
        index, count = self.shard
        if not 0 <= index < count:
            raise ValueError(f"--shard: expected i/n with i from 0 to n - 1, found {index}/{count}")


class Stopwatch:
    """Seconds per named stage."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage, which began where the one before ended."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def share_of(all_cases: Sequence[_CaseT], settings: RunSettings) -> list[tuple[_CaseT, str]]:
    """This process's cases, each with its position in words."""
    index, count = settings.shard
    share = all_cases[index::count]
    return [(case, f"case {number} of {len(share)}, {case.case_id}") for number, case in enumerate(share, start=1)]


class Ledger:
    """What becomes of the cases of a run: told, recorded and counted, in the order in which they are settled.

    Raises:
        ValueError: the folder cannot be written.
    """

    def __init__(self, all_cases: Sequence[Identified], settings: RunSettings, report: Reporter):
        if not settings.dry_run:
            access.check_writable(settings.output_dir)
        self._alone = len(all_cases) == 1
        self._settings = settings
        self._report = report
        self._bad = 0

    def settle(self, case: Identified, outcome: Status | Exception, seconds: float) -> None:
        """Close a case.

        Args:
            case: which.
            outcome: its status, or what its processing raised: ValueError or OSError where the input is at fault.
            seconds: how long it took.

        Raises:
            Exception: the outcome, if the case is the only one.
            ValueError: the folder cannot be made.
            OSError: the record of cases may not be written.
        """
        reason = ""
        if isinstance(outcome, Exception):
            if self._alone:
                raise outcome
            if isinstance(outcome, (ValueError, OSError)):
                status, reason = "bad", access.refusal(outcome) if isinstance(outcome, OSError) else str(outcome)
            else:  # one case's crash must not lose a night's cohort
                status, reason = "failed", repr(outcome)
                self._report.line("".join(traceback.format_exception(outcome)))
            self._bad += 1
        else:
            status = outcome
        self._report.line(f"{case.case_id}: {status} in {seconds:.1f} s{': ' if reason else ''}{reason}")
        if not self._settings.dry_run:
            self._record(case, status, reason, seconds)

    def _record(self, case: Identified, status: Status, reason: str, seconds: float) -> None:
        """Append a line in one write, so that processes of other shards can do the same."""
        folder = self._settings.output_dir
        results.make_folder(folder)
        line = {"case_id": case.case_id, "status": status, "reason": reason, "seconds": round(seconds, 3)}
        with open(folder / "cases.jsonl", "ab", buffering=0) as file:
            file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())

    @property
    def exit_code(self) -> int:
        """0, or 1 if some case is bad or has failed."""
        return 1 if self._bad else 0


def run(
    all_cases: Sequence[_CaseT],
    make_process: Callable[[], Callable[[_CaseT, str], Status]],
    settings: RunSettings,
    report: Reporter,
) -> int:
    """Process this process's share of the cases.

    Args:
        all_cases: every case of the run, the same in all processes.
        make_process: called once the folder is known to be writable; what it gives is called with each case and its
            position in words, and raises ValueError or OSError where the input is at fault.
        settings: how.
        report: where progress is told.

    Returns:
        0, or 1 if some of several cases are bad (the others are done).

    Raises:
        ValueError: the only case is bad, or the folder cannot be written.
        OSError: a file of the only case may not be read, or the record of cases may not be written.
    """
    ledger = Ledger(all_cases, settings, report)
    process = make_process()
    for case, position in share_of(all_cases, settings):
        start = time.perf_counter()
        try:
            status = process(case, position)
        except Exception as error:
            ledger.settle(case, error, time.perf_counter() - start)
        else:
            ledger.settle(case, status, time.perf_counter() - start)
    return ledger.exit_code
