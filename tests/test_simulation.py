"""The phantom: anatomy, kinetics, arterial input, acquisition, patches and whole cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.config import ProtocolConfig, StageConfig
from dcejax.physics.aif import parker
from dcejax.physics.kinetics import extended_tofts
from dcejax.physics.signal import spgr_to_concentration
from dcejax.rng import stream
from dcejax.simulation import acquisition, anatomy, arterial, batches, case, fields, kinetics, patient, priors
from dcejax.types import ExtendedTofts

PROTOCOL = ProtocolConfig()


@pytest.fixture(scope="module")
def simulated():
    return case.simulate_case(stream(7, "test case"), PROTOCOL, slices=2, case_id="sub-test")


@pytest.fixture(scope="module")
def one_patient():
    return jax.jit(lambda key: patient.sample_patient(key, PROTOCOL))(stream(3, "test patient"))


@pytest.fixture(scope="module")
def points():
    return jax.random.uniform(jax.random.key(0), (4000, 3), minval=-60.0, maxval=60.0)


def test_gaussian_field_has_the_stated_covariance():
    def values(key):
        field = fields.gaussian_field(key, 4.0, 32)
        return fields.evaluate(field, jnp.array([[0.0, 0, 0], [4.0, 0, 0], [0, 0, 40.0]]))

    draws = jax.vmap(values)(jax.random.split(jax.random.key(1), 20_000))
    covariance = np.cov(draws.T)
    error = 5 / np.sqrt(len(draws))
    np.testing.assert_allclose(draws.mean(0), 0.0, atol=error)
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=2 * error)
    np.testing.assert_allclose(covariance[0, 1], np.exp(-0.5), atol=2 * error)
    np.testing.assert_allclose(covariance[0, 2], 0.0, atol=2 * error)


def test_tissue_shares_are_a_partition(one_patient, points):
    shares, mask = anatomy.tissue_shares(one_patient.anatomy, points)
    assert shares.min() >= 0
    np.testing.assert_allclose(shares.sum(-1), 1.0, atol=1e-5)
    assert 0.3 < mask.mean() < 1.0
    # Every tissue of a normal head is somewhere.
    normal = [anatomy.WHITE, anatomy.GREY, anatomy.CSF, anatomy.DURA]
    assert (shares[:, normal].max(0) > 0.9).all()


def test_a_point_looks_the_same_whatever_it_is_evaluated_with(one_patient, points):
    """There is no grid: a patch and a volume see one patient."""
    together, _ = anatomy.tissue_shares(one_patient.anatomy, points)
    alone, _ = anatomy.tissue_shares(one_patient.anatomy, points[1234:1235])
    np.testing.assert_allclose(together[1234], alone[0], atol=1e-5)


def test_tumour_volumes_follow_the_prior():
    drawn = jax.jit(jax.vmap(anatomy.sample_anatomy))(jax.random.split(jax.random.key(5), 4000))
    volume = 4 / 3 * np.pi * np.asarray(drawn.radius) ** 3 / 1e3
    assert volume.min() >= 0.99 * priors.PRIORS.tumour_volume_range_ml[0]
    np.testing.assert_allclose(np.log(np.median(volume)), np.log(priors.PRIORS.tumour_volume_ml.median), atol=0.1)
    np.testing.assert_allclose(jnp.linalg.det(drawn.shear), 1.0, rtol=1e-3)  # shape does not change volume
    share = np.bincount(drawn.tumour_class, minlength=3) / 4000
    np.testing.assert_allclose(share, [c.share for c in priors.TUMOUR_CLASSES], atol=5 * 0.5 / np.sqrt(4000))


def test_kinetics_follow_the_priors_and_their_correlations():
    def white_matter(key):
        drawn = kinetics.sample_kinetics(key, jnp.array(0))
        shares = jax.nn.one_hot(jnp.array([anatomy.WHITE]), len(priors.TISSUES))
        tissue = kinetics.properties(drawn, shares, jnp.zeros((1, 3)), jnp.array(0.42))
        return jnp.stack([*tissue.params, tissue.t10])[:, 0]

    values = np.log(jax.jit(jax.vmap(white_matter))(jax.random.split(jax.random.key(2), 6000)))
    prior = priors.TISSUES[anatomy.WHITE]
    np.testing.assert_allclose(np.exp(np.median(values[:, 0])), prior.ktrans.median, rtol=0.05)
    np.testing.assert_allclose(np.exp(np.median(values[:, 3])) * 60, prior.t10_s.median, rtol=0.02)
    np.testing.assert_allclose(values[:, 0].std(), np.hypot(prior.ktrans.between, prior.ktrans.within), rtol=0.06)
    correlation = np.corrcoef(values.T)
    assert abs(correlation[0, 1] - priors.PRIORS.correlation_ktrans_vp) < 0.06
    assert abs(correlation[0, 2] - priors.PRIORS.correlation_ktrans_ve) < 0.06


def test_arterial_input_without_variation_is_parkers():
    times = jnp.arange(300) / 60.0
    typical = arterial.ArterialInput(
        gamma_variate=jnp.array(False),
        amplitude=1.0,
        width=1.0,
        tail=1.0,
        clearance=1.0,
        hematocrit=0.42,
        arrival=0.5,
        dispersion=1e-4,
        tissue_delay=0.0,
        sinus_delay=0.0,
    )
    np.testing.assert_allclose(
        arterial.plasma_concentration(typical, times), parker(times, arrival=0.5, hematocrit=0.42), rtol=0.02, atol=0.05
    )
    wide = arterial.plasma_concentration(typical._replace(width=1.4), times)
    assert wide.max() < 0.8 * parker(times, arrival=0.5, hematocrit=0.42).max()
    gamma = arterial.plasma_concentration(typical._replace(gamma_variate=jnp.array(True)), times)
    assert (gamma[:30] == 0).all()
    np.testing.assert_allclose(jnp.trapezoid(gamma, times), jnp.trapezoid(parker(times, arrival=0.5), times), rtol=0.25)


def test_table_of_rates_agrees_with_the_exact_model(one_patient):
    """Concentration from the table, averaged in frames, against the exact model on a fine grid averaged by hand."""
    frames, interval = acquisition.frame_count(PROTOCOL), one_patient.scanner.frame_interval
    kernels = acquisition.sample_kernels(one_patient.arterial, interval, frames)
    ktrans, vp, ve = (
        np.array([0.07, 0.25, 0.03, 0.0004]),
        np.array([0.05, 0.1, 0.03, 0.01]),
        np.array([0.25, 0.4, 0.2, 0.15]),
    )
    zero = jnp.zeros(4)
    tissue = kinetics.Properties(ExtendedTofts(*map(jnp.asarray, (ktrans, vp, ve))), zero, zero, zero + 1, zero + 1)
    measured = acquisition.concentration(tissue, kernels)
    fine = jnp.arange(0, frames * 60) * interval / 60
    delayed = arterial.plasma_concentration(one_patient.arterial, fine)
    for i in range(4):
        exact = extended_tofts(
            ExtendedTofts(ktrans[i], vp[i], ve[i]), fine, delayed, delay=one_patient.arterial.tissue_delay
        )
        expected = exact.reshape(frames, 60).mean(axis=1)
        # Frames of the rise differ most: the table's grid is 1 s.
        np.testing.assert_allclose(measured[i], expected, atol=0.02 * float(expected.max()))


def test_noise_free_voxels_invert_to_their_concentration(one_patient, points):
    """Baseline, T10 and B1 of the phantom are those of the signal model."""
    still = one_patient._replace(scanner=one_patient.scanner._replace(noise=jnp.zeros(())))
    kernels = patient.arterial_kernels(still, PROTOCOL)
    shares, mask = anatomy.tissue_shares(still.anatomy, points)
    tissue = kinetics.properties(still.kinetics, shares, points, still.arterial.hematocrit)
    signal = acquisition.measure(jax.random.key(0), tissue, points, mask, still.scanner, kernels, PROTOCOL)
    relative = points / anatomy.BRAIN_SEMI_AXES_MM
    b1 = still.scanner.b1_centre - still.scanner.b1_edge_drop * (relative**2).sum(-1)
    settings = acquisition.protocol_acquisition(PROTOCOL)
    found = spgr_to_concentration(signal, signal[:, :1], tissue.t10[:, None], settings, b1=b1[:, None])
    expected = acquisition.concentration(tissue, kernels)
    usable = np.asarray(mask & (expected.max(-1) < 3.0))
    np.testing.assert_allclose(found[usable], expected[usable], atol=0.02)
    assert (np.asarray(signal)[~np.asarray(mask)] == 0).all()


def test_noise_has_the_stated_level(one_patient):
    scanner = one_patient.scanner
    white = jnp.zeros((20_000, len(priors.TISSUES))).at[:, anatomy.WHITE].set(1.0)
    at_centre = jnp.zeros((20_000, 3))
    tissue = kinetics.properties(one_patient.kinetics, white, at_centre, jnp.array(0.42))
    kernels = jax.tree.map(jnp.zeros_like, patient.arterial_kernels(one_patient, PROTOCOL))
    signal = acquisition.measure(
        jax.random.key(1), tissue, at_centre, jnp.ones(20_000, bool), scanner, kernels, PROTOCOL
    )
    low, high = priors.PRIORS.snr
    np.testing.assert_allclose(signal[:, 0].std(), scanner.noise, rtol=0.05)
    snr = float(signal.mean() / scanner.noise)
    assert 0.5 * low < snr < 2 * high


def test_scale_agrees_with_the_percentile_of_a_volume():
    """The training scale, from a sample, against the percentile inference takes over a whole simulated volume."""
    key = stream(11, "scale")
    drawn = jax.jit(lambda k: patient.sample_patient(k, PROTOCOL))(key)
    kernels = jax.jit(lambda p: patient.arterial_kernels(p, PROTOCOL))(drawn)
    estimated = jax.jit(lambda k: patient.signal_scale(k, drawn, kernels, PROTOCOL))(stream(11, "points"))
    index = np.indices((64, 64, 40)).reshape(3, -1).T * np.array([4, 4, 1])  # every fourth voxel in plane
    voxels = jax.jit(lambda p: patient.observe(key, drawn, kernels, p, PROTOCOL))(
        batches.voxel_centres(jnp.asarray(index))
    )
    curves = np.asarray(voxels.curves)[np.asarray(voxels.mask)]
    np.testing.assert_allclose(estimated, np.percentile(curves, PROTOCOL.scale_percentile), rtol=0.1)


def test_patches_are_a_function_of_the_key_and_lie_inside():
    stage = StageConfig(patches_per_patient=3, patch_size=12, tumour_fraction=0.67)
    sample = batches.make_sampler(stage, PROTOCOL, patients=2)
    first, again, other = (sample(stream(0, "patches", i)) for i in (0, 0, 1))
    assert first.curves.shape == (6, 12, 12, 60)
    assert first.maps.shape == (6, 12, 12, 3)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.curves, other.curves)
    assert all(np.isfinite(leaf).all() for leaf in first)
    outside = ~np.asarray(first.mask)
    assert (np.asarray(first.curves)[outside] == 0).all()
    assert (np.asarray(first.maps)[outside] == 0).all()
    assert sample._cache_size() == 1


def test_lesion_masks_keep_tumour_only():
    stage = StageConfig(patches_per_patient=8, patch_size=24, tumour_fraction=1.0, lesion_mask_fraction=1.0)
    batch = batches.make_sampler(stage, PROTOCOL, patients=1)(stream(0, "lesion", 0))
    mask, tissue = np.asarray(batch.mask), np.asarray(batch.tissue)
    assert mask.any(axis=(1, 2)).all()
    assert np.isin(tissue[mask], (anatomy.TUMOUR, anatomy.CORE)).all()
    assert (np.asarray(batch.curves)[~mask] == 0).all()
    assert (np.asarray(batch.maps)[~mask] == 0).all()


def test_every_corner_of_the_volume_can_be_drawn_and_tumour_patches_hold_tumour(one_patient):
    stage = StageConfig(patches_per_patient=2000, patch_size=64, tumour_fraction=0.0)
    corners = np.asarray(batches.patch_corners(jax.random.key(0), one_patient, stage))
    assert (corners.min(0) == 0).all()
    assert (corners.max(0) == np.array([256 - 64, 256 - 64, 39])).all()
    stage = StageConfig(patches_per_patient=20, patch_size=9, tumour_fraction=1.0)
    corners = batches.patch_corners(jax.random.key(1), one_patient, stage)
    shares, _ = anatomy.tissue_shares(one_patient.anatomy, batches.voxel_centres(corners + jnp.array([4, 4, 0])))
    assert (patient.tumour_share(shares) > 0.5).all()


def test_case_is_a_scan_with_truth(simulated):
    scan = simulated.scan
    assert scan.values.shape == (256, 256, 2, 60)
    assert simulated.truth.shape == (256, 256, 2, 3)
    assert np.isfinite(scan.values).all()
    assert scan.values.dtype == np.float32
    assert (scan.values[~scan.mask] == 0).all()
    assert (simulated.truth[~scan.mask] == 0).all()
    assert simulated.truth.min() >= 0
    assert simulated.truth.max() <= 1
    assert scan.segmentation.any()
    assert (scan.segmentation[~scan.mask] == 0).all()
    np.testing.assert_allclose(np.diff(scan.times) * 60, 5.0)
    np.testing.assert_allclose(np.diag(scan.affine)[:3], patient.VOXEL_MM)


def test_case_refuses_an_impossible_slab():
    with pytest.raises(ValueError, match="expected 1 to 40, found 41"):
        case.simulate_case(stream(0, "x"), PROTOCOL, slices=41, case_id="x")


def test_signal_levels_resemble_the_published_figure(simulated):
    """After division by the maximum, at frame 30 of 60: loose bounds on what the figure of the paper shows."""
    values = simulated.scan.values / np.percentile(simulated.scan.values[simulated.scan.mask], 99.99)
    frame = values[..., 30]
    inside = simulated.scan.mask

    def level(tissue):
        return np.median(frame[inside & (simulated.tissue == tissue)])

    assert 0.08 < level(anatomy.WHITE) < 0.20
    assert 0.35 < level(anatomy.VEIN) < 0.70
    assert level(anatomy.CSF) < level(anatomy.WHITE)


def test_priors_hash_changes_with_any_number(monkeypatch):
    before = priors.priors_sha256()
    monkeypatch.setattr(priors, "TISSUES", (*priors.TISSUES[:-1],))
    assert priors.priors_sha256() != before
