"""Moments over the grid against direct sums, and what they say of curves whose truth is known."""

from functools import partial

import jax
import numpy as np
import pytest
from scipy.optimize import nnls

from dcejax.physics.aif import parker
from dcejax.physics.bolus_grid import GRID, PRECISION
from dcejax.physics.grid_posterior import DELAYS, KEP, MOMENTS, best_residual, posterior_moments, tabulate
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts

STEP = 5 / 60
TIMES = np.arange(52) * STEP
PLASMA = np.asarray(parker(TIMES, arrival=3 * STEP), np.float32)


@pytest.fixture(scope="module")
def table():
    return jax.device_get(jax.jit(lambda plasma: tabulate(plasma, TIMES))(PLASMA))


moments = jax.jit(posterior_moments)


def curves_of(params, delay=0.0):
    fine = np.arange(0, TIMES[-1] + STEP, 1 / 600)
    plasma = np.interp(fine - delay, TIMES, PLASMA, left=0.0)
    found = jax.vmap(extended_tofts, (0, None, None))(ExtendedTofts(*np.asarray(params).T), fine, plasma)
    return np.stack([np.interp(TIMES, fine, curve) for curve in np.asarray(found)]).astype(np.float32)


def test_columns_are_those_of_the_model(table):
    at = list(DELAYS).index(0.0)
    for rate, column in zip(KEP, table.leaked[at], strict=True):
        expected = curves_of([[0.1, 0.0, 0.1 / rate]])[0] / 0.1
        np.testing.assert_allclose(column, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(table.plasma[at], PLASMA)


def test_moments_are_sums_over_the_grid(table):
    """Every point of the grid fitted by non-negative least squares, in float64."""
    rng = np.random.default_rng(0)
    noise = 0.01
    curves = curves_of([[0.1, 0.03, 0.3], [0.02, 0.05, 0.2]]) + noise * rng.normal(size=(2, TIMES.size))
    found = np.asarray(moments(curves.astype(np.float32), np.full(2, noise, np.float32), table, np.ones(52)))
    assert found.shape == (2, MOMENTS)
    for row, curve in zip(found, curves, strict=True):
        logs, residuals, delays = [], [], []
        for d in range(DELAYS.size):
            for j, kep in enumerate(KEP):
                columns = np.stack([table.plasma[d], table.leaked[d, j]], axis=1).astype(float)
                (vp, ktrans), _ = nnls(columns, curve)
                vp, ktrans = max(vp, 1e-4), max(ktrans, 1e-5)
                logs.append([np.log(ktrans), np.log(vp), np.log(ktrans / kep)])
                residuals.append(((curve - columns @ [vp, ktrans]) ** 2).sum())
                delays.append(d)
        weight = np.exp(-(np.array(residuals) - min(residuals)) / (2 * noise**2))
        weight /= weight.sum()
        mean = weight @ logs
        spread = np.sqrt(weight @ (np.array(logs) - mean) ** 2 + 1e-4)
        np.testing.assert_allclose(row[:3], mean, atol=0.02)
        np.testing.assert_allclose(row[3:6], np.log(spread), atol=0.05)
        assert row[6] == pytest.approx(weight @ delays, abs=0.03)
        assert row[14] == pytest.approx(0.5 * np.log(min(residuals) / 48 / noise**2), abs=0.02)


@pytest.mark.parametrize("delay", [0.0, 2.5 / 60])
def test_truth_on_the_grid_is_found_without_noise(table, delay):
    kep = KEP[[5, 8, 11]]
    ktrans, vp = np.array([0.05, 0.1, 0.3]), np.array([0.02, 0.05, 0.1])
    curves = curves_of(np.stack([ktrans, vp, ktrans / kep], axis=1), delay)
    found = np.asarray(moments(curves, np.full(3, 0.003, np.float32), table, np.ones(52)))
    np.testing.assert_allclose(found[:, 0], np.log(ktrans), atol=0.1)
    np.testing.assert_allclose(found[:, 1], np.log(vp), atol=0.15)
    np.testing.assert_allclose(found[:, 2], np.log(ktrans / kep), atol=0.1)
    np.testing.assert_allclose(found[:, 6], 1 + delay / (1.25 / 60), atol=0.4)


def test_frames_that_do_not_exist_do_not_count(table):
    curves = curves_of([[0.1, 0.03, 0.3]])
    weight = (np.arange(52) < 30).astype(np.float32)
    noise = np.full(1, 0.01, np.float32)
    spoiled = curves.copy()
    spoiled[:, 30:] = 7.0
    np.testing.assert_array_equal(moments(spoiled, noise, table, weight), moments(curves, noise, table, weight))


def test_more_noise_gives_wider_moments_and_all_are_finite(table):
    rng = np.random.default_rng(1)
    curves = np.concatenate([curves_of([[0.1, 0.03, 0.3]]), np.zeros((1, 52)), rng.normal(size=(20, 52))])
    curves = curves.astype(np.float32)
    small, large = (np.asarray(moments(curves, np.full(22, s, np.float32), table, np.ones(52))) for s in (0.005, 0.05))
    assert (large[0, 3:6] > small[0, 3:6]).all()
    assert np.isfinite(small).all()


def test_residual_of_the_truth_is_the_noise_and_of_others_more():
    rng = np.random.default_rng(0)
    truth, noise = np.tile([[0.08, 0.04, 0.3]], (200, 1)), 0.02
    curves = np.concatenate([curves_of(truth), curves_of(truth, DELAYS[3])])
    curves = (curves + noise * rng.normal(size=curves.shape)).astype(np.float32)
    weight = np.ones(52, np.float32)
    weight[40:] = 0.0
    curves[:, 40:] = 7.0  # no frames

    def residual(factor):
        maps = np.tile(truth * factor, (2, 1)).astype(np.float32)
        return np.asarray(best_residual(curves, np.full(400, noise, np.float32), maps, PLASMA, weight, TIMES))

    assert np.sqrt((residual([1, 1, 1]) ** 2).mean()) == pytest.approx(1.0, abs=0.05)
    assert (residual([1.4, 1, 1]) > residual([1, 1, 1])).mean() > 0.95
    np.testing.assert_allclose(residual([2, 2, 2]), residual([1, 1, 1]), rtol=1e-3)  # the gain is free
    assert np.isfinite(residual([0, 0, 0])).all()


def test_residual_of_many_voxels_against_float64():
    """As many as are computed together; a compiler that spreads them over threads has summed them wrongly."""
    rng = np.random.default_rng(0)
    maps = np.stack([rng.uniform(0, 0.3, 4096), rng.uniform(0, 0.1, 4096), rng.uniform(0.05, 0.5, 4096)], axis=1)
    curves = curves_of(maps) * rng.uniform(0.7, 1.3, (4096, 1)) + 0.02 * rng.normal(size=(4096, 52))
    weight = (np.arange(52) < 49).astype(float)
    found = jax.jit(partial(best_residual, times=TIMES))(
        *(np.asarray(a, np.float32) for a in (curves, np.full(4096, 0.02), maps, PLASMA, weight))
    )
    kep, times = (maps[:, 0] / maps[:, 2]).clip(0, KEP[-1]), TIMES
    leaked = np.zeros((4096, 52))
    for t in range(1, 52):  # the exact integral over a step in which the input is linear
        u = np.linspace(0, STEP, 201)
        inside = np.interp(times[t - 1] + u, times, PLASMA.astype(float))
        part = np.trapezoid(inside * np.exp(-kep[:, None] * (STEP - u)), u, axis=1)
        leaked[:, t] = leaked[:, t - 1] * np.exp(-kep * STEP) + part
    curve, best = maps[:, 1:2] * PLASMA + maps[:, :1] * leaked, np.full(4096, np.inf)
    for delay in DELAYS / STEP:
        other = (
            np.concatenate([curve[:, :1], curve[:, :-1]], 1)
            if delay >= 0
            else np.concatenate([curve[:, 1:], curve[:, -1:]], 1)
        )
        model = ((1 - abs(delay)) * curve + abs(delay) * other) * weight
        gain = (curves * model).sum(1) / (model**2).sum(1)
        best = np.minimum(best, ((curves * weight - gain[:, None] * model) ** 2).sum(1))
    np.testing.assert_allclose(found, np.sqrt(best / 49) / 0.02, rtol=1e-4)


def test_coarse_steps_are_those_of_the_model_and_count_as_the_fine_ones_they_hold():
    """Fine steps to the end, and later ones averaged by four with half the noise."""
    rng = np.random.default_rng(0)
    fine = np.arange(52 + 80) * STEP
    plasma = np.asarray(parker(fine, arrival=3 * STEP), np.float32)
    params = np.array([[0.05, 0.03, 0.4], [0.02, 0.02, 0.3], [0.1, 0.05, 0.2]])
    clean = np.asarray(jax.vmap(extended_tofts, (0, None, None))(ExtendedTofts(*params.T), fine, plasma))
    curves = clean + 0.02 * rng.normal(size=(3, len(fine)))

    def coarse(values):
        return np.concatenate([values[..., :52], values[..., 52:].reshape(*values.shape[:-1], 20, 4).mean(-1)], axis=-1)

    noise, found = np.full(3, 0.02, np.float32), []
    for times, weight, change in ((fine, np.ones(132), np.asarray), (coarse(fine), PRECISION, coarse)):
        table = jax.jit(partial(tabulate, times=times))(change(plasma))
        own = np.asarray(moments(change(curves).astype(np.float32), noise, table, weight))
        residual = best_residual(change(clean).astype(np.float32), noise, params, change(plasma), weight, times)
        assert np.asarray(residual).max() < 0.1
        found.append(own)
    np.testing.assert_allclose(coarse(fine) - 3 * STEP, GRID, atol=1e-6)
    np.testing.assert_allclose(found[0][:, :3], found[1][:, :3], atol=0.02)
    np.testing.assert_allclose(found[0][:, 3:6], found[1][:, 3:6], atol=0.1)
