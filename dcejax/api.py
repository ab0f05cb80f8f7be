"""The public functions of the package: from arrays to arrays, in its units (minutes, mM, 1/min, fractions).

Everything else under `dcejax` can be imported too; these names are kept.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack

import chex
import jax
import numpy as np
from jax.typing import ArrayLike

from dcejax import rng
from dcejax.conventional import plausibility
from dcejax.data import aif_csv, aif_on_scan, loading, nifti, ranges, results, timing
from dcejax.data.aif_csv import MeasuredAif
from dcejax.data.cases import Case, case_id_of
from dcejax.data.facts import Facts
from dcejax.data.weights import load as load_weights
from dcejax.execution.policy import Policy, default_policy
from dcejax.methods import method
from dcejax.methods.fixed_grid import Beside
from dcejax.methods.method import make_stage as make_stage
from dcejax.physics import fitting
from dcejax.physics.fitting import FitResult
from dcejax.physics.tracer_models import TracerModel
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.rng import stream
from dcejax.simulation import cohort_definitions
from dcejax.simulation.priors import TUMOUR_CLASSES
from dcejax.simulation.reference_object.render import render
from dcejax.simulation.reference_object.session import sample_session
from dcejax.simulation.scanner.imaging import SIZES
from dcejax.training.batches import batches as batches
from dcejax.training.step import init_state as init_state
from dcejax.training.step import make_train_step as make_train_step
from dcejax.types import Quantity, Scan, SimulatedScan, Weights

_LONGEST_SCAN_MIN = 120.0  # no patient lies still for longer; times in s read as min are 60 times too long


def _on_host(function: str, instead: str, **arrays: Any) -> None:
    """Refuse values that are being traced by a TypeError, which says which function takes them."""
    traced = [name for name, value in arrays.items() if isinstance(value, jax.core.Tracer)]
    if traced:
        raise TypeError(
            f"dcejax.{function}: expected arrays with values, found {traced[0]} inside jit, vmap or grad; {function} "
            f"works on the host and cannot be traced or differentiated: call it outside, or use {instead}"
        )


def _shaped(name: str, array: Any, rank: int | tuple[int, ...], shape: str) -> None:
    try:
        chex.assert_rank(array, rank if isinstance(rank, int) else set(rank))
    except AssertionError as error:
        raise ValueError(f"{name}: expected shape {shape}, found {np.shape(array)}") from error


def _check_minutes(times: np.ndarray) -> None:
    """Refuse frame times in seconds or milliseconds."""
    timing.check_interval("times", np.asarray(times) * SECONDS_PER_MINUTE)
    if times[-1] - times[0] > _LONGEST_SCAN_MIN:
        raise ValueError(
            f"times: expected frame times in min, found a scan of {times[-1] - times[0]:.4g}; divide times in s by 60"
        )


def _check_t1(t1: np.ndarray) -> None:
    """Refuse T1 in seconds or milliseconds; maps hold zero or NaN where their own fit failed."""
    usable = t1[np.isfinite(t1) & (t1 > 0)]
    median = float(np.median(usable)) if usable.size else 0.0
    if not ranges.SHORTEST_PLAUSIBLE_T1_S <= median * SECONDS_PER_MINUTE <= ranges.LONGEST_PLAUSIBLE_T1_S:
        raise ValueError(
            f"t1_map: expected native T1 in min in the mask's voxels, found a median of {median:.4g}; divide one in s "
            "by 60, one in ms by 60,000"
        )


def make_scan(
    values: ArrayLike,
    times: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    quantity: Quantity = "signal",
    t1_map: ArrayLike | None = None,
    tr_ms: float | None = None,
    flip_angle_deg: float | None = None,
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    case_id: str = "scan",
) -> Scan:
    """A scan from arrays.

    Args:
        values: [X, Y, Z, T] signal in any unit, or concentration in mM.
        times: [T] min.
        mask: [X, Y, Z], above zero inside the brain; everywhere if absent.
        quantity: what the values are.
        t1_map: [X, Y, Z] native T1, min.
        tr_ms: repetition time of the excitations, ms.
        flip_angle_deg: nominal flip angle, degrees.
        voxel_mm: size of a voxel; slices are axial and lie along the third axis.
        case_id: names its files and its random numbers.

    Raises:
        ValueError: shapes that do not fit, frame times that are not in min, or values in the mask that are not finite.
        TypeError: arrays that are being traced.
    """
    _on_host("make_scan", "dcejax.physics", values=values, times=times, mask=mask)
    values, times = np.asarray(values, np.float32), np.asarray(times, np.float64)
    _shaped("values", values, 4, "[X, Y, Z, T]")
    if times.shape != values.shape[3:] or len(times) < 2 or not (np.diff(times) > 0).all():
        raise ValueError(f"times: expected {values.shape[3]} increasing times in min, found shape {times.shape}")
    _check_minutes(times)
    maps = {"mask": mask, "t1_map": t1_map}
    for name, given in maps.items():
        if given is not None and np.shape(given) != values.shape[:3]:
            raise ValueError(f"{name}: expected shape {values.shape[:3]}, found {np.shape(given)}")
    inside = np.ones(values.shape[:3], bool) if mask is None else np.asarray(mask) > 0
    if not np.isfinite(values[inside]).all():
        raise ValueError("values: expected finite values in the mask, found NaN or infinity; take them out of the mask")
    if t1_map is not None:
        _check_t1(np.asarray(t1_map)[inside])
    stated = {"tr_ms": tr_ms, "flip_angle_deg": flip_angle_deg}
    return Scan(
        case_id=case_id,
        values=values,
        quantity=quantity,
        times=times - times[0],
        start=float(times[0]),
        mask=inside,
        affine=np.diag([*voxel_mm, 1.0]).astype(float),
        t1_map=None if t1_map is None else np.asarray(t1_map, np.float32),
        provenance={"acquisition": {name: value for name, value in stated.items() if value is not None}},
    )


class Beside4D(TypedDict, total=False):
    """What is known beside a 4-D NIfTI: files, and numbers in the units of their names, as the flags say."""

    mask: str | Path
    t1_map: str | Path
    segmentation: str | Path
    times: str | Path  # text, one frame time in s per line
    drop_frames: tuple[int, ...]  # from 0 on
    dt_s: float
    tr_ms: float
    flip_angle_deg: float
    input_quantity: Quantity


def open_scan(path: str | Path, **facts: Unpack[Beside4D]) -> Scan:
    """Read a 4-D NIfTI as `dcejax-infer` does.

    Facts are what is known beside it, as the command's flags say.

    Raises:
        ValueError: whatever is wrong with the files.
    """
    paths: dict[str, Any] = {
        name: Path(value) if isinstance(value, str) and name != "input_quantity" else value
        for name, value in facts.items()
    }
    case = Case(case_id_of(Path(path)), Path(path), Facts(**paths))
    scan = loading.load_scan(case)
    loading.require_finite(case, scan)
    return scan


def predict(
    scan: Scan,
    released: Weights | None = None,
    *,
    seed: int = 0,
    aif: tuple[ArrayLike, ArrayLike] | None = None,
    aif_clock: str | None = None,
    b1_map: ArrayLike | None = None,
    hematocrit: float | None = None,
    num_samples: int | None = None,
    policy: Policy | None = None,
) -> dict[str, np.ndarray]:
    """Maps of a scan by the method of some weights, the same as `dcejax-infer` writes.

    Args:
        scan: from `make_scan`, `open_scan` or `simulate`.
        released: from `load_weights`; those in the package if absent.
        seed: root of the random streams.
        aif: times in min and plasma concentration in mM, where the method takes an arterial input; as the command's
            `--aif`.
        aif_clock: "scan" or "frames", as `--aif_clock`.
        b1_map: [X, Y, Z] true over nominal flip angle.
        hematocrit: of large vessels.
        num_samples: in place of the number in the weights' configuration.
        policy: how it is executed; as suits the device if absent.

    Returns:
        Name of an output, such as "mean_Ktrans" -> [X, Y, Z] float32, zero outside the mask.

    Warns:
        UserWarning: what `dcejax-infer` tells, such as that the scan lies outside what the weights were trained on.

    Raises:
        ValueError: a scan that does not suit the method.
    """
    released = load_weights(None) if released is None else released
    config = method.config_of(released, num_samples)
    used = method.of(config)
    measured, told = None, ()
    if aif is not None:
        given = MeasuredAif(*(np.asarray(values, np.float64) for values in aif))
        aif_csv.check("aif", given)
        measured, _, told = aif_on_scan.on_scan(Path("aif"), given, scan.start, scan.times, aif_clock)
    if hematocrit is not None:
        ranges.check_hematocrit(hematocrit, "hematocrit")
    b1 = None if b1_map is None else np.asarray(b1_map, np.float32)
    beside = Beside(b1_map=b1, aif=measured, hematocrit=hematocrit)
    networks = used.load(released.params, config, policy or default_policy())
    series = used.series_of(scan, beside, config)
    found = used.predict(networks, series, stream(seed, "latent", scan.case_id))
    for message in (*scan.warnings, *told, *series.warnings, *found.warnings):
        warnings.warn(f"{scan.case_id}: {message}", stacklevel=2)  # Python shows what it has shown before only once
    return dict(found.maps)


def fit(
    concentration: ArrayLike,
    times: ArrayLike,
    aif: ArrayLike,
    model: str | TracerModel = "extended_tofts",
    **options: Any,
) -> FitResult:
    """Fit a tracer-kinetic model to curves of any number of axes; see `dcejax.physics.fitting.fit`.

    Args:
        concentration: [..., T] tissue concentration, mM.
        times: [T] min.
        aif: [T] arterial plasma concentration, mM.
        model: a name of `dcejax.physics.tracer_models.MODELS`, or a record.
        options: of `fitting.fit`: method, bounds, weights, fit_delay, rates.

    Returns:
        Estimates, standard errors and status, [...] each.

    Raises:
        ValueError: as `fitting.fit`, or units that differ by 60 or 1000.
        TypeError: arrays that are being traced.
    """
    _on_host("fit", "dcejax.physics.forward for gradients", concentration=concentration, times=times, aif=aif)
    concentration, times, aif = np.asarray(concentration), np.asarray(times, np.float64), np.asarray(aif)
    _shaped("times", times, 1, "[T]")
    curves = concentration.reshape(-1, concentration.shape[-1]) if concentration.ndim else concentration
    if curves.ndim != 2 or curves.shape[1] != times.size or aif.shape != times.shape:
        raise ValueError(
            f"expected concentration [..., T], times [T] and aif [T], found {concentration.shape}, {times.shape} and "
            f"{aif.shape}"
        )
    _check_minutes(times)
    aif_on_scan.check_peak("aif", aif)
    plausibility.check_tissue("concentration", curves, aif)
    found = fitting.fit(model, curves, times, aif, **options)
    shape = concentration.shape[:-1]
    return jax.tree.map(lambda leaf: np.reshape(leaf, (*shape, *leaf.shape[1:])), found)


def simulate(
    seed: int = 0, *, diagnosis: int = 0, size: str = "slab", priors: cohort_definitions.ScanPriors | None = None
) -> SimulatedScan:
    """A simulated patient with all that is true about him; the seed decides everything.

    The diagnosis is an index into `dcejax.simulation.priors.TUMOUR_CLASSES`, 0 for glioblastoma; the size is full, half
    or slab. The priors are those of the acquisition, of the published cohort if absent.

    Raises:
        ValueError: no such diagnosis or size.
    """
    if not 0 <= diagnosis < len(TUMOUR_CLASSES):
        raise ValueError(f"diagnosis: expected 0 to {len(TUMOUR_CLASSES) - 1}, found {diagnosis}")
    if size not in SIZES:
        raise ValueError(f"size: expected one of {', '.join(SIZES)}, found {size!r}")
    key = stream(seed, "simulated patient")
    session = sample_session(key, diagnosis, priors or cohort_definitions.ScanPriors())
    return render(rng.fold(key, "noise"), session, SIZES[size], f"simulated-{seed}")


def save_maps(folder: str | Path, scan: Scan, maps: Mapping[str, ArrayLike]) -> list[Path]:
    """Write maps as NIfTI on the grid of a scan, `<case>_desc-<what>_<quantity>.nii.gz`, and return the files.

    Names have an underscore, such as "mean_Ktrans", maps are [X, Y, Z]; the folder is made if absent.

    Raises:
        ValueError: maps of another shape, a name without an underscore, or a folder that cannot be written.
    """
    results.make_folder(Path(folder))
    for name, values in maps.items():
        if "_" not in name or np.shape(values) != scan.mask.shape:
            raise ValueError(
                f"maps: expected names such as mean_Ktrans with shape {scan.mask.shape}, found {name!r} with "
                f"{np.shape(values)}"
            )
    paths = []
    for name, values in maps.items():
        path = results.map_path(Path(folder), scan.case_id, *name.split("_", 1))
        nifti.write(path, np.asarray(values, np.float32), scan.affine, scan.header, f"dcejax {name}")
        paths.append(path)
    return paths
