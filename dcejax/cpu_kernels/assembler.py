"""Writing a kernel in LLVM's intermediate representation: loops, memory, and a small product held in registers.

That product is nearly all of the arithmetic; the rest are weighted sums of a few vectors. Some rows of sums stay in
vector registers while the inner dimension runs, so that each step loads one vector per column, spreads one number per
row, and multiplies every pair: with 12 rows of two vectors 24 fused multiplications cost 14 loads, and the multipliers
never wait.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from llvmlite import ir

FLOAT = ir.FloatType()
INDEX = ir.IntType(64)
POINTER = ir.PointerType()

LINE = 16
"""Numbers of a cache line."""

Index = ir.Value | int
Sums = list[list[ir.Value]]
"""Places in the stack frame, [rows][vectors], that the compiler turns into registers."""


class Machine(NamedTuple):
    """Vector units of a processor."""

    lanes: int  # float32 numbers of a vector
    sums: int  # vectors that a product may keep in registers, leaving some for its factors


def constant(value: Index) -> ir.Value:
    """An index, of a Python number too."""
    return ir.Constant(INDEX, value) if isinstance(value, int) else value


def _constant(kind: ir.Type, number: float) -> ir.Constant:
    """A number of a type, or a vector full of it."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [_constant(kind.element, number)] * kind.count)
    return ir.Constant(kind, float(np.float32(number)) if kind == FLOAT else number)


class Assembler:
    """Appends instructions to a function; indices and steps count float32 numbers."""

    def __init__(self, function: ir.Function, machine: Machine):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.machine = machine

    def add(self, a: Index, b: Index) -> ir.Value:
        """a + b."""
        return self.builder.add(constant(a), constant(b))

    def sub(self, a: Index, b: Index) -> ir.Value:
        """a - b."""
        return self.builder.sub(constant(a), constant(b))

    def mul(self, a: Index, *others: Index) -> ir.Value:
        """Product of all."""
        product = constant(a)
        for other in others:
            product = self.builder.mul(product, constant(other))
        return product

    def divide(self, a: Index, b: Index) -> ir.Value:
        """a / b of positive numbers, rounded down."""
        return self.builder.udiv(constant(a), constant(b))

    def remainder(self, a: Index, b: Index) -> ir.Value:
        """What that leaves."""
        return self.builder.urem(constant(a), constant(b))

    def minimum(self, a: Index, b: Index) -> ir.Value:
        """The lesser."""
        a, b = constant(a), constant(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def within(self, a: Index, low: Index, high: Index) -> ir.Value:
        """Whether low <= a < high, for low <= high."""
        return self.builder.icmp_unsigned("<", self.sub(a, low), self.sub(high, low))

    def zero(self, *values: Index) -> ir.Value:
        """Whether all are."""
        together, *others = map(constant, values)
        for other in others:
            together = self.builder.or_(together, other)
        return self.builder.icmp_unsigned("==", together, constant(0))

    def both(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """Whether both hold."""
        return self.builder.and_(a, b)

    def choose(self, condition: ir.Value, value: ir.Value) -> ir.Value:
        """The value where the condition holds, or all of it if that is one, otherwise zero."""
        return self.builder.select(condition, value, _constant(value.type, 0))

    def loop(self, count: Index, body: Callable[[ir.Value], None], step: Index = 1) -> None:
        """Call body(0), body(step), … below count, which may be none."""
        build = self.builder
        before = build.block
        head, inside, after = (build.append_basic_block() for _ in range(3))
        build.branch(head)
        build.position_at_end(head)
        index = build.phi(INDEX)
        index.add_incoming(constant(0), before)
        build.cbranch(build.icmp_signed("<", index, constant(count)), inside, after)
        build.position_at_end(inside)
        body(index)
        index.add_incoming(self.add(index, step), build.block)
        build.branch(head)
        build.position_at_end(after)

    def at(self, pointer: ir.Value, index: Index) -> ir.Value:
        """Pointer to a number further on."""
        return self.builder.gep(pointer, [constant(index)], source_etype=FLOAT)

    def load(self, pointer: ir.Value, index: Index, lanes: int = 0) -> ir.Value:
        """A number, or a vector of so many."""
        value = self.builder.load(self.at(pointer, index), typ=ir.VectorType(FLOAT, lanes) if lanes else FLOAT)
        value.align = 4
        return value

    def store(self, value: ir.Value, pointer: ir.Value, index: Index) -> None:
        """Write a number or a vector."""
        self.builder.store(value, self.at(pointer, index)).align = 4

    def clear(self, pointer: ir.Value, count: Index) -> None:
        """Write so many zeros."""
        self.loop(count, lambda i: self.store(_constant(FLOAT, 0), pointer, i))

    def when(self, condition: ir.Value, body: Callable[[], None]) -> None:
        """Do it if the condition holds."""
        with self.builder.if_then(condition):
            body()

    def parts(self, count: Index, body: Callable[[ir.Value, int], None]) -> None:
        """Call body(first, lanes) for vectors below count, and body(first, 0) for single numbers after them."""
        lanes = self.machine.lanes
        whole = self.mul(self.divide(count, lanes), lanes)
        self.loop(whole, lambda first: body(first, lanes), lanes)
        self.loop(self.sub(count, whole), lambda rest: body(self.add(whole, rest), 0))

    def transform(self, matrix: np.ndarray, values: Sequence[ir.Value]) -> list[ir.Value]:
        """Weighted sums of numbers or vectors, one for each row of the matrix."""
        return [self._weighted(row.tolist(), values) for row in matrix]

    def _weighted(self, weights: Sequence[float], values: Sequence[ir.Value]) -> ir.Value:
        build, terms = self.builder, [(w, value) for w, value in zip(weights, values, strict=True) if w]
        (first, total), *others = sorted(terms, key=lambda term: term[0] != 1.0)  # sums before products
        if first != 1.0:
            total = build.fmul(total, _constant(total.type, first))
        for w, value in others:
            total = build.fadd(total, value) if w == 1.0 else self._fused(value, _constant(value.type, w), total)
        return total

    def transpose(self, rows: Sequence[ir.Value]) -> list[ir.Value]:
        """Columns of a square: as many vectors as each has numbers, a power of two."""
        size = step = len(rows)
        while step > 1:  # exchange the blocks that are off the diagonal, of half the size each time
            step //= 2
            upper = [i if not i & step else i - step + size for i in range(size)]
            lower = [i + step if not i & step else i + size for i in range(size)]
            rows = [
                self._shuffle(rows[i - step], row, lower) if i & step else self._shuffle(row, rows[i + step], upper)
                for i, row in enumerate(rows)
            ]
        return list(rows)

    def positive(self, value: ir.Value) -> ir.Value:
        """Where a value is more than zero, or not a number: where the rectifier has slope one."""
        return self.builder.fcmp_unordered(">", value, _constant(value.type, 0))

    def relu(self, value: ir.Value) -> ir.Value:
        """The rectifier, which keeps NaN."""
        return self.choose(self.positive(value), value)

    def vectors(self, columns: int) -> list[tuple[int, int]]:
        """First column and width of each vector of a row."""
        lanes = self.machine.lanes
        return [(first, min(lanes, columns - first)) for first in range(0, columns, lanes)]

    def rows(self, columns: int) -> int:
        """How many rows of sums fit the registers."""
        return max(1, self.machine.sums // len(self.vectors(columns)))

    def sums(self, rows: int, columns: int) -> Sums:
        """Room for sums."""
        with self.builder.goto_entry_block():
            return [
                [self.builder.alloca(ir.VectorType(FLOAT, lanes)) for _, lanes in self.vectors(columns)]
                for _ in range(rows)
            ]

    def start(self, sums: Sums, columns: int, pointer: ir.Value) -> None:
        """Begin each row with the numbers at a pointer."""
        for place, (first, lanes) in zip(zip(*sums, strict=True), self.vectors(columns), strict=True):
            value = self.load(pointer, first, lanes)
            for row in place:
                self.builder.store(value, row)

    def start_at_zero(self, sums: Sums) -> None:
        """Begin each row with zeros."""
        for row in sums:
            for place in row:
                self.builder.store(_constant(place.allocated_type, 0), place)

    def multiply(
        self,
        sums: Sums,
        columns: int,
        left: tuple[ir.Value, Index, Index],
        right: tuple[ir.Value, Index],
        count: Index,
    ) -> None:
        """Add the product of two matrices, sums[r, n] += left[r, i] right[i, n] for i below count.

        Args:
            sums: from `sums`.
            columns: n; those of a row of `right` lie side by side.
            left: its first number, and how far apart rows and inner indices are.
            right: its first number, and how far apart inner indices are.
            count: of inner indices.
        """
        vectors = self.vectors(columns)
        (left, row_step, left_step), (right, right_step) = left, right

        def once(i: ir.Value) -> None:
            at = self.at(left, self.mul(i, left_step))
            base = self.at(right, self.mul(i, right_step))
            factors = [self.load(base, first, lanes) for first, lanes in vectors]
            for r, row in enumerate(sums):
                number = self.load(at, self.mul(r, row_step))
                for place, factor in zip(row, factors, strict=True):
                    total = self.builder.load(place, typ=factor.type)
                    self.builder.store(self._fused(self._spread(number, factor.type), factor, total), place)

        self.loop(count, once)

    def finish(
        self,
        sums: Sums,
        columns: int,
        pointer: ir.Value,
        step: Index,
        change: Callable[[ir.Value], ir.Value] = lambda value: value,
        added: ir.Value | None = None,
    ) -> None:
        """Write each row, a step further for each, after a change, plus what lies at another pointer."""
        for r, row in enumerate(sums):
            for place, (first, lanes) in zip(row, self.vectors(columns), strict=True):
                value = self.builder.load(place, typ=ir.VectorType(FLOAT, lanes))
                place = self.add(self.mul(r, step), first)
                value = change(value)
                if added is not None:
                    value = self.builder.fadd(value, self.load(added, place, lanes))
                self.store(value, pointer, place)

    def _spread(self, number: ir.Value, vector: ir.VectorType) -> ir.Value:
        undefined = ir.Constant(vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        return self._shuffle(first, undefined, [0] * vector.count)

    def _shuffle(self, a: ir.Value, b: ir.Value, numbers: Sequence[int]) -> ir.Value:
        """Numbers of two vectors, those of the second counted after those of the first."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), list(numbers))
        return self.builder.shuffle_vector(a, b, mask)

    def _fused(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a b + c, rounded once."""
        name = f"llvm.fma.v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "llvm.fma.f32"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(a.type, [a.type] * 3), name)
        return self.builder.call(function, [a, b, c])
