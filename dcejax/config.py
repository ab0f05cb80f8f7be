"""The one place for configuration: every field, its default, its range, and its way to and from JSON.

The defaults are the published model (Lyoo et al., Eur Radiol 2025), trained on simulated patients. A configuration
stays mutable while flags override its fields; `validate` is called once after parsing.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, get_type_hints


@dataclass
class ProtocolConfig:
    """The acquisition that the weights are made for; inference brings every scan to this grid or refuses."""

    frames: int = 60
    frame_interval_s: float = 5.0
    max_frame_interval_s: float = 6.0  # a scan with longer frames is refused, not interpolated
    tr_ms: float = 2.8
    flip_angle_deg: float = 10.0
    relaxivity_per_mM_s: float = 4.5  # gadobutrol in whole blood at 3 T (Shen 2015)
    t10_s: float = 1.5  # assumed for concentration input without a T1 map (tumour literature)
    tissue_m0: float = 1.0  # proton density of tissue relative to blood; a concentration does not tell
    blood_t10_s: float = 1.65  # arterial blood at 3 T (Lu 2004; Zhang 2013: 1.55-1.85)
    hematocrit: float = 0.42  # large vessels, adults
    scale_percentile: float = 99.99  # signal is divided by it; the maximum would be the noise of one voxel

    @property
    def duration_s(self) -> float:
        """Time from the first frame to the last, which a scan must at least cover."""
        return (self.frames - 1) * self.frame_interval_s


@dataclass
class TCNConfig:
    """The voxel-wise temporal convolutional network."""

    channels: tuple[int, ...] = (32, 32, 1)
    dilations: tuple[int, ...] = (1, 2, 4)
    kernel_size: int = 7


@dataclass
class ProbUNetConfig:
    """The probabilistic U-Net over slices of the three temporal maps."""

    filters: tuple[int, ...] = (32, 64, 128, 192)
    latent_size: int = 2
    combination_layers: int = 4  # 1×1 convolutions that join features and latent, the last one linear


@dataclass
class StageConfig:
    """One training stage: which patches it sees, its loss, and when it ends."""

    patients_per_step: int = 1
    patches_per_patient: int = 16
    patch_size: int = 64  # voxels along each side
    tumour_fraction: float = 0.5  # share of patches centred on a tumour voxel; the others lie anywhere
    lesion_mask_fraction: float = 0.0  # share of patches whose mask holds the tumour alone, as some users' masks do
    loss_weights: tuple[float, ...] = (35.0, 35.0, 5.0)  # how much more a unit of Ktrans, vp, ve weighs
    learning_rate: float = 3e-4
    cosine_decay: bool = False  # of the learning rate, to zero after max_epochs; the published rate is constant
    steps_per_epoch: int = 165  # one step per training patient of the published cohort
    max_epochs: int = 100
    patience: int = 5  # epochs without a better validation loss before the stage ends
    validation_patients: int = 62


@dataclass
class SpatialStageConfig(StageConfig):
    """The second stage, which also pays for what its latent says."""

    loss_weights: tuple[float, ...] = (40.0, 40.0, 40.0)
    patience: int = 13
    kl_weight: float = 1.0  # of the posterior's divergence from the prior, in nats per image


@dataclass
class Config:
    """Everything a training run depends on."""

    seed: int = 0
    protocol: ProtocolConfig = field(default_factory=ProtocolConfig)
    tcn: TCNConfig = field(default_factory=TCNConfig)
    prob_unet: ProbUNetConfig = field(default_factory=ProbUNetConfig)
    stage1: StageConfig = field(default_factory=StageConfig)
    stage2: SpatialStageConfig = field(default_factory=SpatialStageConfig)
    keep_latest: int = 2  # checkpoints kept for resuming
    keep_best: int = 1  # checkpoints kept for their validation loss


def _require(condition: bool, name: str, found: Any, expected: str) -> None:
    if not condition:
        raise ValueError(f"config.{name}: expected {expected}, found {found!r}")


def _require_positive(section: str, values: Any, *names: str) -> None:
    for name in names:
        value = getattr(values, name)
        _require(value > 0, f"{section}.{name}", value, "a positive number")


def validate(config: Config) -> Config:
    """Check every range.

    Returns:
        The same configuration, so that parsing can end with this call.

    Raises:
        ValueError: names the field, what was expected and what was found.
    """
    protocol = config.protocol
    _require_positive(
        "protocol",
        protocol,
        "frame_interval_s",
        "max_frame_interval_s",
        "tr_ms",
        "relaxivity_per_mM_s",
        "t10_s",
        "tissue_m0",
        "blood_t10_s",
    )
    _require(protocol.frames >= 2, "protocol.frames", protocol.frames, "at least 2")
    _require(0 < protocol.flip_angle_deg < 180, "protocol.flip_angle_deg", protocol.flip_angle_deg, "0 to 180")
    _require(
        protocol.max_frame_interval_s >= protocol.frame_interval_s,
        "protocol.max_frame_interval_s",
        protocol.max_frame_interval_s,
        f"at least frame_interval_s = {protocol.frame_interval_s}",
    )
    _require(0 <= protocol.hematocrit < 1, "protocol.hematocrit", protocol.hematocrit, "0 to below 1")
    percentile = protocol.scale_percentile
    _require(0 < percentile <= 100, "protocol.scale_percentile", percentile, "above 0 to 100")
    tcn = config.tcn
    _require(len(tcn.channels) == len(tcn.dilations) > 0, "tcn.dilations", tcn.dilations, "one per block of channels")
    _require(all(n > 0 for n in tcn.channels), "tcn.channels", tcn.channels, "positive integers")
    _require(tcn.channels[-1] == 1, "tcn.channels", tcn.channels, "one channel in the last block")
    _require(all(n > 0 for n in tcn.dilations), "tcn.dilations", tcn.dilations, "positive integers")
    _require_positive("tcn", tcn, "kernel_size")
    unet = config.prob_unet
    _require(len(unet.filters) > 1, "prob_unet.filters", unet.filters, "two scales or more")
    _require(all(n > 0 for n in unet.filters), "prob_unet.filters", unet.filters, "positive integers")
    _require_positive("prob_unet", unet, "latent_size")
    _require(unet.combination_layers >= 2, "prob_unet.combination_layers", unet.combination_layers, "at least 2")
    for name in ("stage1", "stage2"):
        stage = getattr(config, name)
        _require_positive(
            name,
            stage,
            "patients_per_step",
            "patches_per_patient",
            "patch_size",
            "learning_rate",
            "steps_per_epoch",
            "max_epochs",
            "patience",
            "validation_patients",
        )
        _require(stage.patch_size <= 256, f"{name}.patch_size", stage.patch_size, "at most 256, the simulated matrix")
        _require(0 <= stage.tumour_fraction <= 1, f"{name}.tumour_fraction", stage.tumour_fraction, "0 to 1")
        share = stage.lesion_mask_fraction
        _require(0 <= share <= 1, f"{name}.lesion_mask_fraction", share, "0 to 1")
        _require(len(stage.loss_weights) == 3, f"{name}.loss_weights", stage.loss_weights, "three, for Ktrans, vp, ve")
        _require(all(w >= 0 for w in stage.loss_weights), f"{name}.loss_weights", stage.loss_weights, "0 or more")
    _require(config.stage2.kl_weight >= 0, "stage2.kl_weight", config.stage2.kl_weight, "0 or more")
    _require(config.seed >= 0, "seed", config.seed, "0 or more")
    for name in ("keep_latest", "keep_best"):
        value = getattr(config, name)
        _require(value > 0, name, value, "a positive number")
    return config


def to_json(config: Config) -> str:
    """Write the resolved configuration as indented JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2)


def from_dict(values: dict[str, Any], cls: type = Config, prefix: str = "config") -> Any:
    """Rebuild a configuration from `dataclasses.asdict` or its JSON; absent fields keep their defaults.

    Raises:
        ValueError: a field that does not exist, naming those that do.
    """
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise ValueError(f"{prefix}: unknown field {unknown[0]!r}; the fields are {', '.join(sorted(hints))}")
    fields = {}
    for name, value in values.items():
        if dataclasses.is_dataclass(hints[name]):
            value = from_dict(value, hints[name], f"{prefix}.{name}")
        fields[name] = tuple(value) if isinstance(value, list) else value
    return cls(**fields)


def field_names(cls: type = Config, prefix: str = "") -> list[str]:
    """Dotted names of all fields, as flags override them."""
    names = []
    for name, kind in get_type_hints(cls).items():
        names += field_names(kind, f"{prefix}{name}.") if dataclasses.is_dataclass(kind) else [prefix + name]
    return names
