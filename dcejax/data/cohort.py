"""Many cases, one after another: shards, resume, and a line of record for each."""

import hashlib
import json
import os
import platform
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from dcejax.data import access, results
from dcejax.data.cases import Case
from dcejax.types import Report

Status = Literal["done", "skipped", "checked", "bad", "failed"]
"""`bad`: the input is at fault and the reason says how; `failed`: the program is, and the log holds the traceback."""


class Identified(Protocol):
    """What a run needs to know of a case."""

    @property
    def case_id(self) -> str:
        """Names it in messages, records and files."""


_CaseT = TypeVar("_CaseT", bound=Identified)


@dataclass(frozen=True, kw_only=True)
class Settings:
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


def _digest(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(f"{path}: expected a file that can be read, found {error.strerror}; check the path") from error


def inputs_of(case: Case) -> dict[str, dict[str, str]]:
    """Name and hash of every file a case depends on, by role.

    Raises:
        ValueError: a file that cannot be read.
    """
    return {role: {"file": str(path), "sha256": _digest(path)} for role, path in case.files().items()}


def case_hash(case: Case, inputs: Mapping[str, Mapping[str, str]], settings: Mapping[str, Any]) -> str:
    """Hash of all that shapes a case's results; files count by content, so that moving data changes nothing.

    Args:
        case: its facts count.
        inputs: from `inputs_of`.
        settings: what else shapes the results, ready for JSON.
    """
    facts = {
        "case_id": case.case_id,
        "files": {role: entry["sha256"] for role, entry in inputs.items()},
        "numbers": case.facts.values(),
        "quantity": case.quantity,
        "dcejax": version("dcejax"),
        **settings,
    }
    return digest(facts)


def digest(content: Mapping[str, Any]) -> str:
    """Hash of what is ready for JSON, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def version(name: str) -> str:
    """Version of an installed package."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:  # dcejax itself, run from a checkout that was not installed
        return "not installed"


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of packages."""
    return {"python": platform.python_version()} | {name: version(name) for name in names}


def check_writable(folder: Path) -> None:
    """Find out before the work, without making the folder.

    Raises:
        ValueError: it could not be made or written.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        found = "a folder without permission to write" if existing.is_dir() else "a file"
        raise ValueError(
            f"{folder}: expected a folder that can be made and written, found {found} at {existing}; choose another "
            "--output_dir"
        )


def _record(folder: Path, case: Identified, status: Status, reason: str, seconds: float) -> None:
    """Append a line in one write, so that processes of other shards can do the same."""
    results.make_folder(folder)
    line = {"case_id": case.case_id, "status": status, "reason": reason, "seconds": round(seconds, 3)}
    with open(folder / "cases.jsonl", "ab", buffering=0) as file:
        file.write((json.dumps(line, ensure_ascii=False) + "\n").encode())


def run(
    all_cases: Sequence[_CaseT],
    make_process: Callable[[], Callable[[_CaseT, str], Status]],
    settings: Settings,
    report: Report,
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
    if not settings.dry_run:
        check_writable(settings.output_dir)
    index, count = settings.shard
    share = all_cases[index::count]
    process = make_process()
    bad = 0
    for number, case in enumerate(share, start=1):
        start = time.perf_counter()
        reason = ""
        try:
            status = process(case, f"case {number} of {len(share)}, {case.case_id}")
        except (ValueError, OSError) as error:
            if len(all_cases) == 1:
                raise
            status, reason = "bad", access.refusal(error) if isinstance(error, OSError) else str(error)
        except Exception as error:  # one case's crash must not lose a night's cohort
            if len(all_cases) == 1:
                raise
            status, reason = "failed", repr(error)
            report.line(traceback.format_exc())
        seconds = time.perf_counter() - start
        bad += status in ("bad", "failed")
        report.line(f"{case.case_id}: {status} in {seconds:.1f} s{': ' if reason else ''}{reason}")
        if not settings.dry_run:
            _record(settings.output_dir, case, status, reason, seconds)
    return 1 if bad else 0
