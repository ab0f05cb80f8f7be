"""The machine code of `dcejax.cpu_kernels.temporal_kernel`.

Between layers a voxel's features lie in rows of channels, one row a frame, after as many rows of zeros as the next
layer looks back.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple

from llvmlite import ir

from dcejax.cpu_kernels.assembler import LINE, Assembler
from dcejax.cpu_kernels.host import Buffer
from dcejax.cpu_kernels.tcn_operands import Shape


class _Rows(NamedTuple):
    """Features of a voxel: numbers before the first, rows of zeros, and channels."""

    start: int
    zeros: int
    channels: int


class _Block(NamedTuple):
    middle: _Rows  # between its convolutions
    end: _Rows
    parts: _Rows  # products with the taps of a narrow block


def _plan(shape: Shape) -> tuple[_Rows, list[_Block], int]:
    """Where the curve and each block's features lie, and the numbers that all need."""
    used = 0

    def rows(zeros: int, channels: int) -> _Rows:
        nonlocal used
        start, used = used, -(-(used + (zeros + shape.frames) * channels) // LINE) * LINE
        return _Rows(start, zeros, channels)

    reach = [(shape.taps - 1) * dilation for dilation in shape.dilations]
    curve = rows(reach[0], 1)
    blocks = [
        _Block(rows(back, features), rows(following, features), rows(back, shape.taps + 1 if shape.narrow(i) else 0))
        for i, (back, following, features) in enumerate(zip(reach, [*reach[1:], 0], shape.channels, strict=True))
    ]
    return curve, blocks, used


def scratch(shape: Shape) -> int:
    """Numbers that the kernel needs for features."""
    return _plan(shape)[2]


class _Network:
    """Writes the layers of one voxel."""

    def __init__(self, k: Assembler, shape: Shape, scratch: ir.Value):
        self._k, self._shape, self._scratch = k, shape, scratch

    def at(self, rows: _Rows) -> ir.Value:
        """Pointer to the first frame's row."""
        return self._k.at(self._scratch, rows.start + rows.zeros * rows.channels)

    def clear(self, rows: _Rows) -> None:
        """Write the zeros before the first frame."""
        self._k.clear(self._k.at(self._scratch, rows.start), rows.zeros * rows.channels)

    def convolve(
        self,
        source: _Rows,
        kernel: ir.Value,
        bias: ir.Value,
        target: _Rows,
        *,
        dilation: int = 1,
        taps: int = 1,
        rectified: bool = False,
        added: _Rows | None = None,
    ) -> None:
        """Write a causal convolution with bias, rectified or not, plus other features."""
        k, frames = self._k, self._shape.frames
        n_in, n_out = source.channels, target.channels
        x, out = self.at(source), self.at(target)
        most = min(frames, k.rows(n_out))

        def tile(frame: ir.Value | int, size: int) -> None:
            sums = k.sums(size, n_out)
            k.start(sums, n_out, bias)

            def tap(number: ir.Value) -> None:
                seen = k.add(frame, k.mul(k.sub(number, taps - 1), dilation))
                left = k.at(x, k.mul(seen, n_in)), n_in, 1
                k.multiply(sums, n_out, left, (k.at(kernel, k.mul(number, n_in * n_out)), n_out), n_in)

            k.loop(taps, tap)
            activation = k.relu if rectified else lambda value: value
            place = k.mul(frame, n_out)
            others = None if added is None else k.at(self.at(added), place)
            k.finish(sums, n_out, k.at(out, place), n_out, activation, others)

        whole = frames // most * most
        k.loop(whole, lambda frame: tile(frame, most), most)
        if whole < frames:
            tile(whole, frames - whole)

    def sum_taps(self, block: _Block, dilation: int) -> None:
        """Add the delayed products with the taps, rectified, and put the projection where the block ends."""
        k, taps, columns = self._k, self._shape.taps, block.parts.channels
        parts, middle, end = self.at(block.parts), self.at(block.middle), self.at(block.end)

        def frame(t: ir.Value) -> None:
            row = k.at(parts, k.mul(t, columns))
            total = k.load(row, taps - 1)
            for tap in range(taps - 1):
                total = k.builder.fadd(total, k.load(row, (tap - taps + 1) * dilation * columns + tap))
            k.store(k.relu(total), middle, t)
            k.store(k.load(row, taps), end, t)

        k.loop(self._shape.frames, frame)


def emit(shape: Shape, k: Assembler, argument: Callable[[int], Buffer], result: Callable[[int], Buffer]) -> None:
    """Write the kernel: curves [V, T] and parameters to [V, outputs], with scratch memory as the second result."""
    curve, blocks, _ = _plan(shape)
    out = result(0)
    network = _Network(k, shape, result(1).data)
    numbers = itertools.count()
    curves = argument(next(numbers))
    layers = []
    for i, (channels, features) in enumerate(zip(shape.inputs(), shape.channels, strict=True)):
        count = 4 if shape.narrow(i) or channels == features else 6
        layers.append([argument(next(numbers)).data for _ in range(count)])
    head, offset = (argument(next(numbers)).data for _ in range(2))
    for rows in (curve, *(rows for block in blocks for rows in block)):
        network.clear(rows)

    def voxel(v: ir.Value) -> None:
        seen = k.at(curves.data, k.mul(v, shape.frames))
        x = curve
        k.loop(shape.frames, lambda t: k.store(k.load(seen, t), network.at(curve), t))
        for i, (block, dilation) in enumerate(zip(blocks, shape.dilations, strict=True)):
            kernel, bias, *projection, kernel_1, bias_1 = layers[i]
            added = x
            if shape.narrow(i):
                network.convolve(x, kernel, bias, block.parts)
                network.sum_taps(block, dilation)
                added = block.end
            else:
                network.convolve(x, kernel, bias, block.middle, dilation=dilation, taps=shape.taps, rectified=True)
                if projection:
                    network.convolve(x, *projection, block.end)
                    added = block.end
            network.convolve(
                block.middle,
                kernel_1,
                bias_1,
                block.end,
                dilation=dilation,
                taps=shape.taps,
                rectified=True,
                added=added,
            )
            x = block.end
        sums = k.sums(1, shape.outputs)
        k.start(sums, shape.outputs, offset)
        left = network.at(x), 0, x.channels  # the head sees the first channel only
        k.multiply(sums, shape.outputs, left, (head, shape.outputs), shape.frames)
        k.finish(sums, shape.outputs, k.at(out.data, k.mul(v, shape.outputs)), 0)

    k.loop(curves.shape(0), voxel)
