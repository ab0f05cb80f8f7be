"""From a scan to what the networks see: curves inside the mask, as signal, on the weights' time grid, scaled.

Concentration is first turned into the signal that the weights' own acquisition would have measured, because the
networks know nothing else.
"""

from typing import Any, NamedTuple

import numpy as np

from dcejax.config import ProtocolConfig
from dcejax.data.aif_csv import MeasuredAif
from dcejax.physics import units
from dcejax.physics.aif import parker
from dcejax.physics.signal import spgr
from dcejax.types import Scan, Series

_ACQUISITION_TOLERANCE = 0.10  # the networks were trained for one protocol; beyond this a warning is recorded
_GRID_TOLERANCE = 1e-3  # share of a grid step by which rounded frame times may miss a limit
_VOXELS_PER_CONVERSION = 65_536  # bounds the memory of the conversion to signal
_SMALLEST_MASK_ML = 200.0  # the large vessels decide the scale, and a part of the head may hold none
_TRAINED_VOXEL_MM = 0.94  # along both axes of a slice
_VOXEL_RANGE_MM = (0.7, 1.3)
_LARGEST_TILT_DEG = 45.0  # between the normals of the slices and of the axial plane


class Conversion(NamedTuple):
    """What a user may know for turning concentration into signal; None where unknown."""

    relaxivity_per_mM_s: float | None = None
    b1_map: np.ndarray | None = None  # [X, Y, Z], ratio of true to nominal flip angle
    aif: MeasuredAif | None = None


class _Signal(NamedTuple):
    curves: np.ndarray  # [V, T] on the scan's own frames
    scale: float | None  # None: from the curves themselves
    provenance: dict[str, Any]
    warnings: tuple[str, ...]


def _check_frames(scan: Scan, protocol: ProtocolConfig) -> None:
    """Refuse what interpolation would have to invent."""
    seconds = scan.times * units.SECONDS_PER_MINUTE
    tolerance = _GRID_TOLERANCE * protocol.frame_interval_s
    longest, duration = float(np.diff(seconds).max()), float(seconds[-1])
    problems = []
    if longest > protocol.max_frame_interval_s + tolerance:
        problems.append(f"frames up to {longest:.4g} s apart")
    if duration < protocol.duration_s - tolerance:
        problems.append(f"{seconds.size} frames over {duration:.4g} s")
    if problems:
        raise ValueError(
            f"{scan.case_id}: expected frames at most {protocol.max_frame_interval_s:g} s apart over at least "
            f"{protocol.duration_s:g} s (these weights were trained on {protocol.frames} frames of "
            f"{protocol.frame_interval_s:g} s), found {' and '.join(problems)}; use weights trained for this "
            "acquisition (--weights), or a conventional fit"
        )


def _resample(curves: np.ndarray, times: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Interpolate [V, T] linearly from times to grid, both in min from the first frame."""
    right = np.clip(np.searchsorted(times, grid), 1, times.size - 1)
    share = np.clip((grid - times[right - 1]) / (times[right] - times[right - 1]), 0.0, 1.0).astype(np.float32)
    return curves[:, right - 1] * (1 - share) + curves[:, right] * share


def _masked_or(values: np.ndarray | None, mask: np.ndarray, default: float) -> tuple[np.ndarray, int]:
    """Values [V] of a map in the mask, with the default where the map has none, and the number of such voxels.

    T1 and B1 maps hold zero or NaN where their own fit failed.
    """
    if values is None:
        return np.full(np.count_nonzero(mask), default, np.float32), 0
    inside = values[mask]
    usable = np.isfinite(inside) & (inside > 0)
    return np.where(usable, inside, default).astype(np.float32), int(np.count_nonzero(~usable))


def _geometry_warnings(affine: np.ndarray) -> list[str]:
    """Tell where slices differ from those that the second network was trained on."""
    warnings = []
    size = np.linalg.norm(affine[:3, :3], axis=0)
    lowest, highest = _VOXEL_RANGE_MM
    if size[:2].min() < lowest or size[:2].max() > highest:
        warnings.append(
            f"voxels of a slice (first two axes) are {size[0]:.3g} x {size[1]:.3g} mm, but the weights were trained on "
            f"{_TRAINED_VOXEL_MM:g} mm: details may be smoothed or invented; resample the image to {lowest:g}-"
            f"{highest:g} mm"
        )
    if not abs(affine[2, 2]) >= np.cos(np.deg2rad(_LARGEST_TILT_DEG)) * size[2]:
        warnings.append(
            "slices (along the third axis) are not axial, but the weights were trained on axial slices; reorder the "
            "axes so that the third runs along the body"
        )
    return warnings


def _from_signal(scan: Scan, protocol: ProtocolConfig, conversion: Conversion) -> _Signal:
    warnings = []
    mask_ml = np.count_nonzero(scan.mask) * abs(np.linalg.det(scan.affine[:3, :3])) / 1e3
    if mask_ml < _SMALLEST_MASK_ML:
        warnings.append(
            f"the mask holds {mask_ml:.3g} mL: below {_SMALLEST_MASK_ML:g} mL it may miss the large vessels, whose "
            f"signal (the {protocol.scale_percentile:g}th percentile) sets the scale of all maps; give a brain mask"
        )
    for name, trained in (("tr_ms", protocol.tr_ms), ("flip_angle_deg", protocol.flip_angle_deg)):
        found = scan.provenance.get("acquisition", {}).get(name)
        if found is not None and abs(found - trained) > _ACQUISITION_TOLERANCE * trained:
            warnings.append(
                f"{name} is {found:g}, but the weights were trained for {trained:g}: expect biased maps; use weights "
                "trained for this acquisition"
            )
    unused = [name for name, value in conversion._asdict().items() if value is not None]
    if scan.t1_map is not None:
        unused.append("t1_map")
    if unused:
        warnings.append(f"{', '.join(unused)} has no effect on signal input; it serves concentration input")
    return _Signal(scan.values[scan.mask], None, {"quantity": "signal"}, tuple(warnings))


def _from_concentration(scan: Scan, protocol: ProtocolConfig, conversion: Conversion) -> _Signal:
    relaxivity = conversion.relaxivity_per_mM_s or protocol.relaxivity_per_mM_s
    acquisition = units.acquisition(protocol.tr_ms, protocol.flip_angle_deg, relaxivity)
    t10, without_t1 = _masked_or(scan.t1_map, scan.mask, protocol.t10_s / units.SECONDS_PER_MINUTE)
    b1, without_b1 = _masked_or(conversion.b1_map, scan.mask, 1.0)
    warnings = []
    if without_t1:
        warnings.append(f"the T1 map has no value in {without_t1} voxels of the mask; {protocol.t10_s} s is used there")
    if without_b1:
        warnings.append(f"the B1 map has no value in {without_b1} voxels of the mask; 1 is used there")

    # R1 cannot be negative: noise below this concentration gives no signal instead of a pole of the equation.
    lowest = -1.0 / (t10 * acquisition.relaxivity)
    curves = scan.values[scan.mask]
    for start in range(0, len(curves), _VOXELS_PER_CONVERSION):
        part = slice(start, start + _VOXELS_PER_CONVERSION)
        concentration = np.maximum(curves[part], lowest[part, None])
        curves[part] = spgr(concentration, t10[part, None], acquisition, s0=protocol.tissue_m0, b1=b1[part, None])

    if conversion.aif is None:
        plasma, aif_name = np.asarray(parker(np.linspace(0, 2, 1201), hematocrit=protocol.hematocrit)), "Parker"
    else:
        plasma, aif_name = conversion.aif.plasma, "file"
    peak = float(plasma.max()) * (1 - protocol.hematocrit)
    scale = float(spgr(peak, protocol.blood_t10_s / units.SECONDS_PER_MINUTE, acquisition))
    provenance = {
        "quantity": "concentration",
        "tr_ms": protocol.tr_ms,
        "flip_angle_deg": protocol.flip_angle_deg,
        "relaxivity_per_mM_s": relaxivity,
        "t10": f"{protocol.t10_s} s" if scan.t1_map is None else "T1 map",
        "b1": "nominal" if conversion.b1_map is None else "B1 map",
        "tissue_m0": protocol.tissue_m0,
        "scale_aif": aif_name,
        "scale_peak_blood_mM": round(peak, 6),
        "scale_blood_t10_s": protocol.blood_t10_s,
        "scale_hematocrit": protocol.hematocrit,
    }
    return _Signal(curves, scale, provenance, tuple(warnings))


def prepare(scan: Scan, protocol: ProtocolConfig, conversion: Conversion) -> Series:
    """Bring a scan to the weights' grid and scale.

    Args:
        scan: the case.
        protocol: the acquisition the weights are made for.
        conversion: what is known for concentration input; without effect, but for a warning, on signal.

    Returns:
        The series. Provenance holds `input` (quantity and conversion), `resampling` and `scaling`.

    Raises:
        ValueError: frames too far apart, a scan too short, or a signal that cannot be scaled.
    """
    _check_frames(scan, protocol)
    convert = _from_concentration if scan.quantity == "concentration" else _from_signal
    signal = convert(scan, protocol, conversion)
    grid = np.arange(protocol.frames) * protocol.frame_interval_s / units.SECONDS_PER_MINUTE
    curves = signal.curves
    step = protocol.frame_interval_s / units.SECONDS_PER_MINUTE
    resampled = scan.times.size != grid.size or bool(np.abs(scan.times - grid).max() > _GRID_TOLERANCE * step)
    if resampled:
        curves = _resample(curves, scan.times, grid)
    if signal.scale is None:
        percentile = protocol.scale_percentile
        scale, scaled_by = float(np.percentile(curves, percentile)), f"{percentile:g}th percentile"
    else:
        scale, scaled_by = signal.scale, "blood signal at the arterial peak"
    if not scale > 0:
        raise ValueError(
            f"{scan.case_id}: expected signal above zero in the mask, found a {scaled_by} of {scale:g}; check the "
            "image, or --input_quantity"
        )
    provenance = {
        "input": signal.provenance,
        "resampling": {
            "method": "linear" if resampled else "none",
            "frames": protocol.frames,
            "frame_interval_s": protocol.frame_interval_s,
            "frames_found": int(scan.times.size),
            "duration_found_s": round(float(scan.times[-1] * units.SECONDS_PER_MINUTE), 6),
        },
        "scaling": {"divided_by": scale, "rule": scaled_by},
    }
    warnings = (*signal.warnings, *_geometry_warnings(scan.affine))
    return Series((curves / np.float32(scale)).astype(np.float32), scan.mask, scale, warnings, provenance)
