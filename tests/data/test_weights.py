import hashlib
import json
import shutil

import jax
import numpy as np
import pytest
import scans

from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import method
from dcejax.methods.parameters import to_half


@pytest.fixture
def copy(tiny_weights, tmp_path):
    """The tiny weights, free to be damaged."""
    for suffix in (".npz", ".json"):
        shutil.copy(tiny_weights.with_suffix(suffix), tmp_path)
    return tmp_path / tiny_weights.name


def test_round_trip(tmp_path):
    params = {
        "tcn": {"head": {"kernel": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}},
        "other.part": {"deep": {"down_0": {"bias": np.zeros(2, np.float16)}}},
    }
    path = weights.save(tmp_path / "a-v1.2", params, {"config": {"method": "m"}, "note": "x"})
    assert path == tmp_path / "a-v1.2.npz"
    for name in (path, path.with_suffix(".json")):
        loaded = weights.load(str(name))
        assert loaded.name == "a-v1.2"
        assert loaded.record["note"] == "x"
        jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
        assert {leaf.dtype for leaf in jax.tree.leaves(loaded.params)} == {np.dtype(np.float32)}


def test_same_parameters_give_same_bytes(tmp_path):
    files = [scans.export_tiny_weights(tmp_path / name).read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]


def test_keys_are_flat_paths_without_the_posterior(tiny_weights):
    with np.load(tiny_weights, allow_pickle=False) as archive:
        assert "tcn/block_0/conv_0/v" in archive.files
        assert {name.split("/")[1] for name in archive.files if name.startswith("prob_unet/")} == {
            "unet",
            "prior",
            "combination",
        }
        assert {archive[name].dtype for name in archive.files} == {np.dtype(np.float16)}


def test_configuration_comes_back(tiny_weights):
    assert method.config_of(weights.load(str(tiny_weights))) == scans.tiny_config()


@pytest.mark.parametrize("name", [None, *weights.PACKAGED])
def test_the_package_holds_its_weights(name):
    loaded = weights.load(name)
    assert loaded.name == (name or weights.DEFAULT)
    config = method.config_of(loaded)
    method.of(config).load(loaded.params, config, default_policy())


def test_diverged_parameters_are_not_saved(tmp_path):
    with pytest.raises(ValueError, match="found others in tcn/a"):
        weights.save(tmp_path / "w", {"tcn": {"a": np.array([np.nan])}}, {"config": {"method": "m"}})
    assert list(tmp_path.iterdir()) == []


def test_half_precision_refuses_what_it_cannot_hold():
    with pytest.raises(ValueError, match=r"found others in .*tcn.*a"):
        to_half({"tcn": {"a": np.array([1e6])}})


@pytest.mark.parametrize("record", [{}, {"config": {}}])
def test_record_needs_a_configuration_with_its_method(tmp_path, record):
    with pytest.raises(ValueError, match="with the name of its method"):
        weights.save(tmp_path / "w", {}, record)


@pytest.mark.parametrize("suffix", [".npz", ".json"])
def test_missing_file(copy, suffix):
    copy.with_suffix(suffix).unlink()
    with pytest.raises(ValueError, match=rf"tiny\{suffix}: expected weights as an \.npz and a \.json"):
        weights.load(str(copy))


def test_other_name():
    with pytest.raises(ValueError, match=r"model\.pth: expected weights as \.npz"):
        weights.load("model.pth")


def test_damaged_parameters(copy):
    copy.write_bytes(copy.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"tiny\.npz: expected the content that tiny\.json describes"):
        weights.load(str(copy))


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"sha256": "0"}', '{"sha256": "0", "config": {"colour": 1}}'])
def test_damaged_record(copy, text):
    copy.with_suffix(".json").write_text(text)
    with pytest.raises(ValueError, match=r"tiny\.json: expected the record"):
        weights.load(str(copy))


def test_something_else_with_a_right_checksum(copy):
    record = json.loads(copy.with_suffix(".json").read_text())
    copy.write_bytes(b"text")
    copy.with_suffix(".json").write_text(json.dumps(record | {"sha256": hashlib.sha256(b"text").hexdigest()}))
    with pytest.raises(ValueError, match=r"tiny\.npz: expected an \.npz of parameters"):
        weights.load(str(copy))
