"""What simulated patients are drawn from: tissues, tumours, arterial input, scanner; and the hash of it all.

Medians and log-standard deviations between patients and between voxels of one patient. Weights record the hash of
these numbers, so it is known which population they have seen. Sources stand beside the numbers; where none stands, the
number is plausible, not measured. docs/reference_object.md tabulates them.

KJR 2020: Korean J Radiol 21:707; KJR 2021: Ktrans of normal ageing brain; MREL: the brain phantom of usc-mrel's
DCE_preT1 and the ten tumours measured there; OSIPI: the glioblastoma voxels of its reference object.
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class LogNormal:
    """A positive quantity: its median and log-SDs between patients and between voxels within one."""

    median: float
    between: float = 0.0
    within: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Tissue:
    """Kinetics and relaxation of one tissue. A median of zero means absent."""

    name: str
    ktrans: LogNormal = LogNormal(0.0)  # 1/min
    vp: LogNormal = LogNormal(0.0)
    ve: LogNormal = LogNormal(0.0)
    t10_s: LogNormal
    m0: LogNormal  # proton density relative to typical CSF


@dataclass(frozen=True)
class TumourKinetics:
    """Kinetics of the solid part of a group of tumours."""

    name: str
    ktrans: LogNormal  # 1/min
    vp: LogNormal
    ve: LogNormal


@dataclass(frozen=True)
class TumourClass:
    """A diagnosis with its histological grade."""

    name: str
    diagnosis: str
    idh_mutant: bool
    grade: int  # WHO, histological: a molecular glioblastoma keeps the 2 or 3 of its tissue
    kinetics: int  # index into TUMOUR_KINETICS, where it enhances
    non_enhancing: float  # probability that nothing of it enhances
    core: float  # probability of a necrotic core, where it enhances
    training: int  # patients among the published study's 227 for training and validation
    test: int  # among its 102 for testing


TISSUES = (
    Tissue(
        name="white matter",
        ktrans=LogNormal(3e-4, 0.5, 0.4),  # KJR 2021
        vp=LogNormal(0.010, 0.25, 0.25),  # blood volume of 1.84 mL/100 mL (PMC5801598) at a haematocrit of 0.42
        ve=LogNormal(0.15, 0.2, 0.1),
        t10_s=LogNormal(0.95, 0.08, 0.04),  # between Stanisz 2005 and variable flip angles in vivo
        m0=LogNormal(0.65, 0.08, 0.04),  # MREL
    ),
    Tissue(
        name="grey matter",
        ktrans=LogNormal(6e-4, 0.5, 0.4),  # KJR 2021
        vp=LogNormal(0.025, 0.25, 0.25),  # blood volume of 5.0 mL/100 mL (PMC5801598)
        ve=LogNormal(0.15, 0.2, 0.1),
        t10_s=LogNormal(1.5, 0.08, 0.04),  # between Stanisz 2005 and variable flip angles in vivo
        m0=LogNormal(0.80, 0.08, 0.04),  # MREL
    ),
    Tissue(
        name="CSF",
        vp=LogNormal(0.001, 0.3, 0.3),
        t10_s=LogNormal(4.2, 0.10, 0.03),  # Gach; MREL has 2.75 s
        m0=LogNormal(1.0, 0.08, 0.04),
    ),
    Tissue(
        name="tumour",  # its kinetics are those of the patient's TumourKinetics
        t10_s=LogNormal(1.82, 0.12, 0.10),  # MREL, ten patients
        # More water than in oedema; MREL's 0.70 leaves rims darker than the published figures show.
        m0=LogNormal(0.90, 0.08, 0.04),
    ),
    Tissue(
        name="necrotic core",
        ktrans=LogNormal(0.004, 0.7, 0.5),
        vp=LogNormal(0.003, 0.4, 0.4),
        ve=LogNormal(0.55, 0.15, 0.1),
        t10_s=LogNormal(2.4, 0.12, 0.08),
        m0=LogNormal(0.85, 0.08, 0.04),
    ),
    Tissue(
        name="oedema",
        ktrans=LogNormal(0.003, 0.7, 0.6),
        vp=LogNormal(0.012, 0.3, 0.25),
        ve=LogNormal(0.25, 0.2, 0.15),
        t10_s=LogNormal(1.5, 0.10, 0.06),
        m0=LogNormal(0.78, 0.08, 0.04),
    ),
    Tissue(
        name="artery",  # vp is 1 - haematocrit
        t10_s=LogNormal(1.65, 0.05, 0.0),  # Lu 2004
        m0=LogNormal(1.0),  # MREL
    ),
    Tissue(
        name="vein",
        t10_s=LogNormal(1.65, 0.05, 0.0),
        m0=LogNormal(1.0),
    ),
    Tissue(
        name="dura",
        ktrans=LogNormal(0.15, 0.4, 0.3),
        vp=LogNormal(0.08, 0.3, 0.2),
        ve=LogNormal(0.35, 0.2, 0.1),
        t10_s=LogNormal(1.2, 0.10, 0.05),
        m0=LogNormal(0.60, 0.08, 0.04),
    ),
    Tissue(
        name="choroid plexus",
        ktrans=LogNormal(0.25, 0.4, 0.2),
        vp=LogNormal(0.12, 0.3, 0.2),
        ve=LogNormal(0.45, 0.2, 0.1),
        t10_s=LogNormal(1.6, 0.10, 0.05),
        m0=LogNormal(0.85, 0.08, 0.04),
    ),
    Tissue(
        name="mucosa",
        ktrans=LogNormal(0.30, 0.5, 0.3),
        vp=LogNormal(0.12, 0.3, 0.2),
        ve=LogNormal(0.45, 0.2, 0.1),
        t10_s=LogNormal(1.3, 0.10, 0.08),
        m0=LogNormal(0.80, 0.08, 0.04),
    ),
    Tissue(
        name="skull",  # cortical bone and marrow at an echo time of 1 ms
        ktrans=LogNormal(0.010, 0.4, 0.4),
        vp=LogNormal(0.02, 0.3, 0.3),
        ve=LogNormal(0.20, 0.2, 0.1),
        t10_s=LogNormal(0.60, 0.10, 0.10),
        m0=LogNormal(0.10, 0.08, 0.04),  # MREL
    ),
    Tissue(
        name="scalp",  # subcutaneous fat with its vessels
        ktrans=LogNormal(0.020, 0.4, 0.4),
        vp=LogNormal(0.02, 0.3, 0.3),
        ve=LogNormal(0.10, 0.2, 0.1),
        t10_s=LogNormal(0.37, 0.06, 0.05),
        m0=LogNormal(0.85, 0.08, 0.04),
    ),
    Tissue(
        name="muscle and skin",
        ktrans=LogNormal(0.06, 0.4, 0.3),
        vp=LogNormal(0.03, 0.3, 0.2),
        ve=LogNormal(0.13, 0.2, 0.1),
        t10_s=LogNormal(1.35, 0.06, 0.05),
        m0=LogNormal(0.75, 0.08, 0.04),
    ),
    Tissue(name="air", t10_s=LogNormal(1.0), m0=LogNormal(0.0)),
)

# Ktrans: 0.068/min as a cut-off between grades (KJR 2020), 0.05 to 0.08 (OSIPI), 0.09 to 0.17 in mutant and wildtype
# high-grade tumours. The medians of the first two lie so far apart that the truth tells IDH types apart a little better
# than the published readers' maps did (areas under the curve of 0.84, 0.76 and 0.82 for Ktrans, vp and ve).
TUMOUR_KINETICS = (
    TumourKinetics(
        "glioblastoma",
        ktrans=LogNormal(0.080, 0.60, 0.55),
        vp=LogNormal(0.045, 0.45, 0.40),
        ve=LogNormal(0.26, 0.35, 0.30),
    ),
    TumourKinetics(
        "enhancing glioma of lower grade",
        ktrans=LogNormal(0.030, 0.60, 0.50),
        vp=LogNormal(0.024, 0.50, 0.40),
        ve=LogNormal(0.16, 0.40, 0.30),
    ),
    TumourKinetics(
        "enhancing oligodendroglioma",  # vp 30 % above that of the others
        ktrans=LogNormal(0.030, 0.60, 0.50),
        vp=LogNormal(0.031, 0.50, 0.40),
        ve=LogNormal(0.16, 0.40, 0.30),
    ),
    TumourKinetics(
        "non-enhancing",
        ktrans=LogNormal(0.005, 0.70, 0.60),
        vp=LogNormal(0.014, 0.40, 0.30),
        ve=LogNormal(0.15, 0.40, 0.20),
    ),
)
GLIOBLASTOMA, LOWER_GRADE, OLIGODENDROGLIOMA, NON_ENHANCING = range(len(TUMOUR_KINETICS))

# One in ten IDH-wildtype tumours looks like one of lower grade, whatever its histology (the published study cites 7 %).
# Non-enhancing and core as probabilities, then patients in training and in the test. The published study gives no joint
# distribution of diagnosis and grade; these counts add up to its rows (Table 2).
TUMOUR_CLASSES = (
    TumourClass("IDH-wildtype grade 4", "glioblastoma", False, 4, GLIOBLASTOMA, 0.02, 0.8, 160, 62),
    TumourClass("IDH-wildtype grade 4, bland", "glioblastoma", False, 4, LOWER_GRADE, 0.25, 0.3, 0, 4),
    TumourClass("IDH-wildtype grade 3, bland", "glioblastoma", False, 3, LOWER_GRADE, 0.25, 0.3, 15, 2),
    TumourClass("IDH-wildtype grade 2, bland", "glioblastoma", False, 2, LOWER_GRADE, 0.50, 0.0, 3, 1),
    TumourClass("astrocytoma grade 4", "astrocytoma", True, 4, LOWER_GRADE, 0.05, 0.6, 0, 10),
    TumourClass("astrocytoma grade 3", "astrocytoma", True, 3, LOWER_GRADE, 0.30, 0.1, 30, 0),
    TumourClass("astrocytoma grade 2", "astrocytoma", True, 2, LOWER_GRADE, 0.65, 0.0, 10, 0),
    TumourClass("oligodendroglioma grade 3", "oligodendroglioma", True, 3, OLIGODENDROGLIOMA, 0.25, 0.1, 6, 14),
    TumourClass("oligodendroglioma grade 2", "oligodendroglioma", True, 2, OLIGODENDROGLIOMA, 0.55, 0.0, 3, 9),
)


@dataclass(frozen=True)
class Priors:
    """Everything that is not tissue: correlations, tumour geometry, arterial input, scanner."""

    correlation_ktrans_vp: float = 0.5  # of the logarithms, within and between patients
    correlation_ktrans_ve: float = 0.4
    correlation_length_mm: float = 4.0  # of kinetics within a tissue
    most_ktrans: float = 1.0  # 1/min, of any voxel
    # Cube root of the solid part's volume, mL^(1/3): a normal cut to a range. Its quartiles give 4.8, 16.8 and 37.7 mL,
    # as in the published cohort's segmentations.
    tumour_size_mean: float = 2.52
    tumour_size_sd: float = 1.45
    tumour_volume_range_ml: tuple[float, float] = (0.05, 110.0)
    rim_thickness_mm: LogNormal = LogNormal(6.0, 0.35)
    infiltration_length_mm: tuple[float, float] = (5.0, 10.0)  # over which tumour cells thin out beyond the rim
    oedema_width_mm: LogNormal = LogNormal(14.0, 0.5)
    mass_effect: tuple[float, float] = (0.1, 0.5)  # share of the tumour's volume that displaces tissue
    # Arterial input
    parker_share: float = 0.7  # of trained inputs; the others have the shape of a gamma variate
    amplitude_log_sd: float = 0.22  # amplitude and width carry most of the variance (PMC5709187)
    width_log_sd: float = 0.15
    tail_log_sd: float = 0.15
    clearance_log_sd: float = 0.3
    hematocrit: tuple[float, float, float, float] = (0.42, 0.04, 0.30, 0.55)  # mean, SD, least, most
    dose_mmol_per_kg: float = 0.1  # for which the families are stated
    arrival_s: tuple[float, float] = (20.0, 45.0)
    injection_s: tuple[float, float] = (1.4, 2.4)  # 7 mL at 3 to 5 mL/s
    arterial_dispersion_s: tuple[float, float] = (0.1, 3.0)  # from the aorta, where the families were measured
    tissue_dispersion_s: tuple[float, float] = (0.1, 3.0)
    tissue_delay_s: tuple[float, float] = (0.0, 3.0)
    tissue_delay_sd_s: float = 0.5  # of a smooth field about it
    tumour_delay_s: tuple[float, float] = (-2.0, 2.0)  # added to that of the tissue; the sum is at least 0
    most_delay_s: float = 5.0
    sinus_delay_s: tuple[float, float] = (4.0, 8.0)
    sinus_dispersion_s: tuple[float, float] = (1.5, 3.5)  # spread of the paths through the brain
    # Net rise of arterial blood through the slab in winding arteries: M1 is reached after 0.5 to 1.1 s. At 100 mm/s an
    # input inverted from its own baseline reads 0.7 of its peak there, as large as the errors that inflow is known for.
    inflow_mm_per_s: tuple[float, float] = (60.0, 140.0)
    plasma_flow_per_min: LogNormal = LogNormal(0.5, 0.35)  # Fp of tumours that follow the exchange model
    # Scanner
    snr_training: tuple[float, float] = (10.0, 60.0)  # baseline white matter, log-uniform
    frame_interval_training_s: tuple[float, float] = (4.0, 6.0)
    b1_centre: float = 1.10  # mean over patients
    b1_edge_drop: float = 0.25
    b1_sd: float = 0.05
    bias_log_sd: float = 0.08
    placement_sd_mm: float = 3.0  # of the head in the coil
    placement_sd_deg: float = 4.0


PRIORS = Priors()


def priors_record() -> list[dict]:
    """Every number above, ready for JSON."""
    return [dataclasses.asdict(item) for item in (*TISSUES, *TUMOUR_KINETICS, *TUMOUR_CLASSES, PRIORS)]


def priors_sha256() -> str:
    """Hash of every number above, as written into the sidecar of weights."""
    return hashlib.sha256(json.dumps(priors_record(), sort_keys=True).encode()).hexdigest()
