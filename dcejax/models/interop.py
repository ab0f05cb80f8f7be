"""Weights of the published PyTorch networks, read by name and shape into the trees of the flax networks.

Two tables say which flax array each PyTorch name becomes. Everything else follows from them: the expected shape
is that of the flax array with output and input axes in front, and whatever is missing, surplus or misshapen is
what differs between the tables and the file.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from dcejax.models.prob_unet import ProbUNet
from dcejax.models.tcn import TCN
from dcejax.models.unet import CONVOLUTIONS_PER_SCALE

_FRAMES = 60

# PyTorch name -> (path in the flax tree, number of axes in PyTorch)
_Table = dict[str, tuple[tuple[str, ...], int]]


def _layer(name: str, path: tuple[str, ...], rank: int) -> _Table:
    return {f"{name}.weight": ((*path, "kernel"), rank), f"{name}.bias": ((*path, "bias"), 1)}


def _tcn_table() -> _Table:
    table = _layer("linear", ("head",), 2)
    for i, (n_in, n_out) in enumerate(pairwise((1, *TCN().channels))):
        for j in range(2):
            for torch_name, flax_name, rank in (("weight_g", "g", 5), ("weight_v", "v", 5), ("bias", "bias", 1)):
                table[f"model.{i}.conv{j + 1}.{torch_name}"] = ((f"block_{i}", f"conv_{j}", flax_name), rank)
        if n_in != n_out:
            table |= _layer(f"model.{i}.downsample", (f"block_{i}", "residual"), 5)
    return table


def _prob_unet_table() -> _Table:
    """Positions in PyTorch's lists count pooling and ReLU too: [pool] conv ReLU conv ReLU conv ReLU a scale."""
    model = ProbUNet()
    scales = len(model.filters)
    table = {}
    for j in range(CONVOLUTIONS_PER_SCALE):
        for i in range(scales):
            pool, down = int(i > 0), (f"down_{i}", f"conv_{j}")
            table |= _layer(f"unet.contracting_path.{i}.layers.{pool + 2 * j}", ("unet", *down), 4)
            place = i * (2 * CONVOLUTIONS_PER_SCALE + 1) + 2 * j
            for part in ("prior", "posterior"):
                table |= _layer(f"{part}.encoder.layers.{place}", (part, *down), 4)
        for i in range(scales - 1):
            up = ("unet", f"up_{scales - 2 - i}", f"conv_{j}")
            table |= _layer(f"unet.upsampling_path.{i}.conv_block.layers.{2 * j}", up, 4)
    for part in ("prior", "posterior"):
        table |= _layer(f"{part}.conv_layer", (part, "head"), 4)
    last = model.combination_layers - 1
    for i in range(last + 1):
        name = "fcomb.last_layer" if i == last else f"fcomb.layers.{2 * i}"
        table[f"{name}.weight"] = (("combination", f"kernel_{i}"), 4)
        table[f"{name}.bias"] = (("combination", f"bias_{i}"), 1)
    return table


def _flax_shapes(kind: str, input_channels: int) -> dict[str, Any]:
    if kind == "tcn":
        model, inputs = TCN(), (jnp.zeros((1, _FRAMES)),)
    else:
        model, inputs = ProbUNet(), (jnp.zeros((1, 8, 8, input_channels)), jnp.zeros((1, 8, 8, 3)))
    return jax.eval_shape(model.init, jax.random.key(0), *inputs)["params"]


def _torch_shape(shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Shape in PyTorch of a flax array [..., in, out] or [out]: [out, in, ...] filled up with ones to rank."""
    return (*shape[-1:], *shape[-2:-1], *(1,) * (rank - len(shape)), *shape[:-2])


def _to_flax(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if array.ndim > 1:
        array = np.moveaxis(array, (0, 1), (-1, -2))
    return np.ascontiguousarray(array.reshape(shape), dtype=np.float32)


def _repeated(arrays: Mapping[str, np.ndarray], table: _Table) -> dict[str, str]:
    """Names of second listings, each with the name of the first."""
    first = {name: name.replace(".net.0.", ".conv1.").replace(".net.4.", ".conv2.") for name in arrays}
    return {name: original for name, original in first.items() if name != original and original in table}


def from_torch_state_dict(arrays: Mapping[str, np.ndarray]) -> tuple[Literal["tcn", "prob_unet"], dict[str, Any]]:
    """Convert the state dictionary of a published network.

    Args:
        arrays: PyTorch names, all with or all without a leading ``net.``, and their values as numpy arrays. A
            convolution of the TCN may be listed a second time under ``net.0`` or ``net.4`` of its block.

    Returns:
        Which network it is, and its parameters as float32 numpy arrays in the tree of `TCN()` or of
        `ProbUNet()` with one or three input channels.

    Raises:
        ValueError: names every entry that is missing, surplus, misshapen or repeated with another value.
    """
    if all(name.startswith("net.") for name in arrays):
        arrays = {name.removeprefix("net."): value for name, value in arrays.items()}
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    tables: dict[Literal["tcn", "prob_unet"], _Table] = {"tcn": _tcn_table(), "prob_unet": _prob_unet_table()}
    kind = max(tables, key=lambda k: len(tables[k].keys() & arrays.keys()))
    table = tables[kind]
    if not table.keys() & arrays.keys():
        raise ValueError(
            "expected the state dictionary of the published TCN (model.0.conv1.weight_v, …) or probabilistic "
            f"U-Net (unet.contracting_path.0.layers.0.weight, …), found {sorted(arrays)[:5] or 'no entries'}"
        )

    first_kernel = arrays.get("unet.contracting_path.0.layers.0.weight")
    single = first_kernel is not None and first_kernel.shape[1:2] == (1,)
    shapes = _flax_shapes(kind, 1 if single else 3)
    repeated = _repeated(arrays, table)
    problems = [f"{name}: missing" for name in table if name not in arrays]
    problems += [f"{name}: surplus" for name in arrays if name not in table and name not in repeated]
    params: dict[str, Any] = {}
    for name, ((*parents, leaf), rank) in table.items():
        target, shape = params, shapes
        for parent in parents:
            target, shape = target.setdefault(parent, {}), shape[parent]
        shape = shape[leaf].shape
        expected = _torch_shape(shape, rank)
        if name in arrays and arrays[name].shape != expected:
            problems.append(f"{name}: expected shape {list(expected)}, found {list(arrays[name].shape)}")
        elif name in arrays:
            target[leaf] = _to_flax(arrays[name], shape)
    for name, first in repeated.items():
        if first in arrays and not np.array_equal(arrays[name], arrays[first]):
            problems.append(f"{name}: differs from {first}, which it should repeat")
    if problems:
        raise ValueError(f"not the published {kind}:\n  " + "\n  ".join(problems))
    return kind, params
