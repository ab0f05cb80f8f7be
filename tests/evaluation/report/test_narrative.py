"""Sentences of a report, from records made by hand."""

import re

import pooled_records
import pytest

from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.report import narrative
from dcejax.evaluation.tables import accuracy_tables, agreement_tables, diagnosis_tables, uncertainty_tables

GONE = Description("gone", "Gone", "network", "It refuses everyone.")


@pytest.fixture
def pool(tmp_path):
    return pooled_records.write(tmp_path)


def made(pool):
    """The tables that a summary is about."""
    found = (
        accuracy_tables.table1(pool),
        agreement_tables.reliability(pool),
        diagnosis_tables.diagnosis(pool),
        uncertainty_tables.uncertainty_table(pool),
    )
    return {table.name: table for table in found}


def test_a_summary_says_what_the_tables_say(pool):
    tables = made(pool)
    text = "\n".join(narrative.summary(pool, tables))
    assert "8 simulated patient(s), 8 of them with enhancing tumour" in text
    assert re.search(r"is 0\.500 \(0\.3\d\d to 0\.6\d\d\) for net against the truth", text)
    assert "0.000 (0.000 to 0.000) for a map of zeros" in text
    assert "hold: Ktrans 35.0 (" in text
    evaluation = narrative.Evaluation(pool, [], [GONE], {"net": {"priors_sha256": "f" * 64}}, {}, ["sub-9"])
    limits = "\n".join(narrative.limitations(evaluation, tables.values()))
    assert "Gone was asked for and has no scores" in limits
    assert "INCOMPLETE: 1 examination(s)" in limits
    assert "Reader 2 is missing in 1 of 8 patients: sub-7" in limits
    assert "Intervals with * rest on fewer than 8 patients" in limits  # those of reader 2
    pool.arms.remove(pooled_records.READERS[1])
    alone = {"table1": accuracy_tables.table1(pool)}
    assert "rest on fewer" not in "\n".join(narrative.limitations(evaluation, alone.values()))


def test_a_summary_judges_every_arm_that_was_asked_for(pool):
    mine = Description("mine", "mine", "maps", "Maps.")
    for number, record in enumerate(pool.records):
        record["arms"]["mine"] = pooled_records.scored(0.1 * (number + 1) + 1.0)
    both = Pool([*pool.arms, mine], pool.records, [], pool.folder, 0)
    judged = [text for text in narrative.summary(both, made(both)) if "median absolute log error in" in text]
    first, second, reader, *others = judged
    assert first.startswith("net, median absolute log error in enhancing tumour: Ktrans 0.50")
    assert "Against all zero, Ktrans worse: 0.50 (" in first  # all zero is without error in these records
    assert "Against the best other arm, Ktrans worse (Fit, true AIF): 0.0" in first
    assert second.startswith("mine, ")
    assert "Ktrans worse (Fit, true AIF): 0.9" in second
    assert reader.startswith("Reader 1, ")
    assert "Against all zero, all maps worse. Against the best other arm, all maps worse." in reader
    assert len(others) == 2
    text = "\n".join(narrative.summary(both, made(both)))
    assert re.search(r"is 0\.500 \(\S+ to \S+\) for net, 1\.450 \(\S+ to \S+\) for mine against the truth", text)
    assert "mine agrees with the truth" in text
    assert "Halves of the samples of net agree" in text
    few = Pool(both.arms, pool.records[:5], [], pool.folder, 0)
    first = next(text for text in narrative.summary(few, made(few)) if "median absolute log error in" in text)
    assert "Ktrans cannot be told: 0.35 (" in first
    assert ")*;" in first
