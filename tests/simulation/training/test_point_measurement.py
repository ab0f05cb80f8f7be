"""The training generator's measurement: concentration from tables, signals of tissue and blood, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from typical_patients import ACQUISITION, PROTOCOL, examine, measure, pure, typical_aif

from dcejax.physics.fitting import fit
from dcejax.physics.kinetics import ExtendedTofts, extended_tofts
from dcejax.physics.signal import spgr_to_concentration
from dcejax.rng import stream
from dcejax.simulation import aif_prior, priors, tissue_kinetics
from dcejax.simulation.anatomy import composition
from dcejax.simulation.reference_object import fine_time
from dcejax.simulation.scanner.session_fields import transmit_field
from dcejax.simulation.training import point_measurement

sample_kernels = jax.jit(point_measurement.sample_kernels, static_argnums=2)
concentration = jax.jit(point_measurement.concentration)


@jax.jit
def arriving_plasma(times, injection):
    """Plasma concentration at the tissue, on a fine grid."""
    return aif_prior.disperse(times, aif_prior.plasma_concentration(injection, times), injection.tissue_dispersion)


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


@pytest.mark.slow
def test_table_of_rates_agrees_with_the_exact_model(one_patient):
    """Concentration from the table, averaged in frames, against the exact model on a fine grid averaged by hand."""
    frames, interval = point_measurement.frame_count(PROTOCOL.duration_s), one_patient.frame_interval
    node = 2.0 / 60  # a delay the table holds
    injection = one_patient.arterial._replace(tissue_delay=jnp.array(node))
    kernels = sample_kernels(injection, interval, frames)
    ktrans, vp, ve = (
        np.array([0.07, 0.25, 0.03, 0.0004]),
        np.array([0.05, 0.1, 0.03, 0.01]),
        np.array([0.25, 0.4, 0.2, 0.15]),
    )
    measured = concentration(tofts_voxels(ktrans, vp, ve), injection, kernels)
    fine = jnp.arange(0, frames * 60) * interval / 60
    arriving = arriving_plasma(fine, injection)
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
    injection = typical_aif("Parker")._replace(injection=2 / 60)
    second = jnp.array(1 / 60)
    kernels = sample_kernels(injection, second, 300)
    tissue = tofts_voxels(*truth, t10=1.8 / 60)
    still = examine(stream(0, "truth check")).scanner._replace(noise=jnp.array(0.0))
    at = jnp.broadcast_to(jnp.array([10.0, -20.0, 5.0]), (200, 3))
    signal = measure(jax.random.key(0), tissue, at, jnp.ones(200, bool), still, injection, kernels, ACQUISITION)
    b1 = transmit_field(still, at)[:, None]
    found = spgr_to_concentration(signal, signal[:, :1], 1.8 / 60, ACQUISITION, b1=b1)
    fitted = fit("extended_tofts", found, jnp.arange(300) * second, kernels.tissue[0]).params
    for name in ExtendedTofts._fields:
        np.testing.assert_allclose(getattr(fitted, name), getattr(truth, name), rtol=0.01, err_msg=name)


def test_blood_and_tissue_send_their_own_signals(one_patient, kernels):
    """Half a vessel is half of each signal, which is not the signal of the mean concentration."""
    still = one_patient.scanner._replace(noise=jnp.array(0.0))
    shares = jnp.stack([pure(composition.WHITE, 1)[0], pure(composition.ARTERY, 1)[0]])
    shares = jnp.concatenate([shares, shares.mean(0, keepdims=True)])
    at = jnp.zeros((3, 3))
    tissue = tissue_kinetics.properties(one_patient.patient.kinetics, shares, at, one_patient.arterial.hematocrit)
    white, blood, half = measure(
        jax.random.key(0), tissue, at, jnp.ones(3, bool), still, one_patient.arterial, kernels, ACQUISITION
    )
    np.testing.assert_allclose(half, 0.5 * (white + blood), rtol=1e-4)
    assert blood.max() > 4 * white.max()


def test_fresh_blood_is_brighter_and_agrees_with_the_reference(one_patient, kernels):
    """Arterial blood low and high in the slab, against the other generator's float64 formula."""
    still = one_patient.scanner._replace(noise=jnp.array(0.0), bias=jnp.zeros(3))
    at = jnp.array([[0.0, 0.0, -55.0], [0.0, 0.0, 40.0]])
    tissue = tissue_kinetics.properties(
        one_patient.patient.kinetics, pure(composition.ARTERY, 2), at, one_patient.arterial.hematocrit
    )
    found = measure(jax.random.key(0), tissue, at, jnp.ones(2, bool), still, one_patient.arterial, kernels, ACQUISITION)
    assert found[0, 0] > 1.3 * found[1, 0]
    blood = (1 - float(one_patient.arterial.hematocrit)) * np.asarray(kernels.artery, np.float64)
    pulses = np.asarray(point_measurement.excitations(at, one_patient.arterial, ACQUISITION))
    b1 = np.asarray(transmit_field(still, at))
    for i in range(2):
        fresh = np.exp(-pulses[i : i + 1] / fine_time.FRESHNESS_PULSES)
        expected = fine_time.blood_signal(blood, float(tissue.blood_t10[0]), ACQUISITION, b1[i : i + 1], fresh)
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
        one_patient.patient.kinetics, pure(composition.WHITE, 20_000), at_centre, jnp.array(0.42)
    )
    nothing = jax.tree.map(jnp.zeros_like, kernels)
    signal = measure(
        jax.random.key(1),
        tissue,
        at_centre,
        jnp.ones(20_000, bool),
        scanner,
        one_patient.arterial,
        nothing,
        ACQUISITION,
    )
    low, high = priors.PRIORS.snr_training
    np.testing.assert_allclose(signal[:, 0].std(), scanner.noise, rtol=0.05)
    snr = float(signal.mean() / scanner.noise)
    assert 0.5 * low < snr < 2 * high
