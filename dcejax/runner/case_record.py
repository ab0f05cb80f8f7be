"""What becomes of the cases of a run: told, recorded and counted, in the order in which they are settled."""

import errno
import importlib.util
import json
import os
import secrets
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from dcejax.data import access, results
from dcejax.types import Reporter

Status = Literal["done", "skipped", "checked", "bad", "failed"]
"""`bad`: the input is wrong, as the reason says, and another try changes nothing; `failed`: the program is wrong, and
the log holds the traceback, or the machine, whose disk may be full."""

RECORDS = "cases*.jsonl"
"""What the records of cases in a folder of results are called: a line of JSON each."""

BAD_CASES = 3
"""Exit code where some of several cases are bad, none has failed, and the others are done."""

CaseT = TypeVar("CaseT")
"""What has a `case_id`, which names it in messages, records and files."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How a run is made, whatever is done with each case; nothing of it shapes results."""

    output_dir: Path
    shard: tuple[int, int] = (0, 1)  # this process's index and the number of processes
    overwrite: bool = False
    dry_run: bool = False
    bad_cases_ok: bool = False  # these alone do not give the run an exit code of its own
    report: bool = False  # write a page for each case, by commands that have one
    layout: str = "flat"  # which of `layouts.choice`, by commands that have several

    def __post_init__(self):
        index, count = self.shard
        if not 0 <= index < count:
            raise ValueError(f"--shard: expected i/n with i from 0 to n - 1, found {index}/{count}")
        if self.report and importlib.util.find_spec("jinja2") is None:
            raise ValueError("--report: expected jinja2, which is not installed; run pip install 'dcejax[report]'")

    def share(self, cases: Sequence[CaseT]) -> Sequence[CaseT]:
        """This process's cases: every n-th, in the order given."""
        index, count = self.shard
        return cases[index::count]

    @property
    def record(self) -> Path:
        """The record of this process, which has one of its own where it does a share: file systems of clusters do not
        append the lines of several machines one by one."""
        index, count = self.shard
        return self.output_dir / ("cases.jsonl" if count == 1 else f"cases-{index}-of-{count}.jsonl")

    def skips(self, sidecar: Path, case_hash: str) -> bool:
        """Whether a case is done and stays: its sidecar holds the hash of all that shapes its results."""
        return not self.overwrite and results.stored_hash(sidecar) == case_hash


class Stopwatch:
    """Seconds per named stage, added to those of earlier steps."""

    def __init__(self, seconds: dict[str, float] | None = None):
        self.seconds = {} if seconds is None else seconds
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """End a stage, which began where the one before ended."""
        now = time.perf_counter()
        self.seconds[stage] = round(now - self._last, 3)
        self._last = now


def in_words(seconds: float) -> str:
    """A time to two units, such as 9 s, 3 min 20 s or 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Ledger:
    """Tells, records and counts the cases of a run."""

    def __init__(self, share: int, settings: RunSettings, report: Reporter, *, alone: bool):
        """Begin a run of so many cases in this process's share; of one alone the error is the caller's."""
        self._share, self._alone = share, alone
        self._settings, self._report = settings, report
        self._run = secrets.token_hex(4)  # by which lines of several processes and of reruns can be distinguished
        self._start = time.monotonic()
        self._counts: Counter[Status] = Counter()

    def settle(self, case: Any, outcome: Status | Exception, seconds: float) -> None:
        """Close a case with its status, or what was raised: ValueError or OSError where the input is wrong.

        Raises:
            Exception: the outcome, if the case is the only one.
            OSError: the record of cases may not be written.
        """
        reason = ""
        if isinstance(outcome, Exception):
            if self._alone:
                raise outcome
            if isinstance(outcome, ValueError | OSError | MemoryError):
                status = "failed" if access.may_pass(outcome) else "bad"
                reason = str(outcome) if isinstance(outcome, ValueError) else access.refusal(outcome)
            else:  # an error of the program in one case must not end a run of many
                status, reason = "failed", repr(outcome)
                self._report.line("".join(traceback.format_exception(outcome)))
        else:
            status = outcome
        self._counts[status] += 1
        tell = self._report.line if reason else self._report.note
        tell(f"{case.case_id}: {status} in {seconds:.1f} s{': ' if reason else ''}{reason}")
        if not self._settings.dry_run:
            self._record(case, status, reason, seconds)

    def _record(self, case: Any, status: Status, reason: str, seconds: float) -> None:
        """Append a line in one write, after the end of one that was cut short.

        Raises:
            OSError: it cannot be written, or not whole.
        """
        results.make_folder(self._settings.output_dir)
        line = {
            "run": self._run,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "case_id": case.case_id,
            "status": status,
            "reason": reason,
            "seconds": round(seconds, 3),
        }
        content, path = (json.dumps(line, ensure_ascii=False) + "\n").encode(), self._settings.record
        try:
            with open(path, "a+b", buffering=0) as file:
                if end := file.seek(0, os.SEEK_END):
                    file.seek(end - 1)
                    content = b"\n" * (file.read(1) != b"\n") + content
                if file.write(content) < len(content):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error

    def _counted(self) -> str:
        return ", ".join(f"{status} {self._counts[status]}" for status in get_args(Status) if self._counts[status])

    def summary(self) -> str:
        """How many cases became what, in how much time."""
        return f"{self._counted() or 'done 0'} of {self._share} in {in_words(time.monotonic() - self._start)}"

    def left(self) -> str:
        """What an interruption leaves undone, and how to go on."""
        left = self._share - self._counts.total()
        again = "the same command without --overwrite" if self._settings.overwrite else "the same command"
        return f"{self._counted() or 'done 0'}, left {left} of {self._share}; {again} goes on where it stopped"

    @property
    def exit_code(self) -> int:
        """0; 1 if a case has failed, and another try may help; `BAD_CASES` if some are bad and may not be."""
        if self._counts["failed"]:
            return 1
        return BAD_CASES if self._counts["bad"] and not self._settings.bad_cases_ok else 0
