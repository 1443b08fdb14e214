"""Tiles of bfloat16 terms made of numbers in memory, one step of a panel at a time.

A step is 32 numbers along the reduction of each column. A tile holds those of 16 columns, in 16
rows of 16 pairs: of one column each if it is turned, else of one pair of neighbours along the
reduction. A step has its tiles of the first term, then those of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .amx import CELLS, DEPTH, SIDE
from .halves import Memory, bounded, multiplies_pairs, rounded_by_instruction
from .ir import Function, Index, Value
from .lanes import Lanes

_LANES = Lanes("float32", SIDE)
_HALVES = Lanes("int16", DEPTH)


@dataclass(frozen=True)
class TileCopy:
    """Copies numbers of `dtype`, float32 or bfloat16, into `count` tiles a step and term.

    terms: of bfloat16 there is one. turned: each row of a tile has pairs of one column.
    """

    f: Function
    dtype: str
    count: int
    terms: int
    turned: bool

    @property
    def cells(self) -> int:
        """The elements of 32 bits that a step takes."""
        return self.count * self.terms * CELLS

    def along(self, source: Value, pitch: Index, panel: Value, sizes: tuple[Value, Value]) -> None:
        """A step of numbers that lie side by side along the reduction, columns `pitch` apart.

        sizes: of how many columns and of how many numbers along the reduction; the rest is zero.
        """
        f, width = self.f, self.count * SIDE
        columns, steps = f.smaller(sizes[0], width), sizes[1]
        is_half = self.dtype == "bfloat16"
        vectors = [(_HALVES, 0)] if is_half else [(_LANES, 0), (_LANES, SIDE)]
        masks = [lanes.first(f, steps - at) for lanes, at in vectors]

        def column(c: Value, at: list[Value]) -> list[Value]:
            found = [
                lanes.load_where(f, f.at(at[0], first, self._element), mask)
                for (lanes, first), mask in zip(vectors, masks, strict=True)
            ]
            terms = found if is_half else self._terms(found[0], found[1])
            self._write(terms, f.at(panel, c * SIDE, "float"))
            return [f.at(at[0], pitch, self._element)]

        f.loop(0, columns, column, [source])
        self._clear(panel, columns, width)
        if not self.turned:
            self._turn(panel)

    def across(self, source: Value, pitch: Value, panel: Value, sizes: tuple[Value, Value]) -> None:
        """A step of numbers whose columns lie side by side, `pitch` apart along the reduction."""
        f, (columns, steps) = self.f, sizes
        steps = f.smaller(steps, DEPTH)
        masks = [_LANES.first(f, columns - v * SIDE) for v in range(self.count)]

        def pair(q: Value, here: Value, count: int) -> None:
            for v, mask in enumerate(masks):
                rows = [f.at(here, pitch * i + v * SIDE, self._element) for i in range(count)]
                numbers = [self._memory.stored.load_where(f, row, mask) for row in rows]
                self._pair(numbers, f.at(panel, q * SIDE + v * CELLS, "float"))

        def both(q: Value, at: list[Value]) -> list[Value]:
            pair(q, at[0], 2)
            return [f.at(at[0], pitch * 2, self._element)]

        whole = steps // 2
        (end,) = f.loop(0, whole, both, [source])
        f.when(f.less(whole * 2, steps), lambda: pair(whole, end, 1))
        for v in range(self.count):
            self._clear(f.at(panel, v * CELLS, "float"), (steps + 1) // 2, SIDE)
        if self.turned:
            self._turn(panel)

    @property
    def _memory(self) -> Memory:
        return Memory(_LANES, self.dtype)

    @property
    def _element(self) -> str:
        return self._memory.element

    def _pair(self, rows: list[Value], place: Value) -> None:
        """Write two rows of numbers, or one and zeros, as pairs."""
        f = self.f
        low, high = rows[0], rows[1] if len(rows) > 1 else self._memory.stored.zero(f)
        if self.dtype == "bfloat16":
            self._write([_HALVES.shuffle(f, low, high, ALTERNATELY)], place)
        else:
            terms = self._terms(low, high)
            self._write([_HALVES.shuffle(f, term, term, ALTERNATELY) for term in terms], place)

    def _write(self, terms: Sequence[Value], place: Value) -> None:
        """Write a row of the tiles of each term."""
        for term, row in enumerate(terms):
            at = self.f.at(place, term * self.count * CELLS, "float")
            _HALVES.store(self.f, row, at)

    def _clear(self, panel: Value, first: Value, stop: int) -> None:
        """Fill these rows with zeros."""
        zeros = [_HALVES.zero(self.f)] * self.terms

        def row(r: Value, _: list[Value]) -> list[Value]:
            self._write(zeros, self.f.at(panel, r * SIDE, "float"))
            return []

        self.f.loop(first, stop, row)

    def _turn(self, panel: Value) -> None:
        """Exchange rows and columns of each tile."""
        f = self.f
        for tile in range(self.count * self.terms):
            places = [f.at(panel, tile * CELLS + r * SIDE, "float") for r in range(SIDE)]
            turned = _LANES.transpose(f, [_LANES.load(f, place) for place in places])
            for row, place in zip(turned, places, strict=True):
                _LANES.store(f, row, place)

    def _terms(self, low: Value, high: Value) -> list[Value]:
        """The terms of two vectors of numbers, each term 32 bfloat16: those of `low` come first."""
        f, memory = self.f, Memory(_LANES, "bfloat16")
        if self.terms > 1:
            low, high = (bounded(f, _LANES, x) for x in (low, high))
        found: list[Value] = []
        while True:
            found.append(self._rounded(low, high))
            if len(found) == self.terms:
                return found
            for_low = _HALVES.shuffle(f, found[-1], found[-1], range(SIDE))
            for_high = _HALVES.shuffle(f, found[-1], found[-1], range(SIDE, DEPTH))
            low = _LANES.subtract(f, low, memory.widened(f, for_low))
            high = _LANES.subtract(f, high, memory.widened(f, for_high))

    def _rounded(self, low: Value, high: Value) -> Value:
        f, memory = self.f, Memory(_LANES, "bfloat16")
        if multiplies_pairs(f.module.target):
            return rounded_by_instruction(f, low, high)
        return _HALVES.shuffle(f, memory.narrowed(f, low), memory.narrowed(f, high), range(DEPTH))


ALTERNATELY = [lane for i in range(SIDE) for lane in (i, i + SIDE)]
