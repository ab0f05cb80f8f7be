"""What a cohort costs: processes, seconds, memory and bytes of sixteen scans, and what a million would take.

    python tools/cohort_cost.py FOLDER > docs/cohort_cost.json     # a quiet machine; FOLDER for 5 GB of files

Sixteen scans of 256 x 256 x 40 voxels and 60 frames, the brain in a quarter of them, compressed as a scanner's integers
with noise (`dcejax.benchmark.volume`), are mapped from file to files by `dcejax-infer` and `dcejax-fit`: by one process
that may use all cores, and by two at the same time, with `--shard=0/2` and `--shard=1/2`. The maps must be the same.
Bytes are those of the files; seconds of CPU and the most memory are what the system counted of the processes.
"""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dcejax.benchmark import volume

SCANS, SHAPE = 16, (256, 256, 40)
MILLION = 1_000_000
COMMANDS = {"dcejax-infer": ("dcejax.cli.infer", []), "dcejax-fit": ("dcejax.cli.fit", ["--aif=parker"])}
FLAGS = ["--tr_ms=2.8", "--flip_angle_deg=10", "--dt_s=5"]


def cohort(folder: Path) -> int:
    """Write the scans, each a link to one file; returns the bytes of one with its mask."""
    folder.mkdir(parents=True)
    image, mask = volume.write_files(folder, volume.make_volume(SHAPE, 0))
    for number in range(SCANS):
        os.link(image, folder / f"scan{number:02d}.nii.gz")
        os.link(mask, folder / f"scan{number:02d}_mask.nii.gz")
    total = image.stat().st_size + mask.stat().st_size
    image.unlink()
    mask.unlink()
    return total


def manifest(folder: Path) -> Path:
    """A table of the scans and their masks."""
    path = folder / "cases.csv"
    lines = [f"scan{number:02d}.nii.gz,scan{number:02d}_mask.nii.gz" for number in range(SCANS)]
    path.write_text("\n".join(["input,mask", *lines]) + "\n", encoding="utf-8")
    return path


def run(module: str, arguments: list[str], shards: int) -> dict[str, float]:
    """Seconds of the clock and of the CPU of so many processes at the same time, and the most memory of one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    command = [sys.executable, "-m", module, *arguments]
    started = [
        subprocess.Popen([*command, f"--shard={i}/{shards}"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for i in range(shards)
    ]
    if any(process.wait() for process in started):
        raise SystemExit(f"{' '.join(command)}: failed")
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": seconds, "cpu_seconds": cpu, "most_memory_gib": after.ru_maxrss / 2**20}


def maps_of(folder: Path) -> dict[str, str]:
    """Hash of every map by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.nii.gz"))}


def main() -> None:
    """Measure and print."""
    work = Path(sys.argv[1])
    scans = work / "scans"
    one_scan = cohort(scans)
    table = manifest(scans)
    result: dict[str, Any] = {"scans": SCANS, "shape": [*SHAPE, volume.PROTOCOL.frames], "bytes_read_a_scan": one_scan}
    result["cores"] = len(os.sched_getaffinity(0))
    for name, (module, flags) in COMMANDS.items():
        found: dict[str, Any] = {}
        for shards in (1, 2):
            output = work / f"{name}-{shards}"
            found[f"{shards} processes"] = run(module, [str(table), f"--output_dir={output}", *FLAGS, *flags], shards)
            print(name, shards, found[f"{shards} processes"], file=sys.stderr, flush=True)
        single, double = (maps_of(work / f"{name}-{shards}") for shards in (1, 2))
        written = sum(path.stat().st_size for path in (work / f"{name}-1").iterdir())
        best = min(found.values(), key=lambda of: of["seconds"])
        found |= {
            "same_maps": single == double and len(single) > 0,
            "bytes_written_a_scan": written // SCANS,
            "a_million": {
                "core_hours": best["seconds"] * result["cores"] / SCANS * MILLION / 3600,
                "terabytes_read": one_scan * MILLION / 1e12,
                "terabytes_written": written / SCANS * MILLION / 1e12,
            },
        }
        result[name] = found
        shutil.rmtree(work / f"{name}-1")
        shutil.rmtree(work / f"{name}-2")
    shutil.rmtree(scans)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
