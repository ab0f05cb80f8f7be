"""Hand the readers of files, and the commands, thousands of inputs that are odd, damaged or malicious.

    python tools/input_campaign.py --examples=200 --seed=1 > RESULT.json
    python tools/input_campaign.py --examples=200 --markdown

Each input has to give what the plain one gives, be read as it says, or be refused with exit code 2 and a message that
names the file, what was expected, what was found and a remedy; within time and memory. Without --seed the inputs are
always the same. The exit code is 1 if one input fails. Needs hypothesis (`pip install ".[test]"`).
"""

import argparse
import json
import resource
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hostile_commands
import hostile_data_sets
import hostile_dicom
import hostile_evaluations
import hostile_headers
import hostile_images
import hostile_inputs
import hostile_recommended
import hostile_text
import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity

FUNCTIONS = hostile_headers.KINDS | hostile_images.KINDS | hostile_text.KINDS
"""What functions read."""

COMMANDS = (
    hostile_commands.weights_kinds,
    hostile_commands.fit_kinds,
    hostile_commands.infer_kinds,
    hostile_recommended.recommended_kinds,
    hostile_dicom.dicom_kinds,
    hostile_evaluations.evaluate_kinds,
    hostile_data_sets.bids_kinds,
)
"""Kinds of weights and of what commands read, made in a folder that they share."""

LONGEST_S = 60.0
"""For one input, on a machine that is busy."""

MOST_GROWTH_MIB = 400
"""Of the process's memory in one kind, programs that it compiles included."""


def _peak_mib(*, forget: bool = False) -> float:
    """Most memory that this process has held since it was last asked to forget, where the system can (Linux)."""
    proc = Path("/proc/self")
    try:
        if forget:
            (proc / "clear_refs").write_text("5")
        lines = (proc / "status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def explore(kind: hostile_inputs.Kind, examples: int, seed: int | None = None) -> dict[str, Any]:
    """Draw inputs of one kind.

    Returns:
        `inputs` by answer, `seconds`, `longest_s` of one, and `memory_mib` that the process held beyond before.

    Raises:
        AssertionError: an input that is not answered as it should be; or whatever reading it raised.
    """
    counts: Counter[str] = Counter()
    longest = [0.0]
    start, before = time.perf_counter(), _peak_mib(forget=True)

    @hypothesis.settings(
        max_examples=max(1, round(examples * kind.share)),
        derandomize=seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @hypothesis.given(kind.strategy)
    def judge(drawn: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="dcejax-inputs-") as folder:
            (work := Path(folder) / "work").mkdir()
            began = time.perf_counter()
            with hostile_inputs.nothing_logged():
                found = kind.judge(work, drawn)
            seconds = time.perf_counter() - began
            beside = [path.name for path in Path(folder).iterdir() if path != work]
        assert not beside, f"files outside the folder: {beside}"
        assert seconds < LONGEST_S, f"{seconds:.0f} s"
        longest[0] = max(longest[0], seconds)
        counts[found] += 1

    (judge if seed is None else hypothesis.seed(seed)(judge))()
    growth = _peak_mib() - before
    assert growth < MOST_GROWTH_MIB, f"memory grew by {growth:.0f} MiB"
    return {
        "inputs": dict(sorted(counts.items())),
        "seconds": round(time.perf_counter() - start, 1),
        "longest_s": round(longest[0], 2),
        "memory_mib": round(growth),
    }


def table(found: Mapping[str, Any]) -> str:
    """Figures of all kinds for a document."""
    rows = ["| Kind | Inputs | As the plain one | Read as it says | Refused | Faults |", "|---|---|---|---|---|---|"]
    total: Counter[str] = Counter()
    for name, figures in found.items():
        counts = Counter(figures.get("inputs", {}))
        counts["faults"] = int("fault" in figures)
        total += counts
        rows.append(_row(name, counts))
    return "\n".join([*rows, _row("All", total)])


def _row(name: str, counts: Counter[str]) -> str:
    cells = [counts.total(), *(counts[each] for each in ("same", "accepted", "refused", "faults"))]
    return f"| {name} | {' | '.join(map(str, cells))} |"


def main() -> int:
    """Explore all kinds and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=20, help="of most kinds; commands have fewer")
    parser.add_argument("--seed", type=int, help="another draw")
    parser.add_argument("--only", default="", help="part of the name of a kind")
    parser.add_argument("--markdown", action="store_true", help="a table in place of JSON")
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as shared:
        kinds = FUNCTIONS | {name: kind for group in COMMANDS for name, kind in group(Path(shared)).items()}
        for name, kind in kinds.items():
            if chosen.only not in name:
                continue
            try:
                found[name] = explore(kind, chosen.examples, chosen.seed)
            except Exception as error:
                found[name] = {"fault": f"{type(error).__name__}: {error}"[:500]}
                print(
                    "".join(traceback.format_exception(error)[-6:]), *getattr(error, "__notes__", []), file=sys.stderr
                )
            print(name, found[name], file=sys.stderr, flush=True)
    print(table(found) if chosen.markdown else json.dumps(found, indent=1))
    return 1 if any("fault" in figures for figures in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
