"""Sentences of a report, from records made by hand."""

import pooled_records
import pytest

from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.report import narrative
from dcejax.evaluation.tables import accuracy_tables, agreement_tables, diagnosis_tables, uncertainty_tables

GONE = Description("gone", "Gone", "network", "It refuses everyone.")


@pytest.fixture
def pool(tmp_path):
    return pooled_records.write(tmp_path)


def test_a_summary_says_what_the_tables_say(pool):
    tables = {
        table.name: table
        for table in (
            accuracy_tables.table1(pool),
            agreement_tables.reliability(pool),
            diagnosis_tables.diagnosis(pool),
            uncertainty_tables.uncertainty_table(pool),
        )
    }
    text = "\n".join(narrative.summary(pool, tables))
    assert "8 simulated patient(s), 8 of them with enhancing tumour" in text
    assert "SSIM of Ktrans as published is 0.500 (" in text
    assert "0.000 (0.000 to 0.000) for a map of zeros" in text
    assert "hold: Ktrans 35.0 (" in text
    evaluation = narrative.Evaluation(pool, [], [GONE], {"net": {"priors_sha256": "f" * 64}}, {}, ["sub-9"])
    limits = "\n".join(narrative.limitations(evaluation))
    assert "Gone was asked for and has no scores" in limits
    assert "INCOMPLETE: 1 examination(s)" in limits
    assert "Reader 2 is missing in 1 of 8 patients: sub-7" in limits
