"""The simulated head: fast fields, a partition into tissues, folds, vessels, and tumours as drawn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dcejax.simulation.anatomy import composition, fields, head_anatomy, tumour
from dcejax.simulation.priors import PRIORS, TUMOUR_CLASSES

CASES = 6
POINTS = 16_384  # in every call, so that each function is compiled once

sample = jax.jit(jax.vmap(head_anatomy.sample_anatomy))
shares_at = jax.jit(head_anatomy.tissue_shares)
depth_at = jax.jit(head_anatomy.brain_depth)
vessels_at = jax.jit(head_anatomy.vessel_shares)
solid_at = jax.jit(head_anatomy.tumour_depth)
undisplaced_at = jax.jit(lambda one, points, depth: tumour.undisplaced(one.tumour, points, depth))


def plane(z):
    """Points [16384, 3] of an axial slice, at twice the published spacing."""
    edge = (np.arange(128) - 63.5) * 1.875
    x, y = np.meshgrid(edge, edge, indexing="ij")
    return jnp.asarray(np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3), jnp.float32)


def one_of(drawn, index):
    return jax.tree.map(lambda a: a[index], drawn)


@pytest.fixture(scope="module")
def drawn():
    return sample(jax.random.split(jax.random.key(11), CASES), jnp.zeros(CASES, int))


@pytest.fixture(scope="module")
def slices(drawn):
    """Shares and mask of slices of the first two patients, by patient and height in mm."""
    return {
        (patient, z): jax.tree.map(np.asarray, shares_at(one_of(drawn, patient), plane(float(z)), head_anatomy.BLUR_MM))
        for patient in range(2)
        for z in range(-51, 58, 12)
    }


@pytest.fixture(scope="module")
def population():
    """All classes in turn, 500 patients of each."""
    count = 500 * len(TUMOUR_CLASSES)
    return jax.jit(
        lambda keys, classes: jax.lax.map(lambda a: head_anatomy.sample_anatomy(*a), (keys, classes), batch_size=100)
    )(jax.random.split(jax.random.key(3), count), jnp.arange(count) % len(TUMOUR_CLASSES))


def test_fast_cosine_and_sine():
    x = np.linspace(-30, 30, 200_001, dtype=np.float32)
    # An angle of 30 turns is itself rounded to 1e-6 turns.
    np.testing.assert_allclose(fields.cos_turns(x), np.cos(2 * np.pi * x.astype(float)), atol=2e-6)
    np.testing.assert_allclose(fields.sin_turns(x), np.sin(2 * np.pi * x.astype(float)), atol=2e-6)


def test_gradient_is_that_of_the_value():
    field = fields.wave_field(jax.random.key(0), 24.0, 20)
    points = jax.random.uniform(jax.random.key(1), (200, 3), minval=-60.0, maxval=60.0)
    value, gradient = fields.evaluate_with_gradient(field, points)
    np.testing.assert_allclose(value, fields.evaluate(field, points), atol=1e-5)
    for axis in range(3):
        step = 0.05 * jnp.eye(3)[axis]
        difference = fields.evaluate(field, points + step) - fields.evaluate(field, points - step)
        np.testing.assert_allclose(gradient[:, axis], difference / 0.1, atol=5e-4)


def test_fields_have_unit_variance_and_the_stated_correlation():
    def values(key):
        at = jnp.array([[0.0, 0, 0], [0, 4.0, 0], [0, 0, 40.0]])
        return fields.evaluate(fields.gaussian_field(key, 4.0, 24), at)

    covariance = np.cov(jax.jit(jax.vmap(values))(jax.random.split(jax.random.key(1), 20_000)).T)
    error = 5 / np.sqrt(20_000)
    np.testing.assert_allclose(np.diag(covariance), 1.0, atol=2 * error)
    np.testing.assert_allclose(covariance[0, 1:], [np.exp(-0.5), 0.0], atol=2 * error)


def test_tissues_are_a_partition_and_every_normal_one_exists(slices):
    together = np.concatenate([shares for shares, _ in slices.values()])
    assert together.min() >= 0
    np.testing.assert_allclose(together.sum(-1), 1.0, atol=1e-5)
    missing = np.flatnonzero((together > 0.95).sum(0) < 5)
    disease = {composition.TUMOUR, composition.CORE, composition.OEDEMA}
    assert not {composition.TISSUE_NAMES[i] for i in set(missing.tolist()) - disease}
    assert np.isfinite(together).all()


def test_a_point_looks_the_same_whatever_it_is_evaluated_with(drawn, slices):
    """There is no grid: a patch and a volume see one patient."""
    order = np.random.default_rng(0).permutation(POINTS)
    elsewhere = jax.random.uniform(jax.random.key(0), (POINTS, 3), minval=-70.0, maxval=70.0)
    mixed = jnp.where((jnp.arange(POINTS) < 1000)[:, None], plane(9.0)[order], elsewhere)
    again, _ = shares_at(one_of(drawn, 0), mixed, head_anatomy.BLUR_MM)
    np.testing.assert_allclose(again[:1000], slices[0, 9][0][order[:1000]], atol=1e-4)


def test_a_sharper_border_changes_only_borders(drawn, slices):
    soft = slices[0, 9][0]
    sharp, _ = shares_at(one_of(drawn, 0), plane(9.0), 0.1)
    assert (np.max(sharp, -1) > 0.99).sum() > (np.max(soft, -1) > 0.99).sum()
    np.testing.assert_allclose(sharp.mean(0), soft.mean(0), atol=3e-3)


def test_mask_keeps_brain_and_sinuses_but_not_the_face(slices):
    for (patient, z), (shares, mask) in slices.items():
        brain = shares[:, [composition.GREY, composition.TUMOUR, composition.CORE, composition.OEDEMA]].sum(-1) > 0.9
        assert mask[brain].sum() >= 0.995 * brain.sum(), (patient, z)
        outside = shares[:, [composition.SKULL, composition.SCALP, composition.AIR, composition.MUSCLE]].sum(-1) > 0.95
        assert mask[outside].mean() < 0.005, (patient, z)
    dura = np.concatenate([s[:, composition.DURA][~m] for s, m in slices.values()]).sum()
    kept = np.concatenate([s[:, composition.DURA][m] for s, m in slices.values()]).sum()
    assert 0.1 < kept / (dura + kept) < 0.9


def test_ventricles_hold_pure_fluid(slices):
    for patient in range(2):
        pure = slices[patient, 9][0][:, composition.CSF] == 1.0
        deep = np.asarray(plane(9.0))
        central = (np.abs(deep[:, 0]) < 32) & (np.abs(deep[:, 1]) < 45)
        assert 100 < (pure & central).sum() < 3000


def test_cortex_is_as_thick_as_stated(drawn):
    """Along lines from the convexity inwards: across a gyrus' crown the cortex is thinnest, into its wall thicker."""
    step, lines = 0.12, 128
    direction = np.random.default_rng(0).normal(size=(lines, 3))
    direction[:, 2] = np.abs(direction[:, 2]) + 0.4
    direction[:, 0] += 0.6 * np.sign(direction[:, 0])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    radius = 32.0 + step * np.arange(512)
    points = jnp.asarray(direction[:, None] * radius[None, :, None], jnp.float32)
    shares = [shares_at(one_of(drawn, 1), part, head_anatomy.BLUR_MM)[0] for part in points.reshape(-1, POINTS, 3)]
    grey = np.concatenate(shares)[:, composition.GREY].reshape(lines, -1) > 0.5
    thickness = []
    for line in grey:
        edges = np.diff(line.astype(int))
        starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
        if len(starts) and len(ends) and ends[-1] > starts[-1]:
            thickness.append((ends[-1] - starts[-1]) * step)
    assert len(thickness) > lines / 2
    assert 2.0 < np.percentile(thickness, 20) < 3.2
    assert 2.4 < np.median(thickness) < 5.0


def test_the_middle_cerebral_artery_is_as_wide_as_stated(drawn):
    """From the area of the artery's section, for M1 runs nearly straight to the side."""
    step = 0.25
    y, z = np.meshgrid(np.arange(4.0, 30.0, step), np.arange(-33.0, -12.0, step), indexing="ij")
    diameters = []
    for patient in range(CASES):
        one = one_of(drawn, patient)
        for side in (-24.0, 24.0):
            points = jnp.asarray(np.stack([np.full_like(y, side), y, z], -1).reshape(-1, 3), jnp.float32)
            artery, _ = vessels_at(one, points, depth_at(one, points))
            diameters.append(np.sqrt(4 / np.pi * artery.sum() * step**2))
    assert 2.5 < np.median(diameters) < 3.1
    assert min(diameters) > 1.8
    assert max(diameters) < 4.5


def test_vessels_in_every_slice(slices):
    for (patient, z), (shares, mask) in slices.items():
        # Near the base, veins have left the skull.
        kept = mask if z > -40 else slice(None)
        assert (shares[kept, composition.VEIN] > 0.9).sum() >= 3, (patient, z)
        if -35 <= z <= 45:
            assert shares[mask, composition.ARTERY].max() > 0.7, (patient, z)


def test_sides_and_patients_differ(slices):
    first, second = (slices[patient, 21][0].argmax(-1).reshape(128, 128) for patient in range(2))
    brain = slices[0, 21][1].reshape(128, 128)
    assert (first != first[::-1])[brain].mean() > 0.2
    assert (first != second)[brain].mean() > 0.2


@pytest.mark.slow
def test_tumour_volumes_follow_the_prior(population):
    volume = 4 / 3 * np.pi * np.asarray(population.tumour.radius)[np.asarray(population.tumour.enhancing)] ** 3 / 1e3
    np.testing.assert_allclose(np.percentile(volume, [25, 50, 75]), [4.8, 16.8, 37.7], rtol=0.1)
    low, high = PRIORS.tumour_volume_range_ml
    assert low * 0.999 <= volume.min()
    assert volume.max() <= high * 1.001


def test_enhancement_and_cores_follow_the_class(population):
    for index, group in enumerate(TUMOUR_CLASSES):
        chosen = np.asarray(population.tumour.tumour_class) == index
        enhancing, core = (np.asarray(a)[chosen] for a in (population.tumour.enhancing, population.tumour.has_core))
        error = 4 * 0.5 / np.sqrt(chosen.sum())
        assert abs(enhancing.mean() - (1 - group.non_enhancing)) < error
        assert not core[~enhancing].any()
        assert abs(core[enhancing].mean() - group.core) < 2 * error


def test_tumours_have_the_drawn_volume_in_the_hemispheres(population):
    """Counted with random points, of which some lie in vessels, or outside the skull where a large tumour meets it."""

    def ratios(key, one):
        points = one.tumour.centre + 2.0 * one.tumour.radius * jax.random.uniform(key, (POINTS, 3), minval=-1.0)
        shares, _ = shares_at(one, points, head_anatomy.BLUR_MM)
        inside = solid_at(one, points) > 0
        share = inside.mean(), (inside * (shares[:, composition.TUMOUR] + shares[:, composition.CORE])).mean()
        return np.array(share) * 4.0**3 * 3 / (4 * np.pi)

    geometric, realised = np.array([ratios(jax.random.key(i), one_of(population, i)) for i in range(12)]).T
    np.testing.assert_allclose(np.median(geometric), 1.0, atol=0.02)
    assert (np.abs(geometric - 1.0) < 0.12).all()
    assert np.median(realised) > 0.93
    assert realised.min() > 0.7
    depth = jax.vmap(lambda one: head_anatomy.brain_depth(one, one.tumour.centre[None])[0])(population)
    assert np.min(depth) > 2.0


def test_rims_surround_cores_and_small_tumours_have_none(population):
    large = np.asarray(population.tumour.has_core & (population.tumour.radius > 20)).nonzero()[0][:6]
    small = np.asarray(population.tumour.has_core & (population.tumour.radius < 4)).nonzero()[0][:6]
    cores = []
    for index in (*large, *small):
        one = one_of(population, index)
        points = one.tumour.centre + one.tumour.radius * jax.random.uniform(
            jax.random.key(1), (POINTS, 3), minval=-1.5, maxval=1.5
        )
        shares, _ = shares_at(one, points, head_anatomy.BLUR_MM)
        core = np.asarray(shares[:, composition.CORE])
        cores.append(core.mean())
        assert (core[np.asarray(solid_at(one, points)) < 0.5] == 0).all()
    assert sum(c > 0.01 for c in cores[:6]) >= 5
    assert max(cores[6:]) < 0.02


def test_displacement_fades_and_never_folds(population):
    """Along rays from the tumour's centre, the place before displacement moves strictly outwards."""
    largest = np.argsort(-np.asarray(population.tumour.radius))[:20]
    radius = jnp.linspace(0.0, 120.0, 600)
    direction = jax.random.normal(jax.random.key(2), (50, 3))
    direction /= jnp.linalg.norm(direction, axis=-1, keepdims=True)
    for index in largest:
        one = one_of(population, index)
        points = one.tumour.centre + direction[:, None] * radius[:, None]
        depth = depth_at(one, points.reshape(-1, 3))
        before = undisplaced_at(one, points.reshape(-1, 3), depth)
        distance = np.linalg.norm(before - one.tumour.centre, axis=-1).reshape(50, 600)
        assert (np.diff(distance) > 0).all()
        moved = np.linalg.norm(before - points.reshape(-1, 3), axis=-1)
        assert moved[np.asarray(depth) <= 0].max() < 1e-3
        assert moved[np.linalg.norm(points.reshape(-1, 3) - one.tumour.centre, axis=-1) > 100].max() < 0.3
        assert 0.5 < moved.max() < 10.0


def test_oedema_and_infiltration_spare_fluid(slices):
    shares, _ = slices[0, 21]
    assert (shares[:, composition.OEDEMA][shares[:, composition.CSF] > 0.999] < 1e-3).all()
    assert (shares[:, composition.TUMOUR][shares[:, composition.CSF] > 0.999] < 1e-3).all()
