"""The benchmark of inference: what is compared is the same, what is counted is right, and the command reports all."""

import dataclasses
import json
import subprocess
import sys
from functools import partial

import jax
import numpy as np
import pytest
from compilations import counted

from dcejax.benchmark import floor, infer_speed, measuring, own_inference, volume
from dcejax.benchmark.own_process import peak_rss_gib
from dcejax.cli import benchmark
from dcejax.data import loading, weights
from dcejax.data.cases import enumerate_cases
from dcejax.data.facts import Facts
from dcejax.methods import lyoo2025
from dcejax.methods.fixed_grid import encode_series
from dcejax.models.unet import convolve_relu
from dcejax.rng import stream
from dcejax.runner import map_picture

TOLERANCE = 1e-5  # of the maps' range
TINY = partial(
    infer_speed.Sizes,
    shape=(32, 40, 5),
    product=64,
    rounds=2,
    trial_voxels=300,
)


class Silent:
    def status(self, *_):
        pass

    def line(self, text):
        pass

    note = line


@pytest.fixture(scope="module")
def networks():
    return own_inference.load(weights.load(weights.PUBLISHED_METHOD))


@pytest.fixture(scope="module")
def series():
    return volume.make_volume((32, 40, 3), seed=1)


def test_the_volume_holds_brain_in_a_quarter_and_in_every_slice(series):
    assert series.mask.mean() == pytest.approx(0.25, abs=0.01)
    assert series.mask.any(axis=(0, 1)).all()
    assert series.curves.shape == (series.mask.sum(), 60)
    assert series.curves.dtype == np.float32
    dense = np.stack([volume.dense_slice(series, z) for z in range(3)], axis=2)
    np.testing.assert_array_equal(dense[series.mask], series.curves)
    assert not dense[~series.mask].any()
    part = volume.slices_of(series, slice(1, 2))
    np.testing.assert_array_equal(part.curves, dense[:, :, 1][part.mask[:, :, 0]])


def test_every_implementation_sees_the_same_curves_and_latents(networks, series, tmp_path):
    """PyTorch gets the curves as they are, and the method encodes them; PyTorch gets the latents, the method a key."""
    encoded, record = encode_series(series, networks.config.protocol)
    np.testing.assert_array_equal(encoded, series.curves)
    assert record["resampling"]["method"] == "none"
    volume.save(tmp_path / "volume.npz", series)
    read = volume.load(tmp_path / "volume.npz")
    np.testing.assert_array_equal(encode_series(read, networks.config.protocol)[0], series.curves)

    z = 1
    prediction = own_inference.predict(networks, series, 3)
    expected = lyoo2025.predict(
        networks._replace(config=lyoo2025.Config(num_samples=3)), series, stream(0, "latent", "volume")
    )
    np.testing.assert_array_equal(prediction.maps["mean_Ktrans"], expected.maps["mean_Ktrans"])
    maps = lyoo2025.temporal_maps(networks, series.curves, series.mask)
    mean, std = own_inference.sample_maps(networks, maps, series.mask, 3)
    np.testing.assert_array_equal(mean[..., 0], prediction.maps["mean_Ktrans"])
    assert std.max() > 0.01  # latents matter
    variables, images = {"params": networks.params["prob_unet"]}, maps[None, :, :, z]
    prior = networks.unet.apply(variables, images, method="encode_prior")
    features = networks.unet.apply(variables, images, method="features")
    samples = [
        networks.unet.apply(variables, features, prior.mean + np.exp(prior.log_std) * draw, method="decode")[0]
        for draw in own_inference.latent_noise(networks, z, 3)
    ]
    inside = series.mask[:, :, z]
    np.testing.assert_allclose(np.std(samples, axis=0, ddof=1)[inside], std[:, :, z][inside], atol=1e-5)


def test_the_files_are_the_volume(tmp_path, series):
    image, mask = volume.write_files(tmp_path, series)
    (case,) = enumerate_cases([str(image)], Facts(mask=mask))
    scan = loading.load_scan(case)
    np.testing.assert_array_equal(scan.mask, series.mask)
    np.testing.assert_allclose(scan.times * 60, np.arange(60) * 5.0)
    np.testing.assert_allclose(scan.values[series.mask] / 2000, series.curves, atol=17 / 2000)


def test_the_floor_is_what_the_layers_need(networks):
    found = floor.tcn_flop_per_voxel(networks.params["tcn"], 60)
    assert found == pytest.approx(2.64e6, rel=0.01)
    pixels = 256 * 256
    params = networks.params["prob_unet"]
    once, each = floor.unet_flop_per_slice(params, pixels)
    assert each == 2 * (32 * 32 * 2 + 32 * 3) * pixels

    unet = networks.unet.clone(convolve=convolve_relu)  # the compiler cannot see into kernels

    def trunk(image):
        prior = unet.apply({"params": params}, image, method="encode_prior")
        return unet.apply({"params": params}, image, method="features"), prior

    counted = jax.jit(trunk).lower(jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)).cost_analysis()["flops"]
    assert once == pytest.approx(counted, rel=0.05)  # which also counts pooling, up-sampling and ReLU


def test_compilations_are_counted_by_function_and_shape():
    @jax.jit
    def doubled(x):
        return x + x

    with counted() as counts:
        for size in (3, 3, 4):
            doubled(np.ones(size, np.float32))
    assert counts == {"doubled": 2}
    doubled(np.ones(5, np.float32))
    assert counts == {"doubled": 2}


def test_scans_of_other_slices_and_samples_share_programs(networks, series):
    """One program for each part; an image whose window has another size needs the trunk's once more."""
    own_inference.predict(networks, series, 2)
    cut = series.mask[8:]
    other = dataclasses.replace(series, curves=series.curves[-cut.sum() :], mask=cut)
    with counted() as again:
        own_inference.predict(networks, volume.slices_of(series, slice(0, 2)), 3)
    assert not again.keys() & {"apply_chunk", "encode", "decode"}
    with counted() as other_shape:
        own_inference.predict(networks, other, 2)
    assert (other_shape["encode"], other_shape["decode"], other_shape["apply_chunk"]) == (1, 1, 0)


def test_the_peak_is_the_process_s_own():
    """A process inherits the count of `getrusage` from the one that starts it, here with half a GiB more."""
    ballast = np.ones(2**26)
    code = "from dcejax.benchmark.own_process import peak_rss_gib; print(peak_rss_gib())"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 0.001 < float(found) < 0.3
    assert peak_rss_gib() > ballast.nbytes / 2**30


def test_pytorch_gives_the_same_maps(torch, networks, series):
    from dcejax.benchmark.torch_best import Best

    maps = lyoo2025.temporal_maps(networks, series.curves, series.mask)
    mean, std = own_inference.sample_maps(networks, maps, series.mask, 4)
    assert std.max() > 0.01  # latents matter, so equal spreads are no accident
    best = Best(networks.params, series.curves[:300], maps[:, :, 0], Silent())
    published, noise = best.published, partial(own_inference.latent_noise, networks, num_samples=4)
    for z in range(3):
        found = published.run(volume.dense_slice(series, z), series.mask[:, :, z], noise(z))
        assert infer_speed._difference(found, mean[:, :, z], std[:, :, z]) < TOLERANCE
    assert all(value.isnan().all() for value in published.unet.posterior.parameters())

    assert infer_speed._difference(best.run(series, noise), mean, std) < TOLERANCE
    assert best.tcn.seconds["conv1d, compiled"] == "failed: RuntimeError: no compiler"
    assert best.tcn.seconds[best.tcn.name] == min(s for s in best.tcn.seconds.values() if isinstance(s, float))


@pytest.mark.parametrize("form", ["conv1d", "conv2d", "matmul_conv2d"])
def test_every_form_is_the_same_network(torch, networks, series, form, monkeypatch):
    from dcejax.benchmark import torch_best
    from dcejax.benchmark.torch_published import Published

    published = Published(networks.params)
    monkeypatch.setattr(torch_best, "_BATCH", 32)  # two whole ones and a part
    with torch.inference_mode():
        curves = torch.from_numpy(series.curves[:70])
        expected = published.tcn(curves.T[None, :, :, None])[0, :, :, 0].T
        found = torch_best._in_batches(torch_best._FoldedTCN(published, *torch_best._FORMS[form]))(curves)
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * float(expected.max() - expected.min()))


def test_a_tiny_run_reports_every_figure(torch, monkeypatch, capsys):
    monkeypatch.setattr(infer_speed, "Sizes", TINY)
    monkeypatch.setattr(map_picture, "overview", lambda *_: b"picture")
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["dcejax-benchmark", "infer"])
    assert stop.value.code == 0
    results = json.loads(capsys.readouterr().out.splitlines()[-1])
    measured = ("voxels_per_s", "seconds", "seconds_16_samples", "ratio_16_to_4_samples", "ceiling_gflops")
    torch_ratios = ("ratio_tcn_torch", "ratio_tcn_torch_best", "ratio_torch", "ratio_torch_best")
    for key in (*measured, "ceiling_share", *infer_speed._TORCH_KEYS[:8]):
        low, high = results[f"{key}_range"]
        assert 0 < low <= results[key] <= high
    assert set(torch_ratios) < results.keys()
    assert max(results["max_difference_torch_published"], results["max_difference_torch_best"]) < TOLERANCE
    assert results["rounds"] == 2
    assert results["seconds_file_to_files"] > 0
    assert 0.1 < results["peak_rss_gib"] < 3
    assert 0 < results["cold_start_seconds"] < 120
    assert results["torch_best_tcn"] in results["torch_forms_voxels_per_s"]
    assert results["shape"] == [32, 40, 5, 60]
    assert results["weights"] == "paper-v1"
    assert results["load_average_before"] >= 0


def test_without_pytorch_its_figures_are_null_and_the_rest_is_measured(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in ("torch_best", "torch_published"):
        monkeypatch.delitem(sys.modules, f"dcejax.benchmark.{name}", raising=False)
        monkeypatch.delattr(f"dcejax.benchmark.{name}", raising=False)
    for name in ("_own_processes", "files"):  # which PyTorch has no part in
        monkeypatch.setattr(infer_speed, name, lambda *_: {})
    results = infer_speed.run(Silent(), TINY())
    assert "cannot be imported" in results["torch"]
    assert "torch" in results["torch"]
    assert all(results[key] is None for key in infer_speed._TORCH_KEYS)
    assert results["voxels_per_s"] > 0
    assert results["seconds"] > 0
    json.dumps(results)


def test_the_figures_are_medians_and_ranges_and_the_largest_difference():
    rows = iter([{"seconds": s, "max_difference": 1 / s} for s in (3.0, 1.0, 2.0)])
    found = measuring.over_rounds(lambda: next(rows), 3, 60.0, Silent())
    assert found == {"rounds": 3, "seconds": 2.0, "seconds_range": [1.0, 3.0], "max_difference": 1.0}


def test_a_slow_machine_takes_fewer_rounds():
    assert measuring.over_rounds(lambda: {"seconds": 1.0}, 3, -1.0, Silent())["rounds"] == 1
    assert measuring.over_rounds(lambda: {"seconds": 1.0}, 3, 60.0, Silent())["rounds"] == 3
