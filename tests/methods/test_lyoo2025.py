"""Predictions of the published method against its networks applied by hand."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import pytest
import scans

from dcejax import rng
from dcejax.data import weights
from dcejax.execution import latent_samples, unet_volumes, unet_windows
from dcejax.execution.policy import default_policy
from dcejax.methods import lyoo2025, method
from dcejax.methods.fixed_grid import NOTHING_BESIDE, encode_series
from dcejax.methods.lyoo2025 import make_tcn
from dcejax.models.prob_unet import ProbUNet, sample_latent
from dcejax.types import PARAMETERS, Gaussian, Scan


@pytest.fixture(scope="module")
def networks(tiny_weights):
    loaded = weights.load(str(tiny_weights))
    return lyoo2025.load(loaded.params, method.config_of(loaded), default_policy())


def series_of(shape=scans.SHAPE, seed=0, mask=None):
    # A head of one voxel would lie in its corner.
    values = scans.signal(shape, seed=seed) if shape[0] > 1 else scans.signal((3, 3, shape[2]), seed=seed)[1:2, 1:2]
    mask = scans.head(shape) if mask is None else mask
    scan = Scan("a", values, "signal", np.arange(60) * 5 / 60, mask, np.eye(4))
    return lyoo2025.series_of(scan, NOTHING_BESIDE, scans.tiny_config())


class Maps(NamedTuple):
    mean: np.ndarray  # [X, Y, Z, C]
    std: np.ndarray
    cv: np.ndarray


def predict(networks, series, *, case_id="a", num_samples=4, seed=0):
    """Maps of each statistic, stacked."""
    networks = networks._replace(config=dataclasses.replace(networks.config, num_samples=num_samples))
    maps = lyoo2025.predict(networks, series, rng.stream(seed, "latent", case_id)).maps
    return Maps(*(np.stack([maps[f"{what}_{name}"] for name in PARAMETERS], axis=-1) for what in Maps._fields))


def test_matches_the_networks_applied_by_hand(networks):
    """One dense statement per voxel, slice and sample, without chunks, batches or running moments."""
    series = series_of()
    curves = np.zeros((*scans.SHAPE, 60), np.float32)
    curves[series.mask] = encode_series(series, networks.config.protocol)[0]
    tcn = {"params": networks.params["tcn"]}
    maps = np.asarray(networks.tcn.apply(tcn, curves.reshape(-1, 60))).reshape(*scans.SHAPE, 3)
    unet = {"params": networks.params["prob_unet"]}
    samples = []
    for z in range(scans.SHAPE[2]):
        image = maps[None, :, :, z]
        features = networks.unet.apply(unet, image, method="features")
        prior = networks.unet.apply(unet, image, method="encode_prior")
        noise = jax.random.normal(rng.stream(7, "latent", "a", z), (6, 2))
        latents = prior.mean + np.exp(prior.log_std) * noise
        samples.append([networks.unet.apply(unet, features, z[None], method="decode")[0] for z in latents])
    samples = np.stack([np.stack(s) for s in samples], axis=3)  # [S, X, Y, Z, C]
    mean, std = samples.mean(0), samples.std(0, ddof=1)

    found = predict(networks, series, num_samples=6, seed=7)
    inside = series.mask
    np.testing.assert_allclose(found.mean[inside], mean[inside], atol=1e-5)
    np.testing.assert_allclose(found.std[inside], std[inside], atol=1e-5)
    assert found.std[inside].min() > 0
    defined = (mean > 0.011) & inside[..., None]
    assert defined.any()
    np.testing.assert_allclose(found.cv[defined], (std / mean)[defined], rtol=1e-3)
    low = (mean < 0.009) & inside[..., None]
    assert low.any()
    assert not found.cv[low].any()


def test_zero_outside_the_mask(networks):
    series = series_of()
    for values in predict(networks, series):
        assert values.dtype == np.float32
        assert not values[~series.mask].any()


@pytest.mark.parametrize("shape", [(24, 20, 3), (23, 17, 1), (5, 31, 2), (1, 1, 1)])
def test_any_size(networks, shape):
    found = predict(networks, series_of(shape, mask=np.ones(shape, bool)))
    assert found.mean.shape == (*shape, 3)
    assert np.isfinite(found.mean).all()


def test_one_sample_has_no_spread(networks):
    found = predict(networks, series_of(), num_samples=1)
    assert found.mean.any()
    assert not found.std.any()
    assert not found.cv.any()


@pytest.mark.parametrize("num_samples", [0, -3])
def test_no_samples(networks, num_samples):
    with pytest.raises(ValueError, match=f"num_samples: expected 1 latent sample or more, found {num_samples}"):
        predict(networks, series_of(), num_samples=num_samples)


def test_the_seed_and_the_case_decide_the_latents(networks):
    series = series_of()
    first, again = predict(networks, series), predict(networks, series)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first.std, predict(networks, series, seed=1).std)
    assert not np.array_equal(first.std, predict(networks, series, case_id="b").std)


def test_the_mode_of_64_bits_changes_nothing(networks):
    series = series_of()
    expected = predict(networks, series, seed=3)
    with jax.enable_x64(True):
        found = predict(networks, series, seed=3)
    for wide, usual in zip(found, expected, strict=True):
        assert wide.dtype == np.float32
        np.testing.assert_allclose(wide, usual, rtol=0, atol=1e-5 * np.ptp(usual))


@pytest.mark.slow
@pytest.mark.slow
def test_the_mode_of_64_bits_initialises_and_draws_the_same():
    unet = ProbUNet((4,), 2, 2)  # one scale: every initialiser, few programs to compile
    image = np.zeros((1, 8, 8, 3), np.float32)
    gaussian = Gaussian(*np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32))

    def draws():
        key = jax.random.key(1)
        tcn = jax.jit(make_tcn(scans.tiny_config()).init)(key, np.zeros((1, 60), np.float32))
        params = jax.jit(unet.init)(key, image, image)
        return jax.tree.map(np.asarray, (tcn, params, sample_latent(key, gaussian)))

    usual = draws()
    with jax.enable_x64(True):
        wide = draws()
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} == {np.dtype(np.float32)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), wide, usual)


def images_of(networks, series):
    return lyoo2025.temporal_maps(networks, encode_series(series, networks.config.protocol)[0], series.mask)


def sample(networks, images, mask, *, num_samples=3, policy=None, progress=lambda done, total: None):
    return unet_volumes.sample_volume(
        networks.unet,
        networks.params["prob_unet"],
        images,
        mask,
        rng.stream(0, "latent", "a"),
        num_samples=num_samples,
        policy=policy or networks.policy,
        progress=progress,
    )


def test_a_slice_does_not_depend_on_the_batch_it_is_in(networks):
    """Same bytes when slices are missing; close when a device prefers more slices together."""
    series = series_of((24, 20, 5))
    images = images_of(networks, series)
    whole = sample(networks, images, series.mask)
    fewer = series.mask.copy()
    fewer[:, :, [0, 2]] = False
    mean, _ = sample(networks, images, fewer)
    np.testing.assert_array_equal(mean[:, :, [1, 3, 4]], whole[0][:, :, [1, 3, 4]])
    assert not mean[:, :, [0, 2]].any()
    for size in (2, 4):
        other = dataclasses.replace(networks.policy, slices=size)
        for found, expected in zip(sample(networks, images, series.mask, policy=other), whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))


def test_one_compilation_for_any_mask_number_of_slices_and_of_samples(networks):
    predict(networks, series_of(), num_samples=5)
    encoded, decoded = unet_volumes.encode._cache_size(), latent_samples.decode._cache_size()
    for num_samples in (1, 4, 5, 9):
        mask = np.random.default_rng(num_samples).random((24, 20, 7)) < 0.3
        predict(networks, series_of((24, 20, 7), mask=mask), num_samples=num_samples)
    assert (unet_volumes.encode._cache_size(), latent_samples.decode._cache_size()) == (encoded, decoded)


@pytest.fixture
def small_head():
    """A head that leaves most of its image empty, in other places and sizes from slice to slice."""
    mask = np.zeros((96, 80, 4), bool)
    for z, (x, y) in enumerate([(20, 30), (24, 30), (22, 36), (21, 33)]):
        mask[x : x + 21 + z, y : y + 17, z] = scans.head((21 + z, 17, 1))[:, :, 0]
    return series_of(mask.shape, mask=mask)


def test_a_window_changes_no_map(networks, small_head, monkeypatch):
    found = predict(networks, small_head)
    assert unet_windows.plan(small_head.mask.any(axis=2), len(networks.unet.filters))
    monkeypatch.setattr(unet_windows, "plan", lambda region, scales: None)
    for values, expected in zip(found, predict(networks, small_head), strict=True):
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5 * np.ptp(expected))


def test_one_compilation_for_similar_heads(networks, small_head):
    predict(networks, small_head, num_samples=5)
    programs = unet_volumes.encode_window, unet_volumes.make_background, latent_samples.decode
    before = [program._cache_size() for program in programs]
    for shift in (-3, 2):
        mask = np.roll(small_head.mask, shift, axis=(0, 1))[:, :, :3]
        predict(networks, series_of(mask.shape, mask=mask), num_samples=5)
    assert [program._cache_size() for program in programs] == before


def test_progress_counts_slices_of_the_mask(networks):
    series = series_of((24, 20, 4))
    mask = series.mask.copy()
    mask[:, :, 1] = False
    calls = []
    sample(networks, images_of(networks, series), mask, num_samples=1, progress=lambda *call: calls.append(call))
    assert calls[0] == (0, 3)
    assert calls[-1] == (3, 3)


def test_halves_are_predictions_of_half_of_the_samples(networks):
    series = series_of()
    networks = networks._replace(config=dataclasses.replace(networks.config, num_samples=6))
    keys = rng.stream(0, "latent", "a"), rng.stream(1, "latent", "a")
    halves = lyoo2025.predict_halves(networks, series, keys)
    half = networks._replace(config=dataclasses.replace(networks.config, num_samples=3))
    for found, key in zip((halves.first, halves.second), keys, strict=True):
        expected = lyoo2025.predict(half, series, key).maps
        jax.tree.map(np.testing.assert_array_equal, dict(found.maps), dict(expected))
    assert halves.latent_mean.shape == (scans.SHAPE[2], 2)
    assert (halves.latent_sd > 0).all()


def test_parameters_of_another_network(tiny_weights):
    loaded = weights.load(str(tiny_weights))
    other = scans.tiny_config()
    config = dataclasses.replace(other, tcn=dataclasses.replace(other.tcn, channels=(8, 1)))
    with pytest.raises(ValueError, match=r"expected parameter .*tcn.* of shape .*, found"):
        lyoo2025.load(loaded.params, config, default_policy())


def test_maps_that_are_not_finite_are_refused(networks):
    params = jax.tree.map(lambda leaf: leaf * np.nan, networks.params)
    with pytest.raises(ValueError, match="expected finite maps"):
        lyoo2025.predict(networks._replace(params=params), series_of(), rng.stream(0))
