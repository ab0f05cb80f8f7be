"""Make the data set that dcejax-infer and dcejax-fit read from raw series, DICOM or NIfTI.

  dcejax-prepare --input=PATH... --output_dir=DIR [--motion] [--brain_mask=deepbet] [--n4] [--reslice]

A folder of DICOM is one examination: its dynamic series, found among what lies in it, becomes
DIR/sub-<label>/perf/*_dce.nii.gz, with frame times and acquisition from the DICOM headers in the JSON beside it;
volumes at several flip angles become *_VFA.nii.gz. The label is the folder's name. No name, date or identifier of a
patient is written. Needs pip install 'dcejax[dicom]'.

With one of the four flags above, a series (a 4-D NIfTI, a glob, a BIDS folder, a CSV manifest, or what was converted
from DICOM, which then lies in DIR/dicom) is also prepared: movement between frames undone, a brain mask found, the
receive field evened out, masks and maps of other grids brought to that of the series. Nothing is done unasked, and
*_desc-prepared.json records what was. N4 and brain masks need pip install 'dcejax[prep]'.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, or the only case is bad; 3 some of
several cases are bad (see DIR/cases.jsonl).
"""

from pathlib import Path

from absl import flags

from dcejax.cli import case_flags, command
from dcejax.data import presence

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
_OWN = {"flag_values": _FLAGS}
flags.DEFINE_multi_string("input", [], "Folder of DICOM, or series; repeat or use commas.", **_OWN)
flags.DEFINE_integer("series", None, "Number of the dynamic series, where there are several or it is derived.", **_OWN)
flags.DEFINE_boolean("motion", False, "Find and undo rigid movement between frames.", **_OWN)
flags.DEFINE_float("motion_threshold_mm", 1.0, "Flag frames that lie farther from the reference.", **_OWN)
flags.DEFINE_enum("brain_mask", None, ["deepbet", "hd-bet"], "Find the brain by this tool.", **_OWN)
flags.DEFINE_boolean("n4", False, "Even out the receive field (N4).", **_OWN)
flags.DEFINE_boolean("reslice", False, "Bring masks, maps and labels of other grids to the series' own.", **_OWN)
flags.DEFINE_string("mask", None, "Brain mask, > 0 inside, of the only series.", **_OWN)
flags.DEFINE_string("t1_map", None, "T1 in s, of the only series.", **_OWN)
flags.DEFINE_string("b1_map", None, "True over nominal flip angle, of the only series.", **_OWN)
flags.DEFINE_string("segmentation", None, "Labels, of the only series.", **_OWN)
case_flags.define_run(_FLAGS)

_STEPS = ("motion", "brain_mask", "n4", "reslice")
_FILES = ("mask", "t1_map", "b1_map", "segmentation")


def _convert(values: flags.FlagValues, folders: list[Path]) -> int:
    for name in ("motion_threshold_mm", *_FILES):
        if values[name].present:
            raise ValueError(f"--{name}: expected one of --{', --'.join(_STEPS)} beside it, found none; give one")
    for folder in folders:
        if not presence.is_dir(folder):
            found = "a file" if presence.exists(folder) else "nothing of that name"
            raise ValueError(
                f"{folder}: expected a folder of DICOM, found {found}; check the path, or say what a series needs: "
                f"--{', --'.join(_STEPS)}"
            )
    how = case_flags.run_settings(values)
    from dcejax.cli.console import Console
    from dcejax.runner import prepare_cases

    with Console(quiet=values.quiet) as report:
        return prepare_cases.run(prepare_cases.examinations(folders), values.series, how, report)


def _prepare(values: flags.FlagValues, inputs: list[str]) -> int:
    how = case_flags.run_settings(values)
    from dcejax.cli import dicom_input
    from dcejax.cli.console import Console
    from dcejax.data import cases
    from dcejax.preprocessing.steps import Steps
    from dcejax.runner import prepare_series

    steps = Steps(motion_threshold_mm=values.motion_threshold_mm, **{name: values[name].value for name in _STEPS})
    stated = {name: Path(values[name].value) for name in _FILES if values[name].value}
    if steps.brain_mask and "mask" in stated:
        raise ValueError("--brain_mask: expected no --mask beside it, found both; leave one out")
    resolved = dicom_input.resolve(values, inputs, how)
    found = cases.enumerate_cases(resolved.inputs, prepare_series.SeriesFacts(**stated)) if resolved.inputs else []
    cases.refuse_missing(found)
    with Console(quiet=values.quiet) as report:
        return max(prepare_series.run(found, steps, how, report), resolved.code)


def _run(values: flags.FlagValues, words: list[str]) -> int:
    inputs = case_flags.inputs(values, words)
    if not inputs:
        raise ValueError("--input: expected a folder of DICOM or a series, found none; give one")
    if any(values[name].value for name in _STEPS):
        return _prepare(values, inputs)
    return _convert(values, [Path(text) for text in inputs])


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
