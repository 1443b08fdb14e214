"""Convolutions by registers of tiles, whose rows are places as a patch has them."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from ..machine import Host
from .amx import SIDE, Registers
from .grid import Grid, emit_grid
from .ir import Index, Module, Value, ceiling
from .patch import Filler, taps
from .window import Window
from .window_vectors import Item, Items, Panel, emit_finishes, loops_of, micro_of


def emit_tiles(module: Module, window: Window, target: Host) -> None:
    """Write what `TileItems` calls: one and two tiles of rows by panels of all widths."""
    patch = window.patch(target)
    Filler(module, window.copied(target), patch, window.dense(target), is_whole=True).emit()
    registers = Registers(window.way.tiles, window.size)
    for vectors, rows in itertools.product({window.vectors, window.tail} - {0}, (1, 2)):
        micro = micro_of(window, vectors, window.heights[0], target)
        steps = micro.a.steps, micro.b.steps
        apart = micro.rows * vectors * SIDE
        grid = Grid(rows, vectors, micro.a_row, window.width(target), *steps, apart)
        emit_grid(module, registers, grid, f"grid_{vectors}_{rows}")
    emit_finishes(module, window, window.lanes(target))


@dataclass(frozen=True)
class _Tiles:
    """One tile or two: where they are (row of the item, number in this row), and their sums."""

    places: list[tuple[Value, Value]]
    sums: Value


class TileItems(Items):
    """The function that walks the items where registers of tiles sum up: two tiles at a time, which
    lie in one row of outputs or in two. All tiles of an item pass over a part of a panel of B."""

    def __init__(self, module: Module, window: Window, target: Host, name: str) -> None:
        super().__init__(module, window, target, name)
        self.part, self.all_kept = window.part(target), window.kept(target) > 2

    def emit(self) -> None:
        with Registers(self.window.way.tiles, self.window.size).ready(self.f):
            super().emit()

    def _rows(self, item: Item, z: tuple[Value, Value], panel: Panel) -> None:
        f, window = self.f, self.window
        across = f.smaller(ceiling(self.out[2] - item.x, window.heights[0]), window.tiles)
        count = across * f.smaller(self.out[1] - item.y, window.rows)

        def both(first: Value, tap: Value) -> list[Value]:
            places = [(t // across, t % across) for t in (first, first + 1)]
            number: Index = first * self.tile if self.all_kept else 0
            sums = f.at(self.sums, number, self.lanes.element)
            f.when(
                f.less(first + 1, count),
                lambda: self._grid(item, (z, tap), panel, _Tiles(places, sums)),
                lambda: self._grid(item, (z, tap), panel, _Tiles(places[:1], sums)),
            )
            return []

        def taps_from(tap: Value, _: list[Value]) -> list[Value]:
            f.loop(0, count, lambda first, _: both(first, tap), step=2)
            return []

        f.loop(0, window.geometry.taps[1], taps_from, step=self.part)

    def _grid(
        self, item: Item, first: tuple[tuple[Value, Value], Value], panel: Panel, tiles: _Tiles
    ) -> None:
        """Add up what one of the tiles meets of the taps along z, and of some along y from one on;
        behind the last of these, finish the tiles."""
        f, window, kind, (z, tap) = self.f, self.window, self.lanes.element, first
        (_, height, _), (_, stride, _) = window.geometry.taps, window.geometry.strides
        dilation, loops = window.geometry.dilations[1], loops_of(window, self.target)
        (begin, _), (_, end) = (
            taps(f, (item.y + y) * stride - self.pad[1], height, dilation, self.size[1])
            for y in (tiles.places[-1][0], tiles.places[0][0])
        )
        low, high = f.larger(begin, tap), f.smaller(end, tap + self.part)
        along = window.heights[0] * window.geometry.strides[2] * self.patch.pitch
        above = z[0] * self.patch.steps[0]
        a = [
            f.at(self.room, above + (y * stride + low) * self.patch.steps[1] + x * along, kind)
            for y, x in tiles.places
        ]
        row_of_b = math.prod(loops[2:]) * window.block * self.width
        b = f.at(panel.b, (z[0] * height + low) * row_of_b, kind)
        begun = f.choose(f.less(begin, tap), 1, 0)
        inputs: list[Index] = [*a, b, tiles.sums, begun]
        inputs += [z[1] - z[0], high - low, *loops[2:]]
        f.call(f"grid_{panel.vectors}_{len(tiles.places)}", inputs)

        def finish() -> None:
            for i, place in enumerate(tiles.places):
                at = i * (window.heights[0] * panel.vectors * self.lanes.count)
                self._end(item, panel, place, f.at(tiles.sums, at, kind))

        f.when(f.less(height, tap + (self.part + 1)), finish)

    def _end(self, item: Item, panel: Panel, place: tuple[Value, Value], sums: Value) -> None:
        """Finish the sums of one of the tiles."""
        f, highest = self.f, self.window.heights[0]
        x = item.x + place[1] * highest
        rows = f.smaller(self.out[2] - x, highest)
        where = [panel.left, item.group, item.image, item.z, item.y + place[0], x, panel.column]
        f.call(f"finish_{panel.vectors}{panel.part}", [sums, self.args, rows, *where])
