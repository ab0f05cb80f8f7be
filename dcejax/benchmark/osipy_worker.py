"""Times osipy on a problem in a file. Run by path, in an interpreter that has osipy and need not have dcejax.

    python osipy_worker.py PROBLEM.npz

Prints one JSON object: version, and seconds for each voxel.
"""

import json
import logging
import statistics
import sys
import time

import numpy as np
import osipy
from osipy.dce.fitting import fit_model

_REPEATS = 3


def _main(path: str) -> None:
    logging.disable(logging.WARNING)
    with np.load(path) as problem:
        curves, times_s, aif = (problem[k] for k in ("curves", "times_s", "aif"))

    def fit(values):
        start = time.perf_counter()
        fit_model("extended_tofts", values[:, None, None, :].astype(np.float64), aif, times_s)
        return time.perf_counter() - start

    fit(curves[:100])
    seconds = statistics.median(fit(curves) for _ in range(_REPEATS))
    print(json.dumps({"version": osipy.__version__, "seconds_per_voxel": seconds / len(curves)}))


if __name__ == "__main__":
    _main(sys.argv[1])
