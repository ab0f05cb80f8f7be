"""The tables of a comparison, from the records of its examinations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.evaluation.agreement import changes
from dcejax.evaluation.agreement.scoring import LEAST_VOXELS, SCALES, pair_name
from dcejax.evaluation.metrics.bootstrap import bca
from dcejax.evaluation.metrics.reliability import bland_altman, concordance, icc, rank_correlation
from dcejax.evaluation.pooling import column, dig
from dcejax.evaluation.tables.agreement_tables import scaled
from dcejax.evaluation.tables.patient_statistics import FEWER_RESAMPLES, cells, mean_cells
from dcejax.evaluation.tables.result_table import Table, columns, interval_columns
from dcejax.types import PARAMETERS

LEAST_PATIENTS = 3
"""Of fewer no statistics over patients are given."""

NOT_TRUTH = "Agreement says nothing of which analysis is right; research only."
"""What every caption ends with."""

_WHAT = columns(pair="Analyses", region="Region", parameter="Map")
_SCALES = (
    "Scale raw: Ktrans in 1/min, vp and ve as fractions; log: differences of logarithms, 0.1 is about 10 %, values "
    "below zero count as zero."
)


@dataclass(frozen=True)
class Comparison:
    """Everything that is published."""

    folders: Sequence[tuple[str, Path]]  # label of an analysis, and where its maps lie
    records: Sequence[Mapping[str, Any]]  # of examinations, a patient's visits in order
    missing: Sequence[str]  # examinations without a record
    seed: int

    @property
    def arms(self) -> list[str]:
        """Labels of the analyses."""
        return [label for label, _ in self.folders]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Labels of the analyses that are compared and share an examination."""
        return [pair for pair in combinations(self.arms, 2) if self.of_pair(pair_name(*pair))]

    @cached_property
    def patients(self) -> dict[str, list[Mapping[str, Any]]]:
        """Records of each patient."""
        found: dict[str, list[Mapping[str, Any]]] = {}
        for record in self.records:
            found.setdefault(record["subject"], []).append(record)
        return found

    def of_pair(self, pair: str) -> list[Mapping[str, Any]]:
        """Records of examinations that both analyses of a pair have maps of."""
        return [record for record in self.records if pair in record["pairs"]]

    def regions(self, pair: str) -> list[str]:
        """Names of the regions of a pair, in order of appearance."""
        return list(dict.fromkeys(name for record in self.of_pair(pair) for name in record["pairs"][pair]))

    def first_values(self, pair: str, region: str, parameter: str) -> np.ndarray:
        """Medians [N, 2] of both analyses in the first examination of each patient that has them."""
        found = []
        for patient in self.patients.values():
            entries = [dig(record, "pairs", pair, region, parameter) for record in patient]
            found += [[entry["median_a"], entry["median_b"]] for entry in entries if entry][:1]
        return np.array(found, np.float64).reshape(-1, 2)

    @cached_property
    def changes(self) -> list[dict[str, Any]]:
        """Rows of `changes.rows`."""
        return changes.rows(self.records, self.arms)


def arms(compared: Comparison) -> Table:
    """What is compared."""
    rows = []
    for label, folder in compared.folders:
        found = [record["statistics"][label] for record in compared.records if label in record["statistics"]]
        kinds = ", ".join(f"desc-{name}" if name else "maps without a desc-" for name in dict.fromkeys(found))
        own = sum(any(label in r["statistics"] for r in patient) for patient in compared.patients.values())
        row = {
            "label": label,
            "folder": folder.resolve().name,
            "statistic": kinds,
            "n": own,
            "examinations": len(found),
        }
        rows.append(row | {"missing": len(compared.records) - len(found)})
    shown = columns(label="Analysis", folder="Folder", statistic="Estimates", n="Patients", examinations="Examinations")
    shown += columns(missing="Examinations without its maps")
    return Table("arms", "Analyses", "What is compared, and of which files.", shown, rows)


def examinations(compared: Comparison) -> Table:
    """Agreement in every single examination."""
    rows = []
    for pair in (pair_name(*labels) for labels in compared.pairs):
        for region, parameter in product(compared.regions(pair), PARAMETERS):
            for record in compared.of_pair(pair):
                place = record["pairs"][pair].get(region)
                if place is None or (parameter not in place and place["n"] >= LEAST_VOXELS):
                    continue
                found = place.get(parameter, {})
                row = {"pair": pair, "region": region, "parameter": parameter, "case": record["case_id"]}
                row |= {"n": place["n"], "share": 100.0 * place["share"], "rho": found.get("rho")}
                row |= {name: found.get(name) for name in ("median_a", "median_b")}
                if found:
                    row["difference"] = found["median_a"] - found["median_b"]
                    row |= {name: found["raw"][name] for name in ("bias", "lower", "upper", "icc_a1", "ccc")}
                rows.append(row)
    caption = (
        "Voxels that have estimates of both analyses: all maps finite and not all zero. Share: of the region's "
        "voxels; of all voxels, of those that either analysis has. Bias and limits (mean ± 1.96 SD) of the "
        "differences of voxels, first less second, in the unit of the map; ICC(A,1) and Lin's concordance over "
        "voxels, which depend on how much the voxels differ; Spearman's ρ. Without intervals: the voxels of an "
        f"examination are no independent observations. Fewer than {LEAST_VOXELS} voxels are not compared. "
        f"{NOT_TRUTH}"
    )
    shown = [
        *_WHAT,
        *columns(case="Examination", n="Voxels"),
        *columns(
            3, share="Share (%)", median_a="Median of the first", median_b="of the second", difference="Difference"
        ),
        *columns(3, bias="Bias of voxels", lower="Lower limit", upper="Upper limit"),
        *columns(3, icc_a1="ICC(A,1)", ccc="Concordance", rho="Spearman's ρ"),
    ]
    return Table("examinations", "Agreement in each examination", caption, shown, rows, grouped=3)


def voxels(compared: Comparison) -> Table | None:
    """Agreement of voxels, averaged over patients; None of fewer than `LEAST_PATIENTS`."""
    rows = []
    for pair in (pair_name(*labels) for labels in compared.pairs):
        for region, parameter, scale in product(compared.regions(pair), PARAMETERS, SCALES):
            path = ("pairs", pair, region, parameter)

            def over_patients(*last: str, path: tuple[str, ...] = path) -> np.ndarray:
                found = [column(records, *path, *last) for records in compared.patients.values()]
                return np.array([np.nanmean(v) if np.isfinite(v).any() else np.nan for v in found])

            row: dict[str, Any] = {"pair": pair, "region": region, "parameter": parameter, "scale": scale}
            for key in ("bias", "lower", "upper", "icc_a1", "ccc"):
                row |= mean_cells(key, over_patients(scale, key), compared.seed)
            row |= mean_cells("rho", over_patients("rho"), compared.seed)
            if row["n"] >= LEAST_PATIENTS:
                rows.append(row)
    if not rows:
        return None
    caption = (
        "Of each examination the bias and limits of voxels' differences (first less second, ± 1.96 SD), ICC(A,1), "
        "Lin's concordance and Spearman's ρ; averaged over a patient's examinations, then over patients, with 95 "
        f"% BCa intervals over patients ({FEWER_RESAMPLES} resamples). {_SCALES} {NOT_TRUTH}"
    )
    shown = [
        *_WHAT,
        *columns(scale="Scale"),
        *interval_columns(bias="Bias", lower="Lower limit", upper="Upper limit"),
        *interval_columns(icc_a1="ICC(A,1)", ccc="Concordance", rho="Spearman's ρ"),
        *columns(n="Patients"),
    ]
    return Table("voxel_agreement", "Agreement of voxels, over patients", caption, shown, rows, grouped=2)


def _over_regions(pairs: np.ndarray, seed: int) -> dict[str, Any]:
    """Statistics of regions' medians [N, 2]."""
    told = bland_altman(*pairs.T)
    row = cells("bias", told.bias) | cells("lower", told.lower) | cells("upper", told.upper)
    found = icc(pairs)
    row |= cells("icc_a1", found.agreement) | cells("icc_c1", found.consistency)
    for key, statistic in (("ccc", concordance), ("rho", rank_correlation)):
        row |= cells(key, bca(statistic, pairs, seed, resamples=FEWER_RESAMPLES))
    return row | {"slope": told.slope, "slope_p": told.slope_p}


def regions(compared: Comparison) -> Table | None:
    """Agreement of regions' medians over patients; None of fewer than `LEAST_PATIENTS`."""
    rows = []
    for pair in (pair_name(*labels) for labels in compared.pairs):
        for region, (channel, parameter), scale in product(compared.regions(pair), enumerate(PARAMETERS), SCALES):
            values = scaled(compared.first_values(pair, region, parameter), scale, channel)
            if len(values) >= LEAST_PATIENTS:
                row = {"pair": pair, "region": region, "parameter": parameter, "scale": scale, "n": len(values)}
                rows.append(row | _over_regions(values, compared.seed))
    if not rows:
        return None
    caption = (
        "Medians over the region's voxels that both analyses have, of the first examination of each patient, "
        "because visits of one patient are not independent: bias and limits of agreement (Bland & Altman 1999, "
        "intervals by Student's t), ICC(A,1) and ICC(C,1) (McGraw & Wong 1996, by F distributions), Lin's "
        f"concordance and Spearman's ρ (BCa over patients, {FEWER_RESAMPLES} resamples), each with 95 % intervals. "
        f"{_SCALES} {NOT_TRUTH}"
    )
    shown = [
        *_WHAT,
        *columns(scale="Scale"),
        *interval_columns(bias="Bias, first − second", lower="Lower limit", upper="Upper limit"),
        *interval_columns(icc_a1="ICC(A,1)", icc_c1="ICC(C,1)", ccc="Concordance", rho="Spearman's ρ"),
        *columns(2, slope="Slope on the mean", slope_p="p of slope, unadjusted"),
        *columns(n="Patients"),
    ]
    return Table("region_agreement", "Agreement of regions, over patients", caption, shown, rows, grouped=2)


def change(compared: Comparison) -> Table | None:
    """Changes between the visits of patients; None where nobody was seen twice."""
    if not compared.changes:
        return None
    caption = (
        "Medians of a region in two visits of a patient, each visit against the one before and the first, with "
        "intervals of 90 %. Posterior of the region: expected value, 5 and 95 % quantiles of dcejax-infer's table "
        "of regions; the errors of two visits are taken as independent and as large as stated (Zou & Donner "
        "2008), also those that both visits share. Spread of its voxels: only how the voxels differ, taken as "
        "independent, which they are not, without errors of arterial input, T1, position and model: far too "
        "narrow to tell a change, and so no verdict is given. Regions are those that were drawn in each visit, so "
        "that a region that grew counts other voxels. Research only."
    )
    shown = [
        *columns(arm="Analysis", region="Region", parameter="Map"),
        *columns(subject="Patient", before="From", after="To"),
        *interval_columns(None, value_before="Before", value_after="After", change="Change", ratio="After / before"),
        *columns(told="Verdict", source="Intervals from", n_before="Voxels before", n_after="after", series="Series"),
    ]
    return Table("change", "Change between visits", caption, shown, compared.changes, grouped=3)


def every(compared: Comparison) -> dict[str, Table]:
    """All tables that there is something to put into, by name."""
    found = [arms(compared), examinations(compared) if compared.pairs else None]
    found += [regions(compared), voxels(compared), change(compared)]
    return {table.name: table for table in found if table is not None}
