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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from jax.typing import ArrayLike
else:
    ArrayLike = Any  # JAX takes a second to import, for which a command that refuses its flags need not wait

PARAMETERS = ("Ktrans", "vp", "ve")
"""Names of the three maps, in the order of every channel axis."""

UNITS = {"Ktrans": "1/min", "vp": "1", "ve": "1"}
"""Units of the maps as written to files; volume fractions are fractions, not mL/100 mL."""

Quantity = Literal["signal", "concentration"]


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
    odd: tuple[str, ...] = ()  # of the warnings, those about the curves as a whole, which may explain a refusal


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


class Known(NamedTuple):
    """A quantity that a method may be told, and whether it was; where it was not, the values mean nothing."""

    values: ArrayLike
    known: ArrayLike  # bool; one for the whole, or one for each example of a batch


class Brightest(NamedTuple):
    """The voxels of an examination that reach the highest signal; a scale or an arterial input can be found in them."""

    curves: ArrayLike  # [..., P, T] signal
    among: ArrayLike  # [...] how many voxels of the mask they are the brightest of
    points: ArrayLike | None = None  # [..., P, 3] where they lie, as in `Context`


class Sample(NamedTuple):
    """Random voxels of an examination: what most of it looks like."""

    curves: ArrayLike  # [..., P, T] signal
    points: ArrayLike  # [..., P, 3]


class Context(NamedTuple):
    """What travels with curves, simulated or from files: how they were measured and what is known beside them.

    A series from files has one examination. In a batch fields begin with an axis of examinations, and T10, B1 and
    points, which have a value per voxel, with the axis of examples.

    Examinations of a batch that have fewer frames than others repeat their last one, with its time.
    """

    times: ArrayLike  # [..., T] min from the first frame
    acquisition: Acquisition  # each [...]
    noise_sd: Known  # [...] SD of the noise of the signal in one channel, the signal's unit
    aif: Known  # [..., T] arterial plasma concentration averaged within frames, mM
    t10: Known  # per voxel, native T1, min
    b1: Known  # per voxel, true over nominal flip angle
    brightest: Brightest | None = None
    sample: Sample | None = None
    hematocrit: Known | None = None  # [...] of the blood in large vessels; None where no method is told
    points: ArrayLike | None = None  # per voxel, [..., 3] mm to the right, to the front and up, from any one origin


@dataclass(frozen=True)
class Series:
    """One examination from files or arrays, as every method receives it."""

    curves: np.ndarray  # [V, T] float32 signal, V voxels of the mask in C order
    mask: np.ndarray  # [X, Y, Z] bool
    context: Context  # maps are [V]
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # input, and conversion from concentration
    affine: np.ndarray | None = None  # [4, 4] float64, voxel to mm; None where the axes are taken as usual


Kind = Literal["estimate", "spread", "quantile", "mask"]
"""What kind of number a map holds."""


class Output(NamedTuple):
    """One map that a method gives."""

    statistic: str  # what files call it: <case>_desc-<statistic>_<quantity>.nii.gz
    quantity: str  # Ktrans, vp, ve, ...
    unit: str  # "1" for fractions
    kind: Kind
    text: str  # one line

    @property
    def name(self) -> str:
        """The map's name among the outputs of a method."""
        return f"{self.statistic}_{self.quantity}"


@dataclass(frozen=True)
class Weights:
    """Released or trained weights with everything inference needs to use them."""

    name: str
    params: Mapping[str, Any]  # part -> tree of arrays
    record: Mapping[str, Any]  # the sidecar .json: configuration with its method, units, hashes, training, validation


class Reporter(Protocol):
    """Where progress is told."""

    def status(self, stage: str, done: int | None = None, total: int | None = None, unit: str = "") -> None:
        """Tell what is going on now and, where it can be counted, how much of it is done; may be overwritten."""

    def note(self, text: str) -> None:
        """Tell what stays and is as it should be: a case is done, an epoch is over."""

    def line(self, text: str) -> None:
        """Tell what stays and must not be missed: a warning, a case that is bad."""
