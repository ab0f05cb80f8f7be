"""Where the maps of cases lie in a folder of results: all of them in it, or as BIDS derivatives."""

import re
from pathlib import Path

from dcejax.runner.layouts import bids_names
from dcejax.runner.layouts.layout import Place
from dcejax.types import PARAMETERS

_NAME = re.compile(rf"(?P<stem>.+?)(_desc-(?P<what>[A-Za-z0-9]+))?_(?P<name>{'|'.join(PARAMETERS)})\.nii(\.gz)?")
_PATTERNS = ("*", "sub-*/perf/*", "sub-*/ses-*/perf/*")


def key_of(case_id: str) -> str:
    """What a case is called in every layout: its name as BIDS has it, or its own where BIDS can have none."""
    try:
        return bids_names.of(case_id).stem
    except ValueError:
        return case_id


def place_of(folder: Path, case_id: str) -> Place:
    """Where the files of a case lie; in the folder itself, if there are none anywhere."""
    try:
        name = bids_names.of(case_id)
    except ValueError:
        return Place(folder, case_id)
    derivatives = folder / name.subject / (name.session or "") / "perf"
    if any(derivatives.glob(f"{name.stem}_desc-*")):
        return Place(derivatives, name.stem)
    return Place(folder, case_id)


def places_in(folder: Path) -> dict[str, Place]:
    """Where each case lies that has a map of Ktrans, vp or ve, by its key.

    Raises:
        ValueError: two cases of one key.
    """
    found: dict[str, Place] = {}
    for pattern in _PATTERNS:
        for path in sorted(folder.glob(pattern)):
            if (named := _NAME.fullmatch(path.name)) is None:
                continue
            place = Place(path.parent, named["stem"])
            if (other := found.setdefault(key_of(place.stem), place)) != place:
                raise ValueError(
                    f"{path}: expected maps of one name for each case in {folder}, found {other.folder / other.stem}_* "
                    "too; give a folder of one analysis"
                )
    return found


def statistics_of(place: Place) -> dict[str, dict[str, Path]]:
    """Maps of a case: what stands behind its desc-, empty without one -> parameter -> file."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(place.folder.glob("*.nii*")):
        named = _NAME.fullmatch(path.name)
        if named and named["stem"] == place.stem:
            found.setdefault(named["what"] or "", {})[named["name"]] = path
    return found
