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

from ..machine import Host, amx_is_permitted, host
from .amx import DEPTH, SIDE
from .epilogue import Epilogue
from .halves import multiplies_pairs
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
_NEAR_BYTES = 32 * 1024
_PANEL_BYTES = 192 * 1024
TOGETHER = 8
# Tiles of so few columns read an A whose rows are whole steps of a reduction as it lies; where it
# does not start on a line of the cache, that costs less than a copy of it, for more columns not.
_COLUMNS_AS_IT_LIES = 256
# Panels of B that stay in the second-level cache while rows of A, which are in the first, pass over
# all of them: so rows of the result are written in one go (25088x64x256 2.0 -> 1.2 ms).
_ALL_PANELS = 1024 * 1024
# Packing B is repaid by this many rows, by fewer if B's rows are a page or more apart, since they
# then compete for few cache sets; packing A by this many columns and this long a reduction, or if
# its rows are pages apart by fewer columns: 64x1024x1024 gains 20 %, 1024³ 40 %, 2048³ 65 %.
_ROWS_REPAY_B = 300
_ROWS_REPAY_PAGES = 40
_PAGE_BYTES = 4096
_COLUMNS_REPAY_A = 128
# Rows for which B is not worth keeping: it is read once, in stretches as long as may be. So are
# halves, where no panels serve further products: 1x1024x1024 of bfloat16 204 -> 58 us, 8 rows 140.
_FEW_ROWS = 8
_COLUMNS_REPAY_PAGES = 64
_STEPS_REPAY_A = 128
# An A whose rows, not whose steps, lie side by side is packed unless it leaves the cache for few
# columns; what is not packed is summed up in short blocks, that all panels of B find in the cache.
# On a Xeon 64x25088x256 gains 65 %, 128x6272x512 2.7 times, 300x512x100 9 %.
_COLUMNS_REPAY_ACROSS = 640
_CACHED_BYTES = 2048 * 1024
_STEPS_ACROSS = 128
# The products of each precision. With vectors, three take longer than exact ones.
_PRODUCTS = {"float32": 0, "bfloat16": 1, "bfloat16_3x": 3, "bfloat16_6x": 6}
# Both operands are packed into pairs of float32 numbers rounded where that is repaid.
_ROWS_REPAY_PAIRS = 16
_COLUMNS_REPAY_PAIRS = 16
# With tiles, m · n / (m + n) from which what products gain repays making terms of float32. Ratios
# to the time of float32 (Xeon): three products of 50x784x300 (43) 0.92, 32 of 128x128x64 (43) 1.09;
# six of 100x784x300 (75) 1.15, of 300x50x100 (75) 0.92, of 512x784x300 (189) 0.83.
_REPAID_BY_TILES = {1: 9, 3: 45, 6: 80}
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
        room = _NEAR_BYTES if self.terms == 1 else _PANEL_BYTES
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


def has_tiles(target: Host) -> bool:
    """Whether the target has registers of tiles, and this process may use them."""
    return target.has("amx-bf16") and amx_is_permitted()


def way(
    dtype: str, precision: str, sizes: tuple[Extents, int], target: Host
) -> tuple[int, Literal["", "amx"]]:
    """How numbers of this dtype are multiplied, in code that is at least as exact as `precision`
    says and no slower than exact code: `products` and `tiles` of a contraction.

    sizes: the extents, and the number of columns.
    """
    extents, n = sizes
    m = extents.m
    if has_tiles(target) and dtype == "bfloat16":
        return 1, "amx"
    products = _PRODUCTS[precision] if dtype == "float32" else 0
    if has_tiles(target):
        is_repaid = products > 0 and m * n >= _REPAID_BY_TILES[products] * (m + n)
        return (products, "amx") if is_repaid else (0, "")
    if dtype == "bfloat16":
        return int(multiplies_pairs(target)), ""
    many = m >= _ROWS_REPAY_PAIRS and n >= _COLUMNS_REPAY_PAIRS
    return int(products == 1 and many and multiplies_pairs(target)), ""


def plan(c: Contraction, extents: Extents, uses: int = 1) -> Contraction:
    """`c` with those operands packed for which it is needed or repaid (bench/contraction.py). What
    B is packed to serves so many `uses`."""
    is_few = 0 < extents.m <= _FEW_ROWS and c.n > 1 and c.b[-1] == 1
    if c.memory and is_few and (uses == 1 or not c.tiles):
        as_they_lie = replace(c, pack_a=False, pack_b=False, few_rows=extents.m)
        return replace(as_they_lie, products=0, tiles="")
    if c.products or c.memory:
        few = c.n <= _COLUMNS_AS_IT_LIES and extents.m >= 2 * SIDE
        reads = c.as_it_lies and few and extents.reduce[0] % DEPTH == 0
        c = replace(c, pack_a=not reads, pack_b=True)
        return replace(c, by_rows=_goes_by_rows(c, extents))
    itemsize = 8 if c.dtype == "float64" else 4
    apart = max(map(abs, c.b[c.batch : -1])) * itemsize
    least = _ROWS_REPAY_PAGES if apart % _PAGE_BYTES == 0 else _ROWS_REPAY_B
    pack_b = (c.b[-1] != 1 and c.n > 1) or (
        extents.m * uses >= least and extents.m > _FEW_ROWS
    )
    long = math.prod(extents.reduce) >= _STEPS_REPAY_A and c.n >= _COLUMNS_REPAY_A
    step = c.a[c.batch] if c.a[-1] == 1 else c.a[-1]
    paged = step * itemsize % _PAGE_BYTES == 0 and step != 0
    many = extents.m >= _ROWS_REPAY_PAGES and c.n >= _COLUMNS_REPAY_PAGES
    stays = extents.m * math.prod(extents.reduce) * itemsize <= _CACHED_BYTES
    repays = stays or paged or c.a[c.batch] != 1 or c.n >= _COLUMNS_REPAY_ACROSS
    pack_a = (paged and many) if c.a[-1] == 1 else long and repays
    is_flat = is_few and not (pack_a or pack_b)
    return replace(c, pack_a=pack_a, pack_b=pack_b, few_rows=extents.m if is_flat else 0)


def _goes_by_rows(c: Contraction, extents: Extents) -> bool:
    """Whether tiles of rows of A stay in the first-level cache, and all of B in the second."""
    if not (c.tiles and c.n):
        return False
    tile = c.tile(host())
    (steps,) = c.reduced(extents)
    rows, panel = (steps * n * tile.lanes.itemsize for n in (c.step_a(tile), c.step_b(tile)))
    return rows <= _NEAR_BYTES and panel * tile.panels <= _ALL_PANELS


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
    inner = math.prod(reduce[1:])
    step = max(1, (tile.rows + tile.width) * tile.lanes.itemsize * inner)
    if step * reduce[0] <= _REDUCTION_BYTES:
        return max(1, reduce[0])
    return max(1, _BLOCK_BYTES // step)
