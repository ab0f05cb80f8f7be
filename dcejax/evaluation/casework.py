"""What an evaluation keeps of each examination: a record of scores and the arrays that pooling and figures need."""

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import dcejax
from dcejax.data import atomic, presence, provenance, results
from dcejax.data import weights as weights_io
from dcejax.evaluation import scoring, tumour_regions
from dcejax.evaluation.arms import fit_arms, folder_arms, network_arms, simple_arms
from dcejax.evaluation.arms.simple_arms import Arm, Maps
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.evaluation.examinations import Examination, Loaded
from dcejax.runner.case_record import RunSettings, Status
from dcejax.simulation.reference_object import readers
from dcejax.types import Reporter, SimulatedScan

TRUTH, REFERENCE_READER = "truth", "reader1"
"""What maps are compared with."""

VOXELS = 800
"""At most as many voxels of each region are kept for pooling, drawn at random."""

PICTURE = "picture/"
"""Prefix of the names of arrays that are drawn, not pooled."""

FOLDER = "cases"
"""Where the records lie."""

SHOWN = ("network", "maps")
"""Kinds of arms that somebody asked for by name: their maps are drawn, and the summary is about them."""

_WARMED = ("fit", "network")  # kinds of arms that compile
# Of what shapes scores: folders of the package, and modules of its evaluation.
_FOLDERS = "physics cpu_kernels models execution methods data conventional evaluation/arms evaluation/metrics"
_MODULES = "casework examinations map_places scoring tumour_regions"
_VERSIONED = ("dcejax", "jax", "jaxlib", "flax", "llvmlite", "numpy", "scipy")
_LARGEST_HALF = 65_504.0  # float16


def code_sha256() -> str:
    """Hash of the sources that scores depend on: when they change, every examination is scored again."""
    package = Path(dcejax.__file__).parent
    sources = [package / "evaluation" / f"{name}.py" for name in _MODULES.split()] + [Path(readers.__file__)]
    sources += sorted(source for folder in _FOLDERS.split() for source in (package / folder).rglob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()


def record_path(folder: Path, case_id: str) -> Path:
    """Where the record of a case lies, which is written last."""
    return folder / FOLDER / f"{case_id}.json"


def arrays_path(folder: Path, case_id: str) -> Path:
    """Where the arrays of a case lie."""
    return folder / FOLDER / f"{case_id}.npz"


def _half(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -_LARGEST_HALF, _LARGEST_HALF).astype(np.float16)


def _draw(simulated: SimulatedScan, examination: Examination) -> dict[str, tuple[np.ndarray, ...]]:
    """Choose voxels of each region at random, the same for every arm of an examination: region -> indices."""
    choice = np.random.default_rng(int(provenance.digest({"voxels of": examination.hash})[:16], 16))
    found = {}
    for name, region in tumour_regions.judged(simulated).items():
        places = np.argwhere(region)
        chosen = choice.permutation(len(places))[:VOXELS]
        found[name] = tuple(places[np.sort(chosen)].T)
    return found


def _picture(simulated: SimulatedScan, shown: Mapping[str, Maps]) -> tuple[dict[str, np.ndarray], int]:
    """One slice of what the report shows of a case, and its index: that with most enhancing tumour.

    Where nothing enhances, that with most of what is abnormal, or of the brain. `shown`: name of an arm -> its maps.
    """
    mask, tumour = simulated.scan.mask, tumour_regions.enhancing(simulated)
    tumour = tumour if tumour.any() else tumour_regions.abnormal(simulated)
    z = int((tumour if tumour.any() else mask).sum(axis=(0, 1)).argmax())
    box = (*scoring.around(mask), z)
    stacks = {TRUTH: simulated.truth, REFERENCE_READER: simulated.readers.get(REFERENCE_READER)}
    for name, maps in shown.items():
        stacks |= {f"{name}/estimate": maps.values, f"{name}/sd": maps.sd}
    arrays = {f"{PICTURE}{name}": _half(stack[box]) for name, stack in stacks.items() if stack is not None}
    return arrays | {f"{PICTURE}brain": mask[box], f"{PICTURE}tumour": tumour[box]}, z


def _facts(simulated: SimulatedScan) -> dict[str, Any]:
    """What tables and figures say of an examination; it does not depend on the arm."""
    mm = np.linalg.norm(simulated.scan.affine[:3, :3], axis=0)
    ml = float(np.prod(mm)) / 1e3
    regions = tumour_regions.judged(simulated) | {tumour_regions.ABNORMAL: tumour_regions.abnormal(simulated)}
    count = {name: int(region.sum()) for name, region in regions.items()}
    return {
        "description": simulated.description,
        "mm": [round(float(size), 6) for size in mm],
        "shape": list(simulated.scan.values.shape),
        "voxels": count,
        "ml": {name: n * ml for name, n in count.items()},
    }


class Scored(NamedTuple):
    """What is kept of one examination."""

    record: dict[str, Any]  # ready for JSON
    arrays: dict[str, np.ndarray]


class Casework:
    """Scores examinations; holds what all of them share."""

    def __init__(self, arms: Sequence[Arm], settings: EvaluateSettings):
        self.arms = arms
        self.settings = settings
        self._code = code_sha256()
        self._warm: set[tuple[str, tuple[int, ...]]] = set()

    def expected_hash(self, examination: Examination) -> str:
        """Hash of all that shapes an examination's scores."""
        identities = {}
        for arm in self.arms:
            try:
                identities[arm.description.name] = arm.identity(examination.case_id)
            except ValueError as error:
                identities[arm.description.name] = {"refused": str(error)}
        return provenance.digest(
            {
                "examination": examination.hash,
                "person": dict(examination.person),
                "settings": self.settings.shaping(),
                "arms": identities,
                "versions": provenance.versions(_VERSIONED),
                "code": self._code,
            }
        )

    def is_done(self, examination: Examination, folder: Path) -> bool:
        """Whether a record and its arrays exist and are still valid."""
        name = examination.case_id
        stored = results.stored_hash(record_path(folder, name))
        return stored == self.expected_hash(examination) and presence.is_file(arrays_path(folder, name))

    def read(self, how: RunSettings, examination: Examination, _: Reporter) -> Examination | Status:
        """Whether an examination is to be scored. `score` loads it, so that loading disturbs no measured times."""
        if not how.overwrite and self.is_done(examination, how.output_dir):
            return "skipped"
        return "checked" if how.dry_run else examination

    def _maps(self, arm: Arm, loaded: Loaded) -> Maps:
        """Run an arm; where it has to compile for images of this shape, run it twice and tell the times apart."""
        run = (arm.description.name, loaded.simulated.scan.values.shape)
        if arm.description.kind not in _WARMED or run in self._warm:
            return arm.maps(loaded)
        start = time.perf_counter()
        arm.maps(loaded)
        between = time.perf_counter()
        maps = arm.maps(loaded)
        self._warm.add(run)
        compilation = max(2 * between - start - time.perf_counter(), 0.0)  # the first run less the second
        return dataclasses.replace(maps, seconds={**maps.seconds, "compilation": compilation})

    def score(self, examination: Examination, report: Reporter) -> Scored:
        """Score every arm on an examination.

        Raises:
            ValueError: its files are bad.
        """
        loaded = examination.load(progress=lambda part, *counts: report.status(f"patient: {part}", *counts))
        simulated, start = loaded.simulated, time.perf_counter()
        mask = simulated.scan.mask
        references = {TRUTH: simulated.truth}
        if REFERENCE_READER in simulated.readers:
            references[REFERENCE_READER] = np.where(mask[..., None], simulated.readers[REFERENCE_READER], 0.0)
        digest = self.expected_hash(examination)
        voxels = _draw(simulated, examination)
        arrays = {f"voxels/{TRUTH}/{region}": _half(simulated.truth[index]) for region, index in voxels.items()}
        scored: dict[str, Any] = {TRUTH: scoring.plain({"roi": scoring.roi_statistics(simulated.truth, simulated)})}
        shown: dict[str, Maps] = {}
        for number, arm in enumerate(self.arms):
            name = arm.description.name
            report.status("scoring", number, len(self.arms), "arms")
            try:
                maps = self._maps(arm, loaded)
            except ValueError as error:
                scored[name] = {"refused": str(error)}
                continue
            scored[name] = scoring.score(maps, references, simulated)
            if maps.sd is not None:
                for region, index in voxels.items():
                    arrays[f"voxels/{name}/{region}/mean"] = _half(maps.values[index])
                    arrays[f"voxels/{name}/{region}/sd"] = _half(maps.sd[index])
            if maps.prior is not None:
                for what, values in zip(("prior", "prior sd"), maps.prior, strict=True):
                    arrays[f"{what}/{name}"] = values.astype(np.float32)
            if arm.description.kind in SHOWN:
                shown[name] = maps
        pictured, z = _picture(simulated, shown)
        record = {
            "hash": digest,
            "case_id": examination.case_id,
            "subject": examination.subject,
            "session": examination.number,
            "examination": examination.hash,
            "person": dict(examination.person),
            **_facts(simulated),
            "references": list(references),
            "picture": {"slice": z, "statistics": {name: maps.statistic for name, maps in shown.items()}},
            "arms": scored,
            "seconds": round(time.perf_counter() - start, 3),
        }
        return Scored(record, {**arrays, **pictured})

    def write(self, folder: Path, made: Scored) -> None:
        """Keep the scores of an examination.

        Raises:
            ValueError: the folder cannot be written.
        """
        results.make_folder(folder / FOLDER)
        name = made.record["case_id"]
        path = record_path(folder, name)
        path.unlink(missing_ok=True)  # of an earlier version, whose arrays are about to change
        np.savez_compressed(buffer := io.BytesIO(), **made.arrays)
        atomic.write_bytes(arrays_path(folder, name), buffer.getvalue())
        atomic.write_text(path, json.dumps(made.record, ensure_ascii=False) + "\n")


def make_arms(settings: EvaluateSettings) -> list[Arm]:
    """Every arm of an evaluation, in the order of tables.

    Raises:
        ValueError: weights or folders that cannot be used, or two arms of one name.
    """
    chosen = settings.weights or (() if settings.maps else (weights_io.DEFAULT,))
    found: list[Arm] = [
        simple_arms.AllZero(),
        simple_arms.ClassMedian(),
        *map(simple_arms.Reader, readers.READERS),
        *fit_arms.FITS,
    ]
    found += [network_arms.Network(weights_io.load(path), settings) for path in chosen]
    found += [folder_arms.MapFolder(label, folder) for label, folder in settings.maps]
    names = [arm.description.name for arm in found]
    twice = sorted({name for name in (*names, TRUTH) if [*names, TRUTH].count(name) > 1})
    if twice:
        raise ValueError(f"--weights, --maps: expected arms of different names, found {twice[0]!r} twice; rename one")
    return found
