"""Moments over latent samples are those of all samples together, in whichever way these are decoded."""

import dataclasses

import jax
import numpy as np
import pytest
from compilations import counted
from parameters import draw

from dcejax.execution.latent_samples import moments_over_samples
from dcejax.execution.policy import default_policy
from dcejax.models.prob_unet import ProbUNet
from dcejax.types import Gaussian

UNET = ProbUNet(filters=(8, 4), combination_layers=3)
RNG = np.random.default_rng(0)
PARAMS = draw(UNET, *np.zeros((2, 1, 8, 8, 3), np.float32))
FEATURES = RNG.normal(size=(2, 5, 7, 8)).astype(np.float32)
PRIOR = Gaussian(*RNG.normal(size=(2, 2, 2)).astype(np.float32))
NOISE = RNG.normal(size=(11, 2, 2)).astype(np.float32)


def moments(number, *, sequential, samples=4):
    policy = dataclasses.replace(default_policy(), samples=samples, sequential_samples=sequential)
    return moments_over_samples(UNET, PARAMS, FEATURES, PRIOR, NOISE[:number], policy)


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize("number", [1, 3, 4, 11])
def test_they_are_those_of_all_samples(number, sequential):
    decode = jax.jit(lambda z: UNET.apply({"params": PARAMS}, FEATURES, z, method="decode"))
    maps = np.array([decode(PRIOR.mean + np.exp(PRIOR.log_std) * draw) for draw in NOISE[:number]], np.float64)
    found = moments(number, sequential=sequential)
    assert found.count == number
    np.testing.assert_allclose(found.mean, maps.mean(axis=0), rtol=0, atol=1e-6 * np.ptp(maps))
    squares = ((maps - maps.mean(axis=0)) ** 2).sum(axis=0)
    np.testing.assert_allclose(found.squares, squares, rtol=1e-4, atol=1e-6 * np.ptp(maps) ** 2)
    if number > 1:
        assert found.squares.max() > 0.01


@pytest.mark.parametrize("samples", [1, 4, 16])
def test_both_ways_agree_for_any_number_per_call(samples):
    one, other = (moments(11, sequential=sequential, samples=samples) for sequential in (True, False))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * np.abs(b).max())


@pytest.mark.parametrize("sequential", [True, False])
def test_all_numbers_of_samples_share_a_compilation(sequential):
    with counted() as compilations:
        for number in (1, 4, 6, 11):
            moments(number, sequential=sequential, samples=5 + sequential)  # which no other test compiles
    assert compilations["decode"] == 1
