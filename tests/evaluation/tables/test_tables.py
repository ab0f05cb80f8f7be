"""Tables from records made by hand, where every number can be worked out."""

import math

import numpy as np
import pooled_records
import pytest

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.metrics.reliability import repeatability
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.tables import (
    accuracy_tables,
    agreement_tables,
    cohort_and_time_tables,
    diagnosis_tables,
    patient_statistics,
    uncertainty_tables,
    verdicts,
)


@pytest.fixture
def pool(tmp_path):
    return pooled_records.write(tmp_path)


def one(table, **wanted):
    (found,) = [row for row in table.rows if all(row[key] == value for key, value in wanted.items())]
    return found


def test_every_table_has_what_its_columns_ask_for(pool):
    weights = {"net": {"training": {}}}
    tables = [
        cohort_and_time_tables.table2(pool),
        cohort_and_time_tables.time(pool),
        accuracy_tables.table1(pool),
        accuracy_tables.accuracy(pool),
        accuracy_tables.paired(pool),
        accuracy_tables.tissues(pool),
        verdicts.verdicts(pool),
        agreement_tables.reliability(pool),
        agreement_tables.bland_altman_table(pool),
        agreement_tables.repeatability_table(pool),
        diagnosis_tables.diagnosis(pool),
        diagnosis_tables.diagnosis_paired(pool),
        uncertainty_tables.uncertainty_table(pool),
        uncertainty_tables.scores(pool),
        uncertainty_tables.edge(pool),
        uncertainty_tables.latent(pool, weights),
    ]
    assert len({table.name for table in tables}) == len(tables)
    without = {}
    for table in tables:
        empty = {key for key in table.keys if all(row[key] is None for row in table.rows)}
        if table.rows and empty:
            without[table.name] = empty
        assert table.caption.endswith("Simulated patients; not clinical evidence.")
    # What the records do not hold.
    assert without == {"uncertainty_scores": {"ause_cv"}, "latent": {"kl"}, "time": {"compilation"}}


def test_means_over_patients(pool):
    found = one(accuracy_tables.table1(pool), reference="truth", parameter="vp", arm="Reader 2")
    values = [0.2 * (n + 1) + 0.1 * (n % 2) for n in range(7)]
    assert found["ssim"] == pytest.approx(np.mean(values))
    assert found["ssim_low"] < found["ssim"] < found["ssim_high"]
    assert (found["patients"], found["slices"]) == (7, 28)


def test_the_better_errors_stand_first(pool):
    table = accuracy_tables.accuracy(pool)
    assert [column.key for column in table.columns][2:6] == ["arm", "median_log_error", "trimmed_log_rmse", "log_rmse"]
    found = one(table, reference="truth", parameter="vp", arm="net")
    values = [0.1 * (n + 1) + 0.05 for n in range(8)]
    assert found["median_log_error"] == pytest.approx(np.mean(values))
    assert (found["n"], found["patients"]) == (8, 8)
    assert next(iter(accuracy_tables.paired(pool).rows))["metric"].startswith("Median |log error|")


def test_paired_differences_and_their_adjustment(pool):
    table = accuracy_tables.paired(pool)
    found = one(table, reference="truth", parameter="ve", arm="All zero", metric="SSIM, as published")
    assert found["difference"] == pytest.approx(0.45 + 0.05)
    assert found["p"] == pytest.approx(2 / 2**8)  # all eight signs alike
    assert found["verdict"] == verdicts.BETTER
    worse = one(table, reference="truth", parameter="ve", arm="All zero", metric="NRMSE (%), as published")
    assert worse["verdict"] == verdicts.WORSE
    assert found["n"] == 8
    assert all(row["p_holm"] >= row["p"] for row in table.rows)
    assert one(table, reference="truth", parameter="ve", arm="Reader 2", metric="SSIM in the brain")["n"] == 7


def test_holm_by_hand():
    found = patient_statistics.holm([0.01, math.nan, 0.04, 0.03, 0.5])
    np.testing.assert_allclose(found, [0.04, math.nan, 0.09, 0.09, 0.5])
    assert patient_statistics.holm([]).size == 0


def test_reliability_of_conditions(pool):
    table = agreement_tables.reliability(pool)
    assert one(table, condition="Reader 1 vs reader 2", parameter="vp", scale="raw")["n"] == 7
    halves = one(table, condition="net: first vs second half of samples", parameter="vp", scale="raw")
    assert halves["icc_a1"] > 0.999
    offset = one(table, condition="net vs truth", parameter="vp", scale="raw")
    assert offset["icc_c1"] == pytest.approx(1)
    assert offset["icc_a1"] < offset["icc_c1"]
    assert one(table, condition="All zero vs truth", parameter="vp", scale="raw")["icc_a1"] == pytest.approx(0)
    assert one(table, condition="net: test vs retest", parameter="vp", scale="raw")["n"] == 3
    for made in pool.records:
        del made["arms"]["net"]["halves"]
    assert not [row for row in agreement_tables.reliability(pool).rows if "half" in row["condition"]]


def test_test_and_retest(pool):
    found = one(agreement_tables.repeatability_table(pool), condition="net", parameter="Ktrans")
    first = np.array([0.1, 0.2, 0.3]) + 0.05
    expected = repeatability(np.stack([first, first + 0.02], axis=-1))
    assert found["wsd"] == pytest.approx(expected.within_sd.estimate)
    assert found["wcv"] == pytest.approx(100 * expected.within_cv)
    assert agreement_tables.repeatability_table(Pool(pool.arms, pool.records, [], pool.folder, 0)) is None


def test_diagnosis_counts_higher_as_wildtype_and_as_high_grade(pool):
    table = diagnosis_tables.diagnosis(pool)
    rule = "a: enhancing tumour"
    found = one(table, task="IDH wildtype vs mutant", rule=rule, parameter="Ktrans", arm="Truth")
    assert (found["auc"], found["positives"], found["negatives"]) == (1.0, 4, 4)
    found = one(table, task="Grade 3-4 vs 2", rule=rule, parameter="Ktrans", arm="All zero")
    assert (found["auc"], found["positives"], found["negatives"]) == (0.5, 6, 2)
    paired = diagnosis_tables.diagnosis_paired(pool)
    assert {row["comparison"] for row in paired.rows} == {"net − Reader 1", "net − Truth", "Reader 1 − Truth"}


def test_uncertainty_of_patients_and_of_pooled_voxels(pool):
    where = {"arm": "net", "region": tumour_regions.TUMOUR, "parameter": "ve"}
    found = one(uncertainty_tables.uncertainty_table(pool), **where)
    assert found["coverage_90"] == pytest.approx(35.0)
    assert found["n"] == 8
    found = one(uncertainty_tables.scores(pool), **where)
    assert (found["n"], found["voxels"]) == (8, 2400)
    assert found["ence"] < 0.15
    assert found["pit_ks"] < 0.05
    assert found["ause_cv"] is None
    rim = one(uncertainty_tables.edge(pool), arm="net", parameter="ve")
    assert (rim["sd"], rim["sd_given_mean"], rim["n"]) == (0.5, 0.2, 1)


def test_active_latent_dimensions(pool):
    weights = {"net": {"training": {"prob_unet": {"best": {"validation": {"kl_divergence": 0.12}}}}}}
    (found,) = uncertainty_tables.latent(pool, weights).rows
    assert (found["kl"], found["dimensions"], found["active"], found["slices"]) == (0.12, 2, 1, 16)
    weights["net"]["training"]["prob_unet"]["last"] = {
        "validation": {"kl_divergence": 11.5}
    }  # whose parameters are used
    (taken,) = uncertainty_tables.latent(pool, weights).rows
    assert taken["kl"] == 11.5
    varies = np.concatenate([[n, -n] for n in range(pooled_records.N)]).var()
    assert found["largest"] == pytest.approx(varies / 12.5)  # in units of the prior's own variance, (9 + 16) / 2
    assert found["share_vp"] == pytest.approx(2.0)
    fits_only = Pool([pooled_records.FIT], pool.records, [], pool.folder, 0)
    assert uncertainty_tables.latent(fits_only, {}) is None


def test_readers_take_as_long_as_the_fit_they_make(pool):
    table = cohort_and_time_tables.time(pool)
    reader, fit = one(table, arm="Reader 1"), one(table, arm="Fit, true AIF")
    assert reader["inference_median"] == fit["inference_median"] > 0
    assert reader["handling"] == pytest.approx(282.0)
    assert fit["handling"] is None
    assert all(row["arm"] != "All zero" for row in table.rows)


def test_compilation_stands_beside_the_seconds_of_warm_runs(pool):
    pool.records[2]["arms"]["net"]["seconds"]["compilation"] = 9.5
    arms = [*pool.arms, Description("mine", "mine", "maps", "Maps.")]
    table = cohort_and_time_tables.time(Pool(arms, pool.records, [], pool.folder, 0))
    network, maps = one(table, arm="net"), one(table, arm="mine")
    assert network["compilation"] == 9.5
    assert network["inference_high"] < 1.0
    assert (network["where"], maps["compilation"]) == ("measured apart", None)
    assert "within" in maps["where"]
