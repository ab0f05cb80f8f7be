"""Cohorts by name: who is in them, how they are examined, and which physics only tests may hold.

A patient's key is that of the cohort's name and the patient's number, so no patient is in two cohorts and none in the
training stream. Composition, sex and age follow Table 2 of the published study (Lyoo et al., Eur Radiol 2025).
"""

from dataclasses import dataclass, field

import jax
import numpy as np

from dcejax import rng
from dcejax.simulation.aif_prior import TRAINED_FAMILIES
from dcejax.simulation.priors import TUMOUR_CLASSES

_TRAINING_COUNTS = tuple(c.training for c in TUMOUR_CLASSES)
_TEST_COUNTS = tuple(c.test for c in TUMOUR_CLASSES)
_TRAINING_MALE = 140 / 227
_TEST_MALE = 57 / 102

TRAINING_MIX = tuple(count / sum(_TRAINING_COUNTS) for count in _TRAINING_COUNTS)
"""Relative frequency of each tumour class in training."""

_AGE = {False: (58.0, 15.0), True: (45.0, 13.0)}  # mean and SD in years, by IDH mutation
_AGE_RANGE = (18, 90)

Range = tuple[float, float]


@dataclass(frozen=True)
class ScanPriors:
    """What a cohort's examinations are drawn from; ranges are uniform, that of SNR on a logarithmic scale."""

    frame_interval_s: Range = (5.0, 5.0)
    frames: tuple[int, int] = (60, 60)
    tr_ms: Range = (2.8, 2.8)
    te_ms: Range = (1.0, 1.0)
    flip_angle_deg: Range = (10.0, 10.0)
    dose_mmol_per_kg: Range = (0.1, 0.1)
    snr: Range = (25.5, 31.5)  # of typical white matter before contrast; that of most patients is a little lower
    g_factor: Range = (1.0, 1.6)  # in the centre, relative to the edge of the head
    gain_drift: float = 0.02  # largest change of gain over the series
    residual_motion_mm: Range = (0.1, 0.3)  # what motion correction leaves, SD of each frame's position
    motion_steps: tuple[int, int] = (0, 0)  # movements that were not corrected
    motion_step: Range = (0.0, 0.0)  # size of each, in mm and in degrees
    families: tuple[float, float, float] = TRAINED_FAMILIES  # probability of each of aif_prior.FAMILIES
    exchange_share: float = 0.0  # of tumours that follow the two-compartment exchange model


@dataclass(frozen=True)
class Cohort:
    """A named set of simulated patients."""

    name: str
    what: str
    size: int | None  # patients; None: as many as asked for
    counts: tuple[int, ...]  # composition, scaled to the size
    male: float
    scan: ScanPriors = field(default_factory=ScanPriors)
    sessions: int = 1


@dataclass(frozen=True)
class Participant:
    """One patient of a cohort."""

    subject: str  # BIDS label with its sub-
    number: int  # from 0
    sex: str  # M or F
    age: int  # years
    tumour_class: int  # index into TUMOUR_CLASSES


# Tests hold what training never sees: one tumour in ten of another model, one injection in ten of the family kept out.
_TEST_FAMILIES = (*(0.9 * share for share in TRAINED_FAMILIES[:2]), 0.1)
_TEST_SCAN = ScanPriors(families=_TEST_FAMILIES, exchange_share=0.1)


def _training(name: str, what: str, size: int | None) -> Cohort:
    return Cohort(name, what, size, _TRAINING_COUNTS, _TRAINING_MALE)


def _test(name: str, what: str, size: int, scan: ScanPriors = _TEST_SCAN, sessions: int = 1) -> Cohort:
    return Cohort(name, what, size, _TEST_COUNTS, _TEST_MALE, scan, sessions)


COHORTS = {
    cohort.name: cohort
    for cohort in (
        _training("train", "training patients as files, as many as asked for", None),
        _training("train-165", "the published study's number of training patients", 165),
        _training("val-62", "the published study's number of validation patients", 62),
        _test("test-102", "the published test cohort's size and composition", 102),
        _test("test-1000", "the same composition, for power", 1000),
        _test("retest", "patients examined twice: new injection, position and noise", 50, sessions=2),
        _test(
            "ood-aif", "the family of arterial inputs kept out of training", 50, ScanPriors(families=(0.0, 0.0, 1.0))
        ),
        _test("ood-2cxm", "tumours that follow the two-compartment exchange model", 50, ScanPriors(exchange_share=1.0)),
        _test(
            "ood-motion",
            "uncorrected movements of 1 to 3 mm and degrees",
            50,
            ScanPriors(motion_steps=(1, 3), motion_step=(1.0, 3.0)),
        ),
        _test(
            "ood-protocol",
            "other frame times and numbers, flip angles, TR, doses and noise",
            100,
            ScanPriors(
                frame_interval_s=(2.0, 8.0),
                frames=(30, 90),
                tr_ms=(2.5, 5.5),
                flip_angle_deg=(8.0, 20.0),
                dose_mmol_per_kg=(0.05, 0.15),
                snr=(10.0, 60.0),
            ),
        ),
    )
}


def cohort(name: str) -> Cohort:
    """The cohort of a name.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in COHORTS:
        raise ValueError(f"cohort: expected one of {', '.join(COHORTS)}, found {name!r}")
    return COHORTS[name]


def patient_key(cohort: Cohort, seed: int, number: int) -> jax.Array:
    """Key of all that is random about a patient of a cohort."""
    return rng.stream(seed, "cohort", cohort.name, "patient", number)


def apportion(counts: tuple[int, ...], size: int) -> tuple[int, ...]:
    """Scale counts to a sum, by largest remainders."""
    exact = np.array(counts) * size / sum(counts)
    whole = np.floor(exact).astype(int)
    order = np.argsort(whole - exact, kind="stable")  # largest remainder first
    whole[order[: size - whole.sum()]] += 1
    return tuple(int(n) for n in whole)


def participants(cohort: Cohort, seed: int, limit: int | None = None) -> list[Participant]:
    """The patients of a cohort, or the first of them up to a limit; the seed is that of the whole data set.

    A cohort of a size has exactly its composition, in random order; an unlimited one draws each patient by itself.

    Raises:
        ValueError: no limit for an unlimited cohort, or one that is not from 1 to the cohort's size.
    """
    size = cohort.size or limit
    if size is None:
        raise ValueError(f"limit: expected a number of patients, because {cohort.name} has no end, found none")
    if limit is not None and not 1 <= limit <= size:
        raise ValueError(f"limit: expected 1 to {size}, the size of {cohort.name}, found {limit}")
    generator = np.random.default_rng(
        np.asarray(jax.random.key_data(rng.stream(seed, "cohort", cohort.name, "people")))
    )
    if cohort.size is None:
        shares = np.array(cohort.counts) / sum(cohort.counts)
        # One row of random numbers a patient, so that a longer cohort begins like a shorter one.
        uniform = generator.random((size, 2))
        classes = np.searchsorted(np.cumsum(shares), uniform[:, 0])
        male = uniform[:, 1] < cohort.male
    else:
        classes = generator.permutation(np.repeat(np.arange(len(TUMOUR_CLASSES)), apportion(cohort.counts, size)))
        male = generator.permutation(np.arange(size) < round(cohort.male * size))
    label = cohort.name.replace("-", "")
    return [
        Participant(
            subject=f"sub-{label}p{number + 1:04d}",
            number=number,
            sex="M" if male[number] else "F",
            age=_age(patient_key(cohort, seed, number), TUMOUR_CLASSES[classes[number]].idh_mutant),
            tumour_class=int(classes[number]),
        )
        for number in range(limit or size)
    ]


def _age(key: jax.Array, idh_mutant: bool) -> int:
    mean, sd = _AGE[idh_mutant]
    drawn = np.random.default_rng(np.asarray(jax.random.key_data(rng.fold(key, "age")))).normal(mean, sd)
    return int(np.clip(round(drawn), *_AGE_RANGE))
