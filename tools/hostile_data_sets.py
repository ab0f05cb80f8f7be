"""BIDS data sets whose description, sidecars, tables, filter files or images are damaged, as `dcejax-bids` reads them.

Where a data set's text that says nothing about images is damaged, the maps are the plain ones.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_commands
import hostile_evaluations
import hostile_inputs as inputs
import hostile_text
import numpy as np
from hostile_evaluations import Files
from hostile_inputs import Kind
from hypothesis import strategies as st

from dcejax.cli import bids

_CASE = "sub-1/perf/sub-1"
_SAYS_NOTHING = ("dataset_description.json", "participants.tsv", "participants.json", "README", "t1.json")
_FLAGS = {"analysis": "fit", "model": "tofts", "method": "linear", "fit_delay": "false"}
_LABELS = ("1", "sub-1", "01", "ses-1", "../1", "sub-", "*", "")

_QUERIES = st.one_of(
    st.dictionaries(
        st.sampled_from(
            ["subject", "session", "acquisition", "run", "datatype", "suffix", "extension", "dce", "nothing"]
        ),
        st.one_of(hostile_text.JSON, st.sampled_from(["1", 1, ["1", None], "perf", "dce", ".nii.gz", None])),
        max_size=3,
    ),
    hostile_text.JSON,
)
FILTERS = st.tuples(
    st.one_of(
        _QUERIES.map(lambda query: json.dumps({"dce": query}).encode()),
        _QUERIES.map(lambda query: json.dumps(query).encode()),
        st.binary(max_size=40),
        st.integers(1, 100_000).map(lambda depth: b"[" * depth),
    ),
    st.one_of(st.none(), st.sampled_from(_LABELS), st.text(max_size=6)),
)


def data_set() -> Files:
    """Two subjects with their arterial inputs and masks, and what describes them."""
    found: Files = {
        "dataset_description.json": b'{"Name": "plain", "BIDSVersion": "1.10.0", "DatasetType": "raw"}',
        "participants.tsv": b"participant_id\tage\nsub-1\t50\nsub-2\t60\n",
        "participants.json": b'{"age": {"Units": "years"}}',
        "README": b"plain",
        "dce.json": b'{"FlipAngle": 12, "MagneticFieldStrength": 3}',
    }
    sidecar = {"RepetitionTimeExcitation": 0.005, "VolumeTiming": [inputs.DT_S * i for i in range(inputs.FRAMES)]}
    for subject in ("sub-1", "sub-2"):
        stem = f"{subject}/perf/{subject}"
        found |= {
            f"{stem}_dce.nii": inputs.PLAIN,
            f"{stem}_dce.json": json.dumps(sidecar).encode(),
            f"{stem}_desc-brain_mask.nii": inputs.MASK,
            f"{stem}_aif.csv": hostile_commands.aif(),
        }
    return found


def run(folder: Path, *words: str, good: bool = False, **flags: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Run the command on the data set of `folder/in`; its maps but for those of a second subject."""
    places = folder / "in", folder / "out", "participant"
    names = ("in", *data_set(), "filter.json", "--participant-label", "--bids-filter-file", "nii", "json", "csv")
    stated = {"input_quantity": "concentration", **_FLAGS} | flags
    found, maps = hostile_commands.run(bids, folder, *places, *words, good=good, names=names, **stated)
    return found, maps


def _damaged(whole: Files, plain: dict[str, np.ndarray]) -> Callable[[Path, tuple], str]:
    def judge(folder: Path, drawn: tuple) -> str:
        name, how = drawn[:2]
        hostile_evaluations.put_all(folder / "in", hostile_evaluations.damaged(whole, drawn))
        found, maps = run(folder, "--participant-label=1")
        harmless = name in _SAYS_NOTHING and not (name == "dataset_description.json" and how == "gone")
        assert found != "refused" or not harmless, f"{name}: nothing that is needed was damaged"
        if found == "refused":
            return found
        alike = sorted(maps) == sorted(plain) and all(np.array_equal(maps[each], plain[each]) for each in plain)
        assert alike or not harmless, f"{name}: other maps"
        return "same" if alike else "accepted"

    return judge


def _filtered(whole: Files, plain: dict[str, np.ndarray]) -> Callable[[Path, tuple], str]:
    def judge(folder: Path, drawn: tuple) -> str:
        text, label = drawn
        hostile_evaluations.put_all(folder / "in", whole)
        inputs.put(folder / "in" / "filter.json", text)
        words = [f"--bids-filter-file={folder / 'in' / 'filter.json'}"]
        words += [] if label is None else [f"--participant-label={label}"]
        found, maps = run(folder, *words)
        assert all(np.array_equal(values, plain[name]) for name, values in maps.items())
        return "same" if found == "accepted" else found

    return judge


def bids_kinds(shared: Path) -> dict[str, Kind]:
    """BIDS data sets; the plain one lies in `shared`, and is mapped first."""
    whole = data_set()
    hostile_evaluations.put_all(shared / "bids" / "in", whole)
    _, every = run(shared / "bids", good=True)
    of_one = {name: values for name, values in every.items() if name.startswith("sub-1_")}
    names = [name for name in whole if not name.startswith("sub-2")]
    return {
        "dcejax-bids: data sets": Kind(hostile_evaluations.damages(names), _damaged(whole, of_one), 0.5),
        "dcejax-bids: filter files and labels": Kind(FILTERS, _filtered(whole, every), 0.5),
    }
