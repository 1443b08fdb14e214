"""Sums of filter gradients by vectors: items to blocks, blocks to patches and panels, to tiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..machine import Host
from .filter import ARGUMENTS, Filter
from .halves import Memory
from .ir import Index, Module, Value, ceiling
from .micro import Micro, Walk, emit_micro
from .patch import Filler, taps


def emit_vectors(module: Module, c: Filter, target: Host) -> None:
    """Write what `Sums` calls."""
    Filler(module, c.copied(target), c.patch(target), c.channels * c.is_dense).emit()
    for vectors in sorted({c.vectors, c.tail} - {0}):
        for height in c.heights:
            emit_micro(module, _micro(c, vectors, height, target), f"sums_{vectors}_{height}")
    _emit_panel(module, c, Memory(c.lanes(target), c.memory))


def _micro(c: Filter, vectors: int, height: int, target: Host) -> Micro:
    patch, columns = c.patch(target), c.columns(target)
    row = patch.steps[2] if c.is_diagonal else 1
    _, y, x = c.geometry.strides
    a = (patch.elements, y * patch.steps[1], x * patch.pitch)
    b = (c.rows * c.width * columns, c.width * columns, columns)
    lanes = c.lanes(target)
    present = vectors * lanes.count
    sizes = height, height, present
    return Micro(lanes, *sizes, row, Walk(a), Walk(b), c.is_diagonal, accumulates=True)


def _emit_panel(module: Module, c: Filter, memory: Memory) -> None:
    """`void panel(ptr to, ptr y, i64 left, i64 images, rows, places, i64 by image, y, x)`: a block
    of Y side by side, zero where there are no columns."""
    f = module.internal("panel", ["ptr", "ptr"] + ["i64"] * 7)
    to, y, left, *rest = f.parameters
    extents, strides = rest[:3], rest[3:]
    lanes = memory.lanes
    columns = c.vectors * lanes.count
    steps = (c.rows * c.width * columns, c.width * columns, columns)
    masks = [lanes.first(f, left - v * lanes.count) for v in range(c.vectors)]

    def level(axis: int, to: Value, y: Value) -> None:
        if axis == 3:
            for v, mask in enumerate(masks):
                at = v * lanes.count
                row = memory.load(f, f.at(y, at, memory.element), mask)
                lanes.store(f, row, f.at(to, at, lanes.element))
            return

        def step(index: Value, _: list[Value]) -> list[Value]:
            into = f.at(to, index * steps[axis], lanes.element)
            level(axis + 1, into, f.at(y, index * strides[axis], memory.element))
            return []

        f.loop(0, extents[axis], step)

    level(0, to, y)


class Kernel:
    """A function with its argument block in `word`."""

    def __init__(
        self,
        module: Module,
        c: Filter,
        target: Host,
        name: str,
        words: Sequence[str],
        pointers: int,
    ) -> None:
        """The first `pointers` words are addresses."""
        self.c, self.target, self.lanes = c, target, c.lanes(target)
        self.f = f = module.kernel(name)
        self.start, self.stop, self.args = f.parameters
        self.word = {
            word: f.load("ptr" if i < pointers else "i64", f.at(self.args, i, "i64"), 8)
            for i, word in enumerate(words)
        }
        self.tile = c.tile_elements(target)

    def emit(self) -> None:
        self.f.loop(self.start, self.stop, self._item)

    def _item(self, index: Value, _: list[Value]) -> list[Value]:
        raise NotImplementedError

    def _left(self, group: Value, panel: Value) -> Value:
        """Columns from the first of a panel on."""
        passed = group if self.c.is_diagonal else panel
        return self.word["columns"] - passed * self.c.columns(self.target)

    def _by_width(self, left: Value, body: Callable[[int, str], None]) -> None:
        """`body` with the vectors of a panel, and what the names of its code end in."""
        c = self.c
        if not c.tail:
            body(c.vectors, "")
            return
        is_part = self.f.less(left, c.columns(self.target))
        self.f.when(is_part, lambda: body(c.tail, "_part"), lambda: body(c.vectors, ""))


@dataclass(frozen=True)
class Item:
    """What an item of the first kernel sums up: panels first to last - 1 of a group, for a slice of
    the channels, and where in scratch memory."""

    group: Value
    slice_: Value
    first: Value
    last: Value
    sums: Value


class Sums(Kernel):
    """The first kernel: sums of parts."""

    def __init__(self, module: Module, c: Filter, target: Host, name: str) -> None:
        super().__init__(module, c, target, name, ARGUMENTS, 3)
        f = self.f
        self.size, self.pad, self.out, self.by, self.to = (
            [self.word[f"{kind}_{axis}"] for axis in "zyx"]
            for kind in ("size", "pad", "out", "by", "to")
        )
        self.patch = c.patch(target)
        self.across = [ceiling(self.out[1], c.rows), ceiling(self.out[2], c.width)]
        self.chunks = ceiling(self.word["panels"], self.word["chunk"])
        self.copied = c.copied(target)
        element, held = self.lanes.element, self.copied.held.element
        room = c.patches * self.patch.elements + self.copied.held.lanes.count
        self.room = f.value("ptr", f"alloca [{room} x {held}], align 64")
        self.panel = f.value("ptr", f"alloca [{c.panel_elements(target)} x {element}], align 64")

    def _item(self, index: Value, _: list[Value]) -> list[Value]:
        f, word = self.f, self.word
        chunk, index = index % self.chunks, index // self.chunks
        part = index // word["slices"] // word["groups"]
        first = chunk * word["chunk"]
        last = f.smaller(first + word["chunk"], word["panels"])
        tiles = (index * word["panels"] + first) * self.c.tiles
        sums = f.at(word["sums"], tiles * self.tile, self.lanes.element)
        self._clear(sums, (last - first) * (self.c.tiles * self.tile))
        slice_, group = index % word["slices"], index // word["slices"] % word["groups"]
        item = Item(group, slice_, first, last, sums)
        count = ceiling(word["images"], self.c.images) * self.out[0]
        count = count * self.across[0] * self.across[1]
        start = part * word["blocks"]

        def block(place: Value, _: list[Value]) -> list[Value]:
            self._block(item, place)
            return []

        f.loop(start, f.smaller(start + word["blocks"], count), block)
        return []

    def _clear(self, sums: Value, elements: Value) -> None:
        f, lanes = self.f, self.lanes
        zero = lanes.zero(f)

        def clear(at: Value, _: list[Value]) -> list[Value]:
            lanes.store(f, zero, f.at(sums, at, lanes.element))
            return []

        f.loop(0, elements, clear, step=lanes.count)

    def _block(self, item: Item, place: Value) -> None:
        """Add what the block at `place` has."""
        f, c, word = self.f, self.c, self.word
        parts = []
        for extent in (*self.across[::-1], self.out[0]):
            parts.append(place % extent)
            place = place // extent
        x, y, z = parts[0] * c.width, parts[1] * c.rows, parts[2]
        image = place * c.images
        extents = [
            f.smaller(word["images"] - image, c.images),
            f.smaller(self.out[1] - y, c.rows),
            f.smaller(self.out[2] - x, c.width),
        ]
        start = [
            index * stride - pad
            for index, stride, pad in zip((z, y, x), c.geometry.strides, self.pad, strict=True)
        ]
        self._fill(item, image, extents, start)
        planes = taps(f, start[0], c.geometry.taps[0], c.geometry.dilations[0], self.size[0])
        offset = item.group * word["to_group"] + image * word["to_image"]
        for index, stride in zip((z, y, x), self.to, strict=True):
            offset = offset + index * stride
        element = Memory(self.lanes, c.memory).element
        out = f.at(word["y"], offset, element)

        def panel(index: Value, _: list[Value]) -> list[Value]:
            left = self._left(item.group, index)
            source = f.at(out, index * c.columns(self.target), element)
            strides = [word["to_image"], *self.to[1:]]
            f.call("panel", [self.panel, source, left, *extents, *strides])
            here = f.at(item.sums, (index - item.first) * (c.tiles * self.tile), self.lanes.element)
            self._by_width(left, lambda v, _: self._taps(planes, start[1], extents, here, v))
            return []

        f.loop(item.first, item.last, panel)

    def _source(self, item: Item) -> tuple[Value, Value]:
        """Where the channels of an item begin in X, and how many there are from there on."""
        f, c, word = self.f, self.c, self.word
        passed = item.slice_ * c.channels
        x = f.at(word["x"], item.group * word["by_group"] + passed, self.copied.source.element)
        if c.is_diagonal:
            return x, self._left(item.group, item.group)
        return x, word["channels"] - passed

    def _fill(self, item: Item, image: Value, extents: list[Value], start: list[Value]) -> None:
        """Fill the patches of the images of a block."""
        f = self.f
        x, limit = self._source(item)

        def fill(index: Value, _: list[Value]) -> list[Value]:
            source = f.at(x, (image + index) * self.word["by_image"], self.copied.source.element)
            operands = [source, limit, *start, *self.size, *self.by]
            self._fill_one(index, operands, extents[2])
            return []

        f.loop(0, extents[0], fill)

    def _fill_one(self, index: Value, operands: list[Value], places: Value) -> None:
        """Fill the patch of an image of the block, with so many places in a row."""
        to = self.f.at(self.room, index * self.patch.elements, self.lanes.element)
        self.f.call("fill", [to, *operands])

    def _taps(
        self,
        planes: tuple[Value, Value],
        y: Value,
        extents: list[Value],
        sums: Value,
        vectors: int,
    ) -> None:
        """All taps and tiles of rows of one panel."""

        def plane(z: Value, _: list[Value]) -> list[Value]:
            rows = self.c.loops[1]
            self.f.loop(0, rows, lambda tap, _: self._tap((z, tap), y, extents, sums, vectors))
            return []

        self.f.loop(*planes, plane)

    def _tap(
        self, place: tuple[Value, Value], y: Value, extents: list[Value], sums: Value, vectors: int
    ) -> list[Value]:
        """All tiles of the taps at `place` along z and y."""
        f, c, patch, kind = self.f, self.c, self.patch, self.lanes.element
        (z, tap), (_, stride, _) = place, c.geometry.strides
        low, high = taps(f, y + tap * c.geometry.dilations[1], extents[1], stride, self.size[1])
        at = z * patch.steps[0] + (low * stride + tap) * patch.steps[1]
        a = f.at(self.room, at, kind)
        b = f.at(self.panel, low * (c.width * c.columns(self.target)), kind)
        index = (z * c.loops[1] + tap) * c.loops[2]
        sizes: list[Index] = [extents[0], high - low, extents[2]]

        def tap_x(x: Value, _: list[Value]) -> list[Value]:
            first = (index + x) * c.row_tiles
            self._tiles([f.at(a, x * patch.steps[2], kind), b, sums], first, sizes, vectors)
            return []

        f.loop(0, c.loops[2], tap_x)
        return []

    def _tiles(self, operands: list[Value], first: Value, sizes: list[Index], vectors: int) -> None:
        """The tiles of rows of one tap, of (A, B, sums of a panel), in which `first` is the first
        of them."""
        a, b, sums = operands
        f, c, kind = self.f, self.c, self.lanes.element
        step = self.patch.steps[2] if c.is_diagonal else 1
        whole = c.row_tiles - (len(c.heights) > 1)

        def tile(index: Index, height: int) -> list[Value]:
            here = f.at(sums, (first + index) * self.tile, kind)
            at = f.at(a, index * (c.heights[0] * step), kind)
            f.call(f"sums_{vectors}_{height}", [at, b, here, height, *sizes])
            return []

        f.loop(0, whole, lambda i, _: tile(i, c.heights[0]))
        if len(c.heights) > 1:
            tile(whole, c.heights[1])
