"""Bounds against closed forms, Monte Carlo of an efficient estimator, and planning figures for brain tumours."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.physics import units
from dcejax.physics.aif import parker
from dcejax.physics.bounds import covariance_bound, cramer_rao, fisher_information, van_trees
from dcejax.physics.kinetics import ExtendedTofts, Patlak, extended_tofts, patlak
from dcejax.physics.signal import spgr

TIMES = np.arange(30) / 6.0
AIF = np.where(TIMES < 0.5, 0.0, 5.0 * np.exp(-(TIMES - 0.5)) + 1.0)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def _patlak(params):
    return patlak(params, TIMES, AIF)


def _design():
    return np.stack([np.asarray(patlak(Patlak(*row), TIMES, AIF)) for row in np.eye(2)], axis=1)


def test_a_linear_model_has_the_covariance_of_least_squares():
    params, noise = Patlak(0.02, 0.05), 0.01
    expected = noise**2 * np.linalg.inv(_design().T @ _design()) / np.outer(params, params)
    np.testing.assert_allclose(cramer_rao(_patlak, params, noise), expected, rtol=1e-9)


def test_noise_may_differ_between_frames():
    params, noise = Patlak(0.02, 0.05), np.linspace(0.01, 0.05, TIMES.size)
    whitened = _design() / noise[:, None]
    expected = np.linalg.inv(whitened.T @ whitened) / np.outer(params, params)
    np.testing.assert_allclose(cramer_rao(_patlak, params, noise), expected, rtol=1e-9)


def test_an_efficient_estimator_reaches_it():
    params, noise = Patlak(0.02, 0.05), 0.01
    rng = np.random.default_rng(0)
    data = np.asarray(_patlak(params)) + rng.normal(0.0, noise, (20000, TIMES.size))
    estimates = np.linalg.lstsq(_design(), data.T, rcond=None)[0]
    found = np.cov(estimates / np.array(params)[:, None])
    bound = np.asarray(cramer_rao(_patlak, params, noise))
    np.testing.assert_allclose(found, bound, atol=0.03 * bound.diagonal().max())
    np.testing.assert_allclose(found.diagonal(), bound.diagonal(), rtol=0.03)


def test_a_nuisance_parameter_costs_what_its_column_takes():
    params, noise = Patlak(0.02, 0.05), 0.01

    def predict(p, offset):
        return _patlak(p) + offset

    design = np.column_stack([_design(), np.ones(TIMES.size)])
    expected = noise**2 * np.linalg.inv(design.T @ design)[:2, :2] / np.outer(params, params)
    found = cramer_rao(predict, params, noise, (0.0,))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert (np.diag(found) > np.diag(cramer_rao(_patlak, params, noise))).all()


def test_badly_scaled_information_keeps_its_digits():
    correlation = np.array([[1.0, 0.3, 0.1], [0.3, 1.0, -0.2], [0.1, -0.2, 1.0]])
    scale = np.array([1e-9, 1.0, 1e9])
    expected = np.linalg.inv(correlation) / np.outer(scale, scale)
    np.testing.assert_allclose(covariance_bound(correlation * np.outer(scale, scale)), expected, rtol=1e-13)


def test_what_the_data_do_not_see_has_infinite_variance():
    found = np.asarray(covariance_bound(np.diag([4.0, 0.0])))
    np.testing.assert_array_equal(found, [[0.25, 0.0], [0.0, np.inf]])
    bound = np.asarray(cramer_rao(_patlak, Patlak(1e-200, 0.05), 0.01))
    assert bound[0, 0] > 1e100
    assert bound[1, 1] < 0.01


def test_van_trees_is_the_posterior_covariance_of_a_linear_model():
    information = np.array([[5.0, 1.0, 0.4], [1.0, 3.0, -0.6], [0.4, -0.6, 2.0]])
    prior = np.array([[0.8, 0.2, 0.0], [0.2, 0.5, 0.1], [0.0, 0.1, 0.3]])
    expected = np.linalg.inv(information + np.linalg.inv(prior))
    np.testing.assert_allclose(van_trees(information, prior), expected, rtol=1e-12)


def test_van_trees_with_nothing_known_of_the_last_parameter():
    information = np.array([[5.0, 1.0, 0.4], [1.0, 3.0, -0.6], [0.4, -0.6, 2.0]])
    prior = np.array([[0.8, 0.2], [0.2, 0.5]])
    precision = np.zeros((3, 3))
    precision[:2, :2] = np.linalg.inv(prior)
    np.testing.assert_allclose(van_trees(information, prior), np.linalg.inv(information + precision), rtol=1e-12)


def test_limits_of_the_prior():
    information = np.array([[5.0, 1.0], [1.0, 3.0]])
    wide = van_trees(information, 1e12 * np.eye(2))
    np.testing.assert_allclose(wide, covariance_bound(information), rtol=1e-9)
    known = van_trees(information, np.diag([0.0, 1e12]))
    np.testing.assert_allclose(known, [[0.0, 0.0], [0.0, 1.0 / 3.0]], atol=1e-9)
    np.testing.assert_allclose(van_trees(np.zeros((2, 2)), np.diag([0.3, 0.4])), np.diag([0.3, 0.4]), rtol=1e-12)


def test_the_posterior_mean_of_a_linear_model_reaches_van_trees():
    rng = np.random.default_rng(3)
    jacobian, prior = rng.normal(size=(6, 2)), np.array([[0.5, 0.3], [0.3, 0.6]])
    truth = rng.multivariate_normal(np.zeros(2), prior, 50000)
    data = truth @ jacobian.T + rng.normal(size=(50000, 6))
    bound = np.asarray(van_trees(jacobian.T @ jacobian, prior))
    estimates = data @ jacobian @ bound
    np.testing.assert_allclose(np.cov((estimates - truth).T), bound, rtol=0.03)


def test_vmap_and_jit_change_nothing():
    params = Patlak(np.array([0.01, 0.02]), np.array([0.05, 0.03]))
    mapped = jax.jit(jax.vmap(lambda p: cramer_rao(_patlak, p, 0.01)))(params)
    plain = [cramer_rao(_patlak, Patlak(*row), 0.01) for row in zip(*params, strict=True)]
    np.testing.assert_allclose(mapped, plain, rtol=1e-10)


# Planning figures for brain tumours: SNR 27 in white matter at baseline whatever the flip angle (T10 1.084 s, M0 0.65),
# TR 2.8 ms, flip angle 10°, r1 4.5 /(mM s), 60 frames of 6 s, Parker's input (haematocrit 0.42) known and arriving at
# 30 s, S0 free. The tumour's own T10 and M0 were not on record: 1.8 s and 0.75 reproduce all of them.
TUMOUR = {
    "rim": (ExtendedTofts(0.07, 0.05, 0.25), (4.8, 4.8, 4.5)),
    "hot rim": (ExtendedTofts(0.25, 0.10, 0.40), (4.2, 4.9, 3.9)),
    "IDH-mutant": (ExtendedTofts(0.03, 0.03, 0.20), (6.5, 5.2, 7.9)),
    "low grade": (ExtendedTofts(0.005, 0.015, 0.20), (22.0, 6.9, 227.0)),
    "oedema": (ExtendedTofts(0.003, 0.012, 0.25), (35.0, 8.0, 805.0)),
}
SCALINGS = [
    ({"flip_angle_deg": 5.0}, (8.1, 9.5, 7.9)),
    ({"flip_angle_deg": 15.0}, (4.2, 3.8, 3.8)),
    ({"flip_angle_deg": 20.0}, (4.0, 3.4, 3.5)),
    ({"dose": 0.5}, (6.5, 5.7, 5.6)),
    ({"snr": 52.0}, (2.5, 2.5, 2.3)),
    ({"snr": 15.0}, (8.6, 8.6, 8.0)),
    ({"frames": 30}, (6.0, 4.8, 10.5)),
    ({"interval_s": 4.0}, (4.4, 4.0, 5.1)),
]


def _tumour_information(params, *, flip_angle_deg=10.0, dose=1.0, snr=27.0, frames=60, interval_s=6.0):
    """Information of log Ktrans, vp, ve, AIF amplitude, T10 and S0."""
    acquisition = units.acquisition(2.8, flip_angle_deg, 4.5)
    times = np.arange(frames) * interval_s / 60.0
    aif = dose * parker(times, arrival=0.5)
    noise = 0.65 * spgr(0.0, 1.084 / 60, acquisition) / snr

    def predict(p, log_amplitude, log_t10, log_s0):
        concentration = extended_tofts(p, times, jnp.exp(log_amplitude) * aif)
        return spgr(concentration, jnp.exp(log_t10) * 1.8 / 60, acquisition, s0=0.75 * jnp.exp(log_s0))

    return fisher_information(predict, params, noise, (0.0, 0.0, 0.0))


def _percent(covariance):
    return 100.0 * np.sqrt(np.diag(covariance)[:3])


KNOWN_INPUT_AND_T10 = np.array([0, 1, 2, 5])


@pytest.mark.parametrize("tissue", TUMOUR)
def test_planning_figures_of_tumours(tissue):
    params, expected = TUMOUR[tissue]
    information = _tumour_information(params)[np.ix_(KNOWN_INPUT_AND_T10, KNOWN_INPUT_AND_T10)]
    np.testing.assert_allclose(_percent(covariance_bound(information)), expected, rtol=0.06)


@pytest.mark.parametrize(("change", "expected"), SCALINGS)
def test_planning_figures_of_protocols(change, expected):
    information = _tumour_information(TUMOUR["rim"][0], **change)
    bound = covariance_bound(information[np.ix_(KNOWN_INPUT_AND_T10, KNOWN_INPUT_AND_T10)])
    np.testing.assert_allclose(_percent(bound), expected, rtol=0.1)


@pytest.mark.parametrize(
    ("amplitude_sd", "t10_sd", "expected"),
    [
        (0.0, 0.0, (4.8, 4.8, 4.5)),
        (0.0, 0.13, (13.3, 15.7, 14.5)),
        (0.20, 0.0, (19.0, 18.9, 18.9)),
    ],
)
def test_floors_of_what_is_not_known(amplitude_sd, t10_sd, expected):
    spread = np.array([0.9, 0.8, 0.8, amplitude_sd, t10_sd])
    bound = van_trees(_tumour_information(TUMOUR["rim"][0]), np.diag(spread**2))
    np.testing.assert_allclose(_percent(bound), expected, rtol=0.1)
