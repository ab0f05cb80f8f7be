"""The method we recommend: the arterial input from the images, physics as features, one Gaussian for a patient.

The brightest early voxels and random ones tell the plasma curve and what is common to the examination
(`models.vascular_encoder`). With this curve every voxel's concentration is explained by a grid of exchange rates and
delays (`physics.grid_posterior`), and a small network turns the moments into a Gaussian over the logarithms of Ktrans,
vp and ve whose errors are partly shared by all voxels (`models.low_rank_gaussian`).

Any frame times, TR, flip angle and relaxivity are inputs, and so are T1 and B1 maps, an arterial input and the
haematocrit, where they are known. Nothing depends on the scanner's unit: signal is divided by the median baseline of
the random voxels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import numpy as np

from dcejax.batch import Batch
from dcejax.config import require, require_positive
from dcejax.execution import placement
from dcejax.execution.policy import Policy
from dcejax.methods import envelope, fixed_grid, plasma_band
from dcejax.methods.aligned_grid import nothing, prepare_batch
from dcejax.methods.calibration import Calibration, no_calibration
from dcejax.methods.ensemble import teach
from dcejax.methods.examination_posterior import Trained, posterior
from dcejax.methods.finite import require_finite
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.method import MethodConfig, Params, Prediction
from dcejax.methods.modelled_series import explained
from dcejax.methods.neighbours import of_patches
from dcejax.methods.parameters import check_parameters, to_half
from dcejax.methods.patient_posterior import regional
from dcejax.methods.stage import Stage, StageConfig
from dcejax.methods.usual_axes import in_usual_order
from dcejax.models.low_rank_gaussian import FLOORS, LowRankGaussian, to_maps
from dcejax.models.posterior_network import BLOOD_T10, Network, Sizes
from dcejax.models.vascular_encoder import Encoded
from dcejax.physics.bolus_grid import GRID
from dcejax.physics.signal import spgr
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.physics.vascular_voxels import vascular_score
from dcejax.protocol import Protocol
from dcejax.simulation.training.voxel_sets import VoxelSets
from dcejax.types import PARAMETERS, UNITS, Brightest, Output, Sample, Scan, Series

_LOSSES = {"voxel_surprise": 0.5, "joint_surprise": 0.5, "plasma_error": 0.3, "curve_residual": 0.0}
_SCHEDULE = {"batches": "examinations", "patients_per_step": 16, "learning_rate": 2e-3}


@dataclass(frozen=True)
class Config(MethodConfig):
    """Sizes, and schedules of the members of an ensemble and of the network that learns from them and is applied."""

    protocol: Protocol = field(default_factory=Protocol)
    network: Sizes = field(default_factory=Sizes)
    members: int = 3  # networks that differ in their start and in the order of patients; their spread is told
    training: StageConfig = field(default_factory=partial(StageConfig, losses=_LOSSES, **_SCHEDULE))
    distilling: StageConfig = field(
        default_factory=partial(StageConfig, losses=_LOSSES | {"distillation": 1.0}, **_SCHEDULE)
    )

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "members")
        if self.training.batches == self.distilling.batches:  # one pool, if there is one
            for name in ("pool_batches", "patients_per_step"):
                first, last = (getattr(stage, name) for stage in (self.training, self.distilling))
                require(first == last, f"distilling.{name}", last, f"{first}, as training.{name}: they share a pool")


QUANTILE_SDS = 1.6448536269514722
"""SDs from the median of a logarithm to its 5 and 95 % quantiles."""

ABOUT = (
    "The arterial input estimated from the brightest voxels, a grid of exchange rates and delays as features, and a "
    "Gaussian over log Ktrans, log vp and log ve for every voxel, trained on simulated patients."
)
_TEXTS = {
    "median": ("estimate", "median of the posterior"),
    "q05": ("quantile", "5 % quantile of the posterior of a voxel"),
    "q95": ("quantile", "95 % quantile of the posterior of a voxel"),
    "sd": ("spread", "SD of the posterior, from that of its logarithm"),
}
_FACTOR = 4.0  # between the 5 and the 95 % quantile, from which on a parameter counts as not identifiable
_LEAST_KTRANS = 0.002  # 1/min; where less may leak, what is known of ve is the prior
_IDENTIFIABLE = f"1 where the 90 % interval spans less than a factor of {_FACTOR:g}"
_TEXTS_OF_LOGS = {
    "sdlog": "SD of the logarithm, of which the next three are parts",
    "sdlogNoise": "SD of the logarithm that the voxel has for itself: noise, its own T1 and mixture",
    "sdlogGlobal": "SD of the logarithm that all voxels of the examination share",
    "sdlogModel": "SD of the logarithm between networks that were trained alike",
}
OUTPUTS = (
    *(Output(statistic, name, UNITS[name], *rest) for statistic, rest in _TEXTS.items() for name in PARAMETERS),
    *(
        Output(statistic, name, "1", "spread", text)
        for statistic, text in _TEXTS_OF_LOGS.items()
        for name in PARAMETERS
    ),
    *(Output("identifiable", name, "1", "mask", _IDENTIFIABLE) for name in PARAMETERS[:2]),
    Output("identifiable", "ve", "1", "mask", f"{_IDENTIFIABLE}, that of Ktrans above {_LEAST_KTRANS:g}/min"),
    Output("residual", "curve", "1", "spread", "measured minus modelled concentration: root mean square in noise SDs"),
)
DISTILLED = "distilled"
"""Part of the weights that is applied."""

_LAST_LAYERS = ("linear", "out", "shared_bias")
_ALONE_IN_THE_SLICE = of_patches(np.ones((1, 1), bool), edge=1)
_SEARCHED = 131_072  # voxels of the mask, of which the brightest are taken for vessels
_BRIGHTEST = 768  # as large a share of them as in training
_SAMPLE = 4096
"""More voxels than in training: maps hung on which had been drawn, by 5 % in the median, and hardly do with these."""


def series_of(scan: Scan, beside: Beside, config: Config) -> Series:
    """Signal on its own frames, with the brightest and random voxels of the mask.

    Raises:
        ValueError: as `envelope.check`.
    """
    series = fixed_grid.to_signal(scan, config.protocol, beside)
    size, chance = np.count_nonzero(scan.mask), np.random.default_rng(0)
    points = (np.argwhere(scan.mask) @ scan.affine[:3, :3].T + scan.affine[:3, 3]).astype(np.float32)
    _, order = in_usual_order(scan.mask, scan.affine)  # the same voxels, however the axes run
    searched = order[chance.choice(size, min(size, _SEARCHED), replace=False)]
    score = vascular_score(series.curves[searched], scan.times)
    share = max(round(_BRIGHTEST * searched.size / _SEARCHED), min(VoxelSets().vessels, searched.size))
    found = searched[np.argsort(-score)[:share]]
    brightest = found[np.arange(_BRIGHTEST) * share // _BRIGHTEST]  # some come again: always of one number
    bright = series.curves[brightest]
    if scan.quantity == "concentration":  # of blood, as the encoder takes it
        values = np.maximum(scan.values[scan.mask][brightest], 0.0)
        bright = np.asarray(spgr(values, BLOOD_T10, series.context.acquisition), np.float32)
    some = chance.choice(size, _SAMPLE, replace=False) if size > _SAMPLE else np.arange(_SAMPLE) * size // _SAMPLE
    some = order[some]
    context = series.context._replace(
        brightest=Brightest(bright, searched.size, points[brightest]),
        sample=Sample(series.curves[some], points[some]),
        points=points,
    )
    told = {name: value for name, value in series.provenance["input"].items() if not name.startswith("scale")}
    told["scale"] = "median baseline of random voxels of the mask"
    told["relaxivity_per_mM_s"] = round(float(context.acquisition.relaxivity) / SECONDS_PER_MINUTE, 6)
    if context.hematocrit.known:
        told["hematocrit"] = float(context.hematocrit.values)
    series = replace(series, context=context, provenance={**series.provenance, "input": told})
    if scan.quantity == "signal":
        stated = scan.provenance.get("acquisition", {})
        lacking = [name for name in ("tr_ms", "flip_angle_deg") if stated.get(name) is None]
        if lacking:
            assumed = ", ".join(f"{name} {getattr(config.protocol, name):g}" for name in lacking)
            warning = f"{' and '.join(lacking)} not known: {assumed} assumed, and maps are wrong if that is; state them"
            series = replace(series, warnings=(*series.warnings, warning))
    voxel_mm = np.linalg.norm(scan.affine[:3, :3], axis=0)
    return replace(series, warnings=(*series.warnings, *envelope.check(series, voxel_mm, scan.case_id)))


def release(params: Params) -> Params:
    """In half precision."""
    return to_half(params)


def load(params: Params, config: Config, policy: Policy) -> Trained:
    """Make the network that parameters belong to; those of the ensemble's members are not needed.

    Raises:
        ValueError: parameters that do not fit the configuration.
    """
    del policy
    network = _distilled(config)
    expected = jax.eval_shape(lambda: network.init(jax.random.key(0), *nothing(), _ALONE_IN_THE_SLICE)["params"])
    if DISTILLED not in params:
        raise ValueError(
            f"expected the part {DISTILLED!r}, found {', '.join(params)}: weights of an earlier version; train on with "
            "--config.init_from"
        )
    calibration = no_calibration()._asdict() | dict(params.get("calibration", {}))
    found = {name: tree for name, tree in params.items() if name not in _names(config)} | {"calibration": calibration}
    check_parameters(found, {DISTILLED: expected, "calibration": no_calibration()._asdict()})
    own = placement.replicate(jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params[DISTILLED]))
    calibrated = Calibration(**{name: np.asarray(value, np.float32) for name, value in calibration.items()})
    return Trained(network, own, calibrated, config.network.rank)


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is refused
def predict(
    trained: Trained, series: Series, key: jax.Array, *, progress: Callable[..., None] = lambda *_: None
) -> Prediction:
    """Maps of one examination; nothing is random.

    Raises:
        ValueError: maps that are not finite.
    """
    del key
    found = posterior(trained, series, progress)
    common, of_model = ((directions**2).sum(axis=-1) for directions in (found.shared, found.model))
    sd = found.sd
    median = np.asarray(to_maps(found.mean))
    values = {
        "median": median,
        "q05": np.asarray(to_maps(found.mean - QUANTILE_SDS * sd)),
        "q95": np.asarray(to_maps(found.mean + QUANTILE_SDS * sd)),
        "sd": (median + FLOORS) * np.exp(0.5 * sd**2) * np.sqrt(np.expm1(sd**2)),
        "sdlog": sd,
        "sdlogNoise": np.sqrt(np.maximum(sd**2 - common - of_model, 0.0)),
        "sdlogGlobal": np.sqrt(common),
        "sdlogModel": np.sqrt(of_model),
        "identifiable": np.exp(2 * QUANTILE_SDS * sd) < _FACTOR,
        "residual": found.residual[:, None],
    }
    values["identifiable"][:, PARAMETERS.index("ve")] &= values["q05"][:, PARAMETERS.index("Ktrans")] > _LEAST_KTRANS
    require_finite(values.values())
    maps, inside = {}, np.flatnonzero(series.mask)
    for output in OUTPUTS:
        column = PARAMETERS.index(output.quantity) if output.quantity in PARAMETERS else 0
        flat = np.zeros(series.mask.size, np.float32)
        flat[inside] = values[output.statistic][:, column]
        maps[output.name] = flat.reshape(series.mask.shape)
    quantiles = np.percentile(found.residual, [50, 75, 95])
    middle, upper_quartile, high = (round(float(value), 3) for value in quantiles)
    score, warnings = envelope.check_residual(found.residual)
    lowest, highest = plasma_band.around(found.plasma, plasma_band.BANDS[plasma_band.known_of(series.context)])
    record = {
        "residual": {"median": middle, "q75": upper_quartile, "q95": high},
        "out_of_distribution_score": round(score, 3),
        "plasma": {
            "arrival_s": round(found.arrival * SECONDS_PER_MINUTE, 3),
            "after_arrival_s": [round(float(v) * SECONDS_PER_MINUTE, 3) for v in GRID[: len(found.plasma)]],
            "mM": [round(float(v), 4) for v in found.plasma],
            "mM_q05": [round(float(v), 4) for v in lowest],
            "mM_q95": [round(float(v), 4) for v in highest],
        },
    }
    return Prediction(maps, record, partial(regional, found), warnings)


def modelled_series(series: Series, prediction: Prediction, quantity: str) -> np.ndarray:
    """Curves [V, T] that the medians explain with the estimated plasma curve: see `modelled_series.explained`."""
    medians = np.stack([prediction.maps[f"median_{name}"][series.mask] for name in PARAMETERS], axis=-1)
    return explained(series, medians, prediction.record["plasma"]["mM"], quantity)


def plasma_curve(prediction: Prediction) -> tuple[np.ndarray, ...]:
    """The estimated arterial input: times [G] in min after the first frame, plasma [G] in mM and its 90 % band."""
    found = prediction.record["plasma"]
    curves = (np.asarray(found[name]) for name in ("mM", "mM_q05", "mM_q95"))
    return ((found["arrival_s"] + np.asarray(found["after_arrival_s"])) / SECONDS_PER_MINUTE, *curves)


def _names(config: Config) -> list[str]:
    return [f"member_{index}" for index in range(1, config.members + 1)]


def _member(config: Config) -> Network:
    return Network(config.network, config.network.rank)


def _distilled(config: Config) -> Network:
    """Its last directions are those in which the members disagree."""
    return Network(config.network, config.network.rank + config.members)


def _initial(network: Network, key: jax.Array) -> Any:
    return network.init(key, *nothing(), _ALONE_IN_THE_SLICE)["params"]


def _applied(network: Network, params: Any, inputs: Any) -> tuple[Encoded, LowRankGaussian]:
    """What is encoded and the Gaussian of voxels, of prepared examinations of patches."""
    seen, voxels, common, _, mask = inputs
    around = of_patches(mask, VoxelSets().edge)
    return network.apply({"params": params}, seen, voxels, common.acquisition, common.valid, around)


def _outputs(network: Network, params: Any, inputs: Any) -> dict[str, Any]:
    _, voxels, common, true_plasma, _ = inputs
    encoded, found = _applied(network, params, inputs)
    return {
        "maps": to_maps(found.mean),
        "logs": found,
        "plasma": encoded.plasma,
        "true_plasma": true_plasma,
        "valid": common.valid,
        "voxels": voxels,
    }


def _prepare(batch: Batch) -> tuple[Any, Batch]:
    return (*prepare_batch(batch), batch.mask), batch


def _member_stage(name: str, config: Config) -> Stage:
    network, settings = _member(config), config.training

    def apply(params: Any, inputs: Any, key: jax.Array) -> dict[str, Any]:
        del key  # nothing is sampled
        return _outputs(network, params, inputs)

    return Stage(name, settings, partial(_initial, network), _prepare, apply, apply, settings.losses, config.protocol)


def _distilled_stage(members: Params, config: Config) -> Stage:
    """Begins as the first member but for the last layers, whose numbers are more."""
    network, member, settings = _distilled(config), _member(config), config.distilling
    for name in _names(config):
        if members.get(name) is None:
            raise KeyError(name)
    teachers = [members[name] for name in _names(config)]

    def speak(params: Any, inputs: Any) -> LowRankGaussian:
        return _applied(member, params, inputs)[1]

    def init(key: jax.Array) -> Any:
        fresh = _initial(network, key)
        return {**teachers[0], **{name: fresh[name] for name in _LAST_LAYERS}}

    def prepare(batch: Batch) -> tuple[Any, Batch]:
        inputs, examples = _prepare(batch)
        return (inputs, teach(speak, teachers, inputs)), examples

    def apply(params: Any, inputs: Any, key: jax.Array) -> dict[str, Any]:
        del key
        prepared, taught = inputs
        return _outputs(network, params, prepared) | {"taught": taught}

    return Stage(DISTILLED, settings, init, prepare, apply, apply, settings.losses, config.protocol)


def stages(config: Config, policy: Policy) -> Sequence[Callable[[Params], Stage]]:
    """A stage for each member of the ensemble, and one for the network that learns from them."""
    del policy  # small enough for any device
    members = tuple(lambda _, name=name: _member_stage(name, config) for name in _names(config))
    return (*members, lambda params: _distilled_stage(params, config))
