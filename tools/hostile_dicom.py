"""Folders of DICOM that are cut, mixed, incomplete or full of odd values, as the commands read them.

What does not change the dynamic series has to give its maps; what takes a part of it away has to be refused; odd values
of elements may do either, or be read as they say.
"""

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hostile_commands
import hostile_inputs as inputs
import numpy as np
import pydicom
from hostile_inputs import Kind
from hypothesis import strategies as st

from dcejax.cli import fit, infer

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))

import dicoms

_FOLDER, _CONVERTED = "patient", "dicom"
_SHAPE, _FRAMES = (6, 5, 2), 14
_FIT = {"model": "tofts", "method": "linear", "fit_delay": "false", "baseline_frames": 3}
_HEADER = 132  # bytes, preamble and magic
_LONG = (b"OB", b"OW", b"OF", b"SQ", b"UN", b"UT", b"UC", b"UR")  # whose lengths have four bytes

Files = dict[str, bytes]
"""Names below the folder, and what they hold."""

Places = dict[int, slice]
"""Where the value of each element stands."""

# Elements by what they may change: nothing; nothing but which files belong together; or what is measured.
_OF_NOTHING = {0x00080080: "LO", 0x00100030: "DA", 0x00100040: "CS", 0x00181000: "LO", 0x00080050: "SH"}
_ODD = (
    b"nan",
    b"inf",
    b"-inf",
    b"1e999",
    b"-1",
    b"0",
    b"",
    b" ",
    b"1\\2",
    b"9" * 16,
    b"x" * 16,
    b"\xff\xfe",
    b"\0" * 4,
)
_ELEMENTS = (
    *(0x00080008, 0x00080016, 0x00080018, 0x00080020, 0x00080022, 0x00080032, 0x00080060, 0x0008103E, 0x00100010),
    *(0x00100020, 0x00100030, 0x00180020, 0x00180050, 0x00180080, 0x00180081, 0x00180087, 0x00181314, 0x00181060),
    *(0x0020000D, 0x0020000E, 0x00200011, 0x00200012, 0x00200013, 0x00200032, 0x00200037, 0x00200100, 0x00280002),
    *(0x00280004, 0x00280008, 0x00280010, 0x00280011, 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103),
    *(0x00281052, 0x00281053, 0x7FE00010, 0x00020010, 0x2005100E, 0x200510A0),
)

HARMLESS = ("nothing", "text beside", "other series", "renamed", "deeper", "copy", "index", "compressed")
MISSING = ("cut", "compressed and cut", "slice", "study", "doubled", "no position", "other slice", "swapped matrix")
FREE = (
    "bytes",
    "element",
    "element of all",
    "frame",
    "no times",
    "times stand still",
    "cut anywhere",
    "empty",
    "no instance number",
)

_VENDORS = (dicoms.SIEMENS, dicoms.GE, dicoms.PHILIPS)
_ENHANCED = "one file of many frames"


def _damages(vendors: tuple[str, ...], what: tuple[str, ...]) -> st.SearchStrategy:
    odd = st.one_of(st.sampled_from(_ODD), st.binary(max_size=20), st.floats().map(lambda v: str(v)[:16].encode()))
    place, tag = st.integers(0, 1 << 20), st.sampled_from(_ELEMENTS)
    return st.tuples(st.sampled_from(vendors), st.sampled_from(what), place, tag, odd)


DAMAGE = st.one_of(
    _damages(_VENDORS, (*HARMLESS, *MISSING, *FREE, *["bytes", "element", "element of all"] * 3)),
    _damages((_ENHANCED,), ("nothing", "text beside", "renamed", "copy", "cut", "bytes", "element", "cut anywhere")),
)


def elements(data: bytes) -> Places:
    """Elements of a file of explicit little endian by their tags, by the letter of the standard; no sequences."""
    found, at = {}, _HEADER
    while at + 8 <= len(data):
        tag = int.from_bytes(data[at : at + 2], "little") << 16 | int.from_bytes(data[at + 2 : at + 4], "little")
        long = data[at + 4 : at + 6] in _LONG
        begin = at + (12 if long else 8)
        length = int.from_bytes(data[at + 8 : at + 12] if long else data[at + 6 : at + 8], "little")
        found[tag] = slice(begin, begin + length)
        at = begin + length
    return found


def with_value(data: bytes, tag: int, value: bytes) -> bytes:
    """The file with another value of an element, if it has that; without it where the value is empty of None."""
    place = elements(data).get(tag)
    if place is None:
        return data
    value += b" " * (len(value) % 2)
    width = 4 if data[place.start - 8 : place.start - 6] in _LONG else 2
    return data[: place.start - width] + len(value).to_bytes(width, "little") + value + data[place.stop :]


def without(data: bytes, tag: int) -> bytes:
    """The file without an element."""
    place = elements(data).get(tag)
    if place is None:
        return data
    return data[: place.start - (12 if data[place.start - 8 : place.start - 6] in _LONG else 8)] + data[place.stop :]


def compressed(data: bytes) -> bytes:
    """The file with its pixels compressed by run lengths, without loss."""
    made, packed = pydicom.dcmread(io.BytesIO(data)), io.BytesIO()
    made.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    made.save_as(packed)
    return packed.getvalue()


def read_folder(folder: Path) -> Files:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def series(folder: Path, vendor: str, values: np.ndarray, patient: dicoms.Patient, **options: Any) -> Files:
    """A series as files."""
    return read_folder(dicoms.classic(folder, values.astype(np.uint16), vendor, patient=patient, **options))


def changed(what: str, files: Files, place: int, tag: int, value: bytes, slices: int) -> Files:
    """What lies in the folder in place of `files`, which are sorted by frame and slice."""
    names = sorted(files)
    name = names[place % len(names)]
    data, files = files[name], dict(files)
    frame = names[slices * (place % max(1, len(names) // slices)) :][:slices]
    pixels = elements(data)[0x7FE00010]
    if what == "text beside":
        files |= {"notes.txt": value * 9, "empty": b"", "DICOMDIR": value, "a.json": b'{"RepetitionTime": 1}'}
    elif what == "renamed":
        files = {f"{place % (1 << n + 5):x}-{n}": files[each] for n, each in enumerate(reversed(names))}
    elif what == "deeper":
        files = {f"a{n % 3}/{'b' * (n % 2 + 1)}/{each}": files[each] for n, each in enumerate(names)}
    elif what == "copy":
        files[f"copy-{name}"] = data
    elif what == "no instance number":
        files = {each: without(content, 0x00200013) for each, content in files.items()}
    elif what == "index":
        files = {each: with_value(content, list(_OF_NOTHING)[place % 5], value[:4]) for each, content in files.items()}
    elif what == "cut":
        files[name] = data[: pixels.start + place % (pixels.stop - pixels.start)]
    elif what in ("compressed", "compressed and cut"):
        files = {each: compressed(content) for each, content in files.items()}
        if what == "compressed and cut":
            start = elements(files[name])[0x7FE00010].start  # an empty table and the header of the one fragment follow
            files[name] = files[name][: start + 16 + place % (len(files[name]) - start - 24)]
    elif what == "cut anywhere":
        files[name] = data[: place % len(data)]
    elif what == "empty":
        files = {} if place % 2 else {each: b"" for each in names}
    elif what == "slice":
        del files[name]
    elif what == "frame":
        files = {each: files[each] for each in names if each not in frame}
    elif what == "study":
        files[name] = with_value(data, 0x0020000D, b"1.2.3.4")
    elif what == "doubled":
        files["twin.dcm"] = data[: pixels.start] + bytes(pixels.stop - pixels.start) + data[pixels.stop :]
    elif what == "no position":
        files |= {each: without(files[each], 0x00200032) for each in (frame if place % 3 else [name])}
    elif what == "other slice":
        files[name] = with_value(data, 0x00200032, b"-12\\-20\\31.7")
    elif what == "swapped matrix":
        files[name] = with_value(data, 0x00280010, (dicoms.SHAPE[0]).to_bytes(2, "little"))
    elif what == "no times":
        for clock in (0x00080032, 0x0008002A, 0x00181060, 0x200510A0):
            files = {each: without(content, clock) for each, content in files.items()}
    elif what == "times stand still":
        files = {each: with_value(content, 0x00080032, b"110000") for each, content in files.items()}
    elif what == "bytes":
        at = place % (len(data) if place % 3 else pixels.start)
        files[name] = data[:at] + value + data[at + len(value) :]
    elif what == "element":
        files[name] = with_value(data, tag, value)
    elif what == "element of all":
        files = {each: with_value(content, tag, value) for each, content in files.items()}
    return files


def _judge(
    run: Callable[[Path], tuple[str, dict[str, np.ndarray]]],
    plain: dict[str, dict[str, np.ndarray]],
    whole: dict[str, Files],
    other: Files,
    slices: int,
) -> Callable[[Path, tuple], str]:
    def judge(folder: Path, drawn: tuple) -> str:
        vendor, what, place, tag, value = drawn
        files = changed(what, whole[vendor], place, tag, value, slices)
        if what == "other series":
            files |= other
        for name, data in files.items():
            inputs.put(folder / "in" / _FOLDER / name, data)
        (folder / "in" / _FOLDER).mkdir(parents=True, exist_ok=True)
        found, maps = run(folder)
        assert found == "refused" or what not in MISSING, f"{what}: something is missing"
        assert found != "refused" or what not in HARMLESS, f"{what}: nothing is missing"
        if found == "refused":
            return found
        alike = sorted(maps) == sorted(plain[vendor]) and all(
            np.array_equal(maps[name], plain[vendor][name]) for name in maps
        )
        assert alike or what not in HARMLESS, f"{what}: other maps"
        return "same" if alike else "accepted"

    return judge


def _write(folder: Path, files: Files) -> None:
    for name, data in files.items():
        inputs.put(folder / "in" / _FOLDER / name, data)


def _kind(shared: Path, values: np.ndarray, run: Callable[..., Any], share: float, **options: Any) -> Kind:
    patient = dicoms.Patient()
    whole = {v: series(shared / f"of{n}", v, values, patient, **options) for n, v in enumerate(_VENDORS)}
    whole[_ENHANCED] = {"all.dcm": dicoms.enhanced(shared / "all.dcm", values.astype(np.uint16)).read_bytes()}
    plain = {}
    for number, (vendor, files) in enumerate(whole.items()):
        _write(shared / f"plain{number}", files)
        plain[vendor] = run(shared / f"plain{number}", good=True)[1]
    localizer = {"number": 1, "description": "localizer", "first_s": dicoms.FIRST_S - 100}
    other = series(shared / "other", dicoms.SIEMENS, values[..., :1], patient, **localizer)
    return Kind(DAMAGE, _judge(run, plain, whole, other, values.shape[2]), share)


def dicom_kinds(shared: Path) -> dict[str, Kind]:
    """Folders of DICOM, of whole examinations that lie in `shared` and are run first."""
    curves = inputs.put(shared / "aif.csv", hostile_commands.aif())
    how = {"names": (_FOLDER,), "stays": _CONVERTED}

    def by_fit(folder: Path, *, good: bool = False) -> tuple[str, dict[str, np.ndarray]]:
        flags = {"input": folder / "in" / _FOLDER, "aif": curves, **_FIT}
        return hostile_commands.run(fit, folder, good=good, **how, **flags)

    weights = hostile_commands.tiny_weights(shared / "tiny")

    def by_infer(folder: Path, *, good: bool = False) -> tuple[str, dict[str, np.ndarray]]:
        return hostile_commands.run(infer, folder, good=good, **how, input=folder / "in" / _FOLDER, weights=weights)

    rising = dicoms.stored(shape=_SHAPE, frames=_FRAMES)
    signal = hostile_commands.infer_signal()
    return {
        "dcejax-fit: folders of DICOM": _kind(shared / "of fit", rising, by_fit, 0.5),
        "dcejax-infer: folders of DICOM": _kind(shared / "of infer", signal, by_infer, 0.1, dt_s=5.0),
    }
