"""The flags of every command that works on cases, and what is made of them."""

import copy
import dataclasses
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from absl import flags

from dcejax.data import access


def define(values: flags.FlagValues) -> None:
    """Define the flags that say which cases there are, what belongs to them, and where results go."""
    own = {"flag_values": values}
    flags.DEFINE_multi_string("input", [], "4-D NIfTI, glob, BIDS folder or CSV manifest; repeat or use commas.", **own)
    flags.DEFINE_string("output_dir", None, "Folder for the results.", **own)
    flags.DEFINE_string("mask", None, "Brain mask, > 0 inside; an automatic foreground if absent.", **own)
    flags.DEFINE_string("segmentation", None, "Labels for the table of regions.", **own)
    flags.DEFINE_string("times", None, "Text file of frame times in s, one per line; wins over other timing.", **own)
    flags.DEFINE_float("dt_s", None, "Frame interval in s.", **own)
    flags.DEFINE_enum("input_quantity", None, ["signal", "concentration"], "What the input holds (signal).", **own)
    flags.DEFINE_string("shard", "0/1", "i/n: do the i-th of n shares of the cases, i from 0.", **own)
    flags.DEFINE_boolean("overwrite", False, "Redo cases that are done.", **own)
    flags.DEFINE_boolean("dry_run", False, "Check all inputs, run and write nothing.", **own)
    flags.DEFINE_boolean("help", False, "Show this text.", short_name="h", **own)


def parse(values: flags.FlagValues, argv: list[str]) -> tuple[flags.FlagValues, list[str]]:
    """Flags and inputs; words that are no flags are further inputs, as a shell's own expansion of a glob gives them.

    Raises:
        ValueError: an unknown flag, or a value of the wrong type.
    """
    values = copy.deepcopy(values)
    try:
        _, *words = values(argv)
    except flags.Error as error:
        raise ValueError(f"{error}; see --help") from error
    named = [part for text in values.input for part in ([text] if os.path.exists(text) else text.split(","))]
    return values, [text for text in (*named, *words) if text]


def facts(values: flags.FlagValues, kind: type):
    """What the flags state about all cases, as the `dcejax.data.facts.Facts` of a kind.

    Raises:
        ValueError: text that cannot be read as what it should be.
    """
    from dcejax.data.facts import parse as parse_fact

    stated = {field.name: values[field.name].value for field in dataclasses.fields(kind)}
    for name, text in stated.items():
        if isinstance(text, str):
            stated[name] = parse_fact(kind, name, text, folder=Path(), where=f"--{name}", place="")
    return kind(**stated)


def run_settings(values: flags.FlagValues, default_dir: str | None = None) -> dict:
    """Arguments of `dcejax.data.cohort.Settings`.

    Raises:
        ValueError: no folder, or a share that is none.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", values.shard)
    if not match:
        raise ValueError(f"--shard: expected i/n such as 0/4, found {values.shard!r}")
    folder = values.output_dir or default_dir
    if folder is None:
        raise ValueError("--output_dir: expected a folder for the results, found none; give --output_dir=DIR")
    return {
        "output_dir": Path(folder),
        "shard": (int(match[1]), int(match[2])),
        "overwrite": values.overwrite,
        "dry_run": values.dry_run,
    }


def exit_with(run: Callable[[list[str]], int], argv: list[str] | None) -> None:
    """Run a command and exit with its code, 2 for what is wrong with its input.

    Args:
        run: from program name and arguments to an exit code.
        argv: those of the process if absent.
    """
    try:
        code = run(sys.argv if argv is None else argv)
    except (ValueError, OSError) as error:
        reason = access.refusal(error) if isinstance(error, OSError) else error
        print(f"error: {reason}", file=sys.stderr)
        code = 2
    sys.exit(code)
