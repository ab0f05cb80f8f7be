"""The recommended model as one figure, docs/model.png: shapes are asked of the code, parameters of its weights.

python tools/model_figure.py docs/model.png
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyBboxPatch

from dcejax.data import weights
from dcejax.execution.policy import default_policy
from dcejax.methods import dcejax2026, method
from dcejax.methods.aligned_grid import nothing
from dcejax.models.neighbourhood import NEIGHBOURS
from dcejax.physics.bolus_grid import WIDTHS
from dcejax.physics.grid_posterior import DELAYS, KEP, MOMENTS
from dcejax.physics.units import SECONDS_PER_MINUTE

EXAMINATION, VOXEL = 0.0, 1.2  # left edges of the two columns
WIDTH, HEIGHT = 1.0, 0.62
COLOURS = {"input": "#e8eef7", "physics": "#fdebd0", "network": "#e3f1e1", "result": "#f6e0e6"}


def parameters(tree: Any) -> int:
    """How many there are."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def shapes(trained: dcejax2026.Trained) -> dict[str, tuple[int, ...]]:
    """Shapes between the parts, of one examination with one voxel."""
    seen, voxels, acquisition, valid = nothing()

    def everything() -> dict[str, jax.Array]:
        def of(method: str, *inputs: Any) -> Any:
            return trained.network.apply({"params": trained.params}, *inputs, method=method)

        encoded = of("encode", seen, acquisition)
        state, past = of("voxels", encoded, voxels, seen.facts, valid)
        told = of("tell", 0, state)
        gathered = told[..., None, :].repeat(NEIGHBOURS, axis=-2)
        found = of("gaussian", of("hear", 0, state, gathered), past)
        each = seen._asdict() | encoded._asdict() | voxels._asdict() | found._asdict()
        return {name: each[name] for name in ("bright", "signal", "sample", "known", "facts", "plasma", "context")} | {
            "concentration": voxels.concentration,
            "fields": encoded.fields,
            "state": state,
            "gathered": gathered,
            "mean": found.mean,
            "cholesky": found.cholesky,
            "shared": found.shared,
        }

    return {name: of.shape for name, of in jax.eval_shape(everything).items()}


def boxes(trained: dcejax2026.Trained) -> Iterator[tuple[str, float, int, str, tuple[str, str]]]:
    """Name, column, row, kind and text of each part."""
    of, params = shapes(trained), trained.params
    sizes = trained.network.sizes
    encoder, layers = parameters(params["encoder"]), parameters((params["voxel_layers"], params["linear"]))
    exchange = parameters([params[name] for name in params if name.startswith("exchanges")])
    features = params["voxel_layers"]["Dense_0"]["kernel"].shape[0]
    attended = f"{sizes.attentions} attentions over P, pooling over S"
    shared = f"{trained.rank} + {of['shared'][-1] - trained.rank}"

    def size(name: str, axes: int = 1) -> str:
        return f"[{', '.join(map(str, of[name][-axes:]))}]"

    curves = f"signal [P, {of['signal'][-1]}], features [P, {of['bright'][-1]}]"
    yield "vessels", EXAMINATION, 0, "input", ("P brightest voxels", curves)
    yield "sample", EXAMINATION, 1, "input", ("S random voxels of the brain", f"features [S, {of['sample'][-1]}]")
    given = f"a given arterial input, or zeros {size('known')}"
    yield "facts", EXAMINATION, 2, "input", (f"acquisition, and what is known {size('facts')}", given)
    yield "encoder", EXAMINATION, 3, "network", (f"vascular encoder: {encoder:,} parameters", attended)
    common = f"context {size('context')}, smooth fields {size('fields', 2)}"
    yield "plasma", EXAMINATION, 4, "result", (f"plasma curve {size('plasma')} mM", common)
    of_steps = " and ".join(f"{width * SECONDS_PER_MINUTE:g}" for width in np.unique(WIDTHS))
    steps = f"concentration {size('concentration')} in steps of {of_steps} s"
    yield "voxel", VOXEL, 0, "input", (steps, "noise, baseline, place, T1 and B1 maps")
    grid = f"{len(KEP)} rates kep × {len(DELAYS)} delays: moments [{MOMENTS}]"
    yield "grid", VOXEL, 1, "physics", ("extended Tofts in closed form", grid)
    dense = f"{sizes.voxel_layers} layers, {layers:,} parameters: state {size('state')}"
    yield "features", VOXEL, 2, "network", (f"all features [{features}]", dense)
    heard = f"{sizes.neighbour_layers} layers hear the neighbours {size('gathered', 2)}"
    yield "neighbours", VOXEL, 3, "network", (heard, f"{exchange:,} parameters")
    spread = f"noise {size('cholesky', 2)}, of patient and model [{of['shared'][-2]}, {shared}]"
    yield "gaussian", VOXEL, 4, "result", (f"logarithms of Ktrans, vp, ve: mean {size('mean')}", spread)


DOWN = [("encoder", "plasma"), ("voxel", "grid"), ("grid", "features"), ("features", "neighbours")]
DOWN += [("neighbours", "gaussian")]
INPUTS = ("vessels", "sample", "facts")  # of the encoder


def draw(path: Path) -> None:
    """Draw the released weights' network."""
    loaded = weights.load(None)
    trained = dcejax2026.load(loaded.params, method.config_of(loaded), default_policy())
    figure, axes = plt.subplots(figsize=(9, 5.4))
    places = {}
    for name, left, row, kind, lines in boxes(trained):
        places[name] = (left, -row)
        style = {"boxstyle": "round,pad=0.01,rounding_size=0.04", "facecolor": COLOURS[kind], "edgecolor": "#555555"}
        axes.add_patch(FancyBboxPatch((left, -row), WIDTH, HEIGHT, **style))
        axes.text(left + WIDTH / 2, HEIGHT / 2 - row, "\n".join(lines), ha="center", va="center", fontsize=8.5)

    def arrow(*corners: tuple[float, float]) -> None:
        axes.plot(*zip(*corners[:-1], strict=True), color="#555555", linewidth=1.2)
        ends = {"arrowstyle": "-|>", "color": "#555555", "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", corners[-1], corners[-2], arrowprops=ends)

    gap = 0.012  # between a box and an arrow
    for begin, end in DOWN:
        (left, bottom), (_, below) = places[begin], places[end]
        arrow((left + WIDTH / 2, bottom - gap), (left + WIDTH / 2, below + HEIGHT + gap))
    beside = EXAMINATION - 0.08
    for name in INPUTS:
        start, end = (places[of][1] + HEIGHT / 2 for of in (name, "encoder"))
        arrow((EXAMINATION - gap, start), (beside, start), (beside, end), (EXAMINATION - gap, end))
    between = (EXAMINATION + WIDTH + VOXEL) / 2
    for name in ("grid", "features"):
        start, end = (places[of][1] + HEIGHT / 2 for of in ("plasma", name))
        arrow((EXAMINATION + WIDTH + gap, start), (between, start), (between, end), (VOXEL - gap, end))
    for left, title in ((EXAMINATION, "once for an examination"), (VOXEL, "for every voxel")):
        axes.text(left + WIDTH / 2, HEIGHT + 0.15, title, ha="center", fontsize=11, weight="bold")
    axes.set_xlim(beside - 0.03, VOXEL + WIDTH + 0.03)
    axes.set_ylim(-4.05, HEIGHT + 0.4)
    axes.axis("off")
    figure.savefig(path, dpi=150, bbox_inches="tight", metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
