"""Truncation, zero-filling, noise and area averages as matrices, against Fourier transforms."""

import numpy as np
import pytest

from dcejax.simulation.scanner.kspace import area_mean, centres, noise_filled, zero_filled


def by_fourier(image, acquired, reconstructed):
    """The same with Fourier transforms of cell centres: cut to the lines, shift by the centres' offset, fill."""
    count = image.size
    lines = np.fft.fftfreq(count, 1 / count)
    spectrum = np.fft.fft(image) / count * np.exp(-2j * np.pi * lines * (0.5 / count - 0.5))
    weight = np.where(np.abs(lines) < acquired / 2, 1.0, np.where(np.abs(lines) == acquired / 2, 0.5, 0.0))
    x = centres(reconstructed)
    total = (spectrum * weight) @ np.exp(2j * np.pi * np.outer(lines, x))
    if acquired < count:  # both ends of the spectrum are there, each with its half
        return total.real
    edge = spectrum[np.abs(lines) == acquired / 2] * np.exp(2j * np.pi * -acquired / 2 * x) * 0.5
    return (total + edge.conj()).real


@pytest.mark.parametrize("sizes", [(48, 24, 32), (384, 192, 256), (30, 14, 10)])
def test_truncation_and_zero_filling_are_those_of_a_fourier_transform(sizes):
    samples, acquired, reconstructed = sizes
    image = np.random.default_rng(0).standard_normal(samples)
    found = zero_filled(samples, acquired, reconstructed) @ image
    np.testing.assert_allclose(found, by_fourier(image, acquired, reconstructed), atol=1e-12)


def test_a_constant_stays_and_an_edge_rings():
    matrix = zero_filled(384, 192, 256)
    np.testing.assert_allclose(matrix @ np.ones(384), 1.0, atol=1e-12)
    step = matrix @ (centres(384) > 0.1)
    assert 1.05 < step.max() < 1.12  # Gibbs: 9 % of the step


def test_interpolated_noise_keeps_its_variance_and_is_correlated():
    matrix = noise_filled(96, 128)
    np.testing.assert_allclose((matrix**2).sum(axis=1), 1.0, atol=1e-12)
    neighbours = (matrix @ matrix.T).diagonal(1)
    assert (neighbours > 0.2).all()


@pytest.mark.parametrize(("samples", "voxels"), [(384, 256), (192, 128), (10, 3), (4, 4)])
def test_area_means_keep_the_integral(samples, voxels):
    matrix = area_mean(samples, voxels)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)
    values = np.random.default_rng(1).random(samples)
    np.testing.assert_allclose((matrix @ values).mean(), values.mean())
    assert (matrix >= 0).all()


@pytest.mark.parametrize("acquired", [0, 5, 50])
def test_impossible_numbers_of_lines(acquired):
    with pytest.raises(ValueError, match="even number of lines up to 48"):
        zero_filled(48, acquired, 64)
