"""The machine code of `dcejax.cpu_kernels.temporal_kernel`.

Between layers the features of a voxel are a matrix in scratch memory, one row of channels a frame. Before its first row
are as many rows of zeros as the next layer looks back.
"""

import itertools
from dataclasses import dataclass

from llvmlite import ir

from dcejax.cpu_kernels.accumulators import Accumulators, rows_in_registers
from dcejax.cpu_kernels.assembler import CACHE_LINE, Assembler
from dcejax.cpu_kernels.xla_ffi import Buffers


@dataclass(frozen=True)
class Shape:
    """What a kernel is written for; the number of voxels is free."""

    frames: int
    channels: tuple[int, ...]  # of each block
    dilations: tuple[int, ...]
    taps: int
    outputs: int

    def inputs(self) -> tuple[int, ...]:
        """Input channels of each block."""
        return (1, *self.channels[:-1])

    def narrow(self, block: int) -> bool:
        """Whether a block has several input channels and one output: its first convolution is a product and a sum."""
        return self.channels[block] == 1 < self.inputs()[block]


@dataclass(frozen=True)
class _Features:
    """Where the features of a voxel lie in scratch memory."""

    offset: int  # of the first number
    padding: int  # rows of zeros before the first frame
    channels: int


@dataclass(frozen=True)
class _BlockFeatures:
    hidden: _Features  # between the convolutions
    output: _Features
    products: _Features  # with the taps of a narrow block


def _layout(shape: Shape) -> tuple[_Features, list[_BlockFeatures], int]:
    """Where the curve and the features of each block lie, and the size of all."""
    used = 0

    def place(padding: int, channels: int) -> _Features:
        nonlocal used
        offset, used = used, -(-(used + (padding + shape.frames) * channels) // CACHE_LINE) * CACHE_LINE
        return _Features(offset, padding, channels)

    reach = [(shape.taps - 1) * dilation for dilation in shape.dilations]
    curve = place(reach[0], 1)
    blocks = [
        _BlockFeatures(
            place(back, features), place(following, features), place(back, shape.taps + 1 if shape.narrow(i) else 0)
        )
        for i, (back, following, features) in enumerate(zip(reach, [*reach[1:], 0], shape.channels, strict=True))
    ]
    return curve, blocks, used


def scratch_size(shape: Shape) -> int:
    """Size of the scratch memory for the features of a voxel."""
    return _layout(shape)[2]


class _Network:
    """Writes the layers of one voxel."""

    def __init__(self, k: Assembler, shape: Shape, scratch: ir.Value):
        self._k, self._shape, self._scratch = k, shape, scratch

    def at(self, features: _Features) -> ir.Value:
        """Pointer to the first frame's row."""
        return self._k.at(self._scratch, features.offset + features.padding * features.channels)

    def clear(self, features: _Features) -> None:
        """Write the zeros before the first frame."""
        self._k.clear(self._k.at(self._scratch, features.offset), features.padding * features.channels)

    def convolve(
        self,
        source: _Features,
        kernel: ir.Value,
        bias: ir.Value,
        target: _Features,
        *,
        dilation: int = 1,
        taps: int = 1,
        relu: bool = False,
        added: _Features | None = None,
    ) -> None:
        """Write a causal convolution with bias, with or without ReLU, plus other features."""
        k, frames = self._k, self._shape.frames
        n_in, n_out = source.channels, target.channels
        x, out = self.at(source), self.at(target)
        most = min(frames, rows_in_registers(k, n_out))
        activation = k.relu if relu else lambda value: value

        def tile(frame: ir.Value | int, size: int) -> None:
            sums = Accumulators(k, size, n_out)
            sums.load(bias)

            def tap(number: ir.Value) -> None:
                seen = k.add(frame, k.mul(k.sub(number, taps - 1), dilation))
                right = k.at(kernel, k.mul(number, n_in * n_out))
                sums.multiply((k.at(x, k.mul(seen, n_in)), n_in, 1), (right, n_out), n_in)

            k.loop(taps, tap)
            place = k.mul(frame, n_out)
            others = None if added is None else k.at(self.at(added), place)
            sums.store(k.at(out, place), n_out, activation, others)

        whole = frames // most * most
        k.loop(whole, lambda frame: tile(frame, most), most)
        if whole < frames:
            tile(whole, frames - whole)

    def sum_taps(self, block: _BlockFeatures, dilation: int) -> None:
        """Write ReLU of the sum of the delayed products, and the projection as the output of the block."""
        k, taps, columns = self._k, self._shape.taps, block.products.channels
        products, hidden, output = self.at(block.products), self.at(block.hidden), self.at(block.output)

        def frame(t: ir.Value) -> None:
            row = k.at(products, k.mul(t, columns))
            total = k.load(row, taps - 1)
            for tap in range(taps - 1):
                total = k.builder.fadd(total, k.load(row, (tap - taps + 1) * dilation * columns + tap))
            k.store(k.relu(total), hidden, t)
            k.store(k.load(row, taps), output, t)

        k.loop(self._shape.frames, frame)


def emit(shape: Shape, k: Assembler, argument: Buffers, result: Buffers) -> None:
    """Write the kernel: curves [V, T] and parameters to [V, outputs], with scratch memory as the second result."""
    curve, blocks, _ = _layout(shape)
    out = result(0)
    network = _Network(k, shape, result(1).data)
    numbers = itertools.count()
    curves = argument(next(numbers))
    layers = []
    for i, (channels, features) in enumerate(zip(shape.inputs(), shape.channels, strict=True)):
        count = 4 if shape.narrow(i) or channels == features else 6
        layers.append([argument(next(numbers)).data for _ in range(count)])
    head, offset = (argument(next(numbers)).data for _ in range(2))
    for features in (curve, *(f for block in blocks for f in (block.hidden, block.output, block.products))):
        network.clear(features)

    def voxel(v: ir.Value) -> None:
        seen = k.at(curves.data, k.mul(v, shape.frames))
        x = curve
        k.loop(shape.frames, lambda t: k.store(k.load(seen, t), network.at(curve), t))
        for i, (block, dilation) in enumerate(zip(blocks, shape.dilations, strict=True)):
            kernel, bias, *projection, kernel_1, bias_1 = layers[i]
            added, how = x, {"dilation": dilation, "taps": shape.taps, "relu": True}
            if shape.narrow(i):
                network.convolve(x, kernel, bias, block.products)
                network.sum_taps(block, dilation)
                added = block.output
            else:
                network.convolve(x, kernel, bias, block.hidden, **how)
                if projection:
                    network.convolve(x, *projection, block.output)
                    added = block.output
            network.convolve(block.hidden, kernel_1, bias_1, block.output, **how, added=added)
            x = block.output
        sums = Accumulators(k, 1, shape.outputs)
        sums.load(offset)
        left = network.at(x), 0, x.channels  # the head sees the first channel only
        sums.multiply(left, (head, shape.outputs), shape.frames)
        sums.store(k.at(out.data, k.mul(v, shape.outputs)), 0)

    k.loop(curves.shape(0), voxel)
