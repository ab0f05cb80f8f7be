"""Configurations: round trip, unknown fields, ranges, and overrides as the command line gives them."""

import dataclasses
import json
import math
from pathlib import Path

import pytest

from dcejax import config as configuration
from dcejax.cli import config_file
from dcejax.methods import method
from dcejax.methods.lyoo2025 import Config

ROOT = Path(__file__).resolve().parents[2]
_POSITIVE = (0, -1)
_BAD_STAGE = {
    "batches": ("pool:", "somewhere"),
    "validation_batches": ("nifti:", "nifti:somewhere", "pool:somewhere"),  # beside simulated batches
    "labels": ("reader2",),
    "cache_gib": (-1.0, math.nan),
    "pool_batches": (-1, 1),
    "warmup_steps": (-1,),
    "most_gradient": (-1.0, math.nan),
    "patients_per_step": _POSITIVE,
    "patches_per_patient": _POSITIVE,
    "patch_size": _POSITIVE,
    "tumour_fraction": (-0.1, 1.1, math.nan),
    "lesion_mask_fraction": (-0.1, 1.1, math.nan),
    "losses": ({}, {"absolute_error": -1.0}, {"absolute_error": (1.0, 1.0, math.nan)}),
    "learning_rate": (0.0, -1e-3, math.nan),
    "steps_per_epoch": _POSITIVE,
    "max_epochs": _POSITIVE,
    "patience": _POSITIVE,
    "validation_patients": _POSITIVE,
    "take": ("first",),
}
_BAD = {
    "seed": (-1,),
    "keep_latest": _POSITIVE,
    "keep_best": _POSITIVE,
    "checkpoint_minutes": (-1.0,),
    "num_samples": _POSITIVE,
    "init_from": (),  # looked up when training begins
    "protocol.frames": (1, 0),
    "protocol.frame_interval_s": (0.0, -5.0, math.nan),
    "protocol.max_frame_interval_s": (0.0, 4.9, math.nan),
    "protocol.voxel_mm": ((1.0, 1.0), (1.0, 1.0, 0.0), (math.nan, 1.0, 1.0)),
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
    **{f"{part}_training.{name}": values for part in ("tcn", "prob_unet") for name, values in _BAD_STAGE.items()},
}


def _nested(name, value):
    """The dictionary of one field."""
    *parents, leaf = name.split(".")
    values = {leaf: value}
    for parent in reversed(parents):
        values = {parent: values}
    return {"method": "lyoo2025", **values}


def _leaves(values, prefix=""):
    for name, value in values.items():
        if isinstance(value, dict) and name != "losses":
            yield from _leaves(value, f"{prefix}{name}.")
        elif not isinstance(value, bool):  # which has no range
            yield prefix + name


def test_the_defaults_are_the_published_model():
    config = Config()
    assert config.protocol.duration_s == 295.0
    assert config.prob_unet.filters == (32, 64, 128, 192)
    # The published losses: w of 35, 35, 5 and a sum over the maps; w of 40 and a mean over three maps.
    assert config.tcn_training.losses == {"absolute_error": 1.0, "absolute_error_at_high_values": (35.0, 35.0, 5.0)}
    assert config.prob_unet_training.losses == pytest.approx(
        {"absolute_error": 1 / 3, "absolute_error_at_high_values": 40 / 3, "kl_divergence": 1.0}
    )
    assert (config.tcn_training.patience, config.prob_unet_training.patience) == (5, 13)


def test_json_there_and_back_is_the_same_configuration():
    config = dataclasses.replace(Config(seed=5), tcn=dataclasses.replace(Config().tcn, channels=(8, 4, 1)))
    stored = json.loads(json.dumps(method.to_dict(config)))
    assert stored["method"] == "lyoo2025"
    assert method.from_dict(stored) == config
    assert hash(method.from_dict(stored).tcn) == hash(config.tcn)


def test_absent_fields_keep_their_defaults():
    found = method.from_dict({"method": "lyoo2025", "tcn_training": {"patience": 9, "losses": {"absolute_error": 1.0}}})
    assert found.tcn_training.patience == 9
    assert found.prob_unet_training == Config().prob_unet_training
    assert method.from_dict({"method": "lyoo2025"}) == Config()
    assert method.from_dict(_nested("protocol.tr_ms", 3.0)).protocol.scale_percentile == 99.99


@pytest.mark.parametrize(
    ("values", "prefix", "valid"),
    [
        ({"sede": 1}, "config: expected known fields, found the unknown field 'sede'", "seed"),
        ({"tcn": {"chanels": [1]}}, "config.tcn:", "channels"),
    ],
)
def test_an_unknown_field_names_the_valid_ones(values, prefix, valid):
    with pytest.raises(ValueError, match=rf"{prefix}.*the fields are .*{valid}"):
        method.from_dict({"method": "lyoo2025", **values})


@pytest.mark.parametrize("name", ["absent2030", "json", ""])
def test_a_method_that_is_none(name):
    with pytest.raises(ValueError, match="method"):
        method.from_dict({"method": name} if name else {})


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in _BAD.items() for value in values])
def test_a_value_out_of_range_names_its_field(name, value):
    expected = {("tcn.channels", ()): "tcn.dilations"}.get((name, value if isinstance(value, tuple) else 0), name)
    with pytest.raises(ValueError, match=rf"^config\.{expected}.*: expected .*, found"):
        method.from_dict(_nested(name, value))


def test_every_field_has_a_checked_range():
    assert set(_leaves(configuration.to_dict(Config()))) == set(_BAD)


@pytest.fixture
def read(tmp_path):
    """Read a configuration file with overrides."""
    path = tmp_path / "chosen.py"
    path.write_text("from dcejax.methods.lyoo2025 import Config\n\n\ndef get_config():\n    return Config()\n")

    def run(*words):
        overrides, others = config_file.separate(list(words))
        assert others == []
        return config_file.read(str(path), overrides)

    return run


def test_flags_override_nested_fields_and_tuples(read):
    config = read(
        "--config.seed=3",
        "--config.prob_unet_training.learning_rate=1e-4",
        "--config.prob_unet.filters=(8, 16)",
        "--config.protocol.tr_ms",
        "3.5",
        "--config.tcn_training.losses.absolute_error=2.0",
    )
    usual = Config()
    assert config == Config(
        seed=3,
        protocol=dataclasses.replace(usual.protocol, tr_ms=3.5),
        tcn_training=dataclasses.replace(
            usual.tcn_training, losses={**usual.tcn_training.losses, "absolute_error": 2.0}
        ),
        prob_unet=dataclasses.replace(usual.prob_unet, filters=(8, 16)),
        prob_unet_training=dataclasses.replace(usual.prob_unet_training, learning_rate=1e-4),
    )


def test_words_that_are_no_overrides_are_left():
    words = ["--config=a.py", "--config.seed", "3", "--workdir", "x", "--config.a.b=1"]
    assert config_file.separate(words) == (
        ["--config.seed=3", "--config.a.b=1"],
        ["--config=a.py", "--workdir", "x"],
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--config.sede=3", "sede.*the fields are config.seed"),
        ("--config.seed=three", "seed"),
        ("--config.seed=-3", r"config\.seed: expected 0 or more"),
        ("--config.tcn.channels=(8, 1)", r"config\.tcn\.dilations"),
    ],
)
def test_flags_that_do_not_exist_or_do_not_fit_fail(read, word, message):
    with pytest.raises(ValueError, match=message):
        read(word)


@pytest.mark.parametrize("text", ["", "def get_config(:", "import absent", "def get_config():\n    return Config()"])
def test_a_file_that_is_no_configuration(tmp_path, text):
    path = tmp_path / "chosen.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"chosen\.py: expected a Python file with a get_config\(\)"):
        config_file.read(str(path), [])


def test_configurations_are_valid_and_paper_is_the_default():
    for name in ("smoke", "paper"):
        config = config_file.read(str(ROOT / "configs" / f"{name}.py"), [])
        assert (config == Config()) == (name == "paper")
