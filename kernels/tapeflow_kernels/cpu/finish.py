"""The end of a tile: the epilogue of its sums, row by row, stored where outputs lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .epilogue import OPEN, Epilogue, evaluate
from .halves import Memory
from .ir import Function, Index, Module, Value
from .lanes import Lanes


@dataclass(frozen=True)
class Place:
    """Where a tile's part of an operand or output starts, the elements from one row to the next,
    and from one column to the next: 0 or 1."""

    memory: Memory
    origin: Value
    row: Index
    column: int


def read_places(
    f: Function, lanes: Lanes, epilogue: Epilogue, args: Value, indices: Sequence[Index]
) -> list[Place]:
    """The places of operands and stores from the words at `args`: of each its address, then the
    strides that the epilogue leaves open. The indices are those of all axes, the row's the last but
    one."""
    places, word = [], 0
    for memory, strides in epilogue.layouts(lanes):
        pointer = f.load("ptr", f.at(args, word, "i64"), 8)
        word += 1
        where: Index = indices[-1] * strides[-1]
        row: Index = 0
        for axis, stride in enumerate(strides[:-1]):
            if stride == OPEN:
                step = f.load("i64", f.at(args, word, "i64"), 8)
                word += 1
                where = indices[axis] * step + where
                row = step if axis == len(strides) - 2 else 0
        places.append(Place(memory, f.at(pointer, where, memory.element), row, strides[-1]))
    return places


def emit_finish(
    module: Module,
    name: str,
    lanes: Lanes,
    epilogue: Epilogue,
    *,
    vectors: int,
    first: int,
    axes: int,
) -> None:
    """Write `void {name}(ptr sums, ptr args, i64 rows, i64 left, i64 indices…)` for as many axes,
    and `{name}_part` where only `left` columns from the first on exist; `first` is the word of
    `args` where places begin."""
    for whole in (True, False):
        kinds = ["ptr", "ptr"] + ["i64"] * (2 + axes)
        f = module.internal(name if whole else f"{name}_part", kinds)
        sums, args, rows, left, *indices = f.parameters
        places = read_places(f, lanes, epilogue, f.at(args, first, "i64"), indices)
        active: list[int | Value] = [
            lanes.count if whole else lanes.first(f, left - v * lanes.count) for v in range(vectors)
        ]
        Finish(f, lanes, epilogue, sums, places, active).emit(rows)


@dataclass(frozen=True)
class Finish:
    """Applies `epilogue` to sums [rows, vectors, lanes], in memory or held, and stores the results.

    active: for each vector the lanes that are columns: a number, or a mask.
    later: where a tile that comes later starts in an operand: its rows are fetched beside these.
    """

    f: Function
    lanes: Lanes
    epilogue: Epilogue
    sums: Value | None
    places: Sequence[Place]  # of operands, then of stores
    active: Sequence[int | Value]
    later: Mapping[int, Value] = field(default_factory=dict)

    def emit(self, rows: Value) -> None:
        """Rows are a loop rather than unrolled: the sums pass through the first-level cache, which
        costs less than the code of a long epilogue for each height would."""
        f, lanes, sums, vectors = self.f, self.lanes, self.sums, len(self.active)
        assert sums is not None
        fixed = self._fixed()

        def row(index: Value, _: list[Value]) -> list[Value]:
            held = []
            for v in range(vectors):
                at = index * (vectors * lanes.count) + v * lanes.count
                held.append(lanes.load(f, f.at(sums, at, lanes.element)))
                self._fetch(index, v)
            self._row(index, held, fixed)
            return []

        f.loop(0, rows, row)

    def emit_held(self, sums: Sequence[Value]) -> None:
        """The same for sums that are held in registers."""
        fixed, vectors = self._fixed(), len(self.active)
        for first in range(0, len(sums), vectors):
            self._row(first // vectors, sums[first : first + vectors], fixed)

    def _fixed(self) -> list[dict[int, Value]]:
        """For each vector the operands that no row changes: they are read once."""
        count = len(self.epilogue.operands)
        return [
            {i: self._operand(i, v, 0) for i in range(count) if self.places[i].row == 0}
            for v in range(len(self.active))
        ]

    def _row(self, row: Index, sums: Sequence[Value], fixed: Sequence[dict[int, Value]]) -> None:
        """Two vectors at a time, which some memory takes at once."""
        count = len(self.epilogue.operands)
        for first in range(0, len(sums), 2):
            vectors = range(first, min(first + 2, len(sums)))
            found = []
            for v in vectors:
                operands = [fixed[v].get(i) or self._operand(i, v, row) for i in range(count)]
                found.append(evaluate(self.f, self.lanes, self.epilogue, [sums[v], *operands]))
            active = [self.active[v] for v in vectors]
            for (value, _), place in zip(self.epilogue.stores, self.places[count:], strict=True):
                values, here = [each[value] for each in found], self._at(place, first, row)
                place.memory.store_side_by_side(self.f, values, here, active)

    def _fetch(self, row: Value, v: int) -> None:
        for i, origin in self.later.items():
            memory = self.places[i].memory
            at = self.places[i].row * row + v * self.lanes.count
            self.lanes.prefetch(self.f, self.f.at(origin, at, memory.element))

    def _operand(self, i: int, v: int, row: Index) -> Value:
        f, place = self.f, self.places[i]
        here = self._at(place, v, row)
        if not place.column:
            return place.memory.broadcast(f, here)
        return place.memory.load(f, here, self.active[v])

    def _at(self, place: Place, v: int, row: Index) -> Value:
        at = place.row * row + v * self.lanes.count * place.column
        return self.f.at(place.origin, at, place.memory.element)
