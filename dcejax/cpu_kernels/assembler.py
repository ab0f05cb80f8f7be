"""Writes a kernel in LLVM's intermediate representation: indices, loops, memory, and sums of a few vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from llvmlite import ir

FLOAT = ir.FloatType()
INDEX = ir.IntType(64)
POINTER = ir.PointerType()

CACHE_LINE = 16
"""Numbers of a cache line."""

Index = ir.Value | int


@dataclass(frozen=True)
class VectorUnits:
    """Vector units of a processor."""

    lanes: int  # float32 numbers of a vector
    accumulators: int  # vectors that a product may keep in registers; the others are for its factors


def constant(value: Index) -> ir.Value:
    """An index, of a Python number too."""
    return ir.Constant(INDEX, value) if isinstance(value, int) else value


def constant_like(kind: ir.Type, number: float) -> ir.Constant:
    """A number of a type, or a vector whose elements are all that number."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [constant_like(kind.element, number)] * kind.count)
    return ir.Constant(kind, float(np.float32(number)) if kind == FLOAT else number)


class Assembler:
    """Appends instructions to a function; indices and steps count float32 numbers."""

    def __init__(self, function: ir.Function, units: VectorUnits):
        self.builder = ir.IRBuilder(function.append_basic_block())
        self.units = units

    def add(self, a: Index, b: Index) -> ir.Value:
        """a + b."""
        return self.builder.add(constant(a), constant(b))

    def sub(self, a: Index, b: Index) -> ir.Value:
        """a - b."""
        return self.builder.sub(constant(a), constant(b))

    def mul(self, a: Index, *others: Index) -> ir.Value:
        """Product of all arguments."""
        product = constant(a)
        for other in others:
            product = self.builder.mul(product, constant(other))
        return product

    def divide(self, a: Index, b: Index) -> ir.Value:
        """a / b of positive numbers, rounded down."""
        return self.builder.udiv(constant(a), constant(b))

    def remainder(self, a: Index, b: Index) -> ir.Value:
        """Remainder of a / b."""
        return self.builder.urem(constant(a), constant(b))

    def minimum(self, a: Index, b: Index) -> ir.Value:
        """The smaller of a and b."""
        a, b = constant(a), constant(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def within(self, a: Index, low: Index, high: Index) -> ir.Value:
        """Whether low <= a < high, for low <= high."""
        return self.builder.icmp_unsigned("<", self.sub(a, low), self.sub(high, low))

    def all_zero(self, *values: Index) -> ir.Value:
        """Whether all arguments are zero."""
        together, *others = map(constant, values)
        for other in others:
            together = self.builder.or_(together, other)
        return self.builder.icmp_unsigned("==", together, constant(0))

    def masked(self, condition: ir.Value, value: ir.Value) -> ir.Value:
        """The value where the condition holds, otherwise zero; the condition is one bit, or one for each lane."""
        return self.builder.select(condition, value, constant_like(value.type, 0))

    def loop(self, count: Index, body: Callable[[ir.Value], None], step: Index = 1) -> None:
        """Call body(0), body(step), … for indices below count, which may be zero."""
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
        """Pointer to the number with an index."""
        return self.builder.gep(pointer, [constant(index)], source_etype=FLOAT)

    def load(self, pointer: ir.Value, index: Index, lanes: int = 0) -> ir.Value:
        """A number, or a vector of so many lanes."""
        value = self.builder.load(self.at(pointer, index), typ=ir.VectorType(FLOAT, lanes) if lanes else FLOAT)
        value.align = 4
        return value

    def store(self, value: ir.Value, pointer: ir.Value, index: Index) -> None:
        """Write a number or a vector."""
        self.builder.store(value, self.at(pointer, index)).align = 4

    def clear(self, pointer: ir.Value, count: Index) -> None:
        """Write so many zeros."""
        self.loop(count, lambda i: self.store(constant_like(FLOAT, 0), pointer, i))

    def when(self, condition: ir.Value, body: Callable[[], None]) -> None:
        """Call body if the condition holds."""
        with self.builder.if_then(condition):
            body()

    def vectorize(self, count: Index, body: Callable[[ir.Value, int], None]) -> None:
        """Call body(first, lanes) for whole vectors below count, and body(first, 0) for each number that remains."""
        lanes = self.units.lanes
        whole = self.mul(self.divide(count, lanes), lanes)
        self.loop(whole, lambda first: body(first, lanes), lanes)
        self.loop(self.sub(count, whole), lambda rest: body(self.add(whole, rest), 0))

    def transform(self, matrix: np.ndarray, values: Sequence[ir.Value]) -> list[ir.Value]:
        """Weighted sums of numbers or vectors, one for each row of the matrix."""
        return [self._weighted(row.tolist(), values) for row in matrix]

    def _weighted(self, weights: Sequence[float], values: Sequence[ir.Value]) -> ir.Value:
        build, terms = self.builder, [(w, value) for w, value in zip(weights, values, strict=True) if w]
        (first, total), *others = sorted(terms, key=lambda term: term[0] != 1.0)  # coefficients of 1 first
        if first != 1.0:
            total = build.fmul(total, constant_like(total.type, first))
        for w, value in others:
            total = build.fadd(total, value) if w == 1.0 else self.fma(value, constant_like(value.type, w), total)
        return total

    def positive(self, value: ir.Value) -> ir.Value:
        """Where a value is positive or NaN: where ReLU has slope one."""
        return self.builder.fcmp_unordered(">", value, constant_like(value.type, 0))

    def relu(self, value: ir.Value) -> ir.Value:
        """ReLU, which keeps NaN."""
        return self.masked(self.positive(value), value)

    def vectors(self, columns: int) -> list[tuple[int, int]]:
        """First column and width of each vector of a row."""
        lanes = self.units.lanes
        return [(first, min(lanes, columns - first)) for first in range(0, columns, lanes)]

    def broadcast(self, number: ir.Value, vector: ir.VectorType) -> ir.Value:
        """A vector whose lanes are all one number."""
        undefined, i32 = ir.Constant(vector, ir.Undefined), ir.IntType(32)
        first = self.builder.insert_element(undefined, number, ir.Constant(i32, 0))
        return self.builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(i32, vector.count), None))

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a b + c, rounded once."""
        name = f"llvm.fma.v{a.type.count}f32" if isinstance(a.type, ir.VectorType) else "llvm.fma.f32"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(a.type, [a.type] * 3), name)
        return self.builder.call(function, [a, b, c])
