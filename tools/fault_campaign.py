"""Let writing fail in every way and place, and see that nothing is lost, that it is said clearly, and that another run
gives what an undisturbed one gives.

    python tools/fault_campaign.py --results=FAULTS.jsonl
    python tools/fault_campaign.py --results=FAULTS.jsonl --markdown

Every write, sync and rename, and every file and folder that is made or removed, fails in turn; processes are killed at
random; disks are full, folders read-only, inputs change, checkpoints are damaged, clocks go backwards. Results are
appended; --markdown prints the table of all that are there, without trying more. The exit code is 1 if an answer is
wrong. Needs Linux, a C compiler and `pip install ".[test]"`; full disks and read-only file systems need root, and are
left out without.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import NamedTuple

import failing_writes
import fault_kills
import fault_positions
import fault_surroundings
import fault_targets
from fault_positions import Fault

_MOST_POSITIONS = 6000

Part = Callable[[Path], Iterator[Fault]]


def _positions(what: str, first: int, last: int, stride: int) -> Part:
    def tried(shared: Path) -> Generator[Fault, None, None]:
        target = _TARGETS[what].make(shared)
        block = fault_positions.every_position(what, target, shared / "work", first=first, stride=stride, last=last)
        if (yield from block):
            (shared / _OVER).touch()

    return tried


def _in_a_process(part: Part, shared: Path) -> Iterator[Fault]:
    """What a part finds that computes, in a fork of this process, which never does."""
    found = shared / "found.jsonl"

    def write() -> None:
        with found.open("w") as file:
            for fault in part(shared):
                file.write(json.dumps(fault) + "\n")
                file.flush()

    code, said = fault_kills.Child(write, shared / "part.log").ended(within=3600)
    yield from (Fault(*json.loads(line)) for line in found.read_text().splitlines())
    if code != 0:
        yield Fault("campaign", shared.name, f"ends with {code}: {said[-500:]}")


class _Swept(NamedTuple):
    """A target whose operations fail in turn."""

    make: Callable[[Path], fault_targets.Target]
    positions: int = 60  # in one process


_TARGETS = {
    "dcejax-fit": _Swept(fault_targets.fit_target),
    "dcejax-infer": _Swept(fault_targets.infer_target),
    "data set": _Swept(lambda shared: fault_targets.data_set_target()),
    "checkpoint": _Swept(lambda shared: fault_targets.checkpoint_target(), 20),  # one that fails leaves threads
}
_OVER = "over"  # a file that says that there are no more positions


def _swept(what: str, first: int, last: int, stride: int, shared: Path) -> Iterator[Fault]:
    """The positions of a target in their order, so many in a process."""
    step = _TARGETS[what].positions * stride
    for start in range(first, last + 1, step):
        (own := shared / f"{what} from {start}").mkdir()
        yield from _in_a_process(_positions(what, start, min(start + step - 1, last), stride), own)
        over = (own / _OVER).exists()
        shutil.rmtree(own, ignore_errors=True)
        if over:
            return
    if last == _MOST_POSITIONS:
        yield Fault("campaign", what, f"there are more than {last} positions")


def parts(
    only: str, kills: int, seed: int, shared: Path, *, first: int, last: int, stride: int
) -> Iterator[tuple[str, Iterator[Fault]]]:
    """Names of the parts that were asked for, and what each finds."""
    for what in _TARGETS:
        if only in f"{what}: positions":
            yield f"{what}: positions", _swept(what, first, last, stride, shared)
    names = ("full disk", "read-only", "changing input", "one shard", "clock")
    (own := shared / "programs").mkdir()
    programs = fault_kills.programs(own) if kills or any(only in name for name in names) else {}
    for name, program in programs.items():
        if kills and only in f"{name}: kills":
            yield f"{name}: kills", fault_kills.kills(name, program, own, kills, seed)
    fit = programs.get("fit")
    root = os.geteuid() == 0
    short = {name: programs[name] for name in ("training", "inference", "fit") if name in programs}
    around: dict[str, Callable[[Path], Iterator[Fault]]] = {
        "full disk": lambda folder: fault_surroundings.full_disk(fit, folder) if root else iter(()),
        "read-only": lambda folder: fault_surroundings.read_only(fit, folder) if root else iter(()),
        "changing input": lambda folder: fault_surroundings.changing_input(fit, own / "fit", folder),
        "one shard": lambda folder: fault_surroundings.one_shard(fit, folder),
        "clock": lambda folder: fault_surroundings.clock_back(short, folder),
        "damaged checkpoints": lambda folder: _in_a_process(fault_surroundings.damaged_checkpoints, folder),
    }
    for name, part in around.items():
        if only in name:
            (folder := shared / name).mkdir()
            yield name, part(folder)


def _place(fault: Fault) -> str:
    """Its position, if it has one: which operation that is may differ, where threads do them."""
    swept = fault.kind.partition(": ")[2] in failing_writes.MANNERS
    return fault.name.rsplit(" ", 1)[-1] if swept else fault.name


def latest(faults: list[Fault]) -> list[Fault]:
    """Of faults that were tried again the last answer."""
    return list({(fault.kind, _place(fault)): fault for fault in faults}.values())


def table(faults: list[Fault]) -> str:
    """How many of each kind were tried, and how many were answered wrongly."""
    tried = Counter(fault.kind for fault in latest(faults))
    wrong = Counter(fault.kind for fault in latest(faults) if fault.wrong)
    rows = ["| Fault | Tried | Wrong |", "|---|---|---|"]
    rows += [f"| {kind} | {count} | {wrong[kind]} |" for kind, count in tried.items()]
    return "\n".join([*rows, f"| All | {tried.total()} | {wrong.total()} |"])


def main() -> int:
    """Try and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True, help="file that results are appended to")
    parser.add_argument("--only", default="", help="part of the name of a part")
    parser.add_argument("--stride", type=int, default=1, help="try every n-th position only")
    parser.add_argument("--first", type=int, default=1, help="position")
    parser.add_argument("--last", type=int, default=_MOST_POSITIONS, help="position")
    parser.add_argument("--kills", type=int, default=20, help="of each program")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--markdown", action="store_true", help="print the table of what is in the file")
    chosen = parser.parse_args()
    if not chosen.markdown:
        failing_writes.start_again()
        with tempfile.TemporaryDirectory(prefix="dcejax-faults-") as folder:
            positions = {"first": chosen.first, "last": chosen.last, "stride": chosen.stride}
            for name, found in parts(chosen.only, chosen.kills, chosen.seed, Path(folder), **positions):
                tried = []
                with chosen.results.open("a") as file:
                    for fault in found:
                        tried.append(fault)
                        file.write(json.dumps(fault) + "\n")
                        file.flush()
                        if fault.wrong:
                            print(*fault, sep="\n  ", file=sys.stderr, flush=True)
                print(f"{name}: {len(tried)} tried", file=sys.stderr, flush=True)
    faults = [Fault(*json.loads(line)) for line in chosen.results.read_text().splitlines()]
    print(table(faults))
    return 1 if any(fault.wrong for fault in latest(faults)) else 0


if __name__ == "__main__":
    sys.exit(main())
