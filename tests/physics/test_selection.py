"""Model selection among nested models: the truth is found, evidence is by Akaike's definition, nothing is lost."""

import jax
import numpy as np
import pytest

from dcejax.physics.aif import parker
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.prediction import predict
from dcejax.physics.selection import select, select_carefully
from dcejax.physics.tracer_models import MODELS

TIMES = np.arange(60) * 5.0 / 60.0
AIF = np.asarray(parker(TIMES, arrival=0.5))
CANDIDATES = ("plasma_only", "patlak", "tofts", "extended_tofts")
TRUTHS = {"plasma_only": (0.03,), "patlak": (0.005, 0.03), "tofts": (0.1, 0.3), "extended_tofts": (0.07, 0.05, 0.25)}


@pytest.fixture(scope="module")
def curves():
    """300 noisy curves of no enhancement, then of each model, in the order of the candidates."""
    rng = np.random.default_rng(0)
    models = [(MODELS[name], TRUTHS[name]) for name in CANDIDATES]
    clean = [np.zeros(60), *(model.curve(model.params(*truth), TIMES, AIF) for model, truth in models)]
    return (np.repeat(np.stack(clean), 300, 0) + 0.01 * rng.normal(size=(1500, 60))).astype(np.float32)


@pytest.fixture(scope="module")
def selection(curves):
    return select("extended_tofts", curves, TIMES, AIF)


def test_progress_counts_every_candidate(curves):
    told = []
    select("patlak", curves[:10], TIMES, AIF, progress=lambda *counts: told.append(counts))
    assert told == [(0, 20), (10, 20)]


def test_most_curves_get_the_model_that_made_them(selection):
    for index in range(5):
        share = np.mean(selection.chosen.reshape(5, 300)[index] == index)
        assert share > 0.8, selection.names[index]


def test_evidence_by_definition(curves, selection):
    criteria = [60 * np.log((curves.astype(float) ** 2).sum(-1) / 60) + 2 + 4 / 58]
    criteria += [fit(name, curves, TIMES, AIF).aicc for name in CANDIDATES]
    criteria = np.stack(criteria, -1)
    likelihood = np.exp(-0.5 * (criteria - criteria.min(-1, keepdims=True)))
    expected = likelihood / likelihood.sum(-1, keepdims=True)
    np.testing.assert_allclose(selection.akaike_weights, expected, atol=0.01)
    np.testing.assert_array_equal(selection.chosen, selection.akaike_weights.argmax(-1))


def test_estimates_are_those_of_the_chosen_model(curves, selection):
    for index, name in enumerate(CANDIDATES, start=1):
        here = selection.chosen == index
        alone = fit(name, curves, TIMES, AIF)
        for parameter in MODELS["extended_tofts"].params._fields:
            found = getattr(selection.result.params, parameter)[here]
            if parameter in alone.params._fields:
                np.testing.assert_array_equal(found, getattr(alone.params, parameter)[here])
                error = getattr(selection.result.se, parameter)[here]
                place = MODELS["extended_tofts"].params._fields.index(parameter)
                np.testing.assert_allclose(selection.result.covariance[here][:, place, place], error**2, rtol=1e-5)
            else:
                assert (found == 0).all()
        kind, statement = MODELS[name].params, MODELS[name].curve
        model = jax.vmap(lambda *values, kind=kind, statement=statement: statement(kind(*values), TIMES, AIF))
        expected = model(*(values[here] for values in alone.params))
        np.testing.assert_allclose(selection.curve[here], expected, atol=1e-5)
    nothing = selection.chosen == 0
    assert (selection.curve[nothing] == 0).all()
    assert (selection.result.status[nothing] == FitStatus.NOT_ENHANCING).all()


def test_curves_that_cannot_be_fitted_say_so():
    data = np.zeros((2, 60), np.float32)
    data[0, 5] = np.nan
    data[1] = AIF * 0.05
    selection = select("patlak", data, TIMES, AIF)
    assert selection.result.status[0] == FitStatus.NOT_FITTED
    assert selection.chosen[0] == 0
    assert np.isfinite(selection.akaike_weights).all()
    assert selection.names[selection.chosen[1]] == "plasma_only"


def test_integers_and_lost_voxels_are_treated_as_fit_treats_them():
    data = np.stack([AIF * 10, np.full(60, 100.0)]).astype(np.int8)
    weights = np.ones((2, 60))
    weights[1, 3] = np.nan
    selection = select("patlak", data, TIMES, AIF, weights=weights)
    assert selection.chosen[0] > 0
    assert selection.result.status[1] == FitStatus.NOT_FITTED
    assert selection.result.residual[1] == 0
    assert np.isfinite(selection.result.aicc).all()


def test_a_model_without_nested_ones_is_refused():
    with pytest.raises(ValueError, match="others nested in it"):
        select("tofts", np.zeros((1, 60)), TIMES, AIF)


def test_late_blood_is_told_from_leakage():
    late = 0.03 * np.interp(TIMES - 3 / 60, TIMES, AIF, left=0.0)
    leaking = np.asarray(predict("extended_tofts", ExtendedTofts([0.1], [0.03], [0.3]), TIMES, AIF))[0]
    curves = np.stack([late, leaking]) + 0.002 * np.random.default_rng(2).normal(size=(2, TIMES.size))
    assert fit("extended_tofts", curves, TIMES, AIF).params.ktrans[0] > 0.1
    found = select_carefully(curves, TIMES, AIF).result
    assert found.params.ktrans[0] < 0.005
    assert found.params.vp[0] == pytest.approx(0.03, rel=0.1)
    assert found.delay[0] == pytest.approx(3 / 60, abs=0.5 / 60)
    np.testing.assert_allclose([p[1] for p in found.params], [0.1, 0.03, 0.3], rtol=0.1)


def test_extended_tofts_is_not_chosen_on_its_bounds_of_kep():
    """Dispersed plasma looks like exchange within seconds; without bounds it is taken for leakage."""
    fine = np.arange(0.0, 5.0, 0.5 / 60.0)
    dispersed = np.exp(-fine / (4.0 / 60.0))
    arriving = np.convolve(parker(fine, arrival=0.5), dispersed / dispersed.sum())[: fine.size]
    rng = np.random.default_rng(1)
    clean = 0.04 * np.interp(TIMES, fine, arriving)
    curves = clean + 0.004 * rng.normal(size=(200, TIMES.size))
    nested = MODELS["plasma_only"], MODELS["patlak"]
    free, bounded = (
        select("extended_tofts", curves, TIMES, AIF, fit_delay=True, nested=nested, rates=rates)
        for rates in (None, (0.02, 2.0))
    )
    assert free.names == ("none", "plasma_only", "patlak", "extended_tofts")
    assert np.median(free.result.params.ktrans) > 0.05
    assert np.median(bounded.result.params.ktrans) < 0.005
    kept = bounded.chosen == 3
    kep = bounded.result.params.ktrans[kept] / bounded.result.params.ve[kept]
    assert ((kep > 0.02) & (kep < 2.0)).all()
