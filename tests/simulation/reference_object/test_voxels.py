"""Voxels of the reference object against the models, before frames, k-space, delay and dispersion."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_sessions import draw

from dcejax.physics.fitting import fit
from dcejax.physics.kinetics import ExtendedTofts, TwoCompartmentExchange, two_compartment_exchange
from dcejax.physics.signal import spgr_to_concentration
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.composition import TUMOUR
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.reference_object import fine_time, paint, render
from dcejax.simulation.scanner.session_fields import to_scanner
from dcejax.simulation.tissue_kinetics import Properties


def voxels(ktrans, vp, ve):
    """Properties of pure tissue, [V]."""
    zero = jnp.zeros(len(ktrans))
    return Properties(
        params=ExtendedTofts(*map(jnp.asarray, (ktrans, vp, ve))),
        t10=zero + 1.8 / 60,
        m0=zero + 0.7,
        artery=zero,
        vein=zero,
        blood_t10=jnp.full(2, 1.65 / 60),
        hematocrit=jnp.array(0.42),
        delay=zero,
        tumour=zero + 1.0,
    )


@pytest.fixture(scope="module")
def identifiable():
    """Tumours that any fit should find: kep from 0.05 to 3 per minute."""
    generator = np.random.default_rng(3)
    kep = np.exp(generator.uniform(np.log(0.05), np.log(3.0), 300))
    ve = generator.uniform(0.1, 0.6, 300)
    return kep * ve, generator.uniform(0.005, 0.2, 300), ve


def exposure_of(tissue, flow=None):
    vp, slow, slow_rate, fast, fast_rate = paint.exponentials(tissue, flow)
    zero = jnp.zeros_like(vp)
    return paint.Exposure(
        tissue=tissue.m0,
        r10=1 / tissue.t10,
        b1=zero + 1.07,
        vp=vp,
        slow=slow,
        slow_rate=paint.rate_position(slow_rate),
        fast=fast,
        fast_rate=paint.rate_position(fast_rate),
        delay=zero,
        artery=zero,
        freshness=zero,
        vein=zero,
    )


def test_noise_free_voxels_give_back_their_truth(identifiable):
    """The frames are so short that each of their groups is one sample of the fine grid."""
    quick = draw("truth check", scan=cohort_definitions.ScanPriors(frame_interval_s=(0.5, 0.5), frames=(600, 600)))
    tables = fine_time.make_tables(quick)
    fine = fine_time.fine_time(quick)
    assert fine.per_frame == fine_time.GROUPS
    acquisition = quick.protocol.tissue
    points = exposure_of(voxels(*identifiable))
    see = jax.vmap(render.tissue_signal, (None, 0, None, None, None))
    signal = jax.jit(see, static_argnums=4)(points, tables.frames, tables.delay_step, acquisition, False)
    signal = np.moveaxis(np.asarray(signal), 1, 0).reshape(300, -1)
    concentration = spgr_to_concentration(signal, signal[:, :1], 1.8 / 60, acquisition, b1=1.07)
    _, arriving, _ = fine_time.arterial_curves(quick, fine)
    found = fit("extended_tofts", concentration, fine.times, arriving).params
    for name, truth in zip(("ktrans", "vp", "ve"), identifiable, strict=True):
        np.testing.assert_allclose(getattr(found, name), truth, rtol=0.01, err_msg=name)


def test_exchange_tumours_follow_the_packages_model():
    """Two exponentials of the impulse response against the model of the fits, at 0.1 s."""
    flow, ktrans, vp, ve = 0.5, np.array([0.02, 0.1, 0.3]), np.array([0.05, 0.1, 0.02]), np.array([0.2, 0.4, 0.3])
    times = np.arange(2400) * 0.1 / 60
    curve = np.where(times > 0.4, np.exp(-(times - 0.4)), 0) * 5
    terms = paint.exponentials(voxels(ktrans, vp, ve), flow)
    plasma, slow, slow_rate, fast, fast_rate = (np.asarray(t, np.float64) for t in terms)
    assert (plasma == 0).all()
    found = slow[:, None] * fine_time.convolve(slow_rate, times, curve)
    found += fast[:, None] * fine_time.convolve(fast_rate, times, curve)
    ps = ktrans * flow / (flow - ktrans)
    for i in range(3):
        expected = two_compartment_exchange(TwoCompartmentExchange(flow, ps[i], vp[i], ve[i]), times, curve)
        np.testing.assert_allclose(found[i], expected, atol=1e-3 * float(expected.max()))


@pytest.mark.slow
def test_what_leaks_cannot_exceed_the_flow_in_signal_and_truth():
    """In an exchange tumour of little flow the true Ktrans is the one that makes the signal."""
    shown = draw("little flow", 0)
    tumour = shown.patient.anatomy.tumour
    centre = to_scanner(shown.scanner.placement, tumour.centre)
    points = centre + jax.random.normal(jax.random.key(0), (500, 3)) * 0.7 * tumour.radius
    subject = paint.Subject(
        shown.patient.anatomy, shown.patient.kinetics, shown.arterial, shown.scanner, shown.protocol.tissue, 0.02
    )
    exposure, truth = jax.jit(paint.expose, static_argnums=1)(subject, tissue_shares, points, 0.25)
    pure = np.asarray(truth.shares[:, TUMOUR]) > 0.99
    assert pure.sum() > 20
    ktrans = np.asarray(truth.maps)[pure, 0]
    assert ktrans.max() <= 0.9 * 0.02 + 1e-6
    assert (ktrans > 0.9 * 0.02 - 1e-6).any()
    # Both exponentials begin with the flow.
    total = np.asarray(exposure.slow + exposure.fast)[pure]
    np.testing.assert_allclose(total[np.asarray(exposure.fast)[pure] > 0], 0.02, rtol=1e-3)


def test_the_exchange_model_is_for_tumours_alone():
    tissue = voxels(*np.array([[0.1, 0.1], [0.05, 0.05], [0.3, 0.3]]))._replace(tumour=jnp.array([0.9, 0.1]))
    vp, slow, _, fast, _ = paint.exponentials(tissue, 0.5)
    assert vp[0] == 0
    assert fast[0] > 0
    assert vp[1] == pytest.approx(0.05)
    assert slow[1] == pytest.approx(0.1)
    assert fast[1] == 0
