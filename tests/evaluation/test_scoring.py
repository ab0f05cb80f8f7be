"""What maps of one patient are worth, against straightforward calculations."""

import dataclasses

import gliomas
import numpy as np
import pytest

from dcejax.evaluation import scoring, tumour_regions
from dcejax.evaluation.arms.simple_arms import Maps
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS, ssim
from dcejax.types import PARAMETERS


@pytest.fixture(scope="module")
def simulated():
    return gliomas.simulate(1)


@pytest.fixture(scope="module")
def noisy(simulated):
    rng = np.random.default_rng(3)
    values = simulated.truth * np.exp(rng.normal(0, 0.3, simulated.truth.shape)) - 1e-4
    return np.where(simulated.scan.mask[..., None], values, 0).astype(np.float32)


def test_published_metrics_are_means_over_slices_with_brain(simulated, noisy):
    found = scoring.against(noisy, simulated.truth, simulated)
    slices = np.flatnonzero(simulated.scan.mask.any(axis=(0, 1)))
    assert slices.size == 4
    for channel, name in enumerate(PARAMETERS):
        truth, made = (np.clip(stack[..., channel].astype(float), 0, 1) for stack in (simulated.truth, noisy))
        images = [ssim(made[:, :, z], truth[:, :, z], data_range=1.0) for z in slices]
        assert found[name]["ssim"] == pytest.approx(np.mean(images), rel=1e-12)
        nrmse = [
            100 * np.sqrt(((made - truth)[:, :, z] ** 2).mean()) / np.ptp(truth[:, :, z].astype(float)) for z in slices
        ]
        assert found[name]["nrmse"] == pytest.approx(np.mean(nrmse))
        assert found[name]["slices"] == 4


def test_air_counts_in_what_is_published_and_in_nothing_else(simulated, noisy):
    def wide(array):
        return np.pad(array, ((30, 9), (0, 50), *[(0, 0)] * (array.ndim - 2)))

    scan = simulated.scan
    scan = dataclasses.replace(scan, mask=wide(scan.mask), segmentation=wide(scan.segmentation))
    larger = dataclasses.replace(simulated, scan=scan)
    truth, made = wide(simulated.truth), wide(noisy)
    close, far = scoring.against(noisy, simulated.truth, simulated), scoring.against(made, truth, larger)
    slices = np.flatnonzero(scan.mask.any(axis=(0, 1)))
    for channel, name in enumerate(PARAMETERS):
        images = [
            ssim(*(np.clip(stack[:, :, z, channel], 0, 1) for stack in (made, truth)), data_range=1.0) for z in slices
        ]
        assert far[name]["ssim"] == pytest.approx(np.mean(images), rel=1e-12)
        assert far[name]["ssim"] > close[name]["ssim"]
        assert far[name]["brain_ssim"] == pytest.approx(close[name]["brain_ssim"])
        assert far[name]["log_rmse"] == close[name]["log_rmse"]


def test_errors_of_logarithms_take_maps_as_they_are(simulated, noisy):
    tumour = simulated.scan.segmentation == 1
    for channel, name in enumerate(PARAMETERS):
        made, truth = (
            np.maximum(noisy[tumour, channel], 0).astype(float),
            simulated.truth[tumour, channel].astype(float),
        )
        ratio = np.log((made + LOG_FLOORS[channel]) / (truth + LOG_FLOORS[channel]))
        found = scoring.against(noisy, simulated.truth, simulated)[name]
        assert found["log_rmse"] == pytest.approx(np.sqrt((ratio**2).mean()))
        assert found["median_log_error"] == pytest.approx(np.median(np.abs(ratio)))
        assert found["median_log_error"] < found["trimmed_log_rmse"] < found["log_rmse"]
        of_tissue = scoring.tissue_errors(noisy, simulated)["enhancing tumour"][name]
        assert of_tissue["median_log_error"] == found["median_log_error"]


def test_the_truth_is_perfect(simulated):
    found = scoring.score(Maps(simulated.truth), {"truth": simulated.truth}, simulated)
    for name in PARAMETERS:
        assert found["against"]["truth"][name]["ssim"] == pytest.approx(1)
        assert found["against"]["truth"][name]["brain_ssim"] == pytest.approx(1)
        assert found["against"]["truth"][name]["nrmse"] == 0
        assert found["tissues"]["white matter"][name]["bias"] == 0
    assert "uncertainty" not in found
    assert "halves" not in found


def test_a_constant_reference_has_no_image_metrics(simulated):
    found = scoring.against(simulated.truth, np.zeros_like(simulated.truth), simulated)
    assert found["Ktrans"] == {"slices": 0}


def test_a_patient_without_enhancement_has_no_tumour_metrics():
    silent = gliomas.simulate(gliomas.SILENT)
    found = scoring.score(Maps(silent.truth, np.ones_like(silent.truth)), {"truth": silent.truth}, silent)
    assert found["against"]["truth"]["ve"]["tumour_nrmse"] is None
    assert not {"log_rmse", "median_log_error"} & set(found["against"]["truth"]["ve"])
    assert "enhancing tumour" not in found["tissues"]
    assert list(found["roi"]) == [tumour_regions.ABNORMAL]
    assert list(found["uncertainty"]) == [tumour_regions.BRAIN]
    assert found["edge"] == {}


def test_region_means(simulated, noisy):
    found = scoring.roi_statistics(noisy, simulated)
    abnormal = noisy[simulated.scan.segmentation > 0]
    for channel, name in enumerate(PARAMETERS):
        assert found[tumour_regions.ABNORMAL][name]["mean"] == pytest.approx(abnormal[:, channel].astype(float).mean())
        assert found[tumour_regions.ABNORMAL][name]["median"] == pytest.approx(np.median(abnormal[:, channel]))


def test_true_uncertainty_covers(simulated):
    rng = np.random.default_rng(5)
    sd = 0.02 + 0.02 * rng.random(simulated.truth.shape)
    maps = Maps(simulated.truth + sd * rng.normal(size=sd.shape), sd)
    found = scoring.uncertainty_scores(maps, simulated)
    assert set(found) == {tumour_regions.BRAIN, tumour_regions.TUMOUR}
    for name in PARAMETERS:
        assert found[tumour_regions.BRAIN][name]["coverage"]["90"] == pytest.approx(0.90, abs=0.015)
        assert found[tumour_regions.BRAIN][name]["coverage"]["50"] == pytest.approx(0.50, abs=0.02)
        assert found[tumour_regions.BRAIN][name]["width"]["95"] == pytest.approx(2 * 1.96 * sd.mean(), rel=0.01)
        assert found[tumour_regions.BRAIN][name]["ause_sd"] < 1
        assert found[tumour_regions.BRAIN][name]["without_sd"] == 0


def test_an_interval_of_its_own_counts_in_place_of_a_gaussians(simulated):
    """Of a log-normal distribution, whose SD says little of its ends."""
    rng = np.random.default_rng(5)
    logs = rng.normal(np.log(0.1), 0.8, simulated.truth.shape)
    truth = dataclasses.replace(simulated, truth=np.exp(logs + 0.8 * rng.normal(size=logs.shape)))
    ends = tuple(np.exp(logs + sign * 0.8 * 1.645) for sign in (-1, 1))
    sd = np.exp(logs + 0.32) * np.sqrt(np.expm1(0.64))
    stated, gaussian = (
        scoring.uncertainty_scores(Maps(np.exp(logs), sd, interval), truth)[tumour_regions.BRAIN]["vp"]
        for interval in (ends, None)
    )
    assert stated["coverage"]["90"] == pytest.approx(0.9, abs=0.015)
    assert gaussian["coverage"]["90"] != pytest.approx(0.9, abs=0.015)
    inside = simulated.scan.mask
    assert stated["width"]["90"] == pytest.approx((ends[1] - ends[0])[inside][:, 1].mean())
    assert stated["coverage"]["50"] == gaussian["coverage"]["50"]


def test_rounding_of_nearly_equal_deviations_does_not_change_what_they_tell(simulated):
    """Half-way along its sigmoid a network states nearly one SD for all voxels, rounded as its mean."""
    rng = np.random.default_rng(6)
    shape = simulated.truth.shape
    mean = 0.16 + 0.02 * rng.integers(0, 3, shape)
    sd = 0.17 * mean + 1e-3 * rng.integers(0, 3, shape)
    found = []
    for phase in range(12):
        # Rounding that follows the truth, as what the same arithmetic makes of like values does.
        rounding = np.sin(phase + 300.0 * simulated.truth) * np.finfo(np.float32).eps * mean
        maps = Maps(mean.astype(np.float32), (sd + rounding).astype(np.float32))
        scores = scoring.uncertainty_scores(maps, simulated)
        found.append(
            [
                [scores[place][name][key] for name in PARAMETERS for key in ("ause_sd", "ause_cv")]
                for place in (tumour_regions.BRAIN, tumour_regions.TUMOUR)
            ]
        )
    assert np.ptp(found, axis=0).max() < 5e-3


def test_the_rim_lies_at_the_edge():
    region = np.zeros((9, 9, 9), bool)
    region[2:7, 2:7, 2:7] = True
    rim = tumour_regions.rim(region)
    assert rim.sum() == 5**3 - 3**3
    assert not rim[3:6, 3:6, 3:6].any()
    # Where the image ends, nothing says that the tumour does.
    region[2:7, 2:7, :] = True
    assert not tumour_regions.rim(region)[4, 4, [0, 8]].any()


def test_tissues_part_the_brain(simulated):
    groups = tumour_regions.tissues(simulated)
    counted = sum(group.astype(int) for group in groups.values())
    assert counted.max() == 1
    assert set(groups) >= {"enhancing tumour", "other abnormal", "white matter", "grey matter", "CSF"}
    small = dataclasses.replace(
        simulated, scan=dataclasses.replace(simulated.scan, segmentation=np.zeros_like(simulated.scan.segmentation))
    )
    assert "enhancing tumour" not in tumour_regions.tissues(small)


def test_what_is_not_finite_is_not_there():
    assert scoring.plain({"a": [np.float32(1.5), np.nan], "b": (np.int64(2), np.inf, None, "c")}) == {
        "a": [1.5, None],
        "b": [2, None, None, "c"],
    }
