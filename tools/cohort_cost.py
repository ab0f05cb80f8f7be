"""What a cohort costs: processes, seconds of CPU, memory and bytes, and what a million scans would take.

    python tools/cohort_cost.py FOLDER > docs/cohort_cost.json     # FOLDER for 1 GB of files
    python tools/cohort_cost.py --markdown docs/cohort_cost.json   # the tables of docs/clusters.md

Scans are those of `dcejax-benchmark infer`: smooth curves and noise as a scanner's integers, the brain in a quarter of
the voxels. `dcejax-infer` and `dcejax-fit` map them, from file to files:

- sixteen small ones by one process that may use all cores, and by two at the same time, with `--shard=0/2` and
  `--shard=1/2`, in turn; the maps must be the same;
- one and then several of 256 x 256 x 40 voxels by one process. The difference is what a further scan costs, the rest
  what a process costs before its first.

Seconds of CPU (user and system) and the most memory are what the system counted of the processes; bytes are those of
the files. Reading is what `--dry_run` costs, writing is measured by writing the maps again.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import jax

from dcejax.benchmark import volume
from dcejax.data import nifti

COHORT, COHORT_SHAPE, ROUNDS = 16, (256, 256, 10), 2
SEVERAL, SHAPE = 4, (256, 256, 40)
MILLION = 1_000_000
GPU = Path(__file__).resolve().parents[1] / "docs" / "benchmark_gpu.json"
COMMANDS = {"dcejax-infer": ("dcejax.cli.infer", []), "dcejax-fit": ("dcejax.cli.fit", ["--aif=parker"])}
FLAGS = ["--tr_ms=2.8", "--flip_angle_deg=10", "--dt_s=5"]


def write_scans(folder: Path, shape: tuple[int, int, int], count: int) -> int:
    """Write scans, each a link to one file, and `cases.csv`; returns the bytes of one with its mask."""
    folder.mkdir(parents=True)
    image, mask = volume.write_files(folder, volume.make_volume(shape, 0))
    rows = ["input,mask"]
    for number in range(count):
        names = f"scan{number:02d}.nii.gz", f"scan{number:02d}_mask.nii.gz"
        for source, name in zip((image, mask), names, strict=True):
            os.link(source, folder / name)
        rows.append(",".join(names))
    (folder / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return image.stat().st_size + mask.stat().st_size


def run(module: str, arguments: list[str], shards: int) -> dict[str, float]:
    """Seconds of the clock and of the CPU of so many processes at once, and the most memory of one, or of this."""
    start = time.perf_counter()
    command = [sys.executable, "-m", module, *arguments]
    started = [
        subprocess.Popen([*command, f"--shard={i}/{shards}"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for i in range(shards)
    ]
    used = []
    for process in started:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        used.append(usage)
    if any(process.returncode for process in started):
        raise SystemExit(f"{' '.join(command)}: failed")
    seconds = time.perf_counter() - start
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in used), 1),
        "most_memory_gib": round(max(usage.ru_maxrss for usage in used) / 2**20, 2),
    }


def maps_of(folder: Path) -> dict[str, str]:
    """Hash of every map by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.nii.gz"))}


def compare_shards(work: Path) -> dict[str, Any]:
    """One process of `dcejax-infer` and two, in turn."""
    module, flags = COMMANDS["dcejax-infer"]
    rounds: dict[str, list[dict[str, float]]] = {"one_process": [], "two_processes": []}
    hashes = []
    for _ in range(ROUNDS):
        for shards, name in enumerate(rounds, start=1):
            output = work / "maps"
            table = str(work / "cohort" / "cases.csv")
            rounds[name].append(run(module, [table, f"--output_dir={output}", *FLAGS, *flags], shards))
            hashes.append(maps_of(output))
            shutil.rmtree(output)
    found: dict[str, Any] = {
        name: {key: [each[key] for each in several] for key in ("seconds", "cpu_seconds")}
        for name, several in rounds.items()
    }
    found["maps"] = len(hashes[0])
    found["same_maps"] = len(hashes[0]) > 0 and all(each == hashes[0] for each in hashes)
    return found


def cost_of_a_scan(work: Path, module: str, flags: list[str], bytes_read: int) -> dict[str, Any]:
    """What a further scan costs one process, what the process costs, and the parts of reading and writing."""
    scans, output = work / "scans", work / "maps"
    one = [str(scans / "scan00.nii.gz"), f"--mask={scans / 'scan00_mask.nii.gz'}"]
    every = [str(scans / "cases.csv")]
    stated = [f"--output_dir={output}", *FLAGS, *flags]
    checked = [run(module, [*inputs, *stated, "--dry_run"], 1) for inputs in (one, every)]
    first = run(module, [*one, *stated], 1)
    shutil.rmtree(output)
    several = run(module, [*every, *stated], 1)
    written = sum(path.stat().st_size for path in output.iterdir())
    seconds = seconds_to_write(output)
    shutil.rmtree(output)
    cpu = (several["cpu_seconds"] - first["cpu_seconds"]) / (SEVERAL - 1)
    return {
        "one_scan": first,
        f"{SEVERAL}_scans": several,
        "cpu_seconds_a_scan": round(cpu, 1),
        "cpu_seconds_a_process": round(first["cpu_seconds"] - cpu, 1),
        "cpu_seconds_to_read_a_scan": round((checked[1]["cpu_seconds"] - checked[0]["cpu_seconds"]) / (SEVERAL - 1), 1),
        "cpu_seconds_to_write_a_scan": round(seconds / SEVERAL, 1),
        "bytes_read_a_scan": bytes_read,
        "bytes_written_a_scan": written // SEVERAL,
    }


def seconds_to_write(folder: Path) -> float:
    """Seconds of the CPU to write the maps of a folder again."""
    seconds = 0.0
    for path in sorted(folder.glob("*.nii.gz")):
        image = nifti.read_any(path)
        start = time.process_time()
        nifti.write(path.with_name("again.nii.gz"), image.values, image.affine, image.header, "again")
        seconds += time.process_time() - start
    return seconds


def measure(work: Path) -> dict[str, Any]:
    """All figures."""
    write_scans(work / "cohort", COHORT_SHAPE, COHORT)
    one_scan = write_scans(work / "scans", SHAPE, SEVERAL)
    frames = volume.PROTOCOL.frames
    result: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "jax": jax.__version__,
        "cohort": {"scans": COHORT, "shape": [*COHORT_SHAPE, frames]},
        "scan": {"shape": [*SHAPE, frames], "voxels": int(volume.make_volume(SHAPE, 0).mask.sum())},
    }
    result["cohort"] |= compare_shards(work)
    print(result["cohort"], file=sys.stderr, flush=True)
    for name, (module, flags) in COMMANDS.items():
        result["scan"][name] = cost_of_a_scan(work, module, flags, one_scan)
        print(name, result["scan"][name], file=sys.stderr, flush=True)
    shutil.rmtree(work / "cohort")
    shutil.rmtree(work / "scans")
    return result


def cohort_table(found: dict[str, Any]) -> str:
    """One process beside two."""
    cohort = found["cohort"]
    rows = ["| | seconds, the least and the most | core seconds |", "|---|---|---|"]
    for name, title in (("one_process", "one process that may use both cores"), ("two_processes", "two processes")):
        rows.append(f"| {title} | {_range(cohort[name]['seconds'])} | {_range(cohort[name]['cpu_seconds'])} |")
    return "\n".join(rows)


def _range(values: list[float]) -> str:
    return f"{min(values):.0f} to {max(values):.0f}"


def on_a_gpu() -> float:
    """Seconds of an H100 to predict the maps of such a scan by the recommended model, files left out."""
    found = json.loads(GPU.read_text(encoding="utf-8"))
    return median(found[f"default_v2_{warm}"]["predict"] for warm in (1, 2, 3))


def million_table(found: dict[str, Any], gpu_seconds: float) -> str:
    """What a million scans take."""
    scan = found["scan"]
    rows = ["| | " + " | ".join(f"`{name}`" for name in COMMANDS) + " |", "|---|---|---|"]

    def row(title: str, figure: Callable[[dict[str, Any]], str]) -> None:
        rows.append(f"| {title} | " + " | ".join(figure(scan[name]) for name in COMMANDS) + " |")

    def parts(of: dict[str, Any]) -> str:
        reading, writing = of["cpu_seconds_to_read_a_scan"], of["cpu_seconds_to_write_a_scan"]
        return f"{of['cpu_seconds_a_scan'] - reading - writing:.1f}, {reading:.1f}, {writing:.1f}"

    row("core seconds a scan", lambda of: f"{of['cpu_seconds_a_scan']:.1f}")
    row("of these: estimates, reading, writing", parts)
    row("core seconds of a process before its first scan", lambda of: f"{of['cpu_seconds_a_process']:.1f}")
    row("most memory of a process", lambda of: f"{of[f'{SEVERAL}_scans']['most_memory_gib']:.1f} GiB")
    row("core hours", lambda of: f"{million_hours(of['cpu_seconds_a_scan']):,}")
    row("more for 10,000 processes", lambda of: f"{10_000 * of['cpu_seconds_a_process'] / 3600:,.0f}")
    row(
        "TB read, written",
        lambda of: f"{_terabytes(of['bytes_read_a_scan'])}, {_terabytes(of['bytes_written_a_scan'])}",
    )
    row("MB/s that a core reads", lambda of: f"{of['bytes_read_a_scan'] / 1e6 / of['cpu_seconds_a_scan']:.0f}")
    infer, *_ = COMMANDS
    beside = sum(scan[infer][f"cpu_seconds_to_{does}_a_scan"] for does in ("read", "write"))
    on_it, host = million_hours(gpu_seconds), million_hours(beside)
    rows.append(f"| device hours of an H100, and core hours beside it | {on_it:,}, {host:,} | not measured |")
    return "\n".join(rows)


def _terabytes(bytes_a_scan: float) -> str:
    return f"{bytes_a_scan * MILLION / 1e12:.0f}"


def million_hours(seconds_a_scan: float) -> int:
    """Hours of a million scans, to three figures."""
    return int(float(f"{seconds_a_scan * MILLION / 3600:.3g}"))


def main() -> None:
    """Measure and print, or print the tables of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path, help="a folder that is not there yet; with --markdown, the results")
    parser.add_argument("--markdown", action="store_true", help="tables of results")
    chosen = parser.parse_args()
    if chosen.markdown:
        found = json.loads(chosen.place.read_text(encoding="utf-8"))
        print(cohort_table(found), million_table(found, on_a_gpu()), sep="\n\n")
    else:
        print(json.dumps(measure(chosen.place), indent=1))


if __name__ == "__main__":
    main()
