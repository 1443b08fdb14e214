"""An operand of a contraction copied into panels, so that the innermost loop reads it in order.

X[batch, k, n] with any strides becomes [batch, panel, k, pitch]: a panel holds `width` of the n
columns, padded with zeros up to `pitch` elements. Work items are the panels. Extents and strides
are arguments: kernels with equal text, of which a program has few, need compiling only once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..machine import Host, host
from .ir import Index, Module, Value
from .lanes import Lanes

P = TypeVar("P")


@dataclass(frozen=True)
class Packing:
    """Element strides of the operand are batch…, reductions…, n.

    A batch axis of stride 0 is not copied once for each index, but once.
    """

    dtype: str
    strides: tuple[int, ...]
    reductions: int
    width: int
    pitch: int

    @property
    def batch(self) -> tuple[int, ...]:
        """The strides of all batch axes."""
        return self.strides[: len(self.strides) - 1 - self.reductions]

    def copied(self, batch: tuple[int, ...]) -> tuple[int, ...]:
        """The extents or strides of the batch axes that are copied."""
        return tuple(x for x, stride in zip(batch, self.batch, strict=True) if stride)


def items(p: Packing, n: int, batch: tuple[int, ...] = ()) -> int:
    """The number of independent work items."""
    return math.prod(p.copied(batch)) * math.ceil(n / p.width)


def elements(p: Packing, n: int, reduce: tuple[int, ...], batch: tuple[int, ...] = ()) -> int:
    """The size of the panels."""
    return items(p, n, batch) * math.prod(reduce) * p.pitch


def arguments(
    p: Packing,
    source: P,
    panels: P,
    n: int,
    extents: tuple[tuple[int, ...], tuple[int, ...]],
) -> list[P | int]:
    """The argument block, all i64, from `extents`, those of the reductions and of the batch.

    source, panels, n, reduction extents…, copied batch extents…, then strides: n, reductions…,
    copied batch….
    """
    reduce, batch = extents
    steps = p.strides[len(p.batch) : -1]
    where: list[P | int] = [source, panels, n, *reduce, *p.copied(batch)]
    return [*where, p.strides[-1], *steps, *p.copied(p.batch)]


def emit(p: Packing, name: str, target: Host | None = None) -> str:
    """The LLVM IR of `void name(i64 start, i64 stop, i64* args)`."""
    module = Module()
    lanes = Lanes.filling(p.dtype, (target or host()).vector_bytes)
    _Copy(module, p, lanes, name).emit()
    return module.text()


def coordinates(linear: Value, extents: Sequence[Value]) -> list[Index]:
    """The index along each axis, the last of which varies fastest."""
    found: list[Index] = []
    for extent in reversed(extents):
        found.append(linear % extent)
        linear = linear // extent
    return found[::-1]


class _Copy:
    """The function that copies panels; its argument block is loaded into fields."""

    def __init__(self, module: Module, p: Packing, lanes: Lanes, name: str) -> None:
        self.p, self.lanes = p, lanes
        self.f = f = module.kernel(name)
        self.start, self.stop, block = f.parameters
        self.source, self.panels = (f.load("ptr", f.at(block, i, "i64"), 8) for i in range(2))
        axes = p.reductions + len(p.copied(p.batch))
        count = 2 + 2 * axes
        self.n, *rest = (f.load("i64", f.at(block, 2 + i, "i64"), 8) for i in range(count))
        self.reduce, self.batch = rest[: p.reductions], rest[p.reductions : axes]
        self.stride, *strides = rest[axes:]
        self.steps, self.batch_strides = strides[: p.reductions], strides[p.reductions :]

    def emit(self) -> None:
        self.f.loop(self.start, self.stop, self._panel)

    def _panel(self, item: Value, _: list[Value]) -> list[Value]:
        f, kind = self.f, self.lanes.element
        count = (self.n + (self.p.width - 1)) // self.p.width
        first = item % count * self.p.width
        place = first * self.stride
        for index, stride in zip(
            coordinates(item // count, self.batch), self.batch_strides, strict=True
        ):
            place = place + index * stride
        size = item * self.p.pitch
        for extent in self.reduce:
            size = size * extent
        columns = f.smaller(self.n - first, self.p.width)
        self._reduction(0, [f.at(self.source, place, kind), f.at(self.panels, size, kind)], columns)
        return []

    def _reduction(self, level: int, at: list[Value], columns: Value) -> Value:
        """Copy all steps of the loops from `level` in; gives where the panel goes on."""
        f, kind = self.f, self.lanes.element
        if level == self.p.reductions - 1:
            return self._steps(at[0], at[1], columns)

        def step(_: Value, now: list[Value]) -> list[Value]:
            reached = self._reduction(level + 1, now, columns)
            return [f.at(now[0], self.steps[level], kind), reached]

        return f.loop(0, self.reduce[level], step, at)[1]

    def _steps(self, source: Value, panel: Value, columns: Value) -> Value:
        f, p, kind = self.f, self.p, self.lanes.element
        if p.strides[-1] == 1:
            self._rows(source, panel, columns)
        elif p.strides[-2] == 1:
            self._transposed(source, panel, columns)
        else:
            self._scattered(source, panel, columns)
        return f.at(panel, self.reduce[-1] * p.pitch, kind)

    def _rows(self, source: Value, panel: Value, columns: Value) -> None:
        """Columns lie side by side: copy a row of vectors for each step."""
        f, lanes = self.f, self.lanes
        vectors = range(0, self.p.pitch, lanes.count)
        masks = [lanes.first(f, columns - v) for v in vectors]

        def step(_: Value, at: list[Value]) -> list[Value]:
            for v, mask in zip(vectors, masks, strict=True):
                row = lanes.load_where(f, f.at(at[0], v, lanes.element), mask)
                lanes.store(f, row, f.at(at[1], v, lanes.element))
            ahead = f.at(at[0], self.steps[-1], lanes.element)
            return [ahead, f.at(at[1], self.p.pitch, lanes.element)]

        f.loop(0, self.reduce[-1], step, [source, panel])

    def _transposed(self, source: Value, panel: Value, columns: Value) -> None:
        """Steps lie side by side: transpose square blocks in registers."""
        f, count = self.f, self.lanes.count

        def block(k: Value, _: list[Value]) -> list[Value]:
            steps = f.smaller(self.reduce[-1] - k, count)
            to = f.at(panel, k * self.p.pitch, self.lanes.element)
            for v in range(0, self.p.pitch, count):
                here = f.smaller(f.larger(columns - v, 0), count)
                rows = f.at(source, self.stride * v + k, self.lanes.element)
                self._square(rows, f.at(to, v, self.lanes.element), here, steps)
            return []

        f.loop(0, self.reduce[-1], block, step=count)

    def _square(self, source: Value, panel: Value, columns: Value, steps: Value) -> None:
        f, lanes = self.f, self.lanes
        kind, count = lanes.element, lanes.count
        rows = []
        for i in range(count):
            present = f.choose(f.less(i, columns), steps, 0)
            at = f.at(source, self.stride * i, kind)
            rows.append(lanes.load_where(f, at, lanes.first(f, present)))
        for i, row in enumerate(lanes.transpose(f, rows)):
            all_or_none = lanes.first(f, (steps - i) * count)
            lanes.store_where(f, row, f.at(panel, i * self.p.pitch, kind), all_or_none)

    def _scattered(self, source: Value, panel: Value, columns: Value) -> None:
        """Neither lies side by side: copy element by element."""
        f, lanes = self.f, self.lanes
        kind, size = lanes.element, lanes.itemsize

        def step(_: Value, at: list[Value]) -> list[Value]:
            for v in range(0, self.p.pitch, lanes.count):
                lanes.store(f, f.constant(lanes.vector, "zeroinitializer"), f.at(at[1], v, kind))

            def copy(i: Value, _: list[Value]) -> list[Value]:
                x = f.load(kind, f.at(at[0], i * self.stride, kind), size)
                f.store(x, f.at(at[1], i, kind), size)
                return []

            f.loop(0, columns, copy)
            return [f.at(at[0], self.steps[-1], kind), f.at(at[1], self.p.pitch, kind)]

        f.loop(0, self.reduce[-1], step, [source, panel])
