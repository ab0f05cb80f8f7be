"""What a comparison says in words; every number in it is a result."""

from collections.abc import Mapping, Sequence
from typing import Any

from dcejax.evaluation.agreement.changes import CANNOT_BE_TOLD, HIGHER, LOWER
from dcejax.evaluation.agreement.scoring import POSTERIOR, pair_name
from dcejax.evaluation.agreement.tables import LEAST_PATIENTS, Comparison
from dcejax.evaluation.tables.result_table import FEW_PATIENTS, MARK, Table
from dcejax.evaluation.tables.table_cells import has_marks, marked, text, with_interval

WARNING = "No truth is known of these scans. Research only; not for clinical decisions."

_FEW = 3  # patients whose changes are told one by one
_MOST_NAMES = 10
_ENDS = ("", "_low", "_high")


def count(number: int, what: str) -> str:
    """A number with what it counts, in the plural but for one."""
    return f"{number} {what}{'s' * (number != 1)}"


def summary(compared: Comparison, tables: Mapping[str, Table]) -> list[str]:
    """Sentences on what was found."""
    found = [
        f"{count(len(compared.records), 'examination')} of {count(len(compared.patients), 'patient')}; "
        f"{'analyses' if len(compared.arms) > 1 else 'analysis'}: {', '.join(compared.arms)}."
    ]
    found += _over_patients(tables["region_agreement"]) if "region_agreement" in tables else []
    if "examinations" in tables and "region_agreement" not in tables:
        found += _each(compared, tables["examinations"])
    return found + _changes(compared)


def _over_patients(table: Table) -> list[str]:
    sentences = []
    rows = [row for row in table.rows if row["scale"] == "log"]
    for pair, region in dict.fromkeys((row["pair"], row["region"]) for row in rows):
        parts = []
        for row in (row for row in rows if (row["pair"], row["region"]) == (pair, region)):
            icc, bias = (
                marked(with_interval(*(row[f"{key}{end}"] for end in _ENDS), 2), row["n"]) for key in ("icc_a1", "bias")
            )
            limits = f"{text(row['lower'], 2)} to {text(row['upper'], 2)}"
            parts.append(f"{row['parameter']} ICC(A,1) {icc}, bias {bias}, limits {limits} (n = {row['n']})")
        sentences.append(f"{pair}, logarithms of medians, {region}: {'; '.join(parts)}.")
    return sentences


def _each(compared: Comparison, table: Table) -> list[str]:
    """What is said where there are too few patients: the rows of the first region as they stand."""
    sentences = []
    for pair in (pair_name(*labels) for labels in compared.pairs):
        region = compared.regions(pair)[0]
        for parameter in dict.fromkeys(row["parameter"] for row in table.rows):
            rows = [r for r in table.rows if (r["pair"], r["region"], r["parameter"]) == (pair, region, parameter)]
            shown = [row for row in rows if row["median_a"] is not None][:_MOST_NAMES]
            parts = [
                f"{row['case']} {text(row['median_a'], 2)} and {text(row['median_b'], 2)}, ρ of voxels "
                f"{text(row['rho'], 2)}"
                for row in shown
            ]
            if parts:
                sentences.append(f"{pair}, medians of {parameter}, {region}: {'; '.join(parts)}.")
    return sentences


def _changes(compared: Comparison) -> list[str]:
    """Changes one by one of few patients; of many, how many are told apart."""
    rows = [row for row in compared.changes if row["source"] == POSTERIOR]
    if not rows:
        return []
    sentences = []
    if len({row["subject"] for row in rows}) > _FEW:
        for arm, region, name in dict.fromkeys((r["arm"], r["region"], r["parameter"]) for r in rows):
            own = [r for r in rows if (r["arm"], r["region"], r["parameter"]) == (arm, region, name)]
            told = [sum(r["told"] == word for r in own) for word in (HIGHER, LOWER, CANNOT_BE_TOLD)]
            sentences.append(
                f"{arm}, {name} of {region}, {count(len(own), 'change')} between visits: {told[0]} up, {told[1]} "
                f"down, {told[2]} that cannot be told, by intervals of 90 %."
            )
        return sentences
    for key in dict.fromkeys((r["arm"], r["subject"], r["region"], r["parameter"]) for r in rows):
        own = [r for r in rows if (r["arm"], r["subject"], r["region"], r["parameter"]) == key]
        arm, subject, region, name = key
        sentences.append(f"{arm}, {subject}, median {name} of {region}: {'; '.join(map(_change, own))}.")
    return [*sentences, "Changes are given with intervals of 90 %, from the posteriors of the regions in both visits."]


def _change(row: Mapping[str, Any]) -> str:
    """One change in words, as a factor where there is one."""
    steps = f"{row['before']} to {row['after']}"
    told = ", which may be no change" if row["told"] == CANNOT_BE_TOLD else f", {row['told']}"
    if row["ratio"] is None or row["ratio"] != row["ratio"]:
        return f"{steps} by {with_interval(*(row[f'change{end}'] for end in _ENDS), 2)}{told}"
    return f"{steps} × {with_interval(*(row[f'ratio{end}'] for end in _ENDS), 2)}{told}"


def limitations(compared: Comparison, tables: Mapping[str, Table]) -> list[str]:
    """Sentences on what the results cannot say."""
    found = [
        "Two analyses that agree may both be wrong, and of two that do not, nothing here says which is right. "
        "Agreement over voxels or patients depends on how much these differ.",
    ]
    patients = len(compared.patients)
    if compared.pairs and patients < LEAST_PATIENTS:
        found.insert(
            0,
            f"{count(patients, 'patient')}, {count(len(compared.records), 'examination')}: too few for anything "
            f"over patients (which asks for {LEAST_PATIENTS}), so there are no intervals of agreement. What is shown "
            "are these examinations as they are, whose voxels and visits are not independent.",
        )
    if any(map(has_marks, (table for name, table in tables.items() if name != "change"))):
        found.append(
            f"Intervals with {MARK} rest on fewer than {FEW_PATIENTS} patients; those by resampling are too narrow "
            "then."
        )
    if any(row["source"] != POSTERIOR for row in compared.changes):
        found.append(
            "Changes whose intervals come from the spread of voxels have no verdict: these intervals treat voxels as "
            "independent and know nothing of errors that all voxels of a visit share (arterial input, T1, position), "
            "which are most of the error of a region. In simulated patients, intervals that took voxels as "
            "independent held a tenth of the true means instead of nine tenths."
        )
    if compared.changes:
        found.append(
            "A change is of what was outlined in each visit. Nothing is registered between visits, and another "
            "scanner, protocol or dose changes maps, too."
        )
    if compared.missing:
        found.insert(
            0, f"INCOMPLETE: {count(len(compared.missing), 'examination')} missing: {_first(compared.missing)}."
        )
    found.extend(f"{record['case_id']}: {said}." for record in compared.records for said in record["told"])
    return found


def _first(names: Sequence[str]) -> str:
    return f"{', '.join(names[:_MOST_NAMES])}{' and others' if len(names) > _MOST_NAMES else ''}"
