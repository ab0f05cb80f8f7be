"""What the fault campaign disturbs: commands and functions that write, on inputs so small that they take a fraction of
a second, run in this process so that they compile once.

A target begins in a folder in which a case is done, and does another; its outputs are the bytes that another run has to
give, without what tells of the run itself: its seconds, and the record of cases.
"""

import contextlib
import dataclasses
import functools
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hostile_commands
import jax
import jax.numpy as jnp
import nibabel as nib
import numpy as np

from dcejax.cli import command, fit, infer
from dcejax.cli.console import Console
from dcejax.cohorts import simulate_cases
from dcejax.conventional import fit_picture
from dcejax.data import atomic, weights
from dcejax.runner import map_picture
from dcejax.runner.case_record import RunSettings
from dcejax.training.checkpoints import Checkpoints, Progress
from dcejax.training.metrics import MetricWriter
from dcejax.training.step import TrainState
from dcejax.types import PARAMETERS, Scan, SimulatedScan

SHAPE, FRAMES, DT_S = (6, 5, 2), 60, 5.0
EPOCHS = 2
_OF_THE_RUN = ("cases*.jsonl",)


class Target(NamedTuple):
    """Something that writes."""

    begin: Callable[[Path], Any]  # leave in a folder, which is not there, what is done before
    run: Callable[[Path], int | str | None]  # the exit code; to standard error what it says
    outputs: Callable[[Path], Mapping[str, bytes]]
    marks: Callable[[str], str | None]  # how the outputs begin that an output of this name says are whole


def run(target: Target, folder: Path) -> tuple[Any, str]:
    """Run it as a new process would; its exit code and what it says."""
    atomic.sweep.cache_clear()
    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        code = target.run(folder)
    return code, told.getvalue()


def _exit_code(run: Callable[[list[str]], int], *words: str) -> Any:
    try:
        command.exit_with(run, ["command", *words])
    except SystemExit as stop:
        return stop.code


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, sidecars without the seconds that a run took."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(path.match(pattern) for pattern in _OF_THE_RUN):
            content = path.read_bytes()
            if path.suffix == ".json" and b'"seconds"' in content:
                content = json.dumps({**json.loads(content), "seconds": None}).encode()
            found[str(path.relative_to(folder))] = content
    return found


def series(concentration: bool) -> np.ndarray:
    """[X, Y, Z, T] float32: concentration in mM, or a signal of these curves."""
    speed = np.linspace(1, 6, int(np.prod(SHAPE))).reshape(*SHAPE, 1)
    since = np.maximum(np.arange(FRAMES) / FRAMES - 0.15, 0)
    curves = 1 - np.exp(-speed * since)
    baseline = 45 + np.arange(np.prod(SHAPE)).reshape(*SHAPE, 1) % 7
    return np.float32(curves if concentration else np.rint(baseline + 70 * curves))


def write_inputs(folder: Path, *, concentration: bool, cases: int = 2) -> None:
    """Files of cases that differ, and manifests of them: one.csv of the first, all.csv of all."""
    folder.mkdir(parents=True)
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    rows = ["case_id,input,mask,segmentation"]
    for number in range(cases):
        nib.save(nib.Nifti1Image(series(concentration) * (1 + number), affine), folder / f"case{number}.nii.gz")
        rows.append(f"case{number},case{number}.nii.gz,mask.nii.gz,labels.nii.gz")
    (folder / "one.csv").write_text("\n".join(rows[:2]))
    (folder / "all.csv").write_text("\n".join(rows))
    labels = np.ones(SHAPE, np.uint8)
    nib.save(nib.Nifti1Image(labels, affine), folder / "mask.nii.gz")
    labels[3:] = 2
    nib.save(nib.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    times = DT_S * np.arange(FRAMES)
    (folder / "times.txt").write_text("\n".join(map(str, times)))
    since = np.maximum(times / 60 - 0.5, 0)
    samples = [f"{t},{c}" for t, c in zip(times, 30 * since * np.exp(-since / 0.25), strict=True)]
    (folder / "aif.csv").write_text("\n".join(["time_s,cp_plasma_mM", *samples]))


def fit_words(inputs: Path, cases: str = "all.csv") -> list[str]:
    """Flags of `dcejax-fit` for `write_inputs`, without its folder."""
    flags = {"input": inputs / cases, "times": inputs / "times.txt", "aif": inputs / "aif.csv"}
    flags |= {"input_quantity": "concentration", "model": "tofts", "method": "linear", "fit_delay": "false"}
    return [f"--{name}={value}" for name, value in flags.items()]


def infer_words(inputs: Path, weights: Path, cases: str = "all.csv") -> list[str]:
    """The same for `dcejax-infer`."""
    return [f"--weights={weights}", f"--input={inputs / cases}", f"--times={inputs / 'times.txt'}"]


@contextlib.contextmanager
def pictures_drawn_once() -> Iterator[None]:
    """A picture takes longer than all else, and is the same whenever a case is done again."""
    kept = {module: module.overview for module in (fit_picture, map_picture)}
    for module, draw in kept.items():
        drawn: dict[str, bytes] = {}

        def once(scan: Scan, *rest: Any, draw: Any = draw, drawn: dict[str, bytes] = drawn) -> bytes:
            if scan.case_id not in drawn:
                drawn[scan.case_id] = draw(scan, *rest)
            return drawn[scan.case_id]

        module.overview = once
    try:
        yield
    finally:
        for module, draw in kept.items():
            module.overview = draw


def _of_a_command(called: Any, words: Callable[..., list[str]], mark: str, *more: str) -> Target:
    def run_on(cases: str, folder: Path) -> Any:
        try:
            called.main(["command", *words(cases=cases), f"--output_dir={folder}", *more])
        except SystemExit as stop:
            return stop.code

    def marks(name: str) -> str | None:
        return name.removesuffix(mark) if name.endswith(mark) else None

    return Target(functools.partial(run_on, "one.csv"), functools.partial(run_on, "all.csv"), bytes_of, marks)


def fit_target(shared: Path, *more: str) -> Target:
    """`dcejax-fit` on two cases, of which the first is done."""
    if not (shared / "fit").exists():
        write_inputs(shared / "fit", concentration=True)
    return _of_a_command(fit, functools.partial(fit_words, shared / "fit"), "_desc-fit.json", *more)


def infer_target(shared: Path, *more: str) -> Target:
    """The same of `dcejax-infer`, with small networks."""
    weights = shared / "tiny.npz"
    if not (shared / "infer").exists():
        write_inputs(shared / "infer", concentration=False)
        weights = hostile_commands.tiny_weights(shared / "tiny")
    words = functools.partial(infer_words, shared / "infer", weights)
    return _of_a_command(infer, words, "_desc-dcejax.json", *more)


def _simulated(subject: str, *, seed: int) -> SimulatedScan:
    """What the simulator would give, of random numbers."""
    draw = np.random.default_rng(seed)
    maps = draw.random((*SHAPE, len(PARAMETERS)), np.float32)
    ones = np.ones(SHAPE, np.float32)
    scan = Scan(
        case_id=subject,
        values=draw.integers(0, 999, (*SHAPE, 8)).astype(np.int16),
        times=np.arange(8) * DT_S / 60,
        mask=ones > 0,
        affine=np.diag([-2.0, 2.0, 3.0, 1.0]),
        header=None,
        quantity="signal",
        segmentation=ones.astype(np.int64),
        t1_map=ones,
    )
    return SimulatedScan(
        scan=scan,
        truth=maps,
        b1_map=ones,
        tissue=ones.astype(np.uint8),
        tissue_names=("air", "white matter"),
        arterial=np.linspace(0, 1, 8),
        sidecar={"RepetitionTime": DT_S},
        settings={"seed": seed},
        description="random numbers",
        readers={"reader1": maps + 1},
    )


def data_set_target() -> Target:
    """`dcejax-simulate` on two patients, of which the first is done; the simulator itself is left out."""
    settings = simulate_cases.SimulateSettings(cohort="train", size="slab", limit=2, seed=0)
    planned = simulate_cases.plan(settings)
    made = [
        dataclasses.replace(each, simulate=lambda progress, n=n, s=each.subject: _simulated(s, seed=n))
        for n, each in enumerate(planned.examinations)
    ]

    def run_on(number: int, folder: Path) -> Any:
        def simulate(_: list[str]) -> int:
            some = dataclasses.replace(planned, examinations=made[:number])
            with Console() as report:
                return simulate_cases.run(some, RunSettings(output_dir=folder), report)

        return _exit_code(simulate)

    def marks(name: str) -> str | None:
        return name.rsplit("/", 1)[0] + "/" if name.endswith("_desc-dro.json") else None

    return Target(functools.partial(run_on, 1), functools.partial(run_on, 2), bytes_of, marks)


def _state(step: int, size: int) -> TrainState:
    """A state that depends on its step alone."""
    values = jnp.arange(float(size)) * step
    return TrainState(jnp.int32(step), {"w": values, "b": values[:3]}, {"m": values + 1})


def checkpoint_target(method: str = "none", size: int = 2048) -> Target:
    """What a training run writes, epoch after epoch; the training itself is left out."""

    def train(folder: Path, epochs: int) -> int:
        writer = MetricWriter(folder / "metrics.jsonl")
        with Checkpoints(str(folder / "checkpoints" / "one"), {"method": method}, keep_latest=2, keep_best=1) as kept:
            state, progress = kept.restore_latest(_state(0, size)) or (_state(0, size), Progress())
            for restored, saved in zip(*map(jax.tree.leaves, (state, _state(progress.epoch, size))), strict=True):
                np.testing.assert_array_equal(restored, saved)
            writer.rewind("one", progress.epoch)
            while progress.epoch < epochs:
                progress = progress._replace(epoch=progress.epoch + 1, best_loss=1 / (progress.epoch + 1))
                writer.write({"stage": "one", "epoch": progress.epoch})
                kept.save(_state(progress.epoch, size), progress, progress.best_loss)
            kept.end()
            best = kept.restore_best(_state(0, size).params)
        weights.save(folder / "weights", {"one": jax.tree.map(np.asarray, best)}, {"config": {"method": "none"}})
        return 0

    def run_on(epochs: int, folder: Path) -> Any:
        return _exit_code(lambda _: train(folder, epochs))

    def outputs(folder: Path) -> dict[str, bytes]:
        """Checkpoints themselves hold times and random names: what is restored of them counts, and which is the latest.
        One that should have been removed may have stayed."""
        kept = {name: content for name, content in bytes_of(folder).items() if not name.startswith("checkpoints/")}
        return kept | {"latest": max((path.name for path in folder.glob("checkpoints/one/*")), default="").encode()}

    return Target(lambda folder: folder.mkdir(parents=True), functools.partial(run_on, EPOCHS), outputs, lambda _: None)
