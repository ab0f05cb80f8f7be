"""Stacks to NIfTI by dcm2niix, and the proof that it put every slice of every frame where the headers say."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import nifti
from dcejax.data.dicom import geometry, packages
from dcejax.data.dicom.headers import Plane
from dcejax.data.dicom.stacks import Stack

_SAME_VALUE = 1e-5  # of the largest value: what single precision may change
LONGEST_S = 1800
"""For one series; 2,400 images take 11."""


def version() -> str:
    """That of the package."""
    return packages.require("dcm2niix").__version__


def _stage(stack: Stack, folder: Path) -> None:
    """Link the stack's files, and them alone, under names that say nothing."""
    folder.mkdir()
    paths = dict.fromkeys(plane.path for frame in stack.planes for plane in frame)
    for number, path in enumerate(paths):
        target = folder / f"{number:06d}.dcm"
        try:
            target.symlink_to(path.absolute())
        except OSError:  # file systems without links
            shutil.copyfile(path, target)


def convert(stack: Stack, folder: Path) -> nifti.Image:
    """Convert a stack, in an empty folder that exists; the NIfTI stays there.

    Returns:
        The series [X, Y, Z, T] in real values, T at the end even if it is 1.

    Raises:
        ValueError: dcm2niix fails, or gives no image of the stack's shape.
    """
    parts = stack.by_series()
    if len(parts) == 1:
        return _convert(stack, folder)
    images = []
    for number, part in enumerate(parts):
        (folder / str(number)).mkdir()
        images.append(_convert(part, folder / str(number)))
    return _written(folder / "joined.nii.gz", np.concatenate([image.values for image in images], axis=-1), images[0])


def _written(path: Path, values: np.ndarray, like: nifti.Image) -> nifti.Image:
    nifti.write(path, values.astype(np.float32), like.affine, None, "from several images", level=1)
    return nifti.Image(path, values, like.affine, like.header)


def _convert(stack: Stack, folder: Path) -> nifti.Image:
    """The same of a stack that is one series."""
    program = packages.require("dcm2niix").bin
    staged, out = folder / "dicom", folder / "nifti"
    _stage(stack, staged)
    out.mkdir()
    # -p o: where the scaling for display varies, -p y mixes it with the precise one. -x i: single volumes may else be
    # turned, and would no longer lie on the grid of the dynamic series.
    options = ["-b", "n", "-z", "n", "-p", "o", "-c", "", "-x", "i", "-d", "0", "-f", "series"]
    command = [program, *options, "-o", str(out), str(staged)]
    found, told = "none", ""
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=LONGEST_S)
        text = (done.stdout + done.stderr).decode(errors="replace")  # which repeats headers
        lines = [line for line in text.splitlines() if line.startswith(("Error", "Warning"))]
        told = f" ({'; '.join([f'exit code {done.returncode}', *lines])})"
        images = [nifti.read_any(path) for path in sorted(out.glob("*.nii"))]
        fitting = [image for image in images if image.values.shape == (*stack.shape, stack.frames)]
        if len(fitting) == 1:
            return _scaled(stack, fitting[0])
        found = ", ".join(_by(image.values.shape) for image in images) or found
    except subprocess.TimeoutExpired:
        found = f"none within {LONGEST_S} s"
    except ValueError as error:  # it wrote a NIfTI that is none
        found = f"another ({str(error).partition('found ')[2]})"
    raise ValueError(
        f"{stack.first.path.parent}: {stack.name}: expected one image of {_by((*stack.shape, stack.frames))} from "
        f"dcm2niix, found {found}{told}; export the series again, or convert it yourself and give the NIfTI with "
        "--times, --tr_ms and --flip_angle_deg"
    )


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _scaled(stack: Stack, image: nifti.Image) -> nifti.Image:
    """The image with each plane's own scaling, where that varies."""
    first = stack.first
    if all((p.slope, p.intercept) == (first.slope, first.intercept) for frame in stack.planes for p in frame):
        return image
    values = np.rint((image.values - first.intercept) / first.slope)
    for t, frame in enumerate(stack.planes):
        for plane in frame:
            if (place := geometry.slice_of(plane, image.affine, values.shape)) is not None:
                values[:, :, place[0], t] = values[:, :, place[0], t] * plane.slope + plane.intercept
    return _written(image.path.with_suffix(".nii.gz"), values, image)


def _pixels(plane: Plane, read: dict[Path, Any]) -> np.ndarray | None:
    """Real values [rows, columns] of a plane; None where no decoder for its compression is installed."""
    if plane.path not in read:
        read.clear()  # one file at a time: enhanced ones are large
        try:
            read[plane.path] = packages.require("pydicom").dcmread(plane.path).pixel_array
        except (RuntimeError, NotImplementedError):
            read[plane.path] = None
        except (OSError, MemoryError):
            raise
        except Exception as error:  # pydicom raises many kinds
            raise ValueError(
                f"{plane.path}: expected whole pixels, found damaged ones ({error}); export it again"
            ) from error
    stored = read[plane.path]
    if stored is None:
        return None
    return (stored[plane.frame] if stored.ndim == 3 else stored) * plane.slope + plane.intercept


def _likely_reason(plane: Plane) -> str:
    """Why dcm2niix and pydicom may read other values, and what to do."""
    syntax = packages.require("pydicom").dcmread(plane.path, stop_before_pixels=True).file_meta.TransferSyntaxUID
    compressed = f"dcm2niix may not know this kind of {syntax.name}: store the files uncompressed (gdcmconv --raw); or "
    return (compressed if syntax.is_compressed else "") + (
        "the headers of this series contradict each other: convert it yourself, compare, and give the NIfTI with "
        "--times, --tr_ms and --flip_angle_deg"
    )


def check_order(stack: Stack, image: nifti.Image, progress: Callable[[int, int], None]) -> list[str]:
    """Compare one slice of every frame, a different one each time, with the pixels of its DICOM file, and with it all
    that the same file holds of this frame.

    Returns:
        Warnings.

    Raises:
        ValueError: a frame or slice that is another's, or values on another scale.
    """
    read: dict[Path, Any] = {}
    tolerance = _SAME_VALUE * float(np.abs(image.values).max())
    slices = len(stack.planes[0])
    frames = range(max(stack.frames, slices))  # every slice at least once
    for number in frames:
        progress(number, len(frames))
        frame = number % stack.frames
        one = stack.planes[frame][number % slices]
        for plane in (plane for plane in stack.planes[frame] if plane.path == one.path):
            pixels = _pixels(plane, read)
            if pixels is None:
                return [
                    f"{stack.name}: pydicom cannot decode it, so the order of frames was not compared with dcm2niix's"
                ]
            place = geometry.slice_of(plane, image.affine, image.values.shape)
            if place is None or np.abs(image.values[:, :, place[0], frame] - pixels.T[place[1]]).max() > tolerance:
                raise ValueError(
                    f"{plane.path}: expected the slice at {plane.height:.5g} mm in frame {frame} (counted from 0) of "
                    f"what dcm2niix made, found other values there; {_likely_reason(plane)}"
                )
    return []
