import dataclasses

import exams
import numpy as np
import pytest

from dcejax.conventional import analysis
from dcejax.conventional.fit_settings import FitSettings
from dcejax.conventional.voxel_status import VoxelStatus, count
from dcejax.physics.aif import parker
from dcejax.physics.fitting import FitStatus, fit
from dcejax.physics.kinetics import ExtendedTofts
from dcejax.physics.prediction import predict

SETTINGS = FitSettings()


@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (0.31, 1.31), (0.25, 0.5), (0.3, 0.33), (1.0, 2.0)])
def test_area_of_a_line_and_of_any_piecewise_linear_curve(start, end):
    times = np.array([0.0, 0.25, 0.5, 1.0, 1.3, 2.0])
    weights = analysis.area_weights(times, start, end)
    assert weights @ (3.0 - 2.0 * times) == pytest.approx(3 * (end - start) - (end**2 - start**2))
    curve = np.random.default_rng(0).normal(size=6)
    fine = np.linspace(start, end, 100_001)
    assert weights @ curve == pytest.approx(np.trapezoid(np.interp(fine, times, curve), fine), abs=1e-8)


@pytest.mark.parametrize(("start", "end"), [(-0.1, 0.9), (1.5, 2.5), (1.0, 1.0)])
def test_no_area_beyond_the_samples(start, end):
    with pytest.raises(ValueError, match="expected samples from"):
        analysis.area_weights(np.array([0.0, 1.0, 2.0]), start, end)


@pytest.fixture(scope="module")
def noisy():
    exam = exams.simulate()
    curves = exam.concentration.reshape(-1, exams.FRAMES)
    return curves + np.random.default_rng(0).normal(0, 0.01, curves.shape).astype(np.float32)


@pytest.mark.slow
def test_error_of_kep_is_that_of_a_fit_of_many_noises():
    """400 noises of one voxel: the scatter of kep is its standard error."""
    curve = exams.simulate().concentration[5, 4, 0]
    curves = curve + np.random.default_rng(1).normal(0, 0.01, (400, exams.FRAMES)).astype(np.float32)
    status = np.zeros(400, np.uint8)
    found = analysis.analyse(curves, status, exams.TIMES, exams.PLASMA, SETTINGS, None)
    assert np.median(found.errors["kep"]) == pytest.approx(found.maps["kep"].std(ddof=1), rel=0.12)
    assert "IAUC60" not in found.maps


def test_only_usable_voxels_are_fitted_and_keep_their_place(noisy):
    status = np.zeros(len(noisy), np.uint8)
    status[3::7] = VoxelStatus.SATURATED
    broken = noisy.copy()
    broken[3::7] = np.nan
    weights = analysis.area_weights(exams.TIMES, 0.6, 1.6)
    every = analysis.analyse(noisy, np.zeros_like(status), exams.TIMES, exams.PLASMA, SETTINGS, weights)
    some = analysis.analyse(broken, status, exams.TIMES, exams.PLASMA, SETTINGS, weights)
    usable = status == 0
    for name, values in some.maps.items():
        np.testing.assert_allclose(values[usable], every.maps[name][usable], rtol=1e-5)
        assert not values[~usable].any()
    np.testing.assert_allclose(some.modelled[usable], every.modelled[usable], rtol=1e-5, atol=1e-6)
    assert not some.modelled[~usable].any()
    assert count(some.status)["SATURATED"] == (~usable).sum()
    np.testing.assert_allclose(every.maps["IAUC60"], noisy @ weights * 60, rtol=1e-4)


def test_a_voxel_that_is_not_fitted_has_no_model(noisy):
    curves, status = noisy[:6].copy(), np.zeros(6, np.uint8)
    status[0] = VoxelStatus.NO_T1
    curves[1, 3] = np.nan
    settings = dataclasses.replace(SETTINGS, model="patlak", select=True)
    found = analysis.analyse(curves, status, exams.TIMES, exams.PLASMA, settings, None)
    assert found.chosen.dtype == np.int8
    assert (found.chosen == analysis.NO_MODEL).tolist() == [True] * 2 + [False] * 4
    assert analysis.describe(settings, found)["models"] == {
        -1: "outside the mask, or not fitted",
        0: "none",
        1: "plasma_only",
        2: "patlak",
    }
    assert not found.has_value("R2")[:2].any()
    assert found.has_value("R2")[2:].all()
    np.testing.assert_array_equal(found.has_value("Ktrans"), found.chosen == 2)


def test_a_voxel_of_noise_is_fitted_and_says_so(noisy):
    noise = np.random.default_rng(2).normal(0, 0.01, noisy.shape).astype(np.float32)
    found = analysis.analyse(noise, np.zeros(len(noise), np.uint8), exams.TIMES, exams.PLASMA, SETTINGS, None)
    assert (found.status == FitStatus.NOT_ENHANCING).mean() > 0.8


def test_maps_of_flow_and_delay_have_their_names_and_units(noisy):
    curves, status = noisy[:4], np.zeros(4, np.uint8)
    settings = FitSettings(model="two_compartment_uptake", fit_delay=True)
    found = analysis.analyse(curves, status, exams.TIMES, exams.PLASMA, settings, None)
    assert tuple(found.maps) == ("Fp", "PS", "vp", "delay", "R2")
    assert tuple(found.errors) == ("Fp", "PS", "vp", "delay")
    assert [found.quantity(name).unit for name in found.maps] == ["mL/(mL min)", "mL/(mL min)", "1", "s", "1"]
    alone = fit("two_compartment_uptake", curves, exams.TIMES, exams.PLASMA, fit_delay=True)
    np.testing.assert_allclose(found.maps["delay"], alone.delay * 60, rtol=1e-6)
    np.testing.assert_allclose(found.errors["delay"], np.sqrt(alone.covariance[:, 3, 3]) * 60, rtol=1e-6)
    np.testing.assert_allclose(found.maps["PS"], alone.params.ps)


def test_a_dispersed_input_is_allowed_for():
    """Curves of an input that was mixed on its way, on a fine clock; without its time constant vp is too low."""
    fine = np.arange(0.0, exams.TIMES[-1] + 1e-9, 0.5 / 60)
    arterial, seconds = parker(fine, arrival=0.5), 6.0
    way = np.exp(-fine * 60 / seconds)
    late = np.convolve(arterial, way / way.sum())[: fine.size]
    truth = ExtendedTofts(*np.array([[0.1, 0.02], [0.05, 0.02], [0.3, 0.2]]))
    curves = [np.interp(exams.TIMES, fine, row) for row in predict("extended_tofts", truth, fine, late)]
    plasma = np.interp(exams.TIMES, fine, arterial)

    def vp(**settings):
        settings = FitSettings(model="extended_tofts", **settings)
        found = analysis.analyse(np.array(curves), np.zeros(2, np.uint8), exams.TIMES, plasma, settings, None)
        record = analysis.describe(settings, found)
        assert record.get("dispersion_s") == settings.dispersion_s
        return found.maps["vp"] / truth.vp

    assert (np.abs(vp(dispersion_s=seconds) - 1) < 0.05).all()
    assert (np.abs(vp() - 1) > 0.1).all()
