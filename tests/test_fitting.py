"""Bounded least squares: global optimum, efficiency, intervals, bounds, statuses, and other groups' data."""

import csv

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from scipy.optimize import curve_fit

from dcejax.physics import kinetics
from dcejax.physics.aif import parker
from dcejax.physics.fitting import MODELS, FitStatus, _fit_chunk, fit
from dcejax.types import ExtendedTofts

TIMES = np.arange(60) * 5.0 / 60.0
AIF = np.asarray(parker(TIMES, arrival=0.5))
BOUNDS = ([0.0, 0.0, 0.005], [5.0, 1.0, 1.0])


def curves_of(ktrans, vp, ve):
    params = ExtendedTofts(*(jnp.asarray(p, jnp.float32) for p in (ktrans, vp, ve)))
    return np.asarray(jax.vmap(kinetics.extended_tofts, (0, None, None))(params, TIMES, AIF))


def float64_model(times, ktrans, vp, ve):
    """Extended Tofts in numpy, for scipy: the recursion for a piecewise-linear input."""
    k, step = ktrans / ve, np.diff(times)
    x = np.maximum(k * step, 1e-12)
    phi1 = -np.expm1(-x) / x
    phi2 = np.where(x > 1e-4, (1 - phi1) / x, 0.5 - x / 6)
    integral = np.zeros_like(times)
    for i, (dt, decay) in enumerate(zip(step, np.exp(-x), strict=True)):
        gain = dt * ((phi1[i] - phi2[i]) * AIF[i] + phi2[i] * AIF[i + 1])
        integral[i + 1] = decay * integral[i] + gain
    return vp * AIF + ktrans * integral


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


def test_no_start_of_scipy_finds_a_better_optimum():
    data = random_voxels(60, seed=1)
    result = fit("extended_tofts", data, TIMES, AIF)
    rng = np.random.default_rng(2)
    for curve, ours, residual in zip(data, np.stack(result.params, -1), result.residual, strict=True):
        assert (ours >= np.array(BOUNDS[0]) - 1e-6).all()
        assert (ours <= np.array(BOUNDS[1]) + 1e-6).all()
        best = np.inf
        for _ in range(4):
            start = np.exp(rng.uniform(np.log([1e-3, 1e-3, 0.01]), np.log([2.0, 0.5, 0.9])))
            found, _ = curve_fit(float64_model, TIMES, curve, start, bounds=BOUNDS, max_nfev=2000)
            best = min(best, ((curve - float64_model(TIMES, *found)) ** 2).sum())
        recomputed = ((curve - float64_model(TIMES, *ours.astype(float))) ** 2).sum()
        np.testing.assert_allclose(residual, recomputed, rtol=1e-3)
        assert recomputed <= best * (1 + 1e-4)


@pytest.mark.parametrize(
    ("truth", "most"), [((0.07, 0.05, 0.25), 1.05), ((0.25, 0.10, 0.40), 1.05), ((0.03, 0.03, 0.20), 1.15)]
)
def test_estimates_are_efficient_and_intervals_honest(truth, most):
    rng = np.random.default_rng(3)
    count, sigma = 20_000, 0.01
    clean = curves_of(*(np.array([p]) for p in truth))
    result = fit("extended_tofts", (clean + sigma * rng.normal(size=(count, 60))).astype(np.float32), TIMES, AIF)
    numeric = [
        (float64_model(TIMES, *np.where(np.arange(3) == i, 1.0001, 1.0) * truth) - float64_model(TIMES, *truth))
        / (1e-4 * truth[i])
        for i in range(3)
    ]
    bound = sigma * np.sqrt(np.diag(np.linalg.inv(np.array(numeric) @ np.array(numeric).T)))
    for estimate, error, true, least in zip(result.params, result.se, truth, bound, strict=True):
        assert np.sqrt(np.mean((estimate - true) ** 2)) <= most * least
        covered = np.abs(estimate - true) <= 1.6449 * error
        assert 0.88 <= covered.mean() <= 0.92


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
    data = np.stack([good, np.full(60, np.nan), np.zeros(60), 0.01 * rng.normal(size=60), -good, good * 40])
    data[1, 0] = np.inf
    result = fit("extended_tofts", data.astype(np.float32), TIMES, AIF)
    for leaf in (*result.params, *result.se, result.residual, result.covariance):
        assert np.isfinite(leaf).all()
    assert result.status[0] == FitStatus.CONVERGED
    assert result.status[1] == FitStatus.NOT_FITTED
    assert result.params.ktrans[1] == 0
    assert (result.status[2:5] == FitStatus.NOT_ENHANCING).all()
    assert result.status[5] == FitStatus.AT_BOUND


def test_user_bounds_hold():
    result = fit("extended_tofts", random_voxels(500, 4), TIMES, AIF, bounds={"vp": (0.0, 0.05), "ve": (0.1, 0.5)})
    assert result.params.vp.max() <= 0.05 + 1e-6
    assert result.params.ve.min() >= 0.1 - 1e-5
    assert result.params.ve.max() <= 0.5 + 1e-5


@pytest.mark.parametrize("count", [0, 1, 4096, 4097])
def test_any_number_of_voxels_with_one_compilation(count):
    data = np.resize(random_voxels(64, 5), (count, 60))
    fit("extended_tofts", data[:1] if count else random_voxels(1, 0), TIMES, AIF)
    before = _fit_chunk._cache_size()
    result = fit("extended_tofts", data, TIMES, AIF)
    assert _fit_chunk._cache_size() == before
    assert result.params.ktrans.shape == (count,)
    if count > 64:
        np.testing.assert_array_equal(result.params.ktrans[:1], result.params.ktrans[64:65])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "toffs"}, "expected one of tofts"),
        ({"times": TIMES[::-1]}, "strictly increasing"),
        ({"aif": np.zeros(60)}, "rises above zero"),
        ({"aif": AIF[:50]}, "found"),
        ({"method": "guess"}, "nlls or linear"),
        ({"bounds": {"ve": (0.0, 1.0)}}, "above 0"),
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


def _osipi(path):
    with open(path, encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def _numbers(text):
    return np.array(text.split(), float)


@pytest.mark.parametrize(("file", "model"), [("extended_tofts", "extended_tofts"), ("tofts", "tofts")])
def test_osipi_curves(reference_data, file, model):
    """Within OSIPI's tolerances: Ktrans 0.005 + 10 %, ve 0.05, vp 0.025; times in s."""
    path = reference_data / "osipi" / "DCEmodels" / "data" / f"dce_DRO_data_{file}.csv"
    for row in _osipi(path):
        times, aif = _numbers(row["t"]) / 60.0, _numbers(row["ca"])
        result = fit(model, _numbers(row["C"])[None], times, aif)
        assert abs(result.params.ktrans[0] - float(row["Ktrans"])) <= 0.005 + 0.1 * float(row["Ktrans"])
        assert abs(result.params.ve[0] - float(row["ve"])) <= 0.05
        if model == "extended_tofts":
            assert abs(result.params.vp[0] - float(row["vp"])) <= 0.025


def test_models_are_complete():
    for model in MODELS.values():
        assert len(model.bounds) == len(model.params._fields)
        assert all(len(start) == len(model.bounds) for start in model.starts)


@pytest.mark.parametrize("visit", [1, 2, 3])
def test_linear_fit_reproduces_the_published_maps_of_a_glioblastoma(reference_data, visit):
    """The recipe in PROVENANCE.md: negative values to zero, voxels without concentration left out, float64."""
    folder, case = reference_data / "glioblastoma_rrift", f"TCGA-06-0185-{visit}"
    times, plasma = np.loadtxt(folder / f"{case}_aif.csv", delimiter=",", skiprows=1).T
    curves = nibabel.load(folder / f"{case}_concentration.nii.gz").get_fdata()
    inside = (nibabel.load(folder / f"{case}_tumour_mask.nii.gz").get_fdata() > 0) & (curves.max(-1) > 0.01)
    with jax.enable_x64(True):
        result = fit("extended_tofts", np.maximum(curves[inside], 0), times, np.maximum(plasma, 0), method="linear")
    ktrans, vp, ve = result.params
    for name, ours, tolerance in (("Ktrans", ktrans, 1e-5), ("vp", vp, 1e-5)):
        published = nibabel.load(folder / f"{case}_published_linear_{name}.nii.gz").get_fdata()[inside]
        np.testing.assert_allclose(ours, published, atol=tolerance, rtol=0)
    kep = nibabel.load(folder / f"{case}_published_linear_kep.nii.gz").get_fdata()[inside]
    found = np.divide(ktrans, ve, out=np.zeros_like(ve), where=ve != 0)
    np.testing.assert_allclose(found, kep, atol=2e-4, rtol=0)


def test_linear_fit_of_noise_free_curves():
    times = np.arange(400) * 0.75 / 60.0
    aif = np.asarray(parker(times, arrival=0.5))
    truth = ExtendedTofts(0.1, 0.04, 0.3)
    curve = np.asarray(kinetics.extended_tofts(truth, times, aif))[None]
    result = fit("extended_tofts", curve, times, aif, method="linear")
    np.testing.assert_allclose(np.stack(result.params)[:, 0], truth, rtol=0.03)


_OSIPI_MODELS = {
    "patlak": ("patlak", "patlak_sd_0.02", {"ktrans": "ps", "vp": "vp"}),
    "two_compartment_uptake": ("two_compartment_uptake", "2cum_sd_0.0025", {"fp": "fp", "ps": "ps", "vp": "vp"}),
    "two_compartment_exchange": (
        "two_compartment_exchange",
        "2cxm_sd_0.001",
        {"fp": "fp", "ps": "ps", "vp": "vp", "ve": "ve"},
    ),
}


def _tolerance(name, value):
    """OSIPI's: rates per min, Fp given in mL/(100 mL min)."""
    return {
        "ktrans": 0.005 + 0.1 * value,
        "ps": 0.005 + 0.1 * value,
        "fp": 0.05 + 0.1 * value,
        "vp": 0.025,
        "ve": 0.05,
    }[name]


@pytest.mark.parametrize("case", list(_OSIPI_MODELS))
def test_osipi_curves_of_the_other_models(reference_data, case):
    model, file, columns = _OSIPI_MODELS[case]
    path = reference_data / "osipi" / "DCEmodels" / "data" / f"{file}_delay_0.csv"
    rows = list(_osipi(path))
    times, aif = _numbers(rows[0]["t"]) / 60.0, _numbers(rows[0]["cp_aif"])
    result = fit(model, np.stack([_numbers(row["C_t"]) for row in rows]), times, aif)
    for name, column in columns.items():
        scale = 100.0 if name == "fp" else 1.0
        for estimate, row in zip(getattr(result.params, name), rows, strict=True):
            truth = float(row[column]) / scale
            assert abs(estimate - truth) <= _tolerance(name, truth), (name, row["label"])
