"""The reference object: whole examinations and their invariants."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn_sessions import draw

from dcejax import rng
from dcejax.simulation.anatomy.composition import AIR, ARTERY, CSF, TUMOUR, VEIN, WHITE
from dcejax.simulation.anatomy.head_anatomy import tissue_shares
from dcejax.simulation.anatomy.label_map import label_map, label_shares
from dcejax.simulation.reference_object import fine_time, render
from dcejax.simulation.scanner import imaging
from dcejax.simulation.scanner.session_fields import to_scanner

SMALL = imaging.Size((32, 32, 20), 24, slab=3)


@pytest.fixture(scope="module")
def patient():
    return draw("reference patient")


@pytest.fixture(scope="module")
def rendered(patient):
    return render.render(rng.stream(0, "noise"), patient, SMALL, "sub-test")


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
