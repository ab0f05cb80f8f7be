"""Reads what the commands leave in their folders."""

import json

import nibabel as nib
import numpy as np

MAPS = [f"desc-{s}_{p}.nii.gz" for s in ("mean", "std", "cv") for p in ("Ktrans", "vp", "ve")]


def sidecar(folder, case_id="p1", kind="dcejax"):
    return json.loads((folder / f"{case_id}_desc-{kind}.json").read_text())


def fitted(folder, case_id, name, description="fit"):
    return np.asarray(nib.load(folder / f"{case_id}_desc-{description}_{name}.nii.gz").dataobj)


def lines(folder):
    """Of the records of all shares."""
    return [json.loads(line) for path in sorted(folder.glob("cases*.jsonl")) for line in path.read_text().splitlines()]


def maps(folder, case_id="p1"):
    return {name: (folder / f"{case_id}_{name}").read_bytes() for name in MAPS}
