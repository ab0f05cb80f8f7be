"""The released weights on a real glioblastoma, against published maps."""

import glioblastoma
import pytest


@pytest.mark.parametrize(
    ("visit", "least"),
    [(1, 0.85), *(pytest.param(*more, marks=pytest.mark.slow) for more in ((2, 0.85), (3, 0.60)))],
)
def test_released_weights_order_real_tumour_voxels(reference_data, visit, least, monkeypatch):
    monkeypatch.setattr(glioblastoma, "RESAMPLES", 20)  # of intervals, which are not judged here
    results = glioblastoma.compare(reference_data / "glioblastoma_rrift", visit)
    network, informed, published, default, fit, area = (results["Ktrans"][arm] for arm in glioblastoma.ARMS)
    assert published["rho"] >= least
    assert network["rho"] >= least
    assert informed["rho"] >= least
    # The references are what they are known to be, so that the network is judged by the right files.
    assert fit["rho"] > (0.95, 0.95, 0.75)[visit - 1]
    assert default["rho"] > (0.95, 0.95, 0.75)[visit - 1]  # with a delay and a choice of models
    assert area["rho"] > (0.95, 0.95, 0.65)[visit - 1]
    # Within a factor of three of a conventional analysis where that is not dominated by noise.
    if visit < 3:
        assert 1 / 3 < informed["median"] / results["Ktrans"]["published"]["median"] < 3
