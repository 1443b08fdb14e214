"""The code of filter gradients: the kernel that sums up parts, and the one that finishes."""

from __future__ import annotations

from ..machine import Host, host
from .filter import BATCH, FINISH, Filter
from .filter_tiles import TileSums, emit_tiles
from .filter_vectors import Kernel, Sums, emit_vectors
from .finish import emit_finish
from .ir import Module, Value


def emit_sums(c: Filter, name: str, target: Host | None = None) -> str:
    """The LLVM IR of the kernel that sums up parts, see `filter.arguments`."""
    target = target or host()
    module = Module(target)
    if c.turned:
        emit_tiles(module, c, target)
        TileSums(module, c, target, name).emit()
    else:
        emit_vectors(module, c, target)
        Sums(module, c, target, name).emit()
    return module.text()


def emit_finish_of_sums(c: Filter, name: str, target: Host | None = None) -> str:
    """The LLVM IR of the kernel that adds up the parts and finishes, see `finish_arguments`."""
    target = target or host()
    module = Module(target)
    for vectors in sorted({c.vectors, c.tail} - {0}):
        emit_finish(
            *(module, f"finish_{vectors}", c.lanes(target), c.epilogue),
            vectors=vectors,
            first=len(FINISH),
            axes=BATCH + 2,
        )
    _Finishing(module, c, target, name).emit()
    return module.text()


class _Finishing(Kernel):
    """The second kernel: the parts of each tile added up, then the epilogue."""

    def __init__(self, module: Module, c: Filter, target: Host, name: str) -> None:
        super().__init__(module, c, target, name, FINISH, 1)
        room = f"[{self.tile} x {self.lanes.element}]"
        self.total = self.f.value("ptr", f"alloca {room}, align 64")

    def _item(self, index: Value, _: list[Value]) -> list[Value]:
        f, c, word = self.f, self.c, self.word
        found = []
        for extent in (word["panels"], c.row_tiles, *c.loops[::-1], word["slices"]):
            found.append(index % extent)
            index = index // extent
        panel, tile, x, y, z, slice_ = found
        of_panel = (index * word["slices"] + slice_) * word["panels"] + panel
        tap = (z * c.loops[1] + y) * c.loops[2] + x
        self._add_parts(of_panel * c.tiles + tap * c.row_tiles + tile)
        row = tile * c.heights[0]
        passed = slice_ * c.channels
        count = f.integer(c.count)
        if not (c.is_diagonal or c.is_merged):
            count = f.smaller(word["channels"] - passed, c.count)
        rows = f.smaller(count - row, c.heights[0])
        left = self._left(index, panel)
        column = panel * c.columns(self.target)
        where = [index, z, y, x, row + passed, column]

        def finish(vectors: int, part: str) -> None:
            f.call(f"finish_{vectors}{part}", [self.total, self.args, rows, left, *where])

        self._by_width(left, finish)
        return []

    def _add_parts(self, index: Value) -> None:
        f, c, word, lanes = self.f, self.c, self.word, self.lanes
        tiles = word["groups"] * word["slices"] * word["panels"] * c.tiles
        zero = lanes.zero(f)

        def vector(at: Value, _: list[Value]) -> list[Value]:
            def part(p: Value, sums: list[Value]) -> list[Value]:
                here = (p * tiles + index) * self.tile + at
                held = lanes.load(f, f.at(word["sums"], here, lanes.element))
                return [lanes.add(f, sums[0], held)]

            (total,) = f.loop(0, word["parts"], part, [zero])
            lanes.store(f, total, f.at(self.total, at, lanes.element))
            return []

        f.loop(0, self.tile, vector, step=lanes.count)
