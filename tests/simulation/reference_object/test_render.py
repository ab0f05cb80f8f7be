"""The reference object: its kinetics against the package's models, its voxels against their truth, its invariants."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax import rng
from dcejax.physics.fitting import fit
from dcejax.physics.kinetics import ExtendedTofts, TwoCompartmentExchange, two_compartment_exchange
from dcejax.physics.signal import spgr_to_concentration
from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy.composition import AIR, ARTERY, CSF, TUMOUR, VEIN, WHITE
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.anatomy.label_map import label_map, label_shares
from dcejax.simulation.reference_object import fine_time, paint, render, session
from dcejax.simulation.scanner import imaging
from dcejax.simulation.scanner.session_fields import to_scanner
from dcejax.simulation.tissue_kinetics import Properties

SMALL = imaging.Size((32, 32, 20), 24, slab=3)
SHORT = cohort_definitions.ScanPriors(frames=(20, 20))


def draw(name, tumour_class=0, scan=SHORT, number=0):
    return session.sample_session(rng.stream(0, name), tumour_class, scan, number)


@pytest.fixture(scope="module")
def patient():
    return draw("reference patient")


@pytest.fixture(scope="module")
def rendered(patient):
    return render.render(rng.stream(0, "noise"), patient, SMALL, "sub-test")


# --- truth check: on the fine time grid, before frames, k-space, delay and dispersion


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


# --- whole examinations


def test_a_scan_with_its_truth(rendered, patient):
    scan = rendered.scan
    assert scan.values.shape == (32, 32, 3, 20)
    assert scan.values.dtype == np.int16
    assert scan.mask.any()
    assert not scan.mask.all()
    assert (rendered.truth[~scan.mask] == 0).all()
    assert (scan.segmentation[~scan.mask] == 0).all()
    assert (scan.segmentation == 1).any()
    assert rendered.truth.min() >= 0
    assert rendered.truth.max() <= 1
    assert (scan.values[~scan.mask] > 0).any()  # air is noise, and the scalp is there
    inside = scan.t1_map[scan.mask] * 60
    assert inside.min() > 0.5
    assert inside.max() < 6
    assert rendered.b1_map.min() > 0.5
    assert rendered.arterial.argmax() * 5 == pytest.approx(float(patient.arterial.arrival) * 60 + 10, abs=8)
    assert rendered.sidecar["VolumeTiming"] == [5.0 * i for i in range(20)]
    assert np.isfinite(rendered.truth).all()
    assert set(np.unique(rendered.tissue)) >= {WHITE, CSF, AIR}


def test_rendering_is_a_function_of_its_arguments(rendered, patient):
    told = []
    again = render.render(
        rng.stream(0, "noise"), patient, SMALL, "sub-test", progress=lambda *counts: told.append(counts)
    )
    slices = told[0][2]
    assert told == [("slices", n, slices) for n in range(slices)] + [("frames", n, 20) for n in range(20)]
    np.testing.assert_array_equal(again.scan.values, rendered.scan.values)
    np.testing.assert_array_equal(again.truth, rendered.truth)
    other = render.render(rng.stream(1, "noise"), patient, SMALL, "sub-test")
    assert (other.scan.values != rendered.scan.values).mean() > 0.5
    np.testing.assert_array_equal(other.truth, rendered.truth)


@pytest.mark.slow
def test_a_slab_shows_what_the_whole_volume_shows(patient, rendered):
    whole = render.render(rng.stream(0, "noise"), patient, replace(SMALL, slab=None), "sub-test")
    first = round((rendered.scan.affine[2, 3] - whole.scan.affine[2, 3]) / 6)
    np.testing.assert_array_equal(whole.tissue[:, :, first : first + 3], rendered.tissue)
    difference = np.abs(whole.scan.values[:, :, first : first + 3].astype(int) - rendered.scan.values)
    assert (difference > 1).mean() < 1e-3  # rounding of sums in another order


def test_one_compilation_for_all_patients(rendered):
    """The shape is compiled already; another patient, another tumour, no more."""
    counted = (render.paint_slice, render.signal, imaging.acquire)
    before = [function._cache_size() for function in counted]
    render.render(rng.stream(0, "noise"), draw("another patient", 5), SMALL, "sub-other")
    assert [function._cache_size() for function in counted] == before


def test_noise_has_the_stated_level(patient):
    still = patient._replace(poses=np.zeros_like(patient.poses), gain=np.ones_like(patient.gain))
    scan = render.render(rng.stream(0, "noise"), still, SMALL, "x").scan
    clean = render.render(
        rng.stream(0, "noise"), still._replace(scanner=still.scanner._replace(noise=jnp.array(0.0))), SMALL, "x"
    ).scan
    difference = (scan.values.astype(float) - clean.values)[scan.mask & (clean.values.min(-1) > 100)]
    g = imaging.noise_map(SMALL, 1.0, still.g_factor, np.zeros(3))
    assert difference.std() == pytest.approx(
        float(still.scanner.noise) * imaging.SIGNAL_UNITS, rel=0.1 + float(g.std())
    )


def test_motion_moves_and_drift_scales(patient):
    quiet = patient._replace(
        scanner=patient.scanner._replace(noise=jnp.array(0.0)),
        poses=np.zeros_like(patient.poses),
        gain=np.ones_like(patient.gain),
    )
    still = render.render(rng.stream(0, "noise"), quiet, SMALL, "x").scan.values[..., 0].astype(float)
    louder = render.render(rng.stream(0, "noise"), quiet._replace(gain=quiet.gain * 1.02), SMALL, "x").scan
    np.testing.assert_allclose(louder.values[..., 0], 1.02 * still, atol=1)
    poses = quiet.poses.copy()
    poses[0, 0] = 15.0  # two voxels to the right, three points of the fine grid
    moved = render.render(rng.stream(0, "noise"), quiet._replace(poses=poses), SMALL, "x").scan.values[..., 0]
    np.testing.assert_allclose(moved[4:-2], still[2:-4], atol=2)


def test_blood_arrives_in_veins_after_arteries():
    whole = draw("blood")
    tables = fine_time.make_tables(whole)
    half = [np.argmax(c > 0.5 * c.max()) for c in (tables.frames.artery[:, 16, 0], tables.frames.vein[:, 16])]
    assert half[0] <= half[1]
    fine = fine_time.fine_time(whole)
    artery, tissue, sinus = fine_time.arterial_curves(whole, fine)
    assert artery.max() > tissue.max() > sinus.max() * 0.8
    assert artery.argmax() < sinus.argmax()


@pytest.mark.slow
def test_thin_vessels_in_a_slice_keep_their_volume():
    """Arteries on the planes of size `half` against those of planes a third as far apart."""
    size = imaging.SIZES["half"]
    assert size.sub_slices == 3
    points = imaging.fine_points(replace(size, sub_slices=9), 9 * 5, 9 * 3, np.zeros(3))
    shown = draw("thin vessels").patient.anatomy
    look = jax.jit(lambda p: tissue_shares(shown, p, 0.5)[0][:, ARTERY])
    artery = np.asarray(look(points.reshape(-1, 3))).reshape(9 * 3, -1).sum(axis=1)
    every_third = artery[1::3]  # where the coarser planes lie
    assert every_third.sum() * 3 == pytest.approx(artery.sum(), rel=0.1)


def test_the_halo_covers_the_motion():
    poses = np.zeros((4, 6))
    assert imaging.halo(SMALL, poses) == 2
    poses[2, 2] = 9.0
    assert imaging.halo(SMALL, poses) * SMALL.fine_mm[2] > 9
    poses[2, 3] = np.deg2rad(5)
    assert imaging.halo(SMALL, poses) * SMALL.fine_mm[2] > 9 + 9


def test_slabs_hold_the_tumour(patient):
    for number in range(12):
        person = draw(f"slab {number}")
        size = imaging.SIZES["slab"]
        tumour = person.patient.anatomy.tumour
        first = render.first_slice(person, size, tumour.centre)
        assert 0 <= first <= 20 - size.slab
        centre = to_scanner(person.scanner.placement, tumour.centre)
        index = (float(centre[2]) + 60) / 6 - 0.5
        assert first - 0.01 <= index <= first + size.slab - 1 + 0.01


# --- sessions


def test_a_retest_is_the_same_patient_another_day():
    first, second = (draw("retest", number=n) for n in (0, 1))
    jax.tree.map(np.testing.assert_array_equal, first.patient, second.patient)
    assert first.arterial.arrival != second.arterial.arrival
    assert first.arterial.amplitude != second.arterial.amplitude
    assert first.arterial.hematocrit == second.arterial.hematocrit
    assert (first.scanner.placement.shift != second.scanner.placement.shift).any()
    pairs = [
        (draw(f"r{i}", number=0).arterial.amplitude, draw(f"r{i}", number=1).arterial.amplitude) for i in range(60)
    ]
    logs = np.log(np.array(pairs, float))
    assert 0.4 < np.corrcoef(logs.T)[0, 1] < 0.95  # 0.71 expected
    np.testing.assert_allclose(logs.std(axis=0), 0.22, rtol=0.3)


def test_every_setting_is_drawn_within_its_range_and_recorded():
    scan = cohort_definitions.COHORTS["ood-protocol"].scan
    drawn = [draw(f"protocol {i}", scan=scan) for i in range(20)]
    for person in drawn:
        protocol = person.protocol
        for name in ("frame_interval_s", "frames", "tr_ms", "flip_angle_deg", "dose_mmol_per_kg"):
            low, high = getattr(scan, name)
            assert low <= getattr(protocol, name) <= high
        assert 10 <= person.snr <= 60
        assert person.gain.shape == (protocol.frames,)
        assert person.poses.shape == (protocol.frames, 6)
    assert len({person.protocol.frames for person in drawn}) > 5
    record = session.record(drawn[0])
    assert record["protocol"]["frames"] == drawn[0].protocol.frames
    assert record["arterial_input"]["arrival_s"] == pytest.approx(60 * float(drawn[0].arterial.arrival))
    assert record["tumour"]["class"] == "IDH-wildtype grade 4"
    assert len(record["scanner"]["gain"]) == drawn[0].protocol.frames


def test_motion_suites_move_by_whole_millimetres():
    moving = [draw(f"m{i}", scan=replace(SHORT, motion_steps=(1, 3), motion_step=(1.0, 3.0))) for i in range(10)]
    still = [draw(f"m{i}") for i in range(10)]

    def span(person):
        return np.linalg.norm(np.ptp(person.poses[:, :3], axis=0))

    assert min(map(span, moving)) > 0.9
    assert max(map(span, still)) < 2.0


def test_labels_of_another_anatomy_are_rendered(patient):
    labels = np.zeros((24, 24, 12), int)
    labels[6:18, 6:18, 2:10] = 3
    labels[10:14, 10:14, 4:8] = 7
    labels[6:8, 6:8, 2:10] = 4
    names = {0: "air", 3: "white matter", 7: "tumour", 4: "vein"}
    geometry = label_map(labels, np.diag([7.5, 7.5, 10.0, 1.0]), names)
    upright = patient._replace(
        scanner=patient.scanner._replace(
            placement=patient.scanner.placement._replace(rotation=jnp.eye(3), shift=jnp.zeros(3))
        )
    )
    found = render.render(
        rng.stream(0, "labels"), upright, replace(SMALL, slab=None), "x", shares_at=label_shares, geometry=geometry
    )
    counts = {
        name: (found.tissue == index).sum() for name, index in (("white", WHITE), ("tumour", TUMOUR), ("vein", VEIN))
    }
    volume = 7.5**3 * 0.8  # mm3 per voxel of the image: 7.5 x 7.5 x 6
    for name, label in (("white", 3), ("tumour", 7), ("vein", 4)):
        assert counts[name] * volume == pytest.approx((labels == label).sum() * 7.5 * 7.5 * 10, rel=0.25)
    assert not (found.tissue == ARTERY).any()
    with pytest.raises(ValueError, match="label 4: expected a name"):
        label_map(labels, np.eye(4), {0: "air", 3: "white matter", 7: "tumour"})
    with pytest.raises(ValueError, match=r"label 7: expected one of white matter.*found 'glioma'"):
        label_map(labels, np.eye(4), {**names, 7: "glioma"})
