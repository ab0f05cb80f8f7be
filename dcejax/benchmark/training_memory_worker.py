"""Does training steps in a process of its own, so that the peak of memory is theirs.

    python -m dcejax.benchmark.training_memory_worker {temporal,spatial} CONFIG

CONFIG is a configuration as JSON. Prints one JSON object: the peak resident memory of the process in GiB; the batch,
which both stages' training simulates on the device, is part of it.
"""

import json
import sys

from dcejax.benchmark import own_training
from dcejax.benchmark.memory import peak_rss_gib
from dcejax.config import from_dict

_STAGES = {"temporal": own_training.temporal, "spatial": own_training.spatial}
_STEPS = 2  # the second finds the state that the first has left


def _main(stage: str, config: str) -> None:
    training = _STAGES[stage](from_dict(json.loads(config)))
    for _ in range(_STEPS):
        training.step()
    print(json.dumps({"peak_rss_gib": peak_rss_gib()}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
