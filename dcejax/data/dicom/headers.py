"""What the headers of DICOM images say, one record for each plane: a classic file, or a frame of an enhanced one.

Only what conversion needs is read; names, dates of birth and other identifiers never enter a record.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data.dicom import files, packages, times_of_day

_PHILIPS = "Philips MR Imaging DD 001"
_SCALE_SLOPE, _DYNAMIC_BEGIN = 0x0E, 0xA0  # elements of that private block: (2005,100E), (2005,10A0)
_PHILIPS_FRAME, _FRAME = "Philips MR Imaging DD 005", 0x0F  # (2005,140F)

CLOCKS = ("AcquisitionDateTime", "AcquisitionTime", "TemporalPositionTimeOffset", "DynamicScanBeginTime", "TriggerTime")
"""Where the time of a plane may stand, the most trusted first. The fourth is a private element of Philips."""

_IDENTIFYING = ("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber")
_REMOVED = "PatientIdentityRemoved"
_SHORTEST_IDENTIFIER = 3  # shorter words are in everything
_ROUNDED = 0.01  # headers round the cosines of directions
_FARTHEST_MM = 1e5

# What is read of classic files; of enhanced ones, groups hold it.
_KEYWORDS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("Modality", "Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "ImageType", "InstanceNumber"),
    *(
        "Rows",
        "Columns",
        "BitsAllocated",
        "PixelSpacing",
        "ImageOrientationPatient",
        "ImagePositionPatient",
        "NumberOfFrames",
    ),
    *("RepetitionTime", "FlipAngle", "EchoTime", "ScanningSequence", "EchoPulseSequence", "EchoPlanarPulseSequence"),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "AcquisitionNumber", "TriggerTime"),
    *("TemporalPositionIdentifier", "ComplexImageComponent", "RescaleSlope", "RescaleIntercept", "TemporalResolution"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_PRIVATE = (0x20050010, 0x20050011, 0x20050012, 0x20050013, 0x20050014, 0x2005100E, 0x200510A0)
_PRIVATE += tuple(0x20050000 + (block << 8) + e for block in (0x11, 0x12, 0x13, 0x14) for e in (0x0E, 0xA0))


@dataclass(frozen=True)
class Plane:
    """One image of a slice at a time."""

    path: Path
    frame: int  # within the file, from 0
    instance_uid: str
    study_uid: str
    series_uid: str
    series_number: int | None
    description: str  # of the series, without words that name the patient
    modality: str
    image_type: tuple[str, ...]
    magnitude: bool
    gradient_echo: bool  # unless the header says that it is something else
    shape: tuple[int, int]  # rows, columns
    spacing: tuple[float, float]  # mm, between rows and between columns
    orientation: tuple[float, ...]  # direction cosines along a row, then down a column, LPS
    position: tuple[float, ...]  # mm, LPS, of the first pixel
    tr_ms: float | None
    flip_angle_deg: float | None
    te_ms: float | None
    clocks: Mapping[str, float]  # s, by the names of `CLOCKS`; those with a date count from a fixed day
    temporal_index: int | None
    acquisition_number: int | None
    instance_number: int
    slope: float  # from stored to real values
    intercept: float
    scanner: tuple[str, str, float | None]  # manufacturer, model, field in T

    @property
    def normal(self) -> np.ndarray:
        """The direction across the plane, [3]."""
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def height(self) -> float:
        """Where the plane lies along its normal, mm."""
        return float(self.normal @ np.asarray(self.position))

    @property
    def derived(self) -> bool:
        """Whether it was computed from other images."""
        return self.image_type[:1] == ("DERIVED",)


def identifiers(header: Any) -> frozenset[str]:
    """Words of a header that name the patient or the examination, in lower case; none once it is de-identified."""
    words: set[str] = set()
    if str(header.get(_REMOVED, "")).upper() == "YES":
        return frozenset()
    for keyword in _IDENTIFYING:
        for part in str(header.get(keyword, "")).lower().replace("^", " ").replace("=", " ").split():
            words.add(part)
    return frozenset(word for word in words if len(word) >= _SHORTEST_IDENTIFIER)


def names_patient(text: str, words: frozenset[str]) -> bool:
    """Whether a text holds one of the words that `identifiers` finds."""
    return any(word in text.lower() for word in words)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _philips(header: Any, element: int) -> float | None:
    try:
        return _number(header.private_block(0x2005, _PHILIPS)[element].value)
    except KeyError:
        return None


def _philips_frame(group: Any) -> Any:
    """The private item of a frame of an enhanced image, in which the elements of classic ones stand."""
    try:
        return group.private_block(0x2005, _PHILIPS_FRAME)[_FRAME].value[0]
    except (KeyError, IndexError, TypeError):
        return None


def _scaling(slope: Any, intercept: Any, scale: float | None) -> tuple[float, float]:
    """From stored to real values; of Philips those that other series of the examination share, not those for display.

    Real is (stored × slope + intercept) / (slope × scale), as dcm2niix has it by default.
    """
    slope, intercept = _number(slope) or 1.0, _number(intercept) or 0.0
    return (1.0 / scale, intercept / (slope * scale)) if scale else (slope, intercept)


def _item(groups: Sequence[Any], sequence: str) -> Any:
    """The one item of a functional group, from the frame's own or the shared groups."""
    for group in groups:
        if group is not None and (items := group.get(sequence)):
            return items[0]
    return {}


def _of_series(header: Any) -> dict[str, Any]:
    words, description = identifiers(header), str(header.get("SeriesDescription", ""))
    return {
        "study_uid": str(header.get("StudyInstanceUID", "")),
        "series_uid": str(header.get("SeriesInstanceUID", "")),
        "series_number": _whole(header.get("SeriesNumber")),
        "description": "" if names_patient(description, words) else description,
        "modality": str(header.get("Modality", "")),
        "instance_uid": str(header.get("SOPInstanceUID", "")),
        "shape": (int(header.Rows), int(header.Columns)),
        "scanner": (
            str(header.get("Manufacturer", "")),
            str(header.get("ManufacturerModelName", "")),
            _number(header.get("MagneticFieldStrength")),
        ),
    }


def _check_place(plane: Plane) -> None:
    """Raise ValueError if a plane lies nowhere in space."""
    sizes = len(plane.spacing), len(plane.orientation), len(plane.position)
    # What is not a number compares as false.
    if sizes != (2, 6, 3) or not (min(plane.spacing) > 0 and abs(plane.height) < _FARTHEST_MM):
        raise ValueError("no place in space")
    if not abs(np.linalg.norm(plane.normal) - 1) < _ROUNDED:
        raise ValueError("rows and columns that are not at right angles")


def _clocks(**found: float | None) -> dict[str, float]:
    return {name: value for name, value in found.items() if value is not None}


def _classic(header: Any, path: Path) -> Plane:
    day, time = times_of_day.of_date(header.get("AcquisitionDate")), times_of_day.of_time(header.get("AcquisitionTime"))
    trigger, kind = _number(header.get("TriggerTime")), tuple(map(str, header.get("ImageType") or ()))
    scale = _philips(header, _SCALE_SLOPE)
    slope, intercept = _scaling(header.get("RescaleSlope"), header.get("RescaleIntercept"), scale)
    sequence = header.get("ScanningSequence") or ()
    sequence = {sequence} if isinstance(sequence, str) else set(sequence)
    return Plane(
        **_of_series(header),
        path=path,
        frame=0,
        image_type=kind,
        magnitude=str(header.get("ComplexImageComponent", "MAGNITUDE")) == "MAGNITUDE"
        and not {"P", "R", "I"} & set(kind),
        gradient_echo=not sequence or ("GR" in sequence and "EP" not in sequence),
        spacing=tuple(map(float, header.PixelSpacing)),
        orientation=tuple(map(float, header.ImageOrientationPatient)),
        position=tuple(map(float, header.ImagePositionPatient)),
        tr_ms=_number(header.get("RepetitionTime")),
        flip_angle_deg=_number(header.get("FlipAngle")),
        te_ms=_number(header.get("EchoTime")),
        clocks=_clocks(
            AcquisitionDateTime=times_of_day.of_date_and_time(header.get("AcquisitionDateTime")),
            AcquisitionTime=None if time is None else time + (day or 0.0),
            DynamicScanBeginTime=_philips(header, _DYNAMIC_BEGIN),
            TriggerTime=None if trigger is None else trigger * 1e-3,
        ),
        temporal_index=_whole(header.get("TemporalPositionIdentifier")),
        acquisition_number=_whole(header.get("AcquisitionNumber")),
        instance_number=_whole(header.get("InstanceNumber")) or 0,
        slope=slope,
        intercept=intercept,
    )


def _enhanced(header: Any, path: Path) -> Iterator[Plane]:
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    of_series = _of_series(header)
    echo = str(header.get("EchoPulseSequence", "GRADIENT")), str(header.get("EchoPlanarPulseSequence", "NO"))
    for number, own in enumerate(header.PerFrameFunctionalGroupsSequence):
        groups = (own, shared)
        timing, content = _item(groups, "MRTimingAndRelatedParametersSequence"), _item(groups, "FrameContentSequence")
        kind, scaling = _item(groups, "MRImageFrameTypeSequence"), _item(groups, "PixelValueTransformationSequence")
        measures = _item(groups, "PixelMeasuresSequence")
        trigger = _number(_item(groups, "CardiacSynchronizationSequence").get("NominalCardiacTriggerDelayTime"))
        private = _philips_frame(own)
        scale, begin = (None if private is None else _philips(private, e) for e in (_SCALE_SLOPE, _DYNAMIC_BEGIN))
        slope, intercept = _scaling(scaling.get("RescaleSlope"), scaling.get("RescaleIntercept"), scale)
        component = kind.get("ComplexImageComponent", header.get("ComplexImageComponent", "MAGNITUDE"))
        yield Plane(
            **of_series,
            path=path,
            frame=number,
            image_type=tuple(map(str, kind.get("FrameType") or header.get("ImageType") or ())),
            magnitude=str(component) == "MAGNITUDE",
            gradient_echo=echo == ("GRADIENT", "NO"),
            spacing=tuple(map(float, measures["PixelSpacing"].value)),
            orientation=tuple(map(float, _item(groups, "PlaneOrientationSequence")["ImageOrientationPatient"].value)),
            position=tuple(map(float, _item(groups, "PlanePositionSequence")["ImagePositionPatient"].value)),
            tr_ms=_number(timing.get("RepetitionTime")),
            flip_angle_deg=_number(timing.get("FlipAngle")),
            te_ms=_number(_item(groups, "MREchoSequence").get("EffectiveEchoTime")),
            clocks=_clocks(
                AcquisitionDateTime=times_of_day.of_date_and_time(content.get("FrameAcquisitionDateTime")),
                TemporalPositionTimeOffset=_number(
                    _item(groups, "TemporalPositionSequence").get("TemporalPositionTimeOffset")
                ),
                DynamicScanBeginTime=begin,
                TriggerTime=None if trigger is None else trigger * 1e-3,
            ),
            temporal_index=_whole(content.get("TemporalPositionIndex")),
            acquisition_number=_whole(content.get("FrameAcquisitionNumber")),
            instance_number=number,
            slope=slope,
            intercept=intercept,
        )


@dataclass(frozen=True)
class Folder:
    """All planes of a folder."""

    path: Path
    planes: tuple[Plane, ...]
    words: frozenset[str]  # that name the patient, for what must not hold them


def _series_of(header: Any) -> str:
    try:
        return str(header.get("SeriesInstanceUID", ""))
    except Exception:
        return ""


def _is_cut(header: Any, left: int) -> bool:
    """Whether so many bytes after the header are too few for its pixels; of compressed ones the decoder tells."""
    groups = header.get("PerFrameFunctionalGroupsSequence")
    frames = int(header.get("NumberOfFrames") or 1)
    if groups is not None and len(groups) != frames:
        return True
    if "Rows" not in header or header.file_meta.TransferSyntaxUID.is_compressed:
        return False
    pixels = int(header.Rows) * int(header.Columns) * frames * int(header.get("BitsAllocated") or 16) // 8
    return left < pixels


def read_folder(folder: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Folder:
    """Read the headers of all DICOM files in a folder and below it; `progress` is told how many of how many.

    Raises:
        ValueError: no package that reads DICOM, no file that holds an image in space, or one that is damaged.
    """
    pydicom = packages.require("pydicom")
    found, planes, words, misplaced = files.find(folder), [], frozenset(), {}
    for number, path in enumerate(found):
        progress(number, len(found))
        try:
            with open(path, "rb") as file:
                wanted = [*_KEYWORDS, *_PRIVATE, *_IDENTIFYING, _REMOVED]
                header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=wanted)
                cut = "it ends early" if _is_cut(header, path.stat().st_size - file.tell()) else ""
        except Exception as error:  # pydicom raises many kinds for files that are cut or damaged
            cut = str(error)
        if cut:
            raise ValueError(f"{path}: expected a whole DICOM file, found one that is damaged ({cut}); export it again")
        try:
            words |= identifiers(header)
            if "Rows" not in header:
                continue  # reports, spectra
            several = "PerFrameFunctionalGroupsSequence" in header
            made = [*_enhanced(header, path)] if several else [_classic(header, path)]
            for plane in made:
                _check_place(plane)
            planes += made
        except (OSError, MemoryError):
            raise
        except Exception as error:  # scouts, which lie nowhere; and of odd values pydicom raises many kinds
            misplaced[_series_of(header)] = f"{path}", error
    if not planes:
        raise ValueError(
            f"{folder}: expected DICOM images with a position in space, found {len(found)} DICOM file(s) without; give "
            "the folder of the series"
        )
    for series in {plane.series_uid for plane in planes} & set(misplaced):
        path, error = misplaced[series]
        raise ValueError(
            f"{path}: expected an image with a place in space like others of its series, found {error}; export the "
            "series again"
        )
    return Folder(folder, tuple(planes), words)
