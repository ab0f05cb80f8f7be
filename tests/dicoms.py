"""DICOM as scanners write it, made with pydicom: classic Siemens, GE and Philips series, and enhanced multi-frame."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME, PATIENT_ID = "Doe^Jane", "MRN-4711"
SHAPE, FRAMES = (16, 14, 3), 8
DT_S, TR_MS, FLIP_DEG, TE_MS = 5.13, 5.0, 15.0, 2.0
SPACING, THICKNESS = (1.5, 1.25), 4.0  # between rows, between columns
FIRST_S = 10 * 3600 + 59 * 60 + 50.0  # the clock at the first frame: it passes an hour's end
ORIGIN = (-12.0, -20.0, 30.0)


def stored(seed: int = 0, shape: tuple[int, ...] = SHAPE, frames: int = FRAMES) -> np.ndarray:
    """Stored integers [X, Y, Z, T] that are all different from slice to slice and brighten with time."""
    rng = np.random.default_rng(seed)
    base = rng.integers(200, 400, shape)[..., None] + 40 * np.arange(shape[2])[:, None]
    enhancing = np.maximum(np.arange(frames) - 2, 0)
    return (base + 30 * enhancing + rng.integers(0, 5, (*shape, frames))).astype(np.uint16)


@dataclass
class Patient:
    """One study of one patient."""

    study: str = field(default_factory=generate_uid)
    reference: str = field(default_factory=generate_uid)

    def dataset(self, vendor: str, series: str, number: int, description: str) -> Dataset:
        made = Dataset()
        made.PatientName, made.PatientID, made.PatientBirthDate, made.PatientSex = NAME, PATIENT_ID, "19610203", "F"
        made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = self.study, series, self.reference
        made.StudyID, made.AccessionNumber, made.ReferringPhysicianName = "1", "ACC-99", ""
        made.StudyDate, made.StudyTime, made.SeriesNumber, made.SeriesDescription = "20240105", "105900", number, ""
        made.SeriesDescription = made.ProtocolName = description
        made.Manufacturer, made.ManufacturerModelName, made.Modality = vendor, "Scanner", "MR"
        made.MagneticFieldStrength, made.PatientPosition, made.SoftwareVersions = 3.0, "HFS", "1"
        made.DeviceSerialNumber, made.PositionReferenceIndicator = "123", ""
        return made


def clock(seconds: float) -> str:
    """A time of day as DICOM writes it."""
    minutes, rest = divmod(seconds % 86400, 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02d}{minutes:02d}{rest:09.6f}"


def save(path: Path, made: Dataset, kind: str = MRImageStorage) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.SOPClassUID, made.SOPInstanceUID = kind, made.get("SOPInstanceUID") or generate_uid()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, made.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    FileDataset(path, made, file_meta=meta, preamble=b"\0" * 128).save_as(path, enforce_file_format=True)
    return path


def _image(made: Dataset, pixels: np.ndarray) -> None:
    """Pixels [X, Y] or [N, X, Y]."""
    rows = np.ascontiguousarray(np.swapaxes(pixels, -1, -2))
    made.Rows, made.Columns = rows.shape[-2:]
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelData = rows.astype("<u2").tobytes()


def position(z: int) -> list[float]:
    return [*ORIGIN[:2], ORIGIN[2] + z * THICKNESS]


def classic(folder: Path, values: np.ndarray, vendor: str, *, patient: Patient | None = None, **options: Any) -> Path:
    """A series of one file per slice and frame.

    Options: number, description, tr_ms, flip_deg, te_ms, image_type, dt_s, first_s, and `timing`, which is called with
    dataset, frame and slice, and says what this vendor says of times.
    """
    patient, series = patient or Patient(), generate_uid()
    number = options.get("number", 5)
    first, dt = options.get("first_s", FIRST_S), options.get("dt_s", DT_S)
    frames, slices = values.shape[3], values.shape[2]
    for t in range(frames):
        for z in range(slices):
            made = patient.dataset(vendor, series, number, options.get("description", "t1 dyn"))
            made.ImageType = options.get("image_type", ["ORIGINAL", "PRIMARY", "M", "ND"])
            made.ScanningSequence, made.SequenceVariant, made.MRAcquisitionType = "GR", "SP", "3D"
            made.RepetitionTime, made.EchoTime = options.get("tr_ms", TR_MS), options.get("te_ms", TE_MS)
            made.FlipAngle = options.get("flip_deg", FLIP_DEG)
            made.PixelSpacing, made.SliceThickness = list(SPACING), THICKNESS
            made.SpacingBetweenSlices = THICKNESS
            made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], position(z)
            made.InstanceNumber = t * slices + z + 1
            made.AcquisitionDate = made.ContentDate = made.SeriesDate = "20240105"
            made.SeriesTime = clock(first)
            made.AcquisitionTime, made.ContentTime = clock(first), clock(first + dt * frames + 1)
            _TIMING[vendor](made, t, frames, first, dt)
            if "timing" in options:
                options["timing"](made, t, z)
            _image(made, values[:, :, z, t])
            save(folder / f"s{number}_{made.InstanceNumber:04d}.dcm", made)
    return folder


def _siemens(made: Dataset, t: int, frames: int, first: float, dt: float) -> None:
    made.AcquisitionNumber, made.AcquisitionTime = t + 1, clock(first + t * dt)


def _ge(made: Dataset, t: int, frames: int, first: float, dt: float) -> None:
    made.AcquisitionNumber, made.TriggerTime = 1, round(t * dt * 1e3, 1)
    if frames > 1:
        made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = t + 1, frames


def _philips(made: Dataset, t: int, frames: int, first: float, dt: float) -> None:
    made.AcquisitionNumber, made.TemporalPositionIdentifier, made.NumberOfTemporalPositions = 5, t + 1, frames
    made.RescaleSlope, made.RescaleIntercept, made.RescaleType = 2.5, 0.0, "normalized"
    block = made.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
    block.add_new(0x0E, "FL", 0.125)
    block.add_new(0xA0, "FL", t * dt)


SIEMENS, GE, PHILIPS = "SIEMENS", "GE MEDICAL SYSTEMS", "Philips Medical Systems"
_TIMING = {SIEMENS: _siemens, GE: _ge, PHILIPS: _philips}


def _one(**fields: Any) -> Sequence:
    item = Dataset()
    for name, value in fields.items():
        setattr(item, name, value)
    return Sequence([item])


def enhanced(
    path: Path, values: np.ndarray, *, patient: Patient | None = None, clocks: str = "both", private=False
) -> Path:
    """A series as one multi-frame file; `clocks` is datetime, offset, both or none; `private` as Philips has it."""
    made = (patient or Patient()).dataset(PHILIPS, generate_uid(), 7, "t1 dyn enhanced")
    made.ImageType, made.ContentDate, made.ContentTime = ["ORIGINAL", "PRIMARY", "M", "NONE"], "20240105", "110000"
    made.AcquisitionDateTime, made.AcquisitionNumber, made.InstanceNumber = f"20240105{clock(FIRST_S)}", 1, 1
    made.EchoPulseSequence, made.MRAcquisitionType, made.EchoPlanarPulseSequence = "GRADIENT", "3D", "NO"
    made.AcquisitionDuration, made.ComplexImageComponent = FRAMES * DT_S, "MAGNITUDE"
    made.SharedFunctionalGroupsSequence = _one(
        MRTimingAndRelatedParametersSequence=_one(RepetitionTime=TR_MS, FlipAngle=FLIP_DEG),
        MREchoSequence=_one(EffectiveEchoTime=TE_MS),
        PlaneOrientationSequence=_one(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=_one(
            PixelSpacing=list(SPACING), SliceThickness=THICKNESS, SpacingBetweenSlices=THICKNESS
        ),
        MRImageFrameTypeSequence=_one(
            FrameType=["ORIGINAL", "PRIMARY", "M", "NONE"],
            PixelPresentation="MONOCHROME",
            VolumetricProperties="VOLUME",
            VolumeBasedCalculationTechnique="NONE",
            ComplexImageComponent="MAGNITUDE",
            AcquisitionContrast="T1",
        ),
        PixelValueTransformationSequence=_one(RescaleSlope=1.5, RescaleIntercept=0.0, RescaleType="US"),
    )
    slices, frames = values.shape[2:]
    groups, pixels = [], []
    for z in range(slices):  # the slowest axis, as Philips has it
        for t in range(frames):
            content = Dataset()
            content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "1", z + 1, t + 1
            content.DimensionIndexValues = [1, z + 1, t + 1]
            if clocks in ("both", "datetime"):
                content.FrameAcquisitionDateTime = f"20240105{clock(FIRST_S + t * DT_S)}"
            content.FrameAcquisitionNumber = 1
            group = Dataset()
            group.FrameContentSequence = Sequence([content])
            group.PlanePositionSequence = _one(ImagePositionPatient=position(z))
            if clocks in ("both", "offset"):
                group.TemporalPositionSequence = _one(TemporalPositionTimeOffset=t * DT_S)
            if private:
                item = Dataset()
                block = item.private_block(0x2005, "Philips MR Imaging DD 001", create=True)
                block.add_new(0x0E, "FL", 0.25)
                block.add_new(0xA0, "FL", t * DT_S)
                outer = group.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
                outer.add_new(0x0F, "SQ", Sequence([item]))
            groups.append(group)
            pixels.append(values[:, :, z, t])
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    made.NumberOfFrames = len(groups)
    organization = generate_uid()
    made.DimensionOrganizationSequence = _one(DimensionOrganizationUID=organization)
    pointers = [(0x00209056, 0x00209111), (0x00209057, 0x00209111), (0x00209128, 0x00209111)]
    made.DimensionIndexSequence = Sequence(
        [
            _one(DimensionIndexPointer=p, FunctionalGroupPointer=g, DimensionOrganizationUID=organization)[0]
            for p, g in pointers
        ]
    )
    _image(made, np.stack(pixels))
    return save(path, made, EnhancedMRImageStorage)


def volume(made: Dataset) -> np.ndarray:
    """The frames of a multi-frame image as [X, Y, Z]: columns, rows, and slices by where they lie along z."""
    heights = [g.PlanePositionSequence[0].ImagePositionPatient[2] for g in made.PerFrameFunctionalGroupsSequence]
    return made.pixel_array[np.argsort(heights)].transpose(2, 1, 0)
