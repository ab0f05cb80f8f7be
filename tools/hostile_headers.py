"""NIfTI headers and compression that lie or break off, beside an independent reader of some ten lines."""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
from hostile_inputs import PLAIN, Kind, answer, content, like_plain, plain_values, scan_of
from hypothesis import strategies as st

from dcejax.data import nifti

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


KINDS = {
    "NIfTI header, any bytes": Kind(HEADER_BYTES, _judge_header_bytes, share=3.0),
    "NIfTI header, odd values of its fields": Kind(HEADER_FIELDS, _judge_header_fields, share=3.0),
    "NIfTI header that declares more than there is": Kind(SIZES, _judge_sizes),
    "NIfTI extensions": Kind(EXTENSIONS, _judge_extensions),
    "gzip: members, trailing bytes, damage, bombs": Kind(GZIP, _judge_gzip),
}
