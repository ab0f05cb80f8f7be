"""How fast the recommended model is on the volume of `infer_speed`, beside the published networks in the same run.

The model reads the volume from files, because it takes its own unit, vessels and random voxels from a scan. Both give
all of their maps in memory in every round, compiled. Files are read and written in a measurement of their own.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from dcejax.benchmark import infer_speed, measuring, own_inference, own_process, recommended, volume
from dcejax.benchmark.measuring import timed
from dcejax.data import weights
from dcejax.types import Reporter


def run(report: Reporter, sizes: infer_speed.Sizes | None = None) -> dict[str, Any]:
    """Measure the recommended model.

    Returns:
        Plain numbers, in seconds and GiB.
    """
    sizes = sizes or infer_speed.Sizes()
    about = measuring.machine(("dcejax", "jax", "jaxlib", "flax", "numpy"))
    drawn = volume.make_volume(sizes.shape, infer_speed.SEED)
    with tempfile.TemporaryDirectory() as folder:
        report.status("writing a scan")
        files = volume.write_files(Path(folder), drawn)
        report.status("a process of its own, from its start to its maps")
        alone = own_process.measure("recommended", *map(str, files), repr(time.time()))
        used, loaded, series = recommended.read(*files)
    published = own_inference.load(weights.load(weights.PUBLISHED_METHOD))
    key = jax.random.key(infer_speed.SEED)
    report.status("compiling")
    used.predict(loaded, series, key)
    own_inference.predict(published, drawn, infer_speed.SAMPLES)
    found = infer_speed.files(weights.load(None), drawn, report)

    def once() -> dict[str, float]:
        seconds = timed(lambda: used.predict(loaded, series, key))[1]
        other = timed(lambda: own_inference.predict(published, drawn, infer_speed.SAMPLES))[1]
        return {"seconds": seconds, "seconds_published": other, "ratio_published": other / seconds}

    return {
        **measuring.over_rounds(once, sizes.rounds, sizes.seconds_rounds, report),
        **found,
        "cold_start_seconds": alone["seconds"],
        "peak_rss_gib": alone["peak_rss_gib"],
        "voxels": len(series.curves),
        "shape": [*sizes.shape, volume.PROTOCOL.frames],
        "weights": [weights.DEFAULT, weights.PUBLISHED_METHOD],
        **about,
    }
