"""Maps a volume, or does training steps, in a process of its own, so that the peak of memory is theirs.

    python -m dcejax.benchmark.memory_worker infer VOLUME.npz SAMPLES
    python -m dcejax.benchmark.memory_worker train {tcn,prob_unet} CONFIG

CONFIG is a configuration as JSON. Prints one JSON object: the peak resident memory of the process in GiB; the volume's
curves, or the batch that training simulates on the device, are part of it.
"""

import json
import sys
from pathlib import Path

from dcejax.benchmark import own_inference, volume
from dcejax.benchmark.memory import peak_rss_gib
from dcejax.data import weights
from dcejax.methods import method

_STEPS = 2  # the second finds the state that the first has left


def _infer(path: str, samples: str) -> None:
    own_inference.predict(own_inference.load(weights.load(None)), volume.load(Path(path)), int(samples))


def _train(part: str, config: str) -> None:
    from dcejax.benchmark import own_training  # here: what inference does not need is no part of its peak

    training = own_training.training_of(method.from_dict(json.loads(config)), part)
    for _ in range(_STEPS):
        training.step()


if __name__ == "__main__":
    {"infer": _infer, "train": _train}[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"peak_rss_gib": peak_rss_gib()}))
