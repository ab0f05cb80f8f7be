"""Who is in the cohorts: the published composition, and no patient twice."""

import jax
import numpy as np
import pytest

from dcejax import rng
from dcejax.simulation import cohort_definitions
from dcejax.simulation.aif_prior import FAMILIES
from dcejax.simulation.priors import TUMOUR_CLASSES


def table(people):
    """Counts of sex, grade, diagnosis and IDH mutation."""
    classes = [TUMOUR_CLASSES[p.tumour_class] for p in people]
    return {
        "male": sum(p.sex == "M" for p in people),
        "grade": [sum(c.grade == g for c in classes) for g in (2, 3, 4)],
        "diagnosis": [
            sum(c.diagnosis == d for c in classes) for d in ("glioblastoma", "astrocytoma", "oligodendroglioma")
        ],
        "mutant": sum(c.idh_mutant for c in classes),
    }


def test_test_cohort_has_the_published_composition():
    """Table 2 of Lyoo et al. 2025, test column."""
    found = table(cohort_definitions.participants(cohort_definitions.cohort("test-102"), 0))
    assert found == {"male": 57, "grade": [10, 16, 76], "diagnosis": [69, 10, 23], "mutant": 33}


def test_training_and_validation_together_have_the_published_composition():
    """Table 2, training and validation column; split in proportion."""
    train, val = (
        table(cohort_definitions.participants(cohort_definitions.cohort(name), 0)) for name in ("train-165", "val-62")
    )
    together = jax.tree.map(lambda a, b: a + b, train, val)
    for name, published in {"grade": [16, 51, 160], "diagnosis": [178, 40, 9], "mutant": 49, "male": 140}.items():
        np.testing.assert_allclose(together[name], published, atol=1)


def test_a_tenth_of_the_wildtype_tumours_looks_like_lower_grade():
    for name, count in (("test-102", 69), ("train-165", 165 * 178 / 227)):
        people = cohort_definitions.participants(cohort_definitions.cohort(name), 0)
        bland = sum(TUMOUR_CLASSES[p.tumour_class].name.endswith("bland") for p in people)
        assert bland == pytest.approx(0.1 * count, abs=1.5)


def test_age_follows_idh_and_lies_in_range():
    people = cohort_definitions.participants(cohort_definitions.cohort("test-1000"), 0)
    mutant = np.array([TUMOUR_CLASSES[p.tumour_class].idh_mutant for p in people])
    age = np.array([p.age for p in people])
    assert age[~mutant].mean() == pytest.approx(58, abs=2)
    assert age[mutant].mean() == pytest.approx(45, abs=2.5)
    assert age.min() >= 18
    assert age.max() <= 90


def test_no_patient_is_in_two_cohorts_or_in_training():
    """Keys of all patients of all cohorts, and of the first steps of training, are different."""
    keys, labels = [], []
    for c in cohort_definitions.COHORTS.values():
        people = cohort_definitions.participants(c, 0, 50 if c.size is None else None)
        labels += [p.subject for p in people]
        keys += [tuple(map(int, jax.random.key_data(cohort_definitions.patient_key(c, 0, p.number)))) for p in people]
    keys += [tuple(map(int, jax.random.key_data(rng.stream(0, "train", step)))) for step in range(50)]
    assert len(set(keys)) == len(keys)
    assert len(set(labels)) == len(labels)


def test_people_depend_on_the_seed_and_nothing_else():
    c = cohort_definitions.cohort("val-62")
    assert cohort_definitions.participants(c, 0) == cohort_definitions.participants(c, 0)
    assert cohort_definitions.participants(c, 0) != cohort_definitions.participants(c, 1)
    assert cohort_definitions.participants(c, 0, 5) == cohort_definitions.participants(c, 0)[:5]
    unlimited = cohort_definitions.cohort("train")
    assert cohort_definitions.participants(unlimited, 0, 5) == cohort_definitions.participants(unlimited, 0, 9)[:5]


def test_limits():
    with pytest.raises(ValueError, match="limit: expected 1 to 62, the size of val-62, found 63"):
        cohort_definitions.participants(cohort_definitions.cohort("val-62"), 0, 63)
    with pytest.raises(ValueError, match="because train has no end, found none"):
        cohort_definitions.participants(cohort_definitions.cohort("train"), 0)
    with pytest.raises(ValueError, match=r"expected one of train, train-165, .*found 'test'"):
        cohort_definitions.cohort("test")


def test_what_only_tests_may_hold():
    """No training or validation patient has the family of inputs kept out or the exchange model."""
    for name in ("train", "train-165", "val-62"):
        scan = cohort_definitions.COHORTS[name].scan
        assert scan.families[FAMILIES.index("Georgiou")] == 0
        assert scan.exchange_share == 0
    assert cohort_definitions.COHORTS["ood-aif"].scan.families == (0, 0, 1)
    assert cohort_definitions.COHORTS["ood-2cxm"].scan.exchange_share == 1


@pytest.mark.parametrize("size", [1, 7, 62, 165, 1000])
def test_apportioned_counts_add_up(size):
    counts = (160, 0, 15, 3, 0, 30, 10, 6, 3)
    found = cohort_definitions.apportion(counts, size)
    assert sum(found) == size
    np.testing.assert_allclose(found, np.array(counts) * size / 227, atol=1)
