"""Names of cases as BIDS wants them."""

import re
from typing import NamedTuple

_NAME = re.compile(r"sub-[A-Za-z0-9]+(_[a-z]+-[A-Za-z0-9]+)*")
_BEFORE_REC = ("sub", "ses", "sample", "task", "acq", "ce", "trc", "stain")


class BidsName(NamedTuple):
    """What names a case."""

    subject: str  # with its sub-
    session: str | None  # with its ses-
    stem: str  # all entities


def _entities(case_id: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in case_id.split("_"):
        key, _, label = part.partition("-")
        if key in found:
            raise ValueError(
                f"case id {case_id!r}: expected each BIDS entity once, found {key} twice; state another in a "
                "manifest's case_id column"
            )
        found[key] = label
    return found


def of(case_id: str) -> BidsName:
    """The BIDS name of a case: its own, or its letters and digits as a subject's label.

    A series that is a derivative itself has a desc-, which the maps need; it becomes rec-, that of a reconstruction.

    Raises:
        ValueError: a name that begins as in BIDS and does not go on so, or without any letter or digit.
    """
    if not case_id.startswith("sub-"):
        subject = f"sub-{re.sub(r'[^A-Za-z0-9]', '', case_id)}"
        return BidsName(subject, None, subject)
    if not _NAME.fullmatch(case_id):
        raise ValueError(
            f"case id {case_id!r}: expected BIDS entities such as sub-01_ses-1_run-1 for --layout=bids, found other "
            "parts; state another in a manifest's case_id column"
        )
    entities = _entities(case_id)
    if "desc" in entities:
        label = entities.pop("desc") if "rec" not in entities else entities.pop("rec") + entities.pop("desc")
        first = {key: entities[key] for key in entities if key in _BEFORE_REC}
        entities = {**first, "rec": label, **entities}
    stem = "_".join(f"{key}-{label}" for key, label in entities.items())
    session = f"ses-{entities['ses']}" if "ses" in entities else None
    return BidsName(f"sub-{entities['sub']}", session, stem)
