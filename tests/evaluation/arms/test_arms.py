"""The arms that are compared, on a small patient of known truth."""

import dataclasses

import gliomas
import numpy as np
import pytest

from dcejax.data import weights as weights_io
from dcejax.evaluation.arms import fit_arms, network_arms, simple_arms
from dcejax.evaluation.evaluate_settings import EvaluateSettings
from dcejax.evaluation.examinations import Loaded
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.methods import lyoo2025
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.simulation.priors import TISSUES, TUMOUR_CLASSES, TUMOUR_KINETICS
from dcejax.types import PARAMETERS

FITS = {fit.description.name: fit for fit in fit_arms.FITS}


@pytest.fixture(scope="module")
def loaded():
    made = gliomas.simulate(0)
    scan = dataclasses.replace(
        made.scan,
        values=made.scan.values.astype(np.float32),
        provenance={"acquisition": {"tr_ms": gliomas.TR_MS, "flip_angle_deg": gliomas.FLIP_DEG}},
    )
    return Loaded(dataclasses.replace(made, scan=scan), 0.5)


def test_zero_is_zero(loaded):
    assert not simple_arms.AllZero().maps(loaded).values.any()


def test_class_medians_are_those_of_the_priors(loaded):
    simulated = loaded.simulated
    values = simple_arms.ClassMedian().maps(loaded).values
    assert not values[~simulated.scan.mask].any()
    white = TISSUES[gliomas.WHITE]
    inside = (simulated.tissue == gliomas.WHITE) & simulated.scan.mask
    np.testing.assert_allclose(
        np.unique(values[inside], axis=0), [[white.ktrans.median, white.vp.median, white.ve.median]], rtol=1e-6
    )
    # By hand: enhancing patients in training and the medians of their kinetics.
    share = {c.name: c.training * (1 - c.non_enhancing) for c in TUMOUR_CLASSES}
    medians = {c.name: TUMOUR_KINETICS[c.kinetics].ktrans.median for c in TUMOUR_CLASSES}
    expected = sum(share[name] * medians[name] for name in share) / sum(share.values())
    enhancing = simulated.scan.segmentation == 1
    np.testing.assert_allclose(values[enhancing][:, 0], expected, rtol=1e-6)
    core = simulated.scan.segmentation == 2
    np.testing.assert_allclose(values[core][:, 2], TISSUES[gliomas.CORE].ve.median, rtol=1e-6)
    artery = (simulated.tissue == gliomas.ARTERY) & (simulated.scan.segmentation == 0)
    np.testing.assert_allclose(values[artery], np.broadcast_to([0, 0.58, 0], (artery.sum(), 3)), atol=1e-6)


def test_readers_are_those_of_the_data_set(loaded):
    np.testing.assert_array_equal(
        simple_arms.Reader("reader2").maps(loaded).values, loaded.simulated.readers["reader2"]
    )
    with pytest.raises(ValueError, match="no maps of reader3"):
        simple_arms.Reader("reader3").maps(loaded)


def tumour_errors(maps, simulated):
    inside = simulated.scan.segmentation == 1
    found, truth = (values[inside] + LOG_FLOORS for values in (maps.values, simulated.truth))
    return np.median(np.abs(np.log(found / truth)), axis=0)


@pytest.mark.slow
def test_the_oracle_finds_the_truth_and_others_less(loaded):
    found = {name: fit.maps(loaded) for name, fit in FITS.items()}
    errors = {name: tumour_errors(maps, loaded.simulated) for name, maps in found.items()}
    assert (errors["fit-oracle"] < 0.1).all()
    assert (errors["fit-oracle"] < errors["fit-true-aif"]).all()
    assert errors["fit-population"].max() > 0.05
    for maps in found.values():
        assert (maps.sd >= 0).all()
        assert not maps.values[~loaded.simulated.scan.mask].any()
        assert not maps.sd[~loaded.simulated.scan.mask].any()
        assert 0 < maps.seconds["inference"] < maps.seconds["total"]
        assert maps.seconds["total"] > 0.5


@pytest.mark.slow
def test_the_standard_errors_of_the_oracle_are_of_the_size_of_its_errors(loaded):
    maps = FITS["fit-oracle"].maps(loaded)
    inside = loaded.simulated.scan.segmentation == 1
    sd = maps.sd[inside]
    told = sd > 0  # none is stated on a bound
    z = (maps.values[inside] - loaded.simulated.truth[inside])[told] / sd[told]
    assert told.mean() > 0.9
    # They do not know of the noise in the baseline, which shifts a whole curve.
    assert 1.0 < np.sqrt(np.median(z**2)) / 0.6745 < 3.0


def test_a_series_without_a_bolus_is_refused(loaded):
    scan = loaded.simulated.scan
    flat = dataclasses.replace(scan, values=np.full_like(scan.values, 100.0))
    quiet = Loaded(dataclasses.replace(loaded.simulated, scan=flat), None)
    with pytest.raises(ValueError, match="expected a rise"):
        FITS["fit-population"].maps(quiet)


def test_seconds_in_all_are_unknown_where_nothing_was_read(loaded):
    assert FITS["fit-oracle"].maps(Loaded(loaded.simulated, None)).seconds["total"] is None


@pytest.mark.parametrize("half", [1, 2, 5])
def test_two_halves_are_the_samples_they_were_drawn_from(half):
    samples = np.random.default_rng(0).normal(size=(2 * half, 7))

    def moments(part):
        return part.mean(axis=0), part.std(axis=0, ddof=1) if half > 1 else np.zeros(7)

    mean, sd = network_arms.combine(*moments(samples[:half]), *moments(samples[half:]), half)
    np.testing.assert_allclose(mean, samples.mean(axis=0))
    np.testing.assert_allclose(sd, samples.std(axis=0, ddof=1))


def test_a_network_sees_nothing_but_the_series(loaded, tiny_weights, monkeypatch):
    seen, made_of = [], lyoo2025.series_of
    monkeypatch.setattr(lyoo2025, "series_of", lambda scan, *rest: seen.append((scan, *rest)) or made_of(scan, *rest))
    settings = EvaluateSettings(cohort="x", num_samples=2)
    network_arms.Network(weights_io.load(str(tiny_weights)), settings).maps(loaded)
    ((scan, beside, _),) = seen
    assert loaded.simulated.scan.t1_map is not None  # the true one, with which errors would be far smaller
    assert scan.t1_map is None
    assert beside == NOTHING_BESIDE


def test_a_network_gives_maps_halves_and_the_prior_of_each_slice(loaded, tiny_weights, tmp_path):
    settings = EvaluateSettings(cohort="x")
    network = network_arms.Network(weights_io.load(str(tiny_weights)), settings)
    maps = network.maps(loaded)
    mask = loaded.simulated.scan.mask
    np.testing.assert_allclose(maps.values, (maps.halves[0] + maps.halves[1]) / 2, atol=1e-7)
    assert np.abs(maps.halves[0] - maps.halves[1])[mask].max() > 0
    assert (maps.sd[mask] > 0).any()
    assert maps.statistic == "mean"
    assert "mean and SD of 4 samples" in network.description.text
    for values in maps.prior:
        assert values.shape == (mask.any(axis=(0, 1)).sum(), 2)
    assert (maps.prior[1] > 0).all()
    assert maps.values.shape[-1] == len(PARAMETERS)
    assert network.identity("a") != network_arms.Network(
        weights_io.load(str(tiny_weights)), dataclasses.replace(settings, seed=1)
    ).identity("a")
