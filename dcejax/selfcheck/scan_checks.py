"""Published results of real scans, and phantoms, that dcejax must reproduce."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from dcejax.data import aif_csv, nifti
from dcejax.physics import units
from dcejax.physics.fitting import fit
from dcejax.physics.relaxometry import t1_nonlinear
from dcejax.physics.signal import invert_spgr, spgr, spgr_to_concentration
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.selfcheck.check import Check, Finding, largest
from dcejax.selfcheck.reference_data import numbers
from dcejax.types import T1Status


def _glioblastoma(folder: Path, *, visit: int) -> Iterator[Finding]:
    """Linear extended Tofts after negative values are set to zero, where the concentration exceeds 0.01 mM."""
    case = folder / "glioblastoma_rrift" / f"TCGA-06-0185-{visit}"

    def beside(suffix: str) -> Path:
        return case.with_name(f"{case.name}_{suffix}")

    arterial = aif_csv.read(beside("aif.csv"))
    series = nifti.read_series(beside("concentration.nii.gz"))
    inside = nifti.read_mask(beside("tumour_mask.nii.gz"), series) & (series.values.max(-1) > 0.01)
    curves, plasma = np.maximum(series.values[inside], 0.0), np.maximum(arterial.plasma, 0.0)
    ktrans, vp, ve = fit("extended_tofts", curves, arterial.times, plasma, method="linear").params
    kep = np.divide(ktrans, ve, out=np.zeros_like(ve), where=ve != 0)
    for name, found, tolerance, unit in (
        ("Ktrans", ktrans, 1e-5, "1/min in Ktrans"),
        ("kep", kep, 2e-4, "1/min in kep"),
        ("vp", vp, 1e-5, "in vp"),
    ):
        published = nifti.read_volume(beside(f"published_linear_{name}.nii.gz"), "map", series).values[inside]
        yield largest(f"{name} of {inside.sum()} voxels", found, published, absolute=tolerance, unit=unit)


def _stroke(folder: Path) -> Iterator[Finding]:
    """Tissue and vessel of a mild stroke: signal with T2* decay to concentration, Patlak from the eighth frame on."""
    protocol = units.acquisition(tr_ms=3.4, flip_angle_deg=15.0, relaxivity_per_mM_s=5.0)
    protocol = protocol._replace(te=1.7 / units.MILLISECONDS_PER_MINUTE, r2_star_relaxivity=7.1 * SECONDS_PER_MINUTE)

    def concentration(region: str) -> np.ndarray:
        signal, t1, b1 = (
            numbers((folder / "sepal_roi" / f"{name}_{region}.csv").read_text()) for name in ("signal", "t1", "k")
        )
        return np.asarray(spgr_to_concentration(signal, signal[:3].mean(), t1 / SECONDS_PER_MINUTE, protocol, b1=b1))

    times = (np.arange(32) + 0.5) * 39.6 / SECONDS_PER_MINUTE
    plasma = concentration("vif") / (1.0 - 0.395)
    found = fit("patlak", concentration("tissue")[None], times, plasma, weights=(np.arange(32) >= 7).astype(float))
    yield largest("vp", found.params.vp[0], 0.0139, absolute=0.0002, unit="in vp")
    yield largest("PS", found.params.ktrans[0], 1.87e-4, absolute=0.03e-4, unit="1/min in PS")


def _qiba(folder: Path) -> Iterator[Finding]:
    """Signal of QIBA's digital reference object 6, stored in whole numbers, to Ktrans and ve."""
    with np.load(folder / "qiba_v6/qiba6.npz") as stored:
        data = dict(stored)
    protocol = units.acquisition(*(float(data[name][0]) for name in ("tr_s", "flip_deg", "relaxivity")))
    protocol = protocol._replace(tr=float(data["tr_s"][0]) / SECONDS_PER_MINUTE)
    signal = data["signal"].reshape(-1, data["t_s"].size)
    t10 = 1.0 / (SECONDS_PER_MINUTE * data["R10_per_s"].reshape(-1, 1))
    curves = spgr_to_concentration(signal, signal[:, :1], t10, protocol)
    # Before the bolus the stored input holds rounding errors of either sign.
    plasma = np.maximum(data["cp_plasma_mM"], 0.0)
    found = fit("tofts", curves, data["t_s"] / SECONDS_PER_MINUTE, plasma).params
    pairs = [(ktrans, ve) for ktrans in data["ktrans_rows"] for ve in data["ve_columns"]]
    for i, (ktrans, ve) in enumerate(pairs):
        case = f"Ktrans {ktrans:g} /min, ve {ve:g}"
        yield largest(case, found.ktrans[i], ktrans, relative=0.005, unit="1/min in Ktrans")
        yield largest(case, found.ve[i], ve, relative=0.005, unit="in ve")


def _breast(folder: Path) -> Iterator[Finding]:
    """A real slice without a known truth: properties that hold for any truth."""
    folder = folder / "breast_dcemri"
    facts = json.loads((folder / "acquisition.json").read_text(encoding="utf-8"))
    angles = np.array(facts["vfa_flip_angles_deg"])
    series = nifti.read_series(folder / "dce_signal.nii.gz").values
    flips = nifti.read_series(folder / "vfa_signal.nii.gz").values
    tissue = (flips.min(-1) > 0) & (flips.max(-1) > 0.1 * np.percentile(flips, 99))
    t1 = t1_nonlinear(flips[tissue], np.deg2rad(angles), facts["tr_s"] / SECONDS_PER_MINUTE)
    status, seconds = np.asarray(t1.status), np.asarray(t1.t1) * SECONDS_PER_MINUTE
    good = status == T1Status.OK
    yield Finding("voxels with a T1", float(1.0 - good.mean()), 0.02, "without")
    yield largest("median T1", np.median(seconds[good]), 0.9, absolute=0.5, unit="s")

    # The dynamic series begins as one of the flip-angle series: same TR, same angle, before the agent.
    protocol = units.acquisition(facts["tr_s"] * 1e3, facts["dce_flip_angle_deg"], facts["relaxivity_per_mM_s"])
    signal, native, s0 = series[tissue][good], np.asarray(t1.t1)[good], np.asarray(t1.s0)[good]
    ratio = np.median(signal[:, 0] / np.asarray(spgr(0.0, native, protocol, s0=s0)))
    yield largest("first frame as predicted from T1 and S0", ratio, 1.0, absolute=0.05, unit="of the signal")

    arterial = aif_csv.read(folder / "aif.csv")
    found = invert_spgr(signal, signal[:, :1], native[:, None], protocol)
    curves = np.asarray(found.concentration)
    result = fit("extended_tofts", curves, arterial.times, np.maximum(arterial.plasma, 0.0))
    values = np.stack([*result.params, *result.se, result.residual])
    yield Finding("estimates that are no number", float((~np.isfinite(values)).sum()), 0.0, "values")
    low, high = np.array([(0.0, 5.0), (0.0, 1.0), (0.0, 1.0)]).T
    params = np.stack(result.params, -1)
    yield Finding("estimates beyond bounds", float(((params < low) | (params > high + 1e-5)).sum()), 0.0, "values")
    silence = (np.nan_to_num(curves) ** 2).sum(-1)
    worse = np.isfinite(curves).all(-1) & (result.residual > silence * (1.0 + 1e-4) + 1e-9)
    yield Finding("fits worse than no enhancement", float(worse.sum()), 0.0, "voxels")


def _phantom(folder: Path) -> Iterator[Finding]:
    """Labels of the Bosca-Jackson phantom: background and seven tissues."""
    path = folder / "brain_phantom/labels.nii.gz"
    grid = nifti.Image(path, np.empty((256, 256, 12, 1), np.float32), np.eye(4), None)
    labels = nifti.read_labels(path, grid)
    present = np.isin(np.arange(8), labels)
    yield Finding("labels 0 to 7", float((~present).sum() + (labels > 7).sum()), 0.0, "labels amiss")


CHECKS = (
    *(
        Check(
            f"published maps of a glioblastoma, visit {visit}",
            "Ktrans 1e-5, kep 2e-4, vp 1e-5, float64",
            partial(_glioblastoma, visit=visit),
            x64=True,
        )
        for visit in (1, 2, 3)
    ),
    Check("published leakage in a mild stroke", "vp 0.0002, PS 3e-6 /min, float64", _stroke, x64=True),
    Check("QIBA phantom 6, signal to Tofts", "0.5 % of Ktrans and ve", _qiba),
    Check("breast slice, T1 to extended Tofts", "plausible, finite, bounded", _breast),
    Check("brain phantom", "labels as documented", _phantom),
)
