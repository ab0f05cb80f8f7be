"""What is measured in a process of its own, so that its seconds and its memory are those of nothing else.

    python -m dcejax.benchmark.own_process whole_brain {fit,fit_with_delay,choose} VOXELS
    python -m dcejax.benchmark.own_process maps VOLUME.npz SAMPLES STARTED
    python -m dcejax.benchmark.own_process recommended IMAGE MASK STARTED
    python -m dcejax.benchmark.own_process training {tcn,prob_unet} CONFIG

STARTED is when the process was started, in seconds since 1970; CONFIG is a configuration as JSON. Prints one JSON
object: what the work returns, and the peak resident memory in GiB, of which curves or batch are part. Each kind of work
imports what it needs itself, because all that is imported counts.
"""

import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from dcejax.data import presence

_GIB = 2**30
_KIB = 2**10
_STATUS = Path("/proc/self/status")
_FITS = 3
_STEPS = 2  # the second finds the state that the first has left


def measure(work: str, *arguments: str) -> dict[str, Any]:
    """Start a process for one of the kinds of work above; returns the JSON object on its last line.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "dcejax.benchmark.own_process", work, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def peak_rss_gib() -> float:
    """Peak resident memory of this process since its program began, in GiB.

    On Linux from VmHWM: `getrusage` there also counts what the process that started this one held at that moment.
    """
    if presence.is_file(_STATUS):
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * _KIB / _GIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else _KIB) / _GIB


def _whole_brain(kind: str, voxels: str) -> dict[str, float]:
    """Seconds of a fit after compilation."""
    from dcejax.benchmark import problem
    from dcejax.benchmark.measuring import timed

    brain = problem.make_problem(int(voxels), seed=0)
    fit = getattr(problem, kind)
    fit(brain.first(1))
    return {"seconds": statistics.median(timed(lambda: fit(brain))[1] for _ in range(_FITS))}


def _maps(path: str, samples: str, started: str) -> dict[str, float]:
    """Seconds from the start of the process until the maps exist."""
    from dcejax.benchmark import own_inference, volume
    from dcejax.data import weights

    own_inference.predict(
        own_inference.load(weights.load(weights.PUBLISHED_METHOD)), volume.load(Path(path)), int(samples)
    )
    return {"seconds": time.time() - float(started)}


def _recommended(image: str, mask: str, started: str) -> dict[str, float]:
    """The same of the recommended model, from files."""
    import jax

    from dcejax.benchmark import recommended

    used, loaded, series = recommended.read(Path(image), Path(mask))
    used.predict(loaded, series, jax.random.key(0))
    return {"seconds": time.time() - float(started)}


def _training(part: str, config: str) -> dict[str, float]:
    from dcejax.benchmark import own_training
    from dcejax.methods import method

    training = own_training.training_of(method.from_dict(json.loads(config)), part)
    for _ in range(_STEPS):
        training.step()
    return {}


if __name__ == "__main__":
    kinds = {"whole_brain": _whole_brain, "maps": _maps, "recommended": _recommended, "training": _training}
    found = kinds[sys.argv[1]](*sys.argv[2:])
    print(json.dumps(found | {"peak_rss_gib": peak_rss_gib()}))
