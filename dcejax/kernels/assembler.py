"""Writing a kernel in LLVM's intermediate representation: loops, memory, and a small product held in registers.

That product is all of the arithmetic. A few rows of sums stay in vector registers while the inner dimension runs, so
that each step loads one vector per column, spreads one number per row, and multiplies every pair: with 12 rows of two
vectors 24 fused multiplications cost 14 loads, and the multipliers never wait.
"""

from collections.abc import Callable
from typing import NamedTuple

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

    def maximum(self, a: Index, b: Index) -> ir.Value:
        """The greater."""
        a, b = constant(a), constant(b)
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def minimum(self, a: Index, b: Index) -> ir.Value:
        """The lesser."""
        a, b = constant(a), constant(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

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
        self.loop(count, lambda i: self.store(ir.Constant(FLOAT, 0.0), pointer, i))

    def relu(self, value: ir.Value) -> ir.Value:
        """The rectifier, which keeps NaN."""
        zero = ir.Constant(value.type, None)
        return self.builder.select(self.builder.fcmp_ordered("<=", value, zero), zero, value)

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

    def start(self, sums: Sums, columns: int, pointer: ir.Value, step: Index) -> None:
        """Begin each row with the numbers at a pointer, a step further for each."""
        for r, row in enumerate(sums):
            for place, (first, lanes) in zip(row, self.vectors(columns), strict=True):
                self.builder.store(self.load(pointer, self.add(self.mul(r, step), first), lanes), place)

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

    def expect(self, rows: int, columns: int, pointer: ir.Value, step: Index) -> None:
        """Fetch the cache lines that `finish` will write, while the sums are computed: they may come from memory."""
        build, number = self.builder, ir.IntType(32)
        signature = ir.FunctionType(ir.VoidType(), [POINTER, number, number, number])
        function = build.module.globals.get("llvm.prefetch.p0") or ir.Function(
            build.module, signature, "llvm.prefetch.p0"
        )
        write, keep, data = (ir.Constant(number, value) for value in (1, 3, 1))
        for r in range(rows):
            for first in range(0, columns, LINE):
                build.call(function, [self.at(pointer, self.add(self.mul(r, step), first)), write, keep, data])

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
        mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
        return self.builder.shuffle_vector(first, undefined, mask)

    def _fused(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a b + c, rounded once."""
        name = f"llvm.fma.v{a.type.count}f32"
        module = self.builder.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(a.type, [a.type] * 3), name)
        return self.builder.call(function, [a, b, c])
