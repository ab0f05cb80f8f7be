"""Input of methods that know one acquisition: every scan as signal, on the protocol's time grid, in one unit.

`series_of` turns files into a series, and `encode` turns curves with their context into what the networks see. Training
patches and scans go through the same `encode`, so that both are prepared alike.

Concentration is first turned into the signal that the protocol's own acquisition would have measured, because the
networks know nothing else.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np

from dcejax.batch import Batch
from dcejax.data.aif_csv import MeasuredAif
from dcejax.physics import units
from dcejax.physics.aif import parker
from dcejax.physics.signal import spgr
from dcejax.protocol import Protocol
from dcejax.types import Brightest, Context, Known, Scan, Series

_ACQUISITION_TOLERANCE = 0.10  # the networks were trained for one protocol; beyond this a warning is recorded
_GRID_TOLERANCE = 1e-3  # share of a grid step by which rounded frame times may miss a limit
_VOXELS_PER_CONVERSION = 65_536  # bounds the memory of the conversion to signal
_SMALLEST_MASK_ML = 200.0  # the large vessels decide the scale, and a part of the head may hold none
_VOXEL_RANGE = (0.75, 1.4)  # sizes in a slice, of those that were trained on
_LARGEST_TILT_DEG = 45.0  # between the normals of the slices and of the axial plane


class Beside(NamedTuple):
    """What a user may know beside a scan; None where unknown."""

    relaxivity_per_mM_s: float | None = None
    b1_map: np.ndarray | None = None  # [X, Y, Z], ratio of true to nominal flip angle
    aif: MeasuredAif | None = None
    hematocrit: float | None = None  # of large vessels


NOTHING_BESIDE = Beside()


class _Signal(NamedTuple):
    curves: np.ndarray  # [V, T] on the scan's own frames
    brightest: Brightest
    provenance: dict[str, Any]
    warnings: tuple[str, ...]
    t10: Known | None = None  # that concentration was converted with, and so is known
    b1: Known | None = None


def _check_frames(scan: Scan, protocol: Protocol) -> None:
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


def _masked_or(values: np.ndarray | None, mask: np.ndarray, default: float) -> tuple[np.ndarray, int]:
    """Values [V] of a map in the mask, with the default where the map has none, and the number of such voxels.

    T1 and B1 maps hold zero or NaN where their own fit failed.
    """
    if values is None:
        return np.full(np.count_nonzero(mask), default, np.float32), 0
    inside = values[mask]
    usable = np.isfinite(inside) & (inside > 0)
    return np.where(usable, inside, default).astype(np.float32), int(np.count_nonzero(~usable))


def _geometry_warnings(affine: np.ndarray, trained: tuple[float, ...]) -> list[str]:
    """Tell where slices differ from those that the second network was trained on."""
    warnings = []
    size = np.linalg.norm(affine[:3, :3], axis=0)
    lowest, highest = _VOXEL_RANGE[0] * min(trained[:2]), _VOXEL_RANGE[1] * max(trained[:2])
    if size[:2].min() < lowest or size[:2].max() > highest:
        warnings.append(
            f"voxels of a slice (first two axes) are {size[0]:.3g} x {size[1]:.3g} mm, but the weights were trained on "
            f"{trained[0]:.2g} mm: details may be smoothed or invented; resample the image to {lowest:.2g}-"
            f"{highest:.2g} mm"
        )
    if not abs(affine[2, 2]) >= np.cos(np.deg2rad(_LARGEST_TILT_DEG)) * size[2]:
        warnings.append(
            "slices (along the third axis) are not axial, but the weights were trained on axial slices; reorder the "
            "axes so that the third runs along the body"
        )
    return warnings


def _warnings_of_signal(scan: Scan, protocol: Protocol, beside: Beside) -> list[str]:
    """Tell what the networks' one acquisition and one unit make of a scan of signal."""
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
    unused = [name for name, value in beside._asdict().items() if value is not None]
    if scan.t1_map is not None:
        unused.append("t1_map")
    if unused:
        warnings.append(f"{', '.join(unused)} has no effect on signal input; it serves concentration input")
    return warnings


def _from_signal(scan: Scan, protocol: Protocol, beside: Beside) -> _Signal:
    del beside  # it serves what knows several acquisitions
    curves = scan.values[scan.mask]
    rule = f"{protocol.scale_percentile:g}th percentile"
    provenance = {"quantity": "signal", "scale": rule}
    return _Signal(curves, Brightest(curves, len(curves)), provenance, ())


def _from_concentration(scan: Scan, protocol: Protocol, beside: Beside) -> _Signal:
    relaxivity = beside.relaxivity_per_mM_s or protocol.relaxivity_per_mM_s
    acquisition = units.acquisition(protocol.tr_ms, protocol.flip_angle_deg, relaxivity)
    t10, without_t1 = _masked_or(scan.t1_map, scan.mask, protocol.t10_s / units.SECONDS_PER_MINUTE)
    b1, without_b1 = _masked_or(beside.b1_map, scan.mask, 1.0)
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

    hematocrit = protocol.hematocrit if beside.hematocrit is None else beside.hematocrit
    if beside.aif is None:
        plasma, aif_name = np.asarray(parker(np.linspace(0, 2, 1201), hematocrit=hematocrit)), "Parker"
    else:
        plasma, aif_name = beside.aif.plasma, "file"
    peak = float(plasma.max()) * (1 - hematocrit)
    scale = float(spgr(peak, protocol.blood_t10_s / units.SECONDS_PER_MINUTE, acquisition))
    provenance = {
        "quantity": "concentration",
        "scale": "blood signal at the arterial peak",
        "tr_ms": protocol.tr_ms,
        "flip_angle_deg": protocol.flip_angle_deg,
        "relaxivity_per_mM_s": relaxivity,
        "t10": f"{protocol.t10_s} s" if scan.t1_map is None else "T1 map",
        "b1": "nominal" if beside.b1_map is None else "B1 map",
        "tissue_m0": protocol.tissue_m0,
        "scale_aif": aif_name,
        "scale_peak_blood_mM": round(peak, 6),
        "scale_blood_t10_s": protocol.blood_t10_s,
        "scale_hematocrit": hematocrit,
    }
    brightest = Brightest(np.full((1, scan.times.size), scale, np.float32), 1)
    return _Signal(curves, brightest, provenance, tuple(warnings), Known(t10, True), Known(b1, True))


def _within_frames(aif: MeasuredAif, times: np.ndarray) -> np.ndarray:
    """The arterial input averaged within frames that begin at times [T] on its own clock, in min.

    One that is sampled no finer than the frames is taken for such averages already.
    """
    frame = float(np.median(np.diff(times)))
    if float(np.median(np.diff(aif.times))) > 0.75 * frame:
        return np.interp(times, aif.times, aif.plasma, left=0.0)
    within = times[:, None] + frame * (np.arange(16) + 0.5) / 16
    return np.interp(within, aif.times, aif.plasma, left=0.0).mean(axis=1)


def _known(value: np.ndarray | float | None, absent: np.ndarray | float) -> Known:
    return Known(absent, False) if value is None else Known(value, True)


def series_of(scan: Scan, protocol: Protocol, beside: Beside = NOTHING_BESIDE) -> Series:
    """Bring a scan to signal on its own frames and say what is known about it; provenance has quantity and conversion.

    What is known beside a scan of signal has no effect but a warning.

    Raises:
        ValueError: frames too far apart for the protocol, or a scan too short.
    """
    _check_frames(scan, protocol)
    series = to_signal(scan, protocol, beside)
    warnings = [*series.warnings, *_geometry_warnings(scan.affine, protocol.voxel_mm)]
    if scan.quantity == "signal":
        warnings = [*_warnings_of_signal(scan, protocol, beside), *warnings]
    return replace(series, warnings=tuple(warnings))


def to_signal(scan: Scan, protocol: Protocol, beside: Beside = NOTHING_BESIDE) -> Series:
    """The same for any frames and any geometry."""
    convert = _from_concentration if scan.quantity == "concentration" else _from_signal
    signal = convert(scan, protocol, beside)
    maps = [None if values is None else values[scan.mask] for values in (scan.t1_map, beside.b1_map)]
    plasma = None if beside.aif is None else _within_frames(beside.aif, scan.times + scan.start)
    stated = scan.provenance.get("acquisition", {}) if scan.quantity == "signal" else {}
    context = Context(
        times=scan.times,
        acquisition=units.acquisition(
            stated.get("tr_ms", protocol.tr_ms),
            stated.get("flip_angle_deg", protocol.flip_angle_deg),
            beside.relaxivity_per_mM_s or protocol.relaxivity_per_mM_s,
        ),
        noise_sd=Known(0.0, False),
        aif=_known(plasma, np.zeros_like(scan.times)),
        t10=signal.t10 or _known(maps[0], protocol.t10_s / units.SECONDS_PER_MINUTE),
        b1=signal.b1 or _known(maps[1], 1.0),
        brightest=signal.brightest,
        hematocrit=_known(beside.hematocrit, protocol.hematocrit),
    )
    return Series(signal.curves, scan.mask, context, signal.warnings, {"input": signal.provenance}, scan.affine)


def grid_of(protocol: Protocol) -> np.ndarray:
    """The protocol's frame times, [T] min."""
    return np.arange(protocol.frames) * protocol.frame_interval_s / units.SECONDS_PER_MINUTE


def lies_on_grid(times: np.ndarray, protocol: Protocol) -> bool:
    """Whether frames at times [T] min, on the host, need no interpolation."""
    grid, step = grid_of(protocol), protocol.frame_interval_s / units.SECONDS_PER_MINUTE
    return times.size == grid.size and float(np.abs(times - grid).max()) <= _GRID_TOLERANCE * step


def _resample(curves: Any, times: Any, grid: np.ndarray) -> Any:
    """Interpolate [..., T] linearly from times to grid, both in min from the first frame."""
    xp = curves.__array_namespace__()
    right = xp.clip(xp.searchsorted(times, xp.asarray(grid, dtype=times.dtype)), 1, times.size - 1)
    share = xp.clip((grid - times[right - 1]) / (times[right] - times[right - 1]), 0.0, 1.0).astype(curves.dtype)
    return curves[..., right - 1] * (1 - share) + curves[..., right] * share


def scale_of(brightest: Any, among: Any, percentile: float) -> Any:
    """The percentile (0 to 100) of all values of an examination, of which only the highest are needed.

    Brightest are the curves [P, T] that hold these, among so many curves in all.
    """
    xp = brightest.__array_namespace__()
    others = (among * brightest.shape[1] - 1) / (brightest.size - 1)
    return xp.percentile(brightest, 100 - (100 - percentile) * others)


def _to_grid(curves: Any, times: Any, protocol: Protocol) -> Any:
    """Curves [..., T'] on the protocol's grid, [..., T]; as they are where the frames lie on it."""
    if isinstance(times, np.ndarray) and lies_on_grid(times, protocol):
        return curves
    return _resample(curves, times, grid_of(protocol))


def _scale(context: Context, protocol: Protocol) -> Any:
    """The unit of one examination."""
    brightest = _to_grid(context.brightest.curves, context.times, protocol)
    return scale_of(brightest, context.brightest.among, protocol.scale_percentile)


def encode(curves: Any, context: Context, protocol: Protocol) -> tuple[Any, Any]:
    """Bring the curves of one examination to the protocol's time grid and to the unit of its brightest voxels.

    Curves [..., T'] are signal on the frames of the context. Returns [..., T] in the unit of the scale, and the scale
    in the unit of the signal. Arrays of NumPy and of JAX are taken and given back alike.
    """
    on_grid = _to_grid(curves, context.times, protocol)
    if context.brightest.curves is curves:  # every voxel of a scan: once is enough
        scale = scale_of(on_grid, context.brightest.among, protocol.scale_percentile)
    else:
        scale = _scale(context, protocol)
    return on_grid / scale.astype(curves.dtype), scale


def encode_series(series: Series, protocol: Protocol) -> tuple[np.ndarray, dict[str, Any]]:
    """Encode a series from files: [V, T] float32, and a record of `resampling` and `scaling`.

    Raises:
        ValueError: a signal that cannot be scaled.
    """
    times = series.context.times
    rule = series.provenance.get("input", {}).get("scale", f"{protocol.scale_percentile:g}th percentile")
    with np.errstate(divide="ignore", invalid="ignore"):  # refused below
        curves, scale = encode(series.curves, series.context, protocol)
    if not scale > 0:
        raise ValueError(
            f"expected signal above zero in the mask, found a {rule} of {scale:g}; check the image, or --input_quantity"
        )
    record = {
        "resampling": {
            "method": "none" if lies_on_grid(times, protocol) else "linear",
            "frames": protocol.frames,
            "frame_interval_s": protocol.frame_interval_s,
            "frames_found": int(times.size),
            "duration_found_s": round(float(times[-1] * units.SECONDS_PER_MINUTE), 6),
        },
        "scaling": {"divided_by": float(scale), "rule": rule},
    }
    return curves, record


@jax.jit(static_argnames="protocol")
def encode_batch(batch: Batch, protocol: Protocol) -> jax.Array:
    """Encode every example of a batch as `encode` does, [B, ..., T]; zero outside the mask."""
    shared = batch.context._replace(t10=None, b1=None, points=None)
    scales = jax.vmap(lambda context: _scale(context, protocol))(shared)[batch.row]
    on_grid = jax.vmap(lambda curves, times: _to_grid(curves, times, protocol))(
        batch.curves, batch.context.times[batch.row]
    )
    return on_grid / scales.reshape(-1, *[1] * (on_grid.ndim - 1))
