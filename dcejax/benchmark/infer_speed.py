"""How fast inference with the released weights is, beside the published networks in PyTorch with the same weights.

All implementations map one volume in every round after warm-up, each ratio is of one round, and medians and ranges of
these are reported. Files are read and written in a measurement of their own.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.benchmark import floor, measuring, own_inference, volume
from dcejax.benchmark.measuring import timed, worker
from dcejax.data import cases, weights
from dcejax.data.facts import Facts
from dcejax.data.provenance import versions
from dcejax.methods import lyoo2025
from dcejax.methods.lyoo2025 import Networks
from dcejax.runner import infer_cases, map_outputs
from dcejax.runner.case_record import RunSettings
from dcejax.types import PARAMETERS, Reporter, Series, Weights

_SAMPLES = 4  # published
_SAMPLES_MORE = 16
_SAMPLES_MOST = 64
_SEED = 0


@dataclass(frozen=True)
class Sizes:
    """How much is measured; the defaults are what figures are reported for."""

    shape: tuple[int, int, int] = (256, 256, 40)
    product: int = 4096  # rows and columns of the matrices whose product is the ceiling
    rounds: int = 3
    seconds_rounds: float = 240.0  # no round begins that would end later, but for the first
    trial_voxels: int = 4096  # on which PyTorch's forms are tried
    voxels: tuple[int, ...] = (1_000, 10_000, 100_000)
    slices: tuple[int, ...] = (1, 4, 8)
    samples: tuple[int, ...] = (1, 4, 16, 64)


def _middle(series: Series, slices: int) -> Series:
    first = (series.mask.shape[2] - slices) // 2
    return volume.slices_of(series, slice(first, first + slices))


def _own_processes(series: Series, report: Reporter) -> dict[str, Any]:
    """Cold start on one slice, and peak memory of the whole volume."""
    with tempfile.TemporaryDirectory() as folder:
        whole, one = Path(folder) / "volume.npz", Path(folder) / "slice.npz"
        volume.save(whole, series)
        volume.save(one, _middle(series, 1))
        report.status("the first map of a new process")
        cold = worker("cold_start_worker", str(one), str(_SAMPLES), repr(time.time()))
        peaks = {}
        for samples in (_SAMPLES, _SAMPLES_MOST):
            report.status(f"memory of {samples} samples in a process of its own")
            peaks[samples] = worker("memory_worker", "infer", str(whole), str(samples))["peak_rss_gib"]
    return {
        "cold_start_seconds": cold["seconds"],
        "compilations": cold["compilations"],
        "peak_rss_gib": peaks[_SAMPLES],
        f"peak_rss_gib_{_SAMPLES_MOST}_samples": peaks[_SAMPLES_MOST],
    }


def _files(released: Weights, series: Series, report: Reporter) -> dict[str, Any]:
    """All that `dcejax-infer` does with one case in a process that has met the shape of its slices before."""
    with tempfile.TemporaryDirectory() as folder:
        report.status("writing a scan")
        files = volume.write_files(Path(folder), series)
        found = cases.enumerate_cases([str(files.image)], Facts(mask=files.mask))
        target = Path(folder) / "maps"
        settings = infer_cases.InferSettings(num_samples=_SAMPLES, seed=_SEED)
        how = RunSettings(output_dir=target)
        _, seconds = timed(lambda: infer_cases.run(found, released, settings, how, report))
        sidecar = map_outputs.sidecar_path(target, found[0].case_id)
        stages = json.loads(sidecar.read_text(encoding="utf-8"))["seconds"]
    return {
        "seconds_file_to_files": seconds,
        "seconds_by_stage": stages,
        "io_share": (stages["read"] + stages["write"]) / seconds,
    }


def _torch_forms(networks: Networks, series: Series, sizes: Sizes, report: Reporter):
    """PyTorch in both ways, or the reason why not."""
    try:
        from dcejax.benchmark import torch_best, torch_published
    except ImportError as error:
        return None, f"cannot be imported: {error}"
    published = torch_published.Published(networks.params)
    one = _middle(series, 1)
    maps = lyoo2025.temporal_maps(networks, one.curves, one.mask)[:, :, 0]
    best = torch_best.Best(published, series.curves[: sizes.trial_voxels], maps, report)
    return (published, best), None


def _difference(found: Any, mean: np.ndarray, std: np.ndarray) -> float:
    """The largest difference of means and standard deviations, in shares of the range of each mean map [..., C]."""
    spread = np.ptp(mean.reshape(-1, len(PARAMETERS)), axis=0)
    return float(max((np.abs(a - b) / spread).max() for a, b in ((found.mean, mean), (found.std, std))))


class _Rounds:
    """Measurements of all implementations on one volume."""

    def __init__(self, networks: Networks, series: Series, torch: Any, sizes: Sizes):
        self._networks, self._series, self._torch = networks, series, torch
        self._ceiling = floor.Ceiling(sizes.product)
        self._flop_voxel = floor.tcn_flop_per_voxel(networks.params["tcn"], series.curves.shape[-1])
        self._flop_slice = floor.unet_flop_per_slice(networks.params["prob_unet"], series.mask[:, :, 0].size)
        self._slices = int(series.mask.any(axis=(0, 1)).sum())
        self._rows: list[dict[str, float]] = []

    def measure(self) -> None:
        """Measure every implementation once."""
        networks, series, voxels = self._networks, self._series, len(self._series.curves)
        before = self._ceiling.gflops()
        maps, tcn = timed(lambda: lyoo2025.temporal_maps(networks, series.curves, series.mask))
        ceiling = (before + self._ceiling.gflops()) / 2
        moments, unet = timed(lambda: own_inference.sample_maps(networks, maps, series.mask, _SAMPLES))
        row = {"voxels_per_s": voxels / tcn, "ceiling_gflops": ceiling, "seconds": tcn + unet}
        row["ceiling_share"] = voxels / tcn * self._flop_voxel / (1e9 * ceiling)
        once, each = self._flop_slice
        flop = voxels * self._flop_voxel + self._slices * (once + _SAMPLES * each)
        row["ceiling_share_volume_as_whole_slices"] = flop / (1e9 * ceiling) / row["seconds"]
        if self._torch:
            row |= self._beside_torch(row, *moments)
        _, more = timed(lambda: own_inference.sample_maps(networks, maps, series.mask, _SAMPLES_MORE))
        row[f"seconds_{_SAMPLES_MORE}_samples"] = tcn + more
        row[f"ratio_{_SAMPLES_MORE}_to_{_SAMPLES}_samples"] = (tcn + more) / row["seconds"]
        self._rows.append(row)

    def _beside_torch(self, ours: Mapping[str, float], mean: np.ndarray, std: np.ndarray) -> dict[str, float]:
        published, best = self._torch
        series, depth = self._series, self._series.mask.shape[2]
        noise = partial(own_inference.latent_noise, self._networks, num_samples=_SAMPLES)
        at_best = best.run(series, noise)
        z = depth // 2
        mask = series.mask[:, :, z]
        as_published = published.run(volume.dense_slice(series, z), mask, noise(z))
        tcn, whole = mask.size / as_published.seconds_tcn, depth * as_published.seconds
        tcn_best = len(series.curves) / at_best.seconds_tcn
        return {
            "voxels_per_s_torch_published": tcn,
            "voxels_per_s_torch_best": tcn_best,
            "ratio_tcn_torch": ours["voxels_per_s"] / tcn,
            "ratio_tcn_torch_best": ours["voxels_per_s"] / tcn_best,
            "seconds_torch_published": whole,
            "seconds_torch_best": at_best.seconds,
            "ratio_torch": whole / ours["seconds"],
            "ratio_torch_best": at_best.seconds / ours["seconds"],
            "max_difference_torch_published": _difference(as_published, mean[:, :, z], std[:, :, z]),
            "max_difference_torch_best": _difference(at_best, mean, std),
        }

    def results(self) -> dict[str, Any]:
        """Medians and ranges, and the floors."""
        once, each = self._flop_slice
        floors = {
            "floor_flop_per_voxel": self._flop_voxel,
            "floor_flop_per_slice": once,
            "floor_flop_per_slice_and_sample": each,
        }
        return measuring.over_rounds(self._rows) | floors


def _cost(networks: Networks, series: Series, sizes: Sizes, report: Reporter) -> dict[str, Any]:
    """Seconds against voxels (the TCN alone), slices (4 samples) and samples (of one slice's U-Net)."""

    def seconds(run: Callable[[], Any]) -> float:
        run()  # compiles what depends on the number of voxels
        return timed(run)[1]

    report.status("cost against voxels, slices and samples")
    by_voxels = {
        n: seconds(lambda n=n: lyoo2025.temporal_maps(networks, series.curves[:n], np.ones((n, 1, 1), bool)))
        for n in sizes.voxels
    }
    by_slices = {
        n: seconds(lambda n=n: own_inference.predict(networks, _middle(series, n), _SAMPLES)) for n in sizes.slices
    }
    one = _middle(series, 1)
    maps = lyoo2025.temporal_maps(networks, one.curves, one.mask)
    by_samples = {n: seconds(lambda n=n: own_inference.sample_maps(networks, maps, one.mask, n)) for n in sizes.samples}
    return {"seconds_by_voxels": by_voxels, "seconds_by_slices": by_slices, "seconds_by_samples": by_samples}


_TORCH_KEYS = (
    *("voxels_per_s_torch_published", "voxels_per_s_torch_best", "ratio_tcn_torch", "ratio_tcn_torch_best"),
    *("seconds_torch_published", "seconds_torch_best", "ratio_torch", "ratio_torch_best"),
    *("max_difference_torch_published", "max_difference_torch_best"),
)


def _about_torch(forms: Any, reason: str | None, rounds: int) -> dict[str, Any]:
    if forms is None:
        return {"torch": reason, **dict.fromkeys(_TORCH_KEYS)}
    _, best = forms
    tcn, trunk = best.tcn, best.trunk
    return {
        "torch": versions(("torch",))["torch"],
        "torch_published_slices": rounds,  # one a round, each scaled to the volume's
        "torch_best_tcn": tcn.name,
        "torch_best_unet": trunk.name,
        "torch_forms_voxels_per_s": tcn.rates(best.trial_voxels),
        "torch_forms_seconds_per_slice": trunk.seconds,
        "torch_threads": best.threads,
    }


def run(report: Reporter, sizes: Sizes | None = None) -> dict[str, Any]:
    """Measure inference.

    Args:
        report: where progress is told.
        sizes: how much is measured; the defaults take minutes.

    Returns:
        Plain numbers, in seconds, voxels per second and GiB. Those of PyTorch are None, with the reason under `torch`,
        where it cannot be imported.
    """
    sizes = sizes or Sizes()
    load = measuring.load_average()
    released = weights.load(None)
    networks = own_inference.load(released)
    series = volume.make_volume(sizes.shape, _SEED)
    found = _own_processes(series, report)  # first, while this process is small
    own_inference.predict(networks, _middle(series, 1), _SAMPLES)  # compile
    found |= _files(released, series, report)  # of the same shape and mask: compiles what depends on the voxels
    forms, reason = _torch_forms(networks, series, sizes, report)
    rounds = _Rounds(networks, series, forms, sizes)
    measuring.repeat(rounds.measure, sizes.rounds, sizes.seconds_rounds, report)
    measured = rounds.results()
    return {
        **measured,
        **_about_torch(forms, reason, measured["rounds"]),
        **found,
        **_cost(networks, series, sizes, report),
        "voxels": len(series.curves),
        "shape": [*sizes.shape, volume.PROTOCOL.frames],
        "weights": released.name,
        "load_average_before": load,
        **measuring.machine(("dcejax", "jax", "jaxlib", "flax", "llvmlite", "numpy")),
    }
