"""The innermost loops of a contraction: a tile of sums held in registers over all reductions."""

from __future__ import annotations

from dataclasses import dataclass

from .ir import Function, Module, Value
from .lanes import Lanes


@dataclass(frozen=True)
class Walk:
    """How a pointer moves: elements per step of each reduction loop, or on and on if packed."""

    steps: tuple[int, ...]
    packed: bool

    def next(self, f: Function, level: int, pointer: Value, reached: Value, kind: str) -> Value:
        """The pointer after one step of loop `level`, whose inner loops got to `reached`."""
        innermost = level == len(self.steps) - 1
        if self.packed and not innermost:
            return reached
        return f.at(pointer, self.steps[level], kind)


@dataclass(frozen=True)
class Micro:
    """The sums of `rows` rows by `columns` columns.

    a_row: elements of A from one row to the next; a, b: how their pointers move.
    """

    lanes: Lanes
    rows: int
    columns: int
    a_row: int
    a: Walk
    b: Walk

    @property
    def vectors(self) -> int:
        return -(-self.columns // self.lanes.count)

    def active(self, vector: int) -> int:
        """The lanes of a vector that are columns."""
        return min(self.lanes.count, self.columns - vector * self.lanes.count)


def emit_micro(module: Module, micro: Micro, name: str) -> None:
    """Write `void name(ptr a, ptr b, ptr sums, i64 extents…)`; sums is [rows, vectors, lanes]."""
    f = module.internal(name, ["ptr"] * 3 + ["i64"] * len(micro.a.steps))
    a, b, sums, *extents = f.parameters
    zero = f.constant(micro.lanes.vector, "zeroinitializer")
    zeros = [zero] * (micro.rows * micro.vectors)
    _, _, *totals = _nest(f, micro, extents, [a, b, *zeros])
    for i, total in enumerate(totals):
        micro.lanes.store(f, total, f.at(sums, i * micro.lanes.count, micro.lanes.element))


def _nest(f: Function, micro: Micro, extents: list[Value], carried: list[Value]) -> list[Value]:
    level = len(micro.a.steps) - len(extents)
    if not extents:
        return [*carried[:2], *_step(f, micro, *carried)]

    def body(_: Value, values: list[Value]) -> list[Value]:
        a, b, *sums = _nest(f, micro, extents[1:], values)
        return [
            micro.a.next(f, level, values[0], a, micro.lanes.element),
            micro.b.next(f, level, values[1], b, micro.lanes.element),
            *sums,
        ]

    return f.loop(0, extents[0], body, carried)


def _step(f: Function, micro: Micro, a: Value, b: Value, *sums: Value) -> list[Value]:
    """One step of all reductions: a row of B's vectors times each row's element of A."""
    lanes = micro.lanes
    row_of_b = [
        lanes.load(
            f,
            f.at(b, v * lanes.count, lanes.element),
            None if micro.b.packed else micro.active(v),
        )
        for v in range(micro.vectors)
    ]
    totals = []
    for row in range(micro.rows):
        factor = lanes.broadcast(f, f.at(a, row * micro.a_row, lanes.element))
        for v, vector in enumerate(row_of_b):
            total = sums[row * micro.vectors + v]
            totals.append(lanes.multiply_add(f, factor, vector, total))
    return totals
