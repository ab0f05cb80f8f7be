"""Tables from records made by hand, where every number can be worked out."""

import io
import math

import numpy as np
import pytest

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.examinations import Examination
from dcejax.evaluation.metrics.reliability import repeatability
from dcejax.evaluation.metrics.uncertainty_metrics import ause, sparsification
from dcejax.evaluation.pooling import Pool, dig, examined_twice, first_examinations
from dcejax.evaluation.report import narrative
from dcejax.evaluation.tables import (
    accuracy_tables,
    agreement_tables,
    cohort_and_time_tables,
    diagnosis_tables,
    patient_statistics,
    uncertainty_tables,
)
from dcejax.types import PARAMETERS

GONE = Description("gone", "Gone", "network", "It refuses everyone.")
ZERO = Description("all-zero", "All zero", "baseline", "Zero.")
FIT = Description("fit-true-aif", "Fit, true AIF", "fit", "Fit.")
READERS = [Description(f"reader{i}", f"Reader {i}", "reader", "Reads.") for i in (1, 2)]
NET = Description("net", "net", "network", "Predicts.")
N = 8


def roi(value):
    return {
        place: {name: {"mean": value, "median": value} for name in PARAMETERS}
        for place in (tumour_regions.TUMOUR, tumour_regions.ABNORMAL)
    }


def scored(value, **more):
    metrics = {"ssim": value, "nrmse": 2 * value, "tumour_nrmse": 3 * value, "brain_ssim": value / 2, "slices": 4}
    against = {name: metrics | {"log_rmse": value} for name in PARAMETERS}
    return {
        "against": {"truth": against},
        "tissues": {},
        "roi": roi(value),
        "seconds": {"inference": value, "total": 2 * value},
        **more,
    }


def record(number, session=0, shift=0.0):
    truth = 0.1 * (number + 1)
    calibration = {
        "coverage": dict.fromkeys(("50", "80", "90", "95"), 0.1 * number),
        "width": dict.fromkeys(("50", "80", "90", "95"), 0.2),
        "crps": 0.01,
        "mean_absolute_error": 0.02,
        "ause_sd": 0.5,
        "ause_cv": None,
        "without_sd": 0.0,
    }
    edge = {"n": 30, "cv": 0.1, "sd": 0.5, "sd_given_mean": None if number else 0.2}
    network = scored(
        truth + 0.05 + shift,
        halves=[roi(truth), roi(truth + 0.001 * number)],
        latent={tumour_regions.TUMOUR: dict.fromkeys(PARAMETERS, 0.02)},
        uncertainty={
            place: dict.fromkeys(PARAMETERS, calibration) for place in (tumour_regions.TUMOUR, tumour_regions.BRAIN)
        },
        edge=dict.fromkeys(PARAMETERS, edge),
    )
    return {
        "hash": "",
        "case_id": f"sub-{number}",
        "subject": f"sub-{number}",
        "session": session,
        "person": {
            "sex": "MF"[number % 2],
            "age": 50 + number,
            "diagnosis": "glioblastoma" if number >= 4 else "astrocytoma",
            "idh": "wildtype" if number >= 4 else "mutant",
            "grade": 2 if number < 2 else 3 + number % 2,
        },
        "voxels": {tumour_regions.BRAIN: 1000, tumour_regions.TUMOUR: 100, tumour_regions.ABNORMAL: 200},
        "ml": {tumour_regions.BRAIN: 1000.0, tumour_regions.TUMOUR: 1.0, tumour_regions.ABNORMAL: 2.0},
        "shape": [4, 4, 4, 60],
        "mm": [1.0, 1.0, 1.0],
        "references": ["truth"],
        "seconds": 1.0,
        "arms": {
            "truth": {"roi": roi(truth)},
            "all-zero": scored(0.0),
            "reader1": scored(2 * truth),
            "reader2": {"refused": "no time"} if number == 7 else scored(2 * truth + 0.1 * (number % 2)),
            "fit-true-aif": scored(truth * (1 if number % 2 else 1.1)),
            "net": network,
        },
    }


@pytest.fixture
def pool(tmp_path):
    (tmp_path / "cases").mkdir()
    rng = np.random.default_rng(0)
    records = [record(number) for number in range(N)]
    for number, made in enumerate(records):
        truth, sd = rng.random((300, 3)), np.full((300, 3), 0.1)
        arrays = {
            "prior/net": np.array([[0.0, number], [0.0, -number]], np.float32),
            "prior sd/net": np.array([[1.0, 3.0], [1.0, 4.0]], np.float32),
        }
        for place in (tumour_regions.TUMOUR, tumour_regions.BRAIN):
            arrays[f"voxels/truth/{place}"] = truth
            arrays[f"voxels/net/{place}/mean"] = truth + 0.1 * rng.normal(size=truth.shape)
            arrays[f"voxels/net/{place}/sd"] = sd
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        (tmp_path / "cases" / f"{made['case_id']}.npz").write_bytes(buffer.getvalue())
    pairs = [(record(number), record(number, 1, shift=0.02)) for number in range(3)]
    return Pool([ZERO, *READERS, FIT, NET], records, pairs, tmp_path, 0)


def one(table, **wanted):
    (found,) = [row for row in table.rows if all(row[key] == value for key, value in wanted.items())]
    return found


def test_every_table_has_what_its_columns_ask_for(pool):
    weights = {"net": {"training": {}}}
    tables = [
        cohort_and_time_tables.table2(pool),
        cohort_and_time_tables.time(pool),
        accuracy_tables.table1(pool),
        accuracy_tables.table1_paired(pool),
        accuracy_tables.tissues(pool),
        agreement_tables.reliability(pool),
        agreement_tables.bland_altman_table(pool),
        agreement_tables.repeatability_table(pool),
        diagnosis_tables.diagnosis(pool),
        diagnosis_tables.diagnosis_paired(pool),
        uncertainty_tables.uncertainty_table(pool),
        uncertainty_tables.edge(pool),
        uncertainty_tables.latent(pool, weights),
    ]
    assert len({table.name for table in tables}) == len(tables)
    for table in tables:
        assert all(list(row) == table.keys for row in table.rows)
        assert table.caption.endswith("Simulated patients; not clinical evidence.")


def test_means_over_patients(pool):
    found = one(accuracy_tables.table1(pool), reference="truth", parameter="vp", arm="Reader 2")
    values = [0.2 * (n + 1) + 0.1 * (n % 2) for n in range(7)]
    assert found["ssim"] == pytest.approx(np.mean(values))
    assert found["ssim_low"] < found["ssim"] < found["ssim_high"]
    assert (found["patients"], found["slices"]) == (7, 28)


def test_paired_differences_and_their_adjustment(pool):
    table = accuracy_tables.table1_paired(pool)
    found = one(table, reference="truth", parameter="ve", arm="All zero", metric="SSIM, as published")
    assert found["difference"] == pytest.approx(0.45 + 0.05)
    assert found["p"] == pytest.approx(2 / 2**8)  # all eight signs alike
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
    found = one(uncertainty_tables.uncertainty_table(pool), arm="net", region=tumour_regions.TUMOUR, parameter="ve")
    assert found["coverage_90"] == pytest.approx(35.0)
    assert (found["n"], found["voxels"]) == (8, 2400)
    assert found["ence"] < 0.15
    assert found["pit_ks"] < 0.05
    assert found["ause_cv"] is None
    rim = one(uncertainty_tables.edge(pool), arm="net", parameter="ve")
    assert (rim["sd"], rim["sd_given_mean"], rim["n"]) == (0.5, 0.2, 1)


def test_active_latent_dimensions(pool):
    weights = {"net": {"training": {"prob_unet": {"best": {"validation": {"kl_nats": 0.12}}}}}}
    (found,) = uncertainty_tables.latent(pool, weights).rows
    assert (found["kl"], found["dimensions"], found["active"], found["slices"]) == (0.12, 2, 1, 16)
    varies = np.concatenate([[n, -n] for n in range(N)]).var()
    assert found["largest"] == pytest.approx(varies / 12.5)  # in units of the prior's own variance, (9 + 16) / 2
    assert found["share_vp"] == pytest.approx(2.0)
    fits_only = Pool([FIT], pool.records, [], pool.folder, 0)
    assert uncertainty_tables.latent(fits_only, {}) is None


def test_readers_take_as_long_as_the_fit_they_make(pool):
    table = cohort_and_time_tables.time(pool)
    reader, fit = one(table, arm="Reader 1"), one(table, arm="Fit, true AIF")
    assert reader["inference_median"] == fit["inference_median"] > 0
    assert reader["handling"] == pytest.approx(282.0)
    assert fit["handling"] is None
    assert all(row["arm"] != "All zero" for row in table.rows)


def test_sparsification_is_what_its_area_is_taken_of():
    rng = np.random.default_rng(1)
    error, sd = rng.normal(size=1000), rng.integers(1, 9, 1000) / 10
    curves = [sparsification(error, order) for order in (sd, np.abs(error))]
    chance = np.abs(error).mean()
    assert curves[0][0] == pytest.approx(chance)
    assert np.mean(curves[0] - curves[1]) / np.mean(chance - curves[1]) == pytest.approx(ause(error, sd))


def test_the_main_arm(pool):
    assert pool.main == NET
    assert Pool([ZERO, FIT, *READERS], pool.records, [], pool.folder, 0).main == FIT


def test_sessions_of_a_patient_are_one_patient_and_a_pair():
    made = [
        Examination(subject, f"ses-{number + 1}", number, {}, "", lambda: None)
        for subject in ("sub-b", "sub-a", "sub-c")
        for number in range(2)
    ]
    records = {e.case_id: {"is": e.case_id} for e in made if e.case_id not in ("sub-a_ses-2", "sub-c_ses-1")}
    assert [found["is"] for found in first_examinations(made, records)] == ["sub-b_ses-1", "sub-a_ses-1"]
    pairs = [tuple(record["is"] for record in pair) for pair in examined_twice(made, records)]
    assert pairs == [("sub-b_ses-1", "sub-b_ses-2")]


def test_paths_into_records():
    found = {"a": [{"b": 1.0}, {"b": None}]}
    assert dig(found, "a", 0, "b") == 1.0
    assert dig(found, "a", 1, "b") is None
    assert dig(found, "a", 2, "b") is None
    assert dig(found, "c", 0) is None


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
