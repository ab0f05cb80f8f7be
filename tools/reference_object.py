"""Measure the digital reference object and write docs/reference_object.md with its pictures.

    python tools/reference_object.py [--patients=N]

A quarter of an hour on two cores for five patients, all of them of the validation cohort.
"""

import argparse
import os
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib as mpl
import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # configs/ is not part of the package
from configs.paper import get_config
from dcejax import rng
from dcejax.execution.policy import default_policy
from dcejax.methods import method
from dcejax.physics.fitting import fit
from dcejax.physics.signal import spgr_to_concentration
from dcejax.simulation import cohort_definitions, priors
from dcejax.simulation.anatomy import composition, head_anatomy
from dcejax.simulation.reference_object import fine_time, paint, render, session
from dcejax.simulation.scanner import imaging
from dcejax.training.batches import source_of
from dcejax.training.step import init_state, make_train_step
from dcejax.types import PARAMETERS

mpl.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT = Path(__file__).with_name("reference_object.md")
COHORT = cohort_definitions.cohort("val-62")
SEED = 0
FRAME = 30
GOALS = {
    "white matter": (0.11, 0.16),
    "tumour rim (glioblastoma)": (0.22, 0.40),
    "sagittal and transverse sinus": (0.45, 0.65),
    "CSF": (0.03, 0.06),
    "SNR of white matter": (24, 30),
    "SSIM of an all-zero Ktrans map": (0.95, 0.97),
}


def draw(number):
    """A patient of the cohort and the key of the noise."""
    person = cohort_definitions.participants(COHORT, SEED)[number]
    key = cohort_definitions.patient_key(COHORT, SEED, number)
    return session.sample_session(key, person.tumour_class, COHORT.scan), rng.fold(key, "noise", 0)


# --- levels, noise, SSIM


def interior(labels, index, mask, width):
    """Voxels [X, Y, Z] of a tissue whose neighbours in plane, `width` across, are of it too."""
    return ndimage.binary_erosion((labels == index) & mask, np.ones((width, width, 1)))


def ssim_of_nothing(truth):
    """Mean SSIM of an all-zero map, by the published definition: Gaussian window of 11, σ 1.5, range 1, all voxels of
    all slices."""
    clipped = truth.clip(0, 1).astype(np.float64)

    def blur(image):
        return ndimage.gaussian_filter(image, (1.5, 1.5, 0), truncate=5 / 1.5, mode="constant")

    mean = blur(clipped)
    variance = blur(clipped**2) - mean**2
    c1, c2 = 0.01**2, 0.03**2
    return float((c1 / (mean**2 + c1) * c2 / (variance + c2)).mean())


def realism(simulated):
    """The figures of GOALS for one patient; NaN where there is no such tissue."""
    scan, drawn = simulated.scan, simulated.settings
    signal = scan.values[..., FRAME] / scan.values[scan.mask].max()
    rim = scan.segmentation == 1 if drawn["tumour"]["kinetics"] == "glioblastoma" else np.zeros_like(scan.mask)
    white = interior(simulated.tissue, composition.WHITE, scan.mask, 3)
    regions = (
        white,
        rim,
        interior(simulated.tissue, composition.VEIN, scan.mask, 3),
        interior(simulated.tissue, composition.CSF, scan.mask, 5),
    )
    levels = [float(np.median(signal[region])) if region.sum() > 50 else np.nan for region in regions]
    arrival = int(drawn["arterial_input"]["arrival_s"] / drawn["protocol"]["frame_interval_s"])
    baseline = scan.values[white][:, : arrival - 1].astype(float)
    # Of differences of successive frames, for drift is no noise; the median, for edges that move are none either.
    noise = np.median(np.abs(np.diff(baseline, axis=1))) / 0.6745 / np.sqrt(2)
    return dict(
        zip(GOALS, (*levels, float(np.median(baseline) / noise), ssim_of_nothing(simulated.truth[..., 0])), strict=True)
    )


def interval(values, statistic=np.median):
    """95 % interval of a statistic over patients, by bootstrap."""
    values = np.asarray(values)[np.isfinite(values)]
    drawn = np.random.default_rng(0).choice(values, (10_000, len(values)))
    return np.percentile(statistic(drawn, axis=1), [2.5, 97.5])


# --- the truth check, stage by stage


class Stage(NamedTuple):
    """Curves of one stage and what an analysis is told."""

    signal: np.ndarray  # [V, T]
    times: np.ndarray  # [T] min
    aif: np.ndarray  # [T] plasma, mM
    t10: np.ndarray  # [V] min
    b1: np.ndarray  # [V]
    truth: np.ndarray  # [V, C]
    baseline: int  # frames


def errors(stage, acquisition):
    """Relative errors [V, C] of the fit."""
    before = stage.signal[:, : stage.baseline].mean(axis=1, keepdims=True)
    c = spgr_to_concentration(stage.signal, before, stage.t10[:, None], acquisition, b1=stage.b1[:, None])
    good = np.isfinite(c).all(axis=1)
    found = fit("extended_tofts", np.asarray(c)[good], stage.times, stage.aif).params
    return np.stack([np.asarray(p) for p in found], -1) / stage.truth[good] - 1


def fine_signal(shown, exposure):
    """Signal [V, T, G] of points in every group of every frame, and the tables."""
    tables = fine_time.make_tables(shown)
    see = jax.jit(jax.vmap(render.tissue_signal, (None, 0, None, None, None)), static_argnums=4)
    signal = see(exposure, tables.frames, tables.delay_step, shown.protocol.tissue, False)
    return np.moveaxis(np.asarray(signal), 0, 1), tables


def tumour_points(shown, count=150):
    """Exposure and true maps [V, C] of points of pure tumour."""
    reach = float(shown.patient.anatomy.tumour.radius)
    generator = np.random.default_rng(0)
    placement = shown.scanner.placement
    centre = placement.rotation @ shown.patient.anatomy.tumour.centre + placement.shift
    points = np.asarray(centre) + generator.uniform(-reach, reach, (4096, 3)).astype(np.float32)
    subject = paint.Subject(
        shown.patient.anatomy, shown.patient.kinetics, shown.arterial, shown.scanner, shown.protocol.tissue, None
    )
    exposure, truth = jax.jit(paint.expose, static_argnums=1)(subject, head_anatomy.tissue_shares, points, 0.25)
    pure = np.flatnonzero(np.asarray(truth.shares[:, composition.TUMOUR]) > 0.999)[:count]
    return jax.tree.map(lambda a: a[pure], exposure), np.asarray(truth.maps)[pure]


def stages(number, size):
    """Name -> relative errors [V, C] in enhancing tumour of one patient, each stage with all before it."""
    shown, key = draw(number)
    acquisition = shown.protocol.tissue
    exposure, truth = tumour_points(shown)
    t10, b1 = 1 / np.asarray(exposure.r10), np.asarray(exposure.b1)
    seconds = shown.protocol.frame_interval_s * shown.protocol.frames
    quick = shown._replace(protocol=replace(shown.protocol, frame_interval_s=0.5, frames=int(seconds / 0.5)))
    direct = quick._replace(arterial=quick.arterial._replace(tissue_dispersion=jnp.array(1e-4)))
    before = int(float(shown.arterial.arrival) * 60)  # s

    found = {}
    fine = fine_time.fine_time(quick)
    artery = fine_time.arterial_curves(direct, fine)[0]
    arriving = fine_time.arterial_curves(direct, fine)[1]
    signal, _ = fine_signal(direct, exposure._replace(delay=jnp.zeros_like(exposure.delay)))
    stage = Stage(signal.reshape(len(truth), -1), fine.times, arriving, t10, b1, truth, 10 * before - 10)
    found["fine time grid, true input and T10"] = errors(stage, acquisition)
    signal, _ = fine_signal(quick, exposure)
    stage = stage._replace(signal=signal.reshape(len(truth), -1), aif=artery)
    found["delay and dispersion on the way to tissue"] = errors(stage, acquisition)
    signal, tables = fine_signal(shown, exposure)
    times = np.arange(shown.protocol.frames) * shown.protocol.frame_interval_s / 60
    frames = int(before // shown.protocol.frame_interval_s)
    stage = stage._replace(
        signal=signal @ fine_time.GROUP_WEIGHTS, times=times, aif=tables.aif, baseline=max(frames - 1, 1)
    )
    found["average within frames"] = errors(stage, acquisition)
    quiet = shown._replace(scanner=shown.scanner._replace(noise=jnp.array(0.0)))
    still = quiet._replace(poses=np.zeros_like(shown.poses), gain=np.ones_like(shown.gain))
    for name, which in (
        ("partial volume and k-space", still),
        ("residual motion and drift", quiet),
        ("noise", shown),
    ):
        simulated = render.render(key, which, size, "x")
        inside = simulated.scan.segmentation == 1
        stage = stage._replace(
            signal=simulated.scan.values[inside].astype(np.float32),
            t10=simulated.scan.t1_map[inside],
            b1=simulated.b1_map[inside],
            truth=simulated.truth[inside],
        )
        found[name] = errors(stage, acquisition)
    fixed = stage._replace(t10=np.full_like(stage.t10, 1.5 / 60), b1=np.ones_like(stage.b1))
    found["T10 of 1.5 s and nominal flip angle assumed"] = errors(fixed, acquisition)
    medians = np.median(stage.truth, axis=0)
    found["(class median of the patient as estimate)"] = medians / stage.truth - 1
    found["(all-zero map as estimate)"] = np.full_like(stage.truth, -1.0)
    return found


def stage_table(patients):
    """Rows of Markdown: median absolute and median signed error of each stage, over patients."""
    by_stage = {}
    for one in patients:
        for name, found in one.items():
            by_stage.setdefault(name, []).append(found)
    for name, found in by_stage.items():
        size = np.array([np.median(np.abs(f), axis=0) for f in found])
        bias = np.array([np.median(f, axis=0) for f in found])
        cells = []
        for c in range(len(PARAMETERS)):
            low, high = interval(size[:, c], np.mean)
            cells.append(f"{size[:, c].mean():.1%} ({low:.1%} to {high:.1%})")
            cells.append(f"{bias[:, c].mean():+.1%}")
        yield f"| {name} | " + " | ".join(cells) + f" | {sum(map(len, found)):,} |"


# --- volumes, tables, pictures


def volume_row():
    """Quartiles of the solid part of enhancing tumours of 10,000 patients of the test composition."""
    classes = np.repeat(
        np.arange(len(priors.TUMOUR_CLASSES)),
        cohort_definitions.apportion(cohort_definitions.cohort("test-102").counts, 10_000),
    )
    drawn = jax.jit(jax.vmap(head_anatomy.sample_anatomy))(
        jax.random.split(rng.stream(SEED, "volumes"), 10_000), classes
    )
    volume = (4 / 3 * np.pi * np.asarray(drawn.tumour.radius) ** 3 / 1e3)[np.asarray(drawn.tumour.enhancing)]
    quartiles = np.percentile(volume, [25, 50, 75])
    share = 1 - np.asarray(drawn.tumour.enhancing).mean()
    return quartiles, len(volume), share


def log_normal(value):
    """A prior in words."""
    return f"{value.median:g} ({value.between:g}, {value.within:g})" if value.median else "–"


def prior_tables():
    """Markdown of all priors."""
    lines = ["| tissue | Ktrans, 1/min | vp | ve | T10, s | protons |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {t.name} | {log_normal(t.ktrans)} | {log_normal(t.vp)} | {log_normal(t.ve)} | {log_normal(t.t10_s)} | "
        f"{log_normal(t.m0)} |"
        for t in priors.TISSUES
    ]
    lines += ["", "| solid tumour | Ktrans, 1/min | vp | ve |", "|---|---|---|---|"]
    lines += [
        f"| {k.name} | {log_normal(k.ktrans)} | {log_normal(k.vp)} | {log_normal(k.ve)} |"
        for k in priors.TUMOUR_KINETICS
    ]
    lines += [
        "",
        "| class | kinetics where it enhances | never enhances | with a core | training mix, of 227 | test, of 102 |",
        "|---|---|---|---|---|---|",
    ]
    test = cohort_definitions.cohort("test-102").counts
    training = cohort_definitions.cohort("train").counts
    lines += [
        f"| {c.name} | {priors.TUMOUR_KINETICS[c.kinetics].name} | {c.non_enhancing:.0%} | {c.core:.0%} | {a} | {b} |"
        for c, a, b in zip(priors.TUMOUR_CLASSES, training, test, strict=True)
    ]
    lines += ["", "| everything else | |", "|---|---|"]
    for name, value in asdict(priors.PRIORS).items():
        shown = (
            value if not isinstance(value, dict) else f"{value['median']:g} ({value['between']:g}, {value['within']:g})"
        )
        lines.append(f"| `{name}` | {shown} |")
    return "\n".join(lines)


def cohort_table():
    """Markdown of all cohorts."""
    lines = ["| cohort | patients | what |", "|---|---|---|"]
    for c in cohort_definitions.COHORTS.values():
        size = (
            "as many as asked for" if c.size is None else f"{c.size}" + (f" × {c.sessions}" if c.sessions > 1 else "")
        )
        lines.append(f"| `{c.name}` | {size} | {c.what} |")
    return "\n".join(lines)


def seconds(function, repeats=3):
    """Median duration of a function after one call that compiles."""
    jax.block_until_ready(function(0))
    took = []
    for repeat in range(1, repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(function(repeat))
        took.append(time.perf_counter() - start)
    return float(np.median(took))


def speed_rows():
    """Markdown: a patient of each size, and the training generator beside the step it feeds, on this machine."""
    for name, size in imaging.SIZES.items():
        took = seconds(
            lambda i, size=size: render.render(draw(i)[1], draw(i)[0], size, "x").truth, 1 + (size.slab or 0)
        )
        yield f"| a patient, `{name}` | {took:.1f} s |"
    config, policy = get_config(), default_policy()
    params = {}
    for make_stage in method.of(config).stages(config, policy):
        stage = make_stage(params)
        source = source_of(stage.config, stage.protocol, per_curve=stage.per_curve)
        made = seconds(lambda i, source=source: source(rng.stream(0, "speed", i)))
        batch = source(rng.stream(0, "speed", 0))
        state = init_state(stage, jax.random.key(0))
        params[stage.name] = state.params
        update = make_train_step(stage, policy)

        def step(i, update=update, batch=batch, state=state):
            fresh = jax.tree.map(jnp.copy, state)  # a step gives its input's memory away
            return update(fresh, batch, jax.random.key(i))[1]

        trained = seconds(step)
        yield f"| {stage.name}: a batch of {stage.config.patches_per_patient} patches | {made:.2f} s |"
        yield f"| {stage.name}: the training step it feeds | {trained:.2f} s, {trained / made:.1f} times as long |"


def mosaic(simulated, path):
    """Baseline, peak and end of the signal, and the three true maps, over six heights."""
    scan = simulated.scan
    arrival = int(simulated.settings["arterial_input"]["arrival_s"] / 5)
    peak = arrival + int(scan.values[scan.mask].mean(axis=0, dtype=float)[arrival : arrival + 8].argmax())
    bright = np.percentile(scan.values[scan.mask], 99.9)
    rows = [("baseline", scan.values[..., 1], "gray", 0.4 * bright)]
    rows += [(f"peak, frame {peak}", scan.values[..., peak], "gray", 0.7 * bright)]
    rows += [("end", scan.values[..., -1], "gray", 0.7 * bright)]
    ranges = {"Ktrans": 0.15, "vp": 0.15, "ve": 0.6}
    units = {"Ktrans": " (1/min)", "vp": "", "ve": ""}
    rows += [(n + units[n], simulated.truth[..., i], "inferno", ranges[n]) for i, n in enumerate(PARAMETERS)]
    tumour = np.argwhere(scan.segmentation > 0)[:, 2]
    middle = int(np.median(tumour)) if tumour.size else scan.mask.shape[2] // 2
    heights = sorted({*np.linspace(4, scan.mask.shape[2] - 5, 5).astype(int).tolist(), middle})
    figure, axes = plt.subplots(len(rows), len(heights), figsize=(2 * len(heights) + 0.8, 12.2), layout="constrained")
    for line, (name, image, colours, top) in zip(axes, rows, strict=True):
        for axis, z in zip(line, heights, strict=True):
            shown = axis.imshow(image[20:-20, 8:-8, z].T, origin="lower", cmap=colours, vmin=0, vmax=top)
            axis.set_xticks([])
            axis.set_yticks([])
        line[0].set_ylabel(name)
        if colours != "gray":
            figure.colorbar(shown, ax=line.tolist(), shrink=0.8, pad=0.01)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def draw_pictures():
    """Mosaics of the first patients of the cohort with a core, with a solid tumour, and with one that stays dark."""
    wanted = {(True, True): "core", (True, False): "solid", (False, False): "none"}
    for number in range(COHORT.size):
        shown, key = draw(number)
        drawn = shown.patient.anatomy
        kind = bool(drawn.tumour.enhancing), bool(drawn.tumour.has_core)
        if kind in wanted and drawn.tumour.radius > 14:  # mm; smaller ones hardly show at this scale
            simulated = render.render(key, shown, imaging.SIZES["full"], "x")
            mosaic(simulated, DOCS / f"reference_object_{wanted.pop(kind)}.png")


def main():
    """Write docs/reference_object.md and its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=5)
    count = parser.parse_args().patients
    full, figures, checked = imaging.SIZES["full"], [], []
    for number in range(count):
        shown, key = draw(number)
        simulated = render.render(key, shown, full, f"patient {number}")
        figures.append(realism(simulated))
        if simulated.settings["tumour"]["enhancing"]:
            checked.append(stages(number, imaging.SIZES["slab"]))
        print(number, figures[-1], flush=True)
    realism_rows = []
    for name, (low, high) in GOALS.items():
        values = np.array([f[name] for f in figures])
        values = values[np.isfinite(values)]
        a, b = interval(values)
        realism_rows.append(
            f"| {name} | {low:g} to {high:g} | {np.median(values):.3g} ({a:.3g} to {b:.3g}) | {values.min():.3g} to "
            f"{values.max():.3g} | {len(values)} |"
        )
    draw_pictures()
    quartiles, enhancing, share = volume_row()
    goal = np.array([4.8, 16.8, 37.7])
    text = TEXT.read_text(encoding="utf-8")
    for name, content in {
        "REALISM": "\n".join(realism_rows),
        "STAGES": "\n".join(stage_table(checked)),
        "STAGE_PATIENTS": str(len(checked)),
        "VOLUMES": " / ".join(f"{q:.1f} ({q / g - 1:+.0%})" for q, g in zip(quartiles, goal, strict=True)),
        "VOLUME_PATIENTS": f"{enhancing:,}",
        "NON_ENHANCING": f"{share:.1%}",
        "COHORTS": cohort_table(),
        "PRIORS": prior_tables(),
        "HASH": priors.priors_sha256(),
        "TEST_SCAN": "\n".join(
            f"| `{k}` | {v} |" for k, v in asdict(cohort_definitions.cohort("test-102").scan).items()
        ),
        "SPEED": "\n".join(speed_rows()),
        "CORES": str(os.cpu_count()),
        "PATIENTS": str(count),
    }.items():
        text = text.replace("{{" + name + "}}", content)
    (DOCS / "reference_object.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
