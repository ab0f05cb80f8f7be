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
from typing import Any, Literal, NamedTuple

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


class Acquisition(NamedTuple):
    """A spoiled gradient-echo acquisition and the agent it sees, in the package's units."""

    tr: ArrayLike  # repetition time of the excitations, min
    flip_angle: ArrayLike  # nominal flip angle, rad
    relaxivity: ArrayLike  # longitudinal relaxivity r1 of the agent, 1/(mM min)


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
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)  # how timing, mask, … were obtained


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
