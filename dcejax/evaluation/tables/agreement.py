"""Tables of how well measurements of one patient agree: readers, samples, injections, and estimates with the truth."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.casework import TRUTH
from dcejax.evaluation.metrics.bootstrap import bca
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.metrics.reliability import bland_altman, icc, icc_agreement, icc_consistency, repeatability
from dcejax.evaluation.pooling import Pool, column
from dcejax.evaluation.tables import patient_statistics
from dcejax.evaluation.tables.accuracy import SIMULATED
from dcejax.evaluation.tables.patient_statistics import interval_column
from dcejax.evaluation.tables.table import Column, Table
from dcejax.types import PARAMETERS

_SCALES = ("raw", "log")
_PUBLISHED = (
    "Published for two human readers: ICC 0.68 (0.54 to 0.77) for Ktrans, 0.59 (0.43 to 0.71) for vp, 0.64 (0.51 to "
    "0.75) for ve; the simulated readers' choice of arterial voxels was calibrated to these, at the published size of "
    "voxels and as the median of twenty cohorts, of which a single one may lie outside."
)
_ICC_DECIMALS = 9
_LEAST = 3  # patients, for an agreement that means anything


@dataclass(frozen=True)
class Condition:
    """Two measurements of each patient."""

    name: str
    a: tuple[np.ndarray, ...]  # [N] for each parameter
    b: tuple[np.ndarray, ...]

    @cached_property
    def pairs(self) -> tuple[np.ndarray, ...]:
        """[N, 2] for each parameter, of the patients who have both."""
        return tuple(np.stack(patient_statistics.defined(a, b), axis=-1) for a, b in zip(self.a, self.b, strict=True))


def scaled(values: np.ndarray, scale: str, channel: int) -> np.ndarray:
    """Values as they are, or the logarithm of what exceeds zero, with the floor of the parameter added."""
    return values if scale == "raw" else np.log(np.maximum(values, 0.0) + LOG_FLOORS[channel])


def _means(pool: Pool, arm: str) -> tuple[np.ndarray, ...]:
    return tuple(pool.roi(arm, tumour_regions.TUMOUR, name) for name in PARAMETERS)


def retest_conditions(pool: Pool) -> list[Condition]:
    """First against second examination, for each arm that has both."""
    found = []
    for arm in pool.arms:
        sides = [
            tuple(
                column([pair[i] for pair in pool.pairs], "arms", arm.name, "roi", tumour_regions.TUMOUR, name, "mean")
                for name in PARAMETERS
            )
            for i in range(2)
        ]
        condition = Condition(f"{arm.label}: test vs retest", *sides)
        if all(len(pairs) for pairs in condition.pairs):
            found.append(condition)
    return found


def within_conditions(pool: Pool) -> list[Condition]:
    """Readers against each other, and halves of a network's samples."""
    found = []
    if pool.has("reader1") and pool.has("reader2"):
        found.append(Condition("Reader 1 vs reader 2", _means(pool, "reader1"), _means(pool, "reader2")))
    for arm in pool.of_kind("network"):
        halves = [
            tuple(pool.values(arm.name, "halves", i, tumour_regions.TUMOUR, name, "mean") for name in PARAMETERS)
            for i in range(2)
        ]
        found.append(Condition(f"{arm.label}: first vs second half of samples", *halves))
    return found


def truth_conditions(pool: Pool) -> list[Condition]:
    """Every arm against the truth."""
    truth = _means(pool, TRUTH)
    return [Condition(f"{arm.label} vs truth", _means(pool, arm.name), truth) for arm in pool.arms]


def _every(pool: Pool) -> Iterator[tuple[Condition, int, str, str, np.ndarray]]:
    """Each condition, channel, parameter and scale with its pairs [N, 2]."""
    for condition in (*within_conditions(pool), *truth_conditions(pool), *retest_conditions(pool)):
        for channel, parameter in enumerate(PARAMETERS):
            for scale in _SCALES:
                yield condition, channel, parameter, scale, scaled(condition.pairs[channel], scale, channel)


def reliability(pool: Pool) -> Table:
    """Intraclass correlations of means over enhancing tumour."""
    rows = []
    for condition, _, parameter, scale, pairs in _every(pool):
        row = {"condition": condition.name, "parameter": parameter, "scale": scale, "n": len(pairs)}
        if len(pairs) >= _LEAST:
            found = icc(pairs)
            row |= patient_statistics.cells("icc_a1", found.agreement) | patient_statistics.cells(
                "icc_c1", found.consistency
            )
            for key, estimate in (("icc_a1", icc_agreement), ("icc_c1", icc_consistency)):
                boot = bca(estimate, pairs, pool.seed, resamples=patient_statistics.FEWER_RESAMPLES)
                row |= {f"{key}_bca_low": boot.low, f"{key}_bca_high": boot.high}
            # Of a constant map rounding leaves some 1e-17, which would look like a result.
            row |= {key: round(value, _ICC_DECIMALS) for key, value in row.items() if key.startswith("icc")}
        rows.append(row)
    columns = [
        Column("condition", "Measurements"),
        Column("parameter", "Map"),
        Column("scale", "Scale"),
        interval_column("icc_a1", "ICC(A,1), F interval"),
        Column("icc_a1_bca_low", "ICC(A,1), bootstrap from", 3),
        Column("icc_a1_bca_high", "to", 3),
        interval_column("icc_c1", "ICC(C,1), F interval"),
        Column("icc_c1_bca_low", "ICC(C,1), bootstrap from", 3),
        Column("icc_c1_bca_high", "to", 3),
        Column("n", "Patients"),
    ]
    caption = (
        "Intraclass correlation of means over enhancing tumour, two-way, single measurements: ICC(A,1) of absolute "
        "agreement, ICC(C,1) of consistency (McGraw & Wong 1996), with 95 % intervals by F distributions and by "
        f"BCa bootstrap of patients ({patient_statistics.FEWER_RESAMPLES} resamples). Scale log: logarithms of mean "
        f"+ floor. {_PUBLISHED} Halves of one network's samples see one scan and share the network: their ICC, "
        "published as 1.00, tells how much the latent changes, and nothing about accuracy, which agreement with the "
        "truth does. "
        f"{SIMULATED}"
    )
    return Table("reliability", "Reliability", caption, columns, patient_statistics.with_columns(rows, columns))


def repeatability_table(pool: Pool) -> Table | None:
    """Test-retest; None where nobody was examined twice."""
    rows = []
    for condition in retest_conditions(pool):
        for channel, parameter in enumerate(PARAMETERS):
            found = repeatability(condition.pairs[channel])
            rows.append(
                {
                    "condition": condition.name.removesuffix(": test vs retest"),
                    "parameter": parameter,
                    **patient_statistics.cells("wsd", found.within_sd),
                    "wcv": 100.0 * found.within_cv,
                    **patient_statistics.cells("rc", found.coefficient),
                    "n": found.n,
                }
            )
    if not rows:
        return None
    columns = [
        Column("condition", "Arm"),
        Column("parameter", "Map"),
        interval_column("wsd", "wSD"),
        Column("wcv", "wCV (%)", 3),
        interval_column("rc", "Repeatability coefficient"),
        Column("n", "Patients"),
    ]
    caption = (
        "Two examinations of each patient, with new injection, position and noise: within-patient SD and CV of means "
        "over enhancing tumour, and RC = 1.96 √2 wSD (QIBA), with 95 % intervals by chi-square. Ktrans in 1/min, vp "
        f"and ve as fractions. All zero repeats perfectly. {SIMULATED}"
    )
    return Table(
        "repeatability", "Test-retest repeatability", caption, columns, patient_statistics.with_columns(rows, columns)
    )


def bland_altman_table(pool: Pool) -> Table:
    """Bias and limits of agreement."""
    rows = []
    for condition, _, parameter, scale, pairs in _every(pool):
        row = {"condition": condition.name, "parameter": parameter, "scale": scale, "n": len(pairs)}
        if len(pairs) >= _LEAST:
            found = bland_altman(*pairs.T)
            for key in ("bias", "lower", "upper"):
                row |= patient_statistics.cells(key, getattr(found, key))
            row |= {"slope": found.slope, "slope_p": found.slope_p}
        rows.append(row)
    columns = [
        Column("condition", "Measurements"),
        Column("parameter", "Map"),
        Column("scale", "Scale"),
        interval_column("bias", "Bias, first − second"),
        interval_column("lower", "Lower limit"),
        interval_column("upper", "Upper limit"),
        Column("slope", "Slope on the mean", 2),
        Column("slope_p", "p of slope, unadjusted", 2),
        Column("n", "Patients"),
    ]
    caption = (
        "Agreement of means over enhancing tumour (Bland & Altman 1999): bias and limits of ± 1.96 SD with 95 % "
        "intervals by Student's t. Raw: Ktrans in 1/min, vp and ve as fractions; log: log ratios, 0.1 is about 10 %. A "
        f"slope shows that bias may depend on the value, or that one of the two scatters more. {SIMULATED}"
    )
    return Table(
        "bland_altman", "Bias and limits of agreement", caption, columns, patient_statistics.with_columns(rows, columns)
    )


def shown_conditions(pool: Pool) -> Sequence[Condition]:
    """Those that are drawn: within, main arm and readers against the truth, and its test-retest."""
    truth = {arm.label: arm.kind for arm in pool.arms if arm == pool.main or arm.name == "reader1"}
    kept = [c for c in truth_conditions(pool) if c.name.removesuffix(" vs truth") in truth]
    again = [c for c in retest_conditions(pool) if c.name.removesuffix(": test vs retest") == pool.main.label]
    return [c for c in (*within_conditions(pool), *kept, *again) if all(len(p) >= _LEAST for p in c.pairs)]
