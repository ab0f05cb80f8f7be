"""The recommended model on patients of the training generator whose conditions are chosen: two tables of docs/model.md.

    python tools/generator_patients.py [WEIGHTS] > docs/generator_patients.json

`points`: voxels of 0.3 mm, hardly more than points, at an SNR of 27 in the protocol's acquisition, no map known, beside
the bound of `tools/posterior_bound.py`; errors of logarithms over voxels of tumour with true Ktrans of .01/min or more,
means over patients with five of them. `split`: the same patients in voxels of 2 x 2 x 5 mm at SNRs of 27 and 100, and
with T1 and B1 maps; medians over such voxels of the SD of logarithms that noise leaves and of that which the patient
shares, and `found`, the root mean square of what the errors depart from the patient's mean. No patient was trained on.
Simulated results.
"""

import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from fit_accuracy import LEAST_KTRANS, RESAMPLES
from model_accuracy import log_rmse, shortened

from dcejax.batch import Batch
from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.aligned_grid import prepare_batch
from dcejax.methods.calibration import calibrated
from dcejax.methods.neighbours import of_patches
from dcejax.models.low_rank_gaussian import LowRankGaussian, covariance, to_logs, to_maps
from dcejax.models.posterior_network import Network
from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.protocol import Protocol
from dcejax.rng import stream
from dcejax.simulation.anatomy.composition import TUMOUR, WHITE
from dcejax.simulation.priors import TISSUES
from dcejax.simulation.training import voxel_sets
from dcejax.simulation.training.conditions import Conditions
from dcejax.simulation.training.voxel_sets import VoxelSets

PATIENTS, AT_ONCE = 400, 16
LEAST_VOXELS = 5
SIZES = {"points": (0.3, 0.3, 0.3), "voxels": (2.0, 2.0, 5.0), "half": (1.875, 1.875, 6.0)}  # mm


def chosen_conditions(key: jax.Array, protocol: Protocol, tumour_height: jax.Array, *, drawn: Any) -> Conditions:
    """The protocol's acquisition of the whole head, still, without anything known."""
    found = drawn(key, protocol, tumour_height)
    return found._replace(
        acquisition=jax.tree.map(partial(jnp.asarray, dtype=jnp.float32), protocol.acquisition),
        frame_interval=jnp.float32(protocol.frame_interval_s / SECONDS_PER_MINUTE),
        frames=jnp.array(protocol.frames),
        resolution=jnp.float32(1.0),
        window=jnp.float32(0.0),
        slab=jnp.array([-60.0, 60.0]),
        motion_mm=jnp.float32(0.0),
        movements=jnp.zeros_like(found.movements),
        g_factor=jnp.float32(1.0),
        known=jnp.zeros_like(found.known),
        lesion_only=jnp.array(False),
        departure=jnp.float32(0.0),
        concentration=jnp.array(False),
    )


def batches(protocol: Protocol, size: str, snr: float, known: tuple[bool, bool, bool, bool]) -> Iterator[Batch]:
    """The patients, of whom the same are drawn every time."""
    white = TISSUES[WHITE]
    reference = white.m0.median * spgr(0.0, white.t10_s.median / SECONDS_PER_MINUTE, protocol.acquisition)
    for first in range(0, PATIENTS, AT_ONCE):
        each = []
        for number in range(first, first + AT_ONCE):
            key = stream(0, "generator patients", number)
            drawn = voxel_sets.draw(key, protocol)
            examination = drawn.examination
            scanner = examination.scanner._replace(noise=jnp.float32(reference / snr))
            conditions = drawn.conditions._replace(voxel_mm=jnp.array(SIZES[size]), known=jnp.array(known))
            drawn = drawn._replace(examination=examination._replace(scanner=scanner), conditions=conditions)
            each.append(voxel_sets.examine(key, drawn, VoxelSets()))
        batch = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        yield batch._replace(row=jnp.arange(AT_ONCE))


@partial(jax.jit, static_argnums=0)
def apply(network: Network, params: Any, batch: Batch) -> LowRankGaussian:
    """What a network tells of a batch, before calibration."""
    seen, voxels, common, _ = prepare_batch(batch)
    around = of_patches(batch.mask, VoxelSets().edge)
    return network.apply({"params": params}, seen, voxels, common.acquisition, common.valid, around)[1]


def judge(trained: dcejax2026.Trained, found: Iterator[Batch]) -> list[dict[str, np.ndarray]]:
    """For each patient with enough voxels of tumour: medians, truth, and SDs of noise and of the patient."""
    rows = []
    for batch in found:
        told = apply(trained.network, trained.params, batch)
        covariances = np.asarray(covariance(told))
        for i in range(len(batch.curves)):
            truth, tissue = np.asarray(batch.truth.maps[i]), np.asarray(batch.truth.tissue[i])
            inside = (tissue == TUMOUR) & np.asarray(batch.mask[i]) & (truth[:, 0] >= LEAST_KTRANS)
            if inside.sum() < LEAST_VOXELS:
                continue
            whole, directions = calibrated(
                np.asarray(told.mean[i])[inside],
                covariances[i][inside],
                np.asarray(told.shared[i])[inside],
                trained.calibration,
            )
            shared, model = ((part**2).sum(axis=-1) for part in np.split(directions, [trained.rank], axis=-1))
            total = np.diagonal(whole, axis1=1, axis2=2)
            error = np.asarray(told.mean[i])[inside] - np.asarray(to_logs(truth[inside]))
            within = np.abs(error - error.mean(axis=0))
            rows.append(
                {
                    "median": np.asarray(to_maps(told.mean[i]))[inside],
                    "truth": truth[inside],
                    "found": within,
                    "noise": np.sqrt(np.maximum(total - shared - model, 0.0)),
                    "patient": np.sqrt(shared),
                }
            )
    return rows


def _mean(values: np.ndarray) -> dict[str, Any]:
    draws = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    interval = np.percentile(values[draws].mean(axis=1), [2.5, 97.5], axis=0)
    return {"patients": len(values), "mean": values.mean(axis=0).tolist(), "interval_95": interval.tolist()}


def errors(rows: list[dict[str, np.ndarray]], most_kep: float) -> dict[str, Any]:
    """Mean over patients of the errors of logarithms in voxels whose kep is at most so many per minute."""
    values = []
    for row in rows:
        slow = row["truth"][:, 0] <= most_kep * row["truth"][:, 2]
        if slow.sum() >= LEAST_VOXELS:
            values.append(log_rmse(row["median"][slow], row["truth"][slow]))
    return _mean(np.array(values))


def main() -> None:
    """Judge and print."""
    loaded = weights.load(sys.argv[1] if len(sys.argv) > 1 else None)
    trained = dcejax2026.load(loaded.params, method.config_of(loaded), default_policy())
    voxel_sets.sample_conditions = partial(chosen_conditions, drawn=voxel_sets.sample_conditions)
    protocol, nothing = Protocol(), (False, False, False, False)
    result: dict[str, Any] = {"what": "simulated patients of the training generator", "weights": loaded.name}
    result["sha256"] = loaded.record["sha256"]
    rows = judge(trained, batches(protocol, "points", 27.0, nothing))
    result["points"] = {"all": errors(rows, np.inf), "kep at most 1/min": errors(rows, 1.0)}
    result["split"] = {}
    for name, snr, known in (
        ("SNR 27", 27.0, nothing),
        ("SNR 100", 100.0, nothing),
        ("SNR 27, T1 and B1 maps", 27.0, (True, True, False, False)),
    ):
        rows = judge(trained, batches(protocol, "voxels", snr, known))
        of_all = {part: np.concatenate([row[part] for row in rows]) for part in ("noise", "patient")}
        result["split"][name] = {part: np.median(values, axis=0).tolist() for part, values in of_all.items()}
        squares = np.concatenate([row["found"] ** 2 for row in rows])
        result["split"][name]["found"] = np.sqrt(squares.mean(axis=0)).tolist()
        result["split"][name]["voxels"] = len(of_all["noise"])
        print(name, result["split"][name], file=sys.stderr, flush=True)
    print(json.dumps(shortened(result), indent=1))


if __name__ == "__main__":
    main()
