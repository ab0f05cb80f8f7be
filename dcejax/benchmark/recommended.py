"""The recommended model as released, with a scan that it is applied to."""

from pathlib import Path
from typing import Any

from dcejax.data import cases, loading, weights
from dcejax.data.facts import Facts
from dcejax.execution.policy import default_policy
from dcejax.methods import method
from dcejax.methods.fixed_grid import NOTHING_BESIDE
from dcejax.types import Series


def read(image: Path, mask: Path) -> tuple[Any, Any, Series]:
    """The released model, ready to be applied: its module, what it has loaded, and the series of a scan."""
    released = weights.load(None)
    config = method.config_of(released)
    used = method.of(config)
    (case,) = cases.enumerate_cases([str(image)], Facts(mask=mask))
    series = used.series_of(loading.load_scan(case), NOTHING_BESIDE, config)
    return used, used.load(released.params, config, default_policy()), series
