"""Layouts by the name of the flag."""

from collections.abc import Sequence

from dcejax.data.cases import Case
from dcejax.runner.case_record import RunSettings
from dcejax.runner.layouts.bids_derivatives import BidsDerivatives
from dcejax.runner.layouts.layout import Layout
from dcejax.runner.layouts.osipi_challenge import OsipiChallenge

_LAYOUTS = {"flat": Layout, "bids": BidsDerivatives, "osipi": OsipiChallenge}


def of(how: RunSettings, analysis: str, cases: Sequence[Case]) -> Layout:
    """The layout of a run; `analysis` is how its records are called.

    Raises:
        ValueError: two cases would have one name, or the folder holds another data set.
    """
    return _LAYOUTS[how.layout](how.output_dir, analysis, cases)
