"""Conventional analysis of 4-D DCE-MRI: a tracer-kinetic model fitted to every voxel.

  dcejax-fit --input=PATH... --output_dir=DIR [--mask=FILE --aif=... --model=... ...]

PATH is a 4-D NIfTI, a folder of DICOM, a glob, a BIDS folder or a CSV manifest, of signal (with --tr_ms and
--flip_angle_deg, or a sidecar) or of concentration in mM. For each case DIR receives maps with standard errors, a
status map, R2, the arterial input used, a sidecar (.json) and a picture. Research only; not for clinical decisions.

Without --model, plasma only, Patlak or extended Tofts is chosen for each voxel, with a delay of its own.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, or the only case is bad; 3 some of
several cases are bad (see DIR/cases.jsonl).
"""

from collections.abc import Callable
from dataclasses import fields

from absl import flags

from dcejax.cli import case_flags, command, dicom_input

FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
case_flags.define(FLAGS)
_OWN = {"flag_values": FLAGS}
flags.DEFINE_string("model", None, "One of the models above, or MODULE:RECORD; without it the best of several.", **_OWN)
flags.DEFINE_enum("method", None, ["nlls", "linear"], "Bounded nonlinear least squares, or linear ones.", **_OWN)
flags.DEFINE_boolean(
    "fit_delay", None, "Also fit the arrival in tissue after the AIF, within 10 s (default: yes).", **_OWN
)
flags.DEFINE_boolean(
    "select", None, "Choose the best of the models nested in --model, voxel by voxel (no model).", **_OWN
)
flags.DEFINE_string("aif", None, "FILE.csv, roi:MASK.nii.gz, auto, parker, georgiou or weinmann (auto).", **_OWN)
flags.DEFINE_enum(
    "aif_clock",
    None,
    ["scan", "frames"],
    "Times of --aif=FILE.csv: the scan's own, or one sample a frame (by its samples).",
    **_OWN,
)
flags.DEFINE_float("dispersion_s", None, "Time constant in s of the way from artery to tissue (none).", **_OWN)
flags.DEFINE_float("aif_arrival_s", None, "Start of a population's AIF, s after the first frame (found).", **_OWN)
flags.DEFINE_float("hematocrit", None, "Of large vessels (0.42, for georgiou too).", **_OWN)
flags.DEFINE_float("tr_ms", None, "Repetition time of the excitations in ms.", **_OWN)
flags.DEFINE_float("flip_angle_deg", None, "Nominal flip angle in degrees.", **_OWN)
flags.DEFINE_float("relaxivity", None, "Agent's r1 in 1/(mM s) (4.5).", **_OWN)
flags.DEFINE_string("t1_map", None, "Native T1 in s.", **_OWN)
flags.DEFINE_string("vfa", None, "Signal at several flip angles along the fourth axis, to fit T1.", **_OWN)
flags.DEFINE_string("vfa_flip_angles_deg", None, "Flip angles of --vfa in degrees, such as 2,5,10.", **_OWN)
flags.DEFINE_float("vfa_tr_ms", None, "TR of --vfa in ms (that of the series).", **_OWN)
flags.DEFINE_float("t1_s", None, "One native T1 in s for all tissue (1.5).", **_OWN)
flags.DEFINE_float("blood_t1_s", None, "Native T1 of blood in s, for --aif=roi:... and auto (1.65).", **_OWN)
flags.DEFINE_string("b1_map", None, "True to nominal flip angle.", **_OWN)
flags.DEFINE_integer("baseline_frames", None, "Frames before contrast (found automatically).", **_OWN)
flags.DEFINE_float("te_ms", None, "Echo time in ms, with --r2_star_relaxivity, to allow for T2* decay.", **_OWN)
flags.DEFINE_float("r2_star_relaxivity", None, "Agent's r2* in 1/(mM s), with --te_ms.", **_OWN)
flags.DEFINE_boolean("modelled", None, "Write the modelled series, as large as the input (no).", **_OWN)


def run(values: flags.FlagValues, words: list[str], choose: Callable[[list], list] = list) -> int:
    """What the command does with its flags and other words; `choose` says which of the cases are meant.

    Raises:
        ValueError: bad flags, or the only case is bad.
    """
    inputs = case_flags.inputs(values, words)
    if not inputs:
        raise ValueError("--input: expected a NIfTI, glob, BIDS folder or manifest, found none; give one")
    from dcejax.conventional.fit_facts import FitFacts
    from dcejax.data import cases

    facts, how = case_flags.facts(values, FitFacts), case_flags.run_settings(values)
    read = dicom_input.resolve(values, inputs, how)
    found = choose(cases.enumerate_cases(read.inputs, facts))
    cases.refuse_missing(found)  # before what takes seconds to import
    from dcejax.conventional.fit_settings import FitSettings

    shaping = {field.name: values[field.name].value for field in fields(FitSettings) if field.name in values}
    settings = FitSettings(**{name: value for name, value in shaping.items() if value is not None})
    from dcejax.cli.console import Console
    from dcejax.runner import fit_cases

    with Console(quiet=values.quiet) as report:
        return max(read.code, fit_cases.run(found, settings, how, report, read.maps))


def _about() -> str:
    """What the help says above the flags, with the models that there are."""
    from dcejax.physics.tracer_models import MODELS

    def line(model):
        maps = ", ".join(quantity.name for quantity in model.quantities)
        nested = f" (--select: {', '.join(each.name for each in model.nested)})" if model.nested else ""
        return f"  {model.name:26}{maps}: {model.description}{nested}"

    own = "A model of your own is a record as in dcejax/physics/tracer_models.py, in a module that Python can import."
    return "\n".join([__doc__, "Models (--model):", *map(line, MODELS.values()), own, ""])


main = command.entry_point(run, FLAGS, _about)

if __name__ == "__main__":
    main()
