"""Simulated data sets and folders of maps that are damaged, as `dcejax-evaluate` reads them.

Of a data set the truth, its readers and all that is scored has to be finite where the brain is, and the plain one's
where nothing that is read has changed. Scores have to be finite numbers, too.
"""

import contextlib
import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hostile_commands
import hostile_inputs as inputs
import hostile_text
import numpy as np
from hostile_inputs import Kind
from hypothesis import strategies as st

from dcejax.cli import evaluate
from dcejax.data import nifti, results
from dcejax.evaluation import examinations
from dcejax.evaluation.agreement import compare_folders
from dcejax.evaluation.arms import folder_arms
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.types import PARAMETERS

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import gliomas
import map_folders

Files = dict[str, bytes]
"""Paths below a folder, and what the files hold."""


def files_of(folder: Path) -> Files:
    """All files of a folder and below it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def put_all(folder: Path, files: Files) -> Path:
    """Write files; returns the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def damages(names: list[str]) -> st.SearchStrategy:
    """A file, and what becomes of it."""
    text = st.one_of(
        hostile_text.JSON.map(lambda value: json.dumps(value).encode()),
        st.lists(st.lists(hostile_text.CELLS, max_size=6), max_size=4).map(hostile_text.table),
        st.binary(max_size=60),
        st.integers(1, 100_000).map(lambda depth: b"[" * depth),
    )
    return st.tuples(
        st.sampled_from(names),
        st.sampled_from(["change", "number", "number", "cut", "insert", "repeat", "gone", "other", "text", "cell"]),
        st.integers(0, 4000),
        st.one_of(st.binary(min_size=1, max_size=6), st.integers(0, 99).map(lambda number: str(number).encode())),
        text,
    )


def damaged(files: Files, drawn: tuple) -> Files:
    """The files, one of them damaged."""
    name, how, place, data, text = drawn
    files = dict(files)
    if how == "gone":
        del files[name]
    elif how == "other":  # another file of the set in its place
        files[name] = files[sorted(files)[place % len(files)]]
    elif how == "text":
        files[name] = text
    elif how == "cell":  # of a table; what separates its cells stays
        cells = files[name].replace(b",", b"\t,\t").split(b"\t")
        cells[place % len(cells)] = text[:20]
        files[name] = b"\t".join(cells).replace(b"\t,\t", b",")
    else:
        files[name] = hostile_commands.damaged_bytes(name, files[name], how, place, data)
    return files


def _arrays(loaded: examinations.Loaded) -> dict[str, np.ndarray]:
    made = loaded.simulated
    scan = made.scan
    found = {"series": scan.values, "times": scan.times, "mask": scan.mask, "T1": scan.t1_map, "B1": made.b1_map}
    found |= {"tumour": scan.segmentation, "tissue": made.tissue, "truth": made.truth, "arterial": made.arterial}
    return found | made.readers


def _data_sets(whole: Files, plain: dict[str, np.ndarray]) -> Callable[[Path, tuple], str]:
    def judge(folder: Path, drawn: tuple) -> str:
        root = put_all(folder / "data", damaged(whole, drawn))

        def read() -> str:
            cohort = examinations.enumerate_cohort(str(root), EvaluateSettings(cohort=str(root)), "cohort")
            assert all(path.parent == root for path in (root / e.subject for e in cohort.examinations))
            found, *_ = [_arrays(examination.load()) for examination in cohort.examinations]
            for name, values in found.items():
                inside = values[found["mask"]] if values.shape[:3] == found["mask"].shape else values
                assert np.isfinite(inside).all(), f"{name}: not finite"
            alike = sorted(found) == sorted(plain) and all(np.array_equal(found[n], plain[n]) for n in plain)
            return "same" if alike else "accepted"

        return inputs.answer(read, *{Path(name).name for name in whole}, drawn[0], root)

    return judge


def _maps_of(whole: Files, loaded: examinations.Loaded, plain: dict[str, Any]) -> Callable[[Path, tuple], str]:
    def judge(folder: Path, drawn: tuple) -> str:
        root = put_all(folder / "net", damaged(whole, drawn))

        def read() -> str:
            found = scored(root, loaded)
            return "same" if repr(found) == repr(plain) else "accepted"

        return inputs.answer(read, *{Path(name).name for name in whole}, root)

    return judge


def scored(folder: Path, loaded: examinations.Loaded) -> dict[str, Any]:
    """What an evaluation takes from a folder of maps, all of it finite in the mask."""
    scan = loaded.simulated.scan
    arm = folder_arms.MapFolder("net", folder)
    arm.require_any([scan.case_id])
    assert all(arm.identity(scan.case_id).values())
    made = arm.maps(loaded)
    values = {"estimate": made.values, "sd": made.sd}
    if made.interval is not None:
        values |= {"low": made.interval[0], "high": made.interval[1]}
    assert all(np.isfinite(each[scan.mask]).all() for each in values.values() if each is not None)
    assert _finite(dict(made.seconds)), made.seconds
    hashes = {name: None if each is None else hash(each.tobytes()) for name, each in values.items()}
    return hashes | {"seconds": made.seconds, "statistic": made.statistic}


def _finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@contextlib.contextmanager
def _without_figures() -> Iterator[None]:
    """Figures take longer than all else."""
    names = ("voxels", "regions", "courses")
    kept = {name: getattr(compare_folders.figures, name) for name in names} | {"maps": compare_folders.figures.maps}
    for name in kept:
        setattr(compare_folders.figures, name, lambda *_: {})
    try:
        yield
    finally:
        for name, draw in kept.items():
            setattr(compare_folders.figures, name, draw)


def compare(folder: Path, words: list[str], names: list[str]) -> tuple[str, dict[str, Any]]:
    """Run the command on files that may be refused; what became of it, and its results but for the provenance."""
    out, told, before = folder / "out", io.StringIO(), set(folder.rglob("*"))
    code = None
    with _without_figures(), contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            evaluate.main(["command", *words, f"--output_dir={out}"])
        except SystemExit as stop:
            code = stop.code
    said = told.getvalue()
    assert "Traceback" not in said, said
    written = set(folder.rglob("*")) - before
    assert all(out in (path, *path.parents) for path in written), "files outside the folder"
    if code == 2:
        (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
        return inputs.check_refusal(error, *names), {}
    assert code in (0, 3), (code, said)
    if code == 3:
        bad = [line for line in said.splitlines() if ": bad in" in line]
        assert bad, said
        for line in bad:
            inputs.check_refusal(line, *names)
    found = json.loads((out / "results.json").read_text()) if (out / "results.json").exists() else {}
    assert _finite(found), "results that are not finite"
    return "refused" if code == 3 else "accepted", {"tables": found.get("tables"), "arms": found.get("arms")}


def _words(root: Path) -> list[str]:
    return [f"--maps={label}={root / label}" for label in ("a", "b")]


def _folders(whole: Files, plain: dict[str, Any]) -> Callable[[Path, tuple], str]:
    names = sorted({Path(name).name for name in whole})

    def judge(folder: Path, drawn: tuple) -> str:
        root = put_all(folder / "data", damaged(whole, drawn))
        found, told = compare(folder, _words(root), [*names, "--maps"])
        return "same" if found == "accepted" and told == plain else found

    return judge


def evaluate_kinds(shared: Path) -> dict[str, Kind]:
    """Data sets with truth and folders of maps; the plain ones lie in `shared`, and are read first."""
    data = gliomas.write(shared / "patients", gliomas.PEOPLE[:1])
    whole = files_of(data)
    cohort = examinations.enumerate_cohort(str(data), EvaluateSettings(cohort=str(data)), "cohort")
    loaded = cohort.examinations[0].load()
    plain = _arrays(loaded)
    net, scan = shared / "net", loaded.simulated.scan
    for name in ("median", "sd", "q05", "q95"):
        for channel, parameter in enumerate(PARAMETERS):
            path = results.map_path(net, scan.case_id, name, parameter)
            nifti.write(inputs.put(path, b""), loaded.simulated.truth[..., channel], scan.affine, None, "map")
    kinds = {"median": "estimate", "sd": "spread", "q05": "quantile", "q95": "quantile"}
    told = {
        f"{n}_{q}": {"statistic": n, "quantity": q, "Units": "1", "kind": k}
        for n, k in kinds.items()
        for q in PARAMETERS
    }
    sidecar = {"maps": told, "seconds": {"read": 1.5, "predict": 2.5, "write": 0.5}}
    (net / f"{scan.case_id}_desc-dcejax.json").write_text(json.dumps(sidecar))
    maps = files_of(net)
    root = shared / "compared" / "data"
    for case in ("sub-1_ses-1", "sub-1_ses-2", "sub-2"):
        seen = map_folders.segmentation(root / "labels" / case)
        map_folders.write(root / "a", case, map_folders.maps(1), seen=seen)
        posterior = {(1, "Ktrans"): (0.1, 0.08, 0.12), (2, "vp"): (0.02, 0.01, 0.03)}
        map_folders.write(root / "b", case, map_folders.maps(2, 1.1), "median", seen, posterior)
    compared = files_of(root)
    _, told = compare(root.parent, _words(root), [])
    return {
        "dcejax-evaluate: data sets": Kind(damages(sorted(whole)), _data_sets(whole, plain)),
        "dcejax-evaluate: maps beside the truth": Kind(
            damages(sorted(maps)), _maps_of(maps, loaded, scored(net, loaded)), 0.5
        ),
        "dcejax-evaluate: folders of maps": Kind(damages(sorted(compared)), _folders(compared, told), 0.25),
    }
