"""A simulated examination through files and on the device: the same inputs, and a signal that the truth explains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scans
from typical_patients import PROTOCOL, SMALL

from dcejax.data import cases, loading
from dcejax.data.facts import Facts
from dcejax.methods import fixed_grid, lyoo2025
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.rng import stream
from dcejax.simulation.training.patches import make_sampler
from dcejax.training.losses import whitened_residual
from dcejax.types import Brightest

SCANNER_UNITS = 16_000.0


@pytest.fixture(scope="module")
def batch():
    """Patches of the first examination of little noise whose patches lie in the brain, one of them on the tumour."""
    sampler = make_sampler(SMALL, PROTOCOL, patients=1)
    drawn = (jax.device_get(sampler(stream(10, "examination", number))) for number in range(200))
    clear = (batch for batch in drawn if batch.context.noise_sd.values[0] < 0.015 * np.median(batch.curves))
    return next(batch for batch in clear if batch.mask.mean() > 0.9)


def test_files_give_the_inputs_that_the_sampler_gives(batch, tmp_path):
    """Patches and the brightest voxels as slices of one volume, as int16, with frame times and mask as files."""
    count, size = batch.curves.shape[:2]
    brightest = batch.context.brightest.curves[0]
    slices = np.zeros((size, size, count + 1, brightest.shape[-1]), np.float32)
    slices[:, :, :count] = np.moveaxis(batch.curves, 0, 2)
    slices[:, :, count].reshape(-1, brightest.shape[-1])[: len(brightest)] = brightest
    mask = np.zeros(slices.shape[:3], np.uint8)
    mask[:, :, :count] = np.moveaxis(batch.mask, 0, 2)
    mask[:, :, count].reshape(-1)[: len(brightest)] = 1
    image = scans.save(tmp_path / "p_dce.nii.gz", np.round(slices * SCANNER_UNITS).astype(np.int16))
    scans.save(tmp_path / "mask.nii.gz", mask)
    seconds = np.asarray(batch.context.times[0], np.float64) * 60
    (tmp_path / "times.txt").write_text("\n".join(map(str, seconds)))

    (case,) = cases.enumerate_cases([str(image)], Facts(mask=tmp_path / "mask.nii.gz", times=tmp_path / "times.txt"))
    series = lyoo2025.series_of(loading.load_scan(case), NOTHING_BESIDE, scans.tiny_config())
    found, record = fixed_grid.encode_series(series, PROTOCOL)

    inside = np.moveaxis(mask, 2, 0).astype(bool)
    whole = Brightest(np.moveaxis(slices, 2, 0)[inside][None], np.array([inside.sum()]))
    same = batch._replace(context=batch.context._replace(brightest=whole))  # the brightest of this volume
    expected = np.asarray(fixed_grid.encode_batch(jax.tree.map(jnp.asarray, same), PROTOCOL))
    volume = np.zeros((*mask.shape, PROTOCOL.frames), np.float32)
    volume[mask > 0] = found
    rounding = 1.0 / record["scaling"]["divided_by"]  # of one scanner unit
    patches = np.moveaxis(volume[:, :, :count], 2, 0)
    np.testing.assert_allclose(patches[batch.mask], expected[batch.mask], atol=1.5 * rounding)
    assert record["resampling"]["method"] == "linear"
    assert (expected[~batch.mask] == 0).all()


def test_the_whitened_residual_at_the_truth_is_one(batch):
    """Within 5 %, over voxels without large vessels."""
    batch = jax.tree.map(jnp.asarray, batch)
    terms = jax.jit(whitened_residual)({"maps": batch.truth.maps}, batch)
    counted = np.mean(batch.mask & (batch.truth.vessel <= 0))
    assert counted > 0.8
    assert float(np.mean(terms) / counted) == pytest.approx(1.0, abs=0.05)
    wrong = batch.truth.maps * jnp.array([1.5, 1.0, 1.0])
    assert np.mean(jax.jit(whitened_residual)({"maps": wrong}, batch)) > np.mean(terms)
    nominal = batch._replace(truth=batch.truth._replace(b1=jnp.ones_like(batch.truth.b1)))
    without_delay = batch._replace(truth=batch.truth._replace(delay=jnp.zeros_like(batch.truth.delay)))
    for ignored in (nominal, without_delay):
        assert np.mean(jax.jit(whitened_residual)({"maps": batch.truth.maps}, ignored)) > 1.2 * np.mean(terms)
