"""Convolutions: C[g, n, z, y, x, column] = epilogue(Σ X[g, n, window of z, y, x] · B[g, window]).

Three spatial axes z, y, x, of which any may have extent 1. Channels lie side by side in X. One item
of work is some rows of one image by some panels of columns: its part of X is first copied into a
patch on the stack, which adds the zeros of the padding and stays in the cache while all panels of
the item pass over it; so no padded copy of X is ever made. B is read from the panels of
`packing_b`. Extents, padding and strides in memory are arguments: what is compiled in is what the
innermost loops are made of. `windows.emit` writes the code.

In a diagonal convolution (depthwise) each column has one channel of its own: a group is then a
panel of columns, and its channels are as many.
"""

from __future__ import annotations

import math
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
from .packing import Packing
from .pairs import EXACT, Factors, Way, pairs_of, parts
from .patch import Copied

P = TypeVar("P")
# Axes of outputs and operands before the row x and the column: group, image, z, y.
BATCH = 4
# A patch stays in the second-level cache beside a panel of B.
_PATCH_BYTES = 160 * 1024
# Stack that a thread gives to a patch at most.
MOST_PATCH_BYTES = 512 * 1024
# Panels of B that items walk before the next panels are begun: the rest waits in memory.
_CHUNK_BYTES = 2560 * 1024
# What of a panel of B stays in the first-level cache.
_NEAR_BYTES = 40 * 1024
# Positions that repay the reading of B's panels; of tiles, those that repay the rows of X which
# items copy both: 8 of 224x224x3 by 7x7x64 s2 2.87 -> 2.41 ms, more would leave few items.
_POSITIONS = 200
_POSITIONS_OF_TILES = 400
# Longest row of outputs whose tiles have just the heights that it needs.
_EXACT = 64
# Outputs that code for images of all sizes is cut for.
_TYPICAL = (1, 4, 56)
# Multiply-adds that a core has in flight, and that it begins at once; loads likewise.
_IN_FLIGHT = 8


@dataclass(frozen=True)
class Window:
    """What is compiled in.

    dtype: "float32" or "float64", in which sums are formed and the epilogue computes.
    memory: what X and B hold, that or "bfloat16" or "float16".
    channels: of a group (diagonal: not given, as many as columns).
    pitch: what of a patch these take, side by side: numbers, or pairs.
    heights: numbers of positions along x that have code, the most first.
    vectors, tail: of columns, in a panel and in the last one of a group if it is narrower, else 0;
        in a diagonal convolution all panels have as many.
    is_exact: every tile has one of these heights.
    rows, tiles: an item covers so many rows y by so many tiles of heights[0] positions.
    is_dense: neighbours along x are neighbours in X's memory, as with one group.
    epilogue: strides are those of group, image, z, y, x, column; most are OPEN.
    is_unrolled: a diagonal convolution whose filters of one row fit into registers.
    way: how X and B are multiplied. block: what tiles take along the reduction at once, else 1.
    """

    dtype: str
    memory: str
    channels: int
    pitch: int
    geometry: Geometry
    heights: tuple[int, ...]
    vectors: int
    tail: int
    is_exact: bool
    rows: int
    tiles: int
    is_dense: bool
    epilogue: Epilogue
    is_diagonal: bool = False
    is_unrolled: bool = False
    way: Way = EXACT
    block: int = 1

    def lanes(self, target: Host) -> Lanes:
        return self.way.lanes(self.dtype, target)

    def copied(self, target: Host) -> Copied:
        """How X becomes a patch."""
        numbers = 2 if self.way.paired else 1
        return Copied.of(self.lanes(target), self.memory, self.way.paired, numbers)

    def width(self, target: Host) -> int:
        """The columns of a panel."""
        return self.vectors * self.lanes(target).count

    def patch(self, target: Host) -> Patch:
        pitch = self.width(target) if self.is_diagonal else self.pitch
        return Patch.of(self.geometry, self.rows, self.positions, pitch)

    def dense(self, target: Host) -> int:
        """Numbers of X from one place along x to the next, where these are neighbours; else 0."""
        return self.is_dense * (self.channels or self.width(target))

    def part(self, target: Host) -> int:
        """The taps along y that all tiles of an item sum up before the next: those of which a panel
        of B stays near, where that holds for one."""
        z, y, x = self.geometry.taps
        row = z * x * self.pitch * self.width(target) * self.lanes(target).itemsize
        return min(y, _NEAR_BYTES // max(1, row)) or y

    def kept(self, target: Host) -> int:
        """Tiles of registers whose sums are in work: two, or all of an item."""
        is_whole = self.part(target) == self.geometry.taps[1]
        return 2 if is_whole else math.ceil(self.rows * self.tiles / 2) * 2

    @property
    def size(self) -> Size:
        """Of its tiles, if there are."""
        return Size(self.heights[0], self.block)

    @property
    def positions(self) -> int:
        """Positions along x of an item."""
        return self.tiles * self.heights[0]


# The argument block: these words, then for each operand and store its address and the strides that
# are arguments.
ARGUMENTS = (
    *("x", "panels", "images", "columns", "chunk"),
    *("size_z", "size_y", "size_x", "pad_z", "pad_y", "pad_x", "out_z", "out_y", "out_x"),
    *("by_group", "by_image", "by_z", "by_y", "by_x", "groups"),
)


def way(given: Factors, out: Triple, columns: int, target: Host | None = None) -> Way:
    """How to multiply such factors; not for diagonal convolutions."""
    _, block = pairs_of(given.channels, given.geometry.taps[2])
    return pairs.way(given, (parts(max(1, out[2])), columns, block), target or host())


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
) -> Window | None:
    """The code for a convolution; None if a patch takes more stack than there is. With `any_size`
    it is the same for images of all sizes."""
    taps = geometry.taps[2]
    target = target or host()
    lanes = way.lanes(computed(memory), target)
    is_unrolled = is_diagonal and taps <= target.registers - 6 and not any_size
    cut = replace(shape, out=_TYPICAL) if any_size else shape
    if is_unrolled:
        vectors, heights = _tall(lanes, shape, target.registers - taps - 1)
    else:
        tile = _square if way.tiles else _any_tile if any_size else _tile
        vectors, heights = tile(lanes, cut, target)
    width = vectors * lanes.count
    rest = math.ceil(shape.columns % width / lanes.count)
    pitch = width if is_diagonal else pairs_of(channels, 1)[0] if way.paired else channels
    rows, tiles = _block(lanes, geometry, cut.out, (heights[0], pitch), way)
    window = Window(
        *(lanes.dtype, memory, *((0, 0) if is_diagonal else (channels, pitch)), geometry),
        *(heights, vectors),
        vectors if is_diagonal and rest else rest,
        is_unrolled or (shape.out[2] <= _EXACT and not any_size),
        *(rows, tiles),
        _are_neighbours(shape, pitch if is_diagonal else channels, is_diagonal),
        epilogue.opened(), is_diagonal=is_diagonal, is_unrolled=is_unrolled, way=way,
    )  # fmt: skip
    if way.tiles:
        beside = taps if window.patch(target).steps[2] == pitch else 1
        window = replace(window, block=pairs_of(channels, beside)[1])
    stack = window.patch(target).elements * lanes.itemsize
    return window if stack <= MOST_PATCH_BYTES else None


def _are_neighbours(shape: Shape, numbers: int, is_diagonal: bool) -> bool:
    """Whether places along x, all of whose numbers an item reads, are side by side in X."""
    return shape.source[-1] == numbers and (numbers == shape.columns or not is_diagonal)


def _square(lanes: Lanes, shape: Shape, target: Host) -> tuple[int, tuple[int, ...]]:
    """The tile of two by two registers of tiles."""
    length = max(1, shape.out[2])
    height = SIDE if length > _EXACT else parts(length)
    return min(2, max(1, math.ceil(shape.columns / lanes.count))), (height,)


def _any_tile(lanes: Lanes, shape: Shape, target: Host) -> tuple[int, tuple[int, ...]]:
    """The tile for rows of outputs of any length."""
    vectors = min(2, max(1, math.ceil(shape.columns / lanes.count)))
    return vectors, _all_heights(vectors, target)


def _all_heights(vectors: int, target: Host) -> tuple[int, ...]:
    """Heights for rows of outputs of any length."""
    return tuple(range(min(14, (target.registers - vectors - 1) // vectors), 0, -3))


def _tall(lanes: Lanes, shape: Shape, rows: int) -> tuple[int, tuple[int, ...]]:
    """The tile of a diagonal convolution, whose vectors are summed one after the other."""
    length = max(1, shape.out[2])
    even = math.ceil(length / math.ceil(length / min(14, rows)))
    heights = (even, length % even) if length % even else (even,)
    wanted = max(1, math.ceil(shape.columns / lanes.count))
    return min(range(4, 0, -1), key=lambda v: math.ceil(wanted / v) * v), heights


def _tile(lanes: Lanes, shape: Shape, target: Host) -> tuple[int, tuple[int, ...]]:
    """Vectors of a panel, and the heights of tiles, that take least time for a row of outputs."""
    length, columns = max(1, shape.out[2]), max(1, shape.columns)

    def heights(vectors: int) -> tuple[int, ...]:
        most, *_ = every = _all_heights(vectors, target)
        if length > _EXACT:
            return every
        even = math.ceil(length / math.ceil(length / most))
        last = length % even
        return (even, last) if last else (even,)

    def time(vectors: int) -> float:
        """In cycles for a step: two multiply-adds or loads begin in each, a line of B takes two."""
        rows = heights(vectors)[0]
        panels = math.ceil(columns / (vectors * lanes.count))
        step = max(rows * vectors / 2, (rows + vectors) / 2, 2 * vectors, _IN_FLIGHT / 2)
        return panels * math.ceil(length / rows) * (step + 0.5)

    most = min(4, math.ceil(columns / lanes.count))
    vectors = min(range(most, 0, -1), key=lambda v: (time(v), abs(v - 2)))
    return vectors, heights(vectors)


def _block(
    lanes: Lanes, geometry: Geometry, out: Triple, tile: tuple[int, int], way: Way
) -> tuple[int, int]:
    """Rows of outputs and tiles of each that an item covers, so that its patch stays cached; `tile`
    is the height of one and the pitch of a patch."""
    height, pitch = tile
    positions = _POSITIONS_OF_TILES if way.tiles else _POSITIONS

    def fits(rows: int, tiles: int) -> bool:
        patch = Patch.of(geometry, rows, tiles * height, pitch)
        return patch.elements * lanes.itemsize <= _PATCH_BYTES

    tiles = max(1, math.ceil(out[2] / height))
    while tiles > 1 and not (fits(1, tiles) and tiles * height <= positions):
        tiles = math.ceil(tiles / 2)
    rows = 1
    if not geometry.spreads_rows:
        while rows < out[1] and fits(rows + 1, tiles) and rows * tiles * height < positions:
            rows += 1
    return max(1, math.ceil(out[1] / math.ceil(max(1, out[1]) / rows))), tiles


def packing_b(window: Window, strides: tuple[int, ...], target: Host | None = None) -> Packing:
    """How B becomes panels; `strides` are those of group, z, y, x, channel, column (diagonal: of
    z, y, x, column)."""
    width = window.width(target or host())
    loops = 3 if window.is_diagonal else 4
    sizes = strides, loops, width, width, window.memory
    if not window.way.paired:
        return Packing(window.dtype, *sizes)
    return Packing(window.dtype, *sizes, terms=(0,), block=min(window.block, window.pitch))


def items(window: Window, shape: Shape, target: Host | None = None) -> int:
    """The number of independent work items."""
    across = math.ceil(shape.out[1] / window.rows) * math.ceil(shape.out[2] / window.positions)
    columns = 1 if window.is_diagonal else _panels(window, shape, target or host())
    chunks = math.ceil(columns / _chunk(window, shape, target or host()))
    return chunks * _groups(window, shape, target or host()) * shape.images * shape.out[0] * across


def arguments(
    window: Window,
    shape: Shape,
    epilogue: Epilogue,
    pointers: Pointers[P],
    target: Host | None = None,
) -> list[P | int]:
    """The argument block, all i64; `epilogue` has the strides that `window` leaves open."""
    target = target or host()
    block: list[P | int] = [
        *(pointers.a, pointers.b, shape.images, shape.columns, _chunk(window, shape, target)),
        *shape.size,
        *shape.padding,
        *shape.out,
        *shape.source,
        _groups(window, shape, target),
    ]
    return [*block, *epilogue.words((*pointers.operands, *pointers.stores))]


def _panels(window: Window, shape: Shape, target: Host) -> int:
    return max(1, math.ceil(shape.columns / window.width(target)))


def _groups(window: Window, shape: Shape, target: Host) -> int:
    return _panels(window, shape, target) if window.is_diagonal else shape.groups


def _chunk(window: Window, shape: Shape, target: Host) -> int:
    """Panels that an item walks."""
    if window.is_diagonal:
        return 1
    steps = math.prod(window.geometry.taps) * window.pitch
    panel = max(1, steps * window.width(target) * window.lanes(target).itemsize)
    panels = _panels(window, shape, target)
    return math.ceil(panels / math.ceil(panels / max(1, _CHUNK_BYTES // panel)))
