"""Weights of the recommended method from before its time grid had coarse steps, as a start for training with them.

    python tools/longer_grid.py OLD.npz START
    python train.py --config=configs/default.py --config.init_from=START.npz ...

What is new, the coarse steps and the haematocrit, counts for nothing yet: its rows of the layers that see it are zero,
and its gains of the plasma curve make it the mean of the four curves of vessels and a quarter of a known one. Of an
examination that ends with the fine steps the networks say what they said.
"""

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dcejax.data import weights
from dcejax.methods import method
from dcejax.methods.dcejax2026 import Config
from dcejax.methods.parameters import to_half
from dcejax.models.posterior_network import Sizes
from dcejax.physics.bolus_grid import STEPS

OLD_STEPS = 52
_OLD_FACTS, _ACQUISITION, _TOLD = 9, 6, 2  # facts there were, those before the new ones, new ones


def _old_places(layout: list[tuple[int, int]]) -> np.ndarray:
    """Where old inputs lie among new ones, of a layout of parts with their old and new sizes; new values come last."""
    begins = np.cumsum([0, *(new for _, new in layout[:-1])])
    return np.concatenate([begin + np.arange(old) for begin, (old, _) in zip(begins, layout, strict=True)])


def _same(size: int) -> tuple[int, int]:
    return size, size


def _layouts(sizes: Sizes) -> dict[tuple[str, ...], list[tuple[int, int]]]:
    """Of the inputs of every layer that sees steps or facts."""
    curve, coarse = (OLD_STEPS, STEPS), (OLD_STEPS // 4, STEPS // 4)
    facts = [(_ACQUISITION, _ACQUISITION + _TOLD), _same(_OLD_FACTS - _ACQUISITION)]
    half, width = sizes.encoder_width // 2, sizes.encoder_width
    decided = [curve] * (2 * sizes.attentions + 1) + [_same(2 * half + 3 * sizes.attentions + 2 * width), *facts]
    voxel = [_same(16), curve, _same(3 + 2 * sizes.fields + 3 + 4 + sizes.context), *facts]
    return {
        ("encoder", "Dense_0", "Dense_0"): [curve, _same(5)],
        ("encoder", "Dense_3", "Dense_0"): [coarse, _same(6)],
        ("encoder", "Dense_6", "Dense_0"): decided,
        ("voxel_layers", "Dense_0"): voxel,
        ("linear",): voxel,
    }


def longer(params: dict[str, Any], sizes: Sizes) -> dict[str, Any]:
    """Parameters of one network."""
    params = jax.tree.map(np.asarray, params)

    def layer(path: tuple[str, ...]) -> dict[str, np.ndarray]:
        found = params
        for name in path:
            found = found[name]
        return found

    for path, layout in _layouts(sizes).items():
        own = layer(path)
        places, old = _old_places(layout), own["kernel"]
        if len(places) != len(old):
            raise SystemExit(f"{'/'.join(path)}: expected {len(places)} inputs, found {len(old)}; give older weights")
        own["kernel"] = np.zeros((sum(new for _, new in layout), old.shape[1]), old.dtype)
        own["kernel"][places] = old
    gains = layer(("encoder", "Dense_7"))
    for name, values in gains.items():
        curves = values.reshape(*values.shape[:-1], -1, OLD_STEPS)
        later = np.zeros((*curves.shape[:-1], STEPS - OLD_STEPS), values.dtype)
        gains[name] = np.concatenate([curves, later], axis=-1).reshape(*values.shape[:-1], -1)
    return params


def main() -> None:
    """Read, change and write."""
    old, output = sys.argv[1:]
    loaded = weights.load(old)
    config = method.config_of(loaded)
    assert isinstance(config, Config)
    members = {name: longer(tree, config.network) for name, tree in loaded.params.items() if name.startswith("member_")}
    record = {name: value for name, value in loaded.record.items() if name not in ("sha256", "calibration")}
    print(weights.save(Path(output), to_half(members), record))


if __name__ == "__main__":
    main()
