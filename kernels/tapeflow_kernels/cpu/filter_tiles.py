"""Sums of filter gradients by registers of tiles: blocks turned, so that places are in pairs."""

from __future__ import annotations

from ..machine import Host
from .filter import Filter
from .filter_vectors import Sums
from .grid import Grid, emit_grid
from .halves import Memory, pair, terms
from .ir import Index, Module, Value, ceiling
from .patch import Filler, taps
from .tiles import Registers
from .turned import Turned, emit_turn


def emit_tiles(module: Module, c: Filter, target: Host) -> None:
    """Write what `TileSums` calls."""
    turned, patch = _turned(c), c.patch(target)
    Filler(module, c.copied(target), patch, c.is_dense, is_whole=True).emit()
    emit_turn(module, turned, patch)
    _emit_panel(module, c, turned, Memory(c.lanes(target), c.memory))
    registers, columns = Registers(c.way.tiles, c.size), c.columns(target)
    row = turned.joined * turned.pairs
    a_steps = turned.elements, row * c.geometry.strides[1], turned.block
    b_steps = c.rows * turned.pairs * columns, row * columns, turned.block * columns
    for vectors in sorted({c.vectors, c.tail} - {0}):
        for rows in (1, 2):
            grid = Grid(
                *(rows, vectors, turned.pitch, columns, a_steps, b_steps),
                apart=c.tile_elements(target),
                accumulates=True,
            )
            emit_grid(module, registers, grid, f"grid_{vectors}_{rows}")


def _turned(c: Filter) -> Turned:
    assert c.turned is not None, "tiles take a turned block"
    return c.turned


def _emit_panel(module: Module, c: Filter, turned: Turned, memory: Memory) -> None:
    """`void panel(ptr to, ptr y, i64 left, i64 images, rows, places, i64 by image, y, x)`: a block
    of Y, neighbouring places as pairs, zero where there are no columns or places."""
    f = module.internal("panel", ["ptr", "ptr"] + ["i64"] * 7)
    to, y, left, images, rows, places, *by = f.parameters
    lanes = memory.lanes
    columns = c.vectors * lanes.count

    def image(i: Value, _: list[Value]) -> list[Value]:
        f.loop(0, rows, lambda r, _: row(i, r))
        return []

    def row(i: Value, r: Value) -> list[Value]:
        into = f.at(to, (i * c.rows + r) * (turned.pairs * columns), lanes.element)
        at = f.at(y, i * by[0] + r * by[1], memory.element)
        f.loop(0, turned.pairs, lambda p, _: both(into, at, p))
        return []

    def both(into: Value, at: Value, p: Value) -> list[Value]:
        for v in range(0, columns, lanes.count):
            halves = []
            for place in (p * 2, p * 2 + 1):
                mask = lanes.first(f, f.choose(f.less(place, places), left - v, 0))
                read = memory.load(f, f.at(at, place * by[2] + v, memory.element), mask)
                halves += terms(f, lanes, read, 1)
            lanes.store(f, pair(f, lanes, *halves), f.at(into, p * columns + v, lanes.element))
        return []

    f.loop(0, images, image)


class TileSums(Sums):
    """Sums of parts, by two tiles of rows and two of columns at a time."""

    def __init__(self, module: Module, c: Filter, target: Host, name: str) -> None:
        super().__init__(module, c, target, name)
        self.turned = _turned(c)
        # the last tile of rows reads on behind them
        size = c.images * self.turned.elements + c.heights[0] * self.turned.pitch
        self.block = self.f.value("ptr", f"alloca [{size} x {self.lanes.element}], align 64")

    def emit(self) -> None:
        with Registers(self.c.way.tiles, self.c.size).ready(self.f):
            super().emit()

    def _fill_one(self, index: Value, operands: list[Value], places: Value) -> None:
        f = self.f
        f.call("fill", [self.room, *operands])
        to = f.at(self.block, index * self.turned.elements, self.lanes.element)
        f.call("turn", [to, self.room, places])

    def _tap(
        self, place: tuple[Value, Value], y: Value, extents: list[Value], sums: Value, vectors: int
    ) -> list[Value]:
        """All tiles of the taps at `place` along z and y."""
        f, c, turned, kind = self.f, self.c, self.turned, self.lanes.element
        (z, tap), (_, stride, _) = place, c.geometry.strides
        low, high = taps(f, y + tap * c.geometry.dilations[1], extents[1], stride, self.size[1])
        first, last = low // turned.joined, ceiling(high, turned.joined)
        chunks = ceiling(extents[2], 2 * turned.block) if turned.joined == 1 else f.integer(1)
        a = z * (turned.taps * turned.channels * turned.pitch)
        a = a + (first * (turned.joined * stride) + tap) * turned.pairs
        b = first * (turned.joined * turned.pairs * c.columns(self.target))
        index = (z * c.loops[1] + tap) * c.loops[2]
        sizes: list[Index] = [extents[0], last - first, chunks]

        def tap_x(x: Value, _: list[Value]) -> list[Value]:
            at = a + x * (turned.channels * turned.pitch)
            operands = [f.at(self.block, at, kind), f.at(self.panel, b, kind), sums]
            self._tiles(operands, (index + x) * c.row_tiles, sizes, vectors)
            return []

        f.loop(0, c.loops[2], tap_x)
        return []

    def _tiles(self, operands: list[Value], first: Value, sizes: list[Index], vectors: int) -> None:
        a, b, sums = operands
        f, kind, step = self.f, self.lanes.element, self.c.heights[0] * self.turned.pitch

        def tile(index: Index, count: int) -> list[Value]:
            rows = [f.at(a, (index + i) * step, kind) for i in range(count)]
            here = f.at(sums, (first + index) * self.tile, kind)
            f.call(f"grid_{vectors}_{count}", [*rows, b, here, *sizes])
            return []

        whole = self.c.row_tiles // 2 * 2
        f.loop(0, whole, lambda i, _: tile(i, 2), step=2)
        if whole < self.c.row_tiles:
            tile(whole, 1)
