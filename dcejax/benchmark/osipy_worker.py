"""Times osipy on a problem in a file. Run by path, in an interpreter that has osipy and need not have dcejax.

    python osipy_worker.py PROBLEM.npz

Prints one JSON object: version, seconds of every repeat, and the errors of vp.
"""

import json
import logging
import sys
import time

import numpy as np
import osipy
from osipy.dce.fitting import fit_model

_REPEATS = 3


def _main(path: str) -> None:
    logging.disable(logging.WARNING)
    with np.load(path) as problem:
        curves, times_s, aif, clean, vp = (problem[k] for k in ("curves", "times_s", "aif", "clean", "vp"))

    def fit(values):
        return fit_model("extended_tofts", values[:, None, None, :].astype(np.float64), aif, times_s)

    fit(curves[:100])
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        fit(curves)
        seconds.append(time.perf_counter() - start)
    found = np.asarray(fit(clean).parameter_maps["vp"].values).reshape(-1)
    error = found / vp - 1.0
    accuracy = {"vp_bias_median": float(np.median(error)), "vp_error_p95": float(np.percentile(np.abs(error), 95))}
    print(json.dumps({"version": osipy.__version__, "seconds": seconds, "voxels": len(curves), **accuracy}))


if __name__ == "__main__":
    _main(sys.argv[1])
