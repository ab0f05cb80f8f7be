"""Configuration: round trip, unknown fields, ranges, and overrides as the command line gives them."""

import dataclasses
import json
import math

import pytest
from absl import flags
from ml_collections import config_flags

from dcejax.config import Config, from_dict, to_json, validate

_POSITIVE = (0, -1)
_BAD_STAGE = {
    "patients_per_step": _POSITIVE,
    "patches_per_patient": _POSITIVE,
    "patch_size": (*_POSITIVE, 257),
    "tumour_fraction": (-0.1, 1.1, math.nan),
    "lesion_mask_fraction": (-0.1, 1.1, math.nan),
    "loss_weights": ((1.0, 2.0), (1.0, 1.0, -1.0)),
    "learning_rate": (0.0, -1e-3, math.nan),
    "steps_per_epoch": _POSITIVE,
    "max_epochs": _POSITIVE,
    "patience": _POSITIVE,
    "validation_patients": _POSITIVE,
}
_BAD = {
    "seed": (-1,),
    "keep_latest": _POSITIVE,
    "keep_best": _POSITIVE,
    "protocol.frames": (1, 0),
    "protocol.frame_interval_s": (0.0, -5.0, math.nan),
    "protocol.max_frame_interval_s": (0.0, 4.9, math.nan),
    "protocol.tr_ms": (0.0, math.nan),
    "protocol.flip_angle_deg": (0.0, 180.0, math.nan),
    "protocol.relaxivity_per_mM_s": (0.0, math.nan),
    "protocol.t10_s": (0.0, math.nan),
    "protocol.tissue_m0": (0.0, -0.7, math.nan),
    "protocol.blood_t10_s": (0.0, math.nan),
    "protocol.hematocrit": (-0.1, 1.0, math.nan),
    "protocol.scale_percentile": (0.0, 100.1, math.nan),
    "tcn.channels": ((), (32, 0, 1), (32, 32, 2)),
    "tcn.dilations": ((1, 2), (1, 0, 4)),
    "tcn.kernel_size": _POSITIVE,
    "prob_unet.filters": ((32,), (32, 0)),
    "prob_unet.latent_size": _POSITIVE,
    "prob_unet.combination_layers": (1,),
    "stage2.kl_weight": (-1.0, math.nan),
    **{f"{stage}.{name}": values for stage in ("stage1", "stage2") for name, values in _BAD_STAGE.items()},
}


def _replaced(name, value):
    config = Config()
    *parents, leaf = name.split(".")
    owner = config
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, leaf, value)
    return config


# ml_collections loads configuration files in the way of older Pythons
_old_loader = pytest.mark.filterwarnings(r"ignore:the load_module\(\) method is deprecated:DeprecationWarning")


def _leaves(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, bool):  # which has no range
            yield prefix + name


def test_the_defaults_are_the_published_model():
    config = validate(Config())
    assert config.protocol.duration_s == 295.0
    assert config.prob_unet.filters == (32, 64, 128, 192)
    assert config.stage1.loss_weights == (35.0, 35.0, 5.0)
    assert config.stage2.loss_weights == (40.0, 40.0, 40.0)


def test_json_there_and_back_is_the_same_configuration():
    config = Config(seed=5)
    config.stage2.loss_weights = (1.0, 2.0, 3.0)
    config.tcn.channels = (8, 1)
    assert from_dict(json.loads(to_json(config))) == config
    assert from_dict(dataclasses.asdict(config)) == config
    assert hash(from_dict(json.loads(to_json(config))).tcn.channels) == hash((8, 1))


def test_absent_fields_keep_their_defaults():
    assert from_dict({"stage1": {"patience": 9}}).stage1.patience == 9
    assert from_dict({"stage2": {"kl_weight": 2.0}}).stage1 == Config().stage1
    assert from_dict({}) == Config()
    assert from_dict({"protocol": {"tr_ms": 3.0}}).protocol.scale_percentile == 99.99


@pytest.mark.parametrize(
    ("values", "prefix", "valid"),
    [({"sede": 1}, "config: unknown field 'sede'", "seed"), ({"tcn": {"chanels": [1]}}, "config.tcn:", "channels")],
)
def test_an_unknown_field_names_the_valid_ones(values, prefix, valid):
    with pytest.raises(ValueError, match=rf"{prefix}.*the fields are .*{valid}"):
        from_dict(values)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in _BAD.items() for value in values])
def test_a_value_out_of_range_names_its_field(name, value):
    expected = {("tcn.channels", ()): "tcn.dilations"}.get((name, value), name)
    with pytest.raises(ValueError, match=rf"^config\.{expected}: expected .*, found"):
        validate(_replaced(name, value))


def test_every_field_has_a_checked_range():
    assert set(_leaves(dataclasses.asdict(Config()))) == set(_BAD)


@pytest.fixture
def parse(tmp_path, monkeypatch):
    """Parse overrides of a configuration file, which looks for them in the program's own arguments."""
    path = tmp_path / "chosen.py"
    path.write_text("from dcejax.config import Config\n\n\ndef get_config():\n    return Config()\n")

    def run(*overrides):
        arguments = ["train", f"--config={path}", *overrides]
        monkeypatch.setattr("sys.argv", arguments)
        values = flags.FlagValues()
        holder = config_flags.DEFINE_config_file("config", flag_values=values)
        values(arguments)
        return holder.value

    return run


@_old_loader
def test_flags_override_nested_fields_and_tuples(parse):
    config = parse(
        "--config.seed=3",
        "--config.stage2.learning_rate=1e-4",
        "--config.prob_unet.filters=(8, 16)",
        "--config.protocol.tr_ms=3.5",
    )
    expected = Config(seed=3)
    expected.stage2.learning_rate = 1e-4
    expected.prob_unet.filters = (8, 16)
    expected.protocol.tr_ms = 3.5
    assert validate(config) == expected


@_old_loader
def test_flags_that_do_not_exist_or_do_not_fit_fail(parse):
    with pytest.raises((AttributeError, KeyError, flags.Error), match="sede"):
        parse("--config.sede=3")
    with pytest.raises((flags.Error, ValueError), match="seed"):
        parse("--config.seed=three")
    with pytest.raises(ValueError, match=r"config\.seed"):
        validate(parse("--config.seed=-3"))
