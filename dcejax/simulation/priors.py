"""What simulated patients are drawn from: kinetics, relaxation, arterial input, scanner; and the hash of it all.

Medians and log-standard deviations between patients and between voxels of one patient. Weights record the hash of
these numbers, so it is known which population they have seen. Sources: Ktrans of enhancing glioma from KJR 2020;21:707
and OSIPI's glioblastoma reference object, normal Ktrans from KJR 2021, vp from blood volumes at a haematocrit of 0.42
(PMC5801598), T1 from Stanisz 2005 and from the ten tumours of usc-mrel/DCE_preT1, blood T1 from Lu 2004, AIF
variability from PMC5709187, haematocrit and B1 from clinical ranges. Numbers without a published source (oedema, core,
correlations, AIF tail, B1) are plausible values, not measurements.
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


@dataclass(frozen=True)
class Tissue:
    """Kinetics and relaxation of one tissue. A median of zero means absent."""

    name: str
    ktrans: LogNormal  # 1/min
    vp: LogNormal
    ve: LogNormal
    t10_s: LogNormal
    m0: float  # proton density relative to CSF


@dataclass(frozen=True)
class TumourClass:
    """A group of tumours: how common, and what its solid part is like."""

    name: str
    share: float
    ktrans: LogNormal
    vp: LogNormal
    ve: LogNormal
    core: float  # probability of a necrotic core


_NONE = LogNormal(0.0)

TISSUES = (
    Tissue(
        "white matter",
        ktrans=LogNormal(3e-4, 0.5, 0.4),
        vp=LogNormal(0.010, 0.25, 0.25),
        ve=LogNormal(0.15, 0.2, 0.1),
        t10_s=LogNormal(0.95, 0.08, 0.04),
        m0=0.65,
    ),
    Tissue(
        "grey matter",
        ktrans=LogNormal(6e-4, 0.5, 0.4),
        vp=LogNormal(0.025, 0.25, 0.25),
        ve=LogNormal(0.15, 0.2, 0.1),
        t10_s=LogNormal(1.5, 0.08, 0.04),
        m0=0.80,
    ),
    Tissue(
        "CSF",
        ktrans=_NONE,
        vp=LogNormal(0.001, 0.3, 0.3),
        ve=_NONE,
        t10_s=LogNormal(4.0, 0.10, 0.03),
        m0=1.0,
    ),
    Tissue(
        "tumour",  # its kinetics come from the patient's TumourClass
        ktrans=_NONE,
        vp=_NONE,
        ve=_NONE,
        t10_s=LogNormal(1.82, 0.12, 0.10),
        m0=0.70,
    ),
    Tissue(
        "necrotic core",
        ktrans=LogNormal(0.004, 0.7, 0.5),
        vp=LogNormal(0.003, 0.4, 0.4),
        ve=LogNormal(0.55, 0.15, 0.1),
        t10_s=LogNormal(2.4, 0.12, 0.08),
        m0=0.85,
    ),
    Tissue(
        "oedema",
        ktrans=LogNormal(0.003, 0.7, 0.6),
        vp=LogNormal(0.012, 0.3, 0.25),
        ve=LogNormal(0.25, 0.2, 0.15),
        t10_s=LogNormal(1.5, 0.10, 0.06),
        m0=0.78,
    ),
    Tissue(
        "artery",  # vp is 1 - haematocrit
        ktrans=_NONE,
        vp=_NONE,
        ve=_NONE,
        t10_s=LogNormal(1.65, 0.05, 0.0),
        m0=1.0,
    ),
    Tissue(
        "vein",
        ktrans=_NONE,
        vp=_NONE,
        ve=_NONE,
        t10_s=LogNormal(1.65, 0.05, 0.0),
        m0=1.0,
    ),
    Tissue(
        "dura and choroid plexus",
        ktrans=LogNormal(0.20, 0.5, 0.3),
        vp=LogNormal(0.12, 0.3, 0.2),
        ve=LogNormal(0.45, 0.2, 0.1),
        t10_s=LogNormal(1.2, 0.10, 0.05),
        m0=0.70,
    ),
)

TUMOUR_CLASSES = (
    TumourClass(
        "glioblastoma, IDH-wildtype",
        share=0.63,
        ktrans=LogNormal(0.07, 0.60, 0.55),
        vp=LogNormal(0.045, 0.45, 0.40),
        ve=LogNormal(0.26, 0.35, 0.30),
        core=0.8,
    ),
    TumourClass(
        "IDH-mutant grade 3-4 and oligodendroglioma",
        share=0.25,
        ktrans=LogNormal(0.030, 0.60, 0.50),
        vp=LogNormal(0.028, 0.50, 0.40),
        ve=LogNormal(0.16, 0.40, 0.30),
        core=0.3,
    ),
    TumourClass(
        "non-enhancing",
        share=0.12,
        ktrans=LogNormal(0.005, 0.70, 0.60),
        vp=LogNormal(0.014, 0.40, 0.30),
        ve=LogNormal(0.15, 0.40, 0.20),
        core=0.0,
    ),
)


@dataclass(frozen=True)
class Priors:
    """Everything that is not tissue: correlations, tumour size, arterial input, scanner."""

    correlation_ktrans_vp: float = 0.5  # of the logarithms, within and between patients
    correlation_ktrans_ve: float = 0.4
    correlation_length_mm: float = 4.0  # of kinetics within a tissue
    tumour_volume_ml: LogNormal = LogNormal(14.0, 1.35)  # quartiles near 4.8, 16.8, 37.7 mL after truncation
    tumour_volume_range_ml: tuple[float, float] = (0.3, 110.0)
    rim_thickness_mm: LogNormal = LogNormal(6.0, 0.35)
    infiltration_length_mm: tuple[float, float] = (4.0, 12.0)
    # Arterial input
    gamma_variate_share: float = 0.3  # the other inputs are shaped after Parker's
    amplitude_log_sd: float = 0.22
    width_log_sd: float = 0.15
    tail_log_sd: float = 0.15
    clearance_log_sd: float = 0.3
    hematocrit: tuple[float, float, float, float] = (0.42, 0.04, 0.30, 0.55)  # mean, SD, least, most
    arrival_s: tuple[float, float] = (15.0, 45.0)
    dispersion_s: tuple[float, float] = (0.1, 3.0)
    tissue_delay_s: tuple[float, float] = (0.0, 3.0)
    sinus_delay_s: tuple[float, float] = (4.0, 8.0)
    # Scanner
    frame_interval_s: tuple[float, float] = (4.0, 6.0)
    snr: tuple[float, float] = (10.0, 60.0)  # baseline white matter, log-uniform
    b1_centre: float = 1.10  # mean over patients
    b1_edge_drop: float = 0.25
    b1_sd: float = 0.05
    bias_log_sd: float = 0.08


PRIORS = Priors()


def priors_record() -> list[dict]:
    """Every number above, ready for JSON."""
    return [dataclasses.asdict(item) for item in (*TISSUES, *TUMOUR_CLASSES, PRIORS)]


def priors_sha256() -> str:
    """Hash of every number above, as written into the sidecar of weights."""
    return hashlib.sha256(json.dumps(priors_record(), sort_keys=True).encode()).hexdigest()
