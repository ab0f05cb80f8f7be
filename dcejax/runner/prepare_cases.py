"""From folders of DICOM to a data set that the commands read: what each examination goes through."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from dcejax.data import presence
from dcejax.data.dicom import conversion
from dcejax.data.dicom.conversion import Converted, Examination, Read
from dcejax.runner.case_record import RunSettings, Status
from dcejax.runner.run_cases import run_cases
from dcejax.types import Reporter


def examinations(folders: Sequence[Path]) -> list[Examination]:
    """Name the examinations of folders.

    Raises:
        ValueError: a folder without DICOM, or two that would have one name.
    """
    found = [conversion.examination_of(folder) for folder in folders]
    counts = Counter(each.case_id for each in found)
    if found and counts.most_common(1)[0][1] > 1:
        name = counts.most_common(1)[0][0]
        first, second, *_ = (str(each.folder) for each in found if each.case_id == name)
        raise ValueError(
            f"{second}: expected a folder with a name of its own, found one that gives {name} like {first}; rename it, "
            "or convert each into another folder"
        )
    return found


def _read(series: int | None, how: RunSettings, examination: Examination, report: Reporter) -> Read | Status:
    case_hash = conversion.hash_of(examination, series)
    root, case_id = how.output_dir, examination.case_id
    whole = presence.is_file(conversion.series_path(root, case_id))
    if whole and how.skips(conversion.record_path(root, case_id), case_hash):
        return "skipped"
    found = conversion.read(examination, series, case_hash, report.status)
    if how.dry_run:
        for warning in found.warnings:
            report.line(f"warning: {warning}")
        return "checked"
    return found


def _convert(found: Read, report: Reporter) -> Converted:
    dynamic = found.choice.dynamic
    made = conversion.convert(found, report.status)
    for warning in made.warnings:
        report.line(f"warning: {warning}")
    if found.examination.hidden:
        report.line(
            "warning: the folder's name holds a name or number of the patient, so the case is called by a hash; rename "
            "the folder by a code of the study to choose"
        )
    angles = ", ".join(f"{stack.first.flip_angle_deg:g}" for stack in found.choice.flip_angles)
    report.note(
        f"{dynamic.name}, {dynamic.frames} frames, times from {found.times.source or 'nowhere'}"
        + (f"; flip angles {angles}°" if angles else "")
    )
    return made


def _write(root: Path, made: Converted) -> None:
    conversion.write_root(root)
    conversion.write(root, made)


def run(found: Sequence[Examination], series: int | None, how: RunSettings, report: Reporter) -> int:
    """Convert this process's share of the examinations; see `dcejax.runner.run_cases`."""
    return run_cases(found, partial(_read, series, how), _convert, partial(_write, how.output_dir), how, report)
