"""How much of a simulated movement `dcejax-prepare --motion` removes, and what that does to maps.

    python tools/motion_correction.py FOLDER [FIRST LAST] > RESULT.json     # patients of ood-motion, numbered from 0

Each patient is simulated twice at half size, as the cohort has him and with the same noise but no movement at all, not
even the jitter that the cohort calls residual. Displacement is the root mean square over the brain's mask, and over
frames, of the distance between where a voxel was and where its frame was put, by the record of the simulation. The
data set by_record is moved back by the record itself, so that only interpolation is left. Maps are those of
`dcejax-infer`; errors are root mean squares of logarithms, in enhancing tumour and in the brain. Noise is told by the
SD of differences of frames that follow, in white matter, over that without movement: below 1, interpolation has
smoothed it. Rows go to standard error. The figures of docs/prepare.md are docs/motion_correction.json.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from dcejax import rng
from dcejax.data import dataset, nifti
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS, log_errors
from dcejax.preprocessing import local_contrast, motion, rigid
from dcejax.runner.case_record import RECORD
from dcejax.simulation import cohort_definitions
from dcejax.simulation.reference_object import render
from dcejax.simulation.reference_object.session import sample_session
from dcejax.simulation.scanner import imaging
from dcejax.types import PARAMETERS

DATA_SETS = ("still", "moved", "prepared", "by_record")
COHORT, SIZE = "ood-motion", "half"
ENHANCING, WHITE_MATTER = 1, "white matter"


def simulate(folder: Path, first: int, last: int) -> list[str]:
    """Write the patients with and without movement; returns their labels."""
    cohort = cohort_definitions.cohort(COHORT)
    people = cohort_definitions.participants(cohort, 0, None)[first:last]
    for person in people:
        key = cohort_definitions.patient_key(cohort, 0, person.number)
        moved = sample_session(key, person.tumour_class, cohort.scan, 0)
        still = moved._replace(poses=np.zeros_like(moved.poses))
        for name, session in (("moved", moved), ("still", still)):
            root = folder / name
            if dataset.record_path(root, person.subject, None).is_file():
                continue
            dataset.write_root(root, f"{COHORT}, {name}", {})
            found = render.render(rng.fold(key, "noise", 0), session, imaging.SIZES[SIZE], person.subject)
            dataset.write_examination(root, person.subject, None, found)
            dataset.write_record(root, person.subject, None, {"settings": found.settings})
    return [person.subject for person in people]


def true_poses(folder: Path, subject: str) -> np.ndarray:
    """The poses [T, 4, 4] that the simulation recorded."""
    record = json.loads(dataset.record_path(folder / "moved", subject, None).read_text())["settings"]
    return np.array([rigid.pose_of(np.array(row)) for row in record["scanner"]["motion_mm_rad"]])


def undo_by_record(folder: Path, subject: str) -> None:
    """Write what the same interpolation makes of the true poses: the best that finding movement can lead to."""
    source, made = folder / "moved" / subject / "perf", folder / "by_record" / subject / "perf"
    made.mkdir(parents=True, exist_ok=True)
    for ending in ("desc-brain_mask.nii.gz", "desc-tumour_dseg.nii.gz", "dce.json"):
        shutil.copy(source / f"{subject}_{ending}", made)
    series = nifti.read_series(source / f"{subject}_dce.nii.gz")
    values, _ = motion.correct(series.values, series.affine, true_poses(folder, subject))
    nifti.write(made / series.path.name, values, series.affine, series.header, "true poses", level=1)


def command(module: str, *arguments: str) -> None:
    """Run a command of the package, or go on where it stopped."""
    subprocess.run([sys.executable, "-m", f"dcejax.cli.{module}", *arguments], check=True, stdout=sys.stderr)


def read(root: Path, subject: str, ending: str) -> nifti.Image:
    """An image of a patient."""
    return nifti.read_any(root / subject / "perf" / f"{subject}_{ending}.nii.gz")


def poses(path: Path) -> np.ndarray:
    """The poses [T, 4, 4] of a table that was written beside a prepared series."""
    numbers = np.genfromtxt(path, delimiter="\t", names=True)
    return np.array([rigid.pose_of(np.array([row[i] for i in range(6)])) for row in numbers])


def displacement(true: np.ndarray, found: np.ndarray, points: np.ndarray) -> float:
    """Root mean square over frames and points, mm, of what poses [T, 4, 4] leave of others."""
    pairs = zip(true, found, strict=True)
    return float(np.sqrt(np.mean([rigid.displacement(np.linalg.inv(f) @ t, points) ** 2 for t, f in pairs])))


def judge(folder: Path, subject: str) -> dict:
    """Figures of a patient."""
    roots = {name: folder / name for name in DATA_SETS}
    true = true_poses(folder, subject)
    brain = read(roots["moved"], subject, "desc-brain_mask")
    points = np.argwhere(brain.values[..., 0] > 0) @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    found = poses(roots["prepared"] / subject / "perf" / f"{subject}_desc-motion_timeseries.tsv")
    before = displacement(true, np.broadcast_to(np.eye(4), true.shape), points)
    after = displacement(true, found, points)
    told = {"patient": subject, "before_mm": before, "after_mm": after, "removed": 1.0 - after / before}
    tissue = read(roots["moved"], subject, "desc-tissue_dseg").values[..., 0]
    names = (roots["moved"] / subject / "perf" / f"{subject}_desc-tissue_dseg.tsv").read_text().splitlines()[1:]
    white = tissue == [line.split("\t")[1] for line in names].index(WHITE_MATTER)
    noise = {n: local_contrast.noise_sd(read(root, subject, "dce").values, white) for n, root in roots.items()}
    told["noise"] = {name: noise[name] / noise["still"] for name in ("moved", "prepared")}
    kept = read(roots["prepared"], subject, "desc-brain_mask").values[..., 0] > 0
    told["mask_kept"] = float(kept.sum() / (brain.values > 0).sum())
    tumour = kept & (read(roots["moved"], subject, "desc-tumour_dseg").values[..., 0] == ENHANCING)
    for region, voxels in (("tumour", tumour), ("brain", kept)):
        told[region] = {"voxels": int(voxels.sum())}
        if not voxels.any():
            continue
        for name in roots:
            told[region][name] = {}
            for parameter in PARAMETERS:
                truth = read(roots["still"], subject, f"desc-truth_{parameter}").values[..., 0][voxels]
                path = folder / f"maps-{name}" / f"{subject}_desc-median_{parameter}.nii.gz"
                maps = nifti.read_any(path).values[..., 0][voxels]
                told[region][name][parameter] = float(
                    log_errors(maps, truth, LOG_FLOORS[PARAMETERS.index(parameter)]).rmse
                )
    return told


def main() -> None:
    """Simulate, prepare, infer, judge and print."""
    folder = Path(sys.argv[1])
    first, last = map(int, sys.argv[2:4]) if len(sys.argv) > 2 else (0, 4)
    subjects = simulate(folder, first, last)
    command("prepare", f"--input={folder / 'moved'}", "--motion", f"--output_dir={folder / 'prepared'}")
    for subject in subjects:
        undo_by_record(folder, subject)
    for name in DATA_SETS:
        command("infer", f"--input={folder / name}", f"--output_dir={folder / f'maps-{name}'}")
        assert (folder / f"maps-{name}" / RECORD).is_file()
    rows = [judge(folder, subject) for subject in subjects]
    print(json.dumps(rows, indent=1))
    for row in rows:
        cells = [row["patient"], f"{row['before_mm']:.2f}", f"{row['after_mm']:.2f}", f"{100 * row['removed']:.0f} %"]
        for region in ("tumour", "brain"):
            errors = row[region]
            cells += [
                " / ".join(f"{errors[name][p]:.2f}" for name in ("moved", "prepared", "by_record", "still"))
                if "still" in errors
                else "—"
                for p in PARAMETERS
            ]
        cells.append(f"{row['noise']['prepared']:.2f}")
        print(f"| {' | '.join(cells)} |", file=sys.stderr)


if __name__ == "__main__":
    main()
