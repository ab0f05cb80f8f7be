import dataclasses

import jax
import numpy as np
import pytest
import scans

from dcejax import rng
from dcejax.config import ProtocolConfig
from dcejax.data import preprocess, weights
from dcejax.execution import unet_windows
from dcejax.execution.latent_samples import decode
from dcejax.execution.policy import default_policy
from dcejax.methods import engine
from dcejax.methods.build import make_prob_unet, make_tcn
from dcejax.models.prob_unet import sample_latent
from dcejax.types import Gaussian, Scan


@pytest.fixture(scope="module")
def networks(tiny_weights):
    return engine.build(weights.load(str(tiny_weights)), default_policy())


def series_of(shape=scans.SHAPE, seed=0, mask=None):
    values = scans.signal(shape, seed=seed)
    mask = scans.head(shape) if mask is None else mask
    scan = Scan("a", values, "signal", np.arange(60) * 5 / 60, mask, np.eye(4))
    return preprocess.prepare(scan, ProtocolConfig(), preprocess.Conversion())


def predict(networks, series, *, case_id="a", num_samples=4, seed=0):
    return engine.predict(networks, series, case_id=case_id, num_samples=num_samples, seed=seed)


def test_matches_the_networks_applied_by_hand(networks):
    """One dense statement per voxel, slice and sample, without chunks, batches or running moments."""
    series = series_of()
    curves = np.zeros((*scans.SHAPE, 60), np.float32)
    curves[series.mask] = series.curves
    tcn = {"params": networks.tcn_params}
    maps = np.asarray(networks.tcn.apply(tcn, curves.reshape(-1, 60))).reshape(*scans.SHAPE, 3)
    unet = {"params": networks.unet_params}
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
    with pytest.raises(ValueError, match=f"expected 1 latent sample or more, found {num_samples}"):
        predict(networks, series_of(), num_samples=num_samples)


def test_the_seed_and_the_case_decide_the_latents(networks):
    series = series_of()
    first, again = predict(networks, series), predict(networks, series)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first.std, predict(networks, series, seed=1).std)
    assert not np.array_equal(first.std, predict(networks, series, case_id="b").std)


def test_the_mode_of_64_bits_changes_nothing(networks):
    series = series_of()
    noise = engine._latent_noise(3, "a", np.arange(2), 5, 2)
    expected = predict(networks, series, seed=3)
    with jax.enable_x64(True):
        wide_noise = engine._latent_noise(3, "a", np.arange(2), 5, 2)
        found = predict(networks, series, seed=3)
    assert wide_noise.dtype == np.float32
    np.testing.assert_array_equal(wide_noise, noise)
    for wide, usual in zip(found, expected, strict=True):
        assert wide.dtype == np.float32
        np.testing.assert_allclose(wide, usual, rtol=0, atol=1e-5 * np.ptp(usual))


def test_the_mode_of_64_bits_initialises_and_draws_the_same():
    tiny = scans.tiny_config()
    one_scale = dataclasses.replace(tiny.prob_unet, filters=(4,))  # every initialiser, few programs to compile
    config = dataclasses.replace(tiny, prob_unet=one_scale)
    image = np.zeros((1, 8, 8, 3), np.float32)
    gaussian = Gaussian(*np.random.default_rng(0).normal(size=(2, 3, 2)).astype(np.float32))

    def draws():
        key = jax.random.key(1)
        tcn = jax.jit(make_tcn(config).init)(key, np.zeros((1, 60), np.float32))
        unet = jax.jit(make_prob_unet(config).init)(key, image, image)
        return jax.tree.map(np.asarray, (tcn, unet, sample_latent(key, gaussian)))

    usual = draws()
    with jax.enable_x64(True):
        wide = draws()
    assert {leaf.dtype for leaf in jax.tree.leaves(wide)} == {np.dtype(np.float32)}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), wide, usual)


def test_a_slice_does_not_depend_on_the_batch_it_is_in(networks):
    """Same bytes when slices are missing; close when a device prefers more slices together."""
    series = series_of((24, 20, 5))
    maps = engine.temporal_maps(networks, series)

    def sample(mask, policy=networks.policy):
        return engine.sample_maps(
            networks._replace(policy=policy),
            maps,
            mask,
            case_id="a",
            num_samples=3,
            seed=0,
            progress=lambda done, total: None,
        )

    whole = sample(series.mask)
    fewer = series.mask.copy()
    fewer[:, :, [0, 2]] = False
    np.testing.assert_array_equal(sample(fewer).mean[:, :, [1, 3, 4]], whole.mean[:, :, [1, 3, 4]])
    assert not sample(fewer).mean[:, :, [0, 2]].any()
    for size in (2, 4):
        policy = dataclasses.replace(networks.policy, slices=size)
        for found, expected in zip(sample(series.mask, policy), whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))


def test_one_compilation_for_any_mask_number_of_slices_and_of_samples(networks):
    predict(networks, series_of(), num_samples=5)
    encoded, decoded = engine.encode._cache_size(), decode._cache_size()
    for num_samples in (1, 4, 5, 9):
        mask = np.random.default_rng(num_samples).random((24, 20, 7)) < 0.3
        predict(networks, series_of((24, 20, 7), mask=mask), num_samples=num_samples)
    assert (engine.encode._cache_size(), decode._cache_size()) == (encoded, decoded)


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
    programs = engine.encode_window, engine.make_background, decode
    before = [program._cache_size() for program in programs]
    for shift in (-3, 2):
        mask = np.roll(small_head.mask, shift, axis=(0, 1))[:, :, :3]
        predict(networks, series_of(mask.shape, mask=mask), num_samples=5)
    assert [program._cache_size() for program in programs] == before


def test_progress_counts_slices_of_the_mask(networks):
    series = series_of((24, 20, 4))
    mask = series.mask.copy()
    mask[:, :, 1] = False
    maps = engine.temporal_maps(networks, series)
    calls = []
    engine.sample_maps(
        networks, maps, mask, case_id="a", num_samples=1, seed=0, progress=lambda *call: calls.append(call)
    )
    assert calls[0] == (0, 3)
    assert calls[-1] == (3, 3)


def test_curves_of_another_length(networks):
    series = series_of()
    with pytest.raises(ValueError, match="expected curves of 60 frames for these weights, found 50"):
        predict(networks, dataclasses.replace(series, curves=series.curves[:, :50]))


def test_parameters_of_another_network(tiny_weights):
    loaded = weights.load(str(tiny_weights))
    config = dict(loaded.record["config"], tcn={"channels": [8, 1], "dilations": [1, 2], "kernel_size": 3})
    with pytest.raises(ValueError, match=r"weights tiny/tcn: expected parameter .* of shape .*, found"):
        engine.build(dataclasses.replace(loaded, record={**loaded.record, "config": config}), default_policy())
