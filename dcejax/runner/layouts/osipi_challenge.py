"""What the DCE challenges of OSIPI ask for.

    Ktrans/Synthetic_P1_Visit1.nii                 for the published challenge: hand in this folder, named as the team
    scans/Synthetic/P1/Visit1/Ktrans.nii.gz        as the organisers' checks of 2026 look for them: also vp, ve and kep
    scans/Synthetic/P1/Visit1/modelled_st.nii.gz   where there are, and the modelled signal [X, Y, Z, T]
    methods.txt rois.csv                           written from the records of all cases
    details/                                       all that the commands write, the records among it

The published challenge names maps `Synthetic_P#_Visit#.nii` or `Clinical_P#_Visit#.nii` (README and
Scoring/challengeScoring.py in OSIPI/TF6.2_DCE-DSC-MRI_Challenges, which takes every NIfTI of the folder for a map of
Ktrans). Other cases keep their names. Ktrans is in 1/min. Voxels without an estimate are NaN, which the organisers'
programs leave out. Standard deviations are those of the population and the coefficient of variation is relative to the
mean, as they compute them.
"""

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.data import dataset, nifti, plain_text, presence, results
from dcejax.data.cases import Case
from dcejax.runner.layouts import methods_text, regions
from dcejax.runner.layouts.layout import Layout, Place, Told

_NAMED = re.compile(r"(synthetic|clinical)[-_]?p(\d+)[-_/]?visit[-_]?(\d+)", re.IGNORECASE)
_MAPS = ("Ktrans", "vp", "ve", "kep")
_COLUMNS = ("scan", "label", "roi", "map", "unit", "voxels", "share_covered", "median", "sd", "cov")
_WHOLE = "mask"
_KEY = "osipi"  # of a record


def name_of(case: Case) -> str:
    """How the challenge calls a case, if its name or its path does so, else its own name."""
    found = _NAMED.search(case.case_id) or _NAMED.search(case.path.as_posix())
    if found is None:
        return case.case_id
    return f"{found[1].capitalize()}_P{int(found[2])}_Visit{int(found[3])}"


def _statistics(values: np.ndarray) -> dict[str, Any]:
    """Median, population SD and its ratio to the mean of a region's values; nothing of what cannot be computed."""
    found = values[np.isfinite(values)].astype(np.float64)
    row: dict[str, Any] = {"voxels": int(values.size), "share_covered": found.size / max(values.size, 1)}
    if not found.size:
        return row
    mean, sd = float(found.mean()), float(found.std())
    return row | {"median": float(np.median(found)), "sd": sd} | ({"cov": sd / abs(mean)} if abs(mean) > 1e-12 else {})


def roi_rows(name: str, told: Told) -> list[dict[str, Any]]:
    """Statistics of the maps in each region of the segmentation and in the mask."""
    units = {output.quantity: output.unit for output in told.outputs if output.kind == "estimate"}
    inside = {label: told.scan.segmentation == label for label in regions.sizes(told)}
    rows = []
    for label, voxels in {**inside, 0: told.scan.mask}.items():
        roi = _WHOLE if label == 0 else told.label_names.get(label, f"label {label}")
        for quantity in _MAPS:
            if quantity in told.estimates:
                identity = {"scan": name, "label": label, "roi": roi, "map": quantity, "unit": units[quantity]}
                rows.append(identity | _statistics(told.estimates[quantity][voxels]))
    return rows


class OsipiChallenge(Layout):
    """A folder to hand in, and the details beside it."""

    wants_modelled = True

    def __init__(self, root: Path, analysis: str, cases: Sequence[Case]):
        """Name all cases.

        Raises:
            ValueError: two cases would have one name.
        """
        super().__init__(root, analysis, cases)
        self._names = {case.case_id: name_of(case) for case in cases}
        first: dict[str, str] = {}
        for case_id, name in self._names.items():
            if first.setdefault(name, case_id) != case_id:
                raise ValueError(
                    f"case id {case_id!r}: expected one scan for each name of the challenge, found {name} for "
                    f"{first[name]} too; state other ids in a manifest's case_id column"
                )

    def check(self, quantities: Collection[str]) -> None:
        """Refuse an analysis without Ktrans."""
        if "Ktrans" not in quantities:
            raise ValueError(
                f"--layout=osipi: expected an analysis that estimates Ktrans, found {', '.join(quantities)}; choose "
                "another"
            )

    def place(self, case_id: str) -> Place:
        """The folder of details."""
        return Place(self.root / "details", case_id)

    def _entry(self, case_id: str) -> Path:
        return self.root / "Ktrans" / f"{self._names[case_id]}.nii"

    def _scan(self, case_id: str) -> Path:
        name = self._names[case_id]
        return self.root.joinpath("scans", *(name.split("_") if _NAMED.fullmatch(name) else [name]))

    def is_whole(self, case_id: str) -> bool:
        """Whether there are the map of Ktrans and the modelled signal."""
        return presence.is_file(self._entry(case_id)) and presence.is_file(self._scan(case_id) / "modelled_st.nii.gz")

    def write(self, case_id: str, told: Told) -> dict[str, Any]:
        """The maps and the modelled signal of a case; its record gets the rows of the table.

        Raises:
            ValueError: also maps without Ktrans.
        """
        if "Ktrans" not in told.estimates:
            found = ", ".join(told.estimates)
            raise ValueError(
                f"--layout=osipi: expected a model that estimates Ktrans, found one of {found}; choose one"
            )
        scan, folder, entry = told.scan, self._scan(case_id), self._entry(case_id)
        results.make_folder(folder)
        results.make_folder(entry.parent)
        for quantity in _MAPS:
            path = folder / f"{quantity}.nii.gz"
            path.unlink(missing_ok=True)  # of an earlier run with another model
            if quantity in told.estimates:
                values = np.asarray(told.estimates[quantity], np.float32)
                unit = {"Ktrans": "1/min", "kep": "1/min"}.get(quantity, "1")
                for target in (path, entry) if quantity == "Ktrans" else (path,):
                    nifti.write(target, values, scan.affine, scan.header, f"dcejax {quantity}, unit {unit}")
        series = np.zeros((*scan.mask.shape, told.modelled.shape[-1]), np.float32)
        series[scan.mask] = told.modelled
        path = folder / "modelled_st.nii.gz"
        nifti.write(path, series, scan.affine, scan.header, f"dcejax modelled {scan.quantity}")
        return {_KEY: {"name": self._names[case_id], "rois": roi_rows(self._names[case_id], told)}}

    def conclude(self) -> None:
        """The table and the text of all cases of the folder."""
        records = []
        for path in sorted((self.root / "details").glob(f"*_desc-{self.analysis}.json")):
            try:
                record = plain_text.read_json(path)
            except (OSError, ValueError):  # damaged, or removed by a process that redoes the case
                continue
            if _KEY in record:
                records.append(record)
        if records:
            rows = [row for record in records for row in record[_KEY]["rois"]]
            dataset.write_new(self.root / "rois.csv", results.csv_text(_COLUMNS, rows))
            dataset.write_new(self.root / "methods.txt", methods_text.of(records))
