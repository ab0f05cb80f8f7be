"""The outcome of a self-check as plain text."""

import math
from collections.abc import Iterable

from dcejax.selfcheck.check import Finding, Result

_LISTED = 20  # failing cases shown of one check


def _error(finding: Finding) -> str:
    if math.isnan(finding.error):
        return "no number"
    if finding.error == 0:
        return "none"
    return f"{finding.error:.2g} {finding.unit} (× {finding.share:.2g})"


def render(results: Iterable[Result], not_covered: Iterable[str], seconds: float) -> str:
    """Format the table, the failing and the known cases, what no check looks at, and one line that sums up."""
    results = tuple(results)
    rows = [("check", "cases", "passed", "worst error (× tolerance)", "tolerance")]
    for result in results:
        cases, missed = len(result.by_case), len(result.missed)
        row = result.check.name, str(cases), str(cases - missed), _error(result.worst), result.check.tolerance
        rows.append(row)
    width = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"{name:{width[0]}}  {cases:>{width[1]}}  {passed:>{width[2]}}  {worst:{width[3]}}  {tolerance}"
        for name, cases, passed, worst, tolerance in rows
    ]
    failing = [r for r in results if r.failures]
    for result in failing:
        lines += ["", f"MISSED in {result.check.name}:"]
        lines += [f"  {f.case}: {_error(f)}" for f in result.failures[:_LISTED]]
        lines += [f"  and {len(result.failures) - _LISTED} more"] if len(result.failures) > _LISTED else []
    known = [(r, f) for r in results for f in r.known]
    if known:
        lines += ["", "Known, and the same for everyone:"]
        lines += [f"  {r.check.name}: {f.case}: {_error(f)}; {r.check.known[f.case]}" for r, f in known]
    not_covered = tuple(not_covered)
    if not_covered:
        lines += ["", "Not covered:", *(f"  {text}" for text in not_covered)]
    cases = sum(len(r.by_case) for r in results)
    verdict = f"{len(failing)} of {len(results)} checks MISSED" if failing else f"all {len(results)} checks passed"
    return "\n".join([*lines, "", f"{verdict}: {cases} cases, {len(known)} known to fail, {seconds:.0f} s"])
