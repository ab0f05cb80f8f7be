"""Maps a volume in a process of its own, so that the peak of memory is the engine's.

    python -m dcejax.benchmark.memory_worker VOLUME.npz SAMPLES

Prints one JSON object: the peak resident memory of the process in GiB; the volume's curves are part of it.
"""

import json
import sys
from pathlib import Path

from dcejax.benchmark import volume
from dcejax.benchmark.memory import peak_rss_gib
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import engine


def _main(path: str, samples: str) -> None:
    networks = engine.build(weights.load(None), default_policy())
    engine.predict(networks, volume.load(Path(path)), case_id="volume", num_samples=int(samples), seed=0)
    print(json.dumps({"peak_rss_gib": peak_rss_gib()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
