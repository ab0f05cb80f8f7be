"""What a check is, how it is run and what it found."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import numpy as np
from numpy.typing import ArrayLike


class Finding(NamedTuple):
    """One error beside what is allowed of it; a case may have several, and each must hold."""

    case: str
    error: float  # 0 or more; NaN fails
    tolerance: float
    unit: str  # of both, and of what: "1/min in Ktrans"

    @property
    def share(self) -> float:
        """Error in units of the tolerance, infinite where there is no error to speak of."""
        if math.isnan(self.error):
            return math.inf
        if self.tolerance == 0:
            return math.inf if self.error > 0 else 0.0
        return self.error / self.tolerance


@dataclass(frozen=True)
class Check:
    """A comparison with an independent reference, over any number of cases."""

    name: str
    tolerance: str  # in words, for the table
    measure: Callable[..., Iterable[Finding]]
    known: Mapping[str, str] = field(default_factory=dict)  # case that fails for everyone -> why
    x64: bool = False  # whether it runs in double precision


@dataclass(frozen=True)
class Result:
    """What a check found."""

    check: Check
    findings: tuple[Finding, ...]

    @property
    def by_case(self) -> dict[str, Finding]:
        """The worst finding of each case."""
        worst: dict[str, Finding] = {}
        for finding in self.findings:
            worst[finding.case] = max(worst.get(finding.case, finding), finding, key=lambda one: one.share)
        return worst

    @property
    def missed(self) -> tuple[Finding, ...]:
        """The worst findings of the cases out of tolerance, the known ones among them."""
        return tuple(finding for finding in self.by_case.values() if finding.share > 1)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Cases that missed and are not known to fail for everyone."""
        return tuple(finding for finding in self.missed if finding.case not in self.check.known)

    @property
    def known(self) -> tuple[Finding, ...]:
        """Cases that missed as they do for everyone."""
        return tuple(finding for finding in self.missed if finding.case in self.check.known)

    @property
    def worst(self) -> Finding:
        """The largest error relative to its tolerance, known cases included."""
        return max(self.findings, key=lambda finding: finding.share)


def run(check: Check, *arguments) -> Result:
    """Run a check on the arguments of its `measure`: none, or the folder of the reference data.

    An exception counts as a failure, because a new machine may raise one.
    """
    try:
        with jax.enable_x64(check.x64):
            findings = tuple(check.measure(*arguments))
        if not findings:
            raise ValueError("expected one case or more, found none")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0]
        findings = (Finding(f"did not finish ({reason})", math.nan, 0.0, ""),)
    return Result(check, findings)


def largest(
    case: str, found: ArrayLike, expected: ArrayLike, *, absolute: float = 0.0, relative: float = 0.0, unit: str
) -> Finding:
    """Finding of the element that is worst relative to its tolerance.

    Args:
        case: its name.
        found: any shape.
        expected: the same shape.
        absolute: tolerance in the unit.
        relative: tolerance as a fraction of the expected value, added to the absolute one.
        unit: of found and expected.

    Raises:
        ValueError: shapes that differ.
    """
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    if found.shape != expected.shape:
        raise ValueError(f"{case}: expected shape {expected.shape}, found {found.shape}")
    errors = np.abs(found - expected).ravel()
    tolerances = (absolute + relative * np.abs(expected)).ravel()
    findings = (Finding(case, float(e), float(t), unit) for e, t in zip(errors, tolerances, strict=True))
    return max(findings, key=lambda finding: finding.share)


def scaled(case: str, found: ArrayLike, expected: ArrayLike, tolerance: float) -> Finding:
    """Finding of the largest error of a curve as a fraction of the expected curve's maximum."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    error = float(np.max(np.abs(found - expected)) / np.max(np.abs(expected)))
    return Finding(case, error, tolerance, "of the maximum")
