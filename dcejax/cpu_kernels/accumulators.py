"""A block of a matrix product, held in vector registers while the inner dimension runs.

Nearly all arithmetic of the kernels is such products. Each step of the inner dimension loads the vectors of one row of
the right factor, broadcasts one number per row of the left factor, and multiplies every pair. With 12 rows of two
vectors, 24 fused multiplications need 14 loads, so that the multipliers never wait.
"""

from collections.abc import Callable

from llvmlite import ir

from dcejax.cpu_kernels.assembler import FLOAT, Assembler, Index, constant_like


def rows_in_registers(k: Assembler, columns: int) -> int:
    """How many rows of so many columns the registers hold."""
    return max(1, k.units.accumulators // len(k.vectors(columns)))


class Accumulators:
    """Sums [rows, columns], in places of the stack frame that the compiler turns into registers."""

    def __init__(self, k: Assembler, rows: int, columns: int):
        self._k, self._vectors = k, k.vectors(columns)
        with k.builder.goto_entry_block():
            self._rows = [
                [k.builder.alloca(ir.VectorType(FLOAT, lanes)) for _, lanes in self._vectors] for _ in range(rows)
            ]

    def load(self, pointer: ir.Value) -> None:
        """Set each row to the numbers at a pointer."""
        for places, (first, lanes) in zip(zip(*self._rows, strict=True), self._vectors, strict=True):
            value = self._k.load(pointer, first, lanes)
            for place in places:
                self._k.builder.store(value, place)

    def clear(self) -> None:
        """Set each row to zero."""
        for row in self._rows:
            for place in row:
                self._k.builder.store(constant_like(place.allocated_type, 0), place)

    def multiply(self, left: tuple[ir.Value, Index, Index], right: tuple[ir.Value, Index], count: Index) -> None:
        """Add the product of two matrices, sums[r, n] += left[r, i] right[i, n] for i below count.

        Args:
            left: pointer to its first number, and the strides of r and of i.
            right: pointer to its first number, and the stride of i; n is contiguous.
            count: of i.
        """
        k = self._k
        (left, row_stride, left_stride), (right, right_stride) = left, right

        def once(i: ir.Value) -> None:
            at = k.at(left, k.mul(i, left_stride))
            base = k.at(right, k.mul(i, right_stride))
            factors = [k.load(base, first, lanes) for first, lanes in self._vectors]
            for r, row in enumerate(self._rows):
                number = k.load(at, k.mul(r, row_stride))
                for place, factor in zip(row, factors, strict=True):
                    total = k.builder.load(place, typ=factor.type)
                    k.builder.store(k.fma(k.broadcast(number, factor.type), factor, total), place)

        k.loop(count, once)

    def store(
        self,
        pointer: ir.Value,
        stride: Index,
        activation: Callable[[ir.Value], ir.Value] = lambda value: value,
        added: ir.Value | None = None,
    ) -> None:
        """Write activation(sums), plus the numbers at another pointer, to rows that are a stride apart."""
        k = self._k
        for r, row in enumerate(self._rows):
            for place, (first, lanes) in zip(row, self._vectors, strict=True):
                value = k.builder.load(place, typ=ir.VectorType(FLOAT, lanes))
                index = k.add(k.mul(r, stride), first)
                value = activation(value)
                if added is not None:
                    value = k.builder.fadd(value, k.load(added, index, lanes))
                k.store(value, pointer, index)
