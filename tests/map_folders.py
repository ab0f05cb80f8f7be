"""Folders of maps of a few small heads, as programs leave them."""

import hashlib
import json

import numpy as np

from dcejax.data import nifti, results
from dcejax.types import PARAMETERS

SHAPE, AFFINE = (14, 11, 5), np.diag([2.0, 2.0, 4.0, 1.0])
TYPICAL = {"Ktrans": 0.08, "vp": 0.03, "ve": 0.25}


def head():
    """Voxels that have estimates [X, Y, Z]."""
    x, y, _ = np.indices(SHAPE)
    return (np.hypot((x - 6.5) / 6.5, (y - 5) / 5) < 1.0) & (np.arange(SHAPE[2]) > 0)


def labels():
    """A tumour of two labels [X, Y, Z]; the third lies outside the head."""
    found = np.zeros(SHAPE, np.uint8)
    found[4:9, 3:8, 1:4] = 1
    found[9:11, 3:8, 1:4] = 2
    found[0, 0, :] = 3
    return found


def maps(seed, level=1.0):
    """Parameter -> [X, Y, Z], zero outside the head."""
    rng = np.random.default_rng(seed)
    return {
        name: np.where(head(), level * typical * np.exp(rng.normal(0, 0.6, SHAPE)), 0).astype(np.float32)
        for name, typical in TYPICAL.items()
    }


def segmentation(folder, values=None):
    """Write the labels with their names; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tumour_dseg.nii.gz"
    nifti.write(path, labels() if values is None else values, AFFINE, None, "labels")
    path.with_name("tumour_dseg.tsv").write_text("index\tname\n1\trim\n2\tcore\n")
    return path


def write(folder, case, values, statistic="fit", seen=None, posterior=None):
    """Write maps of a case into a folder, with a record that names a segmentation, if one was `seen`.

    `posterior`: (label, parameter) -> expected median, 5 and 95 % quantile, of the record and table of dcejax-infer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, volume in values.items():
        nifti.write(results.map_path(folder, case, statistic, name), volume, AFFINE, None, "map")
    record = {}
    if seen is not None:
        digest = hashlib.sha256(seen.read_bytes()).hexdigest()
        record["inputs"] = {"segmentation": {"file": str(seen), "sha256": digest}}
    if posterior is not None:
        outputs = {f"{statistic}_{name}": {"statistic": statistic, "kind": "estimate"} for name in PARAMETERS}
        record["maps"] = outputs
        columns = ("label", "map", "expected_median", "median_q05", "median_q95")
        rows = [dict(zip(columns, (*key, *ends), strict=True)) for key, ends in posterior.items()]
        (folder / f"{case}_rois.csv").write_text(results.csv_text(columns, rows))
    (folder / f"{case}_desc-{'fit' if posterior is None else 'dcejax'}.json").write_text(json.dumps(record))
