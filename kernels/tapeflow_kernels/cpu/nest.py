"""The code of a contraction: items to tiles, tiles to micro-kernels, the epilogue on each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ..machine import Host, host
from .amx import DEPTH, SHARE, SIDE, Block, Registers, emit_sums
from .contraction import FIRST_EXTENT, TERMS, TOGETHER, Contraction
from .epilogue import Epilogue, offset
from .finish import Finish, Place, emit_finish
from .halves import Memory
from .ir import Index, Module, Value, ceiling
from .micro import Micro, Walk, emit_micro
from .packing import coordinates
from .tile import HEIGHT_STEP, Tile

# Tiles between one that is finished and one whose operands are fetched meanwhile: the update of a
# matrix by its gradient reads three, each row of a tile in a page of its own, where the processor
# fetches nothing by itself. Adam on 64x3136x1024: 7.7 -> 4.8 ms.
_LATER = 4


def emit(c: Contraction, name: str, target: Host | None = None) -> str:
    """The LLVM IR of `void name(i64 start, i64 stop, i64* args)`, see `contraction.arguments`."""
    assert c.pack_b or not c.products, "panels convert: pack B"
    assert c.pack_a or c.as_it_lies or not c.products, "panels convert: pack A"
    assert c.pack_a == c.pack_b or c.as_it_lies or not c.memory, "panels convert: pack both or none"
    assert c.pack_b or c.b[-1] == 1 or c.n == 1, "B's columns do not lie side by side: pack it"
    target = target or host()
    module = Module(target)
    tile = c.tile(target)
    for columns in tile.widths:
        for height in tile.heights:
            _emit_sums(module, c, tile, (height, columns))
        if not c.is_open:
            _emit_finish(module, c, tile, columns)
    if c.is_open:
        emit_finish(
            *(module, "finish", tile.lanes, c.epilogue),
            vectors=tile.vectors,
            first=FIRST_EXTENT + c.loops + c.batch + 1,
            axes=c.batch + 2,
        )
    (_TileNest if c.tiles else _Nest)(module, c, tile, name).emit()
    return module.text()


def _emit_sums(module: Module, c: Contraction, tile: Tile, sizes: tuple[int, int]) -> None:
    """Write what sums up a tile of so many rows and columns."""
    height, columns = sizes
    micro, name = _micro(c, tile, height, columns), f"sums_{columns}_{height}"
    if c.tiles:
        pitches = tile.a_pitch, tile.width
        a_row = 0 if c.pack_a else c.a[c.batch] // 2
        block = Block(height, micro.vectors * SIDE, *pitches, TERMS[c.products], a_row, c.by_rows)
        emit_sums(module, Registers(c.tiles), block, name)
    else:
        emit_micro(module, micro, name)


def _micro(c: Contraction, tile: Tile, height: int, columns: int) -> Micro:
    if c.products:
        steps = (0,) * c.loops
        a, b = Walk(steps, tile.a_pitch), Walk(steps, tile.width)
    else:
        a = Walk(c.a[c.batch + 1 :], tile.a_pitch if c.pack_a else 0)
        b = Walk(c.b[c.batch : -1], tile.width if c.pack_b else 0)
    present = max(1, height - HEIGHT_STEP + 1)
    a_row = 1 if c.pack_a else c.a[c.batch]
    sizes = tile.lanes, height, present, columns, a_row
    dtype = "" if c.pack_b else c.memory
    return Micro(*sizes, a, b, pairs=c.products > 0, dtype=dtype, fetches=c.fetches_rows)


@dataclass(frozen=True)
class _Place:
    """Where a tile is, and the tile of its group that comes next."""

    batch: list[Index]
    tile: Value
    next_tile: Value
    in_group: Value
    row: Value
    rows: Value
    panel: Value


class _Nest:
    """The function that walks the items; its argument block is loaded into fields."""

    def __init__(self, module: Module, c: Contraction, tile: Tile, name: str) -> None:
        self.c, self.tile = c, tile
        self.f = f = module.kernel(name)
        self.start, self.stop, self.arguments = f.parameters
        self.a, self.b, self.scratch = (self._argument("ptr", i) for i in range(3))
        self.m, self.rows, self.tiles, self.group, self.block = (
            self._argument("i64", 3 + i) for i in range(5)
        )
        self.reduce = [self._argument("i64", FIRST_EXTENT + i) for i in range(c.loops)]
        first = FIRST_EXTENT + c.loops
        self.batch = [self._argument("i64", first + i) for i in range(c.batch)]
        if c.is_open:
            self.n = self._argument("i64", first + c.batch)
            self.panels: Index = ceiling(self.n, tile.width)
        else:
            self.panels = tile.panels
        self.sums = self._room(TOGETHER if c.tiles else 1)

    def emit(self) -> None:
        f = self.f

        def block(k: Value, _: list[Value]) -> list[Value]:
            self._block(k)
            return []

        # A reduction over nothing still has one block, so that its sums are finished.
        f.loop(0, f.larger(self.reduce[0], 1), block, step=self.block)

    def _block(self, k: Value) -> None:
        """What all items add up in the block of the reduction that starts at k."""
        self.f.loop(self.start, self.stop, lambda item, _: self._item(item, k))

    def _room(self, tiles: int) -> Value:
        """Memory for the sums of so many tiles, while this function runs."""
        room = f"[{tiles * self.tile.rows * self.tile.width} x {self.tile.lanes.element}]"
        return self.f.value("ptr", f"alloca {room}, align 64")

    def _argument(self, kind: str, index: int) -> Value:
        return self.f.load(kind, self.f.at(self.arguments, index, "i64"), 8)

    def _item(self, item: Value, k: Value) -> list[Value]:
        f, place = self.f, self._place(item)
        length = f.smaller(self.reduce[0] - k, self.block)
        a, b = self._operands(place, k)
        operands = [a, b, self.sums, place.rows, length, *self.reduce[1:]]
        if self.c.fetches_rows:
            following = replace(place, tile=place.next_tile, row=place.next_tile * self.rows)
            operands.append(self._operands(following, k)[0])
        self._sum(place, operands)
        last = f.less(self.reduce[0], k + self.block + 1)
        self._add_partial(item, k, last)
        f.when(last, lambda: self._finish(item, place, self.sums))
        return []

    def _operands(self, place: _Place, k: Value) -> list[Value]:
        """Where A and B start."""
        c, f, lanes = self.c, self.f, self.tile.lanes
        held = Memory(lanes, c.memory or c.dtype).element
        a = f.at(self.a, self._offset_a(place, k), lanes.element if c.pack_a else held)
        return [a, f.at(self.b, self._offset_b(place, k), lanes.element if c.pack_b else held)]

    def _finish(self, item: Value, place: _Place, sums: Value) -> None:
        f, column = self.f, place.panel * self.tile.width
        if self.c.is_open:
            left = self.n - column
            where = [place.rows, left, *place.batch, place.row, column]
            inputs: list[Index] = [sums, self.arguments, *where]
            f.when(
                f.less(left, self.tile.width),
                lambda: f.call("finish_part", inputs),
                lambda: f.call("finish", inputs),
            )
            return
        finish = [self.arguments, place.row, place.rows, column, *place.batch]
        if _matrices(self.c.epilogue):
            later = self._place(item + _LATER)
            finish += [later.row, later.panel * self.tile.width, *later.batch]

        def of(columns: int) -> None:
            f.call(f"finish_{columns}", [self._first_sum(place, sums, columns), *finish])

        self._by_width(place.panel, of)

    def _first_sum(self, place: _Place, sums: Value, columns: int) -> Value:
        """Where the sums of a tile begin, in a panel of so many columns."""
        return sums

    def _place(self, item: Value) -> _Place:
        """Decode an item: groups of tiles walk all panels, so that their rows of A stay cached."""
        f, panels = self.f, self.panels
        in_batch = item % (self.tiles * panels)
        batch = coordinates(item // (self.tiles * panels), self.batch)
        place = in_batch % (self.group * panels)
        first = in_batch // (self.group * panels) * self.group
        size = f.smaller(self.tiles - first, self.group)
        in_group, panel = place % size, place // size
        tile = first + in_group
        next_tile = f.choose(f.less(in_group + 1, size), tile + 1, first)
        row = tile * self.rows
        rows = f.smaller(self.m - row, self.rows)
        return _Place(batch, tile, next_tile, in_group, row, rows, panel)

    def _offset_a(self, place: _Place, k: Value) -> Index:
        c = self.c
        if c.pack_a:
            panel = place.tile + self.tiles * self._copy(c.a, place)
            return self._packed(panel, k, self.c.step_a(self.tile))
        return offset(c.a[: c.batch + 2], [*place.batch, place.row, k])

    def _offset_b(self, place: _Place, k: Value) -> Index:
        c = self.c
        if c.pack_b:
            panel = place.panel + self._copy(c.b, place) * self.panels
            return self._packed(panel, k, self.c.step_b(self.tile))
        column = place.panel * self.tile.width
        return offset((*c.b[: c.batch + 1], 1), [*place.batch, k, column])

    def _copy(self, strides: tuple[int, ...], place: _Place) -> Index:
        """Which copy of a packed operand a batch index has: axes of stride 0 share one."""
        copy: Index = 0
        for axis, index in enumerate(place.batch):
            if strides[axis]:
                copy = self.batch[axis] * copy + index
        return copy

    def _packed(self, panel: Value, k: Value, pitch: int) -> Index:
        steps = panel * self.reduce[0] + k
        for extent in self.reduce[1:]:
            steps = steps * extent
        return steps * pitch

    def _by_width(self, panel: Value, body: Callable[[int], None]) -> None:
        """`body` with the columns of this panel, a constant."""
        widths = self.tile.widths
        if len(widths) == 1:
            body(widths[0])
            return
        is_full = self.f.less(panel, self.tile.n // self.tile.width)
        self.f.when(is_full, lambda: body(widths[0]), lambda: body(widths[1]))

    def _sum(self, place: _Place, operands: Sequence[Index]) -> None:
        """Call the micro-kernel of this panel and of the least height that has this many rows."""
        shorter = self.f.integer(self.tile.rows) - place.rows

        def of(columns: int, height: int) -> Callable[[], None]:
            return lambda: self.f.call(f"sums_{columns}_{height}", operands)

        def by_height(columns: int) -> None:
            cases = {i: of(columns, height) for i, height in enumerate(self.tile.heights)}
            self.f.switch(shorter // self.tile.step, cases)

        self._by_width(place.panel, by_height)

    def _add_partial(self, item: Value, k: Value, last: Value) -> None:
        """Add the sums of earlier blocks; keep the result unless this block is the last."""
        f, lanes = self.f, self.tile.lanes
        partial = f.at(self.scratch, item * (self.tile.rows * self.tile.width), lanes.element)

        def each(body: Callable[[Value, Value], None]) -> None:
            def vector(i: Value, _: list[Value]) -> list[Value]:
                at = i * lanes.count
                body(f.at(self.sums, at, lanes.element), f.at(partial, at, lanes.element))
                return []

            f.loop(0, self.tile.rows * self.tile.vectors, vector)

        def add(sums: Value, earlier: Value) -> None:
            lanes.store(f, lanes.add(f, lanes.load(f, sums), lanes.load(f, earlier)), sums)

        def keep(sums: Value, later: Value) -> None:
            lanes.store(f, lanes.load(f, sums), later)

        f.when(f.less(0, k), lambda: each(add))
        f.when(last, lambda: None, lambda: each(keep))


class _TileNest(_Nest):
    """The same for tile registers: few tiles at a time pass over a part of a panel of B, so that
    that part and the sums of all stay in the nearest caches."""

    def emit(self) -> None:
        with Registers(self.c.tiles).ready(self.f):
            super().emit()

    def _block(self, k: Value) -> None:
        f = self.f
        stop_k = f.smaller(self.reduce[0], k + self.block)

        def together(first: Value, _: list[Value]) -> list[Value]:
            stop = f.smaller(self.stop, first + TOGETHER)

            def part(at: Value, _: list[Value]) -> list[Value]:
                ends = f.smaller(stop_k, at + self.c.near_steps(self.tile))
                f.loop(first, stop, lambda item, _: self._part(item, item - first, (at, ends)))
                return []

            # A reduction over nothing still has one part, so that its sums are finished.
            f.loop(k, f.larger(stop_k, 1), part, step=self.c.near_steps(self.tile))
            return []

        f.loop(self.start, self.stop, together, step=TOGETHER)

    def _part(self, item: Value, index: Value, steps: tuple[Value, Value]) -> list[Value]:
        """Add up the steps from the first on to the second."""
        f, tile, place, (k, stop) = self.f, self.tile, self._place(item), steps
        is_split = f.less(self.block, self.reduce[0])
        choice = f"i1 {is_split.name}, ptr {self.scratch.name}, ptr {self.sums.name}"
        kept = f.value("ptr", f"select {choice}")
        number = f.choose(is_split, item, index)
        sums = f.at(kept, number * (tile.rows * tile.width), tile.lanes.element)
        a, b = self._operands(place, k)
        step, length = self.c.step_b(tile), stop - k
        ahead = self.reduce[0] * step + place.in_group * length * (step // SHARE)
        self._sum(place, [a, b, sums, f.at(b, ahead, tile.lanes.element), length, k])
        last = f.less(self.reduce[0], stop + 1)
        f.when(last, lambda: self._finish(item, place, sums))
        return []

    def _first_sum(self, place: _Place, sums: Value, columns: int) -> Value:
        if self.c.pack_a:
            return sums
        width = -(-columns // SIDE) * SIDE
        skipped = (place.row - self._first_row(place)) * width
        return self.f.at(sums, skipped, self.tile.lanes.element)

    def _offset_a(self, place: _Place, k: Value) -> Index:
        if self.c.pack_a:
            return super()._offset_a(place, k)
        return offset(self.c.a, [*place.batch, self._first_row(place), k * DEPTH])

    def _first_row(self, place: _Place) -> Value:
        """The first row that the tiles read of an A without panels: none behind the last one."""
        f, (most, least) = self.f, self.tile.heights
        height = f.choose(f.less(least, place.rows), most, least)
        return f.smaller(place.row, self.m - height)


def _emit_finish(module: Module, c: Contraction, tile: Tile, columns: int) -> None:
    """Write `void finish_{columns}(ptr sums, ptr args, i64 row, rows, column, batch…)`; where there
    are matrices to fetch, row, column and batch of a later tile follow."""
    matrices = _matrices(c.epilogue)
    count = 3 + c.batch + ((2 + c.batch) if matrices else 0)
    f = module.internal(f"finish_{columns}", ["ptr", "ptr"] + ["i64"] * count)
    sums, args, row, rows, column, *rest = f.parameters
    here = [*rest[: c.batch], row, column]
    first = FIRST_EXTENT + c.loops + c.batch
    places, later = [], {}
    for i, (memory, strides) in enumerate(c.epilogue.layouts(tile.lanes)):
        pointer = f.load("ptr", f.at(args, first + i, "i64"), 8)
        origin = f.at(pointer, offset(strides, here), memory.element)
        places.append(Place(memory, origin, strides[-2], strides[-1]))
        if i in matrices:
            row, column, *batch = rest[c.batch :]
            later[i] = f.at(pointer, offset(strides, [*batch, row, column]), memory.element)
    micro = _micro(c, tile, 1, columns)
    active = [micro.active(v) for v in range(micro.vectors)]
    Finish(f, tile.lanes, c.epilogue, sums, places, active, later).emit(rows)


def _matrices(epilogue: Epilogue) -> list[int]:
    """The operands of which each row and column has an element of its own."""
    return [i for i, (*_, row, column) in enumerate(epilogue.operands) if row and column]
