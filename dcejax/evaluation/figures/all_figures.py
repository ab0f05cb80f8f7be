"""The figures of an evaluation, from the pooled records."""

import numpy as np

from dcejax.evaluation import tumour_regions
from dcejax.evaluation.arms.simple_arms import Description
from dcejax.evaluation.casework import REFERENCE_READER, TRUTH
from dcejax.evaluation.figures.agreement_figures import Agreement, Scatter, bland_altman_figure, scatter_figure
from dcejax.evaluation.figures.map_figures import CasePanel, case_figure
from dcejax.evaluation.figures.panels import png
from dcejax.evaluation.figures.roc_figure import RocCurve, RocPanel, roc_figure
from dcejax.evaluation.figures.uncertainty_figures import Uncertainty, uncertainty_figure
from dcejax.evaluation.metrics.reliability import bland_altman
from dcejax.evaluation.metrics.roc_metrics import auc, roc
from dcejax.evaluation.metrics.uncertainty_metrics import REMOVED, pit, sparsification
from dcejax.evaluation.pooling import Pool
from dcejax.evaluation.report.html_report import FigureBlock
from dcejax.evaluation.scoring import CV_RESOLUTION, LEVELS, key_of, relative, sd_resolution
from dcejax.evaluation.tables.agreement_tables import shown_conditions
from dcejax.evaluation.tables.diagnosis_tables import TASKS, both_classes, scores
from dcejax.evaluation.tables.patient_statistics import FEWER_RESAMPLES, mean
from dcejax.evaluation.tables.result_table import SIMULATED
from dcejax.evaluation.tables.uncertainty_tables import with_sd
from dcejax.types import PARAMETERS

_BINS = 20  # of probability integral transforms
_LEAST_VOXELS = 100
# Which patients are shown, as in the published figures 3 and 4.
_SHOWN = (
    ("case1", "glioblastoma, IDH-wildtype", {"diagnosis": "glioblastoma"}),
    ("case2", "oligodendroglioma, grade 3", {"diagnosis": "oligodendroglioma", "grade": 3}),
)


def _typical(pool: Pool, chosen: list[int]) -> int | None:
    """Of some patients, by index, the one whose enhancing volume is nearest their median; None without a picture."""
    volumes = np.array([record["ml"][tumour_regions.TUMOUR] for record in pool.records])
    chosen = [i for i in chosen if pool.records[i]["picture"]["statistics"] and volumes[i] > 0]
    if not chosen:
        return None
    middle = np.median(volumes[chosen])
    return min(chosen, key=lambda i: (abs(volumes[i] - middle), i))


def _panel(pool: Pool, index: int, arm: Description, what: str, stand_in: bool) -> CasePanel:
    record, picture = pool.records[index], pool.picture(index)
    missing = np.full_like(picture[TRUTH], np.nan)
    drawn = (REFERENCE_READER, TRUTH, f"{arm.name}/estimate", f"{arm.name}/sd")
    reference, truth, estimate, sd = (picture.get(name, missing).astype(np.float64) for name in drawn)
    person = record["person"]
    note = f"Simulated; not clinical evidence. Enhancing volume {record['ml'][tumour_regions.TUMOUR]:.1f} mL."
    if stand_in:
        note += f" Stands in for {what}, of which this cohort shows none."
    return CasePanel(
        title=f"{person['diagnosis']}, IDH-{person['idh']}, grade {person['grade']}: {record['case_id']}, slice "
        f"{record['picture']['slice'] + 1} of {record['shape'][2]}",
        arm=arm.label,
        statistic=record["picture"]["statistics"][arm.name],
        note=note,
        mm=tuple(record["mm"][:2]),
        reference=reference,
        truth=truth,
        estimate=estimate,
        cv=relative(sd, estimate),
        sd=sd,
        error=np.abs(estimate - truth),
        tumour=picture["tumour"],
        brain=picture["brain"],
    )


def cases(pool: Pool) -> dict[str, FigureBlock]:
    """A typical patient of each kind that the published figures show, by every arm of interest that has maps of it."""
    found, used = {}, set()
    for name, what, wanted in _SHOWN:
        left = [i for i in range(len(pool.records)) if i not in used]
        index = _typical(pool, [i for i in left if wanted.items() <= pool.records[i]["person"].items()])
        stand_in = index is None
        if stand_in:
            index = _typical(pool, left)
        if index is None:
            continue
        used.add(index)
        for arm in pool.interest:
            if arm.name not in pool.records[index]["picture"]["statistics"]:
                continue
            panel = _panel(pool, index, arm, what, stand_in)
            found[f"{name}_{arm.name}"] = FigureBlock(
                f"Maps of a patient with {pool.records[index]['person']['diagnosis']}, {arm.label}",
                f"The slice with most enhancing tumour of the patient whose enhancing volume is nearest the median of "
                f"{'the cohort' if stand_in else f'its kind ({what})'}; judged: {panel.arm}. {panel.note}",
                f"Maps of Ktrans, vp and ve by reader 1, truth and {panel.arm}, with SD and error, {panel.title}",
                png(case_figure(panel)),
            )
    return found


def agreement(pool: Pool) -> dict[str, FigureBlock]:
    """Differences against means."""
    panels = []
    for condition in shown_conditions(pool):
        for parameter, pairs in zip(PARAMETERS, condition.pairs, strict=True):
            limits = bland_altman(*pairs.T)
            panels.append(Agreement(condition.name, parameter, *pairs.T, limits.bias, limits.lower, limits.upper))
    if not panels:
        return {}
    caption = (
        "Differences of means over enhancing tumour against their mean, a dot a patient, with bias and limits of "
        f"agreement and their 95 % intervals. {SIMULATED}"
    )
    alt = "Bland-Altman plots; their numbers are in the table of bias and limits of agreement"
    figure = png(bland_altman_figure(panels))
    return {"bland_altman": FigureBlock("Agreement of two measurements", caption, alt, figure)}


def _contestants(pool: Pool) -> list[Description]:
    """Arms that are drawn: readers, the oracle fit, which is the best they could reach, networks and maps."""
    kept = ("reader1", "reader2", "fit-oracle")
    return [arm for arm in pool.arms if arm.name in kept or arm.kind in ("network", "maps")]


def scatter(pool: Pool) -> dict[str, FigureBlock]:
    """Estimates against the truth."""
    panels = []
    diagnosis = np.array([record["person"]["diagnosis"] for record in pool.records])
    for arm in _contestants(pool):
        for parameter in PARAMETERS:
            truth, estimate = (pool.roi(name, tumour_regions.TUMOUR, parameter) for name in (TRUTH, arm.name))
            kept = np.isfinite(truth) & np.isfinite(estimate)
            panels.append(Scatter(arm.label, parameter, truth[kept], estimate[kept], diagnosis[kept].tolist()))
    if not any(panel.truth.size for panel in panels):
        return {}
    caption = f"Means over enhancing tumour, a mark a patient, on logarithmic axes. {SIMULATED}"
    alt = "Estimated against true tumour means; agreement in numbers is in the table of reliability"
    return {"scatter": FigureBlock("Estimates against the truth", caption, alt, png(scatter_figure(panels)))}


def curves(pool: Pool) -> dict[str, FigureBlock]:
    """ROC curves over enhancing tumour."""
    panels = []
    arms = [(TRUTH, "Truth"), *((arm.name, arm.label) for arm in _contestants(pool))]
    for task in TASKS:
        for parameter in PARAMETERS:
            drawn, counts = [], (0, 0)
            for name, label in arms:
                values, positive = scores(pool, task, name, tumour_regions.TUMOUR, parameter)
                if both_classes(positive):
                    curve = roc(values, positive)
                    drawn.append(RocCurve(label, curve.fpr, curve.tpr, auc(values, positive).area))
                if name == TRUTH:
                    counts = int(positive.sum()), int((~positive).sum())
            panels.append(RocPanel(task.title, parameter, *counts, drawn))
    if not any(panel.curves for panel in panels):
        return {}
    caption = (
        "ROC curves of means over enhancing tumour; the numbers of patients are those of the truth. AUC with DeLong's "
        f"95 % interval. What can be told apart is set by the simulated population. {SIMULATED}"
    )
    alt = "ROC curves; their areas are in the table of diagnosis"
    return {"roc": FigureBlock("Diagnosis from tumour means", caption, alt, png(roc_figure(panels)))}


def _uncertainty(pool: Pool, arm: Description, channel: int, parameter: str) -> Uncertainty | None:
    truth, estimate, sd = pool.voxels(arm.name, tumour_regions.TUMOUR, channel)
    if truth.size < _LEAST_VOXELS:
        return None
    inside = []
    for level in map(key_of, LEVELS):
        values = pool.values(arm.name, "uncertainty", tumour_regions.TUMOUR, parameter, "coverage", level)
        inside.append(mean(values, pool.seed, FEWER_RESAMPLES)[1])
    error = estimate - truth
    return Uncertainty(
        title=arm.label,
        parameter=parameter,
        level=np.array(LEVELS),
        inside=inside,
        pit=np.histogram(pit(truth, estimate, sd).values, _BINS, (0.0, 1.0))[0],
        removed=REMOVED,
        by_sd=sparsification(error, sd, sd_resolution(estimate)),
        by_cv=sparsification(error, relative(sd, estimate), CV_RESOLUTION),
        oracle=sparsification(error, np.abs(error)),
        random=np.full(REMOVED.shape, np.abs(error).mean()),
    )


def calibration(pool: Pool) -> dict[str, FigureBlock]:
    """Uncertainty of every network or folder of maps that states one, and of the fit with the true arterial input."""
    found = {}
    for arm in with_sd(pool):
        if arm.kind == "fit" and arm.name != "fit-true-aif":
            continue
        panels = [_uncertainty(pool, arm, channel, name) for channel, name in enumerate(PARAMETERS)]
        panels = [panel for panel in panels if panel is not None]
        if not panels:
            continue
        caption = (
            "Enhancing tumour. Above: share of true values within central intervals, with 95 % intervals over "
            "patients. Middle: where the truth lies in each voxel's Gaussian. Below: error that is left as the "
            f"most uncertain voxels are taken out. Middle and below pool voxels drawn from all patients. {SIMULATED}"
        )
        alt = f"Calibration of the uncertainty of {arm.label}; its numbers are in the table of calibration"
        figure = png(uncertainty_figure(panels))
        found[f"uncertainty_{arm.name}"] = FigureBlock(f"Uncertainty of {arm.label}", caption, alt, figure)
    return found
