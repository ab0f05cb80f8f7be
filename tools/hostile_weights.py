"""Weights with pickles, other shapes and numbers, damaged archives and records."""

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_text
import numpy as np
from hostile_inputs import Kind, answer
from hypothesis import strategies as st


class Trap:
    """What a pickle would run."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


_CHANGES = (
    *("hash", "pickle", "object", "shape", "absent", "extra", "nested", "text", "complex", "nan", "large", "huge"),
    *("member", "cut", "none", "npy", "record", "config", "flipped", "method", "same"),
)
WEIGHTS = st.tuples(
    st.sampled_from(_CHANGES),
    st.integers(0, 1 << 20),
    st.integers(1, 255),
    hostile_text.JSON,
)


def _packed(arrays: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _huge(key: str) -> bytes:
    """An .npz whose array declares a terabyte."""
    member, packed = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (1 << 38,)})
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"{key}.npy", member.getvalue() + bytes(64))
    return packed.getvalue()


def _damaged(what: str, key: str, place: int, byte: int, arrays: dict[str, np.ndarray], folder: Path) -> bytes:
    values, trap = arrays[key], np.array([Trap(folder / "trapped")], object)
    changed = {
        "shape": {key: np.zeros((*values.shape, 2), np.float16)},
        "extra": {"more": values},
        "nested": {f"{key}/more": values},
        "text": {key: np.full(values.shape, "x")},
        "complex": {key: values.astype(np.complex64)},
        "nan": {key: np.full(values.shape, np.nan, np.float16)},
        "large": {key: np.full(values.shape, 1e300)},
        "object": {key: trap},
    }.get(what, {})
    kept = {name: each for name, each in arrays.items() if not (what == "absent" and name == key)}
    data = _packed(kept | changed)
    if what == "pickle":
        return pickle.dumps(Trap(folder / "trapped"))
    if what == "huge":
        return _huge(key)
    if what == "member":
        buffer = io.BytesIO(data)
        with zipfile.ZipFile(buffer, "a") as archive:
            archive.writestr("../../trapped", "no array")
        return buffer.getvalue()
    if what == "cut":
        return data[: place % len(data)]
    if what == "none":
        return bytes([byte]) * (place % 500)
    if what == "npy":
        buffer = io.BytesIO()
        np.save(buffer, values)
        return buffer.getvalue()
    if what == "flipped":
        at = place % len(data)
        return data[:at] + bytes([data[at] ^ byte]) + data[at + 1 :]
    return data


def kind(plain: Path, load: Callable[[str], Any]) -> Kind:
    """Weights that differ from plain ones, as `load` takes them: it reads them and makes their networks."""
    with np.load(plain) as archive:
        arrays = {name: archive[name] for name in archive.files}
    record = json.loads(plain.with_suffix(".json").read_text())

    def judge(folder: Path, drawn: tuple) -> str:
        what, place, byte, value = drawn
        key = sorted(arrays)[place % len(arrays)]
        data = _damaged(what, key, place, byte, arrays, folder)
        told = json.loads(json.dumps(record)) | {"sha256": hashlib.sha256(data).hexdigest()}
        if what == "hash":
            told["sha256"] = value
            data = pickle.dumps(Trap(folder / "trapped"))  # which nobody looks at
        elif what == "record":
            told = value
        elif what == "method":
            told["config"]["method"] = value
        elif what == "config":
            part = told["config"]
            while isinstance(part[name := sorted(part)[place % len(part)]], dict) and part[name] and byte % 4:
                part = part[name]
            if name == "method":
                name = "more"
            part[name] = value
        path = folder / "own.npz"
        path.write_bytes(data)
        (folder / "own.json").write_text(json.dumps(told))

        def read() -> str:
            loaded = load(str(path))
            assert what in ("same", "config", "record", "flipped"), f"{what} of {key} was taken"
            for name, values in arrays.items():
                node = loaded.params
                for part in name.split("/"):
                    node = node[part]
                np.testing.assert_array_equal(node, values.astype(np.float32))
            return "same" if what == "same" else "accepted"

        found = answer(read, path, folder / "own.json", "weights own", "config", "method")
        assert not (folder / "trapped").exists(), "a pickle was run"
        assert found == "same" or what != "same"
        return found

    return Kind(WEIGHTS, judge, share=0.5)
