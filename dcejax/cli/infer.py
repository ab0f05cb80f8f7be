"""Pharmacokinetic maps with uncertainty from 4-D DCE-MRI.

  infer.py --demo
  infer.py --input=PATH... --output_dir=DIR [--mask=FILE ...]

PATH is a 4-D NIfTI, a glob, a BIDS folder or a CSV manifest. For each case DIR receives maps of the mean, the
standard deviation and the coefficient of variation of Ktrans (1/min), vp and ve (fractions 0-1), a sidecar (.json)
and a picture. Research only; not for clinical decisions.

Exit codes: 0 all done; 1 some of several cases are bad (see DIR/cases.jsonl); 2 bad flags, or the only case is bad.
"""

import copy
import dataclasses
import os
import re
import sys
from pathlib import Path

from absl import flags

from dcejax.data import access

# Flags of this command only: another command's module may define the same names in the same process.
_FLAGS = flags.FlagValues()
_DEMO_DIR = "output/demo"


def _define() -> None:
    own = {"flag_values": _FLAGS}
    flags.DEFINE_multi_string("input", [], "4-D NIfTI, glob, BIDS folder or CSV manifest; repeat or use commas.", **own)
    flags.DEFINE_string("output_dir", None, f"Folder for the results ({_DEMO_DIR} with --demo).", **own)
    flags.DEFINE_boolean("demo", False, "Simulate a patient and compare the maps with the truth.", **own)
    flags.DEFINE_string("weights", None, "Weights (.npz with its .json); those in the package if absent.", **own)
    flags.DEFINE_string("mask", None, "Brain mask, > 0 inside; an automatic foreground if absent.", **own)
    flags.DEFINE_string("t1_map", None, "T1 in s, for concentration input.", **own)
    flags.DEFINE_string("b1_map", None, "True to nominal flip angle, for concentration input.", **own)
    flags.DEFINE_string("segmentation", None, "Labels for the table of regions.", **own)
    flags.DEFINE_string("times", None, "Text file of frame times in s, one per line; wins over other timing.", **own)
    flags.DEFINE_float("dt_s", None, "Frame interval in s.", **own)
    flags.DEFINE_float("tr_ms", None, "Repetition time of the excitations in ms, to compare with the weights'.", **own)
    flags.DEFINE_float("flip_angle_deg", None, "Flip angle in degrees, to compare with the weights'.", **own)
    flags.DEFINE_float("relaxivity", None, "Agent's r1 in 1/(mM s), for concentration input.", **own)
    flags.DEFINE_string("aif", None, "CSV time_min|time_s,cp_plasma_mM; its peak scales concentration input.", **own)
    flags.DEFINE_enum("input_quantity", None, ["signal", "concentration"], "What the input holds (signal).", **own)
    flags.DEFINE_integer("num_samples", 4, "Latent samples; 4 are the published number.", **own)
    flags.DEFINE_integer("seed", 0, "Root of all random streams.", **own)
    flags.DEFINE_string("shard", "0/1", "i/n: do the i-th of n shares of the cases, i from 0.", **own)
    flags.DEFINE_boolean("overwrite", False, "Redo cases that are done.", **own)
    flags.DEFINE_boolean("dry_run", False, "Check all inputs, run and write nothing.", **own)
    flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", **own)


_define()


def _parse(argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """Flags and inputs; words that are no flags are further inputs, as a shell's own expansion of a glob gives them."""
    values = copy.deepcopy(_FLAGS)
    try:
        _, *words = values(argv)
    except flags.Error as error:
        raise ValueError(f"{error}; see --help") from error
    named = [part for text in values.input for part in ([text] if os.path.exists(text) else text.split(","))]
    return values, [text for text in (*named, *words) if text]


def _facts(values: flags.FlagValues):
    from dcejax.data import cases

    stated = {field.name: values[field.name].value for field in dataclasses.fields(cases.Facts)}
    paths = {name: Path(stated[name]) for name in cases.FILE_FACTS if stated[name] is not None}
    return cases.Facts(**(stated | paths))


def _settings(values: flags.FlagValues):
    from dcejax.inference.cohort import Settings

    match = re.fullmatch(r"(\d+)/(\d+)", values.shard)
    if not match:
        raise ValueError(f"--shard: expected i/n such as 0/4, found {values.shard!r}")
    folder = values.output_dir or (_DEMO_DIR if values.demo else None)
    if folder is None:
        raise ValueError("--output_dir: expected a folder for the results, found none; give --output_dir=DIR")
    return Settings(
        output_dir=Path(folder),
        num_samples=values.num_samples,
        seed=values.seed,
        shard=(int(match[1]), int(match[2])),
        overwrite=values.overwrite,
        dry_run=values.dry_run,
    )


def _demo(values: flags.FlagValues, inputs: list[str]) -> int:
    refused = ["input"] if inputs else []
    refused += [name for name, value in vars(_facts(values)).items() if value is not None]
    refused += ["dry_run"] if values.dry_run else []
    refused += ["shard"] if values.shard != "0/1" else []
    if refused:
        raise ValueError(f"--demo: expected no --{refused[0]}, because the patient is simulated; leave one of them out")
    from dcejax.cli.console import Console
    from dcejax.data import weights
    from dcejax.inference import demo

    print(demo.run(weights.load(values.weights), _settings(values), Console()))
    return 0


def _infer(values: flags.FlagValues, inputs: list[str]) -> int:
    if not inputs:
        raise ValueError(
            "--input: expected a NIfTI, glob, BIDS folder or manifest, found none; give one, or try --demo"
        )
    facts, settings = _facts(values), _settings(values)
    from dcejax.cli.console import Console
    from dcejax.data import cases, weights
    from dcejax.inference import cohort

    return cohort.run(cases.enumerate_cases(inputs, facts), weights.load(values.weights), settings, Console())


def _run(argv: list[str]) -> int:
    values, inputs = _parse(argv)
    if values.help:
        print(f"{__doc__}\nFlags:\n{values.get_help()}")
        return 0
    command = _demo if values.demo else _infer
    return command(values, inputs)


def main(argv: list[str] | None = None) -> None:
    """Run the command and exit with its code.

    Args:
        argv: program name and arguments; those of the process if absent.
    """
    try:
        code = _run(sys.argv if argv is None else argv)
    except (ValueError, OSError) as error:
        reason = access.refusal(error) if isinstance(error, OSError) else error
        print(f"error: {reason}", file=sys.stderr)
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
