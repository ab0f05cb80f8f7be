"""Verdicts from paired values made by hand."""

import numpy as np
import pooled_records
import pytest

from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.metrics.bootstrap import paired_difference
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.tables import verdicts
from dcejax.evaluation.tables.verdicts import BETTER, OPEN, WORSE, best_other, comparisons, verdict

NEAR, FAR, FEW = (Description(name, name, "maps", "Maps.") for name in ("near", "far", "few"))


def judged(differences, **options):
    return verdict(paired_difference(np.asarray(differences), np.zeros(len(differences)), 0), **options)


@pytest.mark.parametrize(
    ("differences", "said"),
    [
        ([-0.3, -0.2, -0.4, -0.1, -0.5, -0.3, -0.2, -0.6], BETTER),
        ([0.3, 0.2, 0.4, 0.1, 0.5, 0.3, 0.2, 0.6], WORSE),
        ([0.3, -0.2, 0.4, -0.1, -0.5, 0.3, 0.2, -0.6], OPEN),
        ([0.0] * 8, OPEN),
        ([-5.0, -5.1, -5.2, -5.3, -5.4], OPEN),  # all alike, but so are one in 16 by chance
        ([-5.0, -5.1, -5.2, -5.3, -5.4, -5.5], BETTER),
        ([-9.0] * 1 + [0.1, 0.2, -0.1, -0.2, 0.1, -0.15, 0.12], OPEN),
    ],
    ids=["below", "above", "around", "equal", "five", "six", "one far away"],
)
def test_words(differences, said):
    assert judged(differences) == said
    turned = {BETTER: WORSE, WORSE: BETTER, OPEN: OPEN}[said]
    assert judged(differences, higher_is_better=True) == turned
    assert judged(-np.asarray(differences)) == turned


def test_nothing_in_common_cannot_be_told():
    assert judged([-0.1]) == OPEN


def test_few_patients_are_seldom_judged_where_nothing_differs():
    rng = np.random.default_rng(0)
    for n, most in ((4, 0.0), (7, 0.07)):
        said = [judged(rng.normal(size=n)) for _ in range(150)]
        assert np.mean([word != OPEN for word in said]) <= most


@pytest.fixture
def pool(tmp_path):
    """The network errs by 0.15 to 0.85; near by 0.02 more, far by 1 more, and few has maps of two patients only."""
    made = pooled_records.write(tmp_path)
    for number, record in enumerate(made.records):
        own = 0.1 * (number + 1) + 0.05
        record["arms"]["all-zero"] = pooled_records.scored(6.0 + own)
        record["arms"]["near"] = pooled_records.scored(own + (0.1 if number % 2 else -0.06))
        record["arms"]["far"] = pooled_records.scored(own + 1.0 + 0.01 * number)
        if number < 2:
            record["arms"]["few"] = pooled_records.scored(0.0)
    arms = [pooled_records.ZERO, pooled_records.NET, NEAR, FAR, FEW]
    return Pool(arms, made.records, [], made.folder, 0)


def test_the_best_other_arm_is_the_nearest_with_enough_patients_and_no_baseline(pool):
    assert best_other(pool, pooled_records.NET, "vp") == NEAR
    assert best_other(pool, FAR, "vp") == pooled_records.NET
    assert best_other(pool, FEW, "vp") == pooled_records.NET
    alone = Pool([pooled_records.ZERO, pooled_records.NET], pool.records, [], pool.folder, 0)
    assert best_other(alone, pooled_records.NET, "vp") is None


def test_every_arm_is_judged_against_baselines_and_the_best_other(pool):
    said = {(c.arm.name, c.opponent): (c.other.name, c.verdict) for c in comparisons(pool) if c.parameter == "ve"}
    assert said == {
        ("net", "all zero"): ("all-zero", BETTER),
        ("near", "all zero"): ("all-zero", BETTER),
        ("far", "all zero"): ("all-zero", BETTER),
        ("few", "all zero"): ("all-zero", OPEN),
        ("net", verdicts.BEST_OTHER): ("near", OPEN),
        ("near", verdicts.BEST_OTHER): ("net", OPEN),
        ("far", verdicts.BEST_OTHER): ("net", WORSE),
        ("few", verdicts.BEST_OTHER): ("net", OPEN),
    }
    (row,) = [
        row
        for row in verdicts.verdicts(pool).rows
        if (row["parameter"], row["opponent"], row["arm"]) == ("ve", verdicts.BEST_OTHER, "far")
    ]
    assert row["difference"] == pytest.approx(1.035)
    assert row["own"] - row["others"] == pytest.approx(1.035)
    assert 1.0 < row["difference_low"] < row["difference"] < row["difference_high"] < 1.07
    assert (row["n"], row["verdict"]) == (8, WORSE)
