"""The code of pooling: rows of windows or of cells, vectors along the channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..machine import Host, host
from .ir import Function, Index, Module, Value, ceiling
from .lanes import Lanes
from .patch import taps
from .pool import ARGUMENTS, OF_CELLS, POINTERS, Pool

Values = list[Value]
# Cells that stand in the code one by one; of more, a loop is written.
_UNROLLED = 16
# Vectors of channels that are in work together.
_VECTORS = 4


def emit(pool: Pool, name: str, target: Host | None = None) -> str:
    """The LLVM IR of `void name(i64 start, i64 stop, i64* args)`, see `pool.arguments`."""
    target = target or host()
    module = Module(target)
    rows = _Cells if pool.kind in OF_CELLS else _Windows
    rows(pool, module.kernel(name), target).emit()
    return module.text()


@dataclass(frozen=True)
class _Positions:
    """Vectors of the numbers of cells, of so many bytes each; means have none."""

    count: int
    nbytes: int

    @property
    def lanes(self) -> Lanes:
        return Lanes(f"int{8 * self.nbytes}", self.count)

    def splat(self, f: Function, cell: Index) -> Value:
        """The same number in each lane."""
        kind = self.lanes.element
        if isinstance(cell, int):
            return f.constant(self.lanes.vector, f"splat ({kind} {cell})")
        return self.lanes.spread(f, f.value(kind, f"trunc i64 {cell.name} to {kind}"))

    def equal(self, f: Function, position: Value, cell: Index) -> Value:
        """Where a vector of positions names `cell`."""
        wanted, kind = self.splat(f, cell), self.lanes.vector
        return f.value(self.lanes.mask, f"icmp eq {kind} {position.name}, {wanted.name}")


@dataclass(frozen=True)
class _Row:
    """Where an item is: its image, z and y."""

    image: Value
    z: Value
    y: Value


class _Rows:
    """What both kinds of items share: arguments, channels, vectors."""

    def __init__(self, pool: Pool, f: Function, target: Host) -> None:
        self.pool, self.f = pool, f
        self.lanes, self.memory = pool.lanes(target), pool.memory(target)
        self.positions = _Positions(self.lanes.count, pool.position)
        self.start, self.stop, args = f.parameters
        word = {
            name: f.load("ptr" if name in POINTERS else "i64", f.at(args, i, "i64"), 8)
            for i, name in enumerate(ARGUMENTS)
        }
        self.source, self.position, self.result = (word[name] for name in POINTERS)
        self.size, self.before, self.out = (
            [word[f"{kind}_{axis}"] for axis in "zyx"] for kind in ("size", "before", "out")
        )

    def emit(self) -> None:
        """Write the loop over items."""

    def each_row(self, extents: Sequence[Value], body: Callable[[_Row], None]) -> None:
        def item(index: Value, _: Values) -> Values:
            z, y, _x = extents
            above = index // y
            body(_Row(above // z, above % z, index % y))
            return []

        self.f.loop(self.start, self.stop, item)

    def each_block(self, body: Callable[[list[Index]], None]) -> None:
        """`body` for the channels at which vectors start, a few at a time."""
        channels, count = self.pool.channels, self.lanes.count
        width = _VECTORS * count
        whole = channels // width * width

        def block(first: Value, _: Values) -> Values:
            body([first + v * count for v in range(_VECTORS)])
            return []

        if whole > width:
            self.f.loop(0, whole, block, step=width)
        elif whole:
            body([v * count for v in range(_VECTORS)])
        rest: list[Index] = [min(c, channels - count) for c in range(whole, channels, count)]
        if rest:
            body(rest)

    def over(
        self,
        low: Index,
        high: Index,
        body: Callable[[Index, Values], Values],
        carried: Values,
    ) -> Values:
        """A loop, written out where its bounds are known and few."""
        if isinstance(low, Value) or isinstance(high, Value) or high - low > _UNROLLED:
            return self.f.loop(low, high, body, carried)
        for index in range(low, high):
            carried = body(index, carried)
        return carried

    def address(self, place: Index, channel: Index) -> Value:
        """The index of an element, of the numbers at place 0, 1, … of one tensor."""
        return self.f.integer(0) + place * self.pool.channels + channel

    def load(self, index: Value) -> Value:
        return self.memory.load(self.f, self.f.at(self.source, index, self.memory.element))

    def store(self, value: Value, index: Value) -> None:
        self.memory.store(self.f, value, self.f.at(self.result, index, self.memory.element))

    def load_position(self, index: Value) -> Value:
        lanes = self.positions.lanes
        return lanes.load(self.f, self.f.at(self.position, index, lanes.element))

    def both(self, a: Value, b: Value) -> Value:
        return self.f.value(a.type, f"and {a.type} {a.name}, {b.name}")

    def where(self, condition: Value, yes: Value, no: Value) -> Value:
        """`yes` where the condition, one or a vector of them, holds."""
        operands = f"{yes.type} {yes.name}, {no.type} {no.name}"
        return self.f.value(yes.type, f"select {condition.type} {condition.name}, {operands}")

    def inside(self, index: Value, extent: Value) -> Value:
        """Whether 0 <= index < extent."""
        return self.f.value("i1", f"icmp ult i64 {index.name}, {extent.name}")

    def nearest(self, index: Value, extent: Value) -> Value:
        return self.f.smaller(self.f.larger(index, 0), extent - 1)

    def product(self, counts: Sequence[Index]) -> Value:
        """The product of counts of cells, in the dtype of the lanes."""
        total, kind = math.prod(counts[1:], start=counts[0]), self.lanes.element
        assert isinstance(total, Value), "counts of cells are known where nothing is padded"
        return self.f.value(kind, f"uitofp i64 {total.name} to {kind}")

    def binary(self, operation: str, a: Value, b: Value) -> Value:
        return self.f.value(a.type, f"{operation} {a.type} {a.name}, {b.name}")


class _Windows(_Rows):
    """max, max_at and mean: items are rows of windows, each made of its cells."""

    def emit(self) -> None:
        self.each_row(self.out, self._row)

    def _row(self, row: _Row) -> None:
        at = ((row.image * self.out[0] + row.z) * self.out[1] + row.y) * self.out[2]
        strides = self.pool.strides
        first = [row.z * strides[0] - self.before[0], row.y * strides[1] - self.before[1]]
        reach = [self._taps(axis, first[axis]) for axis in (0, 1)]
        planes = [row.image * self.size[0] + first[0], first[1]]

        def place(index: Value, _: Values) -> Values:
            x = index * strides[2] - self.before[2]
            self.each_block(lambda channels: self._window(
                [*reach, self._taps(2, x)], [*planes, x], channels, at + index))  # fmt: skip
            return []

        self.f.loop(0, self.out[2], place)

    def _taps(self, axis: int, first: Value) -> tuple[Index, Index]:
        """The cells along an axis that lie in the input."""
        extent = self.pool.window[axis]
        return taps(self.f, first, extent, 1, self.size[axis]) if self.pool.padded else (0, extent)

    def _window(self, reach: Sequence[tuple[Index, Index]], first: Sequence[Value],
                channels: list[Index], place: Value) -> None:  # fmt: skip
        """One window for some vectors of channels."""
        to = [self.address(place, c) for c in channels]
        state = self._begun(reach, to)
        _, height, width = self.pool.window

        def cell(z: Index, y: Index, x: Index, state: Values) -> Values:
            above = (first[0] + z) * self.size[1] + first[1] + y
            here = above * self.size[2] + first[2] + x
            number = (z * height + y) * width + x
            values = [self.load(self.address(here, c)) for c in channels]
            return self._taken(values, number, state)

        def plane(z: Index, state: Values) -> Values:
            return self.over(*reach[1], lambda y, state: line(z, y, state), state)

        def line(z: Index, y: Index, state: Values) -> Values:
            return self.over(*reach[2], lambda x, state: cell(z, y, x, state), state)

        state = self.over(*reach[0], plane, state)
        self._finish(state[: len(to)], state[len(to) :], reach, to)

    def _begun(self, reach: Sequence[tuple[Index, Index]], to: Values) -> Values:
        """What is carried from cell to cell: a vector each, and behind them positions."""
        if self.pool.kind == "max":
            (z, _), (y, _), (x, _) = reach
            first = (z * self.pool.window[1] + y) * self.pool.window[2] + x
            lowest = self.lanes.splat(self.f, -math.inf)
            return [lowest] * len(to) + [self.positions.splat(self.f, first)] * len(to)
        positions = [self.load_position(at) for at in to] if self.pool.kind == "max_at" else []
        return [self.lanes.splat(self.f, 0.0)] * len(to) + positions

    def _taken(self, values: Values, cell: Index, state: Values) -> Values:
        """`state` with one cell taken in."""
        f, numbers, positions = self.f, state[: len(values)], state[len(values) :]
        if self.pool.kind == "mean":
            return [self.lanes.add(f, a, v) for a, v in zip(numbers, values, strict=True)]
        if self.pool.kind == "max_at":
            hits = [self.positions.equal(f, p, cell) for p in positions]
            found = zip(hits, values, numbers, strict=True)
            return [*[self.where(hit, v, a) for hit, v, a in found], *positions]
        above = [self._is_above(v, a) for v, a in zip(values, numbers, strict=True)]
        here = self.positions.splat(f, cell)
        return [
            *[self.where(hit, v, a) for hit, v, a in zip(above, values, numbers, strict=True)],
            *[self.where(hit, here, p) for hit, p in zip(above, positions, strict=True)],
        ]

    def _is_above(self, v: Value, largest: Value) -> Value:
        """Whether v is larger, or the first NaN."""
        f, mask, kind = self.f, self.lanes.mask, self.lanes.vector
        number = f.value(mask, f"fcmp ord {kind} {largest.name}, {largest.name}")
        return self.both(number, f.value(mask, f"fcmp ugt {kind} {v.name}, {largest.name}"))

    def _finish(self, numbers: Values, positions: Values,
                reach: Sequence[tuple[Index, Index]], to: Values) -> None:  # fmt: skip
        for value, at in zip(numbers, to, strict=True):
            self.store(self._mean(value, reach) if self.pool.kind == "mean" else value, at)
        if self.pool.kind == "max":
            for position, at in zip(positions, to, strict=True):
                lanes = self.positions.lanes
                lanes.store(self.f, position, self.f.at(self.position, at, lanes.element))

    def _mean(self, total: Value, reach: Sequence[tuple[Index, Index]]) -> Value:
        if not self.pool.padded:
            count = self.lanes.splat(self.f, self.pool.cells)
        else:
            cells = self.product([high - low for low, high in reach])
            count = self.lanes.spread(self.f, cells)
        return self.binary("fdiv", total, count)


@dataclass(frozen=True)
class _Cover:
    """The windows along x that cover a cell: where each is, which of its cells it is, and whether
    there is such a window."""

    place: Value
    cell: Index
    is_there: Value


@dataclass(frozen=True)
class _Reach:
    """The windows that cover a cell of an image: where the cell is along z and y of the padded
    image, the ranges of windows along z and y, and each window along x."""

    image: Value
    cell: tuple[Value, Value]
    z: tuple[Value, Value]
    y: tuple[Value, Value]
    x: list[_Cover]


@dataclass(frozen=True)
class _Line:
    """A row of windows: where it is, its first window among all, and which of its windows' cells is
    the first in the row of a cell that they cover."""

    z: Value
    y: Value
    first: Value
    number: Value


class _Cells(_Rows):
    """max_input and mean_input: items are rows of cells, each made of the windows that cover it."""

    def emit(self) -> None:
        self.each_row(self.size, self._row)

    def _row(self, row: _Row) -> None:
        at = ((row.image * self.size[0] + row.z) * self.size[1] + row.y) * self.size[2]
        down, across = row.z + self.before[0], row.y + self.before[1]
        z, y = self._windows(0, down), self._windows(1, across)
        stride = self.pool.strides[2]
        last = (self.size[2] - 1 + self.before[2]) // stride

        def stretch(index: Value, _: Values) -> Values:
            self.over(0, stride, lambda phase, _: phase_of(index, phase), [])
            return []

        def phase_of(index: Value, phase: Index) -> Values:
            x = index * stride + phase - self.before[2]
            found = _Reach(row.image, (down, across), z, y, self._covering(index, phase))
            self.f.when(
                self.inside(x, self.size[2]),
                lambda: self.each_block(lambda channels: self._cell(found, at + x, channels)),
            )
            return []

        self.f.loop(self.before[2] // stride, last + 1, stretch)

    def _windows(self, axis: int, cell: Value) -> tuple[Value, Value]:
        """The windows along z or y that cover a cell: the first, and behind the last."""
        extent, stride = self.pool.window[axis], self.pool.strides[axis]
        low = ceiling(self.f.larger(cell + (1 - extent), 0), stride)
        return low, self.f.smaller(cell // stride + 1, self.out[axis])

    def _covering(self, index: Value, phase: Index) -> list[_Cover]:
        """The windows along x that cover the cell at index · stride + phase, the last first."""
        extent, stride = self.pool.window[2], self.pool.strides[2]
        found = []
        for j in range(math.ceil(extent / stride)):
            cell = phase + j * stride
            if isinstance(cell, int) and cell >= extent:
                break
            there = self.inside(index - j, self.out[2])
            if isinstance(cell, Value):
                there = self.both(there, self.f.less(cell, extent))
            found.append(_Cover(self.nearest(index - j, self.out[2]), cell, there))
        return found

    def _cell(self, reach: _Reach, place: Value, channels: list[Index]) -> None:
        """The cell at a place for some vectors of channels; windows that come later have their say
        first, in the order of their cells."""
        strides, window, (down, across) = self.pool.strides, self.pool.window, reach.cell

        def plane(index: Value, sums: Values) -> Values:
            z = reach.z[1] - 1 - index
            inner = down - z * strides[0]
            return self.f.loop(0, reach.y[1] - reach.y[0], line(z, inner), sums)

        def line(z: Value, inner: Value) -> Callable[[Value, Values], Values]:
            def body(index: Value, sums: Values) -> Values:
                y = reach.y[1] - 1 - index
                number = (inner * window[1] + across - y * strides[1]) * window[2]
                first = ((reach.image * self.out[0] + z) * self.out[1] + y) * self.out[2]
                for cover in reach.x:
                    sums = self._added(sums, _Line(z, y, first, number), cover, channels)
                return sums

            return body

        to = [self.address(place, c) for c in channels]
        sums = [self.lanes.splat(self.f, 0.0)] * len(to)
        totals = self.f.loop(0, reach.z[1] - reach.z[0], plane, sums)
        for total, at in zip(totals, to, strict=True):
            self.store(total, at)

    def _added(self, sums: Values, line: _Line, cover: _Cover, channels: list[Index]) -> Values:
        """`sums` with one window taken in."""
        f, zero = self.f, self.lanes.splat(self.f, 0.0)
        at = [self.address(line.first + cover.place, c) for c in channels]
        given = [self.load(i) for i in at]
        if self.pool.kind == "max_input":
            named = f.choose(cover.is_there, line.number + cover.cell, -1)   # -1 names no cell
            hits = [self.positions.equal(f, self.load_position(i), named) for i in at]
            given = [self.where(hit, g, zero) for hit, g in zip(hits, given, strict=True)]
        else:
            share = self._share(line.z, line.y, cover.place)
            given = [self.where(cover.is_there, self.binary("fmul", g, share), zero)
                     for g in given]
        return [self.lanes.add(f, a, g) for a, g in zip(sums, given, strict=True)]

    def _share(self, z: Value, y: Value, x: Value) -> Value:
        """One over the cells of a window that lie in the input."""
        if not self.pool.padded:
            return self.lanes.splat(self.f, 1 / self.pool.cells)
        counts: list[Index] = []
        for axis, place in enumerate((z, y, x)):
            first = place * self.pool.strides[axis] - self.before[axis]
            low, high = taps(self.f, first, self.pool.window[axis], 1, self.size[axis])
            counts.append(high - low)
        one = self.f.constant(self.lanes.element, "1.0")
        return self.lanes.spread(self.f, self.binary("fdiv", one, self.product(counts)))
