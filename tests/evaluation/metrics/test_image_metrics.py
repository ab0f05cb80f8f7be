"""Image metrics against scikit-image and by hand."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from dcejax.evaluation.metrics.image_metrics import (
    LOG_FLOORS,
    TRIMMED,
    errors,
    log_errors,
    nrmse_percent,
    ssim,
    tumour_nrmse_percent,
)


def _maps(shape=(3, 40, 31), seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.gamma(1.0, 0.1, shape)
    return truth + 0.05 * rng.normal(size=shape), truth


def _reference(a, b, data_range):
    """scikit-image mirrors at the edge; with zeros around, its map of the slice is that of zero padding."""
    metrics = pytest.importorskip("skimage.metrics")
    a, b = np.pad(a, 12), np.pad(b, 12)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "full": True}
    return metrics.structural_similarity(a, b, data_range=data_range, **options)[1][12:-12, 12:-12]


@pytest.mark.parametrize("data_range", [1.0, 0.3])
def test_ssim_is_that_of_scikit_image(data_range):
    predicted, truth = _maps()
    expected = [_reference(p, t, data_range).mean() for p, t in zip(predicted, truth, strict=True)]
    np.testing.assert_allclose(ssim(predicted, truth, data_range=data_range), expected, rtol=1e-10)


def test_ssim_in_a_mask_is_the_mean_of_the_map_there():
    predicted, truth = _maps()
    mask = np.random.default_rng(1).random(truth.shape) < 0.3
    expected = [_reference(p, t, 0.5)[m].mean() for p, t, m in zip(predicted, truth, mask, strict=True)]
    np.testing.assert_allclose(ssim(predicted, truth, data_range=0.5, mask=mask), expected, rtol=1e-10)


def test_ssim_of_equal_slices_is_one_and_of_opposite_ones_negative():
    _, truth = _maps()
    np.testing.assert_allclose(ssim(truth, truth, data_range=1.0), 1.0, rtol=1e-12)
    board, inside = np.indices((30, 30)).sum(axis=0) % 2 - 0.5, np.zeros((30, 30), bool)
    inside[8:-8, 8:-8] = True  # the mean of the window is zero only away from the edge
    assert ssim(board, -board, data_range=1.0, mask=inside) == pytest.approx(-1.0, abs=0.01)


def test_ssim_is_symmetric_in_its_arguments_and_in_x_and_y():
    predicted, truth = _maps()
    expected = ssim(predicted, truth, data_range=1.0)
    np.testing.assert_array_equal(ssim(truth, predicted, data_range=1.0), expected)
    turned = ssim(predicted.swapaxes(1, 2), truth.swapaxes(1, 2), data_range=1.0)
    np.testing.assert_allclose(turned, expected, rtol=1e-12)


def test_each_slice_stands_alone():
    predicted, truth = _maps((2, 3, 16, 16))
    mask = truth > 0.05
    stack = (
        ssim(predicted, truth, data_range=1.0, mask=mask),
        nrmse_percent(predicted, truth),
        tumour_nrmse_percent(predicted, truth, mask),
    )
    for i in np.ndindex(2, 3):
        p, t, m = predicted[i], truth[i], mask[i]
        alone = ssim(p, t, data_range=1.0, mask=m), nrmse_percent(p, t), tumour_nrmse_percent(p, t, m)
        assert [values[i] for values in stack] == pytest.approx([float(value) for value in alone], rel=1e-13)


def test_a_slice_without_mask_has_no_ssim():
    predicted, truth = _maps()
    mask = np.ones(truth.shape, bool)
    mask[1] = False
    assert np.isnan(ssim(predicted, truth, data_range=1.0, mask=mask)).tolist() == [False, True, False]


def test_nrmse_is_that_of_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    predicted, truth = _maps()
    expected = [
        100.0 * metrics.normalized_root_mse(t, p, normalization="min-max")
        for p, t in zip(predicted, truth, strict=True)
    ]
    np.testing.assert_allclose(nrmse_percent(predicted, truth), expected, rtol=1e-12)


def test_nrmse_does_not_depend_on_the_unit_and_not_at_all_on_an_offset():
    predicted, truth = _maps()
    expected = nrmse_percent(predicted, truth)
    np.testing.assert_allclose(nrmse_percent(60.0 * predicted + 7.0, 60.0 * truth + 7.0), expected, rtol=1e-9)


def test_nrmse_needs_a_range():
    predicted, truth = _maps()
    truth[2] = 0.1
    whole = np.ones(truth.shape, bool)
    assert np.isnan(nrmse_percent(predicted, truth)).tolist() == [False, False, True]
    assert np.isnan(tumour_nrmse_percent(predicted, truth, whole)).tolist() == [False, False, True]


def test_tumour_nrmse_takes_errors_of_the_tumour_and_the_range_of_the_slice():
    truth, predicted, tumour = np.zeros((10, 10)), np.zeros((10, 10)), np.zeros((10, 10), bool)
    truth[0, 0], tumour[4, 4:8] = 5.0, True
    predicted[4, 4:8] = 0.1, -0.1, 0.2, 0.0
    predicted[9, 9] = 100.0
    expected = 100.0 * np.sqrt((0.01 + 0.01 + 0.04) / 4) / 5.0
    assert tumour_nrmse_percent(predicted, truth, tumour) == pytest.approx(expected)


def test_tumour_over_the_whole_slice_gives_nrmse():
    predicted, truth = _maps()
    whole = tumour_nrmse_percent(predicted, truth, np.True_)
    np.testing.assert_allclose(whole, nrmse_percent(predicted, truth), rtol=1e-12)


def test_tumour_of_three_pixels_in_256_by_256_is_too_small():
    truth = np.random.default_rng(0).random((2, 256, 256))
    tumour = np.zeros(truth.shape, bool)
    tumour[0, 5, :3] = tumour[1, 5, :4] = True
    assert np.isnan(tumour_nrmse_percent(truth + 0.1, truth, tumour)).tolist() == [True, False]


@pytest.mark.parametrize("size", [1, 2, 9, 10, 101])
def test_errors_of_logarithms_are_those_of_numpy(size):
    rng = np.random.default_rng(size)
    truth = rng.gamma(2.0, 0.05, size)
    predicted = (truth * np.exp(rng.normal(0.1, 0.4, size)) * (rng.random(size) > 0.2)).astype(np.float32)
    ratio = np.abs(np.log((predicted.astype(np.float64) + 1e-3) / (truth + 1e-3)))
    found = log_errors(predicted, truth, 1e-3)
    assert found.median == pytest.approx(np.median(ratio), rel=1e-12)
    assert found.rmse == pytest.approx(np.sqrt(np.mean(ratio**2)), rel=1e-12)
    left = size - int(TRIMMED * size)
    assert found.trimmed_rmse == pytest.approx(np.sqrt(np.mean(np.sort(ratio)[:left] ** 2)), rel=1e-12)
    order = rng.permutation(size)
    assert log_errors(predicted[order], truth[order], 1e-3) == pytest.approx(found, rel=1e-12)


def test_errors_of_a_common_factor_are_its_logarithm():
    truth = np.random.default_rng(0).uniform(0.05, 0.3, 100)
    for predicted in (1.1 * truth, truth / 1.1):
        assert log_errors(predicted, truth, 1e-12) == pytest.approx([np.log(1.1)] * 3, rel=1e-9)


def test_voxels_at_zero_rule_the_log_rmse_and_not_the_others():
    truth = np.full(100, 0.1)
    predicted = 1.1 * truth
    predicted[::20] = 0.0
    found = log_errors(predicted, truth, LOG_FLOORS[0])
    assert found.rmse > 1.5
    assert found[:2] == pytest.approx([np.log(1.1)] * 2, rel=2e-3)


def test_errors_of_logarithms_take_negative_predictions_for_zero():
    assert log_errors(np.array([-5.0]), np.array([0.01]), 1e-3) == pytest.approx([np.log(11.0)] * 3)
    assert log_errors(np.array([-1e-3]), np.array([0.0]), 1e-3) == (0.0, 0.0, 0.0)


def test_floors_hide_little_of_what_tumour_has():
    for floor, value in zip(LOG_FLOORS, (0.02, 0.03, 0.2), strict=True):
        assert log_errors(np.array([1.5 * value]), np.array([value]), floor).rmse > 0.95 * np.log(1.5)


def test_errors_by_hand():
    found = errors([[1.0, 2.0], [4.0, 3.0]], [[1.0, 1.0], [2.0, 4.0]])
    assert found.n == 4
    assert found.median_truth == 1.5
    assert found.bias == 0.5
    assert found.median_absolute_error == 1.0
    assert found.rmse == pytest.approx(np.sqrt(1.5))


def test_correlations_are_those_of_numpy_and_scipy():
    predicted, truth = _maps()
    predicted, truth = predicted.round(2), truth.round(2)  # with ties
    found = errors(predicted, truth)
    assert found.pearson == pytest.approx(np.corrcoef(predicted.ravel(), truth.ravel())[0, 1], rel=1e-12)
    assert found.spearman == pytest.approx(spearmanr(predicted.ravel(), truth.ravel()).statistic, rel=1e-12)


def test_correlation_is_nan_where_a_map_is_constant_and_survives_tiny_units():
    values = np.array([0.1, 0.2, 0.4])
    for predicted, truth in ((values, np.full(3, 0.1)), (np.full(3, 0.1), values), ([1.0], [1.0])):
        found = errors(predicted, truth)
        assert np.isnan([found.pearson, found.spearman]).all()
    assert errors(1e-200 * values, values).pearson == pytest.approx(1.0, rel=1e-12)
    assert errors(-values, values).pearson == -1.0


IMAGE = np.ones((4, 4))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ssim(IMAGE, np.ones((4, 5)), data_range=1.0), r"b: expected the shape of a, \(4, 4\), found \(4, 5\)"),
        (lambda: ssim(IMAGE, IMAGE, data_range=0.0), "data_range: expected a positive number, found 0.0"),
        (lambda: ssim(IMAGE, IMAGE, data_range=np.nan), "data_range: expected a positive number, found nan"),
        (lambda: ssim(IMAGE, IMAGE, data_range=1.0, mask=IMAGE), "mask: expected a boolean array .* found float64"),
        (lambda: ssim(np.ones(4), np.ones(4), data_range=1.0), r"shape \[..., X, Y\], found shape \(4,\)"),
        (lambda: nrmse_percent(np.full((4, 4), np.nan), IMAGE), "predicted: .* 16 not finite"),
        (lambda: nrmse_percent(np.ones((0, 4)), np.ones((0, 4))), r"one or more .* found shape \(0, 4\)"),
        (lambda: tumour_nrmse_percent(IMAGE, IMAGE, np.ones((3, 3), bool)), r"segmentation: .* found bool .*\(3, 3\)"),
        (lambda: log_errors(IMAGE, -IMAGE, 1e-3), "truth: expected values at or above 0, found -1"),
        (lambda: log_errors(IMAGE, IMAGE, 0.0), "floor: expected a positive number, found 0.0"),
        (lambda: errors([], []), "predicted: expected one or more"),
        (lambda: errors([1.0, np.inf], [1.0, 1.0]), "predicted: .* 1 not finite"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
