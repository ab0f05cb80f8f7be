"""The machine code of `dcejax.cpu_kernels.conv3x3`.

Images are taken in strips, so that what becomes of them at the points of `dcejax.cpu_kernels.winograd` stays in
the cache.
"""

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from dcejax.cpu_kernels.assembler import Assembler, Index
from dcejax.cpu_kernels.host import Buffer
from dcejax.cpu_kernels.winograd import OF_FILTER, OF_INPUTS, OUTPUTS, POINTS, TAPS, TO_OUTPUTS

COLUMNS = 32
"""Output channels that are computed together; their number must be a multiple."""

ROWS = 8
"""Tiles, or channels of the input in the kernel's gradient, that are computed together."""

LANES = 16
"""Channels of the input that lie together in the kernel's gradient."""

Buffers = Callable[[int], Buffer]


class _Images:
    """A batch of images [B, X, Y, C]."""

    def __init__(self, k: Assembler, buffer: Buffer):
        self._k, self.data = k, buffer.data
        self.count, self.rows, self.width, self.channels = (buffer.shape(axis) for axis in range(4))

    def at(self, image: Index, x: Index, y: Index) -> ir.Value:
        """Index of a pixel's first channel."""
        k = self._k
        return k.mul(k.add(k.mul(k.add(k.mul(image, self.rows), x), self.width), y), self.channels)

    def start(self, tile: Index) -> ir.Value:
        """First pixel of a tile in its row; the last tile overlaps the one before it."""
        k = self._k
        return k.minimum(k.mul(tile, OUTPUTS), k.sub(self.width, OUTPUTS))


class _Tiles:
    """Tiles of images at the points, [C / D, 6, B, X, T, D]: D channels lie together, all if no number is given."""

    def __init__(self, k: Assembler, buffer: Buffer, together: int | None = None):
        self._k, self._data = k, buffer.data
        self._blocks, _, self.images, self.rows, self.of_row, size = (buffer.shape(i) for i in range(6))
        self._parted, self._together = together is not None, together or size
        self.of_image = k.mul(self.rows, self.of_row)

    def at(self, point: Index, image: Index, tile: Index, channel: Index = 0) -> ir.Value:
        """Pointer to a tile of an image, counted through its rows."""
        k = self._k
        if self._parted:
            point = k.add(k.mul(k.divide(channel, self._together), POINTS), point)
            channel = k.remainder(channel, self._together)
        place = k.mul(k.add(k.mul(point, self.images), image), self.of_image)
        return k.at(self._data, k.add(k.mul(k.add(place, tile), self._together), channel))

    def clear_from(self, channel: Index) -> None:
        """Write zeros to a channel and all after it."""
        k = self._k
        rest = k.sub(k.mul(self._blocks, self._together), channel)
        tiles = k.mul(self.images, self.of_image)

        def tile(point: ir.Value, number: ir.Value) -> None:
            k.loop(rest, lambda c: k.clear(self.at(point, 0, number, k.add(channel, c)), 1))

        k.loop(POINTS, lambda point: k.loop(tiles, lambda number: tile(point, number)))


class _Kernel:
    """A kernel [3, 3, C, N]."""

    def __init__(self, k: Assembler, buffer: Buffer):
        self._k, self.data = k, buffer.data
        self.channels, self.features = buffer.shape(2), buffer.shape(3)

    def at(self, x: Index, y: Index, channel: Index, feature: Index) -> ir.Value:
        """Index of a number."""
        k = self._k
        row = k.add(k.mul(k.add(k.mul(x, TAPS), y), self.channels), channel)
        return k.add(k.mul(row, self.features), feature)


class _Taps:
    """A kernel's rows at the points, [K, 6, 3, C, 32], in blocks of 32 columns: all of them, or room for one."""

    def __init__(self, k: Assembler, buffer: Buffer):
        self._k, self._data = k, buffer.data
        self._blocks, self.channels = buffer.shape(0), buffer.shape(3)
        self.of_block = k.mul(POINTS * TAPS * COLUMNS, self.channels)

    def block(self, column: Index) -> ir.Value:
        """Pointer to the block with a column."""
        k = self._k
        return k.at(self._data, k.mul(k.remainder(k.divide(column, COLUMNS), self._blocks), self.of_block))

    def at(self, point: Index, row: Index, channel: Index = 0) -> ir.Value:
        """Index in a block of its first column."""
        k = self._k
        return k.mul(k.add(k.mul(k.add(k.mul(point, TAPS), row), self.channels), channel), COLUMNS)


def _to_points(
    k: Assembler,
    matrix: np.ndarray,
    source: _Images,
    tiles: _Tiles,
    first: tuple[Index, Index],
    sizes: tuple[Index, Index],
    slope: ir.Value | None = None,
    total: ir.Value | None = None,
) -> None:
    """Bring a strip of images to the points.

    Args:
        k: where to write.
        matrix: [6, I] of I pixels, those of a tile or these and their neighbours. Beyond the images all is zero; so are
            the tile's own pixels where it overlaps another, for they count once.
        source: the images.
        tiles: the target.
        first: image and row, which may lie outside.
        sizes: how many images and rows.
        slope: the source counts as zero where the same place of these images is not positive.
        total: sums of pixels for each channel, to which those of the strip are added.
    """
    pixels = matrix.shape[1]
    before = (pixels - OUTPUTS) // 2

    def tile(image: ir.Value, row: ir.Value, number: ir.Value) -> None:
        x, start = k.add(first[1], row), source.start(number)
        in_row, least = k.within(x, 0, source.rows), 0 if before else k.mul(number, OUTPUTS)
        places = []
        for i in range(-before, pixels - before):
            y = k.add(start, i)
            inside = k.both(in_row, k.within(y, least, source.width))
            places.append((inside, k.choose(inside, source.at(k.add(first[0], image), x, y))))
        target = k.add(k.mul(row, tiles.of_row), number)

        def channels(c: ir.Value, lanes: int) -> None:
            values = []
            for inside, place in places:
                value = k.load(source.data, k.add(place, c), lanes)
                if slope is not None:
                    value = k.choose(k.positive(k.load(slope, k.add(place, c), lanes)), value)
                values.append(k.choose(inside, value))
            for point, value in enumerate(k.transform(matrix, values)):
                k.store(value, tiles.at(point, image, target, c), 0)
            if total is not None:
                (added,) = k.transform(np.ones((1, pixels + 1)), [*values, k.load(total, c, lanes)])
                k.store(added, total, c)

        k.parts(source.channels, channels)

    k.loop(sizes[0], lambda image: k.loop(sizes[1], lambda row: k.loop(tiles.of_row, lambda t: tile(image, row, t))))


def _kernel_to_points(k: Assembler, kernel: _Kernel, taps: _Taps, n: ir.Value) -> None:
    """Bring 32 columns from n on to the points."""
    block = taps.block(n)

    def part(row: ir.Value, channel: ir.Value) -> None:
        places = [kernel.at(row, i, channel, n) for i in range(TAPS)]
        for c, lanes in k.vectors(COLUMNS):
            values = [k.load(kernel.data, k.add(place, c), lanes) for place in places]
            for point, value in enumerate(k.transform(OF_FILTER, values)):
                k.store(value, block, k.add(taps.at(point, row, channel), c))

    k.loop(TAPS, lambda row: k.loop(kernel.channels, lambda channel: part(row, channel)))


def _turned_kernel_to_points(k: Assembler, kernel: _Kernel, taps: _Taps, n: ir.Value) -> None:
    """The same for the kernel that leads back: taps in reverse, and from features to channels, n among these."""
    lanes, block = k.machine.lanes, taps.block(n)

    def square(row: ir.Value, channel: ir.Value, column: ir.Value) -> None:
        def tap(i: int) -> list[ir.Value]:
            x, y, first = k.sub(TAPS - 1, row), TAPS - 1 - i, k.add(n, column)
            places = [kernel.at(x, y, k.add(first, r), channel) for r in range(lanes)]
            return k.transpose([k.load(kernel.data, place, lanes) for place in places])

        for c, values in enumerate(zip(*map(tap, range(TAPS)), strict=True)):
            for point, value in enumerate(k.transform(OF_FILTER, values)):
                k.store(value, block, k.add(taps.at(point, row, k.add(channel, c)), column))

    def squares(row: ir.Value, channel: ir.Value) -> None:
        k.loop(COLUMNS, lambda column: square(row, channel, column), lanes)

    k.loop(TAPS, lambda row: k.loop(kernel.features, lambda channel: squares(row, channel), lanes))


def _to_kernel(k: Assembler, taps: _Taps, n: ir.Value, kernel: _Kernel) -> None:
    """Write 32 columns from n on of the gradient by a kernel from that at the points."""
    block = taps.block(n)

    def part(row: ir.Value, channel: ir.Value) -> None:
        for c, lanes in k.vectors(COLUMNS):
            values = [k.load(block, k.add(taps.at(point, row, channel), c), lanes) for point in range(POINTS)]
            for i, value in enumerate(k.transform(OF_FILTER.T, values)):
                k.store(value, kernel.data, kernel.at(row, i, channel, k.add(n, c)))

    k.loop(TAPS, lambda row: k.loop(kernel.channels, lambda channel: part(row, channel)))


def _multiply(k: Assembler, taps: _Taps, n: ir.Value, inputs: _Tiles, products: _Tiles) -> None:
    """Products of a strip's tiles with 32 columns of the taps from n on."""
    size = min(ROWS, k.rows(COLUMNS))
    sums, block = k.sums(size, COLUMNS), taps.block(n)

    def tiles(point: ir.Value, image: ir.Value, start: ir.Value) -> None:
        tile = k.minimum(start, k.sub(products.of_image, size))
        k.start_at_zero(sums)

        def row(x: ir.Value) -> None:
            left = inputs.at(point, image, k.add(tile, k.mul(x, inputs.of_row)))
            right = k.at(block, taps.at(point, x))
            k.multiply(sums, COLUMNS, (left, taps.channels, 1), (right, COLUMNS), taps.channels)

        k.loop(TAPS, row)
        k.finish(sums, COLUMNS, products.at(point, image, tile), COLUMNS)

    def of(point: ir.Value, image: ir.Value) -> None:
        k.loop(products.of_image, lambda start: tiles(point, image, start), size)

    k.loop(POINTS, lambda point: k.loop(products.images, lambda image: of(point, image)))


def _to_pixels(
    k: Assembler,
    products: _Tiles,
    out: _Images,
    first: tuple[Index, Index],
    n: ir.Value,
    activation: Callable[[ir.Value, ir.Value], ir.Value],
) -> None:
    """Write 32 columns from n on of a strip's pixels, activation(pixel, column)."""

    def tile(image: ir.Value, row: ir.Value, number: ir.Value) -> None:
        start, target = out.start(number), k.add(k.mul(row, products.of_row), number)
        places = [
            k.add(out.at(k.add(first[0], image), k.add(first[1], row), k.add(start, i)), n) for i in range(OUTPUTS)
        ]
        for c, lanes in k.vectors(COLUMNS):
            values = [k.load(products.at(point, image, target), c, lanes) for point in range(POINTS)]
            for place, value in zip(places, k.transform(TO_OUTPUTS, values), strict=True):
                k.store(activation(value, k.add(n, c)), out.data, k.add(place, c))

    def of(image: ir.Value, row: ir.Value) -> None:
        k.loop(products.of_row, lambda number: tile(image, row, number))

    k.loop(products.images, lambda image: k.loop(products.rows, lambda row: of(image, row)))


def _convolve(
    k: Assembler,
    x: _Images,
    result: Buffers,
    fill: Callable[[_Taps, ir.Value], None],
    activation: Callable[[ir.Value, ir.Value], ir.Value],
    slope: ir.Value | None = None,
) -> None:
    """Write a convolution strip by strip; strips are of one size, and the last one overlaps the one before it."""
    out, taps, inputs, products = _Images(k, result(0)), _Taps(k, result(1)), _Tiles(k, result(2)), _Tiles(k, result(3))

    def strip(next_image: ir.Value, next_row: ir.Value) -> None:
        image = k.minimum(next_image, k.sub(x.count, inputs.images))
        row = k.minimum(next_row, k.sub(x.rows, products.rows))
        is_first = k.zero(next_image, next_row)
        _to_points(k, OF_INPUTS, x, inputs, (image, k.sub(row, 1)), (inputs.images, inputs.rows), slope)

        def columns(n: ir.Value) -> None:
            k.when(is_first, lambda: fill(taps, n))
            _multiply(k, taps, n, inputs, products)
            _to_pixels(k, products, out, (image, row), n, activation)

        k.loop(out.channels, columns, COLUMNS)

    k.loop(x.count, lambda image: k.loop(x.rows, lambda row: strip(image, row), products.rows), inputs.images)


def emit_rectified(k: Assembler, argument: Buffers, result: Buffers) -> None:
    """From x [B, X, Y, C], kernel [3, 3, C, N] and bias [N] to ReLU(x * kernel + bias) [B, X, Y, N]."""
    x, kernel, bias = argument(0), _Kernel(k, argument(1)), argument(2).data

    def rectified(value: ir.Value, column: ir.Value) -> ir.Value:
        return k.relu(k.builder.fadd(value, k.load(bias, column, value.type.count)))

    _convolve(k, _Images(k, x), result, lambda taps, n: _kernel_to_points(k, kernel, taps, n), rectified)


def emit_gradient_by_input(k: Assembler, argument: Buffers, result: Buffers) -> None:
    """From the gradient by the output y, y itself, [B, X, Y, N] each, and kernel [3, 3, C, N] to that by x."""
    g, slope, kernel = argument(0), argument(1).data, _Kernel(k, argument(2))

    def fill(taps: _Taps, n: ir.Value) -> None:
        _turned_kernel_to_points(k, kernel, taps, n)

    _convolve(k, _Images(k, g), result, fill, lambda value, column: value, slope)


def emit_gradient_by_kernel(k: Assembler, argument: Buffers, result: Buffers) -> None:
    """From x [B, X, Y, C], the gradient by the output y, and y, [B, X, Y, N], to those by kernel and bias."""
    x, g, slope = _Images(k, argument(0)), _Images(k, argument(1)), argument(2).data
    out, by_bias = _Kernel(k, result(0)), result(1).data
    taps, inputs, outputs = _Taps(k, result(2)), _Tiles(k, result(3), LANES), _Tiles(k, result(4), COLUMNS)
    # None may reach beyond the channels that lie together, so their number is a multiple.
    size = max(n for n in range(1, ROWS + 1) if ROWS % n == 0 and n <= k.rows(COLUMNS))
    sums = k.sums(size, COLUMNS)
    k.clear(by_bias, g.channels)
    inputs.clear_from(x.channels)

    def multiply(images: ir.Value, tiles: ir.Value, n: ir.Value, point: ir.Value, tap: ir.Value, c: ir.Value) -> None:
        place = k.at(taps.block(n), taps.at(point, tap, c))
        k.start_at_zero(sums)

        def image(i: ir.Value) -> None:
            left = inputs.at(point, i, k.mul(tap, inputs.of_row), c)
            k.multiply(sums, COLUMNS, (left, 1, LANES), (outputs.at(point, i, 0, n), COLUMNS), tiles)

        k.loop(images, image)
        k.finish(sums, COLUMNS, place, COLUMNS, added=place)

    def strip(image: ir.Value, row: ir.Value) -> None:
        further_images, further_rows = k.sub(x.count, image), k.sub(x.rows, row)
        images, rows = k.minimum(outputs.images, further_images), k.minimum(outputs.rows, further_rows)
        tiles = k.mul(rows, outputs.of_row)
        is_first, is_last = k.zero(image, row), k.zero(k.sub(further_images, images), k.sub(further_rows, rows))
        _to_points(k, OF_INPUTS, x, inputs, (image, k.sub(row, 1)), (images, k.add(rows, TAPS - 1)))
        _to_points(k, TO_OUTPUTS.T, g, outputs, (image, row), (images, rows), slope, by_bias)

        def channels(n: ir.Value, point: ir.Value, tap: ir.Value) -> None:
            k.loop(x.channels, lambda c: multiply(images, tiles, n, point, tap, c), size)

        def columns(n: ir.Value) -> None:
            k.when(is_first, lambda: k.clear(taps.block(n), taps.of_block))
            k.loop(POINTS, lambda point: k.loop(TAPS, lambda tap: channels(n, point, tap)))
            k.when(is_last, lambda: _to_kernel(k, taps, n, out))

        k.loop(g.channels, columns, COLUMNS)

    k.loop(x.count, lambda image: k.loop(x.rows, lambda row: strip(image, row), outputs.rows), outputs.images)
