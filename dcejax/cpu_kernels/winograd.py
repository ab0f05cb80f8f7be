"""Minimal filtering F(4, 3): four outputs of three taps by six products instead of twelve.

Four neighbouring outputs of a filter are a product of polynomials, and one of degree five is known by its values at six
points. So both factors are evaluated there, multiplied number by number, and the outputs interpolated. In two
dimensions the products are summed over rows and channels before that, so that they are one matrix product per point
(Winograd, Arithmetic Complexity of Computations, SIAM 1980; Lavin and Gray, Fast Algorithms for Convolutional Neural
Networks, CVPR 2016).

The points are 0, ±2/3, ±3/2 and infinity. With the usual 0, ±1, ±2 and infinity rounding errors of sums over hundreds
of numbers of float32 are twice those of the plain sum; with these they are a third to a half more.
"""

import numpy as np

OUTPUTS = 4
TAPS = 3
POINTS = OUTPUTS + TAPS - 1

_NEAR, _FAR = 2 / 3, 3 / 2
_BOTH = ((_NEAR, _FAR), (_FAR, _NEAR))

_SUM = _NEAR**2 + _FAR**2
_PRODUCT = (_NEAR * _FAR) ** 2


def _filter_at(point: float, other: float) -> list[list[float]]:
    norm = 2 * point**2 * (point**2 - other**2)
    return [[1 / norm, sign * point / norm, point**2 / norm] for sign in (1, -1)]


def _inputs_at(point: float, other: float) -> list[list[float]]:
    return [[0, -sign * point * other**2, -(other**2), sign * point, 1, 0] for sign in (1, -1)]


OF_FILTER = np.array([[1 / _PRODUCT, 0, 0], *_filter_at(*_BOTH[0]), *_filter_at(*_BOTH[1]), [0, 0, 1]])
"""[6, 3]: a filter at the points."""

OF_INPUTS = np.array(
    [[_PRODUCT, 0, -_SUM, 0, 1, 0], *_inputs_at(*_BOTH[0]), *_inputs_at(*_BOTH[1]), [0, _PRODUCT, 0, -_SUM, 0, 1]]
)
"""[6, 6]: six neighbouring inputs at the points."""

TO_OUTPUTS = np.array([[1, *(p**i for point, _ in _BOTH for p in (point, -point)), i == OUTPUTS - 1] for i in range(4)])
TO_OUTPUTS[1:, 0] = 0
"""[4, 6]: four neighbouring outputs from the products at the points."""
