"""Tables of how well measurements of one patient agree: readers, samples, injections, and estimates with the truth."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dcejax.evaluation.casework import TRUTH
from dcejax.evaluation.metrics.bootstrap import bca
from dcejax.evaluation.metrics.image_metrics import LOG_FLOORS
from dcejax.evaluation.metrics.reliability import bland_altman, icc, icc_agreement, icc_consistency, repeatability
from dcejax.evaluation.pooling import Pool, Record, column, dig
from dcejax.evaluation.tables.patient_statistics import FEWER_RESAMPLES, cells, defined
from dcejax.evaluation.tables.result_table import SIMULATED, Table, columns, interval_columns
from dcejax.evaluation.tumour_regions import TUMOUR
from dcejax.types import PARAMETERS

_SCALES = ("raw", "log")
_PUBLISHED = (
    "Published for two human readers: ICC 0.68 (0.54 to 0.77) for Ktrans, 0.59 (0.43 to 0.71) for vp, 0.64 (0.51 to "
    "0.75) for ve; the simulated readers' choice of arterial voxels was calibrated to these, at the published size of "
    "voxels and as the median of twenty cohorts, of which a single one may lie outside."
)
_ICC_DECIMALS = 9
_LEAST = 3  # patients; fewer say nothing about agreement
_RETEST = ": test vs retest"
_WHAT = columns(condition="Measurements", parameter="Map", scale="Scale")


@dataclass(frozen=True)
class Condition:
    """Two measurements of each patient."""

    name: str
    pairs: Sequence[np.ndarray]  # [N, 2] for each parameter, of the patients who have both


def _condition(name: str, a: tuple[Sequence[Record], tuple], b: tuple[Sequence[Record], tuple]) -> Condition:
    """Compare means over enhancing tumour; each side is records and the path in them to the regions."""
    pairs = []
    for parameter in PARAMETERS:
        sides = (column(records, "arms", *path, TUMOUR, parameter, "mean") for records, path in (a, b))
        pairs.append(np.stack(defined(*sides), axis=-1))
    return Condition(name, pairs)


def scaled(values: np.ndarray, scale: str, channel: int) -> np.ndarray:
    """Values as they are, or the logarithm of what exceeds zero, with the floor of the parameter added."""
    return values if scale == "raw" else np.log(np.maximum(values, 0.0) + LOG_FLOORS[channel])


def retest_conditions(pool: Pool) -> list[Condition]:
    """First against second examination, for each arm that has both."""
    first, second = ([pair[i] for pair in pool.pairs] for i in range(2))
    paths = [(arm.label, (arm.name, "roi")) for arm in pool.arms]
    found = [_condition(f"{label}{_RETEST}", (first, path), (second, path)) for label, path in paths]
    return [condition for condition in found if all(len(pairs) for pairs in condition.pairs)]


def within_conditions(pool: Pool) -> list[Condition]:
    """Readers against each other, and halves of a network's samples."""
    compared = {}
    if pool.has("reader1") and pool.has("reader2"):
        compared["Reader 1 vs reader 2"] = ("reader1", "roi"), ("reader2", "roi")
    for arm in pool.of_kind("network"):
        if not any(dig(record, "arms", arm.name, "halves") for record in pool.records):  # a method without samples
            continue
        compared[f"{arm.label}: first vs second half of samples"] = tuple((arm.name, "halves", i) for i in range(2))
    return [_condition(name, (pool.records, a), (pool.records, b)) for name, (a, b) in compared.items()]


def truth_conditions(pool: Pool) -> list[Condition]:
    """Every arm against the truth."""
    truth = pool.records, (TRUTH, "roi")
    return [_condition(f"{arm.label} vs truth", (pool.records, (arm.name, "roi")), truth) for arm in pool.arms]


def _rows(pool: Pool, statistics: Callable[[np.ndarray], dict[str, float]]) -> list[dict[str, Any]]:
    """A row for each condition, parameter and scale; statistics of pairs [N, 2] where there are enough of them."""
    rows = []
    for condition in (*within_conditions(pool), *truth_conditions(pool), *retest_conditions(pool)):
        for (channel, parameter), scale in product(enumerate(PARAMETERS), _SCALES):
            pairs = scaled(condition.pairs[channel], scale, channel)
            row = {"condition": condition.name, "parameter": parameter, "scale": scale, "n": len(pairs)}
            rows.append(row | (statistics(pairs) if len(pairs) >= _LEAST else {}))
    return rows


def reliability(pool: Pool) -> Table:
    """Intraclass correlations of means over enhancing tumour."""

    def statistics(pairs: np.ndarray) -> dict[str, float]:
        found = icc(pairs)
        row = cells("icc_a1", found.agreement) | cells("icc_c1", found.consistency)
        for key, estimate in (("icc_a1", icc_agreement), ("icc_c1", icc_consistency)):
            boot = bca(estimate, pairs, pool.seed, resamples=FEWER_RESAMPLES)
            row |= {f"{key}_bca_low": boot.low, f"{key}_bca_high": boot.high}
        # For a constant map rounding gives about 1e-17, which would look like a result.
        return {key: round(value, _ICC_DECIMALS) for key, value in row.items()}

    caption = (
        "Intraclass correlation of means over enhancing tumour, two-way, single measurements: ICC(A,1) of absolute "
        "agreement, ICC(C,1) of consistency (McGraw & Wong 1996), with 95 % intervals by F distributions and by "
        f"BCa bootstrap of patients ({FEWER_RESAMPLES} resamples). Scale log: logarithms of mean + floor. {_PUBLISHED} "
        "Halves of one network's samples see one scan and share the network: their ICC, published as 1.00, tells how "
        "much the latent changes, and nothing about accuracy, which agreement with the truth does. "
        f"{SIMULATED}"
    )
    shown = [
        *_WHAT,
        *interval_columns(icc_a1="ICC(A,1), F interval"),
        *columns(3, icc_a1_bca_low="ICC(A,1), bootstrap from", icc_a1_bca_high="to"),
        *interval_columns(icc_c1="ICC(C,1), F interval"),
        *columns(3, icc_c1_bca_low="ICC(C,1), bootstrap from", icc_c1_bca_high="to"),
        *columns(n="Patients"),
    ]
    return Table("reliability", "Reliability", caption, shown, _rows(pool, statistics), grouped=1)


def bland_altman_table(pool: Pool) -> Table:
    """Bias and limits of agreement."""

    def statistics(pairs: np.ndarray) -> dict[str, float]:
        found = bland_altman(*pairs.T)
        row = cells("bias", found.bias) | cells("lower", found.lower) | cells("upper", found.upper)
        return row | {"slope": found.slope, "slope_p": found.slope_p}

    caption = (
        "Agreement of means over enhancing tumour (Bland & Altman 1999): bias and limits of ± 1.96 SD with 95 % "
        "intervals by Student's t. Raw: Ktrans in 1/min, vp and ve as fractions; log: log ratios, 0.1 is about 10 %. A "
        f"slope shows that bias may depend on the value, or that one of the two scatters more. {SIMULATED}"
    )
    shown = [
        *_WHAT,
        *interval_columns(bias="Bias, first − second", lower="Lower limit", upper="Upper limit"),
        *columns(2, slope="Slope on the mean", slope_p="p of slope, unadjusted"),
        *columns(n="Patients"),
    ]
    return Table("bland_altman", "Bias and limits of agreement", caption, shown, _rows(pool, statistics), grouped=1)


def repeatability_table(pool: Pool) -> Table | None:
    """Test-retest; None where nobody was examined twice."""
    rows = []
    for condition in retest_conditions(pool):
        for parameter, pairs in zip(PARAMETERS, condition.pairs, strict=True):
            found = repeatability(pairs)
            row = {"condition": condition.name.removesuffix(_RETEST), "parameter": parameter, "n": found.n}
            row |= cells("wsd", found.within_sd) | cells("rc", found.coefficient)
            rows.append(row | {"wcv": 100.0 * found.within_cv})
    if not rows:
        return None
    caption = (
        "Two examinations of each patient, with new injection, position and noise: within-patient SD and CV of means "
        "over enhancing tumour, and RC = 1.96 √2 wSD (QIBA), with 95 % intervals by chi-square. Ktrans in 1/min, vp "
        f"and ve as fractions. All zero repeats perfectly. {SIMULATED}"
    )
    shown = [
        *columns(condition="Arm", parameter="Map"),
        *interval_columns(wsd="wSD"),
        *columns(3, wcv="wCV (%)"),
        *interval_columns(rc="Repeatability coefficient"),
        *columns(n="Patients"),
    ]
    return Table("repeatability", "Test-retest repeatability", caption, shown, rows)


def shown_conditions(pool: Pool) -> Sequence[Condition]:
    """Conditions that are drawn: those within, arms of interest and reader 1 against the truth, retests of arms."""
    interest = [arm.label for arm in pool.interest]
    truth = [arm.label for arm in pool.arms if arm.label in interest or arm.name == "reader1"]
    kept = [c for c in truth_conditions(pool) if c.name.removesuffix(" vs truth") in truth]
    again = [c for c in retest_conditions(pool) if c.name.removesuffix(_RETEST) in interest]
    return [c for c in (*within_conditions(pool), *kept, *again) if all(len(p) >= _LEAST for p in c.pairs)]
