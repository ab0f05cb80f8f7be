"""Folders of DICOM among the inputs of a command: converted once, below its folder of results."""

import atexit
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from absl import flags

FOLDER = "dicom"
"""Below the folder of results: the data set of what was converted."""


class Inputs(NamedTuple):
    """What a command reads."""

    inputs: list[str]  # with converted examinations in place of folders of DICOM
    maps: object | None  # `dcejax.runner.dicom_maps.DicomMaps` where maps are to be written as DICOM
    code: int  # 1 where some of several folders are bad


def define(values: flags.FlagValues) -> None:
    """Define the flags for inputs that are DICOM."""
    own = {"flag_values": values}
    flags.DEFINE_integer("series", None, "Number of the dynamic series, where DICOM holds several.", **own)
    flags.DEFINE_boolean("dicom_maps", False, "Write the maps as DICOM too, if the input is DICOM.", **own)


def _is_dicom(text: str) -> bool:
    from dcejax.data import cases
    from dcejax.data.dicom import files

    return os.path.isdir(text) and not cases.is_data_set(Path(text)) and files.first(Path(text)) is not None


def resolve(values: flags.FlagValues, inputs: Sequence[str], how) -> Inputs:
    """Convert the folders of DICOM among the inputs, unless that is done; all others stay as they are.

    Nothing of it is left after a dry run.

    Raises:
        ValueError: flags for DICOM without DICOM; a package that is not installed; a bad folder, if it is the only one.
    """
    folders = [text for text in inputs if _is_dicom(text)]
    wants_maps = "dicom_maps" in values and values.dicom_maps
    if not folders or (wants_maps and len(folders) < len(inputs)):
        for name, value in (("dicom_maps", wants_maps or None), ("series", values.series)):
            if value is not None:
                other = next((text for text in inputs if text not in folders), "none")
                raise ValueError(f"--{name}: expected folders of DICOM as --input, found {other}; leave it out")
        return Inputs(list(inputs), None, 0)
    from dcejax.cli.console import Console
    from dcejax.data.dicom import conversion, packages
    from dcejax.runner import prepare_cases
    from dcejax.runner.dicom_maps import DicomMaps

    if wants_maps:
        packages.require("highdicom")
    root = how.output_dir / FOLDER
    if how.dry_run:
        root = Path(tempfile.mkdtemp(prefix="dcejax-"))
        atexit.register(shutil.rmtree, root, ignore_errors=True)
    found = prepare_cases.examinations([Path(text) for text in folders])
    converting = dataclasses.replace(how, output_dir=root, shard=(0, 1), dry_run=False)
    with Console(quiet=values.quiet) as report:
        code = prepare_cases.run(found, values.series, converting, report)
    by_folder = {str(each.folder): conversion.subject_folder(root, each.case_id) for each in found}
    wanted = [str(by_folder.get(str(Path(text)), text)) for text in inputs]
    kept = [text for text in wanted if text not in map(str, by_folder.values()) or cases_in(Path(text))]
    maps = DicomMaps({each.case_id: each.folder for each in found}, values.series) if wants_maps else None
    return Inputs(kept, maps, code)


def cases_in(folder: Path) -> bool:
    """Whether a subject's folder holds a series; that of a folder of DICOM that is bad does not."""
    from dcejax.data import cases

    return cases.is_data_set(folder)
