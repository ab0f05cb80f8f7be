"""The published tables and figures on simulated patients, beside the published numbers: docs/audit.md.

    dcejax-simulate --cohort=test-102 --size=half --output_dir=DATA
    dcejax-simulate --cohort=retest --size=slab --output_dir=RETEST
    dcejax-simulate --cohort=val-62 --size=half --limit=40 --output_dir=VALIDATION
    python tools/published_arms.py RUN DATA PARTS          # RUN: the training run of the weights `paper-v1`
    python tools/published_arms.py RUN2 DATA PARTS2        # RUN2: that of `paper-latent-v1`
    python tools/published_calibration.py VALIDATION DATA audit/paper-latent-v1.npz PARTS/calibrated \\
        > docs/audit_calibration.json
    dcejax-evaluate --cohort=DATA --retest=RETEST --weights=paper-v1 --weights=audit/paper-truth-v1.npz \\
        --weights=audit/paper-latent-v1.npz --weights=default-v5 --maps=temporal-stage=PARTS/temporal \\
        --maps=posterior=PARTS/posterior --maps=latent-calibrated=PARTS/calibrated --output_dir=EVALUATION
    cp EVALUATION/results.json docs/audit_results.json
    cp PARTS/latent.json docs/audit_latent.json; cp PARTS2/latent.json docs/audit_latent_weighed.json
    for name in case1_paper-v1 case2_paper-v1 case1_paper-latent-v1 case1_default-v5 bland_altman roc; do
        cp EVALUATION/figures/$name.png docs/audit_$name.png
    done
    python tools/audit.py docs > docs/audit.md

RUN and RUN2 are training runs of docs/train.md, whose checkpoints hold the posteriors that weights lack. The last
command needs the JSON files and the records of weights only. Published numbers are those of Lyoo et al., Eur Radiol
2025; where abstract and body differ, the body's.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dcejax.types import PARAMETERS

PAPER, TRUTH, TEMPORAL, POSTERIOR = "paper-v1", "paper-truth-v1", "temporal-stage", "posterior"
LATENT, CALIBRATED = "paper-latent-v1", "latent-calibrated"
DEFAULT = "default-v5"
ZERO, MEDIAN = "All zero", "Class median"

Row = dict[str, Any]

# Of Ktrans, vp, ve; of the ablation without and with the spatial network.
ABLATION = {
    "ssim": ((0.948, 0.961), (0.941, 0.962), (0.816, 0.890)),
    "nrmse": ((3.505, 2.657), (3.152, 2.422), (8.547, 6.053)),
    "tumour_nrmse": ((16.27, 14.82), (9.06, 9.061), (43.64, 37.06)),
}
NAMES = {"ssim": "SSIM", "nrmse": "NRMSE, %", "tumour_nrmse": "NRMSE in tumour, %"}
METRICS = {
    "log_error": "Median |log error|",
    "trimmed": "Trimmed log-RMSE",
    "ssim": "SSIM, as",
    "nrmse": "NRMSE (%), as",
    "tumour_nrmse": "Tumour NRMSE (%), as",
}
ALL_NAMES = {
    "log_error": "median absolute log error in tumour",
    "trimmed": "trimmed log-RMSE in tumour",
    **NAMES,
}
AREAS = {  # network, reader
    "IDH wildtype vs mutant": ((0.86, 0.84), (0.86, 0.76), (0.84, 0.82)),
    "Grade 3-4 vs 2": ((0.88, 0.84), (0.88, 0.78), (0.87, 0.85)),
}
WHY = (
    "A reader's maps of a patient are all scaled by the arterial input that he measured. The network sees the curve of "
    "one voxel, divided by the brightest of the series, which hardly tells that scale; and the published loss weighs "
    "errors by the label's height, so it sides with the readers who measured high: its means in tumour lie above "
    "reader 1's (Bland–Altman, below). NRMSE is ruled by the few voxels where maps are highest, SSIM looks at "
    "structure. What two cores forced may have a part in it: 13,200 patches for the second stage (100,000 are "
    "published), whose last epoch was its best. A longer run was not tried. Trained on true maps "
    f"({TRUTH}), the same network beats the class median in the errors of logarithms, but for ve hardly."
)
RULE = (
    "Better or worse: the 95 % interval of the mean paired difference excludes zero and p of Wilcoxon's signed-rank "
    "test is below 0.05, with no correction for how many comparisons there are; of a mean that few patients rule the "
    "interval may exclude zero all the same."
)
READERS_ICC, SAMPLES_ICC = (0.68, 0.59, 0.64), 1.00


def pick(rows: Iterable[Row], **fields: Any) -> list[Row]:
    """Rows with these values."""
    return [row for row in rows if all(row.get(name) == value for name, value in fields.items())]


def one(rows: Iterable[Row], **fields: Any) -> Row | None:
    """The row with these values."""
    found = pick(rows, **fields)
    return found[0] if found else None


def paired(rows: Iterable[Row], metric: str, **fields: Any) -> Row | None:
    """The difference in a metric, of the rows of a table of paired comparisons with these values."""
    return next((row for row in pick(rows, **fields) if row["metric"].startswith(METRICS[metric])), None)


def shown(row: Row | None, name: str, digits: int = 2) -> str:
    """A value with its interval."""
    if row is None or row.get(name) is None:
        return "–"
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    interval = "" if low is None or high is None else f" ({low:.{digits}f} to {high:.{digits}f})"
    return f"{row[name]:.{digits}f}{interval}"


def table(head: list[str], rows: Iterable[list[str]]) -> Iterator[str]:
    """Lines of Markdown."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def errors(tables: dict, labels: list[str]) -> Iterator[str]:
    """Table 1, against reader 1, whom the network learnt from, and against the truth."""
    for reference, whose in (("reader 1", "reader 1's maps, which it learnt from"), ("truth", "the truth")):
        rows = pick(tables["table1"]["rows"], reference=reference)
        yield f"Against {whose}:"
        yield ""
        lines = []
        for label in labels:
            of = [one(rows, arm=label, parameter=name) for name in PARAMETERS]
            if any(of):
                lines.append(
                    [label, *(" / ".join(shown(row, metric, 3).split(" (")[0] for row in of) for metric in NAMES)]
                )
        if reference == "reader 1":
            published = (" / ".join(f"{pair[1]:g}" for pair in ABLATION[metric]) for metric in NAMES)
            lines.append(["published network, against its reader", *published])
        yield from table(["arm", *(f"{name}: Ktrans / vp / ve" for name in NAMES.values())], lines)
    yield "In enhancing tumour, against the truth:"
    yield ""
    rows = pick(tables["accuracy"]["rows"], reference="truth")
    lines = []
    for label in labels:
        of = [one(rows, arm=label, parameter=name) for name in PARAMETERS]
        if any(of):
            lines.append([label, *(" / ".join(shown(row, m) for row in of) for m in ("median_log_error", "log_rmse"))])
    yield from table(["arm", "median absolute log error: Ktrans / vp / ve", "log-RMSE: Ktrans / vp / ve"], lines)


def against_nothing(tables: dict) -> Iterator[str]:
    """Whether the network beats maps that know nothing."""
    rows, lines = tables["table1_paired"]["rows"], []
    for reference in ("reader 1", "truth"):
        for metric in ("log_error", "trimmed", "ssim", "nrmse"):
            for name in PARAMETERS:
                cells = []
                for other in (ZERO, MEDIAN):
                    row = paired(rows, metric, reference=reference, parameter=name, arm=other)
                    cells.append("–" if row is None else f"{shown(row, 'difference', 3)}: {row['verdict']}")
                lines.append([reference, ALL_NAMES[metric], name, *cells])
    yield from table(["against", "metric", "map", f"{PAPER} − all zero", f"{PAPER} − class median"], lines)
    yield from (RULE, "", WHY, "")


def ablation(tables: dict) -> Iterator[str]:
    """What the second network adds, row by row."""
    rows, lines = tables["table1_paired"]["rows"], []
    for metric, published in ABLATION.items():
        for name, (without, with_unet) in zip(PARAMETERS, published, strict=True):
            for reference in ("reader 1", "truth"):
                row = paired(rows, metric, reference=reference, parameter=name, arm=TEMPORAL)
                if row is None:
                    continue
                same = np.sign(row["difference"]) == np.sign(with_unet - without)
                if abs(with_unet / without - 1) < 0.001:
                    told = "none was published"
                elif row["difference_low"] < 0 < row["difference_high"]:
                    told = "cannot be told"
                elif reference == "truth":  # of which nothing was published
                    told = "the same" if same else "reversed"
                else:
                    told = "reproduced" if same else "refuted"
                lines.append(
                    [NAMES[metric], name, f"{without:g} → {with_unet:g}", reference, shown(row, "difference", 3), told]
                )
    yield from table(
        ["metric", "map", "published", "against", "with − without the spatial network", "direction"], lines
    )
    yield from (
        "By the intervals alone. The published comparison was with the reader whom the network learnt from.",
        "",
    )


def reliability(tables: dict) -> Iterator[str]:
    """Intraclass correlations."""
    rows, lines = pick(tables["reliability"]["rows"], scale="raw"), []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        cells = [shown(one(rows, condition=condition, parameter=name), "icc_a1") for name in PARAMETERS]
        lines.append([condition, *cells])
    lines += [
        ["published: two readers", *(f"{value:.2f}" for value in READERS_ICC)],
        ["published: two halves of the samples", *[f"{SAMPLES_ICC:.2f}"] * 3],
    ]
    yield from table(["ICC(A,1) of tumour means", *PARAMETERS], lines)
    twice = max((row["n"] for row in tables["repeatability"]["rows"]), default=0)
    yield (
        "Intervals are those of F, which ask for more normal values than these are. Readers were calibrated to the "
        "published agreement on whole images; on these of `half` they agree less in vp. Test and retest are of "
        f"{twice} patients with enhancing tumour in both."
    )
    yield ""


def patients(tables: dict) -> Iterator[str]:
    """Table 2."""
    lines = []
    for row in tables["table2"]["rows"]:
        own = f"{row['n']:g}" + ("" if row["percent"] is None else f" ({row['percent']:.0f} %)")
        paper = f"{row['published']:g}" + (
            "" if row["published_percent"] is None else f" ({row['published_percent']:.0f} %)"
        )
        lines.append([row["what"], row["value"], own, paper])
    yield from table(["", "", "here", "published"], lines)


def bland_altman(tables: dict) -> Iterator[str]:
    """Bias and limits of agreement of tumour means."""
    rows, lines = pick(tables["bland_altman"]["rows"], scale="raw"), []
    for condition in dict.fromkeys(row["condition"] for row in rows):
        cells = []
        for name in PARAMETERS:
            row = one(rows, condition=condition, parameter=name)
            cells.append("–" if row is None else f"{row['bias']:.3f} ({row['lower']:.3f} to {row['upper']:.3f})")
        lines.append([condition, *cells])
    yield from table(["tumour means: bias (limits of agreement)", *PARAMETERS], lines)
    yield picture("bland_altman", "Bland–Altman plots")
    yield ""


def picture(name: str, told: str) -> str:
    """A figure of the report."""
    return f"![{told}](audit_{name}.png)"


def maps() -> Iterator[str]:
    """Two patients, as the published figures show them."""
    yield (
        f"Two patients by `{PAPER}`, and the first by `{LATENT}` and `{DEFAULT}`, beside the truth and reader 1; "
        "errors, and uncertainty with and without division by the mean."
    )
    yield ""
    for name in (f"case1_{PAPER}", f"case2_{PAPER}", f"case1_{LATENT}", f"case1_{DEFAULT}"):
        yield picture(name, f"maps: {name}")
        yield ""


def diagnosis(tables: dict, labels: list[str]) -> Iterator[str]:
    """Areas under the twelve curves."""
    rows, lines = tables["diagnosis"]["rows"], []
    for task, published in zip(dict.fromkeys(row["task"] for row in rows), AREAS.values(), strict=False):
        rule = next(iter(row["rule"] for row in rows))
        for name, (network, reader) in zip(PARAMETERS, published, strict=True):
            of = pick(rows, task=task, rule=rule, parameter=name)
            cells = [shown(one(of, arm=label), "auc") for label in ("Truth", PAPER, "Reader 1", *labels)]
            counted = one(of, arm="Truth") or {"positives": 0, "negatives": 0}
            task_and_counts = f"{task} ({counted['positives']}, {counted['negatives']})"
            lines.append([task_and_counts, name, f"{network:.2f}, {reader:.2f}", *cells])
    yield from table(["task", "map", "published: network, reader", "truth", PAPER, "reader 1", *labels], lines)
    yield (
        "In brackets how many patients of either kind have enhancing tumour: few of grade 2 carry the lower rows. "
        "Intervals are DeLong's. A map with errors may sort patients better than the truth where its errors mix in "
        "another parameter that differs between them, as in vp here. What can be found was put into the simulation."
    )
    yield ""
    yield picture("roc", "ROC curves")
    yield ""


def uncertainty(tables: dict) -> Iterator[str]:
    """Intervals and scores of what arms say of their own errors, in enhancing tumour."""
    region, lines = "enhancing tumour", []
    scores, intervals = (tables[name]["rows"] for name in ("uncertainty_scores", "uncertainty"))
    for label in dict.fromkeys(row["arm"] for row in scores):
        cells = []
        for rows, name, digits in ((intervals, "coverage_90", 0), (scores, "crps", 4), (scores, "ause_sd", 2)):
            of = [one(rows, region=region, arm=label, parameter=parameter) for parameter in PARAMETERS]
            cells.append(" / ".join("–" if row is None else f"{row[name]:.{digits}f}" for row in of))
        lines.append([label, *cells])
    yield from table(["arm", "true values in 90 % intervals, %", "CRPS", "AUSE"], lines)


def recorded_nats(name: str) -> float:
    """Divergence of the posterior from the prior on the patches of validation, by the record of weights."""
    root = Path(__file__).resolve().parents[1]
    path = root / ("dcejax/weights" if name == PAPER else "audit") / f"{name}.json"
    training = json.loads(path.read_text(encoding="utf-8"))["training"]["prob_unet"]
    return training.get("last", training["best"])["validation"]["kl_divergence"]


def latent(rows: list[Row]) -> list[str]:
    """What the latent says, of all patients: mean and its interval by resampling patients."""
    rng = np.random.default_rng(0)
    told = []
    for name in ("divergence_nats", "posterior_sd", "prior_sd"):
        values = np.array([row[name] for row in rows])
        means = values[rng.integers(len(values), size=(10_000, len(values)))].mean(axis=1)
        low, high = np.percentile(means, [2.5, 97.5])
        told.append(f"{values.mean():.3f} ({low:.3f} to {high:.3f})")
    return told


def answers(tables: dict, told: list[Row]) -> Iterator[str]:
    """The four questions."""
    rows = pick(tables["table1"]["rows"], reference="reader 1")
    zero, paper = ({name: one(rows, arm=label, parameter=name) for name in PARAMETERS} for label in (ZERO, PAPER))
    shares = ", ".join(
        f"{name} {zero[name]['ssim']:.3f} of {paper[name]['ssim']:.3f}"
        for name in PARAMETERS
        if zero[name] and paper[name]
    )
    scores = " / ".join(f"{pair[1]:g}" for pair in ABLATION["ssim"])
    yield (
        f"**How much of the score does an empty map get?** SSIM of a map of zeros beside that of `{PAPER}`: {shares} "
        f"(published: {scores}); differences with intervals stand below."
    )
    yield ""
    nats, posterior_sd, prior_sd = latent(told)
    differences = []
    compared = tables["table1_paired"]["rows"]
    for name in PARAMETERS:
        row = paired(compared, "ssim", reference="reader 1", parameter=name, arm=POSTERIOR)
        differences.append(f"{name} {shown(row, 'difference', 4)}")
    yield (
        "**What is sampling the posterior, which sees the label, worth?** Nothing. On the patches that training is "
        f"validated with it lies {recorded_nats(PAPER):.0e} nats from the prior. (On whole slices of these patients, "
        f"whose borders move both averages, {nats}, SDs {posterior_sd} and {prior_sd}: the same in every slice, so it "
        f"tells nothing of them.) SSIM of the prior's maps less that of the posterior's, against reader 1: "
        f"{', '.join(differences)}."
    )
    yield ""
    halves = [row for row in pick(tables["reliability"]["rows"], scale="raw")]
    cells = {}
    for key, word in (("halves", "half of samples"), ("the truth", "truth"), ("retest", "retest")):
        found = [r for r in halves if word in r["condition"].lower() and PAPER in r["condition"]]
        cells[key] = " / ".join(shown(r, "icc_a1") for r in found[:3]) or "–"
    yield (
        "**Why is its ICC 1.00?** Both halves of the samples see one scan and share the network: "
        f"{cells['halves']}. Means over all samples have {cells['the truth']} against the truth, and "
        f"{cells['retest']} between two examinations of 50 other patients (Ktrans / vp / ve)."
    )
    yield ""
    edges = []
    for name in PARAMETERS:
        row = one(tables["edge"]["rows"], arm=PAPER, parameter=name)
        edges.append(
            f"{name} {shown(row, 'cv')} of SD / mean, {shown(row, 'sd')} of SD, {shown(row, 'sd_given_mean')} "
            "of SD given the mean"
        )
    yield (
        "**Does the uncertain rim survive without division by the mean?** No. Spearman's correlation with the error in "
        f"the rim of the enhancing tumour: {'; '.join(edges)}."
    )
    yield ""


def weighed(tables: dict, told: list[Row], published: list[Row], calibration: dict) -> Iterator[str]:
    """The arm whose divergence is weighed against the likelihood."""
    yield (
        f"`{LATENT}` has the architecture, data and schedule of `{PAPER}`, but its divergence is weighed against the "
        "likelihood of all voxels of a patch instead of their mean error, with an error scale that follows the "
        "residual (`losses.laplace_surprise`); and its last epoch is taken, for validation by samples of the prior "
        "prefers a latent that is silent. The divergence of its posterior from its prior is "
        f"{recorded_nats(LATENT):.1f} nats on the patches of validation, beside {recorded_nats(PAPER):.0e}, and "
        f"{latent(told)[0]} a slice here, beside {latent(published)[0]}; SDs of the posterior's and the prior's "
        f"latents are {latent(told)[1]} and {latent(told)[2]}. What the posterior knows beyond the prior it has from "
        "the label. One latent for a whole slice moves all of it: samples of so wide a prior make even "
        "normal brain bright (see its maps), which SSIM shows, while errors of logarithms in tumour fall (but "
        "not below those of the class median) and the spread tells more of them."
    )
    yield ""
    rows, lines = tables["table1_paired"]["rows"], []
    for reference in ("reader 1", "truth"):
        for metric, name in ALL_NAMES.items():
            of = [
                paired(rows, metric, reference=reference, parameter=parameter, arm=LATENT) for parameter in PARAMETERS
            ]
            cells = ["–" if row is None else f"{shown(row, 'difference', 3)}: {row['verdict']}" for row in of]
            lines.append([reference, name, *cells])
    yield from table(["against", f"{PAPER} − {LATENT} (which {PAPER} is)", *PARAMETERS], lines)
    scales = "; ".join(
        f"{group}: {' / '.join(f'{value:.1f}' for value in row)}"
        for group, row in zip(calibration["groups"], calibration["scales"], strict=True)
    )
    yield (
        f"`{CALIBRATED}` are maps of the same weights (other draws of the latent) with SDs multiplied by numbers that "
        f"make 90 % intervals hold 90 % of true values on {calibration['patients']} validation patients, in all their "
        f"tissue on either side of that Ktrans ([calibration](audit_calibration.json); {scales}). In enhancing tumour "
        "alone, where maps follow the readers' level, it does not hold, and for ve, where the numbers are large, the "
        "CRPS becomes worse: see above."
    )
    yield ""


def times(tables: dict) -> Iterator[str]:
    """Seconds a patient."""
    lines = [
        [row["arm"], shown(row, "inference_median"), shown(row, "total_median"), str(row.get("where") or "–")]
        for row in tables["time"]["rows"]
    ]
    lines.append(["published: conventional / network", "62.1 / 0.8", "344.1 / 4.7", "RTX 3090"])
    yield from table(["arm", "inference, s", "all, s", "compilation"], lines)
    yield (
        f"Two cores. `{LATENT}` and `{DEFAULT}` ran on busier days than the others; the network of "
        f"the former is that of `{PAPER}`. The published "
        "344 s hold 282 s of a reader's handling, which is left out here."
    )
    yield ""


def page(folder: Path) -> Iterator[str]:
    """All of it."""
    results = json.loads((folder / "audit_results.json").read_text(encoding="utf-8"))
    told, other, calibration = (
        json.loads((folder / f"audit_{name}.json").read_text(encoding="utf-8"))
        for name in ("latent", "latent_weighed", "calibration")
    )
    tables = results["tables"]
    labels = [arm["label"] for arm in results["arms"]]
    yield "# The published method, audited"
    yield ""
    yield (
        "Written by `python tools/audit.py docs`; do not edit. The tool says how its files are made: "
        "[results](audit_results.json), latents of [the published loss](audit_latent.json) and of "
        "[the other](audit_latent_weighed.json), [calibration](audit_calibration.json)."
    )
    yield (
        f"{results['patients']} simulated patients (`half`), and {results['examined_twice']} others who were examined "
        "twice (six slices of `half`). Not clinical evidence. The patients were looked at several times: by the "
        f"published arms and earlier weights of the recommended model, again when `{LATENT}` had been trained, and by "
        f"`{DEFAULT}`; nothing of the published arms was chosen by them."
    )
    yield ""
    sections = {
        "Four answers": answers(tables, told),
        "Patients (Table 2)": patients(tables),
        "Errors (Table 1)": errors(tables, labels),
        "Beside maps that know nothing": against_nothing(tables),
        "The ablation": ablation(tables),
        "Maps (Figures 3 and 4)": maps(),
        "Reliability": reliability(tables),
        "Bland–Altman (Figure 5)": bland_altman(tables),
        "Diagnosis (Figure 6)": diagnosis(tables, [label for label in labels if label in (TRUTH, DEFAULT)]),
        "Uncertainty in enhancing tumour, against the truth: Ktrans / vp / ve": uncertainty(tables),
        "A latent that may speak": weighed(tables, other, told, calibration),
        "Time": times(tables),
    }
    for title, lines in sections.items():
        yield f"## {title}"
        yield ""
        yield from lines


if __name__ == "__main__":
    print("\n".join(page(Path(sys.argv[1]))).rstrip())
