"""Maps as DICOM Parametric Map objects, tied to the series that they were computed from.

Values are stored as the 32-bit floats that the NIfTI holds; a real-world value mapping says their unit and quantity.
Unlike all else that is written here, these objects name the patient, as the source does: they belong to its study.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import atomic, provenance
from dcejax.data.dicom import geometry, packages
from dcejax.data.dicom.headers import Plane
from dcejax.data.dicom.stacks import Stack

# DICOM PS3.16 CID 4107 and 4109.
_QUANTITIES = {
    "Ktrans": ("126312", "Ktrans"),
    "kep": ("126313", "kep"),
    "ve": ("126314", "ve"),
    "vp": ("126331", "vp"),
    "IAUC60": ("126321", "IAUC60"),
}
# DICOM PS3.16 CID 7464; what has none here is no plain value of its quantity, or its text alone says what it is.
_DERIVATIONS = {"median": ("373099004", "SCT", "Median"), "mean": ("373098007", "SCT", "Mean"), "fit": None}
_UCUM = {"1": ("1", "no units"), "1/min": ("/min", "/min"), "s": ("s", "s"), "mM s": ("mmol.s/L", "mmol.s/L")}
_UCUM["mL/(mL min)"] = ("mL/mL/min", "mL/mL/min")
_SERIES_NUMBER = 9900  # added to the source's, which no scanner reaches
_BRIGHT = 99.0  # percentile that a viewer shows as white


@dataclass(frozen=True)
class NamedMap:
    """A map on the grid of a converted series."""

    statistic: str  # median, q05, fit, ...
    quantity: str
    unit: str
    text: str  # one line
    values: np.ndarray  # [X, Y, Z] float32


def path_of(folder: Path, case_id: str, statistic: str, quantity: str) -> Path:
    """Where the object of a map lies."""
    return folder / f"{case_id}_desc-{statistic}_{quantity}.dcm"


def _mapping(one: NamedMap) -> Any:
    """What the stored numbers are: themselves, in a unit, of a quantity."""
    highdicom, sr = packages.require("highdicom"), packages.require("highdicom.sr")
    if one.unit not in _UCUM:
        raise ValueError(f"{one.quantity}: expected a unit among {', '.join(_UCUM)} for DICOM, found {one.unit}")
    value, meaning = _UCUM[one.unit]
    coded = _QUANTITIES.get(one.quantity) if one.statistic in _DERIVATIONS else None
    mapping = highdicom.pm.RealWorldValueMapping(
        lut_label=one.quantity[:16],
        lut_explanation=f"{one.statistic} {one.quantity}: {one.text}"[:64],
        unit=sr.CodedConcept(value, "UCUM", meaning),
        value_range=(float(one.values.min()), float(one.values.max())),
        slope=1.0,
        intercept=0.0,
        quantity_definition=sr.CodedConcept(coded[0], "DCM", coded[1]) if coded else None,
    )
    if coded and (derivation := _DERIVATIONS[one.statistic]):
        name = sr.CodedConcept("121401", "DCM", "Derivation")
        mapping.QuantityDefinitionSequence.append(sr.CodeContentItem(name=name, value=sr.CodedConcept(*derivation)))
    return mapping


def _pixels(values: np.ndarray, planes: Sequence[Plane], affine: np.ndarray) -> np.ndarray:
    """Values [X, Y, Z] as [planes, rows, columns] of the source."""
    frames = []
    for plane in planes:
        place = geometry.slice_of(plane, affine, values.shape)
        if place is None:
            raise ValueError(f"{plane.path}: expected a plane of the maps' grid, found one elsewhere in space")
        z, flips = place
        frames.append(values[:, :, z][flips].T)
    return np.ascontiguousarray(frames, dtype=np.float32)


def _references(source: Stack, sop_class: str) -> dict[str, list[Any]]:
    """References to all instances of a stack, by series."""
    pydicom, seen = packages.require("pydicom"), set()
    found: dict[str, list[Any]] = {}
    for plane in (plane for frame in source.planes for plane in frame):
        if plane.instance_uid not in seen:
            seen.add(plane.instance_uid)
            item = pydicom.Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, plane.instance_uid
            found.setdefault(plane.series_uid, []).append(item)
    return found


def _refer(made: Any, references: dict[str, list[Any]]) -> None:
    """Refer to the whole stack; highdicom itself takes milliseconds for each of thousands of images."""
    made.SourceImageSequence = [item for items in references.values() for item in items]
    series = []
    for uid, items in references.items():
        one = packages.require("pydicom").Dataset()
        one.SeriesInstanceUID, one.ReferencedInstanceSequence = uid, items
        series.append(one)
    made.ReferencedSeriesSequence = series


def write(
    folder: Path, case_id: str, maps: Sequence[NamedMap], affine: np.ndarray, source: Stack, identity: str
) -> None:
    """Write maps as objects of one new series in the source's study, each atomically.

    Args:
        folder: that exists.
        case_id: names the files.
        maps: on the grid of the converted series.
        affine: of that grid.
        source: the series that they were computed from; each frame refers to its slice at the first time, and the
            object to all instances.
        identity: hash of all that shapes the maps; the same one gives the same UIDs.

    Raises:
        ValueError: no package that writes DICOM, planes on another grid, or a folder that cannot be written.
    """
    highdicom, pydicom = packages.require("highdicom"), packages.require("pydicom")
    planes = source.planes[0]
    paths = list(dict.fromkeys(plane.path for plane in planes))
    originals = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    references = _references(source, originals[0].SOPClassUID)
    first = planes[0]
    space = {
        "plane_positions": [highdicom.PlanePositionSequence("PATIENT", plane.position) for plane in planes],
        "plane_orientation": highdicom.PlaneOrientationSequence("PATIENT", first.orientation),
        "pixel_measures": highdicom.PixelMeasuresSequence(first.spacing, _thickness(planes), _thickness(planes)),
    }
    series_uid = pydicom.uid.generate_uid(entropy_srcs=[identity, "series"])
    for number, one in enumerate(maps, start=1):
        finite = np.nan_to_num(one.values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = (
            min(0.0, float(finite.min())),
            float(np.percentile(finite[finite != 0], _BRIGHT)) if finite.any() else 1.0,
        )
        made = highdicom.pm.ParametricMap(
            source_images=originals,
            pixel_array=_pixels(finite, planes, affine),
            series_instance_uid=series_uid,
            series_number=_SERIES_NUMBER + (first.series_number or 0) % 1000,
            sop_instance_uid=pydicom.uid.generate_uid(entropy_srcs=[identity, one.statistic, one.quantity]),
            instance_number=number,
            manufacturer="dcejax",
            manufacturer_model_name="dcejax",
            software_versions=provenance.version("dcejax"),
            device_serial_number="0",
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(one)],
            voi_lut_transformations=[
                highdicom.VOILUTTransformation(window_center=(low + high) / 2, window_width=max(high - low, 1e-6))
            ],
            content_label=f"{one.statistic}_{one.quantity}".upper()[:16],
            content_description=f"{one.statistic} {one.quantity}, research only"[:64],
            series_description="dcejax maps, research only",
            derivation=pydicom.sr.coding.Code("129104", "DCM", "Perfusion image analysis"),
            **space,
        )
        _refer(made, references)
        content = io.BytesIO()
        made.save_as(content)
        atomic.write_bytes(path_of(folder, case_id, one.statistic, one.quantity), content.getvalue())


def _thickness(planes: Sequence[Plane]) -> float:
    """From slice to slice, mm; of one slice nothing is known."""
    return round(abs(planes[-1].height - planes[0].height) / max(len(planes) - 1, 1), 6) or 1.0
