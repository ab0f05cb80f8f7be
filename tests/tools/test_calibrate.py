"""How intervals of regions are widened, and that documents tell the accuracy of the weights that are released."""

import json
from pathlib import Path

import calibrate
import numpy as np
import pytest

from dcejax.data import weights

ROOT = Path(__file__).resolve().parents[2]


def test_intervals_hold_nine_of_ten_other_patients():
    chance = np.random.default_rng(0)
    held = []
    for _ in range(300):
        scores = np.abs(chance.standard_t(3, (33, 2)))  # wider than intervals expect
        held.append(scores[-1] <= calibrate.widening(scores[:-1]))
    np.testing.assert_allclose(np.mean(held, axis=0), 0.92, atol=0.04)


def test_few_patients_narrow_nothing_and_too_few_are_refused():
    np.testing.assert_array_equal(calibrate.widening(np.full((20, 2, 3), 0.4)), 1.0)
    with pytest.raises(ValueError, match="expected 9 patients or more"):
        calibrate.widening(np.ones((8, 2, 3)))


@pytest.mark.parametrize(
    "name",
    [
        "model_accuracy.json",
        "model_accuracy_test-102.json",
        "out_of_distribution.json",
        "generator_gap.json",
        "generator_patients.json",
    ],
)
def test_accuracy_is_that_of_the_released_weights(name):
    told = json.loads((ROOT / "docs" / name).read_text())
    assert (told["weights"], told["sha256"]) == (weights.DEFAULT, weights.load(None).record["sha256"])
