"""A small vocabulary for writing LLVM IR as text: modules, functions, values, loops."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..machine import Host


@dataclass(frozen=True)
class Value:
    """A value in a function's text; on `i64` the operators + - * // % write instructions."""

    function: Function
    type: str
    name: str

    def __add__(self, other: Index) -> Value:
        return self._binary("add", other)

    def __sub__(self, other: Index) -> Value:
        return self._binary("sub", other)

    def __mul__(self, other: Index) -> Value:
        return self._binary("mul", other)

    def __floordiv__(self, other: Index) -> Value:
        return self._binary("udiv", other)

    def __mod__(self, other: Index) -> Value:
        return self._binary("urem", other)

    def __rsub__(self, other: Index) -> Value:
        line = f"sub {self.type} {text(other)}, {self.name}"
        return self.function.value(self.type, line)

    __radd__ = __add__
    __rmul__ = __mul__

    def _binary(self, operation: str, other: Index) -> Value:
        return self.function.value(self.type, f"{operation} {self.type} {self.name}, {text(other)}")


Index = Value | int


def text(index: Index) -> str:
    """An operand as LLVM writes it, without its type."""
    return str(index) if isinstance(index, int) else index.name


def kind_of(index: Index) -> str:
    return "i64" if isinstance(index, int) else index.type


def typed(operands: Sequence[Index]) -> str:
    """Operands as a call writes them."""
    return ", ".join(f"{kind_of(operand)} {text(operand)}" for operand in operands)


def ceiling(value: Value, divisor: Index) -> Value:
    """value / divisor, rounded up; neither is negative."""
    return value if divisor == 1 else (value + (divisor - 1)) // divisor


class Function:
    """One function under construction: each method appends to its text."""

    def __init__(self, module: Module, name: str, parameters: Sequence[str], linkage: str) -> None:
        self.module = module
        self.parameters = [Value(self, kind, f"%p{i}") for i, kind in enumerate(parameters)]
        declared = ", ".join(f"{p.type} {p.name}" for p in self.parameters)
        self._lines = [f"define {linkage}void @{name}({declared}) nounwind {{", "entry:"]
        self._block = "entry"
        self._names = 0

    def line(self, line: str) -> None:
        """Append one instruction that gives no value."""
        self._lines.append("  " + line)

    def value(self, kind: str, instruction: str) -> Value:
        """Append one instruction and name its result."""
        self._names += 1
        name = f"%v{self._names}"
        self.line(f"{name} = {instruction}")
        return Value(self, kind, name)

    def at(self, pointer: Value, index: Index, element: str) -> Value:
        """The address of element `index` of `pointer`."""
        if index == 0:
            return pointer
        return self.value("ptr", f"getelementptr {element}, ptr {pointer.name}, i64 {text(index)}")

    def load(self, kind: str, pointer: Value, align: int) -> Value:
        return self.value(kind, f"load {kind}, ptr {pointer.name}, align {align}")

    def store(self, value: Value, pointer: Value, align: int) -> None:
        self.line(f"store {value.type} {value.name}, ptr {pointer.name}, align {align}")

    def constant(self, kind: str, literal: str) -> Value:
        return Value(self, kind, literal)

    def integer(self, number: int) -> Value:
        """An i64 constant."""
        return self.constant("i64", str(number))

    def intrinsic(self, kind: str, name: str, operands: Sequence[Index], flags: str = "") -> Value:
        """Call an LLVM intrinsic that gives a value."""
        self.module.declare(kind, name, operands)
        return self.value(kind, f"call {flags}{kind} @{name}({typed(operands)})")

    def effect(self, name: str, operands: Sequence[Index]) -> None:
        """Call an LLVM intrinsic that gives nothing."""
        self.module.declare("void", name, operands)
        self.call(name, operands)

    def call(self, name: str, operands: Sequence[Index]) -> None:
        """Call a function of this module."""
        self.line(f"call void @{name}({typed(operands)})")

    def less(self, a: Index, b: Index) -> Value:
        return self.value("i1", f"icmp slt i64 {text(a)}, {text(b)}")

    def smaller(self, a: Index, b: Index) -> Value:
        """The smaller of two integers."""
        return self.intrinsic("i64", "llvm.smin.i64", [a, b])

    def choose(self, condition: Value, yes: Index, no: Index) -> Value:
        return self.value("i64", f"select i1 {condition.name}, i64 {text(yes)}, i64 {text(no)}")

    def larger(self, a: Index, b: Index) -> Value:
        """The larger of two integers."""
        return self.intrinsic("i64", "llvm.smax.i64", [a, b])

    def loop(
        self,
        start: Index,
        stop: Index,
        body: Callable[[Value, list[Value]], Sequence[Value]],
        carried: Sequence[Value] = (),
        step: Index = 1,
    ) -> list[Value]:
        """for (i = start; i < stop; i += step); `body` maps carried values to their successors."""
        names = self._labels("head", "body", "exit")
        before = self._block
        self._branch(names[0])
        place = len(self._lines)
        index, *values = self._reserve(["i64", *(v.type for v in carried)])
        go_on = self.less(index, stop)
        self.line(f"br i1 {go_on.name}, label %{names[1]}, label %{names[2]}")
        self._open(names[1])
        after = [text(index + step), *(v.name for v in body(index, values))]
        first = [text(start), *(v.name for v in carried)]
        for i, (phi, a, b) in enumerate(zip([index, *values], first, after, strict=True)):
            incoming = f"[ {a}, %{before} ], [ {b}, %{self._block} ]"
            self._lines[place + i] = f"  {phi.name} = phi {phi.type} {incoming}"
        self.line(f"br label %{names[0]}")
        self._open(names[2])
        return values

    def when(
        self,
        condition: Value,
        body: Callable[[], None],
        otherwise: Callable[[], None] = lambda: None,
    ) -> None:
        """Run `body` where the condition holds, `otherwise` where it does not."""
        yes, no, done = self._labels("then", "else", "done")
        self.line(f"br i1 {condition.name}, label %{yes}, label %{no}")
        self._open(yes)
        body()
        self.line(f"br label %{done}")
        self._open(no)
        otherwise()
        self._branch(done)

    def switch(self, index: Value, cases: dict[int, Callable[[], None]]) -> None:
        """Run the case that the index names; it must be one of them."""
        labels = self._labels(*("case" for _ in cases), "done")
        table = " ".join(f"i64 {c}, label %{at}" for c, at in zip(cases, labels, strict=False))
        self.line(f"switch i64 {index.name}, label %{labels[-1]} [ {table} ]")
        for label, body in zip(labels, cases.values(), strict=False):
            self._open(label)
            body()
            self.line(f"br label %{labels[-1]}")
        self._open(labels[-1])

    def close(self) -> str:
        """The finished function's text."""
        return "\n".join([*self._lines, "  ret void", "}"])

    def _reserve(self, kinds: Sequence[str]) -> list[Value]:
        self._lines.extend("" for _ in kinds)
        first = self._names + 1
        self._names += len(kinds)
        return [Value(self, kind, f"%v{first + i}") for i, kind in enumerate(kinds)]

    def _labels(self, *kinds: str) -> list[str]:
        self._names += 1
        return [f"{kind}{self._names}_{i}" for i, kind in enumerate(kinds)]

    def _branch(self, label: str) -> None:
        self.line(f"br label %{label}")
        self._open(label)

    def _open(self, label: str) -> None:
        self._lines.append(f"{label}:")
        self._block = label


@dataclass
class Module:
    """Functions for one target, and the intrinsics that they call."""

    target: Host
    functions: list[Function] = field(default_factory=list)
    declarations: dict[str, str] = field(default_factory=dict)

    def kernel(self, name: str) -> Function:
        """A function with the ABI of all kernels: `void name(i64 start, i64 stop, i64* args)`."""
        return self._define(name, ["i64", "i64", "ptr"], "")

    def internal(self, name: str, parameters: Sequence[str]) -> Function:
        """A function that only this module calls."""
        return self._define(name, parameters, "internal ")

    def declare(self, kind: str, name: str, operands: Sequence[Index]) -> None:
        kinds = ", ".join(map(kind_of, operands))
        self.declarations[name] = f"declare {kind} @{name}({kinds})"

    def text(self) -> str:
        return "\n".join([*self.declarations.values(), *(f.close() for f in self.functions)])

    def _define(self, name: str, parameters: Sequence[str], linkage: str) -> Function:
        self.functions.append(Function(self, name, parameters, linkage))
        return self.functions[-1]
