"""Records of a cohort, side by side."""

import pooled_records
import pytest

from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.examinations import Examination
from dcejax.evaluation.pooling import Pool, dig, examined_twice, first_examinations


@pytest.fixture
def pool(tmp_path):
    return pooled_records.write(tmp_path)


def test_the_main_arm(pool):
    assert pool.main == pooled_records.NET
    arms = [pooled_records.ZERO, pooled_records.FIT, *pooled_records.READERS]
    assert Pool(arms, pool.records, [], pool.folder, 0).main == pooled_records.FIT


def test_of_interest_is_what_was_asked_for(pool):
    maps = Description("mine", "mine", "maps", "Maps.")
    assert Pool([*pool.arms, maps], pool.records, [], pool.folder, 0).interest == [pooled_records.NET, maps]
    assert Pool([pooled_records.FIT], pool.records, [], pool.folder, 0).interest == [pooled_records.FIT]


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
