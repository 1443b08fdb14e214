"""Factors of convolutions as pairs of bfloat16 numbers: where they are, and how many at once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..machine import Host
from .amx import SIDE, has_tiles
from .geometry import Geometry
from .halves import multiplies_pairs
from .lanes import Lanes

# The part of the products of full tiles that repays them: they do 16 times what vectors of float32
# do, less what their loads and stores cost.
_LEAST = 1 / 8


@dataclass(frozen=True)
class Way:
    """How factors are multiplied: as they are; or rounded to bfloat16, in pairs along the
    reduction, by vectors, by "amx" tile registers or by a "model" of these."""

    paired: bool = False
    tiles: Literal["", "amx", "model"] = ""

    def lanes(self, dtype: str, target: Host) -> Lanes:
        """The vector of sums of `dtype`: a row of a tile, or what fills a register."""
        return Lanes(dtype, SIDE) if self.tiles else Lanes.filling(dtype, target.vector_bytes)


EXACT = Way()


@dataclass(frozen=True)
class Factors:
    """Factors that are `memory`, whose products shall be at least as exact as `precision` says."""

    memory: str
    precision: str
    geometry: Geometry
    channels: int


def way(given: Factors, sizes: tuple[int, int, int], target: Host) -> Way:
    """The way to multiply that is no slower than exact products.

    sizes: the rows, the columns and the pairs that tiles would have. Vectors of pairs are for CPUs
        without tiles: those that have them do 124 GFLOP/s so, where float32 does 242 (Xeon).
    """
    is_asked = given.memory == "float32" and given.precision == "bfloat16"
    rounds = given.memory == "bfloat16" or is_asked
    if rounds and has_tiles(target):
        share = math.prod(min(size, SIDE) / SIDE for size in sizes)
        return Way(True, "amx") if share >= _LEAST else EXACT
    return Way(paired=rounds and sizes[2] > 1 and multiplies_pairs(target))


def parts(extent: int, most: int = SIDE) -> int:
    """The size of the fewest equal parts of at most `most` that make up `extent`."""
    return math.ceil(extent / math.ceil(extent / most))


def pairs_of(channels: int, taps: int) -> tuple[int, int]:
    """Of a place with so many channels, beside `taps - 1` others in its window: its pairs, and how
    many tiles take at once: equal parts of these, or those of several places."""
    pairs = math.ceil(channels / 2)
    if pairs > SIDE:
        block = parts(pairs)
        return math.ceil(pairs / block) * block, block
    joined = max(n for n in range(1, taps + 1) if taps % n == 0 and n * pairs <= SIDE)
    return pairs, joined * pairs
