"""How fast inference with the released weights is, beside the published networks in PyTorch with the same weights.

The contestants take turns on one volume after warm-up, each ratio is of one turn, and medians and ranges of these are
reported. Files are read and written in a measurement of their own.
"""

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.benchmark import floor, measuring, volume
from dcejax.benchmark.measuring import timed, worker
from dcejax.data import cases, weights
from dcejax.data.facts import Facts
from dcejax.data.provenance import versions
from dcejax.execution.policy import default_policy
from dcejax.methods import engine
from dcejax.runner import infer_cases, map_outputs
from dcejax.runner.case_record import RunSettings
from dcejax.types import PARAMETERS, Reporter, Series, Weights

_SAMPLES = 4  # published
_SAMPLES_MORE = 16
_SAMPLES_MOST = 64
_CASE = "volume"
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


def _noise(networks: engine.Networks) -> Callable[[int], np.ndarray]:
    return lambda z: volume.latents(_SEED, _CASE, z, _SAMPLES, networks.unet.latent_size)


def _predict(networks: engine.Networks, series: Series, samples: int = _SAMPLES):
    return engine.predict(networks, series, case_id=_CASE, num_samples=samples, seed=_SEED)


def _refine(networks: engine.Networks, maps: np.ndarray, mask: np.ndarray, samples: int):
    return engine.sample_maps(
        networks, maps, mask, case_id=_CASE, num_samples=samples, seed=_SEED, progress=lambda done, total: None
    )


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
            peaks[samples] = worker("memory_worker", str(whole), str(samples))["peak_rss_gib"]
    return {
        "cold_start_seconds": cold["seconds"],
        "compilations": cold["compilations"],
        "peak_rss_gib": peaks[_SAMPLES],
        f"peak_rss_gib_{_SAMPLES_MOST}_samples": peaks[_SAMPLES_MOST],
    }


def _files(released: Weights, series: Series, report: Reporter) -> dict[str, Any]:
    """All that `dcejax-infer` does with one case in a process that has met the shape of its slices before."""
    protocol = weights.config_of(released).protocol
    with tempfile.TemporaryDirectory() as folder:
        report.status("writing a scan")
        files = volume.write_files(Path(folder), series, protocol.frame_interval_s)
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


def _rivals(released: Weights, networks: engine.Networks, series: Series, sizes: Sizes, report: Reporter):
    """PyTorch in both ways, or the reason why not."""
    try:
        from dcejax.benchmark import torch_best, torch_published
    except ImportError as error:
        return None, f"cannot be imported: {error}"
    published = torch_published.Published(released)
    one = _middle(series, 1)
    maps = engine.temporal_maps(networks, one)[:, :, 0]
    best = torch_best.Best(published, series.curves[: sizes.trial_voxels], maps, report)
    return (published, best), None


def _difference(found: Any, expected: Any) -> float:
    """The largest difference of means and standard deviations, in shares of the range of each mean map [..., C]."""
    spread = np.ptp(expected.mean.reshape(-1, len(PARAMETERS)), axis=0)
    pairs = ((found.mean, expected.mean), (found.std, expected.std))
    return float(max((np.abs(a - b) / spread).max() for a, b in pairs))


class _Rounds:
    """Turns of all contestants on one volume."""

    def __init__(self, networks: engine.Networks, series: Series, rivals: Any, sizes: Sizes):
        self._networks, self._series, self._rivals = networks, series, rivals
        self._ceiling = floor.Ceiling(sizes.product)
        self._noise = _noise(networks)
        self._flop_voxel = floor.tcn_flop_per_voxel(networks.tcn_params, networks.frames)
        pixels = series.mask[:, :, 0].size
        self._flop_slice = floor.unet_flop_per_slice(networks.unet_params, pixels)
        self._slices = int(series.mask.any(axis=(0, 1)).sum())
        self._rows: list[dict[str, float]] = []

    def turn(self) -> None:
        """Measure every contestant once."""
        networks, series, voxels = self._networks, self._series, len(self._series.curves)
        before = self._ceiling.gflops()
        maps, tcn = timed(lambda: engine.temporal_maps(networks, series))
        ceiling = (before + self._ceiling.gflops()) / 2
        prediction, unet = timed(lambda: _refine(networks, maps, series.mask, _SAMPLES))
        row = {"voxels_per_s": voxels / tcn, "ceiling_gflops": ceiling, "seconds": tcn + unet}
        row["ceiling_share"] = voxels / tcn * self._flop_voxel / (1e9 * ceiling)
        once, each = self._flop_slice
        flop = voxels * self._flop_voxel + self._slices * (once + _SAMPLES * each)
        row["ceiling_share_volume_as_whole_slices"] = flop / (1e9 * ceiling) / row["seconds"]
        if self._rivals:
            row |= self._torch(row, prediction)
        _, more = timed(lambda: _refine(networks, maps, series.mask, _SAMPLES_MORE))
        row[f"seconds_{_SAMPLES_MORE}_samples"] = tcn + more
        row[f"ratio_{_SAMPLES_MORE}_to_{_SAMPLES}_samples"] = (tcn + more) / row["seconds"]
        self._rows.append(row)

    def _torch(self, ours: Mapping[str, float], prediction: Any) -> dict[str, float]:
        published, best = self._rivals
        series, depth = self._series, self._series.mask.shape[2]
        at_best = best.run(series, self._noise)
        z = depth // 2
        mask = series.mask[:, :, z]
        as_published = published.run(volume.dense_slice(series, z), mask, self._noise(z))
        tcn, whole = mask.size / as_published.seconds_tcn, depth * as_published.seconds
        tcn_best = len(series.curves) / at_best.seconds_tcn
        of_slice = prediction._replace(mean=prediction.mean[:, :, z], std=prediction.std[:, :, z])
        return {
            "voxels_per_s_torch_published": tcn,
            "voxels_per_s_torch_best": tcn_best,
            "ratio_tcn_torch": ours["voxels_per_s"] / tcn,
            "ratio_tcn_torch_best": ours["voxels_per_s"] / tcn_best,
            "seconds_torch_published": whole,
            "seconds_torch_best": at_best.seconds,
            "ratio_torch": whole / ours["seconds"],
            "ratio_torch_best": at_best.seconds / ours["seconds"],
            "max_difference_torch_published": _difference(as_published, of_slice),
            "max_difference_torch_best": _difference(at_best, prediction),
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


def _cost(networks: engine.Networks, series: Series, sizes: Sizes, report: Reporter) -> dict[str, Any]:
    """The engine's seconds against voxels (the TCN alone), slices (4 samples) and samples (of one slice's U-Net)."""

    def seconds(run: Callable[[], Any]) -> float:
        run()  # compiles what depends on the number of voxels
        return timed(run)[1]

    report.status("cost against voxels, slices and samples")
    by_voxels = {
        n: seconds(lambda n=n: engine.temporal_maps(networks, Series(series.curves[:n], np.ones((n, 1, 1), bool), 1.0)))
        for n in sizes.voxels
    }
    by_slices = {n: seconds(lambda n=n: _predict(networks, _middle(series, n))) for n in sizes.slices}
    one = _middle(series, 1)
    maps = engine.temporal_maps(networks, one)
    by_samples = {n: seconds(lambda n=n: _refine(networks, maps, one.mask, n)) for n in sizes.samples}
    return {"seconds_by_voxels": by_voxels, "seconds_by_slices": by_slices, "seconds_by_samples": by_samples}


_TORCH_KEYS = (
    *("voxels_per_s_torch_published", "voxels_per_s_torch_best", "ratio_tcn_torch", "ratio_tcn_torch_best"),
    *("seconds_torch_published", "seconds_torch_best", "ratio_torch", "ratio_torch_best"),
    *("max_difference_torch_published", "max_difference_torch_best"),
)


def _about_torch(rivals: Any, reason: str | None, rounds: int) -> dict[str, Any]:
    if rivals is None:
        return {"torch": reason, **dict.fromkeys(_TORCH_KEYS)}
    _, best = rivals
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
    networks = engine.build(released, default_policy())
    series = volume.make_volume(sizes.shape, networks.frames, _SEED)
    found = _own_processes(series, report)  # first, while this process is small
    _predict(networks, _middle(series, 1))  # compile
    found |= _files(released, series, report)  # of the same shape and mask: compiles what depends on the voxels
    rivals, reason = _rivals(released, networks, series, sizes, report)
    rounds = _Rounds(networks, series, rivals, sizes)
    measuring.take_turns(rounds.turn, sizes.rounds, sizes.seconds_rounds, report)
    measured = rounds.results()
    return {
        **measured,
        **_about_torch(rivals, reason, measured["rounds"]),
        **found,
        **_cost(networks, series, sizes, report),
        "voxels": len(series.curves),
        "shape": [*sizes.shape, networks.frames],
        "weights": released.name,
        "load_average_before": load,
        **measuring.machine(("dcejax", "jax", "jaxlib", "flax", "llvmlite", "numpy")),
    }
