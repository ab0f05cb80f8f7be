"""The machine code of `dcejax.cpu_kernels.conv3x3`, Winograd's minimal filtering along rows.

Images are processed in strips, so that their transformed tiles stay in the cache.
"""

from collections.abc import Callable

import numpy as np
from llvmlite import ir

from dcejax.cpu_kernels.accumulators import Accumulators, rows_in_registers
from dcejax.cpu_kernels.assembler import Assembler, Index
from dcejax.cpu_kernels.conv3x3_layout import CHANNEL_BLOCK, FEATURE_BLOCK, ROW_BLOCK, Filter, Images, Taps, Tiles
from dcejax.cpu_kernels.winograd import FILTER_TRANSFORM, INPUT_TRANSFORM, NODES, OUTPUT_TRANSFORM, OUTPUTS, TAPS
from dcejax.cpu_kernels.xla_ffi import Buffers


def _transform_tiles(
    k: Assembler,
    matrix: np.ndarray,
    source: Images,
    tiles: Tiles,
    first: tuple[Index, Index],
    sizes: tuple[Index, Index],
    relu_output: ir.Value | None = None,
    total: ir.Value | None = None,
) -> None:
    """Transform the tiles of a strip of images.

    Args:
        k: where to write.
        matrix: [6, I] for I pixels: the 4 of a tile, or these and their neighbours. Pixels outside the images are zero.
            Of 4 pixels those that an earlier tile has too are zero, because they must count once.
        source: the images.
        tiles: the target.
        first: image and row, which may lie outside.
        sizes: how many images and rows.
        relu_output: images of the source's shape; where they are not positive, the source counts as zero.
        total: [C], to which the pixels of the strip are added.
    """
    pixels = matrix.shape[1]
    before = (pixels - OUTPUTS) // 2

    def tile(image: ir.Value, row: ir.Value, number: ir.Value) -> None:
        x, start = k.add(first[1], row), source.start(number)
        in_row, least = k.within(x, 0, source.rows), 0 if before else k.mul(number, OUTPUTS)
        places = []
        for i in range(-before, pixels - before):
            y = k.add(start, i)
            inside = k.builder.and_(in_row, k.within(y, least, source.width))
            places.append((inside, k.masked(inside, source.at(k.add(first[0], image), x, y))))
        target = k.add(k.mul(row, tiles.per_row), number)

        def channels(c: ir.Value, lanes: int) -> None:
            values = []
            for inside, place in places:
                value = k.load(source.data, k.add(place, c), lanes)
                if relu_output is not None:
                    value = k.masked(k.positive(k.load(relu_output, k.add(place, c), lanes)), value)
                values.append(k.masked(inside, value))
            for node, value in enumerate(k.transform(matrix, values)):
                k.store(value, tiles.at(node, image, target, c), 0)
            if total is not None:
                (added,) = k.transform(np.ones((1, pixels + 1)), [*values, k.load(total, c, lanes)])
                k.store(added, total, c)

        k.vectorize(source.channels, channels)

    k.loop(sizes[0], lambda image: k.loop(sizes[1], lambda row: k.loop(tiles.per_row, lambda t: tile(image, row, t))))


def _transform_filter(k: Assembler, kernel: Filter, taps: Taps, n: ir.Value, *, gradient: bool = False) -> None:
    """Transform the 32 features from n on, or write the gradient by the filter from that by the transformed filter."""
    block = taps.block(n)

    def part(row: ir.Value, channel: ir.Value) -> None:
        for c, lanes in k.vectors(FEATURE_BLOCK):
            plain = [(kernel.data, kernel.at(row, i, channel, k.add(n, c))) for i in range(TAPS)]
            transformed = [(block, k.add(taps.at(node, row, channel), c)) for node in range(NODES)]
            matrix, source, target = FILTER_TRANSFORM, plain, transformed
            if gradient:
                matrix, source, target = matrix.T, transformed, plain
            values = k.transform(matrix, [k.load(pointer, index, lanes) for pointer, index in source])
            for (pointer, index), value in zip(target, values, strict=True):
                k.store(value, pointer, index)

    k.loop(TAPS, lambda row: k.loop(kernel.channels, lambda channel: part(row, channel)))


def _multiply_tiles(k: Assembler, taps: Taps, n: ir.Value, inputs: Tiles, products: Tiles) -> None:
    """Multiply the transformed tiles of a strip by 32 features of the transformed filter from n on."""
    size = min(ROW_BLOCK, rows_in_registers(k, FEATURE_BLOCK))
    sums, block = Accumulators(k, size, FEATURE_BLOCK), taps.block(n)

    def tiles(node: ir.Value, image: ir.Value, start: ir.Value) -> None:
        tile = k.minimum(start, k.sub(products.per_image, size))
        sums.clear()

        def row(x: ir.Value) -> None:
            left = inputs.at(node, image, k.add(tile, k.mul(x, inputs.per_row)))
            right = k.at(block, taps.at(node, x))
            sums.multiply((left, taps.channels, 1), (right, FEATURE_BLOCK), taps.channels)

        k.loop(TAPS, row)
        sums.store(products.at(node, image, tile), FEATURE_BLOCK)

    def of(node: ir.Value, image: ir.Value) -> None:
        k.loop(products.per_image, lambda start: tiles(node, image, start), size)

    k.loop(NODES, lambda node: k.loop(products.images, lambda image: of(node, image)))


def _store_pixels(
    k: Assembler,
    products: Tiles,
    out: Images,
    first: tuple[Index, Index],
    n: ir.Value,
    activation: Callable[[ir.Value, ir.Value], ir.Value],
) -> None:
    """Write activation(pixel, feature) of the pixels of a strip, 32 features from n on."""

    def tile(image: ir.Value, row: ir.Value, number: ir.Value) -> None:
        start, target = out.start(number), k.add(k.mul(row, products.per_row), number)
        places = [
            k.add(out.at(k.add(first[0], image), k.add(first[1], row), k.add(start, i)), n) for i in range(OUTPUTS)
        ]
        for c, lanes in k.vectors(FEATURE_BLOCK):
            values = [k.load(products.at(node, image, target), c, lanes) for node in range(NODES)]
            for place, value in zip(places, k.transform(OUTPUT_TRANSFORM, values), strict=True):
                k.store(activation(value, k.add(n, c)), out.data, k.add(place, c))

    def of(image: ir.Value, row: ir.Value) -> None:
        k.loop(products.per_row, lambda number: tile(image, row, number))

    k.loop(products.images, lambda image: k.loop(products.rows, lambda row: of(image, row)))


def _convolve(
    k: Assembler,
    x: Images,
    kernel: Filter,
    result: Buffers,
    activation: Callable[[ir.Value, ir.Value], ir.Value],
    relu_output: ir.Value | None = None,
) -> None:
    """Write a convolution strip by strip; strips have one size, and the last one overlaps the one before it."""
    out, taps = Images(k, result(0)), Taps(k, result(1))
    inputs, products = Tiles(k, result(2)), Tiles(k, result(3))

    def strip(next_image: ir.Value, next_row: ir.Value) -> None:
        image = k.minimum(next_image, k.sub(x.count, inputs.images))
        row = k.minimum(next_row, k.sub(x.rows, products.rows))
        is_first = k.all_zero(next_image, next_row)
        first, sizes = (image, k.sub(row, 1)), (inputs.images, inputs.rows)
        _transform_tiles(k, INPUT_TRANSFORM, x, inputs, first, sizes, relu_output)

        def features(n: ir.Value) -> None:
            k.when(is_first, lambda: _transform_filter(k, kernel, taps, n))
            _multiply_tiles(k, taps, n, inputs, products)
            _store_pixels(k, products, out, (image, row), n, activation)

        k.loop(out.channels, features, FEATURE_BLOCK)

    k.loop(x.count, lambda image: k.loop(x.rows, lambda row: strip(image, row), products.rows), inputs.images)


def emit_convolve_relu(k: Assembler, argument: Buffers, result: Buffers) -> None:
    """Write ReLU(x * kernel + bias) [B, X, Y, N] of x [B, X, Y, C], kernel [3, 3, C, N] and bias [N]."""
    x, kernel, bias = Images(k, argument(0)), Filter(k, argument(1)), argument(2).data

    def activation(value: ir.Value, feature: ir.Value) -> ir.Value:
        return k.relu(k.builder.fadd(value, k.load(bias, feature, value.type.count)))

    _convolve(k, x, kernel, result, activation)


def emit_input_gradient(k: Assembler, argument: Buffers, result: Buffers) -> None:
    """Write the gradient by x, from that by y [B, X, Y, N], the adjoint kernel [3, 3, N, C] and the output y."""
    g, kernel, relu_output = Images(k, argument(0)), Filter(k, argument(1)), argument(2).data
    _convolve(k, g, kernel, result, lambda value, feature: value, relu_output)


def emit_filter_gradient(k: Assembler, argument: Buffers, result: Buffers) -> None:
    """Write the gradients by kernel and bias, from x [B, X, Y, C], the gradient by y, and the output y [B, X, Y, N]."""
    x, g, relu_output = Images(k, argument(0)), Images(k, argument(1)), argument(2).data
    out, bias_gradient = Filter(k, result(0)), result(1).data
    taps = Taps(k, result(2))
    inputs, outputs = Tiles(k, result(3), CHANNEL_BLOCK), Tiles(k, result(4), FEATURE_BLOCK)
    # Rows of a product may not reach into another block of channels, so their number divides its size.
    size = max(n for n in range(1, ROW_BLOCK + 1) if ROW_BLOCK % n == 0 and n <= rows_in_registers(k, FEATURE_BLOCK))
    sums = Accumulators(k, size, FEATURE_BLOCK)
    k.clear(bias_gradient, g.channels)
    inputs.clear_from(x.channels)

    def multiply(images: ir.Value, tiles: ir.Value, n: ir.Value, node: ir.Value, tap: ir.Value, c: ir.Value) -> None:
        place = k.at(taps.block(n), taps.at(node, tap, c))
        sums.clear()

        def image(i: ir.Value) -> None:
            left = inputs.at(node, i, k.mul(tap, inputs.per_row), c)
            sums.multiply((left, 1, CHANNEL_BLOCK), (outputs.at(node, i, 0, n), FEATURE_BLOCK), tiles)

        k.loop(images, image)
        sums.store(place, FEATURE_BLOCK, added=place)

    def strip(image: ir.Value, row: ir.Value) -> None:
        further_images, further_rows = k.sub(x.count, image), k.sub(x.rows, row)
        images, rows = k.minimum(outputs.images, further_images), k.minimum(outputs.rows, further_rows)
        tiles = k.mul(rows, outputs.per_row)
        is_first, is_last = k.all_zero(image, row), k.all_zero(k.sub(further_images, images), k.sub(further_rows, rows))
        _transform_tiles(k, INPUT_TRANSFORM, x, inputs, (image, k.sub(row, 1)), (images, k.add(rows, TAPS - 1)))
        _transform_tiles(k, OUTPUT_TRANSFORM.T, g, outputs, (image, row), (images, rows), relu_output, bias_gradient)

        def channels(n: ir.Value, node: ir.Value, tap: ir.Value) -> None:
            k.loop(x.channels, lambda c: multiply(images, tiles, n, node, tap, c), size)

        def features(n: ir.Value) -> None:
            k.when(is_first, lambda: k.clear(taps.block(n), taps.block_numbers))
            k.loop(NODES, lambda node: k.loop(TAPS, lambda tap: channels(n, node, tap)))
            k.when(is_last, lambda: _transform_filter(k, out, taps, n, gradient=True))

        k.loop(g.channels, features, FEATURE_BLOCK)

    k.loop(x.count, lambda image: k.loop(x.rows, lambda row: strip(image, row), outputs.rows), outputs.images)
