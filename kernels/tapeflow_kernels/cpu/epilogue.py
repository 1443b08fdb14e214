"""What a contraction does with each finished sum before it is stored: a few vector instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from .halves import Memory
from .ir import Function, Index, Value
from .lanes import Lanes

Instruction = tuple[str, tuple[int | float, ...]]
Strides = tuple[int, ...]
P = TypeVar("P")
# A stride that the kernel reads from its argument block.
OPEN = 1 << 62

_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_UNARY = {"sqrt": "llvm.sqrt", "abs": "llvm.fabs"}
_EXTREMA = {"maximum": "llvm.maximum", "minimum": "llvm.minimum"}
_COMPARISONS = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


@dataclass(frozen=True)
class Epilogue:
    """Vector instructions on the sums, in static single assignment.

    Value 0 is the sum, values 1…p are the operands, each further value is an instruction's. An
    instruction is `(name, arguments)`: an int names a value, a float is a literal. Names: add sub
    mul div neg maximum minimum sqrt abs, eq ne lt le gt ge (whose value only `select` takes), and
    select(condition, then, else). NaN behaves as in NumPy; maximum(0.0, -0.0) may be either.

    operands: the element strides (batch…, m, n) of each; the stride of n is 0 or 1; all zero is
        a scalar read from memory.
    stores: (value, strides) of each output; its stride of n is 1. An output may be the memory of
        an operand with the same strides: each element is read before it is written.

    memory: what memory holds, of each operand and then of each output, where that is not the type
        of the sums: "float16", "bfloat16" or "float32". Instructions compute in that of the sums;
        "bfloat16" and "float16" are instructions too, which round to these.

    Where a stride is OPEN the kernel reads it from its argument block.
    """

    stores: tuple[tuple[int, Strides], ...]
    operands: tuple[Strides, ...] = ()
    instructions: tuple[Instruction, ...] = ()
    memory: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert all(strides[-1] in (0, 1) for strides in self.operands)
        assert all(strides[-1] == 1 for _, strides in self.stores)
        assert len(self.memory) in (0, len(self.operands) + len(self.stores))

    def opened(self) -> Epilogue:
        """The same with all strides in the argument block that are not needed to write code: those
        of columns are, and whether rows differ."""

        def open_(strides: Strides) -> Strides:
            *batch, row, column = strides
            return (*(OPEN for _ in batch), OPEN if row else 0, column)

        stores = tuple((value, open_(strides)) for value, strides in self.stores)
        return replace(self, stores=stores, operands=tuple(map(open_, self.operands)))

    def words(self, pointers: Sequence[P]) -> list[P | int]:
        """What the argument block holds where `opened()` is compiled: of operands and then of
        outputs the address and the strides left open."""
        found: list[P | int] = []
        layouts = [*self.operands, *(strides for _, strides in self.stores)]
        for pointer, strides in zip(pointers, layouts, strict=True):
            *batch, row, _ = strides
            found += [pointer, *batch, *([row] if row else [])]
        return found

    def layouts(self, lanes: Lanes) -> list[tuple[Memory, Strides]]:
        """What memory holds, and the strides, of operands and then of outputs."""
        strides = [*self.operands, *(layout for _, layout in self.stores)]
        dtypes = self.memory or (lanes.dtype,) * len(strides)
        return [(Memory(lanes, d), s) for d, s in zip(dtypes, strides, strict=True)]


def evaluate(f: Function, lanes: Lanes, epilogue: Epilogue, inputs: Sequence[Value]) -> list[Value]:
    """All values of the epilogue for one vector, from the sum and the operands."""
    values = list(inputs)
    for name, arguments in epilogue.instructions:
        operands = [lanes.splat(f, x) if isinstance(x, float) else values[x] for x in arguments]
        values.append(_instruction(f, lanes, name, operands))
    return values


def _instruction(f: Function, lanes: Lanes, name: str, x: Sequence[Value]) -> Value:
    kind = lanes.vector
    if name in _BINARY:
        return f.value(kind, f"{_BINARY[name]} {kind} {x[0].name}, {x[1].name}")
    if name in _UNARY:
        return f.intrinsic(kind, f"{_UNARY[name]}.{lanes.suffix}", x)
    if name in _EXTREMA:
        return f.intrinsic(kind, f"{_EXTREMA[name]}.{lanes.suffix}", x, flags="nsz ")
    if name in _COMPARISONS:
        order = _COMPARISONS[name]
        return f.value(lanes.mask, f"fcmp {order} {kind} {x[0].name}, {x[1].name}")
    if name in ("bfloat16", "float16"):
        return Memory(lanes, name).rounded(f, x[0])
    if name == "neg":
        return f.value(kind, f"fneg {kind} {x[0].name}")
    assert name == "select", f"an epilogue has no instruction {name}"
    choice = f"{x[0].type} {x[0].name}, {kind} {x[1].name}, {kind} {x[2].name}"
    return f.value(kind, f"select {choice}")


def offset(strides: Sequence[int], indices: Sequence[Index]) -> Index:
    """Σ stride · index, as an integer or as instructions."""
    total: Index = 0
    for stride, index in zip(strides, indices, strict=True):
        if stride:
            total = index * stride + total
    return total
