"""A derivatives data set of BIDS.

    dataset_description.json README .bidsignore
    group_desc-dcejax_quality.tsv group_desc-dcejax_rois.tsv with a .json each, or desc-fit
    sub-<id>/[ses-<n>/]perf/<case>_desc-median_Ktrans.nii.gz and .json, and all else that the commands write
    sub-<id>/[ses-<n>/]perf/<case>_desc-dcejax_quality.tsv, _rois.tsv

BIDS has names neither for contrast-enhanced series nor for derivatives of perf, so .bidsignore lists these folders.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dcejax.data import atomic, dataset, plain_text, presence, results
from dcejax.data.cases import Case
from dcejax.data.provenance import version
from dcejax.runner.layouts import bids_names, quality, regions
from dcejax.runner.layouts.bids_names import BidsName
from dcejax.runner.layouts.bids_sources import Sources
from dcejax.runner.layouts.layout import Layout, Place, Told

ANALYSES = ("dcejax", "fit")
"""How records, and with them tables, are called: of the networks and of the conventional fit."""

_DESCRIPTION = "dataset_description.json"
_IDENTITY = ("participant_id", "session_id", "case_id")
_TABLES = ("quality", "rois")
_IGNORED = "perf/\ngroup_*\n*.jsonl\n/dicom\n"  # the validator does not apply dicom/ to the folder itself
_README = """Maps by dcejax

Pharmacokinetic maps from DCE-MRI. Research only; not for clinical decisions.

Each case, in sub-<id>/[ses-<n>/]perf: maps with what they hold, their units and sources in the JSON beside each; a
record (_desc-dcejax.json of the networks, _desc-fit.json of the conventional fit) with the hashes of all that was read,
settings, warnings and versions; a picture; and tables of quality figures and of the regions of a segmentation.

The tables group_* hold the rows of all cases. share_covered is the share of a region that has an estimate.

BIDS has no names yet for contrast-enhanced series and their maps, so .bidsignore lists the folders perf; and
dicom, where it is, is a data set of its own: the series as converted.
"""


def _check_folder(root: Path) -> None:
    """Raise ValueError if a folder holds another data set than one of these."""
    path = root / _DESCRIPTION
    if not presence.exists(path):
        return
    try:
        found = plain_text.read_json(path)
        own = found["DatasetType"] == "derivative" and found["GeneratedBy"][0]["Name"] == "dcejax"
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        own = False
    if not own:
        raise ValueError(
            f"{path}: expected no data set, or derivatives that dcejax made, found another; choose another folder"
        )


def _rows(root: Path, analysis: str, table: str) -> list[dict[str, str]]:
    found = []
    for pattern in ("sub-*/perf", "sub-*/ses-*/perf"):
        for path in root.glob(f"{pattern}/*_desc-{analysis}_{table}.tsv"):
            found += results.read_tsv(path)
    return sorted(found, key=lambda row: row["case_id"])  # stable: rows of a case keep their order


def _columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Columns of rows, in the order in which they come first, and what they hold."""
    identity = {
        "participant_id": {"Description": "Subject"},
        "session_id": {"Description": "Session, where there are several"},
        "case_id": {"Description": "How the names of the case's files begin"},
    }
    found = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        known = {"Description": regions.DESCRIPTIONS[name]} if name in regions.DESCRIPTIONS else quality.describe(name)
        found[name] = identity.get(name, known)
    return found


def write_group(root: Path) -> dict[str, int]:
    """Join the tables of all cases; returns the number of cases by the name of the record.

    Raises:
        ValueError: the folder cannot be written, or a table is damaged.
    """
    counts = {}
    for analysis in ANALYSES:
        for table in _TABLES:
            rows = _rows(root, analysis, table)
            if not rows:
                continue
            columns, path = _columns(rows), root / f"group_desc-{analysis}_{table}.tsv"
            dataset.write_new(path, results.tsv_text(columns, rows))
            dataset.write_new(path.with_suffix(".json"), results.json_text(columns))
            if table == "quality":
                counts[analysis] = len(rows)
    return counts


class BidsDerivatives(Layout):
    """A folder for each case, a sidecar for each map, and tables of all cases."""

    has_tables = True

    def __init__(self, root: Path, analysis: str, cases: Sequence[Case]):
        """Name all cases.

        Raises:
            ValueError: two cases would have one name, one has none, or the folder holds another data set.
        """
        super().__init__(root, analysis, cases)
        self._names = {case.case_id: bids_names.of(case.case_id) for case in cases}
        first: dict[str, str] = {}
        for case_id, name in self._names.items():
            if name.stem in first or name.subject == "sub-":
                other = first.get(name.stem, "no letter or digit")
                raise ValueError(
                    f"case id {case_id!r}: expected one that gives a BIDS label of its own, found {name.stem} like "
                    f"{other}; state another in a manifest's case_id column"
                )
            first[name.stem] = case_id
        _check_folder(root)
        paths = [path for case in cases for path in (case.path, *case.facts.files().values())]
        self._sources = Sources(root, root / _DESCRIPTION, paths)

    def place(self, case_id: str) -> Place:
        """The folder of the subject's session."""
        name = self._names[case_id]
        return Place(self.root / name.subject / (name.session or "") / "perf", name.stem)

    def is_whole(self, case_id: str) -> bool:
        """Whether there is the table of quality."""
        return presence.is_file(self._table(case_id, "quality"))

    def _table(self, case_id: str, table: str) -> Path:
        place = self.place(case_id)
        return place.folder / f"{place.stem}_desc-{self.analysis}_{table}.tsv"

    def write(self, case_id: str, told: Told) -> dict[str, Any]:
        """Sidecars and tables of a case, and what describes the data set."""
        self._write_root()
        place = self.place(case_id)
        files = told.case.path, *told.case.facts.files().values()
        data = [path for path in files if path.suffix != ".json"]  # what describes a series is not its source
        sources = [self._sources.uri(path) for path in data]
        for output in told.outputs:
            path = results.map_path(place.folder, place.stem, output.statistic, output.quantity)
            content = {"Description": output.text, "Units": output.unit, "Sources": sources}
            if output.name in told.levels:
                content["Levels"] = told.levels[output.name]
            content["SpatialReference"] = self._sources.uri(told.case.path)
            atomic.write_text(path.with_name(path.name.removesuffix(".nii.gz") + ".json"), results.json_text(content))
        self._write_tables(case_id, self._names[case_id], told)
        return {}

    def _write_tables(self, case_id: str, name: BidsName, told: Told) -> None:
        identity = dict(zip(_IDENTITY, (name.subject, name.session, name.stem), strict=True))
        tables = {"quality": [told.quality], "rois": list(regions.rows(told))}
        for table, rows in tables.items():
            path = self._table(case_id, table)
            if rows:
                columns = dict.fromkeys([*_IDENTITY, *(column for row in rows for column in row)])
                atomic.write_text(path, results.tsv_text(columns, [identity | dict(row) for row in rows]))
            else:
                path.unlink(missing_ok=True)  # of an earlier run with a segmentation

    def _write_root(self) -> None:
        results.make_folder(self.root)
        description = {
            "Name": "Pharmacokinetic maps by dcejax",
            "BIDSVersion": dataset.BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [
                {"Name": "dcejax", "Version": version("dcejax"), "Description": "pharmacokinetic maps from DCE-MRI"}
            ],
            "SourceDatasets": [{"URL": target} for target in self._sources.links.values()],
            "DatasetLinks": self._sources.links,
        }
        texts = {_DESCRIPTION: results.json_text(description), "README": _README, ".bidsignore": _IGNORED}
        for name, text in texts.items():
            dataset.write_new(self.root / name, text)

    def conclude(self) -> None:
        """The tables of all cases."""
        write_group(self.root)
