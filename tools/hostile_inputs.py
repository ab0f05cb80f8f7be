"""Files that lie, break off or say the same thing otherwise, and what the functions that read them have to answer.

A kind draws inputs and judges the answer to each: "same" as the plain file's, "accepted" where the input says something
else and that is read as an independent reader here reads it, or "refused" by a `ValueError` that names the file, what
was expected, what was found and a remedy. Anything else is a fault, and so is a file outside the folder.
"""

import dataclasses
import gzip
import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from hypothesis import strategies as st

from dcejax.conventional.fit_facts import FitFacts
from dcejax.data import aif_csv, cases, facts, loading, nifti, results, weights
from dcejax.data.cases import Case
from dcejax.data.facts import Facts

SHAPE, FRAMES, DT_S = (4, 3, 2), 14, 6.0
SLOPE = 1 / 64  # exact in every floating type
AFFINE = np.array([[-2.0, 0, 0, 12], [0, 2.0, 0, -9], [0, 0, 3.0, 4], [0, 0, 0, 1]])


class Kind(NamedTuple):
    """One kind of input."""

    strategy: st.SearchStrategy
    judge: Callable[[Path, Any], str]  # of an empty folder and what was drawn
    share: float = 1.0  # of the examples of the other kinds


def whole_numbers() -> np.ndarray:
    """A series [X, Y, Z, T] of whole numbers below 128: concentration in 1/64 mM."""
    speed = np.linspace(0.4, 2.0, math.prod(SHAPE)).reshape(*SHAPE, 1)
    minutes = np.maximum(np.arange(FRAMES) - 3, 0) * DT_S / 60
    return np.rint(60 * (1 - np.exp(-speed * minutes))).astype(np.int64)


def plain_values() -> np.ndarray:
    """The same in mM, float32."""
    return (whole_numbers() * SLOPE).astype(np.float32)


def plasma() -> tuple[np.ndarray, np.ndarray]:
    """Times in min and an arterial input in mM, without any library's model."""
    times = np.arange(FRAMES) * DT_S / 60
    since = np.maximum(times - 0.25, 0)
    return times, 30 * since * np.exp(-since / 0.25) + 1.0 * (1 - np.exp(-since / 0.1))


def content(
    stored: np.ndarray,
    *,
    affine: np.ndarray = AFFINE,
    order: str = "<",
    version: int = 1,
    slope: float = 1.0,
    inter: float = 0.0,
    extension: bytes = b"",
    coded: str = "both",
) -> bytes:
    """Bytes of a NIfTI file."""
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    header.set_data_dtype(stored.dtype)
    header.set_data_shape(stored.shape)
    header.set_zooms([*np.linalg.norm(affine[:3, :3], axis=0), DT_S][: stored.ndim])
    header.set_xyzt_units("mm", "sec")
    if coded in ("both", "sform"):
        header.set_sform(affine, 1)
    if coded in ("both", "qform"):
        header.set_qform(affine, 1)
    header.set_slope_inter(slope, inter)
    header["vox_offset"] = offset = header.sizeof_hdr + 4 + len(extension)
    flag = bytes([1 if extension else 0, 0, 0, 0])
    found = header.binaryblock + flag + extension + stored.astype(stored.dtype.newbyteorder(order)).tobytes(order="F")
    assert offset % 16 == 0 or extension
    return found


PLAIN = content(plain_values())
MASK = content(np.ones(SHAPE, np.uint8))


def put(path: Path, data: bytes) -> Path:
    """Write bytes, compressed where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data, 1) if path.name.endswith(".gz") else data)
    return path


def check_refusal(text: str, *names: object) -> str:
    """Judge a message."""
    missing = [word for word in ("expected", "found", "; ") if word not in text]
    assert not missing, f"refused without {missing}: {text}"
    assert any(str(name) in text or Path(str(name)).name in text for name in names), (
        f"refused without the file's name: {text}"
    )
    assert "Traceback" not in text
    return "refused"


def answer(call: Callable[[], str], *names: object) -> str:
    """What a call says of an input; refusals have to name one of the files."""
    try:
        return call()
    except ValueError as error:
        return check_refusal(str(error), *names)


def scan_of(folder: Path, data: bytes, name: str = "scan.nii", *, mask: bytes | None = MASK, **stated: Any) -> Any:
    """The scan that a file of these bytes gives, with a mask and frame times that are stated."""
    path = put(folder / name, data)
    known = {"input_quantity": "concentration", "dt_s": DT_S} | stated
    if mask is not None:
        known["mask"] = put(folder / "mask.nii", mask)
    return loading.load_scan(Case("scan", path, Facts(**known)))


def like_plain(scan: Any) -> str:
    """Refuse to go on unless a scan is that of the plain file."""
    np.testing.assert_array_equal(scan.values, plain_values())
    np.testing.assert_allclose(scan.times, np.arange(FRAMES) * DT_S / 60)
    assert scan.mask.all()
    return "same"


# -- headers ----------------------------------------------------------------------------------------------------------

_TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}


def by_the_standard(data: bytes) -> np.ndarray | None:
    """Voxels of a single NIfTI-1 file by the letter of the standard; None where it has none that are real numbers."""
    order = "<" if data[:4] == struct.pack("<i", 348) else ">"
    dim = struct.unpack_from(order + "8h", data, 40)
    (code,) = struct.unpack_from(order + "h", data, 70)
    offset, slope, inter = struct.unpack_from(order + "3f", data, 108)
    shape = dim[1 : 1 + dim[0]]
    if code not in _TYPES or not 1 <= dim[0] <= 7 or min(shape) < 1:
        return None
    found = np.frombuffer(data, order + _TYPES[code], math.prod(shape), int(offset)).reshape(shape, order="F")
    if slope == 0 or not math.isfinite(slope):
        slope, inter = 1.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return (found.astype(np.float64) * slope + inter).astype(np.float32)


def _read_like_the_standard(folder: Path, data: bytes, name: str) -> str:
    scan = scan_of(folder, data, name)
    assert np.isfinite(scan.affine).all()
    assert np.linalg.det(scan.affine[:3, :3]) != 0
    expected = by_the_standard(data)
    if expected is None:  # a float of 16 bytes, which this reader does not know
        assert struct.unpack_from("<h", data, 70)[0] == 1536
        return "accepted"
    np.testing.assert_allclose(scan.values, expected, rtol=1e-6)
    return "same" if np.array_equal(expected, plain_values()) else "accepted"


def _judge_header_bytes(folder: Path, drawn: tuple) -> str:
    changes, zipped = drawn
    data = bytearray(PLAIN)
    for place, value in changes:
        data[place] = value
    name = "scan.nii.gz" if zipped else "scan.nii"
    return answer(lambda: _read_like_the_standard(folder, bytes(data), name), folder / name, folder / "mask.nii")


HEADER_BYTES = st.tuples(
    st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6), st.booleans()
)

_ODD_FLOATS = st.one_of(
    st.sampled_from([math.nan, math.inf, -math.inf, -1.0, -352.0, 0.0, 1.0, 348.0, 352.5, 1e9, 3e38, -3e38, 1e-40]),
    st.floats(width=32),
)
_ODD_SHORTS = st.one_of(st.sampled_from([-32768, -1, 0, 1, 3, 7, 8, 32767]), st.integers(-32768, 32767))
_FLOAT_FIELDS = {
    "pixdim": range(76, 108, 4),
    "vox_offset": [108],
    "scl": [112, 116],
    "cal": [124, 128],
    "toffset": [136],
    "quatern": range(256, 280, 4),
    "srow": range(280, 328, 4),
}
_SHORT_FIELDS = {
    "dim": range(40, 56, 2),
    "datatype": [70],
    "bitpix": [72],
    "codes": [252, 254],
    "slice": [74, 120],
}


def _places(fields: dict) -> st.SearchStrategy:
    return st.sampled_from(sorted(fields)).flatmap(lambda name: st.sampled_from(list(fields[name])))


HEADER_FIELDS = st.tuples(
    st.lists(
        st.one_of(
            st.tuples(st.just("f"), _places(_FLOAT_FIELDS), _ODD_FLOATS),
            st.tuples(st.just("h"), _places(_SHORT_FIELDS), _ODD_SHORTS),
            st.tuples(st.just("h"), st.just(70), st.sampled_from([0, 1, 32, 128, 1536, 1792, 2048, 2304, *_TYPES])),
            st.tuples(st.just("B"), st.just(123), st.integers(0, 255)),
            st.tuples(st.just("i"), st.just(0), st.sampled_from([0, 540, -1, 348 << 8])),
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)


def _judge_header_fields(folder: Path, drawn: tuple) -> str:
    changes, zipped = drawn
    data = bytearray(PLAIN)
    for form, place, value in changes:
        struct.pack_into("<" + form, data, place, value)
    name = "scan.nii.gz" if zipped else "scan.nii"
    return answer(lambda: _read_like_the_standard(folder, bytes(data), name), folder / name, folder / "mask.nii")


SIZES = st.tuples(
    st.lists(st.integers(1, 32767), min_size=4, max_size=4),
    st.sampled_from(sorted(_TYPES)),
    st.integers(0, 600),
    st.booleans(),
)


def _judge_sizes(folder: Path, drawn: tuple) -> str:
    """A header that declares more than the file holds."""
    dims, code, held, zipped = drawn
    data = bytearray(PLAIN[:352] + bytes(held))
    struct.pack_into("<8h", data, 40, 4, *dims, 1, 1, 1)
    struct.pack_into("<hh", data, 70, code, 8 * np.dtype(_TYPES[code]).itemsize)
    name = "scan.nii.gz" if zipped else "scan.nii"
    found = answer(lambda: _read_like_the_standard(folder, bytes(data), name), folder / name, folder / "mask.nii")
    declared = math.prod(dims) * np.dtype(_TYPES[code]).itemsize
    assert found == "refused" or declared <= held, "more than the file holds"
    return found


EXTENSIONS = st.tuples(st.binary(max_size=160), st.sampled_from([1, 2]), st.booleans(), st.sampled_from("<>"))


def _judge_extensions(folder: Path, drawn: tuple) -> str:
    """Extensions are passed over, whatever they say."""
    extension, version, zipped, order = drawn
    extension += bytes(-len(extension) % 16)
    data = content(plain_values(), extension=extension, version=version, order=order)
    return like_plain(scan_of(folder, data, "scan.nii.gz" if zipped else "scan.nii"))


# -- compression ------------------------------------------------------------------------------------------------------

GZIP = st.tuples(
    st.sampled_from(["members", "zeros after", "garbage after", "cut", "flipped", "bomb", "member after", "no gzip"]),
    st.integers(0, 10_000),
    st.integers(0, 255),
)


def _judge_gzip(folder: Path, drawn: tuple) -> str:
    what, place, byte = drawn
    packed = bytearray(gzip.compress(PLAIN, mtime=0))
    at = place % len(packed)
    if what == "members":
        cut = place % len(PLAIN)
        packed = gzip.compress(PLAIN[:cut]) + gzip.compress(b"") + gzip.compress(PLAIN[cut:])
    elif what == "zeros after":
        packed += bytes(at)
    elif what == "garbage after":
        packed += bytes([byte]) * (at + 1)
    elif what == "cut":
        packed = packed[:at]
    elif what == "flipped":
        packed[at] ^= byte
    elif what == "bomb":
        packed = gzip.compress(PLAIN + bytes(place * 4096), 1)
    elif what == "member after":
        packed += gzip.compress(bytes(at * 16))
    elif what == "no gzip":
        packed = PLAIN
    path = folder / "scan.nii.gz"

    def read() -> str:
        path.write_bytes(packed)
        image = nifti.read_series(path)
        np.testing.assert_array_equal(image.values, plain_values())
        return "same"

    found = answer(read, path)
    assert found == "same" or what not in ("members", "zeros after"), "a valid file"
    assert found == "refused" or what not in ("cut", "no gzip"), "a damaged file"
    return found


# -- the same series otherwise ----------------------------------------------------------------------------------------

_REAL = ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8")
_OTHER = ("c8", "c16", "rgb", "rgba")
TYPES = st.tuples(
    st.sampled_from((*_REAL, *_OTHER)),
    st.sampled_from("<>"),
    st.sampled_from([1, 2]),
    st.booleans(),
    st.integers(0, 40),
)


def stored_as(kind: str, order: str, version: int, shift: int) -> bytes:
    """The plain series in another type; integers are scaled, and shifted."""
    whole = whole_numbers()
    if kind in ("rgb", "rgba"):
        return content(np.zeros(whole.shape, [(c, "u1") for c in kind.upper()]), order=order, version=version)
    if kind[0] in "fc":
        return content((whole * SLOPE).astype(kind), order=order, version=version)
    stored = (whole - shift).astype(kind) if kind[0] == "i" else (whole + shift).astype(kind)
    inter = shift * SLOPE * (1 if kind[0] == "i" else -1)
    return content(stored, order=order, version=version, slope=SLOPE, inter=inter)


def _judge_types(folder: Path, drawn: tuple) -> str:
    kind, order, version, zipped, shift = drawn
    name = "scan.nii.gz" if zipped else "scan.nii"
    data = stored_as(kind, order, version, shift)
    found = answer(lambda: like_plain(scan_of(folder, data, name)), folder / name)
    assert (found == "same") == (kind in _REAL), f"{kind} {found}"
    return found


ROTATIONS = st.tuples(
    st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    st.permutations(range(3)),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(*[st.floats(0.3, 8.0)] * 3),
    st.sampled_from(["both", "sform", "qform", "none"]),
    st.booleans(),
)


def turned(angles: tuple, axes: list, signs: tuple, zooms: tuple) -> np.ndarray:
    """An affine: oblique, permuted, flipped."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        one = np.eye(3)
        i, j = [k for k in range(3) if k != axis]
        one[i, i] = one[j, j] = np.cos(angle)
        one[i, j], one[j, i] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.eye(3)[:, axes] * signs * zooms
    affine[:3, 3] = 10 * np.asarray(angles)
    return affine


def _judge_geometry(folder: Path, drawn: tuple) -> str:
    """Values do not depend on the affine; a mask elsewhere in space is refused."""
    *how, coded, elsewhere = drawn
    affine = turned(*how)
    data = content(plain_values(), affine=affine, coded=coded)
    moved = affine.copy()
    moved[:3, 3] += 0.6 * min(how[-1])
    mask = content(np.ones(SHAPE, np.uint8), affine=moved if elsewhere else affine, coded=coded)
    found = answer(lambda: like_plain(scan_of(folder, data, mask=mask)), folder / "mask.nii")
    if coded == "none":  # both lie where the size of their voxels says
        return found
    assert (found == "refused") == elsewhere
    return found


MASKS = st.tuples(
    st.lists(st.floats(width=32), min_size=1, max_size=6),
    st.sampled_from([SHAPE, (4, 3, 3), (4, 3), (*SHAPE, 1), (*SHAPE, 2), (4, 6, 1)]),
    st.sampled_from(["f4", "f8", "i2", "u1", "c8"]),
    st.sampled_from(["mask", "segmentation"]),
)


def _judge_masks(folder: Path, drawn: tuple) -> str:
    numbers, shape, kind, role = drawn
    values = np.resize(np.array(numbers, np.float64), shape)
    if kind in ("i2", "u1"):
        values = np.clip(np.nan_to_num(values), 0, 200)
    with np.errstate(all="ignore"):
        stored = values.astype(kind)
    stored_file, other = content(stored), folder / ("mask.nii" if role == "mask" else "labels.nii.gz")

    def read() -> str:
        if role == "mask":
            scan = scan_of(folder, PLAIN, mask=stored_file)
        else:
            scan = scan_of(folder, PLAIN, segmentation=put(other, stored_file))
        if role == "mask":
            with np.errstate(invalid="ignore"):
                np.testing.assert_array_equal(scan.mask, stored > 0)
        else:
            assert scan.segmentation.min() >= 0
            usual = np.nan_to_num(stored.astype(np.float64))
            assert np.abs(scan.segmentation - usual).max() <= 1e-3 * max(1.0, usual.max())
        return "accepted"

    found = answer(read, other)
    assert found == "refused" or shape == SHAPE
    return found


# -- text -------------------------------------------------------------------------------------------------------------

_JSON = st.recursive(
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
    return st.integers(0, 4).flatmap(lambda number: _JSON if number == 0 else st.sampled_from(usual))


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
                "EchoTime": _JSON,
            },
        ).map(lambda fields: json.dumps(fields).encode()),
        _JSON.map(lambda value: json.dumps(value).encode()),
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


_NUMBERS_AS_TEXT = st.one_of(
    st.floats().map(str),
    st.integers().map(str),
    st.sampled_from(["1_0", "1,5", "nan", "inf", "1e999", "-0", "", " 6 ", "0x10", "٣", "5s", "5\t"]),
    st.text(max_size=5),
)
TIMES = st.one_of(
    st.lists(_NUMBERS_AS_TEXT, max_size=FRAMES + 2).map(lambda lines: "\n".join(lines).encode("utf-8", "replace")),
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


def _table(rows: list[list[str]]) -> bytes:
    return "\n".join(",".join(row) for row in rows).encode("utf-8", "replace")


AIFS = st.one_of(
    st.tuples(
        st.sampled_from(["time_s", "time_min", "time", ""]),
        st.sampled_from(["cp_plasma_mM", "cb_blood_mM", "cp"]),
        st.lists(st.tuples(_NUMBERS_AS_TEXT, _NUMBERS_AS_TEXT), max_size=5),
    ).map(lambda t: _table([[t[0], t[1]], *map(list, t[2])])),
    st.lists(st.tuples(st.floats(-1e308, 1e308), st.floats()), min_size=2, max_size=30, unique_by=lambda t: t[0]).map(
        lambda rows: _table([["time_s", "cp_plasma_mM"], *([str(a), str(b)] for a, b in sorted(rows))])
    ),
    st.lists(st.lists(_NUMBERS_AS_TEXT, max_size=4), max_size=5).map(_table),
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
    _NUMBERS_AS_TEXT,
    st.text(max_size=12),
)
_COLUMNS = st.sampled_from(["input", "case_id", *facts.names(FitFacts)])
MANIFESTS = st.one_of(
    st.lists(_COLUMNS, max_size=4).flatmap(
        lambda columns: st.lists(
            st.lists(CELLS, min_size=len(columns) + 1, max_size=len(columns) + 1), min_size=1, max_size=3
        ).map(lambda rows: _table([["input", *columns], *rows]))
    ),
    st.lists(CELLS, min_size=1, max_size=3).map(
        lambda ids: _table([["input", "case_id"], *(["scan.nii", each] for each in ids)])
    ),
    st.lists(st.lists(CELLS, max_size=4), max_size=4).map(_table),
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


FLAGS = st.tuples(st.sampled_from(facts.names(FitFacts)), st.one_of(CELLS, _NUMBERS_AS_TEXT))


def _judge_flags(folder: Path, drawn: tuple) -> str:
    name, text = drawn

    def read() -> str:
        facts.parse(FitFacts, name, text, folder=folder, where=f"--{name}", place="")
        return "accepted"

    return answer(read, f"--{name}")


# -- weights ----------------------------------------------------------------------------------------------------------


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
    _JSON,
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


def weights_kind(plain: Path, load: Callable[[str], Any]) -> Kind:
    """Weights that differ from plain ones, as `load` takes them: it reads them and makes their networks."""
    with np.load(plain) as archive:
        arrays = {name: archive[name] for name in archive.files}
    record = json.loads(plain.with_suffix(".json").read_text())

    def judge(folder: Path, drawn: tuple) -> str:
        import hashlib

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


def only_parse(path: str) -> weights.Weights:
    """Read weights without networks."""
    return weights.load(path)


KINDS = {
    "NIfTI header, any bytes": Kind(HEADER_BYTES, _judge_header_bytes, share=3.0),
    "NIfTI header, odd values of its fields": Kind(HEADER_FIELDS, _judge_header_fields, share=3.0),
    "NIfTI header that declares more than there is": Kind(SIZES, _judge_sizes),
    "NIfTI extensions": Kind(EXTENSIONS, _judge_extensions),
    "gzip: members, trailing bytes, damage, bombs": Kind(GZIP, _judge_gzip),
    "types of voxels, byte orders, versions, scaling": Kind(TYPES, _judge_types),
    "oblique, flipped and permuted grids": Kind(ROTATIONS, _judge_geometry),
    "masks and segmentations": Kind(MASKS, _judge_masks),
    "sidecars": Kind(SIDECARS, _judge_sidecars, share=2.0),
    "files of frame times": Kind(TIMES, _judge_times),
    "arterial inputs": Kind(AIFS, _judge_aifs),
    "manifests and case ids": Kind(MANIFESTS, _judge_manifests, share=2.0),
    "text of flags": Kind(FLAGS, _judge_flags),
}
"""What functions read; `weights_kind` makes one more."""
