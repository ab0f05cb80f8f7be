"""The training generator: kinetics, arterial input, measurement, scale and patches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.config import ProtocolConfig, StageConfig
from dcejax.physics.aif import georgiou, parker
from dcejax.physics.fitting import fit
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts
from dcejax.physics.signal import spgr_to_concentration
from dcejax.rng import stream
from dcejax.simulation import aif_prior, priors, tissue_kinetics
from dcejax.simulation.anatomy import head_anatomy
from dcejax.simulation.cohort_definitions import TRAINING_MIX
from dcejax.simulation.reference_object import fine_time
from dcejax.simulation.scanner.session_fields import to_head, to_scanner, transmit_field
from dcejax.simulation.training import patches, patient, point_measurement

PROTOCOL = ProtocolConfig()


def examine(key):
    return patient.sample_examination(key, PROTOCOL, TRAINING_MIX)


@pytest.fixture(scope="module")
def one_patient():
    return jax.jit(examine)(stream(3, "test patient"))


@pytest.fixture(scope="module")
def kernels(one_patient):
    return jax.jit(lambda drawn: patient.arterial_kernels(drawn, PROTOCOL))(one_patient)


@pytest.fixture(scope="module")
def points():
    return jax.random.uniform(jax.random.key(0), (4000, 3), minval=-60.0, maxval=60.0)


def pure(tissue, count):
    """Shares [count, K] of one tissue."""
    return jnp.zeros((count, len(priors.TISSUES))).at[:, tissue].set(1.0)


def test_kinetics_follow_the_priors_and_their_correlations():
    def white_matter(key):
        drawn = patient.sample_patient(key, jnp.array(0)).kinetics
        tissue = tissue_kinetics.properties(drawn, pure(head_anatomy.WHITE, 1), jnp.zeros((1, 3)), jnp.array(0.42))
        return jnp.stack([*tissue.params, tissue.t10, tissue.m0])[:, 0]

    values = np.log(jax.jit(jax.vmap(white_matter))(jax.random.split(jax.random.key(2), 6000)))
    prior = priors.TISSUES[head_anatomy.WHITE]
    np.testing.assert_allclose(np.exp(np.median(values[:, 0])), prior.ktrans.median, rtol=0.05)
    np.testing.assert_allclose(np.exp(np.median(values[:, 3])) * 60, prior.t10_s.median, rtol=0.02)
    np.testing.assert_allclose(values[:, 0].std(), np.hypot(prior.ktrans.between, prior.ktrans.within), rtol=0.06)
    np.testing.assert_allclose(np.exp(np.median(values[:, 4])), prior.m0.median, rtol=0.02)
    np.testing.assert_allclose(values[:, 4].std(), np.hypot(prior.m0.between, prior.m0.within), rtol=0.06)
    correlation = np.corrcoef(values.T)
    assert abs(correlation[0, 1] - priors.PRIORS.correlation_ktrans_vp) < 0.06
    assert abs(correlation[0, 2] - priors.PRIORS.correlation_ktrans_ve) < 0.06


def test_a_tumour_has_the_kinetics_of_its_class_or_of_one_that_does_not_enhance():
    def tumour(key, tumour_class):
        drawn = patient.sample_patient(key, tumour_class)
        tissue = tissue_kinetics.properties(
            drawn.kinetics, pure(head_anatomy.TUMOUR, 1), jnp.zeros((1, 3)), jnp.array(0.42)
        )
        return tissue.params.ktrans[0], drawn.anatomy.enhancing

    keys = jax.random.split(jax.random.key(4), 3000)
    for index in (0, 6):
        ktrans, enhancing = (np.asarray(a) for a in jax.jit(jax.vmap(tumour, (0, None)))(keys, jnp.array(index)))
        expected = priors.TUMOUR_KINETICS[priors.TUMOUR_CLASSES[index].kinetics].ktrans.median
        np.testing.assert_allclose(np.median(ktrans[enhancing]), expected, rtol=0.1)
        assert 1 - enhancing.mean() == pytest.approx(priors.TUMOUR_CLASSES[index].non_enhancing, abs=0.03)
        if (~enhancing).sum() > 500:
            expected = priors.TUMOUR_KINETICS[priors.NON_ENHANCING].ktrans.median
            np.testing.assert_allclose(np.median(ktrans[~enhancing]), expected, rtol=0.1)


def typical(family):
    """An arterial input without variation."""
    return aif_prior.SampledAif(
        family=jnp.array(aif_prior.FAMILIES.index(family)),
        amplitude=1.0,
        width=1.0,
        tail=1.0,
        clearance=1.0,
        hematocrit=0.42,
        arrival=0.5,
        injection=1e-3,
        dispersion=1e-4,
        tissue_delay=0.0,
        tissue_dispersion=1e-4,
        tumour_delay=0.0,
        sinus_delay=0.0,
        sinus_dispersion=1e-4,
        inflow=1e-3,
    )


def test_arterial_input_without_variation_is_its_familys():
    times = jnp.arange(30_000) / 6000.0
    for family, published in (("Parker", parker), ("Georgiou", georgiou)):
        later = 1e-3 / 2 + 1e-4  # the mean delay of injection and dispersion, min
        expected = published(times, arrival=0.5 + later, hematocrit=0.42)
        found = aif_prior.plasma_concentration(typical(family), times)
        smooth = np.abs(times - 0.5) > 0.002  # Parker's curve begins with a step, which no injection does
        np.testing.assert_allclose(found[smooth], expected[smooth], rtol=0.02, atol=0.05)
    wide = aif_prior.plasma_concentration(typical("Parker")._replace(width=1.4), times)
    assert wide.max() < 0.8 * parker(times, arrival=0.5, hematocrit=0.42).max()
    gamma = aif_prior.plasma_concentration(typical("gamma variate"), times)
    assert (gamma[:3000] == 0).all()
    np.testing.assert_allclose(jnp.trapezoid(gamma, times), jnp.trapezoid(parker(times, arrival=0.5), times), rtol=0.25)


def test_injection_and_dispersion_keep_the_area_and_delay_the_centre():
    times = jnp.arange(6000) / 600.0
    short = typical("Parker")
    curve = aif_prior.plasma_concentration(short, times)
    long = aif_prior.plasma_concentration(short._replace(injection=3 / 60), times)
    np.testing.assert_allclose(jnp.trapezoid(long, times), jnp.trapezoid(curve, times), rtol=0.01)
    assert long.max() < curve.max()
    dispersed = aif_prior.disperse(times, curve, jnp.array(3 / 60))
    np.testing.assert_allclose(jnp.trapezoid(dispersed, times), jnp.trapezoid(curve, times), rtol=0.02)
    early = times < 1.0  # the first pass: later by the time constant, on average
    centre = [jnp.sum(jnp.where(early, c * times, 0)) / jnp.sum(jnp.where(early, c, 0)) for c in (curve, dispersed)]
    assert 0.5 * 3 / 60 < centre[1] - centre[0] < 1.2 * 3 / 60


def test_the_family_kept_out_is_not_drawn_in_training():
    families = jax.jit(jax.vmap(lambda k: aif_prior.sample_arterial_input(k).family))(
        jax.random.split(jax.random.key(0), 4000)
    )
    counts = np.bincount(families, minlength=3)
    assert counts[aif_prior.FAMILIES.index("Georgiou")] == 0
    assert counts[0] / 4000 == pytest.approx(priors.PRIORS.parker_share, abs=0.03)


def tofts_voxels(ktrans, vp, ve, t10=1 / 60):
    zero = jnp.zeros(len(ktrans))
    return tissue_kinetics.Properties(
        params=ExtendedTofts(*map(jnp.asarray, (ktrans, vp, ve))),
        t10=zero + t10,
        m0=zero + 1,
        artery=zero,
        vein=zero,
        blood_t10=jnp.full(2, 1.65 / 60),
        hematocrit=jnp.array(0.42),
        delay=zero,
        tumour=zero,
    )


def test_table_of_rates_agrees_with_the_exact_model(one_patient):
    """Concentration from the table, averaged in frames, against the exact model on a fine grid averaged by hand."""
    frames, interval = point_measurement.frame_count(PROTOCOL), one_patient.frame_interval
    node = 2.0 / 60  # a delay the table holds
    injection = one_patient.arterial._replace(tissue_delay=jnp.array(node))
    kernels = point_measurement.sample_kernels(injection, interval, frames)
    ktrans, vp, ve = (
        np.array([0.07, 0.25, 0.03, 0.0004]),
        np.array([0.05, 0.1, 0.03, 0.01]),
        np.array([0.25, 0.4, 0.2, 0.15]),
    )
    measured = point_measurement.concentration(tofts_voxels(ktrans, vp, ve), injection, kernels)
    fine = jnp.arange(0, frames * 60) * interval / 60
    arriving = aif_prior.disperse(fine, aif_prior.plasma_concentration(injection, fine), injection.tissue_dispersion)
    for i in range(4):
        exact = extended_tofts(ExtendedTofts(ktrans[i], vp[i], ve[i]), fine, arriving, delay=node)
        expected = exact.reshape(frames, 60).mean(axis=1)
        # Frames of the rise differ most: the table's grid is 1 s.
        np.testing.assert_allclose(measured[i], expected, atol=0.03 * float(expected.max()))


def test_noise_free_voxels_of_the_training_generator_give_back_their_truth():
    """On frames of 1 s, the generator's fine grid, before delay and dispersion, with the true T10 and input."""
    generator = np.random.default_rng(5)
    kep = np.exp(generator.uniform(np.log(0.05), np.log(3.0), 200))
    ve = generator.uniform(0.1, 0.6, 200)
    truth = ExtendedTofts(kep * ve, generator.uniform(0.005, 0.2, 200), ve)
    injection = typical("Parker")._replace(injection=2 / 60)
    second = jnp.array(1 / 60)
    kernels = point_measurement.sample_kernels(injection, second, 300)
    tissue = tofts_voxels(*truth, t10=1.8 / 60)
    still = jax.jit(examine)(stream(0, "truth check")).scanner._replace(noise=jnp.array(0.0))
    at = jnp.broadcast_to(jnp.array([10.0, -20.0, 5.0]), (200, 3))
    signal = point_measurement.measure(
        jax.random.key(0), tissue, at, jnp.ones(200, bool), still, injection, kernels, PROTOCOL
    )
    b1 = transmit_field(still, at)[:, None]
    settings = point_measurement.protocol_acquisition(PROTOCOL)
    found = spgr_to_concentration(signal, signal[:, :1], 1.8 / 60, settings, b1=b1)
    fitted = fit("extended_tofts", found, jnp.arange(300) * second, kernels.tissue[0]).params
    for name in ExtendedTofts._fields:
        np.testing.assert_allclose(getattr(fitted, name), getattr(truth, name), rtol=0.01, err_msg=name)


def test_blood_and_tissue_send_their_own_signals(one_patient, kernels):
    """Half a vessel is half of each signal, which is not the signal of the mean concentration."""
    still = one_patient.scanner._replace(noise=jnp.array(0.0))
    shares = jnp.stack([pure(head_anatomy.WHITE, 1)[0], pure(head_anatomy.ARTERY, 1)[0]])
    shares = jnp.concatenate([shares, shares.mean(0, keepdims=True)])
    at = jnp.zeros((3, 3))
    tissue = tissue_kinetics.properties(one_patient.patient.kinetics, shares, at, one_patient.arterial.hematocrit)
    white, blood, half = point_measurement.measure(
        jax.random.key(0), tissue, at, jnp.ones(3, bool), still, one_patient.arterial, kernels, PROTOCOL
    )
    np.testing.assert_allclose(half, 0.5 * (white + blood), rtol=1e-4)
    assert blood.max() > 4 * white.max()


def test_fresh_blood_is_brighter_and_agrees_with_the_reference(one_patient, kernels):
    """Arterial blood low and high in the slab, against the other generator's float64 formula."""
    still = one_patient.scanner._replace(noise=jnp.array(0.0), bias=jnp.zeros(3))
    at = jnp.array([[0.0, 0.0, -55.0], [0.0, 0.0, 40.0]])
    tissue = tissue_kinetics.properties(
        one_patient.patient.kinetics, pure(head_anatomy.ARTERY, 2), at, one_patient.arterial.hematocrit
    )
    found = point_measurement.measure(
        jax.random.key(0), tissue, at, jnp.ones(2, bool), still, one_patient.arterial, kernels, PROTOCOL
    )
    assert found[0, 0] > 1.3 * found[1, 0]
    settings = point_measurement.protocol_acquisition(PROTOCOL)
    blood = (1 - float(one_patient.arterial.hematocrit)) * np.asarray(kernels.artery, np.float64)
    pulses = np.asarray(point_measurement.excitations(at, one_patient.arterial, settings))
    b1 = np.asarray(transmit_field(still, at))
    for i in range(2):
        fresh = np.exp(-pulses[i : i + 1] / fine_time.FRESHNESS_PULSES)
        expected = fine_time.blood_signal(blood, float(tissue.blood_t10[0]), settings, b1[i : i + 1], fresh)
        np.testing.assert_allclose(found[i], expected[:, 0, 0], rtol=1e-3)


def test_noise_is_complex_normal():
    real, imaginary = point_measurement.complex_noise(jax.random.key(0), (400_000,))
    both = np.stack([real, imaginary]).astype(float)
    np.testing.assert_allclose(both.mean(1), 0, atol=0.01)
    np.testing.assert_allclose(np.cov(both), np.eye(2), atol=0.01)
    np.testing.assert_allclose((both**4).mean(1), 3.0, rtol=0.03)
    assert np.isfinite(both).all()


def test_noise_has_the_stated_level(one_patient, kernels):
    scanner = one_patient.scanner
    at_centre = jnp.zeros((20_000, 3))
    tissue = tissue_kinetics.properties(
        one_patient.patient.kinetics, pure(head_anatomy.WHITE, 20_000), at_centre, jnp.array(0.42)
    )
    nothing = jax.tree.map(jnp.zeros_like, kernels)
    signal = point_measurement.measure(
        jax.random.key(1), tissue, at_centre, jnp.ones(20_000, bool), scanner, one_patient.arterial, nothing, PROTOCOL
    )
    low, high = priors.PRIORS.snr_training
    np.testing.assert_allclose(signal[:, 0].std(), scanner.noise, rtol=0.05)
    snr = float(signal.mean() / scanner.noise)
    assert 0.5 * low < snr < 2 * high


def test_nothing_is_measured_outside_the_mask(one_patient, kernels, points):
    voxels = jax.jit(lambda at: patient.observe(jax.random.key(0), one_patient, kernels, at, PROTOCOL))(points)
    outside = ~np.asarray(voxels.mask)
    assert outside.any()
    assert (np.asarray(voxels.curves)[outside] == 0).all()
    assert (np.asarray(voxels.maps)[outside] == 0).all()
    assert np.isfinite(voxels.curves).all()
    assert np.asarray(voxels.maps).min() >= 0
    assert np.asarray(voxels.maps).max() <= 1


def test_the_head_is_placed_rigidly(one_patient, points):
    placement = one_patient.scanner.placement
    np.testing.assert_allclose(to_scanner(placement, to_head(placement, points)), points, atol=1e-4)
    np.testing.assert_allclose(placement.rotation @ placement.rotation.T, np.eye(3), atol=1e-6)
    assert jnp.linalg.det(placement.rotation) == pytest.approx(1, abs=1e-5)


def test_scale_agrees_with_the_percentile_of_a_volume():
    """The training scale, from a sample, against the percentile inference takes over a whole simulated volume."""
    key = stream(11, "scale")
    drawn = jax.jit(examine)(key)
    kernels = jax.jit(lambda p: patient.arterial_kernels(p, PROTOCOL))(drawn)
    observe = jax.jit(lambda points: patient.observe(key, drawn, kernels, points, PROTOCOL))
    fullest, sampled = jax.jit(patient.fullest_points)(stream(11, "points"), drawn)
    estimated = patient.signal_scale(observe(fullest).curves, sampled, PROTOCOL)
    index = np.indices((64, 64, 40)).reshape(3, -1).T * np.array([4, 4, 1])  # every fourth voxel in plane
    voxels = observe(patches.voxel_centres(jnp.asarray(index)))
    curves = np.asarray(voxels.curves)[np.asarray(voxels.mask)]
    np.testing.assert_allclose(estimated, np.percentile(curves, PROTOCOL.scale_percentile), rtol=0.1)


@pytest.fixture(scope="module")
def sampler():
    """One for all tests of patches, for compiling it takes long."""
    stage = StageConfig(patches_per_patient=3, patch_size=12, tumour_fraction=0.67, lesion_mask_fraction=1.0)
    return patches.make_sampler(stage, PROTOCOL, patients=2)


def test_patches_are_a_function_of_the_key_and_lie_inside(sampler):
    first, again, other = (sampler(stream(0, "patches", i)) for i in (0, 0, 1))
    assert first.curves.shape == (6, 12, 12, 60)
    assert first.maps.shape == (6, 12, 12, 3)
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.curves, other.curves)
    assert all(np.isfinite(leaf).all() for leaf in first)
    outside = ~np.asarray(first.mask)
    assert (np.asarray(first.curves)[outside] == 0).all()
    assert (np.asarray(first.maps)[outside] == 0).all()
    assert sampler._cache_size() == 1


def test_lesion_masks_keep_tumour_only(sampler):
    kinds = []
    for number in range(5):
        batch = sampler(stream(0, "lesion", number))
        for mask, tissue in zip(np.asarray(batch.mask), np.asarray(batch.tissue), strict=True):
            lesion = np.isin(tissue, (head_anatomy.TUMOUR, head_anatomy.CORE))
            kinds.append(bool(lesion[mask].any()))
            assert lesion[mask].all() or not lesion[mask].any()
    assert 0.5 < np.mean(kinds) < 1  # two in three are centred on a tumour, some of the others hold none


def test_every_corner_of_the_volume_can_be_drawn_and_tumour_patches_hold_tumour(one_patient):
    def draw(seed, **settings):  # compiled, because its many steps one by one take longer
        return jax.jit(lambda key: patches.patch_corners(key, one_patient, StageConfig(**settings)))(
            jax.random.key(seed)
        )

    corners = np.asarray(draw(0, patches_per_patient=2000, patch_size=64, tumour_fraction=0.0))
    assert (corners.min(0) == 0).all()
    assert (corners.max(0) == np.array([256 - 64, 256 - 64, 39])).all()
    corners = draw(1, patches_per_patient=20, patch_size=9, tumour_fraction=1.0)
    at = to_head(one_patient.scanner.placement, patches.voxel_centres(corners + jnp.array([4, 4, 0])))
    assert (jax.jit(head_anatomy.tumour_depth)(one_patient.patient.anatomy, at) > 0).all()
    shares, _ = jax.jit(head_anatomy.tissue_shares)(one_patient.patient.anatomy, at)
    assert (patient.tumour_share(shares) > 0.5).mean() > 0.7  # the others are at its surface, or vessels cross them


def variants(value):
    """Every record that differs from one in a single number."""
    if dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            for other in variants(getattr(value, field.name)):
                yield dataclasses.replace(value, **{field.name: other})
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            for other in variants(item):
                yield (*value[:i], other, *value[i + 1 :])
    elif not isinstance(value, str):
        yield value + 1


def test_priors_hash_changes_with_any_number(monkeypatch):
    hashes = [priors.priors_sha256()]
    for name in ("TISSUES", "TUMOUR_KINETICS", "TUMOUR_CLASSES", "PRIORS"):
        for variant in variants(getattr(priors, name)):
            with monkeypatch.context() as patch:
                patch.setattr(priors, name, variant)
                hashes.append(priors.priors_sha256())
    assert len(hashes) > 250
    assert len(set(hashes)) == len(hashes)
