"""Pharmacokinetic maps from 4-D DCE-MRI, with their spread over latent samples.

  infer.py --demo
  infer.py --input=PATH... --output_dir=DIR [--mask=FILE ...]

PATH is a 4-D NIfTI, a glob, a BIDS folder or a CSV manifest. For each case DIR receives maps of the mean, the
standard deviation and the coefficient of variation of Ktrans (1/min), vp and ve (fractions 0-1), a sidecar (.json)
and a picture. Research only; not for clinical decisions.

Exit codes: 0 all done; 1 some of several cases are bad (see DIR/cases.jsonl); 2 bad flags, or the only case is bad.
"""

from absl import flags

from dcejax.cli import case_flags, command, compilation_cache

# Flags of this command only: another command's module may define the same names in the same process.
_FLAGS = flags.FlagValues()
_DEMO_DIR = "output/demo"


def _define() -> None:
    case_flags.define(_FLAGS)
    own = {"flag_values": _FLAGS}
    flags.DEFINE_boolean("demo", False, f"Simulate a patient, compare with the truth, in {_DEMO_DIR}.", **own)
    flags.DEFINE_string("weights", None, "Weights (.npz with its .json); those in the package if absent.", **own)
    flags.DEFINE_string("t1_map", None, "T1 in s, for concentration input.", **own)
    flags.DEFINE_string("b1_map", None, "True to nominal flip angle, for concentration input.", **own)
    flags.DEFINE_float("tr_ms", None, "Repetition time of the excitations in ms, to compare with the weights'.", **own)
    flags.DEFINE_float("flip_angle_deg", None, "Flip angle in degrees, to compare with the weights'.", **own)
    flags.DEFINE_float("relaxivity", None, "Agent's r1 in 1/(mM s), for concentration input.", **own)
    flags.DEFINE_string("aif", None, "CSV time_min|time_s,cp_plasma_mM; its peak scales concentration input.", **own)
    flags.DEFINE_integer("num_samples", None, "Latent samples (the weights' own number, 4 as published).", **own)
    flags.DEFINE_integer("seed", 0, "Root of all random streams.", **own)
    compilation_cache.define(_FLAGS)


_define()


def _facts(values: flags.FlagValues):
    from dcejax.data.facts import Facts

    return case_flags.facts(values, Facts)


def _settings(values: flags.FlagValues):
    """How maps are made, and how the run is."""
    how = case_flags.run_settings(values, _DEMO_DIR if values.demo else None)
    from dcejax.runner.infer_cases import InferSettings

    return InferSettings(num_samples=values.num_samples, seed=values.seed), how


def _demo(values: flags.FlagValues, inputs: list[str]) -> int:
    refused = ["input"] if inputs else []
    refused += [name for name, value in vars(_facts(values)).items() if value is not None]
    refused += ["dry_run"] if values.dry_run else []
    refused += ["shard"] if values.shard != "0/1" else []
    if refused:
        raise ValueError(f"--demo: expected no --{refused[0]}, because the patient is simulated; leave one of them out")
    from dcejax.cli.console import Console
    from dcejax.data import weights
    from dcejax.runner import demo

    settings, how = _settings(values)
    print(demo.run(weights.load(values.weights), settings, how.output_dir, Console()))
    return 0


def _infer(values: flags.FlagValues, inputs: list[str]) -> int:
    if not inputs:
        raise ValueError(
            "--input: expected a NIfTI, glob, BIDS folder or manifest, found none; give one, or try --demo"
        )
    facts, (settings, how) = _facts(values), _settings(values)
    from dcejax.cli.console import Console
    from dcejax.data import cases, weights
    from dcejax.runner import infer_cases

    found = cases.enumerate_cases(inputs, facts)
    return infer_cases.run(found, weights.load(values.weights), settings, how, Console())


def _run(values: flags.FlagValues, words: list[str]) -> int:
    compilation_cache.use(values.compilation_cache, dry_run=values.dry_run)
    inputs = case_flags.inputs(values, words)
    return _demo(values, inputs) if values.demo else _infer(values, inputs)


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
