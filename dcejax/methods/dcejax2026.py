"""The method we recommend: the arterial input from the images, physics as features, one Gaussian for a patient.

The brightest early voxels and random ones tell the plasma curve and what is common to the examination
(`models.vascular_encoder`). With this curve every voxel's concentration is explained by a grid of exchange rates and
delays (`physics.grid_posterior`), and a small network turns the moments into a Gaussian over the logarithms of Ktrans,
vp and ve whose errors are partly shared by all voxels (`models.low_rank_gaussian`).

Any frame times, TR, flip angle and relaxivity are inputs, and so are T1 and B1 maps and an arterial input, where they
are known. Nothing depends on the scanner's unit: signal is divided by the median baseline of the random voxels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from dcejax.batch import Batch
from dcejax.config import require_positive
from dcejax.execution import placement
from dcejax.execution.policy import Policy
from dcejax.methods import envelope, fixed_grid
from dcejax.methods.aligned_grid import (
    GRID,
    STEP,
    Common,
    nothing,
    prepare_batch,
    prepare_common,
    prepare_examination,
    prepare_voxels,
)
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.method import MethodConfig, Params, Prediction
from dcejax.methods.parameters import check_parameters, to_half
from dcejax.methods.patient_posterior import Posterior, regional_means, together
from dcejax.methods.stage import Stage, StageConfig
from dcejax.models.low_rank_gaussian import FLOORS, covariance, to_maps
from dcejax.models.posterior_network import BLOOD_T10, Network, Sizes, Voxels
from dcejax.models.vascular_encoder import Encoded, Examination
from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.physics.vascular_voxels import vascular_score
from dcejax.protocol import Protocol
from dcejax.simulation.training.voxel_sets import VoxelSets
from dcejax.types import PARAMETERS, UNITS, Brightest, Context, Output, Sample, Scan, Series

_LOSSES = {"voxel_surprise": 0.5, "joint_surprise": 0.5, "plasma_error": 0.3}


@dataclass(frozen=True)
class Config(MethodConfig):
    """Sizes and schedule."""

    protocol: Protocol = field(default_factory=Protocol)
    network: Sizes = field(default_factory=Sizes)
    members: int = 3  # networks that differ in their start and in the order of patients; their spread is told
    training: StageConfig = field(
        default_factory=partial(
            StageConfig, batches="examinations", patients_per_step=16, losses=_LOSSES, learning_rate=2e-3
        )
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "members")


QUANTILE_SDS = 1.6448536269514722
"""SDs from the median of a logarithm to its 5 and 95 % quantiles."""

LEAKING = 0.005
"""Ktrans between tissue that leaks and tissue that does not, 1/min."""


ABOUT = (
    "The arterial input estimated from the brightest voxels, a grid of exchange rates and delays as features, and a "
    "Gaussian over log Ktrans, log vp and log ve for every voxel, trained on simulated patients."
)
_TEXTS = {
    "median": ("estimate", "median of the posterior"),
    "p05": ("quantile", "5 % quantile of the posterior of a voxel"),
    "p95": ("quantile", "95 % quantile of the posterior of a voxel"),
    "sd": ("spread", "SD of the posterior, from that of its logarithm"),
}
_TEXTS_OF_LOGS = {
    "sdnoise": "SD of the logarithm that noise in the voxel leaves",
    "sdpatient": "SD of the logarithm that all voxels of the examination share",
    "sdmodel": "SD of the logarithm between the networks of the ensemble",
}
OUTPUTS = (
    *(Output(statistic, name, UNITS[name], *rest) for statistic, rest in _TEXTS.items() for name in PARAMETERS),
    *(
        Output(statistic, name, "1", "spread", text)
        for statistic, text in _TEXTS_OF_LOGS.items()
        for name in PARAMETERS
    ),
)
_SEARCHED = 16_384  # random voxels of the mask, of which the brightest are taken for vessels
_CHUNK = 4096  # voxels
_STEEPNESS = 3.0  # of the way from one to the other, per unit of the logarithm of Ktrans


def series_of(scan: Scan, beside: Beside, config: Config) -> Series:
    """Signal on its own frames, with the brightest and random voxels of the mask.

    Raises:
        ValueError: as `envelope.check`.
    """
    series = fixed_grid.to_signal(scan, config.protocol, beside)
    size, chance = np.count_nonzero(scan.mask), np.random.default_rng(0)
    points = (np.argwhere(scan.mask) @ scan.affine[:3, :3].T + scan.affine[:3, 3]).astype(np.float32)
    searched = chance.choice(size, min(size, _SEARCHED), replace=False)
    score = vascular_score(series.curves[searched], scan.times)
    brightest = searched[np.argsort(-score)[: VoxelSets().vessels]]
    bright = series.curves[brightest]
    if scan.quantity == "concentration":  # of blood, as the encoder takes it
        values = np.maximum(scan.values[scan.mask][brightest], 0.0)
        bright = np.asarray(spgr(values, BLOOD_T10, series.context.acquisition), np.float32)
    some = chance.choice(size, VoxelSets().brain)
    context = series.context._replace(
        brightest=Brightest(bright, searched.size, points[brightest]),
        sample=Sample(series.curves[some], points[some]),
        points=points,
    )
    told = {name: value for name, value in series.provenance["input"].items() if not name.startswith("scale")}
    told["scale"] = "median baseline of random voxels of the mask"
    series = replace(series, context=context, provenance={**series.provenance, "input": told})
    if scan.quantity == "signal":
        stated = scan.provenance.get("acquisition", {})
        lacking = [name for name in ("tr_ms", "flip_angle_deg") if stated.get(name) is None]
        if lacking:
            assumed = ", ".join(f"{name} {getattr(config.protocol, name):g}" for name in lacking)
            warning = f"{' and '.join(lacking)} not known: {assumed} assumed, and maps are wrong if that is; state them"
            series = replace(series, warnings=(*series.warnings, warning))
    return replace(series, warnings=(*series.warnings, *envelope.check(series, scan.case_id)))


def release(params: Params) -> Params:
    """In half precision."""
    return to_half(params)


class Networks(NamedTuple):
    """The module, its members' parameters on the devices, and by what SDs are multiplied."""

    network: Network
    members: tuple[Any, ...]
    scales: np.ndarray  # [2, C], see `scales_at`


def load(params: Params, config: Config, policy: Policy) -> Networks:
    """Make the network that parameters belong to.

    Raises:
        ValueError: parameters that do not fit the configuration.
    """
    del policy
    network = Network(config.network, STEP)
    expected = jax.eval_shape(lambda: network.init(jax.random.key(0), *nothing())["params"])
    calibration = params.get("calibration", {"scales": np.ones((2, len(PARAMETERS)), np.float32)})
    scales = {"scales": jax.ShapeDtypeStruct((2, len(PARAMETERS)), np.float32)}
    names = _names(config)
    found = {**params, "calibration": calibration}
    check_parameters(found, {**dict.fromkeys(names, expected), "calibration": scales})
    trained = jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), [params[name] for name in names])
    members = tuple(placement.replicate(each) for each in trained)
    return Networks(network, members, np.asarray(calibration["scales"], np.float32))


def scales_at(means: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """What SDs are multiplied by, [V, C], for means [V, C] of the logarithms.

    The first of the two scales [2, C] is that of tissue without leakage, the second that of leaking tissue; between
    them the predicted Ktrans decides.
    """
    leaking = 1.0 / (1.0 + np.exp(-_STEEPNESS * (means[:, :1] - np.log(LEAKING))))
    return (1.0 - leaking) * scales[0] + leaking * scales[1]


# What is prepared is the same for all members; each has the axis of examinations, of which there is one.


def _alone(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[None], tree)


@jax.jit
def _prepare(context: Context) -> tuple[Common, Examination]:
    common = prepare_common(context)
    return common, _alone(prepare_examination(context, common))


@jax.jit
def _prepare_chunk(common: Common, curves: jax.Array, points: jax.Array, t10: jax.Array, b1: jax.Array) -> Voxels:
    return _alone(prepare_voxels(curves, points, t10, b1, common))


@partial(jax.jit, static_argnums=0)
def _encode(network: Network, params: Any, seen: Examination, common: Common) -> Encoded:
    return network.apply({"params": params}, seen, _alone(common.acquisition), method="encode")


@partial(jax.jit, static_argnums=0)
def _posterior(
    network: Network, params: Any, encoded: Encoded, voxels: Voxels, common: Common
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Means [V, C] of the logarithms, their covariances [V, C, C], and the part of these that voxels share."""
    known = _alone((common.facts, common.valid))
    found = network.apply({"params": params}, encoded, voxels, *known, method="voxels")
    found = jax.tree.map(lambda leaf: leaf[0], found)
    return found.mean, covariance(found), found.shared


def posterior(networks: Networks, series: Series, progress: Callable[..., None] = lambda *_: None) -> Posterior:
    """The posterior of every voxel of a series."""
    context = series.context
    count = len(series.curves)
    maps = [np.broadcast_to(np.asarray(known.values, np.float32), count) for known in (context.t10, context.b1)]
    shared = context._replace(
        times=np.asarray(context.times, np.float32),
        aif=context.aif._replace(values=np.asarray(context.aif.values, np.float32)),
        t10=context.t10._replace(values=None),
        b1=context.b1._replace(values=None),
        points=None,
    )
    network, members, scales = networks
    common, seen = _prepare(shared)
    encoded = [_encode(network, params, seen, common) for params in members]
    parts = []
    for start in range(0, count, _CHUNK):
        progress("posterior", start, count, "voxels")
        chunk = [values[start : start + _CHUNK] for values in (series.curves, context.points, *maps)]
        size = len(chunk[0])
        chunk = [np.pad(a, [(0, _CHUNK - size)] + [(0, 0)] * (a.ndim - 1), mode="edge") for a in chunk]
        voxels = _prepare_chunk(common, *chunk)
        each = [_posterior(network, *one, voxels, common) for one in zip(members, encoded, strict=True)]
        parts.append([leaf[:size] for leaf in together(each)])
    mean, *spread = (np.concatenate(leaves) for leaves in zip(*parts, strict=True))
    by = scales_at(mean, scales)[..., None]
    covariances, directions, model = by * spread[0] * by.swapaxes(1, 2), by * spread[1], by * spread[2]
    plasma = np.mean([np.asarray(one.plasma[0]) for one in encoded], axis=0)
    return Posterior(mean, covariances, directions, model, plasma, float(common.arrival))


def predict(
    networks: Networks, series: Series, key: jax.Array, *, progress: Callable[..., None] = lambda *_: None
) -> Prediction:
    """Maps of one examination; nothing is random.

    Raises:
        ValueError: maps that are not finite.
    """
    del key
    found = posterior(networks, series, progress)
    common, of_model = ((directions**2).sum(axis=-1) for directions in (found.shared, found.model))
    sd = found.sd
    median = np.asarray(to_maps(found.mean))
    values = {
        "median": median,
        "p05": np.asarray(to_maps(found.mean - QUANTILE_SDS * sd)),
        "p95": np.asarray(to_maps(found.mean + QUANTILE_SDS * sd)),
        "sd": (median + FLOORS) * np.exp(0.5 * sd**2) * np.sqrt(np.expm1(sd**2)),
        "sdnoise": np.sqrt(np.maximum(sd**2 - common - of_model, 0.0)),
        "sdpatient": np.sqrt(common),
        "sdmodel": np.sqrt(of_model),
    }
    if not all(np.isfinite(value).all() for value in values.values()):
        raise ValueError("expected finite maps, found NaN or infinity; these weights do not fit this input")
    maps = {output.name: np.zeros(series.mask.shape, np.float32) for output in OUTPUTS}
    for output in OUTPUTS:
        maps[output.name][series.mask] = values[output.statistic][:, PARAMETERS.index(output.quantity)]
    record = {
        "plasma": {
            "arrival_s": round(found.arrival * SECONDS_PER_MINUTE, 3),
            "step_s": round(STEP * SECONDS_PER_MINUTE, 3),
            "first_step_after_arrival_s": round(float(GRID[0]) * SECONDS_PER_MINUTE, 3),
            "mM": [round(float(v), 4) for v in found.plasma],
        }
    }
    return Prediction(maps, record, partial(regional_means, found))


def _names(config: Config) -> list[str]:
    return [f"member_{index}" for index in range(1, config.members + 1)]


def stages(config: Config, policy: Policy) -> Sequence[Callable[[Params], Stage]]:
    """A stage for each member of the ensemble, which is a whole network."""
    del policy  # small enough for any device
    network = Network(config.network, STEP)

    def init(key: jax.Array) -> Any:
        return network.init(key, *nothing())["params"]

    def prepare(batch: Batch) -> tuple[Any, Batch]:
        return prepare_batch(batch), batch

    def apply(params: Any, inputs: Any, key: jax.Array) -> dict[str, Any]:
        del key  # nothing is sampled
        seen, voxels, common, true_plasma = inputs
        encoded, found = network.apply({"params": params}, seen, voxels, common.acquisition, common.valid)
        return {
            "maps": to_maps(found.mean),
            "logs": found,
            "plasma": encoded.plasma,
            "true_plasma": true_plasma,
            "valid": common.valid,
        }

    settings = config.training

    def stage(name: str) -> Stage:
        return Stage(name, settings, init, prepare, apply, apply, settings.losses, config.protocol)

    return tuple(lambda params, name=name: stage(name) for name in _names(config))
