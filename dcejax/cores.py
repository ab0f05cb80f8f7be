"""How many cores this process may use: what a machine has is not what a scheduler or a container gives.

XLA counts the cores that the process is bound to. It sees neither the share of time to which containers are limited
(`docker --cpus=2`, limits of Kubernetes) nor SLURM's variable where SLURM binds no task to cores, and would start a
thread for every core of the node.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

_XLA = ("PJRT_NPROC", "NPROC")  # that XLA reads, in this order


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and int(text) > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def _bound() -> int:
    """Cores that the process is bound to."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _shares(root: Path) -> Iterator[float]:
    """Limits of the control groups that the process is in, in cores; of both versions of Linux's interface."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, inside = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
        group = mount / inside.strip("/")
        for folder in (group, *group.parents):
            if controllers:
                words = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
            else:
                words = _read(folder / "cpu.max").split()
            quota, period = map(_number, words) if len(words) == 2 else (None, None)
            if quota and period:
                yield quota / period
            if folder == mount:
                break


def usable(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Cores to use: what PJRT_NPROC or NPROC say, else the fewest that affinity, control groups and SLURM allow.

    Args:
        environment: variables of the process.
        root: where /proc and /sys are.
    """
    for name in _XLA:
        if stated := _number(environment.get(name)):
            return stated
    limits = [_bound(), *(math.ceil(share) for share in _shares(root))]
    return min([*limits, _number(environment.get("SLURM_CPUS_PER_TASK")) or limits[0]])


def tell_xla() -> None:
    """Have XLA use no more; to be called before JAX computes, because it counts only once."""
    if (cores := usable()) < _bound() and not any(_number(os.environ.get(name)) for name in _XLA):
        os.environ[_XLA[0]] = str(cores)
