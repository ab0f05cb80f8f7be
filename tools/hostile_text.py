"""Sidecars, frame times, arterial inputs, manifests and flags of any text."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from hostile_inputs import DT_S, FRAMES, PLAIN, Kind, answer, plain_values, put, scan_of
from hypothesis import strategies as st

from dcejax.conventional.fit_facts import FitFacts
from dcejax.data import aif_csv, cases, facts, results

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.floats(),
        st.integers(),
        st.sampled_from([10**400, -1, 0, 1e-320, "n/a", "5", math.inf, 0.004, 0.15, 6.0, 12.0]),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=6,
)
_LISTS = st.one_of(
    st.lists(st.one_of(st.floats(), st.integers(-(10**310), 10**310)), max_size=FRAMES + 2),
    st.lists(st.floats(0.3, 40.0), min_size=FRAMES, max_size=FRAMES).map(lambda gaps: np.cumsum(gaps).tolist()),
)


def _mostly(*usual: Any) -> st.SearchStrategy:
    """Any value now and then, else a usual one."""
    return st.integers(0, 4).flatmap(lambda number: JSON if number == 0 else st.sampled_from(usual))


SIDECARS = st.tuples(
    st.one_of(
        st.fixed_dictionaries(
            {},
            optional={
                "RepetitionTime": _mostly(DT_S, 6.01, 0.004, 8),
                "RepetitionTimeExcitation": _mostly(0.004, 0.0071),
                "RepetitionTimeInversion": _mostly(0.004, 0.03),
                "FlipAngle": _mostly(12, 25.5),
                "VolumeTiming": st.one_of(_LISTS, _mostly([DT_S * i for i in range(FRAMES)])),
                "FrameTimesStart": st.one_of(_LISTS, _mostly([DT_S * i + 0.5 for i in range(FRAMES)])),
                "EchoTime": JSON,
            },
        ).map(lambda fields: json.dumps(fields).encode()),
        JSON.map(lambda value: json.dumps(value).encode()),
        st.binary(max_size=60),
        st.integers(1, 200_000).map(lambda depth: b"[" * depth),
        st.integers(1, 6000).map(lambda digits: b'{"FlipAngle": ' + b"9" * digits + b"}"),
    ),
    st.sampled_from(["signal", "concentration"]),
    st.booleans(),
)


def _judge_sidecars(folder: Path, drawn: tuple) -> str:
    text, quantity, stated = drawn
    (folder / "scan.json").write_bytes(text)

    def read() -> str:
        scan = scan_of(folder, PLAIN, input_quantity=quantity, dt_s=DT_S if stated else None)
        assert np.isfinite(scan.times).all()
        assert (np.diff(scan.times) > 0).all()
        assert all(0 < value < math.inf for value in scan.provenance["acquisition"].values())
        json.dumps(scan.provenance, allow_nan=False)
        np.testing.assert_array_equal(scan.values, plain_values())
        as_stated = np.allclose(scan.times, np.arange(FRAMES) * DT_S / 60)
        assert as_stated or not stated
        return "same" if as_stated else "accepted"

    return answer(read, folder / "scan.json", folder / "scan.nii")


NUMBERS = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["1_0", "1,5", "nan", "inf", "1e999", "-0", "", " 6 ", "0x10", "٣", "5s", "5\t"]),
    st.text(max_size=5),
)
TIMES = st.one_of(
    st.lists(NUMBERS, max_size=FRAMES + 2).map(lambda lines: "\n".join(lines).encode("utf-8", "replace")),
    st.lists(st.floats(0.3, 40.0), min_size=FRAMES - 1, max_size=FRAMES + 1).map(
        lambda gaps: "\r\n".join(map(str, np.cumsum(gaps).tolist())).encode("utf-8-sig")
    ),
    st.lists(st.floats(-1e308, 1e308), min_size=FRAMES, max_size=FRAMES).map(
        lambda values: "\n".join(map(str, sorted(values))).encode()
    ),
    st.binary(max_size=80),
)


def _judge_times(folder: Path, data: bytes) -> str:
    path = put(folder / "times.txt", data)

    def read() -> str:
        scan = scan_of(folder, PLAIN, times=path, dt_s=None)
        lines = [line for line in data.decode("utf-8-sig").splitlines() if line.strip()]
        seconds = np.array(lines, np.float64)
        np.testing.assert_allclose(scan.times * 60, seconds - seconds[0], rtol=1e-9, atol=1e-9)
        return "accepted"

    return answer(read, path)


def table(rows: list[list[str]]) -> bytes:
    """CSV without any quotation marks."""
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "replace")


AIFS = st.one_of(
    st.tuples(
        st.sampled_from(["time_s", "time_min", "time", ""]),
        st.sampled_from(["cp_plasma_mM", "cb_blood_mM", "cp"]),
        st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5),
    ).map(lambda t: table([[t[0], t[1]], *map(list, t[2])])),
    st.lists(st.tuples(st.floats(-1e308, 1e308), st.floats()), min_size=2, max_size=30, unique_by=lambda t: t[0]).map(
        lambda rows: table([["time_s", "cp_plasma_mM"], *([str(a), str(b)] for a, b in sorted(rows))])
    ),
    st.lists(st.lists(NUMBERS, max_size=4), max_size=5).map(table),
    st.binary(max_size=80),
)


def _judge_aifs(folder: Path, data: bytes) -> str:
    path = put(folder / "aif.csv", data)

    def read() -> str:
        for hematocrit in (None, 0.42):
            curve = aif_csv.read(path, hematocrit)
            assert np.isfinite(curve.times).all()
            assert np.isfinite(curve.plasma).all()
            assert (np.diff(curve.times) > 0).all()
            assert curve.plasma.max() > 0
        return "accepted"

    return answer(read, path)


CELLS = st.one_of(
    st.sampled_from(["scan.nii", "../scan.nii", "/etc/passwd", "sub/../scan.nii", "n/a", "", "0-9", "0-99999999999"]),
    st.sampled_from(["../../x", "a/b", "a\\b", "..", ".", "C:x", "a\0b", "x" * 300, "signal", "parker", "roi:", "1e5"]),
    NUMBERS,
    st.text(max_size=12),
)
_COLUMNS = st.sampled_from(["input", "case_id", *facts.names(FitFacts)])
MANIFESTS = st.one_of(
    st.lists(_COLUMNS, max_size=4).flatmap(
        lambda columns: st.lists(
            st.lists(CELLS, min_size=len(columns) + 1, max_size=len(columns) + 1), min_size=1, max_size=3
        ).map(lambda rows: table([["input", *columns], *rows]))
    ),
    st.lists(CELLS, min_size=1, max_size=3).map(
        lambda ids: table([["input", "case_id"], *(["scan.nii", each] for each in ids)])
    ),
    st.lists(st.lists(CELLS, max_size=4), max_size=4).map(table),
    st.binary(max_size=80),
)


def _judge_manifests(folder: Path, data: bytes) -> str:
    path = put(folder / "cases.csv", data)
    put(folder / "scan.nii", PLAIN)

    def read() -> str:
        found = cases.enumerate_cases([str(path)], FitFacts())
        for case in found:
            out = (folder / "out").resolve()
            assert results.map_path(out, case.case_id, "fit", "Ktrans").resolve().parent == out
            json.dumps(dataclasses.asdict(case), default=str).encode()
        cases.refuse_missing(found)
        return "accepted"

    return answer(read, path, "case id", folder)


FLAGS = st.tuples(st.sampled_from(facts.names(FitFacts)), st.one_of(CELLS, NUMBERS))


def _judge_flags(folder: Path, drawn: tuple) -> str:
    name, text = drawn

    def read() -> str:
        facts.parse(FitFacts, name, text, folder=folder, where=f"--{name}", place="")
        return "accepted"

    return answer(read, f"--{name}")


KINDS = {
    "sidecars": Kind(SIDECARS, _judge_sidecars, share=2.0),
    "files of frame times": Kind(TIMES, _judge_times),
    "arterial inputs": Kind(AIFS, _judge_aifs),
    "manifests and case ids": Kind(MANIFESTS, _judge_manifests, share=2.0),
    "text of flags": Kind(FLAGS, _judge_flags),
}
