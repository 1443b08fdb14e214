"""Elements that are narrower in memory than in registers: float16 and bfloat16, which all code here
computes as float32.

To bfloat16 is rounded by integer arithmetic: to the nearest, ties to even, subnormal numbers too,
whatever the CPU; the instruction for it would make zeros of those, and stores rows without any.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..machine import Host
from .ir import Function, Value
from .lanes import Lanes

_WIDE = {"float16": "float32", "bfloat16": "float32"}
# Of two such vectors of float32 an instruction makes one; another tells which lanes are subnormal.
_TOGETHER = 16
_CLASS_OF, _SUBNORMAL = "llvm.x86.avx512.fpclass.ps.512", 32
_HIGH = -65536  # the bits of a float32 that are a bfloat16, as a 32-bit number


def multiplies_pairs(target: Host) -> bool:
    """Whether the target has instructions that multiply pairs of bfloat16 numbers, and that round
    to such pairs."""
    return target.has("avx512bf16") and target.vector_bytes == 64


def computed(dtype: str) -> str:
    """The type in which code computes with elements of `dtype`."""
    return _WIDE.get(dtype, dtype)


def itemsize(dtype: str) -> int:
    """The bytes of an element in memory."""
    return 2 if dtype in _WIDE else 8 if dtype == "float64" else 4


def converts(dtype: str, target: Host) -> bool:
    """Whether the target has instructions for elements of `dtype`."""
    return dtype != "float16" or target.has("f16c") or target.has("fullfp16")


@dataclass(frozen=True)
class Memory:
    """Elements of `dtype` in memory; in registers they are `lanes`."""

    lanes: Lanes
    dtype: str

    @property
    def element(self) -> str:
        return self.stored.element

    @property
    def stored(self) -> Lanes:
        """The vector in memory."""
        return Lanes("int16", self.lanes.count) if self.dtype in _WIDE else self.lanes

    def load(self, f: Function, pointer: Value, active: int | Value | None = None) -> Value:
        """The vector at a pointer; lanes that are not active are not read and are zero."""
        stored = self.stored
        if isinstance(active, Value):
            return self.widened(f, stored.load_where(f, pointer, active))
        return self.widened(f, stored.load(f, pointer, active))

    def broadcast(self, f: Function, pointer: Value) -> Value:
        """The element at a pointer, in each lane."""
        return self.widened(f, self.stored.broadcast(f, pointer))

    def store(
        self, f: Function, value: Value, pointer: Value, active: int | Value | None = None
    ) -> None:
        """Write a vector, rounded; lanes that are not active are not written."""
        stored, narrow = self.stored, self.narrowed(f, value)
        if isinstance(active, Value):
            stored.store_where(f, narrow, pointer, active)
        elif active == 1:
            # LLVM 22 joins the truncation to a masked store of one lane, which then writes 4 bytes.
            only = f"extractelement {narrow.type} {narrow.name}, i32 0"
            f.store(f.value(stored.element, only), pointer, stored.itemsize)
        else:
            stored.store(f, narrow, pointer, active)

    def store_side_by_side(
        self, f: Function, values: Sequence[Value], pointer: Value, active: Sequence[int | Value]
    ) -> None:
        """Write one vector or two as `store` does, two at once where the target can."""
        both = self.dtype == "bfloat16" and multiplies_pairs(f.module.target)
        if both and list(active) == [_TOGETHER] * 2:
            self._store_both(f, values[0], values[1], pointer)
            return
        for i, value in enumerate(values):
            here = f.at(pointer, i * self.lanes.count, self.element)
            self.store(f, value, here, active[i])

    def _store_both(self, f: Function, low: Value, high: Value, pointer: Value) -> None:
        """By the instruction, unless that would make zero of a number."""
        small = [
            f.intrinsic(self.lanes.mask, _CLASS_OF, [x, f.constant("i32", str(_SUBNORMAL))])
            for x in (low, high)
        ]
        some = f.value(self.lanes.mask, f"or {self.lanes.mask} {small[0].name}, {small[1].name}")
        bits = f.value("i16", f"bitcast {some.type} {some.name} to i16")

        def by_instruction() -> None:
            f.store(rounded_by_instruction(f, low, high), pointer, self.stored.itemsize)

        def by_arithmetic() -> None:
            self.store(f, low, pointer)
            self.store(f, high, f.at(pointer, self.lanes.count, self.element))

        none = f.value("i1", f"icmp eq i16 {bits.name}, 0")
        f.when(none, by_instruction, by_arithmetic)

    def rounded(self, f: Function, value: Value) -> Value:
        """The vector as memory would give it back."""
        return self.widened(f, self.narrowed(f, value))

    def widened(self, f: Function, x: Value) -> Value:
        """What a vector in memory stands for."""
        lanes, bits = self.lanes, f"<{self.lanes.count} x i32>"
        if self.dtype not in _WIDE:
            return x
        if self.dtype == "float16":
            half = f.value(_halves(lanes), f"bitcast {x.type} {x.name} to {_halves(lanes)}")
            return f.value(lanes.vector, f"fpext {half.type} {half.name} to {lanes.vector}")
        wide = f.value(bits, f"zext {x.type} {x.name} to {bits}")
        return as_floats(f, lanes, f.value(bits, f"shl {bits} {wide.name}, splat (i32 16)"))

    def narrowed(self, f: Function, x: Value) -> Value:
        """The vector as memory holds it."""
        lanes, kind = self.lanes, self.stored.vector
        if self.dtype not in _WIDE:
            return x
        if self.dtype == "float16":
            half = f.value(_halves(lanes), f"fptrunc {x.type} {x.name} to {_halves(lanes)}")
            return f.value(kind, f"bitcast {half.type} {half.name} to {kind}")
        low = _shifted(f, rounded_bits(f, lanes, x))
        return f.value(kind, f"trunc {low.type} {low.name} to {kind}")


def rounded_by_instruction(f: Function, low: Value, high: Value) -> Value:
    """Two vectors of 16 float32 as 32 bfloat16, side by side; subnormal numbers become zero."""
    kind, stored = f"<{2 * _TOGETHER} x bfloat>", f"<{2 * _TOGETHER} x i16>"
    both = f.intrinsic(kind, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", [high, low])
    return f.value(stored, f"bitcast {kind} {both.name} to {stored}")


def as_floats(f: Function, lanes: Lanes, bits: Value) -> Value:
    """32-bit patterns as the numbers that they stand for."""
    return f.value(lanes.vector, f"bitcast {bits.type} {bits.name} to {lanes.vector}")


def rounded_bits(f: Function, lanes: Lanes, x: Value) -> Value:
    """The patterns of x whose upper halves are x rounded to bfloat16; a NaN stays one."""
    kind = f"<{lanes.count} x i32>"
    bits = as_bits(f, lanes, x)
    odd = f.value(kind, f"and {kind} {_shifted(f, bits).name}, splat (i32 1)")
    half = f.value(kind, f"add {kind} {bits.name}, splat (i32 32767)")
    rounded = f.value(kind, f"add {kind} {half.name}, {odd.name}")
    quiet = f.value(kind, f"or {kind} {bits.name}, splat (i32 4194304)")
    is_nan = f.value(lanes.mask, f"fcmp uno {lanes.vector} {x.name}, {x.name}")
    choice = f"{lanes.mask} {is_nan.name}, {kind} {quiet.name}, {kind} {rounded.name}"
    return f.value(kind, f"select {choice}")


def terms(f: Function, lanes: Lanes, x: Value, count: int) -> list[Value]:
    """Patterns whose upper halves are bfloat16 numbers, each the nearest to what is left of x.

    The first of several is rounded towards zero where it would overflow.
    """
    if count > 1:
        x = bounded(f, lanes, x)
    found = []
    for _ in range(count):
        found.append(rounded_bits(f, lanes, x))
        if len(found) < count:
            x = lanes.subtract(f, x, as_floats(f, lanes, _upper(f, found[-1])))
    return found


def pair(f: Function, lanes: Lanes, first: Value, second: Value) -> Value:
    """The upper halves of two vectors of patterns, side by side in each lane; a vector of lanes."""
    low, high = _shifted(f, first), _upper(f, second)
    both = f.value(low.type, f"or {low.type} {low.name}, {high.name}")
    return as_floats(f, lanes, both)


def bounded(f: Function, lanes: Lanes, x: Value) -> Value:
    """x, of which only the upper half is kept where it would be rounded to an infinity."""
    size = f.intrinsic(lanes.vector, f"llvm.fabs.{lanes.suffix}", [x])
    largest = "splat (float 0x47EFE00000000000)"  # of bfloat16
    is_huge = f.value(lanes.mask, f"fcmp ogt {lanes.vector} {size.name}, {largest}")
    kept = as_floats(f, lanes, _upper(f, as_bits(f, lanes, x)))
    choice = f"{lanes.mask} {is_huge.name}, {x.type} {kept.name}, {x.type} {x.name}"
    return f.value(x.type, f"select {choice}")


def as_bits(f: Function, lanes: Lanes, x: Value) -> Value:
    """Numbers of 32 bits as the patterns that stand for them."""
    kind = f"<{lanes.count} x i32>"
    return f.value(kind, f"bitcast {lanes.vector} {x.name} to {kind}")


def _shifted(f: Function, bits: Value) -> Value:
    return f.value(bits.type, f"lshr {bits.type} {bits.name}, splat (i32 16)")


def _upper(f: Function, bits: Value) -> Value:
    return f.value(bits.type, f"and {bits.type} {bits.name}, splat (i32 {_HIGH})")


def _halves(lanes: Lanes) -> str:
    return f"<{lanes.count} x half>"
