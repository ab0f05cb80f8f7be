"""Fits with a free delay: global optimum, errors, bounds and statuses, against scipy and simulation."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import counted
from scipy.optimize import least_squares

from dcejax.physics.aif import parker
from dcejax.physics.column_curves import curves_of, input_of
from dcejax.physics.convolution import exponential_convolution_at
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.levenberg_marquardt import minimize
from dcejax.physics.prediction import predict
from dcejax.physics.start_search import DELAY_BOUNDS
from dcejax.physics.tracer_models import MODELS

FINER = 20
DELAY_S = 10.0


def grid(times, arrival=0.5):
    """An input at frames, and the same on a grid so fine that nothing depends on what lies between."""
    fine = np.interp(np.arange(FINER * (times.size - 1) + 1) / FINER, np.arange(times.size), times)
    return parker(times, arrival=arrival, hematocrit=0.42), fine, parker(fine, arrival=arrival, hematocrit=0.42)


EVEN = np.arange(60) * 5.0 / 60.0
UNEVEN = np.cumsum(np.random.default_rng(3).uniform(2.0, 6.0, 70)) / 60.0
AIF, *FINE = grid(EVEN)
AIF = np.asarray(AIF)


def simulate(times, fine, count, seed, sigma=0.01):
    """Noisy curves of extended Tofts that arrive up to 2 s before and 6 s after the input."""
    rng = np.random.default_rng(seed)
    truth = {
        "ktrans": np.exp(rng.uniform(np.log(0.005), np.log(0.5), count)),
        "vp": rng.uniform(0.005, 0.15, count),
        "ve": rng.uniform(0.05, 0.6, count),
        "delay": rng.uniform(-2.0, 6.0, count) / 60.0,
    }

    @jax.jit
    @jax.vmap
    def seen(rate, delay):
        return exponential_convolution_at(jnp.asarray(times) - delay, rate, *fine)

    plasma, leaked = seen(truth["ktrans"] / truth["ve"], truth["delay"])
    clean = truth["vp"][:, None] * np.asarray(plasma) + truth["ktrans"][:, None] * np.asarray(leaked)
    return clean + sigma * rng.normal(size=clean.shape), truth


@pytest.mark.slow
@pytest.mark.parametrize("times", [pytest.param(EVEN, marks=pytest.mark.slow), UNEVEN], ids=["even", "uneven"])
def test_estimates_scatter_about_the_truth_as_their_errors_say(times):
    aif, *fine = grid(times)
    curves, truth = simulate(times, fine, 4000, 1, sigma=0.03)
    found = fit("extended_tofts", curves, times, np.asarray(aif), fit_delay=True)
    # Where all four parameters are determined: away from bounds, and emptied within the scan.
    clear = (found.status == FitStatus.CONVERGED) & (truth["ktrans"] > 0.02) & (truth["ktrans"] / truth["ve"] < 2)
    assert clear.sum() > 1000
    estimates = found.params._asdict() | {"delay": found.delay}
    errors = found.se._asdict() | {"delay": np.sqrt(found.covariance[:, 3, 3])}
    for name, true in truth.items():
        score = (estimates[name] - true)[clear] / errors[name][clear]
        assert 0.85 < np.mean(np.abs(score) < 1.645) < 0.95, name
        assert abs(np.median(score)) < 0.3, name


@pytest.mark.slow
def test_none_of_ten_starts_finds_a_better_optimum_in_995_of_1000_voxels():
    """Half a minute: another search, in the parameters themselves, from ten random points of the box."""
    curves, _ = simulate(EVEN, FINE, 10_000, 7)
    found = fit("extended_tofts", curves, EVEN, AIF, fit_delay=True)
    model = MODELS["extended_tofts"]
    lower, upper = np.array([*model.bounds, DELAY_BOUNDS]).T
    data, weights = jnp.asarray(curves.T, jnp.float32), jnp.ones((EVEN.size, 1))
    look = partial(curves_of, model, input_of(EVEN, AIF, DELAY_BOUNDS))
    descend = jax.jit(lambda start: minimize(look, start, data, weights, lower, upper, 100).cost)
    rng, best = np.random.default_rng(0), np.inf
    for _ in range(10):
        start = np.exp(rng.uniform(np.log([1e-3, 1e-3, 0.02]), np.log([1.0, 0.3, 0.9]), (10_000, 3))).T
        start = (*start.astype(np.float32), rng.uniform(*DELAY_BOUNDS, 10_000).astype(np.float32))
        best = np.minimum(best, descend(start))
    assert (found.residual <= best * (1 + 1e-4)).mean() >= 0.995


@pytest.mark.slow
@pytest.mark.slow
def test_no_start_of_scipy_finds_a_better_optimum():
    curves, _ = simulate(EVEN, FINE, 2, 2)
    found = fit("extended_tofts", curves, EVEN, AIF, fit_delay=True)
    lower, upper = np.array([*MODELS["extended_tofts"].bounds, (-DELAY_S / 60, DELAY_S / 60)]).T
    rng = np.random.default_rng(0)

    def residual(values, curve):
        steps = np.eye(4) * 1e-4 * np.maximum(np.abs(values), 0.01)
        batch = np.clip(np.stack([values, *(values + steps)]), lower, upper)
        return curve - predict("extended_tofts", ExtendedTofts(*batch[:, :3].T), EVEN, AIF, delay=batch[:, 3])

    starts = np.stack(
        [
            np.exp(rng.uniform(-5, -1, 2)),
            rng.uniform(0, 0.2, 2),
            rng.uniform(0.05, 0.9, 2),
            rng.uniform(-0.1, 0.1, 2),
        ],
        -1,
    )
    for curve, reached in zip(curves, found.residual, strict=True):
        ends = [
            least_squares(
                lambda v, c=curve: residual(v, c)[0], start, bounds=(lower, upper), x_scale=(0.1, 0.05, 0.3, 0.05)
            )
            for start in starts
        ]
        assert reached <= 2 * min(end.cost for end in ends) * (1 + 1e-3)


@pytest.mark.parametrize("model", ["plasma_only", "tofts", "patlak"])
def test_other_linear_models(model):
    record = MODELS[model]
    fine_times, fine = FINE
    delays = np.array([-6.3, -1.0, 0.0, 2.2, 9.1]) / 60.0
    curve = jax.jit(lambda d: record.curve(record.typical, fine_times, fine, delay=d))
    curves = np.stack([np.asarray(curve(d))[::FINER] for d in delays])
    found = fit(model, curves, EVEN, AIF, fit_delay=True)
    np.testing.assert_allclose(found.delay, delays, atol=0.1 / 60)
    for value, true in zip(found.params, record.typical, strict=True):
        np.testing.assert_allclose(value, true, rtol=0.03)
    assert (found.r_squared > 0.998).all()
    again = predict(model, found.params, EVEN, AIF, delay=found.delay)
    np.testing.assert_allclose(((curves - again) ** 2).sum(-1), found.residual, rtol=1e-3, atol=1e-6)


def test_maps_are_those_of_the_tissue_wherever_blood_arrives():
    """With hardly any noise: within 2 %, where a fit without a delay is wrong by several times as much."""
    curves, truth = simulate(EVEN, FINE, 500, 4, sigma=0.002)
    free, held = (fit("extended_tofts", curves, EVEN, AIF, fit_delay=each) for each in (True, False))
    clear = (free.status == FitStatus.CONVERGED) & (truth["ktrans"] > 0.02)
    for name in ExtendedTofts._fields:
        errors = (np.abs(getattr(each.params, name)[clear] / truth[name][clear] - 1) for each in (free, held))
        ours, other = map(np.median, errors)
        assert ours < 0.02, name
        assert other > 0.05, name


def test_bounds_of_kep_and_of_parameters_are_kept():
    curves, _ = simulate(EVEN, FINE, 600, 5)
    found = fit("extended_tofts", curves, EVEN, AIF, fit_delay=True, rates=(0.05, 2.0), bounds={"ve": (0.1, 0.4)})
    kep = found.params.ktrans / found.params.ve
    inside = found.params.ktrans > 1e-4
    assert kep[inside].min() > 0.05 * 0.999
    assert kep[inside].max() < 2.0 * 1.001
    assert found.params.ve.min() >= 0.1 * 0.999
    assert found.params.ve.max() <= 0.4 * 1.001
    assert np.abs(found.delay).max() <= DELAY_S / 60 * 1.001


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("extended_tofts", {"rates": (0.02, 2.0)}),
        ("patlak", {"rates": (0.02, 2.0), "fit_delay": True}),
        ("tofts", {"rates": (2.0, 0.02), "fit_delay": True}),
    ],
)
def test_bounds_of_kep_without_effect_are_refused(model, how):
    with pytest.raises(ValueError, match="rates: expected"):
        fit(model, np.zeros((2, EVEN.size)), EVEN, AIF, **how)


def test_weights_leave_frames_out():
    curves, _ = simulate(EVEN, FINE, 40, 6)
    spoiled, weights = curves.copy(), np.ones(EVEN.size)
    spoiled[:, 30], weights[30] = 5.0, 0.0
    kept = fit("extended_tofts", spoiled, EVEN, AIF, fit_delay=True, weights=weights)
    each = fit("extended_tofts", spoiled, EVEN, AIF, fit_delay=True, weights=np.tile(weights, (40, 1)))
    np.testing.assert_allclose(each.residual, kept.residual, rtol=1e-3)
    assert np.median(kept.residual) < 1.2 * 60 * 1e-4


def test_one_compilation_for_any_number_of_voxels():
    curves, _ = simulate(EVEN, FINE, 300, 7)
    fit("patlak", curves[:5], EVEN, AIF, fit_delay=True)
    with counted() as compilations:
        for count in (1, 17, 300):
            found = fit("patlak", curves[:count], EVEN, AIF, fit_delay=True)
            assert found.delay.shape == (count,)
    assert compilations["_fit_chunk"] == 0
