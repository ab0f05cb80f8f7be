"""Reads what inference leaves in its folder."""

import json

MAPS = [f"desc-{s}_{p}.nii.gz" for s in ("mean", "std", "cv") for p in ("Ktrans", "vp", "ve")]


def sidecar(folder, case_id="p1"):
    return json.loads((folder / f"{case_id}_desc-dcejax.json").read_text())


def lines(folder):
    return [json.loads(line) for line in (folder / "cases.jsonl").read_text().splitlines()]


def maps(folder, case_id="p1"):
    return {name: (folder / f"{case_id}_{name}").read_bytes() for name in MAPS}
