"""How images, filters and their transforms lie in memory in a 3×3 convolution, and how much is computed at a time."""

from dataclasses import dataclass

from llvmlite import ir

from dcejax.cpu_kernels.assembler import Assembler, Index
from dcejax.cpu_kernels.winograd import NODES, OUTPUTS, TAPS
from dcejax.cpu_kernels.xla_ffi import Buffer

FEATURE_BLOCK = 32
"""Output channels that are computed together; their number must be a multiple."""

ROW_BLOCK = 8
"""At most as many rows of a matrix product are computed together: tiles, or input channels in the filter's gradient."""

CHANNEL_BLOCK = 16
"""Input channels that are contiguous in the filter's gradient."""

SCRATCH_NUMBERS = 128 * 1024
"""A strip's transformed tiles have about as many numbers, to stay in the cache beside a part of the filter."""


@dataclass(frozen=True)
class Strip:
    """What is computed at a time: some rows of an image, or some whole images."""

    images: int
    rows: int
    tiles: int  # of a row
    only: bool  # whether it is all there is

    def scratch_for_tiles(self, blocks: int, neighbours: int, channels: int) -> tuple[int, ...]:
        """Shape of the transformed tiles, with so many neighbouring rows, in blocks of channels."""
        return blocks, NODES, self.images, self.rows + neighbours, self.tiles, channels

    def scratch_for_filter(self, channels: int, features: int) -> tuple[int, ...]:
        """Shape of the transformed filter: one block if no other strip will need the others again, otherwise all."""
        return 1 if self.only else features // FEATURE_BLOCK, NODES, TAPS, channels, FEATURE_BLOCK


def choose_strip(shape: tuple[int, ...], numbers: int) -> Strip:
    """Choose a strip of images [B, X, Y, ...], given the numbers of a transformed tile."""
    images, rows, width = shape[:3]
    tiles = -(-width // OUTPUTS)
    least = -(-ROW_BLOCK // tiles)
    most = SCRATCH_NUMBERS // numbers
    parts = -(-rows // min(rows, max(least, most // tiles)))  # as equal as may be
    at_once = max(1, min(images, most // (rows * tiles)))
    return Strip(at_once, max(least, -(-rows // parts)), tiles, only=parts == 1 and at_once == images)


class Images:
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


class Tiles:
    """Transformed tiles, [C / D, 6, B, X, T, D]: blocks of D channels, or one block of all."""

    def __init__(self, k: Assembler, buffer: Buffer, block_size: int | None = None):
        self._k, self._data = k, buffer.data
        self._blocks, _, self.images, self.rows, self.per_row, size = (buffer.shape(i) for i in range(6))
        self._blocked, self._block_size = block_size is not None, block_size or size
        self.per_image = k.mul(self.rows, self.per_row)

    def at(self, node: Index, image: Index, tile: Index, channel: Index = 0) -> ir.Value:
        """Pointer to a tile of an image; tiles are counted row after row."""
        k = self._k
        if self._blocked:
            node = k.add(k.mul(k.divide(channel, self._block_size), NODES), node)
            channel = k.remainder(channel, self._block_size)
        place = k.mul(k.add(k.mul(node, self.images), image), self.per_image)
        return k.at(self._data, k.add(k.mul(k.add(place, tile), self._block_size), channel))

    def clear_from(self, channel: Index) -> None:
        """Write zeros to a channel and all channels after it."""
        k = self._k
        rest = k.sub(k.mul(self._blocks, self._block_size), channel)
        tiles = k.mul(self.images, self.per_image)

        def tile(node: ir.Value, number: ir.Value) -> None:
            k.loop(rest, lambda c: k.clear(self.at(node, 0, number, k.add(channel, c)), 1))

        k.loop(NODES, lambda node: k.loop(tiles, lambda number: tile(node, number)))


class Filter:
    """A filter [3, 3, C, N]."""

    def __init__(self, k: Assembler, buffer: Buffer):
        self._k, self.data = k, buffer.data
        self.channels, self.features = buffer.shape(2), buffer.shape(3)

    def at(self, x: Index, y: Index, channel: Index, feature: Index) -> ir.Value:
        """Index of a number."""
        k = self._k
        row = k.add(k.mul(k.add(k.mul(x, TAPS), y), self.channels), channel)
        return k.add(k.mul(row, self.features), feature)


class Taps:
    """The transformed rows of a filter, [K, 6, 3, C, 32]: all blocks of 32 features, or scratch memory for one."""

    def __init__(self, k: Assembler, buffer: Buffer):
        self._k, self._data = k, buffer.data
        self._blocks, self.channels = buffer.shape(0), buffer.shape(3)
        self.block_numbers = k.mul(NODES * TAPS * FEATURE_BLOCK, self.channels)

    def block(self, feature: Index) -> ir.Value:
        """Pointer to the block of a feature."""
        k = self._k
        return k.at(self._data, k.mul(k.remainder(k.divide(feature, FEATURE_BLOCK), self._blocks), self.block_numbers))

    def at(self, node: Index, row: Index, channel: Index = 0) -> ir.Value:
        """Index of a row's first feature in its block."""
        k = self._k
        return k.mul(k.add(k.mul(k.add(k.mul(node, TAPS), row), self.channels), channel), FEATURE_BLOCK)
