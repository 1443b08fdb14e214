"""C[batch, m, n] = epilogue(Σ_k A[batch, m, k] · B[batch, k, n]): what is compiled, what is passed.

The number of columns n and all strides are constants of the code; m, the reduction extents and the
batch extents are arguments, so that another batch size needs no new code. Work items are tiles
of a few rows by a few vectors of columns; any range of them may run on any thread, and every sum
is formed in the same order however they are split. `nest.emit` writes the code:

    c = Contraction("float32", n=300, a=(784, 1), b=(300, 1), epilogue=Epilogue(((0, (300, 1)),)))
    code = assemble(nest.emit(c, "product"), optimise=False)
    block = arguments(c, Extents(m=50, reduce=(784,)), Pointers(a, b, stores=(y,)))

and the loaded `void product(i64 start, i64 stop, i64* block)` does items [start, stop).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from ..machine import Host, host
from .amx import DEPTH
from .epilogue import Epilogue
from .packing import Packing
from .tile import Tile, flat_tile, tile_for

# Where the extents start in the argument block.
FIRST_EXTENT = 8
P = TypeVar("P")
# A group of tiles walks all columns with its rows of A in the second-level cache, or in the first
# together with a panel of B if the reduction is so short: 784x50x300 gains 8 %.
_GROUP_BYTES = 768 * 1024
_SMALL_GROUP_BYTES = 16 * 1024
# A tile whose operands exceed the first sums up blocks of the second.
_REDUCTION_BYTES = 1024 * 1024
_BLOCK_BYTES = 256 * 1024
# With tile registers so many tiles pass together over a part of B that stays in the first-level
# cache, where there is one product an element (1024³: 1.5 -> 1.2 ms); of several, each tile that is
# loaded is used more than once. Longer panels are summed up in blocks (2048³, six: 59 -> 52 ms).
NEAR_BYTES = 32 * 1024
_PANEL_BYTES = 192 * 1024
TOGETHER = 8
# Steps that are summed up at once where rows of A, not steps, lie side by side, unpacked: a block
# that all panels of B find in the cache.
_STEPS_ACROSS = 128
# A B larger than the second-level cache is read as it lies, a block of so many steps for all tiles
# of rows: few pages at a time. 64x3136x1024: 3.2 -> 2.5 ms, 250x2048x512: 5.9 -> 2.9.
_FAR_BYTES = 2 * 1024 * 1024
_STEPS_FAR = 192
# The terms of A and of B that are multiplied, for each number of products: 0 is the number rounded
# to bfloat16, 1 the rest of it, 2 what is left then. Small products come first: their sum is kept
# where one by one they would be rounded away.
TERMS = {
    0: ((), ()),
    1: ((0,), (0,)),
    3: ((1, 0, 0), (0, 1, 0)),
    6: ((0, 0, 1, 1, 2, 0), (2, 1, 1, 0, 0, 0)),
}


@dataclass(frozen=True)
class Contraction:
    """What is compiled in.

    dtype: "float32" or "float64", in which sums are formed and the epilogue computes.
    n: the number of columns; 0 where it is an argument.
    a: element strides of A: batch…, m, reductions….
    b: element strides of B: batch…, reductions…, n. To emit code for n > 1 that of n must be 1, or
        B be packed; `plan` sees to it.
    epilogue: what happens to each sum, and where it is stored.
    reductions: the number of reduction loops, at least one; the last is the innermost.
    pack_a, pack_b: the operand is read from the panels that `packing_a`, `packing_b` describe.
    memory: what A and B hold, where that is not `dtype`: "bfloat16" or "float16"; both are packed
        or none, but for an A that tiles read as it lies.
    products: 0 multiplies elements as they are. Otherwise each is a sum of bfloat16 terms, and so
        many products of terms are added up (`TERMS`); both operands are packed, as pairs (but
        see `memory`).
    tiles: what multiplies pairs: "" vectors, "amx" tile registers, "model" a model of these.
    few_rows: the number of rows, if they are so few that all are done in one pass over B; else 0.
    by_rows: each tile of rows walks all panels of B; else groups of tiles do.
    """

    dtype: str
    n: int
    a: tuple[int, ...]
    b: tuple[int, ...]
    epilogue: Epilogue
    reductions: int = 1
    pack_a: bool = False
    pack_b: bool = False
    memory: str = ""
    products: int = 0
    tiles: Literal["", "amx", "model"] = ""
    few_rows: int = 0
    by_rows: bool = False

    def __post_init__(self) -> None:
        assert self.reductions >= 1
        assert self.n >= 1 or self.is_open
        assert len(self.a) == len(self.b) == self.batch + 1 + self.reductions

    @property
    def is_open(self) -> bool:
        """Whether the number of columns is an argument; then so are all strides, and both operands
        are packed."""
        return self.n == 0

    @property
    def as_it_lies(self) -> bool:
        """Whether tiles can read A without panels: pairs of bfloat16 side by side."""
        beside = self.reductions == 1 and self.a[-1] == 1 and self.a[self.batch] % 2 == 0
        return beside and self.memory == "bfloat16" and self.tiles != ""

    def opened(self) -> Contraction:
        """One code for all sizes: what of this one cannot be an argument."""

        def kinds(strides: tuple[int, ...]) -> tuple[int, ...]:
            batch = (1 if s else 0 for s in strides[: self.batch])
            return (*batch, *(1 for _ in strides[self.batch :]))

        a, b, epilogue = kinds(self.a), kinds(self.b), self.epilogue.opened()
        open_ = replace(self, n=0, a=a, b=b, epilogue=epilogue, by_rows=False)
        return replace(open_, pack_a=True, pack_b=True)

    @property
    def itemsize(self) -> int:
        """Bytes of a sum."""
        return 8 if self.dtype == "float64" else 4

    @property
    def batch(self) -> int:
        """The number of batch axes."""
        return len(self.a) - 1 - self.reductions

    @property
    def loops(self) -> int:
        """The number of loops over which sums are formed: of tiles one, over the steps of panels;
        of pairs one is over the products of terms."""
        return 1 if self.tiles else self.reductions + (self.products > 0)

    def reduced(self, extents: Extents) -> tuple[int, ...]:
        """The extents of these loops."""
        *outer, last = extents.reduce
        if self.tiles:
            return (math.prod(outer) * math.ceil(last / DEPTH),)
        if not self.products:
            return extents.reduce
        return (self.products, *outer, math.ceil(last / 2))

    @property
    def terms(self) -> int:
        """The terms of a number that a step of a panel of tiles has side by side; else 1."""
        return max(TERMS[self.products][0]) + 1 if self.tiles else 1

    def is_far(self, reduce: tuple[int, ...]) -> bool:
        """Whether B, as it lies, is larger than the second-level cache."""
        size = reduce[0] * self.b[self.batch] * self.itemsize
        return self.reductions == 1 and self.b[-1] == 1 < self.n and size >= _FAR_BYTES

    @property
    def fetches_rows(self) -> bool:
        """Whether a tile of vectors fetches the rows of A that the next reads: where one lies
        behind the other, as far as the strides tell. 1x1 convolution of 256 to 64 channels, one
        thread: 182 -> 216 GFLOP/s, 2048³: 201 -> 212."""
        beside = self.reductions == 1 and self.a[-1] == 1 < self.a[self.batch]
        return not (self.tiles or self.few_rows) and (self.pack_a or beside)

    def step_a(self, tile: Tile) -> int:
        """Elements from one step of a packed A to the next."""
        return tile.a_pitch * tile.depth * self.terms

    def step_b(self, tile: Tile) -> int:
        """Elements from one step of a packed B to the next."""
        return tile.width * tile.depth * self.terms

    def tile(self, target: Host) -> Tile:
        """What a work item computes."""
        if self.few_rows:
            return flat_tile(self.dtype, self.n, target, self.few_rows)
        return tile_for(self.dtype, self.n, target, tiles=self.tiles != "")

    def near_steps(self, tile: Tile) -> int:
        """Steps of a panel of tiles over which tiles pass together."""
        room = NEAR_BYTES if self.terms == 1 else _PANEL_BYTES
        return max(1, room // (self.step_b(tile) * tile.lanes.itemsize))


@dataclass(frozen=True)
class Extents:
    """What is known at run time: the rows, the reduction extents, the batch extents, and the
    columns, where the code does not know them."""

    m: int
    reduce: tuple[int, ...]
    batch: tuple[int, ...] = ()
    n: int = 0


@dataclass(frozen=True)
class Pointers(Generic[P]):
    """Addresses of A and B (or of their panels), of each operand and output, and of scratch:
    numbers, or whatever stands for them until memory is planned."""

    a: P
    b: P
    operands: tuple[P, ...] = ()
    stores: tuple[P, ...] = ()
    scratch: P | int = 0


def items(c: Contraction, extents: Extents, target: Host | None = None) -> int:
    """The number of independent work items."""
    tile = c.tile(target or host())
    tiles = math.ceil(extents.m / _height(c, tile, extents.m))
    return math.prod(extents.batch) * tiles * math.ceil((c.n or extents.n) / tile.width)


def arguments(
    c: Contraction, extents: Extents, pointers: Pointers[P], target: Host | None = None
) -> list[P | int]:
    """The argument block, all i64.

    a, b, scratch, m, rows of a tile, tiles, tiles in a group, length of a reduction block,
    reduction extents…, batch extents…, operands…, stores…. Of an open contraction: the columns
    before the operands; `c` has the strides that the code leaves open.
    """
    tile = c.tile(target or host())
    rows = _height(c, tile, extents.m)
    tiles = math.ceil(extents.m / rows)
    reduce = c.reduced(extents)
    block = _reduction_block(c, tile, reduce)
    places = (*pointers.operands, *pointers.stores)
    return [
        *(pointers.a, pointers.b, pointers.scratch),
        *(extents.m, rows, tiles, _group(c, tile, rows, reduce), block),
        *reduce,
        *extents.batch,
        *([extents.n] if c.is_open else []),
        *(c.epilogue.words(places) if c.is_open else places),
    ]


def scratch_bytes(c: Contraction, extents: Extents, target: Host | None = None) -> int:
    """The size of the scratch memory for partial sums; 0 unless the reduction is long."""
    tile = c.tile(target or host())
    reduce = c.reduced(extents)
    if _reduction_block(c, tile, reduce) >= reduce[0]:
        return 0
    return items(c, extents, target) * tile.rows * tile.width * tile.lanes.itemsize


def packing_a(c: Contraction, target: Host | None = None) -> Packing:
    """How A is brought into panels of as many rows as a tile has."""
    tile = c.tile(target or host())
    batch, m, reduce = c.a[: c.batch], c.a[c.batch], c.a[c.batch + 1 :]
    return Packing(
        c.dtype,
        (*batch, *reduce, m),
        c.reductions,
        *(tile.rows, tile.a_pitch),
        source=c.memory,
        terms=_panel_terms(c, 0),
        block=tile.depth,
        tiles="turned" if c.tiles else "",
    )


def packing_b(c: Contraction, target: Host | None = None) -> Packing:
    """How B is brought into panels of as many columns as a tile has."""
    tile = c.tile(target or host())
    form: Literal["", "plain"] = "plain" if c.tiles else ""
    held = c.memory, _panel_terms(c, 1), tile.depth, form
    return Packing(c.dtype, c.b, c.reductions, tile.width, tile.width, *held)


def _panel_terms(c: Contraction, operand: int) -> tuple[int, ...]:
    return tuple(range(c.terms)) if c.tiles else TERMS[c.products][operand]


def _height(c: Contraction, tile: Tile, m: int) -> int:
    return tile.rows if c.pack_a or c.tiles else tile.height(m)


def _group(c: Contraction, tile: Tile, rows: int, reduce: tuple[int, ...]) -> int:
    """Tiles that walk all columns together."""
    itemsize = tile.lanes.itemsize
    if c.by_rows:
        return 1
    if c.tiles:
        steps = _reduction_block(c, tile, reduce)
        matrices = sum(bool(row and column) for *_, row, column in c.epilogue.operands)
        if matrices * tile.rows * tile.width > steps * (c.step_a(tile) + c.step_b(tile)):
            return 1  # these are what is walked: row by row, as they lie
        tiles = _GROUP_BYTES // (steps * c.step_a(tile) * itemsize)
        return max(1, tiles // TOGETHER * TOGETHER or tiles)
    steps = _reduction_block(c, tile, reduce) * math.prod(reduce[1:])
    row_bytes = max(1, steps) * itemsize
    beside_panel = _SMALL_GROUP_BYTES - tile.width * row_bytes
    room = beside_panel if beside_panel >= rows * row_bytes else _GROUP_BYTES
    return max(1, room // (rows * row_bytes))


def _reduction_block(c: Contraction, tile: Tile, reduce: tuple[int, ...]) -> int:
    """Steps of the outermost reduction loop that are summed up at once."""
    if c.tiles:
        most = max(1, _PANEL_BYTES // (c.step_a(tile) * tile.lanes.itemsize))
        return max(1, math.ceil(reduce[0] / max(1, math.ceil(reduce[0] / most))))
    if c.a[c.batch] == 1 != c.a[-1] and c.reductions == 1 and not c.pack_a:
        return max(1, min(reduce[0], _STEPS_ACROSS))
    if c.is_far(reduce) and not (c.pack_b or c.few_rows):
        return _STEPS_FAR
    inner = math.prod(reduce[1:])
    step = max(1, (tile.rows + tile.width) * tile.lanes.itemsize * inner)
    if step * reduce[0] <= _REDUCTION_BYTES:
        return max(1, reduce[0])
    return max(1, _BLOCK_BYTES // step)
