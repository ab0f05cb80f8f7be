"""The audit's page is what its tool makes of the results that are kept."""

from pathlib import Path

import audit
from dcejax.data import weights

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_is_that_of_the_results():
    assert (DOCS / "audit.md").read_text(encoding="utf-8").rstrip() == "\n".join(audit.page(DOCS)).rstrip()


def test_the_weights_are_those_that_are_released():
    assert audit.PAPER == weights.PUBLISHED_METHOD
    assert audit.DEFAULT == weights.DEFAULT
