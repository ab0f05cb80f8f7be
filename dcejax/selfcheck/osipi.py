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
    """What OSIPI allows of a parameter: an absolute error, and a share of the value added to it."""

    absolute: float
    relative: float
    unit: str


# Flows here in 1/min, in the files in mL/(100 mL min).
_TOLERANCES = {
    "ktrans": _Tolerance(0.005, 0.1, "1/min in Ktrans"),
    "ps": _Tolerance(0.005, 0.1, "1/min in PS"),
    "fp": _Tolerance(0.05, 0.1, "1/min in Fp"),
    "ve": _Tolerance(0.05, 0.0, "in ve"),
    "vp": _Tolerance(0.025, 0.0, "in vp"),
}
_DELAY_TOLERANCE_S = 1.0
_HIGH_SNR = "highSNR"  # in the labels of rows that a right model fits ten times better than OSIPI asks


class Curves(NamedTuple):
    """A file of curves with known parameters."""

    path: str  # with {delay} in s where there is a file for each
    model: TracerModel
    columns: tuple[str, ...]  # of the model's parameters, in their order
    concentration: str = "C_t"
    plasma: str = "cp_aif"
    frames_of_delay: int = 0  # by which the curve is shifted where there is no file with a delay

    def rows(self, folder: Path, delay: int) -> list[dict[str, str]]:
        """Rows of the file with a delay in s."""
        return rows(folder / "osipi/DCEmodels/data" / self.path.format(delay=delay))

    def truth(self, row: dict[str, str]) -> dict[str, float]:
        """The parameters that made the curve of a row."""
        values = {name: float(row[key]) for name, key in zip(self.model.params._fields, self.columns, strict=True)}
        return {name: value / (100.0 if name == "fp" else 1.0) for name, value in values.items()}


CURVES = {
    "Tofts": Curves("dce_DRO_data_tofts.csv", models.TOFTS, ("Ktrans", "ve"), "C", "ca", 10),
    "extended Tofts": Curves(
        "dce_DRO_data_extended_tofts.csv", models.EXTENDED_TOFTS, ("Ktrans", "vp", "ve"), "C", "ca", 5
    ),
    "Patlak": Curves("patlak_sd_0.02_delay_{delay}.csv", models.PATLAK, ("ps", "vp")),
    "2CUM": Curves("2cum_sd_0.0025_delay_{delay}.csv", models.TWO_COMPARTMENT_UPTAKE, ("fp", "ps", "vp")),
    "2CXM": Curves("2cxm_sd_0.001_delay_{delay}.csv", models.TWO_COMPARTMENT_EXCHANGE, ("fp", "ps", "vp", "ve")),
}
"""OSIPI's curves by the name of their model."""


def _fits(folder: Path, *, source: Curves, delay: int) -> Iterator[Finding]:
    def arterial(row):
        return row["t"], row[source.plasma]

    # Rows that share an arterial input, as those of one noise level do, are fitted at once.
    for (times, plasma), group in groupby(sorted(source.rows(folder, delay), key=arterial), key=arterial):
        members = list(group)
        curves = np.stack([numbers(row[source.concentration]) for row in members])
        if delay and source.frames_of_delay:
            curves = np.pad(curves, ((0, 0), (source.frames_of_delay, 0)))[:, : -source.frames_of_delay]
        found = fit(source.model, curves, numbers(times) / SECONDS_PER_MINUTE, numbers(plasma), fit_delay=delay > 0)
        for i, row in enumerate(members):
            stricter = 0.1 if _HIGH_SNR in row["label"] else 1.0
            for name, true in source.truth(row).items():
                allowed = _TOLERANCES[name]
                error = abs(float(getattr(found.params, name)[i]) - true)
                tolerance = stricter * (allowed.absolute + allowed.relative * true)
                yield Finding(row["label"], error, tolerance, allowed.unit)
            if delay:
                error = abs(float(found.delay[i]) * SECONDS_PER_MINUTE - delay)
                yield Finding(row["label"], error, stricter * _DELAY_TOLERANCE_S, "s of delay")


def _at_truth(folder: Path) -> Iterator[Finding]:
    """Root mean square of the data less the model at the true parameters."""
    cases = [("Tofts", 0, 4.5e-4), ("extended Tofts", 0, 2e-4)]
    # Noise of known standard deviation, estimated from 600 frames: 3 % within one standard error.
    noise = {"Patlak": 0.02, "2CXM": 0.001, "2CUM": 0.0025}
    cases += [(name, delay, 1.15 * sd) for delay in (0, 5) for name, sd in noise.items()]
    for name, delay, tolerance in cases:
        source = CURVES[name]
        # The curves of the uptake model flow back a little: they were made with the exchange model.
        other = kinetics.two_compartment_exchange if name == "2CUM" else None
        model = jax.jit(other or source.model.curve)
        for row in source.rows(folder, delay):
            if source.frames_of_delay and _HIGH_SNR not in row["label"]:
                continue
            truth = source.truth(row)
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


def _t1(folder: Path, *, method: Callable, sources: tuple[tuple[_FlipAngles, float], ...]) -> Iterator[Finding]:
    """R1 of every voxel, within a share of OSIPI's tolerance for each source."""
    for source, share in sources:
        table = rows(folder / "osipi/T1_mapping/data" / source.file)
        signal, degrees, tr = (np.stack([numbers(row[key]) for row in table]) for key in ("s", "FA", "TR"))
        if (degrees != degrees[0]).any() or (tr != tr[0, 0]).any():
            raise ValueError(f"{source.file}: expected one set of flip angles and one TR, found several")
        b1 = column(table, "B1") / 100.0 if source is _PROSTATE_B1 else 1.0
        tr_min = tr[0, 0] * source.ms_per_tr_unit / units.MILLISECONDS_PER_MINUTE
        found = method(signal, np.deg2rad(degrees[0]), tr_min, b1=b1)
        good, minutes = np.asarray(found.status) == T1Status.OK, np.asarray(found.t1)
        r1 = np.divide(1.0, SECONDS_PER_MINUTE * minutes, out=np.full(good.shape, np.nan), where=good)
        for row, ours in zip(table, r1, strict=True):
            value = float(row[source.column])
            expected = 1e3 / value if source.r1_per_s is None else value * source.r1_per_s
            tolerance = share * (0.05 + 0.05 * expected)
            yield Finding(row["label"], abs(float(ours) - expected), tolerance, "1/s in R1")


def _words(source: Curves, delay: int) -> str:
    parts = []
    for absolute, relative, unit in map(_TOLERANCES.get, source.model.params._fields):
        name = unit.rpartition("in ")[2]
        parts.append(f"{name} {absolute:g}" + (f" + {100 * relative:g} %" if relative else ""))
    parts += [f"delay {_DELAY_TOLERANCE_S:g} s"] if delay else []
    return ", ".join(parts) + ("; a tenth at high SNR" if source.frames_of_delay else "")


_R1_TOLERANCE, _SAME_FIT = "R1 0.05 /s + 5 %", "; a hundredth of it against the same fit"
_LOW_SNR = {
    "Pat5_voxel5_prostaat": "a voxel of low SNR whose linear fit differs from the nonlinear reference, for OSIPI too"
}

CHECKS = (
    Check("OSIPI curves at their true parameters", "Tofts 4.5e-4, extended Tofts 2e-4 mM; noise + 15 %", _at_truth),
    *(
        Check(f"OSIPI {name}, {'delayed' if delay else 'not delayed'}", _words(source, delay), measure)
        for delay in (0, 5)
        for name, source in CURVES.items()
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
    *(
        Check(f"OSIPI T1, {name}", _R1_TOLERANCE + remark, partial(_t1, method=method, sources=sources), known)
        for name, remark, method, sources, known in (
            ("nonlinear", _SAME_FIT, t1_nonlinear, ((_BRAIN, 0.01), (_QIBA, 1.0), (_PROSTATE, 0.01)), {}),
            ("nonlinear with B1", _SAME_FIT, t1_nonlinear, ((_PROSTATE_B1, 0.01),), {}),
            ("linear", "", t1_linear, ((_BRAIN, 1.0), (_QIBA, 1.0), (_PROSTATE, 1.0)), _LOW_SNR),
            ("linear against linear", _SAME_FIT, t1_linear, ((_PROSTATE_LINEAR, 0.01),), {}),
        )
    ),
)
