"""The page about the reference object is of the priors that are in the code, and its measures are right."""

import numpy as np
import pytest
import reference_object

from dcejax.simulation import cohort_definitions
from dcejax.simulation.anatomy import composition
from dcejax.simulation.priors import priors_sha256


def test_the_page_is_of_these_priors():
    """The priors are frozen: who changes one number runs the page's program again, and says why."""
    page = (reference_object.DOCS / "reference_object.md").read_text(encoding="utf-8")
    assert priors_sha256() in page
    for name in cohort_definitions.COHORTS:
        assert f"`{name}`" in page
    for picture in ("core", "solid", "none"):
        assert (reference_object.DOCS / f"reference_object_{picture}.png").is_file()
    assert "{{" not in page


def test_ssim_of_nothing():
    """Against zeros, SSIM of a constant map c is C1 / (c² + C1): the contrast term is 1."""
    assert reference_object.ssim_of_nothing(np.zeros((32, 32, 2))) == pytest.approx(1)
    constant = np.full((64, 64, 1), 0.05)
    inside = 0.01**2 / (0.05**2 + 0.01**2)
    found = reference_object.ssim_of_nothing(constant)
    assert inside < found < inside + 0.35  # zero padding lowers the mean near the borders
    assert reference_object.ssim_of_nothing(np.full((512, 512, 1), 0.05)) == pytest.approx(inside, abs=0.05)


def test_interior_is_away_from_borders():
    labels = np.zeros((9, 9, 1), int)
    labels[2:7, 2:7] = composition.CSF
    found = reference_object.interior(labels, composition.CSF, np.ones_like(labels, bool), 3)
    assert found.sum() == 9
    assert found[3:6, 3:6].all()
