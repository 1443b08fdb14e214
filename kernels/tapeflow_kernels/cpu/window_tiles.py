"""Convolutions by registers of tiles, whose rows are places as a patch has them."""

from __future__ import annotations

import itertools
import math

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
    Filler(module, window.copied(target), patch, window.is_dense, is_whole=True).emit()
    registers = Registers(window.way.tiles, window.size)
    for vectors, rows in itertools.product({window.vectors, window.tail} - {0}, (1, 2)):
        micro = micro_of(window, vectors, window.heights[0], target)
        steps = micro.a.steps, micro.b.steps
        apart = micro.rows * vectors * SIDE
        grid = Grid(rows, vectors, micro.a_row, window.width(target), *steps, apart)
        emit_grid(module, registers, grid, f"grid_{vectors}_{rows}")
    emit_finishes(module, window, window.lanes(target))


class TileItems(Items):
    """The function that walks the items where registers of tiles sum up: two tiles at a time, which
    lie in one row of outputs or in two."""

    def emit(self) -> None:
        with Registers(self.window.way.tiles, self.window.size).ready(self.f):
            super().emit()

    def _rows(self, item: Item, z: tuple[Value, Value], panel: Panel) -> None:
        f, window = self.f, self.window
        across = f.smaller(ceiling(self.out[2] - item.x, window.heights[0]), window.tiles)
        count = across * f.smaller(self.out[1] - item.y, window.rows)

        def both(first: Value, _: list[Value]) -> list[Value]:
            places = [(t // across, t % across) for t in (first, first + 1)]
            f.when(
                f.less(first + 1, count),
                lambda: self._grid(item, z, panel, places),
                lambda: self._grid(item, z, panel, places[:1]),
            )
            return []

        f.loop(0, count, both, step=2)

    def _grid(
        self,
        item: Item,
        z: tuple[Value, Value],
        panel: Panel,
        places: list[tuple[Value, Value]],
    ) -> None:
        """Tiles at places (row of the item, number in this row): their sums over all taps that one
        of them meets, then their ends."""
        f, window, kind = self.f, self.window, self.lanes.element
        (_, height, _), (_, stride, _) = window.geometry.taps, window.geometry.strides
        dilation, loops = window.geometry.dilations[1], loops_of(window, self.target)
        reach = [
            taps(f, (item.y + y) * stride - self.pad[1], height, dilation, self.size[1])
            for y in (places[-1][0], places[0][0])
        ]
        low, high = reach[0][0], reach[1][1]
        along = window.heights[0] * window.geometry.strides[2] * self.patch.pitch
        above = z[0] * self.patch.steps[0]
        a = [
            f.at(self.room, above + (y * stride + low) * self.patch.steps[1] + x * along, kind)
            for y, x in places
        ]
        row_of_b = math.prod(loops[2:]) * window.block * self.width
        b = f.at(panel.b, (z[0] * height + low) * row_of_b, kind)
        extents: list[Index] = [z[1] - z[0], high - low, *loops[2:]]
        f.call(f"grid_{panel.vectors}_{len(places)}", [*a, b, self.sums, *extents])
        for i, place in enumerate(places):
            self._end(item, panel, place, i)

    def _end(self, item: Item, panel: Panel, place: tuple[Value, Value], index: int) -> None:
        """Finish the sums of one of the tiles."""
        f, highest = self.f, self.window.heights[0]
        x = item.x + place[1] * highest
        rows = f.smaller(self.out[2] - x, highest)
        size = highest * panel.vectors * self.lanes.count
        where = [panel.left, item.group, item.image, item.z, item.y + place[0], x, panel.column]
        sums = f.at(self.sums, index * size, self.lanes.element)
        f.call(f"finish_{panel.vectors}{panel.part}", [sums, self.args, rows, *where])
