"""Vectors of one type of numbers, as LLVM IR writes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from .ir import Function, Value

_ELEMENTS = {
    "float32": ("float", "f32", 4),
    "float64": ("double", "f64", 8),
    "int8": ("i8", "i8", 1),
    "int16": ("i16", "i16", 2),
    "int32": ("i32", "i32", 4),
}


@dataclass(frozen=True)
class Lanes:
    """A vector of `count` elements of `dtype`."""

    dtype: str
    count: int

    @staticmethod
    def filling(dtype: str, vector_bytes: int) -> Lanes:
        """The vector that fills one register."""
        return Lanes(dtype, vector_bytes // _ELEMENTS[dtype][2])

    @property
    def element(self) -> str:
        return _ELEMENTS[self.dtype][0]

    @property
    def itemsize(self) -> int:
        return _ELEMENTS[self.dtype][2]

    @property
    def vector(self) -> str:
        return f"<{self.count} x {self.element}>"

    @property
    def mask(self) -> str:
        return f"<{self.count} x i1>"

    @property
    def suffix(self) -> str:
        """What overloaded intrinsics append to their names."""
        return f"v{self.count}{_ELEMENTS[self.dtype][1]}"

    def zero(self, f: Function) -> Value:
        return f.constant(self.vector, "zeroinitializer")

    def splat(self, f: Function, number: float) -> Value:
        """A constant vector with the same number in each lane."""
        rounded = number if self.itemsize == 8 else struct.unpack("f", struct.pack("f", number))[0]
        bits = struct.pack(">d", rounded).hex().upper()
        return f.constant(self.vector, f"splat ({self.element} 0x{bits})")

    def broadcast(self, f: Function, pointer: Value) -> Value:
        """The element at a pointer, in each lane."""
        return self.spread(f, f.load(self.element, pointer, self.itemsize))

    def spread(self, f: Function, scalar: Value) -> Value:
        """The same element in each lane."""
        first = f.value(
            self.vector,
            f"insertelement {self.vector} poison, {self.element} {scalar.name}, i32 0",
        )
        shuffle = f"shufflevector {self.vector} {first.name}, {self.vector} poison"
        return f.value(self.vector, f"{shuffle}, <{self.count} x i32> zeroinitializer")

    def load(self, f: Function, pointer: Value, active: int | None = None) -> Value:
        """The vector at a pointer; lanes from `active` on are not read and are zero."""
        if active is None or active == self.count:
            return f.load(self.vector, pointer, self.itemsize)
        return self.load_where(f, pointer, self._constant_mask(f, active))

    def store(self, f: Function, value: Value, pointer: Value, active: int | None = None) -> None:
        """Write a vector; lanes from `active` on are not written."""
        if active is None or active == self.count:
            f.store(value, pointer, self.itemsize)
        else:
            self.store_where(f, value, pointer, self._constant_mask(f, active))

    def load_where(self, f: Function, pointer: Value, mask: Value) -> Value:
        """The vector at a pointer, zero where the mask is false; nothing is read there."""
        zero = self.zero(f)
        operands = [pointer, self._align(f), mask, zero]
        return f.intrinsic(self.vector, f"llvm.masked.load.{self.suffix}.p0", operands)

    def store_where(self, f: Function, value: Value, pointer: Value, mask: Value) -> None:
        """Write the lanes where the mask is true."""
        operands = [value, pointer, self._align(f), mask]
        f.effect(f"llvm.masked.store.{self.suffix}.p0", operands)

    def first(self, f: Function, active: Value) -> Value:
        """The mask of the first `active` lanes; none if it is negative, at most all."""
        kind = f"<{self.count} x i32>"
        clamped = f.smaller(f.larger(active, 0), self.count)
        narrow = f.value("i32", f"trunc i64 {clamped.name} to i32")
        one = f.value(kind, f"insertelement {kind} poison, i32 {narrow.name}, i32 0")
        each = f"shufflevector {kind} {one.name}, {kind} poison, {kind} zeroinitializer"
        numbers = ", ".join(f"i32 {lane}" for lane in range(self.count))
        return f.value(self.mask, f"icmp slt {kind} <{numbers}>, {f.value(kind, each).name}")

    def transpose(self, f: Function, rows: list[Value]) -> list[Value]:
        """As many vectors as lanes, rows and columns exchanged by repeated perfect shuffles.

        Each round moves the highest bit of (row, lane) to the lowest place.
        """
        half = self.count // 2
        for _ in range(self.count.bit_length() - 1):
            pairs = zip(rows[:half], rows[half:], strict=True)
            rows = [self._interleave(f, a, b, part) for a, b in pairs for part in (0, half)]
        return rows

    def _interleave(self, f: Function, a: Value, b: Value, start: int) -> Value:
        lanes = (lane for i in range(self.count // 2) for lane in (i, i + self.count))
        return self.shuffle(f, a, b, [start + lane for lane in lanes])

    def shuffle(self, f: Function, a: Value, b: Value, order: Sequence[int]) -> Value:
        """Elements of both vectors in this order; those of b count on from those of a."""
        lanes = ", ".join(f"i32 {lane}" for lane in order)
        operands = f"{a.type} {a.name}, {b.type} {b.name}, <{len(order)} x i32> <{lanes}>"
        return f.value(f"<{len(order)} x {self.element}>", f"shufflevector {operands}")

    def prefetch(self, f: Function, pointer: Value, *, near: bool = True) -> None:
        """Fetch a line for reading into the first-level cache, or the second if not `near`; any
        address is allowed."""
        read_keep_data = [f.constant("i32", digit) for digit in ("0", "3" if near else "2", "1")]
        f.effect("llvm.prefetch.p0", [pointer, *read_keep_data])

    def add(self, f: Function, a: Value, b: Value) -> Value:
        return f.value(self.vector, f"fadd {self.vector} {a.name}, {b.name}")

    def subtract(self, f: Function, a: Value, b: Value) -> Value:
        return f.value(self.vector, f"fsub {self.vector} {a.name}, {b.name}")

    def multiply_add(self, f: Function, a: Value, b: Value, c: Value) -> Value:
        """a · b + c, with one rounding where the target has the instruction."""
        return f.intrinsic(self.vector, f"llvm.fmuladd.{self.suffix}", [a, b, c])

    def multiply_add_pairs(self, f: Function, a: Value, b: Value, c: Value) -> Value:
        """a · b + c where each lane of a and b holds two bfloat16 numbers, both products added; the
        vector must fill a register of 512 bits."""
        kind = f"<{2 * self.count} x bfloat>"
        pairs = [f.value(kind, f"bitcast {x.type} {x.name} to {kind}") for x in (a, b)]
        return f.intrinsic(self.vector, "llvm.x86.avx512bf16.dpbf16ps.512", [c, *pairs])

    def _align(self, f: Function) -> Value:
        return f.constant("i32", str(self.itemsize))

    def _constant_mask(self, f: Function, active: int) -> Value:
        bits = ", ".join(f"i1 {int(lane < active)}" for lane in range(self.count))
        return f.constant(self.mask, f"<{bits}>")
