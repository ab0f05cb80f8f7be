"""Which series of a BIDS data set are meant: by subject, session and the entities of their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dcejax.data import nifti, plain_text
from dcejax.data.cases import Case

QUERY = "dce"
"""Under which a filter file says which series are taken."""

# Entities by the names that filter files of BIDS Apps call them.
_ENTITIES = {
    "subject": "sub",
    "session": "ses",
    "sample": "sample",
    "task": "task",
    "acquisition": "acq",
    "ceagent": "ce",
    "reconstruction": "rec",
    "direction": "dir",
    "run": "run",
    "echo": "echo",
    "part": "part",
    "space": "space",
    "description": "desc",
}
_OTHERS = ("datatype", "suffix", "extension")
_VALUES = (str, int, type(None))


def _named(case: Case) -> dict[str, str]:
    """What the path of a series says about it, by the names of filter files."""
    *parts, suffix = nifti.strip_suffix(case.path).split("_")
    entities = dict(part.partition("-")[::2] for part in parts)
    found = {name: entities[key] for name, key in _ENTITIES.items() if key in entities}
    extension = case.path.name.removeprefix(nifti.strip_suffix(case.path))
    return found | {"datatype": case.path.parent.name, "suffix": suffix, "extension": extension}


def _fits(found: str | None, wanted: Any) -> bool:
    if isinstance(wanted, list):
        return any(_fits(found, each) for each in wanted)
    if wanted is None or found is None:
        return wanted is found
    wanted = str(wanted)
    return found == wanted or (found.isdecimal() and wanted.isdecimal() and int(found) == int(wanted))


def read(path: Path) -> dict[str, Any]:
    """What a filter file says about the series, as `{"dce": {"session": "1", "run": [1, 2], "acquisition": null}}`.

    A list means any of its values, null that there is no such entity.

    Raises:
        ValueError: no such file, another content, or an entity that is none.
    """
    try:
        content = plain_text.read_json(path)
    except OSError as error:
        raise ValueError(
            f"--bids-filter-file={path}: expected a JSON file, found {error.strerror}; check the path"
        ) from error
    except ValueError as error:
        raise ValueError(f"--bids-filter-file={path}: expected JSON, found {error}; correct it") from error
    found = content.get(QUERY) if isinstance(content, dict) else None
    if not isinstance(found, dict) or set(content) != {QUERY}:
        keys = (
            ", ".join(map(repr, content)) or "an empty object" if isinstance(content, dict) else type(content).__name__
        )
        raise ValueError(
            f'--bids-filter-file={path}: expected {{"{QUERY}": {{...}}}} and nothing else, found {keys:.80}; correct it'
        )
    known = (*_ENTITIES, *_OTHERS)
    if unknown := [name for name in found if name not in known]:
        raise ValueError(
            f"--bids-filter-file={path}: expected any of {', '.join(known)}, found {unknown[0]!r:.80}; correct it"
        )
    for name, value in found.items():
        odd = [each for each in (value if isinstance(value, list) else [value]) if type(each) not in _VALUES]
        if odd:
            raise ValueError(
                f"--bids-filter-file={path}: expected a text, a whole number, null or a list of them for {name}, found "
                f"{odd[0]!r:.80}; correct it"
            )
    return found


def _labels(stated: Sequence[str], prefix: str) -> list[str]:
    return [label.removeprefix(prefix) for label in stated]


@dataclass(frozen=True)
class Selection:
    """What was asked for; empty is everything."""

    participants: Sequence[str] = ()  # labels, with sub- or without
    sessions: Sequence[str] = ()  # labels, with ses- or without
    filters: Mapping[str, Any] = field(default_factory=dict)

    def of(self, cases: Sequence[Case]) -> list[Case]:
        """The cases that are meant.

        Raises:
            ValueError: a participant or session that no case has, or none that fits.
        """
        every = [(case, _named(case)) for case in cases]
        named = every
        for flag, entity, wanted in (
            ("participant", "subject", _labels(self.participants, "sub-")),
            ("session", "session", _labels(self.sessions, "ses-")),
        ):
            if not wanted:
                continue
            there = sorted({found[entity] for _, found in every if entity in found})
            if missing := [label for label in wanted if label not in there]:
                more = f" and {len(there) - 10} more" if len(there) > 10 else ""
                raise ValueError(
                    f"--{flag}-label: expected labels that have a DCE series, found {missing[0]!r}; there are "
                    f"{', '.join(there[:10]) or 'none'}{more}"
                )
            named = [(case, found) for case, found in named if found.get(entity) in wanted]
        kept = [c for c, found in named if all(_fits(found.get(name), value) for name, value in self.filters.items())]
        if not kept:
            raise ValueError(
                "--participant-label, --session-label, --bids-filter-file: expected some that a DCE series has "
                f"together, found none among {len(cases)} series; loosen one of them"
            )
        return kept
