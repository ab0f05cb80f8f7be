"""What has become of the cases of a folder of results, from the records that all its runs and shards left."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from dcejax.runner.case_record import RECORDS, in_words

_FINISHED = ("done", "skipped")
_RECENT = 100  # cases whose times give the rate
_PAUSE = 10.0  # of the median time between cases; more is a pause between runs


@dataclass(frozen=True)
class FolderStatus:
    """Of each case what its latest record says."""

    done: int
    bad: dict[str, str]  # case -> reason: the input is wrong, trying again changes nothing
    failed: dict[str, str]  # case -> reason: the program or the machine is wrong
    missing: list[str] | None  # cases without a record; None where nobody said which there should be
    runs: int
    damaged_lines: int
    cases_per_hour: float | None  # of the latest done cases, all shards together
    last: str | None  # time of the latest record

    @property
    def complete(self) -> bool:
        """Whether every case is done."""
        return not (self.bad or self.failed or self.missing)

    @property
    def hours_left(self) -> float | None:
        """At this rate, until the missing cases are done."""
        return len(self.missing) / self.cases_per_hour if self.missing and self.cases_per_hour else None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {**asdict(self), "complete": self.complete, "hours_left": self.hours_left}


def _lines(file: Path) -> tuple[list[dict[str, Any]], int]:
    found, damaged = [], 0
    for text in file.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
            found.append({name: line[name] for name in ("run", "time", "case_id", "status", "reason")})
        except (ValueError, KeyError, TypeError):  # a process was killed while it wrote
            damaged += 1
    return found, damaged


def _cases_per_hour(times: Sequence[datetime]) -> float | None:
    """Rate of cases settled at these times, without the pauses between runs."""
    ordered = sorted(times)
    gaps = [(after - before).total_seconds() for before, after in pairwise(ordered)]
    if not gaps:
        return None
    usual = [gap for gap in gaps if gap <= _PAUSE * max(median(gaps), 1.0)]
    return 3600 * len(usual) / sum(usual) if sum(usual) > 0 else None


def of_folder(folder: Path, expected: Sequence[str] | None = None) -> FolderStatus:
    """Merge the records of a folder; `expected` are the names of all cases there should be.

    Raises:
        ValueError: the folder has no record of cases.
    """
    files = sorted(folder.glob(RECORDS))
    if not files:
        raise ValueError(
            f"{folder / RECORDS}: expected the record of cases that a run leaves, found none; check the folder"
        )
    each, counts = zip(*map(_lines, files), strict=True)
    # Every file is in order of time; of lines of one second those of a file stay so.
    lines, damaged = sorted((line for own in each for line in own), key=lambda line: line["time"]), sum(counts)
    latest = {line["case_id"]: line for line in lines}
    if expected is not None:
        latest = {case: latest[case] for case in expected if case in latest}
    by_status: dict[str, dict[str, str]] = {"bad": {}, "failed": {}}
    for case, line in latest.items():
        if line["status"] in by_status:
            by_status[line["status"]][case] = line["reason"]
    settled = [datetime.fromisoformat(line["time"]) for line in lines if line["status"] == "done"][-_RECENT:]
    return FolderStatus(
        done=sum(line["status"] in _FINISHED for line in latest.values()),
        **by_status,
        missing=None if expected is None else [case for case in expected if case not in latest],
        runs=len({line["run"] for line in lines}),
        damaged_lines=damaged,
        cases_per_hour=_cases_per_hour(settled),
        last=lines[-1]["time"] if lines else None,
    )


def in_text(status: FolderStatus, most: int = 20) -> str:
    """As text for people, with so many cases and reasons by name."""
    rows = [("done", str(status.done)), ("bad", str(len(status.bad))), ("failed", str(len(status.failed)))]
    rows.append(("missing", "unknown; give --input" if status.missing is None else str(len(status.missing))))
    rows += [("runs", str(status.runs)), ("latest record", status.last or "none")]
    if status.cases_per_hour:
        rows.append(("rate", f"{status.cases_per_hour:.4g} cases an hour"))
    if status.hours_left is not None:
        rows.append(("left at this rate", in_words(3600 * status.hours_left)))
    if status.damaged_lines:
        rows.append(("damaged lines", f"{status.damaged_lines}, left out"))
    text = [f"{name:18s}{value}" for name, value in rows]
    for what, cases in (("bad", status.bad), ("failed", status.failed)):
        reasons = Counter(reason.replace(case, "CASE") for case, reason in cases.items())
        text += [f"\n{what}: {count} × {reason}" for reason, count in reasons.most_common(most)]
        text += [f"  {case}" for case in list(cases)[:most]]
    if status.missing:
        text += ["\nmissing:", *(f"  {case}" for case in status.missing[:most])]
    return "\n".join(text)
