"""Winograd's minimal filtering F(4, 3): a tile of four outputs of three taps by six products instead of twelve.

Filtering is a product of polynomials, and a polynomial of degree five is determined by its values at six nodes. So
inputs and filter are transformed to their values at the nodes, these are multiplied, and the products are transformed
to outputs. Products are summed over rows and channels before the last step, which makes them one matrix product per
node (Winograd, Arithmetic Complexity of Computations, SIAM 1980; Lavin and Gray, Fast Algorithms for Convolutional
Neural Networks, CVPR 2016, whose G, Bᵀ and Aᵀ the transforms are).

The nodes are 0, ±2/3, ±3/2 and infinity. For float32 sums over hundreds of numbers their rounding errors are a third to
a half larger than those of the plain sum; with the usual nodes 0, ±1, ±2 and infinity they are twice as large.
"""

import numpy as np

OUTPUTS = 4
TAPS = 3
NODES = OUTPUTS + TAPS - 1

_NEAR, _FAR = 2 / 3, 3 / 2
_BOTH = ((_NEAR, _FAR), (_FAR, _NEAR))

_SUM = _NEAR**2 + _FAR**2
_PRODUCT = (_NEAR * _FAR) ** 2


def _filter_at(node: float, other: float) -> list[list[float]]:
    norm = 2 * node**2 * (node**2 - other**2)
    return [[1 / norm, sign * node / norm, node**2 / norm] for sign in (1, -1)]


def _inputs_at(node: float, other: float) -> list[list[float]]:
    return [[0, -sign * node * other**2, -(other**2), sign * node, 1, 0] for sign in (1, -1)]


FILTER_TRANSFORM = np.array([[1 / _PRODUCT, 0, 0], *_filter_at(*_BOTH[0]), *_filter_at(*_BOTH[1]), [0, 0, 1]])
"""[6, 3]: from the taps of a filter to the nodes, G."""

INPUT_TRANSFORM = np.array(
    [[_PRODUCT, 0, -_SUM, 0, 1, 0], *_inputs_at(*_BOTH[0]), *_inputs_at(*_BOTH[1]), [0, _PRODUCT, 0, -_SUM, 0, 1]]
)
"""[6, 6]: from six neighbouring inputs to the nodes, Bᵀ."""

OUTPUT_TRANSFORM = np.array(
    [[i == 0, *(x**i for node, _ in _BOTH for x in (node, -node)), i == OUTPUTS - 1] for i in range(OUTPUTS)]
)
"""[4, 6]: from the products at the nodes to four neighbouring outputs, Aᵀ."""
