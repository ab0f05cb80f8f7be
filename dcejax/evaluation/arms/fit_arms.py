"""Conventional arms: what `dcejax-fit` does without flags, with a true or a population's arterial input."""

import time
from dataclasses import asdict

import numpy as np

from dcejax.conventional.concentration import Conversion, baseline_of, to_concentration
from dcejax.evaluation.arms.simple_arms import Description, Maps
from dcejax.evaluation.examinations import Loaded
from dcejax.physics.bolus import arrival_time, baseline_count
from dcejax.physics.fitting import FitStatus
from dcejax.physics.selection import select_carefully
from dcejax.physics.units import SECONDS_PER_MINUTE, acquisition
from dcejax.simulation.reference_object.readers import PRACTICE, Reading, population_reading
from dcejax.simulation.reference_object.session import RELAXIVITY_PER_MM_S
from dcejax.types import SimulatedScan


def _true_input(simulated: SimulatedScan) -> Reading:
    times = simulated.scan.times
    return Reading(simulated.arterial, baseline_count(times, arrival_time(times, simulated.arterial)), {})


def _population_input(simulated: SimulatedScan) -> Reading:
    scan = simulated.scan
    return population_reading(scan.values[scan.mask].mean(axis=0, dtype=np.float64), scan.times)


class Fit:
    """Plasma only, Patlak or extended Tofts with a delay, whichever a voxel of the brain supports, with errors."""

    def __init__(self, name: str, label: str, text: str, *, true_input: bool, true_maps: bool):
        self.description = Description(name, label, "fit", text)
        self._true_input = true_input
        self._true_maps = true_maps

    def identity(self, case_id: str) -> list:
        """What it assumes."""
        return [self._true_input, self._true_maps, asdict(PRACTICE), RELAXIVITY_PER_MM_S]

    def maps(self, loaded: Loaded) -> Maps:
        """Fit; estimates and errors are zero where a curve does not enhance or could not be fitted.

        Raises:
            ValueError: no bolus is seen in the arterial input or the brain.
        """
        start = time.perf_counter()
        simulated = loaded.simulated
        scan = simulated.scan
        given = (_true_input if self._true_input else _population_input)(simulated)
        known = scan.provenance["acquisition"]
        protocol = acquisition(known["tr_ms"], known["flip_angle_deg"], RELAXIVITY_PER_MM_S)
        signal = scan.values[scan.mask]
        if self._true_maps:
            t10, b1 = scan.t1_map[scan.mask], simulated.b1_map[scan.mask]
        else:
            t10, b1 = (np.full(len(signal), value, np.float32) for value in (PRACTICE.t10_s / SECONDS_PER_MINUTE, 1.0))
        baseline = baseline_of(signal, given.frames)
        curves, _ = to_concentration(signal, Conversion(protocol, t10, b1, baseline, given.frames))
        fitting = time.perf_counter()
        found = select_carefully(curves, scan.times, given.plasma).result
        told = found.status < FitStatus.NOT_ENHANCING
        values, sd = np.zeros_like(simulated.truth), np.zeros_like(simulated.truth)
        values[scan.mask] = np.where(told[:, None], np.stack(found.params, axis=-1), 0.0)
        sd[scan.mask] = np.where(told[:, None], np.stack(found.se, axis=-1), 0.0)
        end = time.perf_counter()
        total = None if loaded.seconds is None else loaded.seconds + end - start
        return Maps(values, sd, seconds={"inference": end - fitting, "total": total})


FITS = (
    Fit(
        "fit-true-aif",
        "Fit, true AIF",
        "Plasma only, Patlak or extended Tofts, each with a delay, with the true arterial input, T1 of 1.5 s "
        "everywhere and the nominal flip angle: what readers would find if they measured the artery without error.",
        true_input=True,
        true_maps=False,
    ),
    Fit(
        "fit-oracle",
        "Fit, oracle",
        "The same with the true T1 and flip angle of each voxel, too: what is left is noise, partial volume, the "
        "length of the frames, and what the models leave out, such as dispersion from the artery to the tissue.",
        true_input=True,
        true_maps=True,
    ),
    Fit(
        "fit-population",
        "Fit, population AIF",
        "The same models with Parker's arterial input, brought to the arrival of the series' own bolus, haematocrit "
        "0.45, T1 of 1.5 s: no human and no artery.",
        true_input=False,
        true_maps=False,
    ),
)
