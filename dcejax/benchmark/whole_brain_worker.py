"""Fits a whole brain in a process of its own, so that the peak of memory is the fit's.

    python -m dcejax.benchmark.whole_brain_worker VOXELS

Prints one JSON object: seconds of fitting after compilation, and the peak resident memory of the process in GiB.
"""

import json
import sys
import time

from dcejax.benchmark.memory import peak_rss_gib
from dcejax.benchmark.problem import make_problem
from dcejax.physics.fitting import fit

_REPEATS = 3


def _main(voxels: int) -> None:
    problem = make_problem(voxels, seed=0)
    fit("extended_tofts", problem.curves[:1], problem.times, problem.aif)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        fit("extended_tofts", problem.curves, problem.times, problem.aif)
        seconds.append(time.perf_counter() - start)
    median = sorted(seconds)[len(seconds) // 2]
    print(json.dumps({"voxels": voxels, "seconds": median, "peak_rss_gib": peak_rss_gib()}))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
