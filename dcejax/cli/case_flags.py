"""The flags of every command that works on cases, and what is made of them."""

import dataclasses
import os
import sys
from pathlib import Path

from absl import flags

from dcejax.cli import command, dicom_input


def define(values: flags.FlagValues) -> None:
    """Define the flags that say which cases there are, what belongs to them, and where results go."""
    own = {"flag_values": values}
    flags.DEFINE_multi_string(
        "input", [], "NIfTI, DICOM folder, glob, BIDS folder or manifest; repeat or use commas.", **own
    )
    flags.DEFINE_string("mask", None, "Brain mask, > 0 inside; an automatic foreground if absent.", **own)
    flags.DEFINE_string("segmentation", None, "Labels for the table of regions.", **own)
    flags.DEFINE_string("times", None, "Text file of frame times in s, one per line; wins over other timing.", **own)
    flags.DEFINE_float("dt_s", None, "Frame interval in s.", **own)
    flags.DEFINE_string("drop_frames", None, "Frames to leave out, counted from 0, such as 0,50-59.", **own)
    flags.DEFINE_enum("input_quantity", None, ["signal", "concentration"], "What the input holds (signal).", **own)
    flags.DEFINE_boolean("report", False, "Also write each case as one HTML file, for people to read.", **own)
    flags.DEFINE_enum(
        "layout",
        "flat",
        ["flat", "bids", "osipi"],
        "All files in one folder, BIDS derivatives, or what OSIPI's DCE challenge asks for.",
        **own,
    )
    dicom_input.define(values)
    define_run(values)


def define_run(values: flags.FlagValues) -> None:
    """Define the flags that say how a run is made, and those of every command."""
    own = {"flag_values": values}
    flags.DEFINE_string("output_dir", None, "Folder for the results.", **own)
    flags.DEFINE_string("shard", "0/1", "i/n: do the i-th of n shares of the cases, i from 0; auto.", **own)
    flags.DEFINE_boolean("overwrite", False, "Redo cases that are done.", **own)
    flags.DEFINE_boolean("bad_cases_ok", False, "Exit with 0 where all others than bad cases are done.", **own)
    flags.DEFINE_boolean("dry_run", False, "Check everything, run and write nothing.", **own)
    command.define_shared(values)


def inputs(values: flags.FlagValues, words: list[str]) -> list[str]:
    """Inputs; words that are no flags are further ones, as a shell's own expansion of a glob gives them."""
    named = [part for text in values.input for part in ([text] if os.path.exists(text) else text.split(","))]
    return [text for text in (*named, *words) if text]


def facts(values: flags.FlagValues, kind: type):
    """What the flags state about all cases, as the `dcejax.data.facts.Facts` of a kind.

    Raises:
        ValueError: text that cannot be read as what it should be, or a number that no case can have.
    """
    from dcejax.data import ranges
    from dcejax.data.facts import check_numbers
    from dcejax.data.facts import parse as parse_fact

    stated = {field.name: values[field.name].value for field in dataclasses.fields(kind)}
    for name, text in stated.items():
        if isinstance(text, str):
            stated[name] = parse_fact(kind, name, text, folder=Path(), where=f"--{name}", place="")
    made = kind(**stated)
    check_numbers(made)
    if made.input_quantity != "concentration":  # on which they have no effect
        for name in ("tr_ms", "flip_angle_deg"):
            if stated[name] is not None:
                ranges.check_acquisition({name: stated[name]}, f"--{name}")
    return made


def run_settings(values: flags.FlagValues, default_dir: str | None = None):
    """What the flags say as `dcejax.runner.case_record.RunSettings`.

    Raises:
        ValueError: no folder, or a share that is none.
    """
    from dcejax.runner import scheduler_share

    shard = scheduler_share.parse(values.shard, os.environ)
    if not values["shard"].present and (told := scheduler_share.warning(os.environ)):
        print(f"warning: {told}", file=sys.stderr)
    folder = values.output_dir or default_dir
    if folder is None:
        raise ValueError("--output_dir: expected a folder for the results, found none; give --output_dir=DIR")
    from dcejax.runner.case_record import RunSettings

    shared = {
        name: values[name].value
        for name in ("overwrite", "dry_run", "bad_cases_ok", "report", "layout")
        if name in values
    }
    return RunSettings(output_dir=Path(folder), shard=shard, **shared)
