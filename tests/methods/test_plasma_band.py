"""The band around the plasma curve."""

import json
from pathlib import Path

import numpy as np
import pytest

from dcejax.data import weights
from dcejax.methods.plasma_band import BANDS, Band, around, known_of
from dcejax.physics.bolus_grid import FINE, GRID, STEP
from dcejax.types import Acquisition, Context, Known

DOCS = Path(__file__).resolve().parents[2] / "docs"
CURVE = np.maximum(GRID, 0) * np.exp(-GRID / 0.1) + 0.2 * (GRID > 0) * np.exp(-GRID / 5)


def test_the_bands_are_those_that_were_calibrated():
    told = json.loads((DOCS / "plasma_band.json").read_text())
    assert (told["weights"], told["sha256"]) == (weights.DEFAULT, weights.load(None).record["sha256"])
    assert {name: Band(**told[name]["band"]) for name in BANDS} == BANDS


@pytest.mark.parametrize(("scale", "shift_s"), [(0.0, 0.0), (0.2, 0.0), (0.0, 3.0), (0.1, 7.5)])
def test_the_band_holds_what_it_is_made_of(scale, shift_s):
    low, high = around(CURVE, Band(scale, shift_s))
    assert (low <= CURVE).all()
    assert (high >= CURVE).all()
    moved = np.interp(GRID - shift_s / 60, GRID, CURVE, left=0.0) * np.exp(-scale)
    assert (low <= moved + 1e-12).all()
    assert (moved <= high + 1e-12).all()
    if not shift_s:
        np.testing.assert_allclose([low * np.exp(scale), high / np.exp(scale)], [CURVE, CURVE])


def test_a_shift_is_that_of_the_curve_and_curves_have_any_axes():
    low, high = around(np.stack([CURVE, 2 * CURVE]), Band(0.0, 60 * STEP))
    np.testing.assert_allclose(high[1], 2 * high[0])
    peak = CURVE.argmax()
    np.testing.assert_allclose(high[0, peak - 1 : peak + 2], CURVE.max())
    assert (low[0, 1:-1] <= np.minimum(CURVE[:-2], CURVE[2:]) + 1e-12)[FINE[2:]].all()


def test_what_is_known_chooses_the_band():
    unknown = Known(0.0, False)
    context = Context(GRID, Acquisition(1, 1, 1), unknown, unknown, unknown, unknown)
    told = context._replace(hematocrit=Known(0.4, True))
    assert known_of(context) == "nothing"
    assert known_of(context._replace(hematocrit=Known(0.42, False))) == "nothing"
    assert known_of(told) == "hematocrit"
    assert known_of(told._replace(aif=Known(GRID, True))) == "arterial input"
