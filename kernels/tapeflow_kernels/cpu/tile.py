"""The register tile of a contraction: as many rows by vectors of sums as the registers hold."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..machine import Host
from .amx import SIDE
from .lanes import Lanes

# Tile heights that have code: every third. Fewer would waste rows, more would take longer to
# compile: a kernel for n = 300 takes 70 ms with all 14 heights and 30 ms with these 5.
HEIGHT_STEP = 3
# Multiply-adds that a core has in flight; a tile with fewer sums waits for their latency.
_IN_FLIGHT = 8
# Vectors of sums in a flat tile.
_WIDEST = 16
# What starting and finishing a tile costs, in rows.
_TILE_OVERHEAD = 1


@dataclass(frozen=True)
class Tile:
    """At most `rows` rows by `vectors` vectors of sums; n columns make `panels` such panels, where
    n is known: else it is 0."""

    lanes: Lanes
    rows: int
    vectors: int
    n: int
    step: int = HEIGHT_STEP  # between numbers of rows that have code
    depth: int = 1  # elements of panels along the reduction that are multiplied at once

    @property
    def width(self) -> int:
        """The columns of a panel."""
        return self.vectors * self.lanes.count

    @property
    def panels(self) -> int:
        return math.ceil(self.n / self.width)

    @property
    def widths(self) -> list[int]:
        """The columns of a panel, then of the last one if it is narrower."""
        if not self.n:
            return [self.width]
        return [w for w in (self.width * (self.n >= self.width), self.n % self.width) if w]

    @property
    def heights(self) -> list[int]:
        """The numbers of rows that have code of their own, from the most to the fewest."""
        return list(range(self.rows, 0, -self.step))

    def height(self, m: int) -> int:
        """The number of rows of each tile but the last that takes least time for m rows."""

        def time(rows: int) -> int:
            rest = m % rows
            padded = rest + (self.rows - rest) % HEIGHT_STEP
            least = _IN_FLIGHT // self.vectors
            last = max(padded, least) + _TILE_OVERHEAD if rest else 0
            return m // rows * (max(rows, least) + _TILE_OVERHEAD) + last

        return min(self.heights, key=time)

    @property
    def a_pitch(self) -> int:
        """Elements from one step of a packed A to the next: the rows, in whole vectors."""
        return math.ceil(self.rows / self.lanes.count) * self.lanes.count


def flat_tile(dtype: str, n: int, target: Host, rows: int) -> Tile:
    """The tile for so few rows that B is read once: wide, so that it is read in long stretches."""
    lanes = Lanes.filling(dtype, target.vector_bytes)
    vectors = min(_WIDEST, (target.registers - 6) // rows, math.ceil(n / lanes.count))
    return Tile(lanes, rows, vectors, n)


def tile_for(dtype: str, n: int, target: Host, tiles: bool = False) -> Tile:
    """The tile that fills the target's registers: sums, a row of B's vectors, an element of A; or,
    if it has tile registers, four of these."""
    lanes = Lanes(dtype, SIDE) if tiles else Lanes.filling(dtype, target.vector_bytes)
    vectors = min(2, math.ceil(n / lanes.count)) if n else 2
    if tiles:
        return Tile(lanes, 2 * SIDE, vectors, n, SIDE, SIDE)
    rows = min(14, (target.registers - vectors - 1) // vectors)
    return Tile(lanes, rows, vectors, n)
