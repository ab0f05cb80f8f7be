"""How fast inference with the released weights is, beside the published networks in PyTorch with the same weights.

All implementations map one volume in every round after warm-up, each ratio is of one round, and medians and ranges of
these are reported. Files are read and written in a measurement of their own.
"""

import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.benchmark import floor, measuring, own_inference, own_process, volume
from dcejax.benchmark.measuring import timed
from dcejax.data import cases, weights
from dcejax.data.facts import Facts
from dcejax.methods import lyoo2025
from dcejax.methods.lyoo2025 import Networks
from dcejax.runner import infer_cases
from dcejax.runner.case_record import RunSettings
from dcejax.runner.infer_settings import InferSettings
from dcejax.types import PARAMETERS, Reporter, Series, Weights

SAMPLES = 4
"""Latent samples, as published."""

SEED = 0
_SAMPLES_MORE = 16


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the defaults are what figures are reported for."""

    shape: tuple[int, int, int] = (256, 256, 40)
    product: int = 4096  # rows and columns of the matrices whose product is the ceiling
    rounds: int = 3
    seconds_rounds: float = 240.0  # no round begins that would end later, but for the first
    trial_voxels: int = 4096  # on which PyTorch's forms are tried


def _own_processes(series: Series, middle: Series, report: Reporter) -> dict[str, float]:
    """Cold start on the slice in the middle, and peak memory of the whole volume."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for key, part in (("slice", middle), ("volume", series)):
            report.status(f"the maps of a {key} in a process of its own")
            path = Path(folder) / f"{key}.npz"
            volume.save(path, part)
            found[key] = own_process.measure("maps", str(path), str(SAMPLES), repr(time.time()))
    return {"cold_start_seconds": found["slice"]["seconds"], "peak_rss_gib": found["volume"]["peak_rss_gib"]}


def files(released: Weights, series: Series, report: Reporter) -> dict[str, float]:
    """All that `dcejax-infer` does with one case in a process that has met the shape of its slices before."""
    with tempfile.TemporaryDirectory() as folder:
        report.status("writing a scan")
        image, mask = volume.write_files(Path(folder), series)
        found = cases.enumerate_cases([str(image)], Facts(mask=mask))
        settings = InferSettings(num_samples=None, seed=SEED)
        how = RunSettings(output_dir=Path(folder) / "maps")
        _, seconds = timed(lambda: infer_cases.run(found, released, settings, how, report))
    return {"seconds_file_to_files": seconds}


def _difference(found: Any, mean: np.ndarray, std: np.ndarray) -> float:
    """The largest difference of means and standard deviations, in shares of the range of each mean map [..., C]."""
    spread = np.ptp(mean.reshape(-1, len(PARAMETERS)), axis=0)
    return float(max((np.abs(a - b) / spread).max() for a, b in ((found.mean, mean), (found.std, std))))


def _beside_torch(best: Any, networks: Networks, series: Series, own: tuple[np.ndarray, ...]) -> dict[str, float]:
    """PyTorch on the volume at its best, and as published on its middle slice; and how far both are from our maps."""
    mean, std = own
    noise = partial(own_inference.latent_noise, networks, num_samples=SAMPLES)
    at_best = best.run(series, noise)
    depth = series.mask.shape[2]
    z = depth // 2
    mask = series.mask[:, :, z]
    as_published = best.published.run(volume.dense_slice(series, z), mask, noise(z))
    return {
        "voxels_per_s_torch_published": mask.size / as_published.seconds_tcn,
        "voxels_per_s_torch_best": len(series.curves) / at_best.seconds_tcn,
        "seconds_torch_published": depth * as_published.seconds,
        "seconds_torch_best": at_best.seconds,
        "max_difference_torch_published": _difference(as_published, mean[:, :, z], std[:, :, z]),
        "max_difference_torch_best": _difference(at_best, mean, std),
    }


def _round(networks: Networks, series: Series, best: Any, ceiling: floor.Ceiling, flop_voxel: int) -> dict[str, float]:
    """Measure every implementation once."""
    before = ceiling.gflops()
    maps, tcn = timed(lambda: lyoo2025.temporal_maps(networks, series.curves, series.mask))
    gflops = (before + ceiling.gflops()) / 2
    own, unet = timed(lambda: own_inference.sample_maps(networks, maps, series.mask, SAMPLES))
    rate, seconds = len(series.curves) / tcn, tcn + unet
    row = {"voxels_per_s": rate, "ceiling_gflops": gflops, "seconds": seconds}
    row["ceiling_share"] = rate * flop_voxel / (1e9 * gflops)
    if best:
        row |= _beside_torch(best, networks, series, own)
        for form, ending in (("published", ""), ("best", "_best")):
            row[f"ratio_tcn_torch{ending}"] = rate / row[f"voxels_per_s_torch_{form}"]
            row[f"ratio_torch{ending}"] = row[f"seconds_torch_{form}"] / seconds
    _, more = timed(lambda: own_inference.sample_maps(networks, maps, series.mask, _SAMPLES_MORE))
    row[f"seconds_{_SAMPLES_MORE}_samples"] = tcn + more
    row[f"ratio_{_SAMPLES_MORE}_to_{SAMPLES}_samples"] = (tcn + more) / seconds
    return row


_TORCH_KEYS = (
    *("voxels_per_s_torch_published", "voxels_per_s_torch_best", "ratio_tcn_torch", "ratio_tcn_torch_best"),
    *("seconds_torch_published", "seconds_torch_best", "ratio_torch", "ratio_torch_best"),
    *("max_difference_torch_published", "max_difference_torch_best"),
)


def run(report: Reporter, sizes: Sizes | None = None) -> dict[str, Any]:
    """Measure inference.

    Returns:
        Plain numbers, in seconds, voxels per second and GiB. Those of PyTorch are None, with the reason under `torch`,
        where it cannot be imported; as published it is timed on one slice a round, scaled to the volume's.
    """
    sizes = sizes or Sizes()
    about = measuring.machine(("dcejax", "jax", "jaxlib", "flax", "llvmlite", "numpy"))
    released = weights.load(weights.PUBLISHED_METHOD)
    networks = own_inference.load(released)
    series = volume.make_volume(sizes.shape, SEED)
    z = sizes.shape[2] // 2
    middle = volume.slices_of(series, slice(z, z + 1))
    found = _own_processes(series, middle, report)  # first, while this process is small
    own_inference.predict(networks, middle, SAMPLES)  # compile
    found |= files(released, series, report)  # of the same shape and mask: compiles what depends on the voxels
    best, (torch_best, torch) = None, measuring.import_torch("torch_best", _TORCH_KEYS)
    if torch_best:
        maps = lyoo2025.temporal_maps(networks, middle.curves, middle.mask)[:, :, 0]
        best = torch_best.Best(networks.params, series.curves[: sizes.trial_voxels], maps, report)
        torch |= best.forms()
    ceiling = floor.Ceiling(sizes.product)
    flop_voxel = floor.tcn_flop_per_voxel(networks.params["tcn"], series.curves.shape[-1])
    flop_slice, flop_sample = floor.unet_flop_per_slice(networks.params["prob_unet"], middle.mask.size)
    measure = partial(_round, networks, series, best, ceiling, flop_voxel)
    return {
        **torch,
        **measuring.over_rounds(measure, sizes.rounds, sizes.seconds_rounds, report),
        **found,
        "floor_flop_per_voxel": flop_voxel,
        "floor_flop_per_slice": flop_slice,
        "floor_flop_per_slice_and_sample": flop_sample,
        "voxels": len(series.curves),
        "shape": [*sizes.shape, volume.PROTOCOL.frames],
        "weights": released.name,
        **about,
    }
