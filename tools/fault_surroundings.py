"""What happens around a run: a full disk, a folder that may not be written, an input that changes, a checkpoint that is
damaged or of another run, two processes with one shard, a clock that goes backwards."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import fault_targets
from fault_kills import Child, Program
from fault_positions import Fault, differences, unclear

from dcejax.data import nifti_file, provenance

_NOBODY = 65534
_KIB = (16, 32, 48, 64, 80)  # of a disk; a run needs more


def _ended(function: Callable[[], Any], shared: Path) -> tuple[int | None, str]:
    return Child(function, shared / "log").ended()


def _again(program: Program, folder: Path, shared: Path) -> str:
    """In words, what is wrong after another run, which nothing disturbs."""
    code, said = _ended(partial(program.run, folder), shared)
    expected = program.outputs(_whole(program, shared))
    return (
        f"another run ends with {code}: {said[-300:]}" if code != 0 else differences(program.outputs(folder), expected)
    )


def _whole(program: Program, shared: Path) -> Path:
    folder = shared / "undisturbed"
    if not folder.exists():
        code, said = _ended(partial(program.run, folder), shared)
        if code != 0:
            raise AssertionError(f"an undisturbed run ends with {code}: {said[-500:]}")
    return folder


def _mount(*words: Any) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def full_disk(program: Program, shared: Path) -> Iterator[Fault]:
    """Disks of several sizes, which are made larger for another run."""
    for size in _KIB:
        (disk := shared / f"disk-{size}").mkdir()
        _mount("-t", "tmpfs", "-o", f"size={size}k", "none", disk)
        try:
            code, said = _ended(partial(program.run, disk / "out"), shared)
            wrong = unclear(code, said, "No space left on device")
            _mount("-o", "remount,size=64m", disk)
            yield Fault("full disk", f"{size} KiB", wrong or _again(program, disk / "out", shared))
        finally:
            subprocess.run(["umount", disk], check=True)


def read_only(program: Program, shared: Path) -> Iterator[Fault]:
    """A file system without writing, and a folder of another user."""

    def as_nobody(folder: Path) -> None:
        with contextlib.suppress(SystemExit):
            program.run(shared / "before")  # loads what that user may not read
        os.setgroups([]), os.setgid(_NOBODY), os.setuid(_NOBODY)
        program.run(folder)

    for name in ("file system", "of another user"):
        (folder := shared / name).mkdir()
        if name == "file system":
            _mount("--bind", folder, folder)
            _mount("-o", "remount,ro,bind", folder)
        for path in (shared.parent, shared):
            path.chmod(0o755)
        try:
            run = program.run if name == "file system" else as_nobody
            code, said = _ended(partial(run, folder / "out"), shared)
            clear = code == 2 and any(": expected " in line and str(folder) in line for line in said.splitlines())
            wrong = "" if clear and "Traceback" not in said else f"exit code {code}: {said[-300:]}"
            wrong = wrong or "files in it" * any(folder.iterdir())
        finally:
            if name == "file system":
                subprocess.run(["umount", folder], check=True)
        yield Fault("read-only folder", name, wrong or _again(program, folder / "out", shared))


def changing_input(program: Program, inputs: Path, shared: Path) -> Iterator[Fault]:
    """An input that is written again, cut or replaced after its hash was taken, and is at rest for another run."""
    path = inputs / "case1.nii.gz"
    content, other = path.read_bytes(), (inputs / "case0.nii.gz").read_bytes()

    def replace() -> None:
        (beside := path.with_name("beside")).write_bytes(other)
        beside.replace(path)

    ways = {
        "written again": lambda: path.write_bytes(other),
        "replaced": replace,
        "cut": lambda: path.write_bytes(content[: len(content) // 2]),
        "longer": lambda: path.write_bytes(content + bytes(100)),
        "the same bytes at another time": lambda: os.utime(path, ns=(0, 10**18)),
        "gone": path.unlink,
    }
    for moment, module, function in (("hash", provenance, "inputs_of"), ("reading", nifti_file, "read_voxels")):
        for way, change in ways.items():

            def disturbed(folder: Path, change: Any = change, module: Any = module, function: str = function) -> None:
                real, done = getattr(module, function), []

                def then_change(first: Any, *rest: Any) -> Any:
                    found = real(first, *rest)
                    if not done and str(path) in (str(getattr(first, "path", first)),):
                        done.append(change())
                    return found

                setattr(module, function, then_change)
                program.run(folder)

            folder = shared / f"{moment} {way}"
            code, said = _ended(partial(disturbed, folder), shared)
            told = [line for line in said.splitlines() if "case1" in line and ": expected " in line]
            path.write_bytes(content)
            wrong = "" if code in (1, 3) and told and "Traceback" not in said else f"exit code {code}: {said[-300:]}"
            marked = [p.name for p in folder.glob("case1_*desc-fit.json")]
            wrong = wrong or "marked as done" * bool(marked)
            yield Fault("input that changes", f"{way}, after {moment}", wrong or _again(program, folder, shared))


def one_shard(program: Program, shared: Path, tries: int = 4) -> Iterator[Fault]:
    """Two processes that do the same at the same time; in every second try one of them is killed."""
    for number in range(tries):
        folder = shared / f"both-{number}"
        both = [Child(partial(program.run, folder), shared / f"log-{n}") for n in range(2)]
        wrong = ""
        if number % 2:
            code, said = both[0].ended(within=0.6 + 0.5 * number)
            if code is None:
                both[0].kill()
            both = both[1:]
        for child in both:
            code, said = child.ended()
            wrong = wrong or (f"one ends with {code}: {said[-300:]}" if code != 0 else "")
        wrong = wrong or _again(program, folder, shared)
        yield Fault("two processes with one shard", f"{'one killed' if number % 2 else 'both'}, try {number}", wrong)


def clock_back(programs: dict[str, Program], shared: Path) -> Iterator[Fault]:
    """A clock that loses an hour at every look, and files of the future."""
    real = time.time

    def backwards(program: Program, folder: Path) -> None:
        looks = iter(range(1, 10**9))
        time.time = lambda: real() - 3600 * next(looks)
        program.run(folder)

    for name, program in programs.items():
        (own := shared / name).mkdir()
        folder = own / "out"
        code, said = _ended(partial(backwards, program, folder), own)
        wrong = f"exit code {code}: {said[-300:]}" if code != 0 else ""
        for path in folder.rglob("*"):
            os.utime(path, (2**32, 2**32))
        yield Fault("clock that goes backwards", name, wrong or _again(program, folder, own))


def damaged_checkpoints(shared: Path) -> Iterator[Fault]:
    """Every file of the latest checkpoint is cut, emptied, or of other content in turn; or all is of another run."""
    target = fault_targets.checkpoint_target()
    target.begin(whole := shared / "whole")
    fault_targets.run(target, whole)
    expected = target.outputs(whole)
    latest = Path("checkpoints") / "one" / str(fault_targets.EPOCHS)
    files = sorted(path.relative_to(whole) for path in (whole / latest).rglob("*") if path.is_file())
    ways = {"cut": lambda content: content[: len(content) // 2], "emptied": lambda content: b""}
    ways["of other content"] = lambda content: bytes(255 - byte for byte in content)
    number = 0
    for way, change in ways.items():
        for file in files:
            number += 1
            shutil.copytree(whole, folder := shared / str(number))
            for name in ("weights.npz", "weights.json"):
                (folder / name).unlink()
            (folder / file).write_bytes(change((folder / file).read_bytes()))
            code, said = fault_targets.run(target, folder)
            if code == 0:  # a file that nothing is read from
                wrong = differences(target.outputs(folder), expected)
            else:
                clear = code == 2 and said.count("error: ") == 1 and str(folder / latest) in said
                wrong = "" if clear and "Traceback" not in said else f"exit code {code}: {said[-500:]}"
                shutil.rmtree(folder / latest)  # as it says
                code, said = fault_targets.run(target, folder)
                wrong = wrong or (f"another run ends with {code}: {said[-300:]}" if code != 0 else "")
                wrong = wrong or differences(target.outputs(folder), expected)
            yield Fault("checkpoint that is damaged", f"{way}: {file.relative_to(latest)}", wrong)
    for what, foreign in (("values of its configuration", {"method": "another"}), ("shapes", {"size": 7})):
        (folder := shared / what).mkdir()
        fault_targets.run(fault_targets.checkpoint_target(**foreign), folder)
        code, said = fault_targets.run(target, folder)
        clear = code == 2 and str(folder / latest) in said and "Traceback" not in said
        shutil.rmtree(folder / "checkpoints")
        again, _ = fault_targets.run(target, folder)
        wrong = "" if clear and again == 0 else f"exit codes {code} and {again}: {said[-500:]}"
        yield Fault(
            "checkpoint of another run", f"other {what}", wrong or differences(target.outputs(folder), expected)
        )
