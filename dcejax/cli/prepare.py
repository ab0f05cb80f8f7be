"""Make the data set that dcejax-infer and dcejax-fit read from folders of DICOM.

  dcejax-prepare --input=FOLDER... --output_dir=DIR [--series=NUMBER]

Each folder is one examination: its dynamic series, found among what lies in it, becomes
DIR/sub-<label>/perf/*_dce.nii.gz, with frame times and acquisition from the DICOM headers in the JSON beside it;
volumes at several flip angles become *_VFA.nii.gz. The label is the folder's name. No name, date or identifier of a
patient is written. Needs pip install 'dcejax[dicom]'.

Exit codes: 0 all done; 1 the program or the machine failed, try again; 2 bad flags, or the only folder is bad; 3 some
of several folders are bad (see DIR/cases.jsonl).
"""

from pathlib import Path

from absl import flags

from dcejax.cli import case_flags, command

_FLAGS = flags.FlagValues()  # of this command only: others have flags of the same names
_OWN = {"flag_values": _FLAGS}
flags.DEFINE_multi_string("input", [], "Folder of DICOM; repeat or use commas.", **_OWN)
flags.DEFINE_integer("series", None, "Number of the dynamic series, where there are several or it is derived.", **_OWN)
case_flags.define_run(_FLAGS)


def _run(values: flags.FlagValues, words: list[str]) -> int:
    folders = [Path(text) for text in case_flags.inputs(values, words)]
    if not folders:
        raise ValueError("--input: expected a folder of DICOM, found none; give one")
    for folder in folders:
        if not folder.is_dir():
            found = "a file" if folder.exists() else "nothing of that name"
            raise ValueError(f"{folder}: expected a folder of DICOM, found {found}; check the path")
    how = case_flags.run_settings(values)
    from dcejax.cli.console import Console
    from dcejax.runner import prepare_cases

    with Console(quiet=values.quiet) as report:
        return prepare_cases.run(prepare_cases.examinations(folders), values.series, how, report)


main = command.entry_point(_run, _FLAGS, __doc__)

if __name__ == "__main__":
    main()
