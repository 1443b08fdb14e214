"""Gradients of filters: C[g, tap, row, column] = epilogue(Σ X[place, tap, row] · Y[place, column]).

The sum runs over all images and places z, y, x of the output; a row is a channel of X, and where
taps along x lie side by side in a patch, one row for each of these and each channel. The work is
cut into blocks of some images by some rows of outputs. An item takes a fixed part of the blocks, a
slice of the channels and some panels of columns: it copies its block of X into a patch and that of
Y into a panel, both on the stack, and adds to sums in scratch memory. How it is cut does not
depend on the number of threads, so neither do the sums. A second kernel adds up the parts.
`filters.emit_sums` and `filters.emit_finish` write the code.

In a diagonal convolution rows are taps along x, and each column has its own channel.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from ..machine import Host, host
from . import pairs
from .amx import SIDE, Size
from .contraction import Pointers
from .epilogue import Epilogue
from .geometry import Geometry, Patch, Shape, Triple
from .halves import computed
from .lanes import Lanes
from .pairs import EXACT, Factors, Way, parts
from .patch import Copied
from .turned import Turned

P = TypeVar("P")
# Places that a block covers: reading and writing sums is a small part of the work, and a panel of Y
# stays in the first-level cache (400 places: up to 8 % slower).
_PLACES = 280
# Most of them along x.
_WIDEST = 256
_PATCH_BYTES = 256 * 1024
MOST_STACK_BYTES = 768 * 1024
# The same where tiles multiply: what two tiles of rows and a panel read of a block stays in the
# first-level cache, while all taps along y pass over it; the turned block in the second.
_TILE_PLACES = 224
_TURNED_BYTES = 448 * 1024
# The height that code for many sizes is cut for: prime, so that no rows are joined.
_TALL = 1009
# Items that are made at least, and for each core of the machine, where parts of so many bytes of
# sums allow it. More would start late and balance well, yet each reads and writes sums of its own:
# 16 take 3 % longer than 8 for 28x28x128.
_ITEMS, _ITEMS_OF_CORE = 8, 2
_SUMS_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True)
class Filter:
    """What is compiled in; see `window.Window`.

    memory: what X and Y hold. channels: of a slice.
    count: rows of a tap along x, heights: of tiles of them, at most two.
    rows, width, images: the block. is_merged: the rows go through the taps along x as well.
    way: how X and Y are multiplied; for tiles a block of X is turned, else `turned` is None.
    """

    dtype: str
    memory: str
    channels: int
    geometry: Geometry
    count: int
    heights: tuple[int, ...]
    vectors: int
    tail: int
    rows: int
    width: int
    images: int
    is_merged: bool
    is_dense: bool
    epilogue: Epilogue
    is_diagonal: bool = False
    way: Way = EXACT
    turned: Turned | None = None

    def lanes(self, target: Host) -> Lanes:
        return self.way.lanes(self.dtype, target)

    def copied(self, target: Host) -> Copied:
        """How X becomes a patch."""
        return Copied.of(self.lanes(target), self.memory, self.way.paired)

    def columns(self, target: Host) -> int:
        """The columns of a panel."""
        return self.vectors * self.lanes(target).count

    def of_any_block(self) -> Filter:
        """What the second kernel depends on: not how the first cuts the places into blocks."""
        ones = (1, 1, 1)
        geometry = replace(self.geometry, strides=ones, dilations=ones)
        read = replace(self, geometry=geometry, rows=1, width=1, images=1, is_dense=False)
        return replace(read, memory=self.dtype, turned=None)

    def patch(self, target: Host) -> Patch:
        """Of one image."""
        pitch = self.columns(target) if self.is_diagonal else self.channels
        return Patch.of(self.geometry, self.rows, self.width, pitch)

    @property
    def patches(self) -> int:
        """The patches in work together."""
        return 1 if self.turned else self.images

    @property
    def size(self) -> Size:
        """Of its tiles, if there are."""
        return Size(self.heights[0], self.turned.block if self.turned else 1)

    def panel_elements(self, target: Host) -> int:
        """A block of Y: [images, rows, places or pairs of them, columns]."""
        places = self.turned.pairs if self.turned else self.width
        return self.images * self.rows * places * self.columns(target)

    def stack_bytes(self, target: Host) -> int:
        """Patches, turned ones, and a panel."""
        turned = self.images * self.turned.elements if self.turned else 0
        held = 2 if self.turned else self.lanes(target).itemsize
        elements = turned + self.panel_elements(target)
        patch = self.patches * self.patch(target).elements * held
        return patch + elements * self.lanes(target).itemsize

    def tile_elements(self, target: Host) -> int:
        return self.heights[0] * self.columns(target)

    @property
    def row_tiles(self) -> int:
        """Tiles of the rows of one tap."""
        return math.ceil(self.count / self.heights[0])

    @property
    def loops(self) -> Triple:
        """Taps that are not rows."""
        z, y, x = self.geometry.taps
        return (z, y, 1 if self.is_merged or self.is_diagonal else x)

    @property
    def tiles(self) -> int:
        """Tiles of a panel."""
        return math.prod(self.loops) * self.row_tiles


# The argument block of the first kernel: these words. `shape` is that of the convolution.
ARGUMENTS = (
    *("x", "y", "sums", "images", "columns", "channels"),
    *("size_z", "size_y", "size_x", "pad_z", "pad_y", "pad_x", "out_z", "out_y", "out_x"),
    *("by_group", "by_image", "by_z", "by_y", "by_x"),
    *("to_group", "to_image", "to_z", "to_y", "to_x"),
    *("groups", "slices", "panels", "chunk", "parts", "blocks"),
)
# That of the second: these, then for each operand and store its address and open strides.
FINISH = ("sums", "columns", "channels", "groups", "slices", "panels", "parts")
# Axes of outputs before the row: group, z, y, x.
BATCH = 4


def way(given: Factors, out: Triple, columns: int, target: Host | None = None) -> Way:
    """How to multiply such factors, if not as they are by tiles: there is no code for vectors of
    pairs of places. Not for diagonal convolutions."""
    rows, (_, block, _) = given.channels * given.geometry.taps[2], chunks(given.geometry, out)
    found = pairs.way(given, (rows, columns, block), target or host())
    return found if found.tiles else EXACT


def plan(
    memory: str,
    geometry: Geometry,
    channels: int,
    shape: Shape,
    epilogue: Epilogue,
    *,
    is_diagonal: bool = False,
    any_size: bool = False,
    way: Way = EXACT,
    target: Host | None = None,
) -> Filter | None:
    """The code for the filter gradient of a convolution; None if a patch takes more stack than
    there is. With `any_size` it is the same for images of many sizes."""
    target = target or host()
    if way.tiles:
        given, cut = Factors(memory, "bfloat16", geometry, channels), _typical(shape)
        return _plan_tiles(given, way, cut if any_size else shape, epilogue, target)
    lanes = Lanes.filling(computed(memory), target.vector_bytes)
    vectors = min(4 if is_diagonal else 2, math.ceil(max(1, shape.columns) / lanes.count))
    panel = vectors * lanes.count
    most = (target.registers - vectors - 1) // vectors
    few = panel if is_diagonal else min(channels, most)
    rows, width, images = _block(geometry, shape, _PATCH_BYTES // lanes.itemsize // few)
    one = Patch.of(geometry, rows, width, 1)
    room = max(most, _PATCH_BYTES // (images * one.elements * lanes.itemsize))
    slices = 1 if is_diagonal else math.ceil(channels / room)
    channels = math.ceil(channels / slices)
    is_whole = not is_diagonal and slices == 1
    beside = geometry.dilations[2] == 1 and one.segments == 1
    is_merged = is_whole and beside and _joins_rows(epilogue, channels)
    taps = geometry.taps[2]
    count = taps if is_diagonal else channels * (taps if is_merged else 1)
    tail = math.ceil(shape.columns % panel / lanes.count)
    tail = vectors if is_diagonal and tail else tail
    heights = _heights(count, min(14, most))
    is_dense = is_whole and shape.source[-1] == channels
    size = 0 if is_diagonal else channels
    tile = lanes.dtype, memory, size, geometry, count, heights, vectors, tail
    found = Filter(*tile, rows, width, images, is_merged, is_dense, epilogue.opened(), is_diagonal)
    return found if found.stack_bytes(target) <= MOST_STACK_BYTES else None


def chunks(geometry: Geometry, out: Triple) -> tuple[int, int, int]:
    """How places become pairs for tiles: pairs of a row, how many are taken at once, and of how
    many rows. Short rows are joined where that leaves none over, so that what tiles take is nothing
    but places."""
    length = min(max(1, out[2]), _WIDEST)
    pairs = math.ceil(length / 2)
    if pairs > SIDE:
        block = parts(pairs)
        return math.ceil(pairs / block) * block, block, 1
    most = 1 if geometry.spreads_rows or geometry.strides[1] > 1 else SIDE // pairs
    joined = max(n for n in range(1, most + 1) if max(1, out[1]) % n == 0)
    return pairs, joined * pairs, joined


def _plan_tiles(
    given: Factors, way: Way, shape: Shape, epilogue: Epilogue, target: Host
) -> Filter | None:
    """`plan` where registers of tiles multiply."""
    geometry, lanes = given.geometry, way.lanes("float32", target)
    columns = max(1, shape.columns)
    vectors = min(2, math.ceil(columns / SIDE))
    row, block, joined = chunks(geometry, shape.out)

    def turned(rows: int, channels: int, taps: int = geometry.taps[2]) -> Turned:
        patch = Patch.of(geometry, rows, 2 * row, channels)
        sizes = geometry.taps[0], taps, channels, patch.rows, row
        return Turned(*sizes, geometry.strides[2], block, joined)

    rows, images = 1, 1
    if not geometry.spreads_rows:
        sizes = 2 * row, joined
        rows, images = _tile_block(shape, sizes, lambda n: turned(n, SIDE).elements)
    room = max(1, _TURNED_BYTES // (images * turned(rows, SIDE).elements * 4 // SIDE))
    slices = math.ceil(given.channels / room)
    channels = math.ceil(given.channels / slices)
    is_merged = slices == 1 and _joins_rows(epilogue, channels)
    taps = geometry.taps[2] if is_merged else 1
    patch = Patch.of(geometry, rows, 2 * row, channels)
    beside = taps if patch.steps[2] == channels else 1
    found = Filter(
        *(lanes.dtype, given.memory, channels, geometry),
        *(channels * taps, (parts(channels * taps),)),
        *(vectors, math.ceil(columns % (vectors * SIDE) / SIDE), rows, 2 * row, images),
        is_merged=is_merged,
        is_dense=slices == 1 and shape.source[-1] == channels,
        epilogue=epilogue.opened(),
        way=way,
        turned=turned(rows, channels * beside, geometry.taps[2] // beside),
    )
    return found if found.stack_bytes(target) <= MOST_STACK_BYTES else None


def _tile_block(
    shape: Shape, sizes: tuple[int, int], elements: Callable[[int], int]
) -> tuple[int, int]:
    """Rows of outputs and images of a block: as many places as repay it; sizes: places of a row,
    and rows that are joined; `elements(rows)` of an image's turned channels fill a tile."""
    height, (width, joined) = max(1, shape.out[1]), sizes
    few = _TURNED_BYTES // 4
    groups = height // joined
    wanted = min(groups, math.ceil(_TILE_PLACES / (width * joined)))
    while wanted > 1 and elements(wanted * joined) > few:
        wanted = math.ceil(wanted / 2)
    rows = joined * math.ceil(groups / math.ceil(groups / wanted))
    if rows < height or width < shape.out[2]:
        return rows, 1
    images = _TILE_PLACES // (rows * width)
    return rows, max(1, min(8, images, few // elements(rows)))


def _typical(shape: Shape) -> Shape:
    """What stands for many sizes of outputs."""
    length = 1 << (max(1, shape.out[2]) - 1).bit_length()
    return replace(shape, out=(1, _TALL, length))


def _heights(count: int, most: int) -> tuple[int, ...]:
    """The heights of tiles that divide so many rows evenly."""
    even = math.ceil(count / math.ceil(count / most))
    return (even, count % even) if count % even else (even,)


def _joins_rows(epilogue: Epilogue, channels: int) -> bool:
    """Whether the step from one tap along x to the next is that over all its channels."""
    layouts = [*epilogue.operands, *(strides for _, strides in epilogue.stores)]
    return all(strides[3] == channels * strides[4] for strides in layouts)


def _block(geometry: Geometry, shape: Shape, most: int) -> Triple:
    """Rows of outputs, places along x of each, and images of a block: about as many places as
    repay it, as long as the patch of one channel has at most `most` elements."""
    height, length = max(1, shape.out[1]), max(1, shape.out[2])

    def elements(rows: int, width: int, images: int) -> int:
        return images * Patch.of(geometry, rows, width, 1).elements

    width = min(1 << (length - 1).bit_length(), _WIDEST)  # few widths, so that few need code
    while width > 1 and elements(1, width, 1) > most:
        width = math.ceil(width / 2)
    rows = 1
    if not geometry.spreads_rows:
        rows = min(height, math.ceil(_PLACES / width))
        while rows > 1 and elements(rows, width, 1) > most:
            rows = math.ceil(rows / 2)
        rows = math.ceil(height / math.ceil(height / rows))
    images = 1
    if rows == height and width >= length:
        images = min(8, math.ceil(_PLACES / (rows * width)))
        images = max(1, min(images, most // elements(rows, width, 1)))
    return rows, width, images


@dataclass(frozen=True)
class Division:
    """How the work is cut, known at run time."""

    groups: int
    slices: int
    panels: int
    chunk: int
    parts: int
    blocks: int  # of a part

    @property
    def items(self) -> int:
        return self.parts * self.groups * self.slices * math.ceil(self.panels / self.chunk)


def divide(c: Filter, shape: Shape, channels: int, target: Host | None = None) -> Division:
    """Parts and chunks for a convolution of so many channels in a group; the same for any number
    of threads on this machine."""
    target = target or host()
    least = max(_ITEMS, _ITEMS_OF_CORE * (os.cpu_count() or 1))
    across = math.ceil(shape.columns / c.columns(target))
    groups, panels = (across, 1) if c.is_diagonal else (shape.groups, across)
    slices = 1 if c.is_diagonal else math.ceil(channels / c.channels)
    blocks = math.ceil(shape.images / c.images) * shape.out[0]
    blocks *= math.ceil(shape.out[1] / c.rows) * math.ceil(shape.out[2] / c.width)
    tiles = groups * slices * panels * c.tiles
    sums = tiles * c.tile_elements(target) * c.lanes(target).itemsize
    wanted = math.ceil(least / (groups * slices))
    parts = max(1, min(wanted, blocks, _SUMS_BYTES // sums))
    of_part = math.ceil(blocks / parts)
    parts = math.ceil(blocks / of_part) if blocks else 1
    chunk = math.ceil(panels / min(panels, math.ceil(wanted / parts)))
    return Division(groups, slices, panels, chunk, parts, of_part)


def scratch_bytes(c: Filter, d: Division, target: Host | None = None) -> int:
    """The size of the sums of all parts."""
    target = target or host()
    tiles = d.parts * d.groups * d.slices * d.panels * c.tiles
    return tiles * c.tile_elements(target) * c.lanes(target).itemsize


def finish_items(c: Filter, d: Division) -> int:
    """The number of work items of the second kernel: tiles."""
    return d.groups * d.slices * d.panels * c.tiles


def arguments(
    shape: Shape, d: Division, channels: int, y: tuple[int, ...], pointers: tuple[P, P, P]
) -> list[P | int]:
    """The first kernel's block: X, Y and the sums; `y` has Y's strides: group, image, z, y, x."""
    return [
        *(*pointers, shape.images, shape.columns, channels),
        *shape.size,
        *shape.padding,
        *shape.out,
        *shape.source,
        *y,
        *(d.groups, d.slices, d.panels, d.chunk, d.parts, d.blocks),
    ]


def finish_arguments(
    shape: Shape, d: Division, rows: int, epilogue: Epilogue, pointers: Pointers[P]
) -> list[P | int]:
    """The second kernel's block; `rows`: channels of a group; `pointers.a` is that of the sums."""
    block: list[P | int] = [
        *(pointers.a, shape.columns, rows, d.groups, d.slices, d.panels, d.parts)
    ]
    return [*block, *epilogue.words((*pointers.operands, *pointers.stores))]
