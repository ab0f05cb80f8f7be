"""Bounded least squares: global optimum, efficiency, intervals, bounds, statuses, and other groups' data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted
from scipy.interpolate import CubicSpline
from scipy.optimize import curve_fit
from scipy.signal import lfilter

from dcejax.physics import fitting, kinetics
from dcejax.physics.aif import parker
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.kinetics import ExtendedTofts, TwoCompartmentUptake
from dcejax.physics.prediction import predict
from dcejax.physics.tracer_models import MODELS

TIMES = np.arange(60) * 5.0 / 60.0
AIF = np.asarray(parker(TIMES, arrival=0.5))
BOUNDS = ([0.0, 0.0, 0.005], [5.0, 1.0, 1.0])


def curves_of(ktrans, vp, ve):
    params = ExtendedTofts(*(jnp.asarray(p, jnp.float32) for p in (ktrans, vp, ve)))
    return np.asarray(jax.vmap(kinetics.extended_tofts, (0, None, None))(params, TIMES, AIF))


def float64_model(times, ktrans, vp, ve):
    """Extended Tofts in numpy, for scipy: the recursion for a piecewise-linear input, on equal steps."""
    x = max(ktrans / ve * (times[1] - times[0]), 1e-12)
    phi1 = -np.expm1(-x) / x
    phi2 = (1 - phi1) / x if x > 1e-4 else 0.5 - x / 6
    gain = np.diff(times) * ((phi1 - phi2) * AIF[:-1] + phi2 * AIF[1:])
    return vp * AIF + ktrans * lfilter([1.0], [1.0, -np.exp(-x)], np.concatenate([[0.0], gain]))


def random_voxels(count, seed):
    rng = np.random.default_rng(seed)
    ktrans = np.exp(rng.uniform(np.log(1e-3), np.log(1.0), count))
    clean = curves_of(ktrans, rng.uniform(0, 0.2, count), rng.uniform(0.02, 0.9, count))
    return (clean + 0.01 * rng.normal(size=clean.shape)).astype(np.float32)


def test_noise_free_curves_give_their_parameters():
    truth = np.array([[0.07, 0.05, 0.25], [0.25, 0.10, 0.40], [0.03, 0.03, 0.20], [1.0, 0.02, 0.6]])
    result = fit("extended_tofts", curves_of(*truth.T), TIMES, AIF)
    np.testing.assert_allclose(np.stack(result.params, -1), truth, rtol=2e-3)
    assert (result.status == FitStatus.CONVERGED).all()


def test_progress_counts_voxels(monkeypatch):
    monkeypatch.setattr(fitting, "chunk_size", lambda way: 64)
    data, told = random_voxels(150, seed=3), []
    found = fit("patlak", data, TIMES, AIF, progress=lambda *counts: told.append(counts))
    assert told == [(0, 150), (64, 150), (128, 150)]
    np.testing.assert_array_equal(found.params.ktrans, fit("patlak", data, TIMES, AIF).params.ktrans)


@pytest.mark.parametrize(
    ("count", "starts", "least"), [(60, 4, 1.0), pytest.param(10_000, 10, 0.999, marks=pytest.mark.slow)]
)
def test_no_start_of_scipy_finds_a_better_optimum(count, starts, least):
    data = random_voxels(count, seed=1)
    result = fit("extended_tofts", data, TIMES, AIF)
    rng = np.random.default_rng(2)
    optimal = []
    for curve, ours, residual in zip(data, np.stack(result.params, -1), result.residual, strict=True):
        assert (ours >= np.array(BOUNDS[0]) - 1e-6).all()
        assert (ours <= np.array(BOUNDS[1]) + 1e-6).all()
        best = np.inf
        for start in np.exp(rng.uniform(np.log([1e-3, 1e-3, 0.01]), np.log([2.0, 0.5, 0.9]), (starts, 3))):
            found, _ = curve_fit(float64_model, TIMES, curve, start, bounds=BOUNDS, max_nfev=2000)
            best = min(best, ((curve - float64_model(TIMES, *found)) ** 2).sum())
        recomputed = ((curve - float64_model(TIMES, *ours.astype(float))) ** 2).sum()
        np.testing.assert_allclose(residual, recomputed, rtol=1e-3)
        optimal.append(recomputed <= best * (1 + 1e-4))
    assert np.mean(optimal) >= least, f"{np.mean(optimal):.5f} of {count} voxels"


def test_weights_silence_frames():
    data = curves_of([0.07], [0.05], [0.25])
    spoiled = data.copy()
    spoiled[:, [10, 33]] += 5.0
    weights = np.ones(60)
    weights[[10, 33]] = 0.0
    for given in (weights, weights[None].repeat(1, 0)):
        result = fit("extended_tofts", spoiled, TIMES, AIF, weights=given)
        np.testing.assert_allclose(np.stack(result.params)[:, 0], [0.07, 0.05, 0.25], rtol=2e-3)


def test_every_voxel_gets_a_finite_answer_and_a_reason():
    good = curves_of([0.07], [0.05], [0.25])[0]
    rng = np.random.default_rng(0)
    data = np.stack(
        [good, np.full(60, np.nan), np.zeros(60), 0.01 * rng.normal(size=60), -good, good * 40, good * 1e20]
    )
    data[1, 0] = np.inf
    result = fit("extended_tofts", data.astype(np.float32), TIMES, AIF)
    for leaf in (*result.params, *result.se, result.residual, result.covariance, result.aicc):
        assert np.isfinite(leaf).all()
    assert result.status[0] == FitStatus.CONVERGED
    assert result.status[1] == FitStatus.NOT_FITTED
    assert result.params.ktrans[1] == 0
    assert (result.status[2:5] == FitStatus.NOT_ENHANCING).all()
    assert result.status[5] == FitStatus.AT_BOUND
    assert result.status[6] == FitStatus.NOT_FITTED


@pytest.mark.parametrize(
    "bounds",
    [
        {"ktrans": (0.0, 1.0), "vp": (0.0, 0.1), "ve": (0.05, 1.0)},
        {"ktrans": (0.0, 0.2), "ve": (0.1, 0.6)},
        {"ktrans": (0.05, 0.06), "vp": (0.02, 0.04), "ve": (0.1, 0.11)},
    ],
)
def test_no_start_of_scipy_does_better_within_user_bounds(bounds):
    data = random_voxels(40, seed=6)
    result = fit("extended_tofts", data, TIMES, AIF, bounds=bounds)
    lower, upper = np.array([(BOUNDS[0][i], BOUNDS[1][i]) for i in range(3)]).T
    for i, name in enumerate(("ktrans", "vp", "ve")):
        lower[i], upper[i] = bounds.get(name, (lower[i], upper[i]))
    rng = np.random.default_rng(7)
    for curve, residual in zip(data, result.residual, strict=True):
        for start in lower + (upper - lower) * rng.uniform(0.02, 0.98, (4, 3)):
            found, _ = curve_fit(
                float64_model, TIMES, curve, start, bounds=(lower, upper), max_nfev=2000, x_scale=upper - lower
            )
            assert residual <= ((curve - float64_model(TIMES, *found)) ** 2).sum() * (1 + 1e-4)


def test_wide_bounds_hold_nothing_and_predict_follows_them():
    curve = curves_of([8.0], [0.05], [0.6])
    result = fit("extended_tofts", curve, TIMES, AIF, bounds={"ktrans": (0.0, 1e6)})
    assert result.status[0] == FitStatus.CONVERGED
    assert result.se.ktrans[0] > 0
    np.testing.assert_allclose(predict("extended_tofts", result.params, TIMES, AIF), curve, atol=1e-4)


def test_clock_and_unit_of_weights_change_nothing():
    data = random_voxels(20, seed=12)
    plain = fit("extended_tofts", data, TIMES, AIF)
    late = fit("extended_tofts", data, TIMES + 2.8e7, AIF)  # minutes since 1970
    np.testing.assert_allclose(late.params.ktrans, plain.params.ktrans, rtol=1e-3)
    for unit in (1e-24, 1e24):
        scaled = fit("extended_tofts", data, TIMES, AIF, weights=np.full(60, unit))
        np.testing.assert_allclose(scaled.params.ktrans, plain.params.ktrans, rtol=1e-6)
        np.testing.assert_allclose(scaled.residual, plain.residual * np.float32(unit), rtol=1e-5)


def test_user_bounds_hold():
    result = fit("extended_tofts", random_voxels(500, 4), TIMES, AIF, bounds={"vp": (0.0, 0.05), "ve": (0.1, 0.5)})
    assert result.params.vp.max() <= 0.05 + 1e-6
    assert result.params.ve.min() >= 0.1 - 1e-5
    assert result.params.ve.max() <= 0.5 + 1e-5


@pytest.mark.parametrize("count", [0, 1, 4096, 4097])
def test_any_number_of_voxels_with_one_compilation(count):
    data = np.resize(random_voxels(64, 5), (count, 60))
    fit("extended_tofts", data[:1] if count else random_voxels(1, 0), TIMES, AIF)
    with counted() as compilations:
        result = fit("extended_tofts", data, TIMES, AIF)
    assert not [name for name in compilations if "fit" in name]
    assert result.params.ktrans.shape == (count,)
    if count > 64:
        np.testing.assert_array_equal(result.params.ktrans[:1], result.params.ktrans[64:65])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "toffs"}, "expected one of plasma_only, tofts"),
        ({"times": TIMES[::-1]}, "strictly increasing"),
        ({"aif": np.zeros(60)}, "rises above zero"),
        ({"aif": AIF[:50]}, "found"),
        ({"method": "guess"}, "nlls or linear"),
        ({"bounds": {"ve": (0.0, 1.0)}}, "above 0"),
        ({"bounds": {"ktrans": (0.0, np.inf)}}, "finite"),
        ({"times": TIMES[::-1].astype(np.uint8)}, "strictly increasing"),
        ({"bounds": {"kep": (0.0, 1.0)}}, "ktrans, vp, ve"),
        ({"weights": np.ones(7)}, "weights"),
        ({"model": "two_compartment_exchange", "method": "linear"}, "without a free delay"),
    ],
)
def test_bad_input_is_refused(change, message):
    given = {"model": "extended_tofts", "concentration": random_voxels(2, 0), "times": TIMES, "aif": AIF} | change
    positional = [given.pop(name) for name in ("model", "concentration", "times", "aif")]
    with pytest.raises(ValueError, match=message):
        fit(*positional, **given)


# Efficiency, intervals, bias of vp, and other groups' curves and maps: dcejax.selfcheck, run by test_selfcheck.py.


def test_linear_fit_of_noise_free_curves():
    times = np.arange(400) * 0.75 / 60.0
    aif = np.asarray(parker(times, arrival=0.5))
    truth = ExtendedTofts(0.1, 0.04, 0.3)
    curve = np.asarray(kinetics.extended_tofts(truth, times, aif))[None]
    result = fit("extended_tofts", curve, times, aif, method="linear")
    np.testing.assert_allclose(np.stack(result.params)[:, 0], truth, rtol=0.03)


TRUTHS = {
    "patlak": (0.02, 0.04),
    "extended_tofts": (0.07, 0.05, 0.25),
    "two_compartment_exchange": (0.4, 0.1, 0.06, 0.3),
}
FINE_TIMES = np.arange(150) * 2.0 / 60.0
FINE_AIF = np.asarray(parker(FINE_TIMES, arrival=0.5))


def curve_of(model, truth, delay=0.0, finer=1):
    """The curve at FINE_TIMES of the input sampled there, or `finer` times as often."""
    times = np.arange(finer * (FINE_TIMES.size - 1) + 1) * FINE_TIMES[1] / finer
    with jax.enable_x64(True):
        params, aif = MODELS[model].params(*truth), FINE_AIF if finer == 1 else np.asarray(parker(times, arrival=0.5))
        return np.asarray(jax.jit(MODELS[model].curve)(params, times, aif, delay=delay))[::finer]


@pytest.mark.parametrize(
    "model", ["patlak", "extended_tofts", pytest.param("two_compartment_exchange", marks=pytest.mark.slow)]
)
def test_models_with_a_free_delay(model):
    """Delays before, on and after the arterial input, off its knots; the input itself is smooth."""
    delays = np.array([-4.3, 0.0, 3.1, 7.7]) / 60.0
    curves = np.stack([curve_of(model, TRUTHS[model], delay, finer=20) for delay in delays])
    result = fit(model, curves, FINE_TIMES, FINE_AIF, fit_delay=True)
    np.testing.assert_allclose(result.delay, delays, atol=0.05 / 60.0)
    np.testing.assert_allclose(np.stack(result.params), np.array(TRUTHS[model])[:, None].repeat(4, 1), rtol=0.02)
    assert (result.r_squared > 0.9999).all()


@pytest.mark.slow
@pytest.mark.slow
def test_no_start_of_scipy_finds_a_better_optimum_of_a_searched_model():
    model = "two_compartment_exchange"
    rng = np.random.default_rng(8)
    curves = curve_of(model, TRUTHS[model]) + 0.01 * rng.normal(size=(4, FINE_TIMES.size))
    result = fit(model, curves, FINE_TIMES, FINE_AIF)
    lower, upper = np.array(MODELS[model].bounds).T
    with jax.enable_x64(True):
        kind, statement = MODELS[model].params, MODELS[model].curve
        predicted = jax.jit(lambda values: statement(kind(*values), FINE_TIMES, FINE_AIF))
        for curve, residual in zip(curves, result.residual, strict=True):
            starts = [np.array(TRUTHS[model]) * np.exp(0.5 * rng.normal(size=lower.size)) for _ in range(3)]
            best = min(
                ((curve - predicted(found)) ** 2).sum()
                for start in starts
                for found, _ in [
                    curve_fit(lambda _, *v: predicted(jnp.array(v)), 0, curve, start, bounds=(lower, upper))
                ]
            )
            assert residual <= best * (1 + 1e-4)


@pytest.mark.parametrize(
    ("model", "fit_delay"),
    [
        pytest.param("two_compartment_uptake", False, marks=pytest.mark.slow),
        ("two_compartment_uptake", True),
        ("two_compartment_exchange", False),
        pytest.param("two_compartment_exchange", True, marks=pytest.mark.slow),
    ],
)
def test_no_noisy_curve_of_a_searched_model_is_described_better_by_its_truth(model, fit_delay):
    """A search that stays in another valley than the best one leaves a greater residual than the truth has."""
    rng = np.random.default_rng(11)
    spread = np.exp(rng.normal(np.log([[0.4], [0.08], [0.05], [0.25]]), [[0.5], [0.8], [0.5], [0.5]], (4, 1000)))
    params = MODELS[model].params(*spread[: len(MODELS[model].bounds)])
    delay = rng.uniform(-4, 6, 1000) / 60 if fit_delay else None
    clean = predict(model, params, TIMES, AIF, delay=delay)
    curves = clean + 0.02 * rng.normal(size=clean.shape)
    result = fit(model, curves, TIMES, AIF, fit_delay=fit_delay)
    assert (result.residual <= ((curves - clean) ** 2).sum(-1) * (1 + 1e-5)).mean() >= 0.998
    assert (result.status != FitStatus.NOT_CONVERGED).mean() > 0.98


def test_quality_of_fit_by_its_definition():
    data = random_voxels(50, 9)
    weights = np.linspace(0.5, 2.0, 60)
    result = fit("extended_tofts", data, TIMES, AIF, weights=weights)
    fitted = np.stack([float64_model(TIMES, *p) for p in np.stack(result.params, -1).astype(float)])
    residual = (weights * (data - fitted) ** 2).sum(-1)
    mean = (weights * data).sum(-1, keepdims=True) / weights.sum()
    np.testing.assert_allclose(result.r_squared, 1 - residual / (weights * (data - mean) ** 2).sum(-1), atol=1e-4)
    k = 4  # three parameters and the variance
    expected = 60 * np.log(residual / 60) + 2 * k + 2 * k * (k + 1) / (60 - k - 1)
    np.testing.assert_allclose(result.aicc, expected, atol=0.05)


def test_predict_evaluates_the_model_for_any_number_of_voxels():
    params = ExtendedTofts(np.array([0.1, 0.2, 0.1]), np.array([0.02, 0.05, -0.1]), np.array([0.3, 0.2, -1.0]))
    curves = predict("extended_tofts", params, TIMES, AIF)
    np.testing.assert_allclose(curves[0], float64_model(TIMES, 0.1, 0.02, 0.3), atol=1e-5)
    np.testing.assert_allclose(curves[2], float64_model(TIMES, 0.1, 0.0, 0.005), atol=1e-5)  # moved to the bounds
    # With a delay the input is a spline.
    fine = np.linspace(TIMES[0], TIMES[-1], 64 * (TIMES.size - 1) + 1)
    finer = CubicSpline(TIMES, AIF)(fine)
    late = predict("extended_tofts", params, TIMES, AIF, delay=np.array([0.0, 0.05, -0.03]))
    expected = kinetics.extended_tofts(ExtendedTofts(0.2, 0.05, 0.2), fine, finer, delay=0.05)[::64]
    np.testing.assert_allclose(late[1], expected, atol=3e-3 * np.max(expected))
    late = predict(
        "two_compartment_uptake", TwoCompartmentUptake(*np.array([[0.1], [0.02], [0.05]])), TIMES, AIF, delay=[0.05]
    )
    expected = kinetics.two_compartment_uptake(TwoCompartmentUptake(0.1, 0.02, 0.05), fine, finer, delay=0.05)[::64]
    np.testing.assert_allclose(late[0], expected, atol=6e-3 * np.max(expected))  # sharper than that
    assert predict("extended_tofts", ExtendedTofts(*np.zeros((3, 0))), TIMES, AIF).shape == (0, 60)
    with pytest.raises(ValueError, match="expected one of"):
        predict("toffs", params, TIMES, AIF)
    with pytest.raises(ValueError, match="strictly increasing"):
        predict("extended_tofts", params, TIMES[::-1], AIF)
