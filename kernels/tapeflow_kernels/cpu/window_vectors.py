"""Convolutions by vectors: items to patches, patches to tiles, the epilogue on each row."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

from ..machine import Host
from . import depthwise
from .finish import Finish, emit_finish, read_places
from .ir import Index, Module, Value, ceiling
from .lanes import Lanes
from .micro import Micro, Walk, emit_micro, summed
from .patch import Filler, taps
from .window import ARGUMENTS, BATCH, Window

# Vector instructions that may follow the sums of a tile, unrolled: more would take long to compile.
_HELD = 200


def emit_vectors(module: Module, window: Window, target: Host) -> None:
    """Write what `Items` calls: tiles of all widths and heights."""
    Filler(module, window.copied(target), window.patch(target), window.dense(target)).emit()
    lanes, held = window.lanes(target), _held(window)
    for vectors, height in itertools.product({window.vectors, window.tail} - {0}, window.heights):
        micro = micro_of(window, vectors, height, target)
        if height in held:
            _emit_tile(module, window, micro, f"tile_{vectors}_{height}", "")
            _emit_tile(module, window, micro, f"tile_{vectors}_{height}", "_part")
        if height not in held or not window.is_exact:
            emit_micro(module, micro, f"sums_{vectors}_{height}")
    if not (held and window.is_exact):
        emit_finishes(module, window, lanes)


def emit_finishes(module: Module, window: Window, lanes: Lanes) -> None:
    for vectors in {window.vectors, window.tail} - {0}:
        emit_finish(
            *(module, f"finish_{vectors}", lanes, window.epilogue),
            vectors=vectors,
            first=len(ARGUMENTS),
            axes=BATCH + 2,
        )


def _held(window: Window) -> tuple[int, ...]:
    """Heights of tiles that are finished from registers: of short epilogues, and only where all of
    their rows exist."""
    size = (1 + len(window.epilogue.instructions)) * window.heights[0] * window.vectors
    if size > _HELD and not window.is_unrolled:
        return ()
    return window.heights if window.is_exact else window.heights[:1]


def _emit_tile(module: Module, window: Window, micro: Micro, name: str, part: str) -> None:
    """Write `void {name}{part}(ptr a, ptr b, ptr args, i64 left, i64 indices…, i64 extents…)`: the
    sums of a tile with all its rows, finished in registers."""
    kinds = ["ptr"] * 3 + ["i64"] * (1 + BATCH + 2 + len(micro.a.steps))
    f = module.internal(name + part, kinds)
    a, b, args, left, *rest = f.parameters
    indices, extents = rest[: BATCH + 2], rest[BATCH + 2 :]
    lanes = micro.lanes
    if window.is_unrolled:
        sums = depthwise.summed(f, micro, (a, b), extents, window.geometry.taps[2])
    else:
        sums = summed(f, micro, (a, b), micro.rows, extents)
    places = read_places(f, lanes, window.epilogue, f.at(args, len(ARGUMENTS), "i64"), indices)
    active: list[int | Value] = [
        lanes.first(f, left - v * lanes.count) if part else lanes.count
        for v in range(micro.vectors)
    ]
    Finish(f, lanes, window.epilogue, None, places, active).emit_held(sums)


def _is_merged(window: Window, target: Host) -> bool:
    """Whether the taps along x and the channels are one loop: they lie side by side."""
    return not window.is_diagonal and window.patch(target).steps[2] == window.pitch


def micro_of(window: Window, vectors: int, height: int, target: Host) -> Micro:
    patch, width = window.patch(target), window.width(target)
    extents = loops_of(window, target)
    a = patch.steps if window.is_diagonal else (*patch.steps, window.block)
    a = (*patch.steps[:2], window.block) if _is_merged(window, target) else a
    b = tuple(window.block * width * math.prod(extents[i + 1 :]) for i in range(len(extents)))
    columns = vectors * window.lanes(target).count
    row = window.geometry.strides[2] * patch.pitch
    walks = Walk(a), Walk(b)
    return Micro(
        *(window.lanes(target), height, height, columns, row, *walks),
        is_diagonal=window.is_diagonal,
        pairs=window.way.paired,
    )


def loops_of(window: Window, target: Host) -> list[int]:
    """The extents of the reduction loops where nothing lies outside X; tiles take blocks."""
    z, y, x = window.geometry.taps
    if window.is_diagonal:
        return [z, y, x]
    if _is_merged(window, target):
        return [z, y, x * window.pitch // window.block]
    return [z, y, x, window.pitch // window.block]


@dataclass(frozen=True)
class Item:
    """Where an item is: its group, image, z, first y and x, and its range of panels."""

    group: Value
    image: Value
    z: Value
    y: Value
    x: Value
    panels: tuple[Value, Value]


@dataclass(frozen=True)
class Panel:
    """A panel of columns: where its filters are, its first column, how many columns there are from
    that on, and what the names of its code contain: vectors, and `_part` if some are missing."""

    b: Value
    column: Value
    left: Value
    vectors: int
    part: str


@dataclass(frozen=True)
class _Row:
    """A row of outputs: its y, where its windows and their filters begin, and the extents of the
    reduction loops."""

    y: Value
    a: Value
    b: Value
    extents: list[Index]


@dataclass(frozen=True)
class _Tile:
    """A tile as arguments of its code: A and B, its rows, columns left and indices, extents."""

    inputs: list[Value]
    rows: Value
    where: list[Value]
    extents: list[Index]


class Items:
    """The function that walks the items."""

    def __init__(self, module: Module, window: Window, target: Host, name: str) -> None:
        self.window, self.target = window, target
        self.lanes, self.patch = window.lanes(target), window.patch(target)
        self.width = window.width(target)
        self.f = f = module.kernel(name)
        self.start, self.stop, self.args = f.parameters
        words = {
            word: f.load("ptr" if i < 2 else "i64", f.at(self.args, i, "i64"), 8)
            for i, word in enumerate(ARGUMENTS)
        }
        self.word = words
        self.size, self.pad, self.out, self.by = (
            [words[f"{kind}_{axis}"] for axis in "zyx"] for kind in ("size", "pad", "out", "by")
        )
        rows, positions = window.rows, window.positions
        self.across = [ceiling(self.out[1], rows), ceiling(self.out[2], positions)]
        self.panels = f.integer(1) if window.is_diagonal else ceiling(words["columns"], self.width)
        self.tile = max(window.heights) * window.vectors * self.lanes.count
        room = self.tile * (window.kept(target) if window.way.tiles else 1)
        self.sums = f.value("ptr", f"alloca [{room} x {self.lanes.element}], align 64")
        size = self.patch.elements + self.lanes.count
        self.room = f.value("ptr", f"alloca [{size} x {self.lanes.element}], align 64")

    def emit(self) -> None:
        self.f.loop(self.start, self.stop, self._item)

    def _item(self, index: Value, _: list[Value]) -> list[Value]:
        item = self._decode(index)
        first = self._fill(item)
        geometry = self.window.geometry
        z = taps(self.f, first[0], geometry.taps[0], geometry.dilations[0], self.size[0])

        def panel(index: Value, _: list[Value]) -> list[Value]:
            self._panel(item, index, z)
            return []

        self.f.loop(*item.panels, panel)
        return []

    def _decode(self, index: Value) -> Item:
        f, parts = self.f, []
        for extent in (*self.across[::-1], self.out[0], self.word["images"], self.word["groups"]):
            parts.append(index % extent)
            index = index // extent
        x, y, z, image, group = parts
        start = index * self.word["chunk"]
        stop = f.smaller(start + self.word["chunk"], self.panels)
        window = self.window
        return Item(group, image, z, y * window.rows, x * window.positions, (start, stop))

    def _fill(self, item: Item) -> list[Value]:
        """Fill the patch; gives where in X it starts."""
        f, strides = self.f, self.window.geometry.strides
        first = [
            index * stride - pad
            for index, stride, pad in zip((item.z, item.y, item.x), strides, self.pad, strict=True)
        ]
        offset = item.group * self.word["by_group"] + item.image * self.word["by_image"]
        x = f.at(self.word["x"], offset, self.window.copied(self.target).source.element)
        limit = (
            self.word["columns"] - item.group * self.width
            if self.window.is_diagonal
            else f.integer(self.window.channels)
        )
        f.call("fill", [self.room, x, limit, *first, *self.size, *self.by])
        return first

    def _panel(self, item: Item, panel: Value, z: tuple[Value, Value]) -> None:
        f, window = self.f, self.window
        column = panel * self.width
        index = item.group if window.is_diagonal else item.group * self.panels + panel
        steps = math.prod(loops_of(window, self.target)) * window.block
        b = f.at(self.word["panels"], index * (steps * self.width), self.lanes.element)
        passed = item.group * self.width if window.is_diagonal else column
        left = self.word["columns"] - passed

        def tiles(vectors: int, part: str = "") -> Callable[[], None]:
            return lambda: self._rows(item, z, Panel(b, column, left, vectors, part))

        whole = tiles(window.vectors)
        if window.tail:
            f.when(f.less(left, self.width), tiles(window.tail, "_part"), whole)
        else:
            whole()

    def _rows(self, item: Item, z: tuple[Value, Value], panel: Panel) -> None:
        """All tiles of one panel; `z` is the range of taps along z that meet X."""
        f, window, kind = self.f, self.window, self.lanes.element
        (_, height, _), (_, stride, _) = window.geometry.taps, window.geometry.strides
        loops = loops_of(window, self.target)
        row_of_b = math.prod(loops[2:]) * window.block * self.width

        def row(index: Value, _: list[Value]) -> list[Value]:
            y = item.y + index
            first = y * stride - self.pad[1]
            low, high = taps(f, first, height, window.geometry.dilations[1], self.size[1])
            at = z[0] * self.patch.steps[0]
            at = at + (index * stride + low) * self.patch.steps[1]
            b_at = (z[0] * height + low) * row_of_b
            extents: list[Index] = [z[1] - z[0], high - low, *loops[2:]]
            here = _Row(y, f.at(self.room, at, kind), f.at(panel.b, b_at, kind), extents)
            f.loop(0, tiles, lambda t, _: self._tile(item, panel, here, t))
            return []

        rest = self.out[2] - item.x
        tiles = f.smaller(ceiling(rest, window.heights[0]), window.tiles)
        f.loop(0, f.smaller(self.out[1] - item.y, window.rows), row)

    def _tile(self, item: Item, panel: Panel, row: _Row, index: Value) -> list[Value]:
        """The tile at `index` in a row, by the code of the least height that has its rows."""
        f, window = self.f, self.window
        highest = window.heights[0]
        x = item.x + index * highest
        rows = f.smaller(self.out[2] - x, highest)
        along = index * (highest * window.geometry.strides[2] * self.patch.pitch)
        inputs = [f.at(row.a, along, self.lanes.element), row.b]
        where = [panel.left, item.group, item.image, item.z, row.y, x, panel.column]
        tile = _Tile(inputs, rows, where, row.extents)

        def choose(heights: tuple[int, ...]) -> None:
            def call() -> None:
                self._call(heights[0], panel, tile)

            if len(heights) == 1:
                call()
            else:
                f.when(f.less(rows, heights[1] + 1), lambda: choose(heights[1:]), call)

        choose(window.heights)
        return []

    def _call(self, height: int, panel: Panel, tile: _Tile) -> None:
        """Call the code of a tile: finished in registers, or through memory."""
        f, name = self.f, f"{panel.vectors}_{height}"

        def through_memory() -> None:
            f.call(f"sums_{name}", [*tile.inputs, self.sums, tile.rows, *tile.extents])
            finish = f"finish_{panel.vectors}{panel.part}"
            f.call(finish, [self.sums, self.args, tile.rows, *tile.where])

        def held() -> None:
            operands = [*tile.inputs, self.args, *tile.where, *tile.extents]
            f.call(f"tile_{name}{panel.part}", operands)

        if height not in _held(self.window):
            through_memory()
        elif self.window.is_exact:
            held()
        else:
            f.when(f.less(tile.rows, height), through_memory, held)
