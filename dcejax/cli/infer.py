"""Pharmacokinetic maps from 4-D DCE-MRI by a network, with their uncertainty.

  infer.py --demo
  infer.py --input=PATH... --output_dir=DIR [--mask=FILE ...]

PATH is a 4-D NIfTI, a folder of DICOM, a glob, a BIDS folder or a CSV manifest. For each case DIR receives maps of
Ktrans (1/min), vp and ve (fractions 0-1) and of their uncertainty, as the weights give them (by default the median, 5
and 95 % quantiles and more), a sidecar (.json) and a picture. Research only; not for clinical decisions.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, or the only case is bad; 3 some of
several cases are bad (see DIR/cases.jsonl).
"""

from collections.abc import Callable

from absl import flags

from dcejax.cli import case_flags, command, compilation_cache, dicom_input

FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
_DEMO_DIR = "output/demo"
case_flags.define(FLAGS)
_OWN = {"flag_values": FLAGS}
flags.DEFINE_boolean("demo", False, f"Simulate a patient, compare with the truth, in {_DEMO_DIR}.", **_OWN)
flags.DEFINE_string("weights", None, "Weights (.npz with its .json), default-v5 or paper-v1 (default-v5).", **_OWN)
flags.DEFINE_string("t1_map", None, "Native T1 in s, where it is known.", **_OWN)
flags.DEFINE_string("b1_map", None, "True to nominal flip angle, where it is known.", **_OWN)
flags.DEFINE_float("tr_ms", None, "Repetition time of the excitations in ms; from the sidecar if absent.", **_OWN)
flags.DEFINE_float("flip_angle_deg", None, "Flip angle in degrees; from the sidecar if absent.", **_OWN)
flags.DEFINE_float("relaxivity", None, "Agent's r1 in 1/(mM s); 4.5 if absent.", **_OWN)
flags.DEFINE_string("aif", None, "CSV time_min|time_s,cp_plasma_mM, where the arterial input is known.", **_OWN)
flags.DEFINE_enum(
    "aif_clock",
    None,
    ["scan", "frames"],
    "Times of --aif: the scan's own, or one sample a frame (by its samples).",
    **_OWN,
)
flags.DEFINE_float("hematocrit", None, "Of large vessels, where it is known; 0.42 if absent.", **_OWN)
flags.DEFINE_integer("num_samples", None, "Latent samples (the weights' own number, 4 as published).", **_OWN)
flags.DEFINE_boolean("modelled", False, "Write the series that the maps explain, as large as the input.", **_OWN)
flags.DEFINE_integer("seed", 0, "Root of all random streams.", **_OWN)
compilation_cache.define(FLAGS)


def run(values: flags.FlagValues, words: list[str], choose: Callable[[list], list] = list) -> int:
    """What the command does with its flags and other words; `choose` says which of the cases are meant.

    Raises:
        ValueError: bad flags, or the only case is bad.
    """
    compilation_cache.use(values.compilation_cache, dry_run=values.dry_run)
    inputs = case_flags.inputs(values, words)
    if not inputs and not values.demo:
        raise ValueError(
            "--input: expected a NIfTI, glob, BIDS folder or manifest, found none; give one, or try --demo"
        )
    from dcejax.data.facts import Facts

    facts = case_flags.facts(values, Facts)
    if values.demo:
        refused = ["input"] if inputs else []
        refused += [name for name, value in vars(facts).items() if value is not None]
        refused += [
            name for name in ("dry_run", "shard", "layout", "aif_clock") if values[name].value != values[name].default
        ]
        if refused:
            raise ValueError(
                f"--demo: expected no --{refused[0]}, because the patient is simulated; leave one of them out"
            )
    how = case_flags.run_settings(values, _DEMO_DIR if values.demo else None)
    from dcejax.data import cases, weights
    from dcejax.runner.infer_settings import InferSettings

    settings = InferSettings(
        num_samples=values.num_samples, seed=values.seed, aif_clock=values.aif_clock, modelled=values.modelled
    )
    networks = weights.load(values.weights)

    read = dicom_input.resolve(values, inputs, how)
    found = [] if values.demo else choose(cases.enumerate_cases(read.inputs, facts))
    if values.aif_clock is not None and all(case.facts.aif is None for case in found):
        raise ValueError("--aif_clock: expected an arterial input (--aif), found none; leave one of them out")
    cases.refuse_missing(found)  # before what takes seconds to import
    from dcejax.cli.console import Console
    from dcejax.runner import infer_cases

    if values.demo:
        from dcejax.runner import demo

        with Console(quiet=values.quiet) as report:
            shown = demo.run(networks, settings, how, report)
        print(shown)
        return 0
    with Console(quiet=values.quiet) as report:
        done = infer_cases.run(found, networks, settings, how, report, read.maps)
    return max(read.code, done)


main = command.entry_point(run, FLAGS, __doc__)

if __name__ == "__main__":
    main()
