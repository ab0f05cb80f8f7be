"""The surprise of tissues, against scipy."""

import generator_gap
import numpy as np
import scipy.stats

from dcejax.models.low_rank_gaussian import to_logs
from dcejax.simulation.anatomy.composition import GREY, TISSUE_NAMES, WHITE


def test_surprise_is_minus_the_mean_log_density_of_each_tissue():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.01, 0.3, (60, 3)).astype(np.float32)
    mean, sd = rng.normal(-2.0, 0.5, (60, 3)), rng.uniform(0.1, 0.6, (60, 3))
    tissue = np.repeat([WHITE, GREY, 2], [25, 30, 5])
    found = generator_gap.by_tissue(mean, sd, truth, tissue)
    assert set(found) == {TISSUE_NAMES[WHITE], TISSUE_NAMES[GREY]}  # the third has too few voxels
    for index in (WHITE, GREY):
        inside = tissue == index
        density = scipy.stats.norm.logpdf(np.asarray(to_logs(truth))[inside], mean[inside], sd[inside])
        np.testing.assert_allclose(found[TISSUE_NAMES[index]], -density.mean(axis=0), rtol=1e-5)


def test_patients_without_a_tissue_do_not_count():
    rows = [{"a": [1.0, 2.0, 3.0]}, {}, {"a": [3.0, 2.0, 1.0]}]
    told = generator_gap.mean_of(rows, "a")
    assert told["patients"] == 2
    np.testing.assert_allclose(told["mean"], [2.0, 2.0, 2.0])
