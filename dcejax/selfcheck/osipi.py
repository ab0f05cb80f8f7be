"""OSIPI's reference values: kinetic models, arterial inputs, signal to concentration, T1.

Files and tolerances are those of OSIPI's DCE-DSC-MRI_CodeCollection.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from dcejax.physics import kinetics, units
from dcejax.physics import tracer_models as models
from dcejax.physics.aif import georgiou, mcgrath, parker
from dcejax.physics.fitting import fit
from dcejax.physics.kinetics import TwoCompartmentExchange
from dcejax.physics.relaxometry import t1_linear, t1_nonlinear
from dcejax.physics.signal import spgr_to_concentration
from dcejax.physics.tracer_models import TracerModel
from dcejax.physics.units import SECONDS_PER_MINUTE
from dcejax.selfcheck.check import Check, Finding, largest
from dcejax.selfcheck.reference_data import column, numbers, rows
from dcejax.types import T1Status


class _Tolerance(NamedTuple):
    """What OSIPI allows of a parameter."""

    title: str
    absolute: float
    relative: float
    unit: str


# Flows here in 1/min, in the files in mL/(100 mL min).
_TOLERANCES = {
    "ktrans": _Tolerance("Ktrans", 0.005, 0.1, "1/min in Ktrans"),
    "ps": _Tolerance("PS", 0.005, 0.1, "1/min in PS"),
    "fp": _Tolerance("Fp", 0.05, 0.1, "1/min in Fp"),
    "ve": _Tolerance("ve", 0.05, 0.0, "in ve"),
    "vp": _Tolerance("vp", 0.025, 0.0, "in vp"),
}
_DELAY_TOLERANCE_S = 1.0
_HIGH_SNR = "highSNR"  # in the labels of rows that a right model fits ten times better than OSIPI asks


class _Curves(NamedTuple):
    """A file of curves with known parameters."""

    path: str  # with {delay} in s where there is a file for each
    model: TracerModel
    columns: dict[str, str]  # parameter -> column
    concentration: str
    plasma: str
    frames_of_delay: int = 0  # by which the curve is shifted where there is no file with a delay


_TOFTS = _Curves("dce_DRO_data_tofts.csv", models.TOFTS, {"ktrans": "Ktrans", "ve": "ve"}, "C", "ca", 10)
_EXTENDED_TOFTS = _Curves(
    "dce_DRO_data_extended_tofts.csv",
    models.EXTENDED_TOFTS,
    {"ktrans": "Ktrans", "vp": "vp", "ve": "ve"},
    "C",
    "ca",
    5,
)
_PATLAK = _Curves("patlak_sd_0.02_delay_{delay}.csv", models.PATLAK, {"ktrans": "ps", "vp": "vp"}, "C_t", "cp_aif")
_UPTAKE = _Curves(
    "2cum_sd_0.0025_delay_{delay}.csv",
    models.TWO_COMPARTMENT_UPTAKE,
    {"fp": "fp", "ps": "ps", "vp": "vp"},
    "C_t",
    "cp_aif",
)
_EXCHANGE = _Curves(
    "2cxm_sd_0.001_delay_{delay}.csv",
    models.TWO_COMPARTMENT_EXCHANGE,
    {"fp": "fp", "ps": "ps", "vp": "vp", "ve": "ve"},
    "C_t",
    "cp_aif",
)


def _read(source: _Curves, folder: Path, delay: int) -> list[dict[str, str]]:
    return rows(folder / "osipi/DCEmodels/data" / source.path.format(delay=delay))


def _truth(source: _Curves, row: dict[str, str]) -> dict[str, float]:
    return {name: float(row[key]) / (100.0 if name == "fp" else 1.0) for name, key in source.columns.items()}


def _fits(folder: Path, *, source: _Curves, delay: int) -> Iterator[Finding]:
    def arterial(row):
        return row["t"], row[source.plasma]

    # Rows that share an arterial input, as those of one noise level do, are fitted at once.
    for (times, plasma), group in groupby(sorted(_read(source, folder, delay), key=arterial), key=arterial):
        members = list(group)
        curves = np.stack([numbers(row[source.concentration]) for row in members])
        if delay and source.frames_of_delay:
            curves = np.pad(curves, ((0, 0), (source.frames_of_delay, 0)))[:, : -source.frames_of_delay]
        found = fit(source.model, curves, numbers(times) / SECONDS_PER_MINUTE, numbers(plasma), fit_delay=delay > 0)
        for i, row in enumerate(members):
            stricter = 0.1 if _HIGH_SNR in row["label"] else 1.0
            for name, true in _truth(source, row).items():
                allowed = _TOLERANCES[name]
                error = abs(float(getattr(found.params, name)[i]) - true)
                tolerance = stricter * (allowed.absolute + allowed.relative * true)
                yield Finding(row["label"], error, tolerance, allowed.unit)
            if delay:
                error = abs(float(found.delay[i]) * SECONDS_PER_MINUTE - delay)
                yield Finding(row["label"], error, stricter * _DELAY_TOLERANCE_S, "s of delay")


def _at_truth(folder: Path) -> Iterator[Finding]:
    """Root mean square of the data less the model at the true parameters."""
    cases = [(_TOFTS, 0, None, 4.5e-4), (_EXTENDED_TOFTS, 0, None, 2e-4)]
    for delay in (0, 5):
        # Noise of known standard deviation, estimated from 600 frames: 3 % within one standard error.
        cases += [(_PATLAK, delay, None, 1.15 * 0.02), (_EXCHANGE, delay, None, 1.15 * 0.001)]
        # The curves of the uptake model flow back a little: they were made with the exchange model.
        cases += [(_UPTAKE, delay, kinetics.two_compartment_exchange, 1.15 * 0.0025)]
    for source, delay, other, tolerance in cases:
        model = jax.jit(other or source.model.curve)
        table = _read(source, folder, delay)
        for row in table:
            if source.frames_of_delay and _HIGH_SNR not in row["label"]:
                continue
            truth = _truth(source, row)
            params = TwoCompartmentExchange(**truth, ve=1.0) if other else source.model.params(**truth)
            times, plasma, measured = (numbers(row[key]) for key in ("t", source.plasma, source.concentration))
            found = model(params, times / SECONDS_PER_MINUTE, plasma, delay=delay / SECONDS_PER_MINUTE)
            error = float(np.sqrt(np.mean((np.asarray(found) - measured) ** 2)))
            yield Finding(f"{source.model.name} {row['label']}", error, tolerance, "mM RMSE")


def _population_input(folder: Path, *, ours: Callable, file: str, per_minute: float = 1.0) -> Iterator[Finding]:
    table = rows(folder / "osipi/PopulationAIF_DCE/data" / file)
    arrival = column(table, "delay") / SECONDS_PER_MINUTE if "delay" in table[0] else 0.0
    times, blood = column(table, "time") / per_minute, column(table, "Cb")
    found = np.asarray(ours(times, arrival=arrival, hematocrit=0.0))
    labels = np.array([row["label"] for row in table])
    for label in dict.fromkeys(labels.tolist()):
        chosen = labels == label
        yield largest(label, found[chosen], blood[chosen], absolute=1e-4, relative=0.01, unit="mM")


def _conversions(folder: Path) -> Iterator[Finding]:
    for row in rows(folder / "osipi/SI_to_Conc/data/SI2Conc_data.csv"):
        signal, expected = numbers(row["s"]), numbers(row["conc"])
        protocol = units.acquisition(float(row["TR"]) * 1e3, float(row["FA"]), float(row["r1"]))
        baseline = signal[1 : int(row["numbaselinepts"])].mean()
        found = spgr_to_concentration(signal, baseline, float(row["T1base"]) / SECONDS_PER_MINUTE, protocol)
        yield largest(row["label"], found[1:], expected[1:], absolute=1e-5, relative=1e-5, unit="mM")


class _FlipAngles(NamedTuple):
    """A column of reference values of T1 or R1."""

    file: str
    column: str
    ms_per_tr_unit: float
    r1_per_s: float | None  # R1 in 1/s of one unit of the column; None where the column holds T1 in ms


_BRAIN = _FlipAngles("t1_brain_data.csv", "R1", 1e3, 1.0)
_QIBA = _FlipAngles("t1_quiba_data.csv", "R1", 1e3, 1e3)
_PROSTATE = _FlipAngles("t1_prostate_data.csv", "T1 nonlinear", 1.0, None)
_PROSTATE_LINEAR = _PROSTATE._replace(column="T1 linear")
_PROSTATE_B1 = _PROSTATE._replace(column="T1 nonlinear B1cor")


def _t1(
    folder: Path, *, method: Callable, sources: tuple[tuple[_FlipAngles, float], ...], with_b1: bool = False
) -> Iterator[Finding]:
    """R1 of every voxel, within a share of OSIPI's tolerance for each source."""
    for source, share in sources:
        table = rows(folder / "osipi/T1_mapping/data" / source.file)
        signal, degrees, tr = (np.stack([numbers(row[key]) for row in table]) for key in ("s", "FA", "TR"))
        if (degrees != degrees[0]).any() or (tr != tr[0, 0]).any():
            raise ValueError(f"{source.file}: expected one set of flip angles and one TR, found several")
        b1 = column(table, "B1") / 100.0 if with_b1 else 1.0
        tr_min = tr[0, 0] * source.ms_per_tr_unit / units.MILLISECONDS_PER_MINUTE
        found = method(signal, np.deg2rad(degrees[0]), tr_min, b1=b1)
        good, minutes = np.asarray(found.status) == T1Status.OK, np.asarray(found.t1)
        r1 = np.divide(1.0, SECONDS_PER_MINUTE * minutes, out=np.full(good.shape, np.nan), where=good)
        for row, ours in zip(table, r1, strict=True):
            value = float(row[source.column])
            expected = 1e3 / value if source.r1_per_s is None else value * source.r1_per_s
            tolerance = share * (0.05 + 0.05 * expected)
            yield Finding(row["label"], abs(float(ours) - expected), tolerance, "1/s in R1")


def _words(source: _Curves, delay: int) -> str:
    parts = []
    for title, absolute, relative, _ in map(_TOLERANCES.get, source.columns):
        parts.append(f"{title} {absolute:g}" + (f" + {100 * relative:g} %" if relative else ""))
    parts += [f"delay {_DELAY_TOLERANCE_S:g} s"] if delay else []
    return ", ".join(parts) + ("; a tenth at high SNR" if source.frames_of_delay else "")


_MODELS = {
    "Tofts": _TOFTS,
    "extended Tofts": _EXTENDED_TOFTS,
    "Patlak": _PATLAK,
    "2CUM": _UPTAKE,
    "2CXM": _EXCHANGE,
}
_R1_TOLERANCE = "R1 0.05 /s + 5 %"
_SAME_FIT = "; a hundredth of it against the same fit"
_LOW_SNR = {
    "Pat5_voxel5_prostaat": "a voxel of low SNR whose linear fit differs from the nonlinear reference, for OSIPI too"
}

CHECKS = (
    Check("OSIPI curves at their true parameters", "Tofts 4.5e-4, extended Tofts 2e-4 mM; noise + 15 %", _at_truth),
    *(
        Check(f"OSIPI {name}, {'delayed' if delay else 'not delayed'}", _words(source, delay), measure)
        for delay in (0, 5)
        for name, source in _MODELS.items()
        for measure in [partial(_fits, source=source, delay=delay)]
    ),
    *(
        Check(f"OSIPI {name}", "1e-4 mM + 1 %", partial(_population_input, ours=ours, file=file, per_minute=per_minute))
        for name, ours, file, per_minute in (
            ("Parker input", parker, "ParkerAIF_ref.csv", 1.0),
            ("Parker input, delayed", parker, "ParkerAIF_ref_with_delay.csv", 1.0),
            ("Georgiou input", georgiou, "GeorgiouAIF_ref.csv", 1.0),
            ("McGrath input", mcgrath, "preclinicalAIF_ref.csv", SECONDS_PER_MINUTE),
            ("McGrath input, delayed", mcgrath, "preclinicalAIF_ref_delay.csv", SECONDS_PER_MINUTE),
        )
    ),
    Check("OSIPI signal to concentration", "1e-5 mM + 1e-5", _conversions, x64=True),
    Check(
        "OSIPI T1, nonlinear",
        _R1_TOLERANCE + _SAME_FIT,
        partial(_t1, method=t1_nonlinear, sources=((_BRAIN, 0.01), (_QIBA, 1.0), (_PROSTATE, 0.01))),
    ),
    Check(
        "OSIPI T1, nonlinear with B1",
        _R1_TOLERANCE + _SAME_FIT,
        partial(_t1, method=t1_nonlinear, sources=((_PROSTATE_B1, 0.01),), with_b1=True),
    ),
    Check(
        "OSIPI T1, linear",
        _R1_TOLERANCE,
        partial(_t1, method=t1_linear, sources=((_BRAIN, 1.0), (_QIBA, 1.0), (_PROSTATE, 1.0))),
        known=_LOW_SNR,
    ),
    Check(
        "OSIPI T1, linear against linear",
        _R1_TOLERANCE + _SAME_FIT,
        partial(_t1, method=t1_linear, sources=((_PROSTATE_LINEAR, 0.01),)),
    ),
)
