"""Every operation of a target on its files fails in turn, in every manner."""

import contextlib
import gc
import shutil
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import failing_writes
import fault_targets
from fault_targets import Target

NOT_REACHED = "not reached, so not disturbed"


class Fault(NamedTuple):
    """One that was tried."""

    kind: str  # for the table
    name: str  # which of the kind
    wrong: str = ""  # what is wrong with the answer


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> str:
    """In words, which of the outputs are not as they should be."""
    lacking = sorted(set(expected) - set(found))
    more = sorted(set(found) - set(expected))
    other = sorted(name for name in set(found) & set(expected) if found[name] != expected[name])
    parts = {"lacking": lacking, "not expected": more, "of other content": other}
    return "; ".join(f"{what}: {', '.join(names[:3])}" for what, names in parts.items() if names)


def unfinished(target: Target, found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> str:
    """In words, what is not whole although an output says so."""
    for mark in found:
        if (begins := target.marks(mark)) is not None:

            def of_case(outputs: Mapping[str, bytes], begins: str = begins) -> dict[str, bytes]:
                return {name: content for name, content in outputs.items() if name.startswith(begins)}

            left = {name: content for name, content in of_case(found).items() if not name.endswith(".tmp")}
            if wrong := differences(left, of_case(expected)):
                return f"{mark} is there, but {wrong}"
    return ""


def unclear(code: Any, said: str, reason: str) -> str:
    """In words, what is wrong with what a failed run says: another try may help, so its exit code is 1."""
    lines = [line for line in said.splitlines() if reason in line and ": expected " in line]
    if code != 1:
        return f"exit code {code}: {said[-300:]}"
    if not lines or any(len(line) > 800 for line in lines):
        return f"no clear line says {reason!r}: {said[-300:]}"
    return f"a traceback: {said[-900:]}" if "Traceback" in said and "call_soon_threadsafe" not in said else ""


def _tried(
    target: Target, shared: Path, number: int, at: int, manner: str, whole: Mapping[str, bytes]
) -> tuple[str, str]:
    """Which kind of operation failed, none if there are fewer, and what is wrong with the answer."""
    how = failing_writes.MANNERS[manner]
    folder, again = shared / f"out-{number}", shared / f"again-{number}"
    shutil.copytree(shared / "begin", folder)
    with failing_writes.failing(folder, at, how) as hits:
        code, said = fault_targets.run(target, folder)
    what = hits[0].what
    folder.rename(again)  # where threads that outlive the run do not find it: in a process of its own they would end
    try:
        left = target.outputs(again)
        if not what:  # nothing disturbed it
            return what, f"exit code {code}: {said[-300:]}" if code != 0 else differences(left, whole)
        if wrong := unfinished(target, left, whole):
            return what, wrong
        if code == 0 and how.said and (wrong := differences(left, whole)):
            return what, f"exit code 0, but {wrong}"
        if code != 0 and how.said and (wrong := unclear(code, said, how.reason)):
            return what, wrong
        code, said = fault_targets.run(target, again)
        if code != 0:
            return what, f"another run ends with exit code {code}: {said[-300:]}"
        wrong = differences(target.outputs(again), whole)
        return what, wrong and f"after another run, {wrong}"
    finally:
        shutil.rmtree(again, ignore_errors=True)


def undisturbed(target: Target, shared: Path) -> tuple[int, dict[str, bytes]]:
    """Operations and outputs of a run that nothing disturbs, in a new folder."""
    target.begin(shared / "begin")
    shutil.copytree(shared / "begin", shared / "whole")
    with failing_writes.failing(shared / "whole") as hits:
        code, said = fault_targets.run(target, shared / "whole")
    if code != 0:
        raise AssertionError(f"an undisturbed run ends with exit code {code}: {said}")
    return hits[0].counted, dict(target.outputs(shared / "whole"))


@contextlib.contextmanager
def _garbage_between() -> Iterator[None]:
    """Garbage is collected where it is asked for alone, and quickly: what failed runs leave has destructors that wait
    for threads, and would do so for ever within a thread that begins.
    """
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        gc.enable()


def every_position(
    what: str, target: Target, shared: Path, *, first: int = 1, stride: int = 1, last: int
) -> Generator[Fault, None, bool]:
    """Try the positions from the first to the last, in a new folder; yields what was found.

    Threads do not always come to the same number of operations. So there are no more only where an undisturbed run
    counted fewer and no fault was reached either; a run that a fault did not reach has to end as an undisturbed one.

    Returns:
        Whether there are no more.
    """
    shared.mkdir(parents=True)
    with _garbage_between(), fault_targets.pictures_drawn_once():
        count, whole = undisturbed(target, shared)
        number = 0
        for at in range(first, last + 1, stride):
            missed = []
            for manner in failing_writes.MANNERS:
                number += 1
                try:
                    operation, wrong = _tried(target, shared, number, at, manner, whole)
                except Exception as error:
                    operation, wrong = "run", repr(error)[:300]
                gc.collect()
                if operation:
                    yield Fault(f"{what}: {manner}", f"{operation} {at}", wrong)
                else:
                    missed.append(Fault(f"{what}: {NOT_REACHED}", f"{manner} {at}", wrong))
            over = at > count and len(missed) == len(failing_writes.MANNERS)
            yield from (fault for fault in missed if fault.wrong or not over)
            if over and not any(fault.wrong for fault in missed):
                return True
    return False
