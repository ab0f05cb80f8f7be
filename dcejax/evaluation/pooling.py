"""The records of a cohort as arrays of one value for each patient, who is the unit of every test and interval."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import plain_text
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.casework import PICTURE, SHOWN, TRUTH, arrays_path, record_path
from dcejax.evaluation.examinations import Examination

Record = Mapping[str, Any]


def dig(record: Record, *path: str | int) -> Any:
    """What a path leads to in nested records; None where it ends early."""
    found: Any = record
    for step in path:
        if isinstance(found, Mapping):
            found = found.get(step)
        elif isinstance(found, Sequence) and isinstance(step, int) and step < len(found):
            found = found[step]
        else:
            return None
    return found


def column(records: Sequence[Record], *path: str | int) -> np.ndarray:
    """Numbers [N] that a path leads to in each record; NaN where there is none."""
    return np.array([np.nan if (value := dig(record, *path)) is None else value for record in records], np.float64)


@dataclass(frozen=True)
class Pool:
    """Everything that tables and figures are made of."""

    arms: Sequence[Description]  # those with a score in at least one case
    records: Sequence[Record]  # first examinations of the cohort's patients
    pairs: Sequence[tuple[Record, Record]]  # first and second examinations of patients who were examined twice
    folder: Path
    seed: int  # of resampling

    def values(self, arm: str, *path: str | int) -> np.ndarray:
        """Numbers [N] of an arm, one a patient; NaN where there is none."""
        return column(self.records, "arms", arm, *path)

    def roi(self, arm: str, region: str, parameter: str) -> np.ndarray:
        """Means [N] of an arm, or of the truth, over a region."""
        return self.values(arm, "roi", region, parameter, "mean")

    def of_kind(self, *kinds: str) -> list[Description]:
        """Arms of some kinds."""
        return [arm for arm in self.arms if arm.kind in kinds]

    def has(self, name: str) -> bool:
        """Whether an arm is there."""
        return name == TRUTH or any(arm.name == name for arm in self.arms)

    @property
    def main(self) -> Description:
        """The arm that others are compared with: the first network, else maps, else the first that is no baseline."""
        for kinds in (("network",), ("maps",), ("fit", "reader"), ("baseline",)):
            if found := self.of_kind(*kinds):
                return found[0]
        raise ValueError("expected an arm with scores, found none")

    @property
    def interest(self) -> list[Description]:
        """The arms that the summary and the figures are about: all that somebody asked for, else the main one."""
        return self.of_kind(*SHOWN) or [self.main]

    def _load(self, record: Record, wanted: Callable[[str], bool]) -> dict[str, np.ndarray]:
        with np.load(arrays_path(self.folder, record["case_id"]), allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if wanted(name)}

    def picture(self, index: int) -> dict[str, np.ndarray]:
        """The slice that is kept of a patient: name -> [X, Y, C], masks [X, Y]."""
        found = self._load(self.records[index], lambda name: name.startswith(PICTURE))
        return {name.removeprefix(PICTURE): values for name, values in found.items()}

    @cached_property
    def _arrays(self) -> list[Mapping[str, np.ndarray]]:
        """Arrays of each record without the pictures, of which only a few are drawn."""
        return [self._load(record, lambda name: not name.startswith(PICTURE)) for record in self.records]

    def arrays(self, name: str) -> list[np.ndarray | None]:
        """An array of each patient, None where there is none."""
        return [found.get(name) for found in self._arrays]

    def voxels(self, arm: str, region: str, channel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Truth, mean and SD [V] of the voxels drawn from all patients in a region."""
        truth, mean, sd = (
            self.arrays(f"voxels/{name}")
            for name in (f"{TRUTH}/{region}", f"{arm}/{region}/mean", f"{arm}/{region}/sd")
        )
        chosen = [(t, m, s) for t, m, s in zip(truth, mean, sd, strict=True) if m is not None]
        empty = np.zeros(0)
        parts = [[stack[:, channel].astype(np.float64) for stack in patient] for patient in chosen]
        return tuple(np.concatenate([empty, *part]) for part in zip(*parts, strict=True)) if parts else (empty,) * 3


def read_record(folder: Path, case_id: str) -> Record:
    """The record of a case."""
    return plain_text.read_json(record_path(folder, case_id))


def first_examinations(examinations: Sequence[Examination], records: Mapping[str, Record]) -> list[Record]:
    """Records of patients' first examinations, in order; those without one are left out."""
    return [records[e.case_id] for e in examinations if e.number == 0 and e.case_id in records]


def examined_twice(examinations: Sequence[Examination], records: Mapping[str, Record]) -> list[tuple[Record, Record]]:
    """Records of the first and second examination of each patient who has both."""
    by_subject: dict[str, dict[int, Record]] = {}
    for examination in examinations:
        if examination.case_id in records:
            by_subject.setdefault(examination.subject, {})[examination.number] = records[examination.case_id]
    return [(found[0], found[1]) for found in by_subject.values() if 0 in found and 1 in found]
