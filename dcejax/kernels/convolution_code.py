"""The machine code of `dcejax.kernels.convolution`, which says how images lie in memory."""

from collections.abc import Callable

from llvmlite import ir

from dcejax.kernels.assembler import Assembler, Index
from dcejax.kernels.convolution import CHANNELS, COLUMNS, PIXELS
from dcejax.kernels.host import Buffer

_PIECE = 128  # that add to a tile of the kernel's gradient at a time, so that they stay in the cache


class _Images:
    """A batch of images with borders of zeros, [B, X + 2, Y + 2, C]."""

    def __init__(self, k: Assembler, buffer: Buffer):
        self._k, self._data = k, buffer.data
        self.count, rows, self._line, self.channels = (buffer.shape(axis) for axis in range(4))
        self.rows, self.width = k.sub(rows, 2), k.sub(self._line, 2)  # without the border
        self._pixels = k.mul(rows, self._line)

    def at(self, image: Index, x: Index, y: Index, channel: Index = 0) -> ir.Value:
        """Pointer to a channel of a pixel, counted with the border."""
        k = self._k
        pixel = k.add(k.mul(image, self._pixels), k.add(k.mul(x, self._line), y))
        return k.at(self._data, k.add(k.mul(pixel, self.channels), channel))

    def clear_border(self, image: Index) -> None:
        """Write zeros around an image."""
        k = self._k
        row = k.mul(self._line, self.channels)
        k.clear(self.at(image, 0, 0), row)
        k.clear(self.at(image, k.add(self.rows, 1), 0), row)

        def ends(x: ir.Value) -> None:  # the last pixel of a row and the first of the next lie side by side
            k.clear(self.at(image, x, k.add(self.width, 1)), k.mul(2, self.channels))

        k.loop(k.add(self.rows, 1), ends)


def _taps(k: Assembler, body: Callable[[ir.Value, ir.Value, ir.Value], None]) -> None:
    """Call body(number, x, y) for all nine."""
    k.loop(3, lambda x: k.loop(3, lambda y: body(k.add(k.mul(x, 3), y), x, y)))


def _emit_convolution(
    k: Assembler,
    argument: Callable[[int], Buffer],
    result: Callable[[int], Buffer],
    activation: Callable[[ir.Value], ir.Value],
) -> None:
    """From x [B, X, Y, C], tiles of the kernel [N / 32, 9, C, 32] in the second result and bias [N] to [B, X, Y, N]."""
    x, out = _Images(k, argument(0)), _Images(k, result(0))
    bias, tiles = argument(2).data, result(1).data
    size = min(PIXELS, k.rows(COLUMNS))
    sums = k.sums(size, COLUMNS)

    def pixels(n: ir.Value, image: ir.Value, row: ir.Value, start: ir.Value) -> None:
        y = k.minimum(start, k.sub(x.width, size))  # the last tile overlaps the one before it
        target = out.at(image, k.add(row, 1), k.add(y, 1), n)
        k.expect(size, COLUMNS, target, out.channels)
        k.start(sums, COLUMNS, k.at(bias, n), 0)

        def multiply(tap: ir.Value, dx: ir.Value, dy: ir.Value) -> None:
            left = x.at(image, k.add(row, dx), k.add(y, dy))
            right = k.at(tiles, k.mul(k.add(k.mul(n, 9), k.mul(tap, COLUMNS)), x.channels))
            k.multiply(sums, COLUMNS, (left, x.channels, 1), (right, COLUMNS), x.channels)

        _taps(k, multiply)
        k.finish(sums, COLUMNS, target, out.channels, activation)

    def features(n: ir.Value, image: ir.Value) -> None:
        k.loop(x.rows, lambda row: k.loop(x.width, lambda start: pixels(n, image, row, start), size))

    # All images with a part of the kernel, which stays in the cache.
    k.loop(out.channels, lambda n: k.loop(x.count, lambda image: features(n, image)), COLUMNS)
    k.loop(x.count, out.clear_border)


def _bring_together(k: Assembler, kernel: Buffer, tiles: ir.Value) -> None:
    """Copy [9, C, N] to [N / 32, 9, C, 32], so that what a tile of the output needs is one piece."""
    rows, features = k.mul(9, kernel.shape(1)), kernel.shape(2)

    def copy(n: ir.Value, row: ir.Value) -> None:
        source = k.at(kernel.data, k.add(k.mul(row, features), n))
        target = k.at(tiles, k.add(k.mul(n, rows), k.mul(row, COLUMNS)))
        for first, lanes in k.vectors(COLUMNS):
            k.store(k.load(source, first, lanes), target, first)

    k.loop(features, lambda n: k.loop(rows, lambda row: copy(n, row)), COLUMNS)


def _turn(k: Assembler, kernel: Buffer, tiles: ir.Value) -> None:
    """Copy [9, C, N] to [C / 32, 9, N, 32] with the taps in reverse: the kernel that leads back."""
    channels, features = kernel.shape(1), kernel.shape(2)

    def copy(c: ir.Value, tap: ir.Value, column: ir.Value) -> None:
        source = k.mul(k.add(k.mul(k.sub(8, tap), channels), k.add(c, column)), features)
        target = k.add(k.mul(k.add(k.mul(c, 9), k.mul(tap, COLUMNS)), features), column)

        def number(n: ir.Value) -> None:
            k.store(k.load(kernel.data, k.add(source, n)), tiles, k.add(target, k.mul(n, COLUMNS)))

        k.loop(features, number)

    def tiles_of(c: ir.Value) -> None:
        k.loop(9, lambda tap: k.loop(COLUMNS, lambda column: copy(c, tap, column)))

    k.loop(channels, tiles_of, COLUMNS)


def emit_rectified(k: Assembler, argument: Callable[[int], Buffer], result: Callable[[int], Buffer]) -> None:
    """From x [B, X, Y, C], kernel [9, C, N] and bias [N] to ReLU(x * kernel + bias) [B, X, Y, N]."""
    _bring_together(k, argument(1), result(1).data)
    _emit_convolution(k, argument, result, k.relu)


def emit_gradient_by_input(k: Assembler, argument: Callable[[int], Buffer], result: Callable[[int], Buffer]) -> None:
    """From the gradient by the output [B, X, Y, N], kernel [9, C, N] and zeros [C] to that by x [B, X, Y, C]."""
    _turn(k, argument(1), result(1).data)
    _emit_convolution(k, argument, result, lambda value: value)


def emit_gradient_by_kernel(k: Assembler, argument: Callable[[int], Buffer], result: Callable[[int], Buffer]) -> None:
    """From x [B, X, Y, C], the gradient by the output [B, X, Y, N] and a one to those by kernel [9, C, N] and bias."""
    x, g = _Images(k, argument(0)), _Images(k, argument(1))
    one, out, by_bias = argument(2).data, result(0).data, result(1).data
    size = max(n for n in range(1, CHANNELS + 1) if CHANNELS % n == 0 and n <= k.rows(COLUMNS))
    sums = k.sums(size, COLUMNS)
    sum_of_rows = k.sums(1, COLUMNS)
    k.clear(out, k.mul(9, x.channels, g.channels))
    k.clear(by_bias, g.channels)
    rows = k.maximum(1, k.divide(_PIECE, x.width))

    def tile(n: ir.Value, image: ir.Value, start: ir.Value, tap: ir.Value, dx: ir.Value, dy: ir.Value, c: ir.Value):
        place = k.at(out, k.add(k.mul(k.add(k.mul(tap, x.channels), c), g.channels), n))
        k.start(sums, COLUMNS, place, g.channels)

        def row(r: ir.Value) -> None:
            line = k.add(start, r)
            left = x.at(image, k.add(line, dx), dy, c)
            right = g.at(image, k.add(line, 1), 1, n)
            k.multiply(sums, COLUMNS, (left, 1, x.channels), (right, g.channels), x.width)

        k.loop(k.minimum(rows, k.sub(x.rows, start)), row)
        k.finish(sums, COLUMNS, place, g.channels)

    def piece(n: ir.Value, image: ir.Value, start: ir.Value) -> None:
        place = k.at(by_bias, n)
        k.start(sum_of_rows, COLUMNS, place, 0)

        def row(r: ir.Value) -> None:
            right = g.at(image, k.add(k.add(start, r), 1), 1, n)
            k.multiply(sum_of_rows, COLUMNS, (one, 0, 0), (right, g.channels), x.width)

        k.loop(k.minimum(rows, k.sub(x.rows, start)), row)
        k.finish(sum_of_rows, COLUMNS, place, 0)
        _taps(k, lambda tap, dx, dy: k.loop(x.channels, lambda c: tile(n, image, start, tap, dx, dy, c), size))

    def features(n: ir.Value, image: ir.Value) -> None:
        k.loop(x.rows, lambda start: piece(n, image, start), rows)

    k.loop(g.channels, lambda n: k.loop(x.count, lambda image: features(n, image)), COLUMNS)
