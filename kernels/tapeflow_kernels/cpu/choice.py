"""How a contraction is done best: by which instructions, and what of it is packed.

Where one way overtakes another was measured (bench/contraction.py).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from ..machine import Host, host
from .amx import DEPTH, SIDE, has_tiles
from .contraction import NEAR_BYTES, Contraction, Extents
from .halves import multiplies_pairs

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
_COLUMNS_REPAY_PAGES = 64
_STEPS_REPAY_A = 128
# Rows for which B is not worth keeping: it is read once, in stretches as long as may be. So are
# halves, where no panels serve further products: 1x1024x1024 of bfloat16 204 -> 58 us, 8 rows 140.
_FEW_ROWS = 8
# An A whose rows, not whose steps, lie side by side is packed unless it leaves the cache for few
# columns; what is not packed is summed up in short blocks. On a Xeon 64x25088x256 gains 65 %,
# 128x6272x512 2.7 times, 300x512x100 9 %.
_COLUMNS_REPAY_ACROSS = 640
_CACHED_BYTES = 2048 * 1024
# The products of each precision. With vectors, three take longer than exact ones.
_PRODUCTS = {"float32": 0, "bfloat16": 1, "bfloat16_3x": 3, "bfloat16_6x": 6}
# Both operands are packed into pairs of float32 numbers rounded where that is repaid.
_ROWS_REPAY_PAIRS = 16
_COLUMNS_REPAY_PAIRS = 16
# With tiles, m · n / (m + n) from which what products gain repays making terms of float32. Ratios
# to the time of float32 (Xeon): three products of 50x784x300 (43) 0.92, 32 of 128x128x64 (43) 1.09;
# six of 100x784x300 (75) 1.15, of 300x50x100 (75) 0.92, of 512x784x300 (189) 0.83.
_REPAID_BY_TILES = {1: 9, 3: 45, 6: 80}


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
    """`c` with those operands packed for which it is needed or repaid. What B is packed to serves
    so many `uses`."""
    is_few = 0 < extents.m <= _FEW_ROWS and c.n > 1 and c.b[-1] == 1
    if c.memory and is_few and (uses == 1 or not c.tiles):
        as_they_lie = replace(c, pack_a=False, pack_b=False, few_rows=extents.m)
        return replace(as_they_lie, products=0, tiles="")
    if c.products or c.memory:
        few = c.n <= _COLUMNS_AS_IT_LIES and extents.m >= 2 * SIDE
        reads = c.as_it_lies and few and extents.reduce[0] % DEPTH == 0
        c = replace(c, pack_a=not reads, pack_b=True)
        return replace(c, by_rows=_goes_by_rows(c, extents))
    apart = max(map(abs, c.b[c.batch : -1])) * c.itemsize
    by_pages = apart % _PAGE_BYTES == 0 and not c.is_far(extents.reduce)
    least = _ROWS_REPAY_PAGES if by_pages else _ROWS_REPAY_B
    pack_b = (c.b[-1] != 1 and c.n > 1) or (
        extents.m * uses >= least and extents.m > _FEW_ROWS
    )
    long = math.prod(extents.reduce) >= _STEPS_REPAY_A and c.n >= _COLUMNS_REPAY_A
    step = c.a[c.batch] if c.a[-1] == 1 else c.a[-1]
    paged = step * c.itemsize % _PAGE_BYTES == 0 and step != 0
    many = extents.m >= _ROWS_REPAY_PAGES and c.n >= _COLUMNS_REPAY_PAGES
    stays = extents.m * math.prod(extents.reduce) * c.itemsize <= _CACHED_BYTES
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
    return rows <= NEAR_BYTES and panel * tile.panels <= _ALL_PANELS
