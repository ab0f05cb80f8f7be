"""JSON beside an image, inherited as BIDS says, and the repetition time of the excitation in it.

`RepetitionTime` has two meanings. For BIDS, and for dcm2niix where it knows the frames, it is the time from frame to
frame and the excitation's is `RepetitionTimeExcitation`; elsewhere it is that of the excitation. Which one is told by
its size: excitations of a spoiled gradient echo follow each other within tens of milliseconds, frames within seconds.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import nifti, plain_text, presence

EXCITATION = ("RepetitionTimeExcitation", "RepetitionTimeInversion")
"""Keys that mean nothing else; dcm2niix writes the second in place of the first where a sequence prepares inversion."""

LONGEST_EXCITATION_S = 0.1
"""A `RepetitionTime` below it is that of the excitation."""

SHORTEST_FRAME_S = 0.2
"""A `RepetitionTime` above it is that of frames."""

AGREEMENT = 0.01
"""Two statements of one number may differ by this share."""

_NOTHING = ("n/a", None)
"""Values that say nothing; BIDS writes n/a."""

_ROOT = "dataset_description.json"


def _entities(name: str) -> tuple[set[str], str]:
    """Entities and suffix of a BIDS name without its ending: sub-01_ses-2_dce is ({sub-01, ses-2}, dce)."""
    *entities, suffix = name.split("_")
    return set(entities), suffix


def _root(path: Path, folders: Sequence[Path]) -> int | None:
    """Which of the folders above an image is the data set's: it says so, or holds the folder of the image's subject."""
    subject = path.name.split("_")[0]
    for depth, folder in enumerate(folders):
        above_subject = depth > 0 and subject.startswith("sub-") and folders[depth - 1].name == subject
        if above_subject or presence.is_file(folder / _ROOT):
            return depth
    return None


def data_set_of(path: Path) -> Path | None:
    """The BIDS data set that an image lies in, if it does."""
    folders = list(path.absolute().parents)
    depth = _root(path, folders)
    return None if depth is None else folders[depth]


def files(path: Path) -> list[Path]:
    """The JSON files that describe an image, the more general ones first.

    In a BIDS data set files of the folders above apply too, if they have the image's suffix and no other entities.
    """
    own, found = nifti.sidecar_path(path), []
    folders = list(path.absolute().parents)
    if (root := _root(path, folders)) is not None:
        entities, suffix = _entities(nifti.strip_suffix(path))
        for folder in reversed(folders[: root + 1]):
            for file in sorted(folder.glob(f"*{suffix}.json")):
                theirs, its_suffix = _entities(file.stem)
                if its_suffix == suffix and theirs <= entities and file.name != own.name:
                    found.append(file)
    return [*found, own] if presence.is_file(own) else found


def by_role(path: Path, role: str) -> dict[str, Path]:
    """The same by role, numbered from the second on, the most special one first."""
    return {role if number == 0 else f"{role}_{number + 1}": file for number, file in enumerate(reversed(files(path)))}


def _read(file: Path) -> dict[str, Any]:
    try:
        content = plain_text.read_json(file)
    except ValueError as error:  # malformed JSON or UTF-8
        raise ValueError(f"{file}: expected JSON, found {error}; correct or remove it") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: expected a JSON object, found {type(content).__name__}; correct or remove it")
    return content


def read(path: Path) -> dict[str, Any]:
    """What the JSON files of an image say, the more special ones winning; empty when there are none.

    Raises:
        ValueError: one of them is not a JSON object.
    """
    content: dict[str, Any] = {}
    for file in files(path):
        content |= {key: value for key, value in _read(file).items() if value not in _NOTHING}
    return content


def disagreement(path: Path, key: str, name: str, stated: Sequence[float], found: Sequence[float]) -> list[str]:
    """A warning where what is stated of an image, which is used, differs from what a key of its sidecar says.

    Args:
        path: the image.
        key: that the sidecar has.
        name: how the user states it, such as tr_ms.
        stated: one or several numbers.
        found: those of the sidecar, in the same unit.
    """
    if len(stated) == len(found) and np.allclose(stated, found, rtol=AGREEMENT, atol=0.0):
        return []
    file = next(file for file in reversed(files(path)) if _read(file).get(key) not in _NOTHING)
    one, other = (", ".join(f"{value:g}" for value in values) for values in (stated, found))
    return [f"{name} of {path.name} is {one} as stated, though {key} in {file.name} gives {other}"]


def is_list_of_numbers(value: Any) -> bool:
    """Whether a value is a list of numbers, all of a size that can be computed with."""
    return isinstance(value, list) and all(type(v) in (int, float) and not abs(v) > sys.float_info.max for v in value)


def positive_number(path: Path, sidecar: Mapping[str, Any], key: str) -> float:
    """A number that the sidecar of an image holds.

    Raises:
        ValueError: something else than a positive number.
    """
    value = sidecar[key]
    if type(value) not in (int, float) or not 0 < value <= sys.float_info.max:
        raise ValueError(
            f"{nifti.sidecar_path(path)}: expected a positive number for {key}, found {value!r:.60}; change it"
        )
    return float(value)


def excitation_s(path: Path, sidecar: Mapping[str, Any]) -> tuple[float, str] | None:
    """Repetition time of the excitation in s and the key that holds it, or None.

    Raises:
        ValueError: not a positive number, or a `RepetitionTime` that may be either.
    """
    for key in EXCITATION:
        if key in sidecar:
            return positive_number(path, sidecar, key), key
    if "RepetitionTime" not in sidecar:
        return None
    value = positive_number(path, sidecar, "RepetitionTime")
    if value > SHORTEST_FRAME_S:
        return None
    if value >= LONGEST_EXCITATION_S:
        raise ValueError(
            f"{nifti.sidecar_path(path)}: expected RepetitionTime below {LONGEST_EXCITATION_S:g} s (of excitations) or "
            f"above {SHORTEST_FRAME_S:g} s (of frames), found {value:g}; state the excitation's as --tr_ms, a column "
            "tr_ms, or RepetitionTimeExcitation in s"
        )
    return value, "RepetitionTime"


def frame_interval_s(path: Path, sidecar: Mapping[str, Any]) -> float | None:
    """Time from frame to frame that `RepetitionTime` states, or None.

    Raises:
        ValueError: not a positive number.
    """
    if "RepetitionTime" not in sidecar:
        return None
    value = positive_number(path, sidecar, "RepetitionTime")
    return value if value > SHORTEST_FRAME_S else None
