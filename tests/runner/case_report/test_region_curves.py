"""Curves of regions on the page of a case."""

import numpy as np

from dcejax.runner.case_report import curves


def test_curves_are_means_of_the_regions_voxels():
    rng = np.random.default_rng(0)
    measured, modelled = rng.normal(1, 0.1, (6, 4)), rng.normal(1, 0.1, (6, 4))
    measured[5, 2] = np.nan  # this voxel does not count
    modelled[:, 3] = np.nan  # nothing is said of this frame
    found = curves.of_regions(
        np.arange(4.0), "concentration", measured, modelled, np.array([2, 2, 1, 1, 1, 1]), {2: "core"}, []
    )
    assert [region.name for region in found.regions] == ["label 1", "core"]
    np.testing.assert_allclose(found.regions[0].measured, measured[2:5].mean(axis=0))
    np.testing.assert_allclose(found.regions[1].modelled, [*modelled[:2, :3].mean(axis=0), np.nan])
    rms = np.sqrt(((measured - modelled)[:5] ** 2).mean(axis=0))
    np.testing.assert_allclose(found.misfit[:3], rms[:3])
    assert np.isnan(found.misfit[3])


def test_large_regions_are_sampled():
    parts = np.repeat([0, 1, 2], [10, 3, 3 * curves.MOST_VOXELS])
    chosen = curves.voxels(parts, parts.size)
    assert (np.diff(chosen) > 0).all()
    assert list(np.bincount(parts[chosen])) == [0, 3, curves.MOST_VOXELS]
    assert len(curves.voxels(None, parts.size)) == curves.MOST_VOXELS
    assert list(curves.voxels(None, 3)) == [0, 1, 2]
