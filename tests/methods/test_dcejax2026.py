"""The recommended method: what its inputs depend on, and that files and batches are prepared alike."""

import dataclasses

import jax
import numpy as np
import pytest
from examinations import ACQUISITION, make_scan
from training_examples import make_batch

from dcejax.batch import TrueInput
from dcejax.data.aif_csv import MeasuredAif
from dcejax.execution.policy import default_policy
from dcejax.methods import aligned_grid, calibration, dcejax2026, examination_posterior
from dcejax.methods.dcejax2026 import Config
from dcejax.methods.fixed_grid import NOTHING_BESIDE, Beside
from dcejax.methods.neighbours import of_patches
from dcejax.methods.patient_posterior import Posterior, regional
from dcejax.models.low_rank_gaussian import to_maps
from dcejax.models.posterior_network import Sizes
from dcejax.physics.bolus_grid import STEP
from dcejax.physics.signal import bounded_concentration, invert_spgr, spgr
from dcejax.rng import stream
from dcejax.training import losses
from dcejax.types import Acquisition, Brightest, Context, Known, Sample

SIZES = Sizes(encoder_width=8, context=4, voxel_width=16, voxel_layers=2, neighbour_width=6)
CONFIG = Config(network=SIZES, members=2)


def random_params():
    params = {}
    for make_stage in dcejax2026.stages(CONFIG, default_policy()):
        stage = make_stage(params)
        params[stage.name] = jax.jit(stage.init)(stream(0, stage.name))  # one program, not hundreds
    return params


@pytest.fixture(scope="module")
def networks():
    """Random weights."""
    return dcejax2026.load(random_params(), CONFIG, default_policy())


def posterior(networks, scan, beside=NOTHING_BESIDE):
    return dcejax2026.posterior(networks, dcejax2026.series_of(scan, beside, CONFIG))


def test_the_unit_of_the_signal_does_not_matter(networks):
    one, other = (posterior(networks, make_scan(unit=unit)) for unit in (1.0, 4096.0))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-3)
    np.testing.assert_allclose(one.plasma, other.plasma, rtol=1e-3, atol=1e-3)


def test_the_order_of_what_the_encoder_sees_does_not_matter(networks):
    series = dcejax2026.series_of(make_scan(), NOTHING_BESIDE, CONFIG)
    context = series.context
    sizes = (len(seen.curves) for seen in (context.brightest, context.sample))
    bright, some = (np.random.default_rng(2).permutation(n) for n in sizes)
    shuffled = dataclasses.replace(
        series,
        context=context._replace(
            brightest=context.brightest._replace(
                curves=context.brightest.curves[bright], points=context.brightest.points[bright]
            ),
            sample=Sample(context.sample.curves[some], context.sample.points[some]),
        ),
    )
    one, other = (dcejax2026.posterior(networks, s) for s in (series, shuffled))
    np.testing.assert_allclose(one.mean, other.mean, atol=2e-4)


@pytest.mark.parametrize("turn", [lambda a: a[::-1], lambda a: a[:, ::-1, ::-1], lambda a: a[::-1].swapaxes(0, 1)])
def test_how_the_axes_of_the_file_run_does_not_matter(networks, turn):
    scan = make_scan(shape=(20, 18, 14))  # more voxels than the encoder sees
    mask = np.random.default_rng(1).uniform(size=scan.mask.shape) < 0.9
    assert np.count_nonzero(mask) > 4096
    places = np.moveaxis(np.indices(mask.shape), 0, -1)
    corner, *along = (turn(places)[at] for at in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)))
    axes = np.eye(4)
    axes[:3, :3], axes[:3, 3] = np.stack([other - corner for other in along], axis=-1), corner
    scan = dataclasses.replace(scan, mask=mask)
    other = dataclasses.replace(scan, values=turn(scan.values), mask=turn(mask), affine=scan.affine @ axes)
    maps = [
        dcejax2026.predict(networks, dcejax2026.series_of(each, NOTHING_BESIDE, CONFIG), stream(0)).maps
        for each in (scan, other)
    ]
    for name, values in maps[0].items():
        if not name.startswith("identifiable"):
            np.testing.assert_allclose(maps[1][name], turn(values), rtol=1e-3, atol=1e-5, err_msg=name)


def test_voxels_are_computed_in_any_portions(networks, monkeypatch):
    scan = make_scan(shape=(9, 7, 5))
    scan = dataclasses.replace(scan, mask=np.random.default_rng(3).uniform(size=scan.mask.shape) < 0.8)
    whole = posterior(networks, scan)
    monkeypatch.setattr(examination_posterior, "CHUNK", 16)
    monkeypatch.setattr(examination_posterior, "GROUP", 60)
    portions = posterior(networks, scan)
    # Products of matrices of other sizes round otherwise, and squares that nearly cancel multiply it.
    assert (np.abs(portions.mean - whole.mean) < 5e-4 * whole.sd).all()
    for one, other in zip(whole[1:4], portions[1:4], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_neighbours_in_the_slice_are_heard_and_no_others(networks):
    """A voxel that changes moves the maps two voxels around it, as far as two layers reach, in its slice alone."""
    series = dcejax2026.series_of(make_scan(shape=(9, 8, 3)), NOTHING_BESIDE, CONFIG)
    curves = series.curves.copy().reshape(9, 8, 3, -1)
    curves[4, 3, 1, 10:] *= 1.5
    changed = dataclasses.replace(series, curves=curves.reshape(len(series.curves), -1))
    apart = [dcejax2026.posterior(networks, s).mean.reshape(9, 8, 3, 3) for s in (series, changed)]
    moved = np.abs(apart[0] - apart[1]).max(axis=-1) > 1e-6
    expected = np.zeros_like(moved)
    expected[2:7, 1:6, 1] = True
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize(("interval_s", "frames"), [(2.0, 90), (3.7, 75), (8.0, 36)])
def test_any_frame_times(networks, interval_s, frames):
    found = posterior(networks, make_scan(interval_s, frames))
    assert np.isfinite(found.mean).all()
    assert found.arrival == pytest.approx(0.5, abs=interval_s / 60 + 0.01)


def test_bounded_concentration_is_the_inverse_where_there_is_one():
    concentration = np.linspace(0, 5, 20)
    signal = np.asarray(spgr(concentration, 1.5 / 60, ACQUISITION))
    found = bounded_concentration(signal, signal[0], 1.5 / 60, ACQUISITION)
    exact = invert_spgr(signal.astype(np.float32), np.float32(signal[0]), 1.5 / 60, ACQUISITION).concentration
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-3)
    wild = bounded_concentration(np.array([-5.0, 0.0, 100.0]), 1.0, 1.5 / 60, ACQUISITION)
    assert np.isfinite(wild).all()
    assert (np.diff(np.asarray(wild)) >= 0).all()


def test_known_maps_and_arterial_input_are_used(networks):
    scan = make_scan()
    alone = posterior(networks, scan)
    maps = np.full(scan.mask.shape, 1.2 / 60, np.float32)
    with_t1 = posterior(networks, dataclasses.replace(scan, t1_map=maps))
    with_b1 = posterior(networks, scan, Beside(b1_map=np.full(scan.mask.shape, 0.8, np.float32)))
    for found in (with_t1, with_b1):
        assert not np.allclose(found.mean, alone.mean, atol=1e-3)


def test_a_known_hematocrit_says_how_much_of_blood_is_plasma(networks):
    scan = make_scan()
    alone, usual, low = (posterior(networks, scan, Beside(hematocrit=h)) for h in (None, 0.42, 0.3))
    assert not np.allclose(usual.mean, alone.mean, atol=1e-3)  # that it is known is told
    np.testing.assert_allclose(low.plasma.max(), usual.plasma.max() * 0.58 / 0.7, rtol=0.05)
    aif = MeasuredAif(scan.times, np.where(scan.times > 0.5, 2.0, 0.0))
    known, both = (posterior(networks, scan, Beside(aif=aif, hematocrit=h)) for h in (None, 0.3))
    assert not np.allclose(known.mean, both.mean, atol=1e-3)  # networks were trained with either and both
    record = dcejax2026.series_of(scan, Beside(5.0, hematocrit=0.2), CONFIG)
    assert record.provenance["input"].items() >= {"hematocrit": 0.2, "relaxivity_per_mM_s": 5.0}.items()
    assert any("hematocrit is 0.2, but" in text for text in record.warnings)


def test_the_plasma_curve_ends_with_the_scan(networks):
    for frames, interval_s in ((60, 3.0), (50, 5.0), (75, 8.0)):
        scan = make_scan(interval_s, frames)
        series = dcejax2026.series_of(scan, NOTHING_BESIDE, CONFIG)
        prediction = dcejax2026.predict(networks, series, stream(0))
        times, plasma, *_ = dcejax2026.plasma_curve(prediction)
        assert len(times) == len(plasma)
        assert scan.times[-1] - 4.1 * STEP < times[-1] <= scan.times[-1]
        np.testing.assert_allclose(np.diff(times)[:50], STEP, atol=1e-4)
        np.testing.assert_array_equal(
            examination_posterior.estimated_plasma(networks, series)[0], dcejax2026.posterior(networks, series).plasma
        )


def test_holes_of_a_map_are_filled_with_what_is_typical(networks):
    scan = make_scan()
    full = np.full(scan.mask.shape, 1.8 / 60, np.float32)
    holes = full.copy()
    holes[0, 0, 0], holes[1, 1, 1], holes[2, 2, 2] = 0.0, np.nan, np.inf
    one, other = (posterior(networks, dataclasses.replace(scan, t1_map=maps)) for maps in (full, holes))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-4)


def test_concentration_gives_nearly_what_its_signal_gives(networks):
    """Turned into signal by the protocol's acquisition, and back."""
    scan = make_scan()
    base = scan.values[..., :5].mean(-1)
    values = np.asarray(invert_spgr(scan.values, base[..., None], 1.5 / 60, ACQUISITION).concentration)
    given = dataclasses.replace(scan, values=values, quantity="concentration")
    one, other = posterior(networks, scan), posterior(networks, given)
    assert np.abs(one.plasma - other.plasma).max() < 0.2 * one.plasma.max()


def test_maps_are_ordered_quantiles_and_zero_outside_the_mask(networks):
    scan = make_scan()
    mask = scan.mask.copy()
    mask[0] = False
    series = dcejax2026.series_of(dataclasses.replace(scan, mask=mask), NOTHING_BESIDE, CONFIG)
    maps = dcejax2026.predict(networks, series, stream(0)).maps
    assert set(maps) == {output.name for output in dcejax2026.OUTPUTS}
    for name in ("Ktrans", "vp", "ve"):
        assert (maps[f"q05_{name}"] <= maps[f"median_{name}"]).all()
        assert (maps[f"median_{name}"] <= maps[f"q95_{name}"]).all()
        span = np.log((maps[f"q95_{name}"] + 1e-2) / (maps[f"q05_{name}"] + 1e-2))
        identifiable = maps[f"identifiable_{name}"]
        assert set(np.unique(identifiable)) <= {0.0, 1.0}
        assert span[identifiable == 1].max(initial=0) < np.log(4)
    assert (maps["residual_curve"][mask] > 0).all()
    assert all((values[~mask] == 0).all() for values in maps.values())


@pytest.mark.filterwarnings("error")
def test_maps_that_are_not_finite_are_refused_in_one_line(networks):
    """As an examination gives that is far from all that were trained on: its SDs overflow."""
    wild = jax.tree.map(lambda leaf: 30 * leaf, networks.params)
    series = dcejax2026.series_of(make_scan(), NOTHING_BESIDE, CONFIG)
    expected = r"expected finite maps, found NaN or infinity in \d+ voxels; check the signal .*mask, TR, flip angle"
    with pytest.raises(ValueError, match=expected):
        dcejax2026.predict(networks._replace(params=wild), series, stream(0))


def batch_of(series):
    """One example whose voxels are those of a series of 50 frames; frames that lack repeat the last."""
    context, count = series.context, len(series.curves)

    def padded(values):
        return np.concatenate([values, np.repeat(values[..., -1:], 40, axis=-1)], axis=-1)[None].astype(np.float32)

    examples = Context(
        times=padded(context.times),
        acquisition=jax.tree.map(lambda a: np.array([a], np.float32), Acquisition(*context.acquisition)),
        noise_sd=Known(np.zeros(1), np.zeros(1, bool)),
        aif=Known(padded(np.zeros(50)), np.zeros(1, bool)),
        t10=Known(np.zeros((1, count), np.float32), np.zeros(1, bool)),
        b1=Known(np.ones((1, count), np.float32), np.zeros(1, bool)),
        brightest=Brightest(padded(context.brightest.curves), np.array([count]), context.brightest.points[None]),
        sample=Sample(padded(context.sample.curves), context.sample.points[None]),
        points=context.points[None],
        hematocrit=jax.tree.map(lambda value: np.array([value]), context.hematocrit),
    )
    batch = make_batch()._replace(
        curves=padded(series.curves), mask=np.ones((1, count), bool), context=examples, row=np.zeros(1, int)
    )
    late = np.maximum(context.times - 0.5, 0)  # as `make_scan` has it
    plasma = 6 * late / 0.1 * np.exp(1 - late / 0.1) + 1.2 * (late > 0)
    return batch._replace(truth=batch.truth._replace(aif=TrueInput(plasma[None], context.times[None])))


SERIES = make_scan(frames=50, shape=(8, 8, 1))


@pytest.mark.parametrize("hematocrit", [None, 0.35])
def test_a_batch_is_prepared_as_a_series(networks, hematocrit):
    series = dcejax2026.series_of(SERIES, Beside(hematocrit=hematocrit), CONFIG)
    batch = batch_of(series)
    seen, voxels, common, _ = aligned_grid.prepare_batch(batch)
    network, params = networks.network, networks.params
    around = of_patches(batch.mask, 8)
    apply = jax.jit(lambda *inputs: network.apply({"params": params}, *inputs, around))
    found = apply(seen, voxels, common.acquisition, common.valid)[1]
    expected = dcejax2026.posterior(networks, series)
    np.testing.assert_allclose(found.mean[0], expected.mean, atol=2e-3)
    assert np.isfinite(to_maps(expected.mean)).all()


def test_examinations_of_a_batch_are_prepared_apart():
    scans = SERIES, make_scan(frames=50, shape=(8, 8, 1), contrast=0.7, arrival_s=45.0)
    one, other = (batch_of(dcejax2026.series_of(scan, NOTHING_BESIDE, CONFIG)) for scan in scans)
    both = jax.tree.map(lambda *leaves: np.concatenate(leaves), one, other)._replace(row=np.arange(2))
    together = aligned_grid.prepare_batch(both)
    apart = jax.tree.map(lambda *leaves: np.concatenate(leaves), *map(aligned_grid.prepare_batch, (one, other)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), together, apart)


def test_calibration_scales_the_spread_and_nothing_else(networks):
    scan = make_scan()
    double = calibration.no_calibration().scales * np.array([2.0, 1.0, 1.0], np.float32)
    wide = networks._replace(calibration=calibration.no_calibration()._replace(scales=double))
    one, other = posterior(networks, scan), posterior(wide, scan)
    np.testing.assert_array_equal(one.mean, other.mean)
    ratio = np.sqrt(np.diagonal(other.covariance, axis1=1, axis2=2) / np.diagonal(one.covariance, axis1=1, axis2=2))
    np.testing.assert_allclose(ratio, np.tile([2.0, 1.0, 1.0], (len(ratio), 1)), rtol=1e-4)
    np.testing.assert_allclose(other.shared[:, 0], 2 * one.shared[:, 0], rtol=1e-5)


def test_calibration_depends_on_leakage_and_on_the_predicted_sd():
    knots = np.log(np.tile(np.array([0.05, 0.1, 0.2, 0.4, 0.8])[:, None], (2, 1, 3)))
    scales = np.stack([np.ones((5, 3)), np.tile(np.array([4.0, 2, 2, 1, 1])[:, None], (1, 3))])
    made = calibration.Calibration(knots, scales, np.ones((2, 3)))
    means = np.log([[1e-5, 1, 1], [0.005, 1, 1], [1.0, 1, 1], [1.0, 1, 1], [1.0, 1, 1]])
    sds = np.array([[0.05], [0.05], [0.05], [0.2 * np.sqrt(2)], [3.0]]) * np.ones(3)
    found = calibration.scales_at(means, sds, made)
    np.testing.assert_allclose(found[:, 0], [1.0, 2.0, 4.0, np.sqrt(2), 1.0], rtol=0.01)


def test_intervals_of_regions_know_what_voxels_share():
    """Against samples of all voxels together."""
    rng = np.random.default_rng(0)
    voxels = 60
    mean = rng.normal([-2.5, -3.2, -1.2], 0.3, (voxels, 3))
    cholesky = np.tile(np.diag([0.3, 0.2, 0.25]), (voxels, 1, 1))
    shared = np.tile(rng.normal(size=(3, 3)) * 0.1, (voxels, 1, 1))
    covariance = cholesky @ cholesky.swapaxes(1, 2) + shared @ shared.swapaxes(1, 2)
    plain = np.zeros((voxels, 3, 1)), np.ones(voxels), np.zeros(52), 0.5, np.ones((2, 3))
    found = Posterior(mean, covariance, shared, *plain)
    inside = np.arange(voxels) < 50
    logs = mean + np.einsum("vij,svj->svi", cholesky, rng.normal(size=(4000, voxels, 3)))
    logs += np.einsum("vir,sr->svi", shared, rng.normal(size=(4000, 3)))
    samples = np.asarray(to_maps(logs))[:, inside]
    intervals = regional(found, inside)
    alone = regional(found._replace(shared=0 * shared), inside)
    wider = regional(found._replace(widening=np.full((2, 3), 1.5)), inside)
    for what, drawn in (("mean", samples.mean(axis=1)), ("median", np.median(samples, axis=1))):
        for c, name in enumerate(("Ktrans", "vp", "ve")):
            expected = np.percentile(drawn[:, c], [5, 95])
            ends, lone, wide = (
                np.array([of[name][f"{what}_{q}"] for q in ("q05", "q95")]) for of in (intervals, alone, wider)
            )
            middle = intervals[name][f"expected_{what}"]
            np.testing.assert_allclose(ends, expected, atol=0.15 * np.ptp(expected))
            of_draws = {"mean": np.mean, "median": np.median}[what]
            assert middle == pytest.approx(of_draws(drawn[:, c]), rel=0.02)
            assert np.ptp(lone) < np.ptp(ends)
            np.testing.assert_allclose(np.log(wide / middle), 1.5 * np.log(ends / middle), rtol=1e-6)


def test_the_last_network_begins_as_the_first_member_and_learns_from_all():
    params = random_params()
    same = jax.tree.map(np.array_equal, params["distilled"], params["member_1"])
    assert all(
        jax.tree.leaves({name: tree for name, tree in same.items() if name not in ("out", "linear", "shared_bias")})
    )
    assert params["distilled"]["out"]["kernel"].shape[-1] == 9 + 3 * (SIZES.rank + CONFIG.members)
    members, last = {name: params[name] for name in ("member_1", "member_2")}, dcejax2026.stages(CONFIG, None)[-1]
    batch = batch_of(dcejax2026.series_of(SERIES, NOTHING_BESIDE, CONFIG))
    stage = last(members)
    inputs, _ = jax.jit(stage.prepare)(batch)
    outputs = jax.jit(stage.apply)(params["distilled"], inputs, None)
    speak = jax.jit(dcejax2026.stages(CONFIG, None)[0]({}).apply)
    said = [speak(members[name], inputs[0], None)["logs"] for name in members]
    np.testing.assert_allclose(outputs["taught"].mean, (said[0].mean + said[1].mean) / 2, atol=1e-4)
    assert losses.distillation(outputs, batch).shape == (1,)
    only_plasma, only_leakage = (np.full((1, 64, 3), maps, np.float32) for maps in ([0, 0.05, 0.2], [0.2, 0, 0.2]))
    explained, wrong = ({"maps": maps, "plasma": inputs[0][3]} for maps in (only_plasma, only_leakage))
    residual = jax.jit(jax.value_and_grad(lambda said: losses.curve_residual(outputs | said, batch).sum()))
    (true, slope), (other, _) = residual(explained), residual(wrong)
    assert true < 0.7 * other
    assert all(np.isfinite(leaf).all() and np.abs(leaf).max() > 0 for leaf in slope.values())


def test_the_spread_of_networks_is_part_of_the_covariance(networks):
    found = posterior(networks, make_scan())
    assert (found.shared.shape[-1], found.model.shape[-1]) == (SIZES.rank, CONFIG.members)
    assert np.abs(found.model).max() > 0.01
    parts = sum(part @ part.swapaxes(1, 2) for part in (found.shared, found.model))
    assert (np.linalg.eigvalsh((found.covariance - parts).astype(np.float64)) > -1e-6).all()


def test_weights_of_another_size_are_refused():
    params = random_params()
    wider = Config(network=dataclasses.replace(SIZES, voxel_width=24), members=2)
    for config in (wider, Config(network=SIZES, members=3)):
        with pytest.raises(ValueError, match="expected parameter"):
            dcejax2026.load(params, config, default_policy())
    with pytest.raises(ValueError, match="earlier version"):
        dcejax2026.load({"member_1": params["member_1"]}, CONFIG, default_policy())
