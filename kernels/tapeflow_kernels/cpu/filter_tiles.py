"""Sums of filter gradients by registers of tiles: blocks turned, so that places are in pairs."""

from __future__ import annotations

from dataclasses import dataclass

from ..machine import Host
from .amx import Registers
from .filter import Filter
from .filter_vectors import Sums
from .grid import Grid, emit_grid
from .halves import Memory, as_bits, pair, rounded_bits
from .ir import Index, Module, Value, ceiling
from .patch import Filler, taps
from .turned import Turned, emit_turn


def emit_tiles(module: Module, c: Filter, target: Host) -> None:
    """Write what `TileSums` calls."""
    turned, patch = _turned(c), c.patch(target)
    Filler(module, c.copied(target), patch, c.channels * c.is_dense, is_whole=True).emit()
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
            )
            emit_grid(module, registers, grid, f"grid_{vectors}_{rows}")


def _turned(c: Filter) -> Turned:
    assert c.turned is not None, "tiles take a turned block"
    return c.turned


def _emit_panel(module: Module, c: Filter, turned: Turned, memory: Memory) -> None:
    """`void panel(ptr to, ptr y, i64 left, i64 images, rows, places, i64 by image, y, x)`: a block
    of Y, neighbouring places as pairs, zero where there are no columns or places."""
    _emit_row(module, c, turned, memory)
    f = module.internal("panel", ["ptr", "ptr"] + ["i64"] * 7)
    to, y, left, images, rows, places, *by = f.parameters
    step = turned.pairs * c.vectors * memory.lanes.count

    def image(i: Value, _: list[Value]) -> list[Value]:
        f.loop(0, rows, lambda r, _: row(i, r))
        return []

    def row(i: Value, r: Value) -> list[Value]:
        into = f.at(to, (i * c.rows + r) * step, memory.lanes.element)
        at = f.at(y, i * by[0] + r * by[1], memory.element)
        f.call("panel_row", [into, at, left, places, by[2]])
        return []

    f.loop(0, images, image)


def _emit_row(module: Module, c: Filter, turned: Turned, memory: Memory) -> None:
    """`void panel_row(ptr to, ptr y, i64 left, i64 places, i64 by)`."""
    f = module.internal("panel_row", ["ptr", "ptr"] + ["i64"] * 3)
    to, y, left, places, by = f.parameters
    lanes, whole = memory.lanes, places // 2  # pairs of which both are there
    there = [lanes.first(f, left - v * lanes.count) for v in range(c.vectors)]
    none = f.constant(lanes.mask, "zeroinitializer")

    def both(p: Value, masks: list[list[Value]]) -> list[Value]:
        for v in range(c.vectors):
            halves = [half(p * 2 + i, v, masks[i][v]) for i in range(2)]
            at = (p * c.vectors + v) * lanes.count
            lanes.store(f, pair(f, lanes, *halves), f.at(to, at, lanes.element))
        return []

    def half(place: Value, v: int, mask: Value) -> Value:
        here = f.at(y, place * by + v * lanes.count, memory.element)
        read = memory.load(f, here, mask)
        is_half = memory.dtype == "bfloat16"
        return as_bits(f, lanes, read) if is_half else rounded_bits(f, lanes, read)

    def rest(p: Value, _: list[Value]) -> list[Value]:
        is_one = f.less(p * 2, places)
        choices = (f"i1 {is_one.name}, {m.type} {m.name}, {m.type} {none.name}" for m in there)
        first = [f.value(none.type, f"select {choice}") for choice in choices]
        return both(p, [first, [none] * c.vectors])

    f.loop(0, whole, lambda p, _: both(p, [there, there]))
    f.loop(whole, turned.pairs, rest)


@dataclass(frozen=True)
class _Block:
    """What tiles of a panel share: the place along y of X that the first row begins at, the images,
    rows and places of the block, the sums of the panel, and its vectors."""

    y: Value
    extents: list[Value]
    sums: Value
    vectors: int


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

    def _taps(
        self,
        planes: tuple[Value, Value],
        y: Value,
        extents: list[Value],
        sums: Value,
        vectors: int,
    ) -> None:
        """All taps and tiles of one panel: along y innermost, for what these read of a row of the
        block differs by few places."""
        f, c = self.f, self.c
        block = _Block(y, extents, sums, vectors)
        whole = c.row_tiles // 2 * 2

        def plane(z: Value, _: list[Value]) -> list[Value]:
            f.loop(0, c.loops[2], lambda x, _: tap_x(z, x))
            return []

        def tap_x(z: Value, x: Value) -> list[Value]:
            f.loop(0, whole, lambda tile, _: tap_y(z, x, tile, 2), step=2)
            return tap_y(z, x, whole, 1) if whole < c.row_tiles else []

        def tap_y(z: Value, x: Value, tile: Index, count: int) -> list[Value]:
            f.loop(0, c.loops[1], lambda y, _: self._grid(block, (z, y, x), tile, count))
            return []

        f.loop(*planes, plane)

    def _grid(
        self, block: _Block, tap: tuple[Value, Value, Value], tile: Index, count: int
    ) -> list[Value]:
        """One or two tiles of rows, from the tile of this number on, of a tap."""
        f, c, turned, kind = self.f, self.c, self.turned, self.lanes.element
        (z, y, x), (_, stride, _) = tap, c.geometry.strides
        first = block.y + y * c.geometry.dilations[1]
        low, high = taps(f, first, block.extents[1], stride, self.size[1])
        start, stop = low // turned.joined, ceiling(high, turned.joined)
        places = block.extents[2]
        chunks = ceiling(places, 2 * turned.block) if turned.joined == 1 else f.integer(1)
        row = (z * turned.taps + x) * turned.channels + tile * c.heights[0]
        a = row * turned.pitch + (start * (turned.joined * stride) + y) * turned.pairs
        rows = [f.at(self.block, a + i * (c.heights[0] * turned.pitch), kind) for i in range(count)]
        b = start * (turned.joined * turned.pairs * c.columns(self.target))
        index = ((z * c.loops[1] + y) * c.loops[2] + x) * c.row_tiles + tile
        sums = f.at(block.sums, index * self.tile, kind)
        inputs = [*rows, f.at(self.panel, b, kind), sums]
        sizes: list[Index] = [1, block.extents[0], stop - start, chunks]
        f.call(f"grid_{block.vectors}_{count}", [*inputs, *sizes])
        return []
