"""One record is a whole model: built-in ones are consistent, and new ones are fitted, selected and refused alike."""

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import pytest
from one_compartment import ONE_COMPARTMENT, OneCompartment
from scipy.optimize import curve_fit

from dcejax.physics.aif import parker
from dcejax.physics.convolution import exponential_convolution_at
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.prediction import predict
from dcejax.physics.selection import select
from dcejax.physics.tracer_models import FP, KTRANS, MODELS, VE, VP, Quantity, TracerModel, check_columns, find

TIMES = np.arange(100) * 3.0 / 60.0
AIF = np.asarray(parker(TIMES, arrival=0.5), np.float64)
LINEAR = [model for model in MODELS.values() if model.linear]


def convolved(rate):
    """∫ Cp(u) exp(-rate (t - u)) du in float64, for an input that is linear between frames."""
    step = TIMES[1]
    x = rate * step
    mean = -np.expm1(-x) / x
    last = (1.0 - mean) / x
    result = np.zeros(TIMES.size)
    for i in range(TIMES.size - 1):
        result[i + 1] = np.exp(-x) * result[i] + step * ((mean - last) * AIF[i] + last * AIF[i + 1])
    return result


def one_compartment_in_numpy(_, fp, vp):
    return fp * convolved(fp / vp)


@pytest.fixture(scope="module")
def tissues():
    """20 tissues without leakage: parameters [V, 2] and noisy curves."""
    rng = np.random.default_rng(0)
    truth = np.stack([np.exp(rng.uniform(np.log(0.05), np.log(1.5), 20)), rng.uniform(0.02, 0.15, 20)], -1)
    clean = np.stack([one_compartment_in_numpy(None, *params) for params in truth])
    return truth, clean, clean + 0.01 * rng.normal(size=clean.shape)


def test_a_new_linear_model_is_one_record(tissues):
    """Without start values: estimates, standard errors and status beside scipy's in float64, started at the truth."""
    truth, clean, noisy = tissues
    exact = fit(ONE_COMPARTMENT, clean, TIMES, AIF)
    np.testing.assert_allclose(np.stack(exact.params, -1), truth, rtol=2e-3)
    np.testing.assert_allclose(predict(ONE_COMPARTMENT, exact.params, TIMES, AIF), clean, atol=1e-3)
    found = fit(ONE_COMPARTMENT, noisy, TIMES, AIF)
    assert isinstance(found.params, OneCompartment)
    assert (found.status == FitStatus.CONVERGED).all()
    for curve, true, ours, errors in zip(noisy, truth, zip(*found.params), zip(*found.se), strict=True):  # noqa: B905
        best, covariance = curve_fit(one_compartment_in_numpy, TIMES, curve, true, bounds=([0, 0.001], [5, 1]))
        np.testing.assert_allclose(ours, best, rtol=2e-3)
        np.testing.assert_allclose(errors, np.sqrt(np.diag(covariance)), rtol=0.02)


def test_a_new_linear_model_has_every_method(tissues):
    truth, clean, noisy = tissues
    named = fit("one_compartment:ONE_COMPARTMENT", noisy, TIMES, AIF, bounds={"fp": (0.0, 0.4)})
    assert named.params.fp.max() <= 0.4
    linear = fit(ONE_COMPARTMENT, clean, TIMES, AIF, method="linear")
    slow = truth[:, 0] / truth[:, 1] < 10  # the linear fit integrates the tissue's curve, sampled every 3 s
    np.testing.assert_allclose(np.stack(linear.params, -1)[slow], truth[slow], rtol=0.1)
    late = predict(ONE_COMPARTMENT, OneCompartment(*truth[:3].T), TIMES, AIF, delay=np.full(3, 4.0 / 60))
    delayed = fit(ONE_COMPARTMENT, late, TIMES, AIF, fit_delay=True)
    np.testing.assert_allclose(delayed.delay, 4.0 / 60, atol=0.05 / 60)
    chosen = select(ONE_COMPARTMENT, np.concatenate([noisy, 0.05 * AIF[None] + noisy - clean]), TIMES, AIF)
    assert chosen.names == ("none", "plasma_only", "one_compartment")
    slowest = truth[:, 0] / truth[:, 1] < 5
    assert (chosen.chosen[:20][slowest] == 2).all()
    assert (chosen.chosen[20:] == 1).mean() > 0.8


class Homogeneity(NamedTuple):
    fp: float
    extraction: float
    vp: float
    ve: float


def tissue_homogeneity(params, times, aif, *, delay=0.0):
    """Adiabatic approximation to tissue homogeneity (St Lawrence and Lee 1998): plug flow, then exchange."""
    query, transit = times - delay, params.vp / params.fp
    _, entered = exponential_convolution_at(query, 0.0, times, aif)
    _, left = exponential_convolution_at(query - transit, 0.0, times, aif)
    _, extracted = exponential_convolution_at(query - transit, params.extraction * params.fp / params.ve, times, aif)
    return params.fp * (entered - left + params.extraction * extracted)


@pytest.mark.slow
def test_a_curve_without_columns_is_fitted_from_its_bounds_alone():
    """A model that is no sum of exponentials, against scipy started at the truth."""
    model = TracerModel(
        name="tissue_homogeneity",
        description="plug flow, and leakage with backflow",
        curve=tissue_homogeneity,
        typical=Homogeneity(0.3, 0.2, 0.05, 0.2),
        quantities=(FP, Quantity("E", "1", "extraction fraction", bounds=(0.0, 1.0)), VP, VE),
    )
    truth = np.array([[0.3, 0.2, 0.06, 0.2], [0.6, 0.1, 0.1, 0.3], [0.15, 0.4, 0.04, 0.15], [0.4, 0.05, 0.08, 0.1]])
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        clean = np.stack([model.curve(model.params(*params), TIMES, AIF) for params in truth])
        curve = jax.jit(lambda *values: model.curve(model.params(*values), TIMES, AIF))
        noisy = clean + 0.005 * rng.normal(size=clean.shape)
        lower, upper = np.array(model.bounds).T
        best = [
            ((data - curve(*curve_fit(lambda _, *v: curve(*v), 0, data, start, bounds=(lower, upper))[0])) ** 2).sum()
            for data, start in zip(noisy, truth, strict=True)
        ]
    found = fit(model, noisy, TIMES, AIF)
    assert (found.residual <= np.array(best) * (1 + 1e-3)).all()
    exact = fit(model, clean, TIMES, AIF)
    np.testing.assert_allclose(np.stack(exact.params, -1), truth, rtol=0.03)


@pytest.mark.parametrize("model", LINEAR, ids=lambda model: model.name)
def test_linear_models_are_the_sums_of_their_columns(model):
    check_columns(model)


def test_built_in_models_are_found_by_name():
    assert all(find(name) is model and find(model) is model for name, model in MODELS.items())


def test_a_record_whose_columns_are_not_its_curve_is_refused():
    wrong = dataclasses.replace(ONE_COMPARTMENT, curve=lambda params, times, aif, delay=0.0: params.fp * aif)
    with pytest.raises(ValueError, match=r"one_compartment: expected the curve of .* to be the sum of its columns"):
        fit(wrong, np.zeros((1, 100)), TIMES, AIF)


PAIR = ("exponential", "plasma")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"quantities": (FP,)}, "quantities: expected one with bounds"),
        ({"quantities": (FP, Quantity("v", "1", "no bounds"))}, "quantities: expected one with bounds"),
        ({"quantities": (FP, dataclasses.replace(VP, name="v/p"))}, "a name of letters and digits"),
        ({"quantities": (FP, VP)}, "bounds: expected a lower bound above 0"),
        ({"linear": ("exponential",)}, "linear: expected"),
        ({"linear": ("exponential", "integral")}, "linear: expected"),
        ({"rate": None}, "rate: expected a quantity"),
        ({"linear": ("integral", "plasma")}, "rate: expected a quantity"),
        ({"columns": ("exponential",)}, "columns: expected"),
        ({"linear": (), "rate": None, "columns": ("exponential",)}, "columns: expected one of"),
        ({"linear": (), "rate": None, "columns": PAIR}, "from_amplitudes: expected a function"),
        ({"linear": (), "rate": None, "columns": PAIR, "from_amplitudes": min}, "to_amplitudes: expected a function"),
        ({"linear": (), "rate": None, "columns": ("plasma", "exponential")}, "columns: expected one of"),
        ({"nested": (MODELS["tofts"],)}, "nested: expected models with some of"),
    ],
)
def test_contradictions_in_a_record_are_refused(change, message):
    with pytest.raises(ValueError, match=f"tracer model one_compartment: .*{message}"):
        dataclasses.replace(ONE_COMPARTMENT, **change)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tofte", "expected one of plasma_only, tofts"),
        ("no_such_module:MODEL", "expected MODULE:RECORD that Python can import, .*PYTHONPATH"),
        ("one_compartment:NOTHING", "expected MODULE:RECORD that Python can import"),
        ("one_compartment:OneCompartment", "expected one of plasma_only"),
        (":", "expected MODULE:RECORD"),
        (3, "expected one of"),
    ],
)
def test_models_that_do_not_exist_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find(name)


def test_units_of_the_maps_are_those_of_the_networks():
    from dcejax.types import UNITS

    assert {each.name: each.unit for each in (KTRANS, VP, VE)} == UNITS
