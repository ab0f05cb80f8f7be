"""The benchmark of training: both sides do the same step, what is counted is right, and the command reports all."""

import dataclasses
import json
import sys
from functools import partial

import jax
import numpy as np
import pytest

from dcejax.benchmark import floor, own_process, own_training, train_speed
from dcejax.benchmark.problem import make_problem
from dcejax.cli import benchmark
from dcejax.execution.policy import default_policy
from dcejax.methods.fixed_grid import encode_batch
from dcejax.methods.lyoo2025 import Config, make_prob_unet
from dcejax.models.unet import convolve_relu
from dcejax.physics.fitting import fit
from dcejax.training.batches import source_of
from dcejax.training.losses import objective

TOLERANCE = 2e-4  # of a gradient's largest element; both sides sum thousands of terms in float32
PUBLISHED = Config()
CONFIG = Config(
    tcn_training=dataclasses.replace(PUBLISHED.tcn_training, patients_per_step=2, patches_per_patient=1, patch_size=8),
    prob_unet_training=dataclasses.replace(PUBLISHED.prob_unet_training, patches_per_patient=2, patch_size=16),
)
TINY = partial(train_speed.Sizes, config=CONFIG, product=64, rounds=2, steps_tcn=1, steps_unet=2)
MEASURED = ("voxels_per_s", "seconds_step_tcn", "ceiling_gflops_tcn", "ceiling_share_tcn", "seconds_frozen_maps")
MEASURED += ("patches_per_s", "seconds_step_unet", "ceiling_gflops_unet", "ceiling_share_unet")


class Silent:
    def status(self, *_):
        pass

    def line(self, text):
        pass

    note = line


def test_the_batch_has_the_shape_of_training_and_curves_of_its_maps():
    settings = CONFIG.tcn_training
    batch = own_training.make_batch(settings)
    simulated = jax.eval_shape(source_of(settings, CONFIG.protocol), jax.random.key(0))
    assert batch.curves.shape == (*simulated.curves.shape[:-1], 60)
    for name in ("mask", "row"):
        assert getattr(batch, name).shape == getattr(simulated, name).shape
    assert batch.truth.maps.shape == simulated.truth.maps.shape
    assert jax.tree.structure(batch.context) == jax.tree.structure(simulated.context)
    assert batch.curves.dtype == batch.truth.maps.dtype == np.float32
    assert float(batch.curves.max()) == 1.0
    np.testing.assert_array_equal(encode_batch(batch, CONFIG.protocol), batch.curves)  # which PyTorch sees
    problem = make_problem(128, seed=own_training._SEED)
    scale = np.asarray(problem.curves).max()
    found = fit("extended_tofts", np.asarray(batch.curves).reshape(-1, 60) * scale, problem.times, problem.aif)
    ktrans = np.asarray(batch.truth.maps)[..., 0].ravel()
    assert np.median(np.abs(np.asarray(found.params.ktrans) / ktrans - 1)) < 0.1


def test_the_gradient_is_that_of_the_loss():
    training = own_training.training_of(CONFIG, "tcn")
    loss = training.step()
    found = training.first_gradient()
    gradient = jax.jit(jax.grad(objective(training.stage.apply, training.stage.config.losses), has_aux=True))
    expected, metrics = gradient(training.first_params, training.prepare(), training.key)
    assert loss == pytest.approx(float(metrics["loss"]), rel=1e-5)
    assert train_speed._largest_difference(found, expected) < 1e-5
    assert training.step() < loss


def test_the_largest_difference_is_a_share_of_each_array():
    expected = {"a": np.array([1.0, -4.0]), "b": np.array([0.01]), "c": np.zeros(2)}
    found = {"a": np.array([1.0, -3.8]), "b": np.array([0.011]), "c": np.zeros(2)}
    assert train_speed._largest_difference(found, expected) == pytest.approx(0.1)
    assert train_speed._largest_difference(expected, expected) == 0.0


@pytest.mark.parametrize("part", ["tcn", "prob_unet"])
def test_pytorch_updates_as_training_does(torch, part):
    from dcejax.benchmark import torch_training

    own = own_training.training_of(CONFIG, part)
    first = torch_training.first_step(own, Silent()).fastest
    assert own.step() == pytest.approx(first.first_loss, rel=1e-5)
    gradient = own.first_gradient()
    assert train_speed._largest_difference(gradient, first.first_gradient) < TOLERANCE
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradient))  # every part takes part
    if part == "tcn":  # of the other, PyTorch has done steps to find the fastest form
        losses = [(own.step(), first.step()) for _ in range(3)]
        assert losses[-1][0] < losses[0][0]
        np.testing.assert_allclose(*zip(*losses, strict=True), rtol=1e-4)


def test_the_wrong_noise_or_weight_would_show(torch):
    from dcejax.benchmark import torch_training

    own = own_training.training_of(CONFIG, "prob_unet")
    loss = own.step()
    noise = np.zeros((2, 2), np.float32)
    (images, maps, _), _ = own.examples
    step = partial(torch_training.first_step_prob_unet, own.first_params, images, maps, report=Silent())
    found = step(noise, own.stage.config)
    assert found.fastest.first_loss != pytest.approx(loss, rel=1e-3)
    for name, weight in own.stage.config.losses.items():
        other = dataclasses.replace(own.stage.config, losses={**own.stage.config.losses, name: 2 * weight})
        assert step(noise, other).fastest.first_loss > found.fastest.first_loss * 1.001
    assert found.seconds["channels last, compiled"] == "failed: RuntimeError: no compiler"
    assert found.seconds[found.name] == min(s for s in found.seconds.values() if isinstance(s, float))


def test_the_floor_of_a_patch_counts_the_posterior():
    net = make_prob_unet(Config(), default_policy()).clone(
        convolve=convolve_relu
    )  # the compiler cannot see into kernels
    image = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
    variables = jax.eval_shape(net.init, jax.random.key(0), image, image)
    counted = jax.jit(net.apply).lower(variables, image, image).cost_analysis()["flops"]
    assert sum(floor.unet_flop_per_slice(variables["params"], 256 * 256)) == pytest.approx(counted, rel=0.05)


def test_a_tiny_run_reports_every_figure(torch, monkeypatch, capsys):
    monkeypatch.setattr(train_speed, "Sizes", TINY)
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["dcejax-benchmark", "train"])
    assert stop.value.code == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    for key in (*MEASURED, *train_speed._TORCH_KEYS[:4]):
        low, high = results[f"{key}_range"]
        assert 0 < low <= results[key] <= high
    assert results["rounds"] == 2
    for name in ("tcn", "unet"):
        assert results[f"max_difference_loss_{name}"] < 1e-5
        assert results[f"max_difference_gradient_{name}"] < TOLERANCE
        assert 0.1 < results[f"peak_rss_gib_{name}"] < 3
        assert f"compile_seconds_{name}" in results
    assert results["torch_form_unet"] in results["torch_forms_patches_per_s"]
    assert results["floor_flop_per_voxel"] == pytest.approx(3 * 2.64e6, rel=0.01)
    assert (results["voxels"], results["patches"], results["patch_size"]) == (128, 2, 16)
    assert results["load_average_before"] >= 0
    assert {"dcejax", "jax", "optax", "python"} < results["versions"].keys()


@pytest.mark.slow
@pytest.mark.slow
def test_without_pytorch_its_figures_are_null_and_the_rest_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("torch_training", "torch_published"):
        monkeypatch.delitem(sys.modules, f"dcejax.benchmark.{name}", raising=False)
        monkeypatch.delattr(f"dcejax.benchmark.{name}", raising=False)
    monkeypatch.setattr(own_process, "measure", lambda *_: {"peak_rss_gib": 1.0})
    results = train_speed.run(Silent(), TINY())
    assert "cannot be imported" in results["torch"]
    assert "torch" in results["torch"]
    assert all(results[key] is None for key in train_speed._TORCH_KEYS)
    for key in MEASURED:
        assert results[key] > 0
    json.dumps(results)
