"""The page that most tests look at."""

import case_pages
import numpy as np
import pytest

from dcejax.runner.case_report import page
from dcejax.runner.case_report.beside import Beside


@pytest.fixture(scope="session")
def content():
    """A page with a name of a region and a map beside those of the method."""
    beside = Beside({1: "rim"}, {"Ktrans": np.full(case_pages.SHAPE, 0.05, np.float32)})
    return page.render(case_pages.told(beside=beside))
