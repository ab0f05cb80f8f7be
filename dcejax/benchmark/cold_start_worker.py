"""The first map after the start of Python, and what is compiled for it and for the cases after it.

    python -m dcejax.benchmark.cold_start_worker VOLUME.npz SAMPLES STARTED

STARTED is when the process was started, in seconds since 1970. Prints one JSON object: seconds from then until the maps
of the volume exist, and the compilations by function for it, for it once more with one sample more, and for a volume
cut along X.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

from dcejax.benchmark import own_inference, volume
from dcejax.benchmark.compilations import counted
from dcejax.data import weights

_CUT = 8


def _main(path: str, samples: str, started: str) -> None:
    series = volume.load(Path(path))

    with counted() as first:
        networks = own_inference.load(weights.load(None))
        own_inference.predict(networks, series, int(samples))
    seconds = time.time() - float(started)
    with counted() as again:
        own_inference.predict(networks, series, int(samples) + 1)
    cut = series.mask[_CUT:]
    with counted() as other_shape:
        case = dataclasses.replace(series, curves=series.curves[-cut.sum() :], mask=cut)
        own_inference.predict(networks, case, int(samples))
    counts = {"first_map": first, "same_shape_again": again, "other_shape": other_shape}
    print(json.dumps({"seconds": seconds, "compilations": counts}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
