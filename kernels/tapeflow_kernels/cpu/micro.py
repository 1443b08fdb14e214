"""The innermost loops of a contraction: a tile of sums held in registers over all reductions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .halves import Memory
from .ir import Function, Index, Module, Value
from .lanes import Lanes

# Steps ahead of its use that a row of B is fetched: 50x784x300 gains 12 %, 1024³ gains 8 %.
_PREFETCH = 16
# Vectors of a row of B up to which that pays: longer rows the processor fetches by itself.
_FETCHED = 4
_LINE = 64  # bytes that are fetched at once


@dataclass(frozen=True)
class Walk:
    """How a pointer moves: elements per step of each reduction loop, or `pitch` on and on."""

    steps: tuple[int, ...]
    pitch: int = 0

    @property
    def innermost(self) -> int:
        """Elements per step of the innermost loop."""
        return self.pitch or self.steps[-1]

    def next(self, f: Function, level: int, pointer: Value, reached: Value, kind: str) -> Value:
        """The pointer after one step of loop `level`, whose inner loops got to `reached`."""
        if level == len(self.steps) - 1:
            return f.at(pointer, self.innermost, kind)
        return reached if self.pitch else f.at(pointer, self.steps[level], kind)


@dataclass(frozen=True)
class Micro:
    """The sums of `rows` rows by `columns` columns, of which at least `present` rows exist.

    The absent rows repeat the last one, so that nothing beyond it is read; if A is packed, they
    are padding. a_row: elements of A from one row to the next; a, b: how their pointers move.
    is_diagonal: A has columns too, side by side, and each is multiplied with the same one of B.
    accumulates: the sums start as what memory holds.
    pairs: each element of A and B is two bfloat16 numbers.
    dtype: what A and B are in memory, where that is not the type of the sums.
    fetches: each step fetches a part of what the next tile reads of A, which lies side by side.
    """

    lanes: Lanes
    rows: int
    present: int
    columns: int
    a_row: int
    a: Walk
    b: Walk
    is_diagonal: bool = False
    accumulates: bool = False
    pairs: bool = False
    dtype: str = ""
    fetches: bool = False

    @property
    def memory(self) -> Memory:
        """How A and B are read."""
        return Memory(self.lanes, self.dtype or self.lanes.dtype)

    @property
    def vectors(self) -> int:
        return -(-self.columns // self.lanes.count)

    def active(self, vector: int) -> int:
        """The lanes of a vector that are columns."""
        return min(self.lanes.count, self.columns - vector * self.lanes.count)


def emit_micro(module: Module, micro: Micro, name: str) -> None:
    """Write `void name(ptr a, ptr b, ptr sums, i64 rows, i64 extents…)`, and then `ptr next` if it
    fetches what is there.

    sums: [rows, vectors, lanes], written.
    """
    loops = len(micro.a.steps)
    kinds = ["ptr"] * 3 + ["i64"] * (1 + loops) + ["ptr"] * micro.fetches
    f = module.internal(name, kinds)
    a, b, sums, rows, *rest = f.parameters
    extents, ahead = rest[:loops], rest[loops:]
    lanes = micro.lanes
    places = range(0, micro.rows * micro.vectors * lanes.count, lanes.count)
    held = [lanes.load(f, f.at(sums, at, lanes.element)) for at in places if micro.accumulates]
    totals = summed(f, micro, (a, b), rows, extents, first=held, ahead=ahead)
    for total, at in zip(totals, places, strict=True):
        lanes.store(f, total, f.at(sums, at, lanes.element))


def summed(
    f: Function,
    micro: Micro,
    operands: tuple[Value, Value],
    rows: Index,
    extents: Sequence[Value],
    *,
    first: Sequence[Value] = (),
    ahead: Sequence[Value] = (),
) -> list[Value]:
    """The sums, row by row, each in a register; `first` is what they start from if not zero, and
    `ahead` what is fetched, if anything."""
    zero = micro.lanes.zero(f)
    start = first or [zero] * (micro.rows * micro.vectors)
    offsets = _row_offsets(f, micro, rows)
    reached = _nest(f, micro, offsets, list(extents), [*operands, *start, *ahead])
    return reached[2 : 2 + len(start)]


def _row_offsets(f: Function, micro: Micro, rows: Index) -> list[Index]:
    """Elements of A from the first row to each row."""
    exist = micro.rows if micro.a.pitch else micro.present
    certain: list[Index] = [row * micro.a_row for row in range(exist)]
    last = rows - 1
    clamped = [f.smaller(row, last) * micro.a_row for row in range(exist, micro.rows)]
    return certain + clamped


def _nest(
    f: Function, micro: Micro, rows: list[Index], extents: list[Value], carried: list[Value]
) -> list[Value]:
    level = len(micro.a.steps) - len(extents)
    if not extents:
        return [*carried[:2], *_step(f, micro, rows, *carried)]

    def body(_: Value, values: list[Value]) -> list[Value]:
        a, b, *sums = _nest(f, micro, rows, extents[1:], values)
        return [
            micro.a.next(f, level, values[0], a, micro.memory.element),
            micro.b.next(f, level, values[1], b, micro.memory.element),
            *sums,
        ]

    return f.loop(0, extents[0], body, carried)


def _step(
    f: Function, micro: Micro, rows: list[Index], a: Value, b: Value, *carried: Value
) -> list[Value]:
    """One step of all reductions: a row of B's vectors times each row's element of A."""
    lanes, memory, count = micro.lanes, micro.memory, micro.rows * micro.vectors
    sums, ahead = carried[:count], carried[count:]
    for v in range(micro.vectors if micro.vectors <= _FETCHED else 0):
        later = _PREFETCH * micro.b.innermost + v * lanes.count
        lanes.prefetch(f, f.at(b, later, memory.element))
    row_of_b = [
        memory.load(
            f,
            f.at(b, v * lanes.count, memory.element),
            None if micro.b.pitch else micro.active(v),
        )
        for v in range(micro.vectors)
    ]
    multiply_add = lanes.multiply_add_pairs if micro.pairs else lanes.multiply_add
    totals = []
    for row, offset in enumerate(rows):
        factors = _factors(f, micro, f.at(a, offset, memory.element))
        for v, vector in enumerate(row_of_b):
            total = sums[row * micro.vectors + v]
            totals.append(multiply_add(f, factors[v], vector, total))
    return [*totals, *(_fetch(f, micro, at) for at in ahead)]


def _fetch(f: Function, micro: Micro, at: Value) -> Value:
    """Fetch what a step of the next tile takes of memory, if not quite what it reads; where the
    part of the next step is."""
    lanes, elements = micro.lanes, micro.a.pitch or micro.rows
    for first in range(0, elements, _LINE // lanes.itemsize):
        lanes.prefetch(f, f.at(at, first, lanes.element))
    return f.at(at, elements, lanes.element)


def _factors(f: Function, micro: Micro, a: Value) -> list[Value]:
    """What each vector of a row of B is multiplied with."""
    lanes = micro.lanes
    if not micro.is_diagonal:
        return [micro.memory.broadcast(f, a)] * micro.vectors
    return [lanes.load(f, f.at(a, v * lanes.count, lanes.element)) for v in range(micro.vectors)]
