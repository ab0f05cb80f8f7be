"""What a known haematocrit does to the posterior."""

import json
from pathlib import Path

import numpy as np
import pytest

from dcejax.data import weights
from dcejax.methods.known_hematocrit import ASSUMED, RESPONSE, SD_LOG, with_hematocrit, without_error
from dcejax.methods.patient_posterior import Posterior

DOCS = Path(__file__).resolve().parents[2] / "docs"


def _posterior(shared):
    rng = np.random.default_rng(0)
    voxels = len(shared)
    noise = 0.1 * np.eye(3) + np.zeros((voxels, 3, 3))
    covariance = noise @ noise + shared @ shared.swapaxes(1, 2)
    mean = rng.normal([-3, -3, -1], 0.3, (voxels, 3)).astype(np.float32)
    nothing = np.zeros((voxels, 3, 2), np.float32)
    plasma = np.linspace(0, 5, 52, dtype=np.float32)
    return Posterior(mean, covariance, shared, nothing, np.ones(voxels), plasma, 0.5, np.ones((2, 3)))


def test_the_response_is_what_was_measured():
    told = json.loads((DOCS / "hematocrit_response.json").read_text())
    assert (told["weights"], told["sha256"]) == (weights.DEFAULT, weights.load(None).record["sha256"])
    assert (np.abs(np.subtract(told["response"], RESPONSE)) < 0.5 * np.array(told["standard_error"])).all()


@pytest.mark.parametrize("rank", [3, 4])
def test_the_variance_of_a_known_error_is_taken_off(rank):
    own, known = np.random.default_rng(1).normal(size=(50, 3, rank)) * 0.2, np.array([0.07, 0.04, 0.05])
    own = np.concatenate([own, np.broadcast_to(known[:, None], (50, 3, 1))], axis=-1)
    found = without_error(own, known)
    expected = own[..., :-1] @ own[..., :-1].swapaxes(1, 2)
    np.testing.assert_allclose(found @ found.swapaxes(1, 2), expected, atol=1e-6)


def test_no_more_is_taken_off_than_there_is():
    own = np.random.default_rng(1).normal(size=(50, 3, 3)) * 0.02
    left = without_error(own, np.full(3, 0.07))
    spanned = left @ left.swapaxes(1, 2)
    assert (np.linalg.eigvalsh(spanned) >= -1e-12).all()
    before = own @ own.swapaxes(1, 2)
    assert (np.diagonal(spanned, axis1=1, axis2=2) < np.diagonal(before, axis1=1, axis2=2)).all()
    assert np.linalg.eigvalsh(spanned)[:, 0].max() < 1e-7  # nothing of what is common is left


@pytest.mark.parametrize("hematocrit", [0.3, ASSUMED, 0.5])
def test_the_curve_and_the_values_are_scaled(hematocrit):
    own = np.random.default_rng(2).normal(size=(40, 3, 3)).astype(np.float32) * 0.1
    own[..., 0] = 0.1 * np.array(RESPONSE)  # more than what the hematocrit explains
    found = _posterior(own)
    told = with_hematocrit(found, hematocrit)
    higher = (1 - ASSUMED) / (1 - hematocrit)
    np.testing.assert_allclose(told.plasma, higher * found.plasma, rtol=1e-6)
    np.testing.assert_allclose(np.exp(told.mean) * higher ** np.array(RESPONSE), np.exp(found.mean), rtol=1e-5)
    noise = found.covariance - found.shared @ found.shared.swapaxes(1, 2)
    np.testing.assert_allclose(told.covariance - told.shared @ told.shared.swapaxes(1, 2), noise, atol=1e-6)
    assert (told.sd < found.sd).all()
    np.testing.assert_allclose(
        found.sd**2 - told.sd**2, np.tile((SD_LOG * np.array(RESPONSE)) ** 2, (40, 1)), rtol=1e-3
    )
