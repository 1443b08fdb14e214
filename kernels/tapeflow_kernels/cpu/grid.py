"""Sums of tiles whose rows lie where they are in memory: up to two by two at once.

    sums[row tile, row, column] (+)= Σ A[row tile][row, pair] · B[pair, column]

Each tile of rows has an address of its own, and `a_row` pairs from one row to the next: A needs no
panels. B is in panels of `width` columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .amx import SIDE, Registers, Tiles, begin, keep_storing
from .ir import Module, Value

_PAIR = "float"  # as LLVM counts them: 32 bits
_PAIR_BYTES = 4


@dataclass(frozen=True)
class Grid:
    """So many tiles of rows by so many of columns.

    a_steps, b_steps: pairs of A, elements of B for each step of each reduction loop; the innermost
        passes over what one instruction takes.
    apart: elements from one tile of rows to the next in the memory of sums.
    """

    rows: int
    columns: int
    a_row: int
    width: int
    a_steps: tuple[int, ...]
    b_steps: tuple[int, ...]
    apart: int

    @property
    def pitch(self) -> int:
        """Bytes from one row of sums to the next."""
        return self.columns * SIDE * _PAIR_BYTES


def emit_grid(module: Module, registers: Registers, grid: Grid, name: str) -> None:
    """Write `void name(ptr a…, ptr b, ptr sums, i64 begun, i64 extents…)`, an `a` for each tile of
    rows; sums: [tiles of rows][rows, columns], written; if they are begun, they are added to."""
    kinds = ["ptr"] * (grid.rows + 2) + ["i64"] * (1 + len(grid.a_steps))
    f = module.internal(name, kinds)
    pointers, (sums, begun, *extents) = f.parameters[: grid.rows + 1], f.parameters[grid.rows + 1 :]
    tiles, pitch = registers.tiles(f), grid.pitch
    places = {
        2 * r + c: f.at(sums, r * grid.apart + c * SIDE, _PAIR)
        for r in range(grid.rows)
        for c in range(grid.columns)
    }
    begin(tiles, places, pitch, begun)
    _nest(tiles, grid, extents, [*pointers, f.integer(1)], sums)
    for tile, place in places.items():
        tiles.store(tile, place, pitch)


def _nest(
    tiles: Tiles, grid: Grid, extents: Sequence[Value], carried: Sequence[Value], sums: Value
) -> Value:
    """The loops over `extents`, the last of the reduction's, from where pointers are, which are
    carried before the number of the step; gives that of the next."""
    f = tiles.f
    level = len(grid.a_steps) - len(extents)

    def body(_: Value, now: list[Value]) -> list[Value]:
        *a, b, count = now
        if len(extents) > 1:
            count = _nest(tiles, grid, extents[1:], now, sums)
        else:
            keep_storing(tiles, count, grid.rows * grid.columns, sums, grid.pitch)
            _step(tiles, grid, now[:-1])
            count = count + 1
        ahead = [f.at(pointer, grid.a_steps[level], _PAIR) for pointer in a]
        return [*ahead, f.at(b, grid.b_steps[level], _PAIR), count]

    return f.loop(0, extents[0], body, carried)[-1]


def _step(tiles: Tiles, grid: Grid, at: list[Value]) -> None:
    *a, b = at
    for r, pointer in enumerate(a):
        tiles.load(4 + r, pointer, grid.a_row * _PAIR_BYTES)
    for c in range(grid.columns):
        tiles.load(6 + c, tiles.f.at(b, c * SIDE, _PAIR), grid.width * _PAIR_BYTES)
    for r in range(grid.rows):
        for c in range(grid.columns):
            tiles.multiply_add(2 * r + c, 4 + r, 6 + c)
