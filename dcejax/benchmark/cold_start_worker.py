"""The first map after the start of Python, and what is compiled for it and for the cases after it.

    python -m dcejax.benchmark.cold_start_worker VOLUME.npz SAMPLES STARTED

STARTED is when the process was started, in seconds since 1970. Prints one JSON object: seconds from then until the maps
of the volume exist, and the compilations by function for it, for it once more with one sample more, and for a volume
cut along X.
"""

import json
import sys
import time
from pathlib import Path

from dcejax.benchmark import volume
from dcejax.benchmark.compilations import counted
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import engine
from dcejax.types import Series

_CUT = 8


def _main(path: str, samples: str, started: str) -> None:
    series = volume.load(Path(path))

    def predict(case: Series, more: int = 0) -> None:
        engine.predict(networks, case, case_id="volume", num_samples=int(samples) + more, seed=0)

    with counted() as first:
        networks = engine.build(weights.load(None), default_policy())
        predict(series)
    seconds = time.time() - float(started)
    with counted() as again:
        predict(series, more=1)
    cut = series.mask[_CUT:]
    with counted() as other_shape:
        predict(Series(series.curves[-cut.sum() :], cut, series.scale))
    counts = {"first_map": first, "same_shape_again": again, "other_shape": other_shape}
    print(json.dumps({"seconds": seconds, "compilations": counts}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
