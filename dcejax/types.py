"""The axis legend and every record that crosses a module border.

Axis letters, used in all docstrings:

    B batch · X Y Z space · T time · C channel (last) · L latent · S latent samples · V flat voxels

Units inside the package: minutes, mM, 1/min, fractions 0-1, radians. Seconds, milliseconds and degrees appear
only at the edge, where the name carries the unit. The order of parameters is Ktrans, vp, ve everywhere.

Records with static fields are frozen dataclasses and live on the host; records of arrays only are NamedTuples, so
that JAX treats them as pytrees.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from jax.typing import ArrayLike

PARAMETERS = ("Ktrans", "vp", "ve")
"""Names of the three maps, in the order of every channel axis."""

UNITS = {"Ktrans": "1/min", "vp": "1", "ve": "1"}
"""Units of the maps as written to files; volume fractions are fractions, not mL/100 mL."""

Quantity = Literal["signal", "concentration"]


class ExtendedTofts(NamedTuple):
    """Parameters of the extended Tofts model; a scalar or array in each field."""

    ktrans: ArrayLike  # volume transfer constant, 1/min (OSIPI Q.PH1.008)
    vp: ArrayLike  # plasma volume fraction (OSIPI Q.PH1.001.[p])
    ve: ArrayLike  # extravascular extracellular volume fraction (OSIPI Q.PH1.001.[e])


class Tofts(NamedTuple):
    """Parameters of the Tofts model; a scalar or array in each field."""

    ktrans: ArrayLike  # volume transfer constant, 1/min (OSIPI Q.PH1.008)
    ve: ArrayLike  # extravascular extracellular volume fraction (OSIPI Q.PH1.001.[e])


class PlasmaOnly(NamedTuple):
    """Parameter of plasma that nothing leaves; a scalar or array."""

    vp: ArrayLike  # plasma volume fraction (OSIPI Q.PH1.001.[p])


class Patlak(NamedTuple):
    """Parameters of the Patlak model; a scalar or array in each field."""

    ktrans: ArrayLike  # influx constant, the permeability-surface product where flow is ample, 1/min
    vp: ArrayLike  # plasma volume fraction (OSIPI Q.PH1.001.[p])


class TwoCompartmentUptake(NamedTuple):
    """Parameters of the two-compartment uptake model; 100 times fp and ps are in mL/(100 mL min)."""

    fp: ArrayLike  # plasma flow per volume of tissue, 1/min = mL/(mL min) (OSIPI Q.PH1.002)
    ps: ArrayLike  # permeability-surface product per volume of tissue, 1/min (OSIPI Q.PH1.004)
    vp: ArrayLike  # plasma volume fraction


class TwoCompartmentExchange(NamedTuple):
    """Parameters of the two-compartment exchange model; 100 times fp and ps are in mL/(100 mL min)."""

    fp: ArrayLike  # plasma flow per volume of tissue, 1/min = mL/(mL min) (OSIPI Q.PH1.002)
    ps: ArrayLike  # permeability-surface product per volume of tissue, 1/min (OSIPI Q.PH1.004)
    vp: ArrayLike  # plasma volume fraction
    ve: ArrayLike  # extravascular extracellular volume fraction


class Acquisition(NamedTuple):
    """A spoiled gradient-echo acquisition and the agent it sees, in the package's units."""

    tr: ArrayLike  # repetition time of the excitations, min
    flip_angle: ArrayLike  # nominal flip angle, rad
    relaxivity: ArrayLike  # longitudinal relaxivity r1 of the agent, 1/(mM min)
    te: ArrayLike = 0.0  # echo time, min; 0 leaves out the decay by T2*
    r2_star_relaxivity: ArrayLike = 0.0  # transverse relaxivity r2* of the agent, 1/(mM min)


class InversionStatus(IntEnum):
    """Why a signal did or did not give a concentration; of several reasons the highest is reported."""

    OK = 0
    SATURATED = 1  # no concentration gives so high a signal
    NO_SIGNAL = 2  # zero or negative signal: no relaxation rate gives it
    NO_BASELINE = 3  # the signal before contrast is not positive
    BAD_INPUT = 4  # T10 or the flip angle is not positive, or a value is not finite


class Inversion(NamedTuple):
    """Concentrations from signals, voxel by voxel and frame by frame."""

    concentration: ArrayLike  # mM
    status: ArrayLike  # InversionStatus, integers


class T1Status(IntEnum):
    """Why a voxel did or did not get a T1."""

    OK = 0
    OUT_OF_RANGE = 1  # the best T1 is beyond 10 ms to 30 s
    NOT_CONVERGED = 2  # the last step still moved T1 by more than 1e-4 of itself
    BAD_INPUT = 3  # a signal, flip angle or B1 that is not positive and finite, or angles that are all the same


class T1Fit(NamedTuple):
    """T1 from variable flip angles; the maps are 0 where the status is not OK."""

    t1: ArrayLike  # min
    s0: ArrayLike  # signal of fully relaxed magnetisation after a 90° pulse, the signal's unit
    status: ArrayLike  # T1Status, integers


class Gaussian(NamedTuple):
    """An axis-aligned Gaussian over the latent space."""

    mean: ArrayLike  # [B, L]
    log_std: ArrayLike  # [B, L]


class Prediction(NamedTuple):
    """Maps of one case and their spread over latent samples; zero outside the mask."""

    mean: np.ndarray  # [X, Y, Z, C]
    std: np.ndarray  # [X, Y, Z, C], sample standard deviation (n - 1)
    cv: np.ndarray  # [X, Y, Z, C], std / mean where the mean exceeds 0.01, else 0


@dataclass(frozen=True)
class Scan:
    """One case as its files hold it, in the package's units."""

    case_id: str
    values: np.ndarray  # [X, Y, Z, T] float32: signal in scanner units, or concentration in mM
    quantity: Quantity
    times: np.ndarray  # [T] float64, min, counted from the first frame
    mask: np.ndarray  # [X, Y, Z] bool
    affine: np.ndarray  # [4, 4] float64, voxel to mm
    header: Any = None  # the input's nibabel header, carried through to the outputs
    t1_map: np.ndarray | None = None  # [X, Y, Z] float32, min
    segmentation: np.ndarray | None = None  # [X, Y, Z] integer labels, 0 = background
    start: float = 0.0  # min, the first frame on the scan's own clock, which arterial inputs may be measured on
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # how timing, mask, … were obtained


@dataclass(frozen=True)
class SimulatedScan:
    """A scan with all that is true about it."""

    scan: Scan  # int16 signal of the whole head; its T1 map is the true one, its mask that of the brain
    truth: np.ndarray  # [X, Y, Z, C] float32 Ktrans (1/min), vp, ve; zero outside the mask
    b1_map: np.ndarray  # [X, Y, Z] float32, true over nominal flip angle
    tissue: np.ndarray  # [X, Y, Z] uint8, index of the dominant tissue
    tissue_names: tuple[str, ...]
    arterial: np.ndarray  # [T] float64, plasma concentration in the arteries in mM, averaged within frames
    sidecar: Mapping[str, Any]  # of the series, as BIDS names things
    settings: Mapping[str, Any]  # every sampled number of patient and examination, ready for JSON
    description: str  # what kind of patient
    readers: Mapping[str, np.ndarray] = field(default_factory=dict)  # name -> [X, Y, Z, C] float32 conventional maps


@dataclass(frozen=True)
class Series:
    """What the networks see: the curves inside the mask, scaled, on the weights' time grid."""

    curves: np.ndarray  # [V, T] float32, V voxels of the mask in C order
    mask: np.ndarray  # [X, Y, Z] bool
    scale: float  # the signal was divided by this
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # scaling, resampling, conversion


@dataclass(frozen=True)
class Weights:
    """Released or trained weights with everything inference needs to use them."""

    name: str
    tcn: Mapping[str, Any]  # parameters of dcejax.models.tcn.TCN
    prob_unet: Mapping[str, Any]  # parameters of dcejax.models.prob_unet.ProbUNet, without the posterior
    record: Mapping[str, Any]  # the sidecar .json: config, units, hashes, training, validation


class Reporter(Protocol):
    """Where progress is told."""

    def status(self, stage: str, done: int | None = None, total: int | None = None, unit: str = "") -> None:
        """Tell what is going on now and, where it can be counted, how much of it is done; may be overwritten."""

    def line(self, text: str) -> None:
        """Tell what stays."""
