"""An operand of a contraction copied into panels, so that the innermost loop reads it in order.

X[batch, k, n] with any strides becomes [batch, panel, k, pitch]: a panel holds `width` of the n
columns, padded with zeros up to `pitch` elements. Work items are the panels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..machine import Host, host
from .epilogue import offset
from .ir import Function, Index, Module, Value
from .lanes import Lanes


@dataclass(frozen=True)
class Packing:
    """What is compiled in: element strides are batch…, reductions…, n.

    A batch axis of stride 0 is not copied once for each index, but once.
    """

    dtype: str
    strides: tuple[int, ...]
    reductions: int
    width: int
    pitch: int

    @property
    def batch(self) -> tuple[int, ...]:
        """The strides of the batch axes."""
        return self.strides[: len(self.strides) - 1 - self.reductions]


def items(p: Packing, n: int, batch: tuple[int, ...] = ()) -> int:
    """The number of independent work items."""
    copies = math.prod(e for e, stride in zip(batch, p.batch, strict=True) if stride)
    return copies * math.ceil(n / p.width)


def elements(p: Packing, n: int, reduce: tuple[int, ...], batch: tuple[int, ...] = ()) -> int:
    """The size of the panels."""
    return items(p, n, batch) * math.prod(reduce) * p.pitch


def arguments(
    source: int, panels: int, n: int, reduce: tuple[int, ...], batch: tuple[int, ...] = ()
) -> list[int]:
    """The argument block, all i64: source, panels, n, reduction extents…, batch extents…."""
    return [source, panels, n, *reduce, *batch]


def emit(p: Packing, name: str, target: Host | None = None) -> str:
    """The LLVM IR of `void name(i64 start, i64 stop, i64* args)`."""
    module = Module()
    f = module.kernel(name)
    start, stop, block = f.parameters
    lanes = Lanes.filling(p.dtype, (target or host()).vector_bytes)
    source, panels = (f.load("ptr", f.at(block, i, "i64"), 8) for i in range(2))
    n, *extents = (f.load("i64", f.at(block, 2 + i, "i64"), 8) for i in range(len(p.strides)))
    reduce, batch = extents[: p.reductions], extents[p.reductions :]

    def item(index: Value, _: list[Value]) -> list[Value]:
        count = (n + (p.width - 1)) // p.width
        first = index % count * p.width
        at = [*coordinates(index // count, batch, p.batch), *[0] * p.reductions, first]
        x = f.at(source, offset(p.strides, at), lanes.element)
        size = index * p.pitch
        for extent in reduce:
            size = size * extent
        columns = f.smaller(n - first, p.width)
        _panel(f, p, lanes, reduce, [x, f.at(panels, size, lanes.element)], columns)
        return []

    f.loop(start, stop, item)
    return module.text()


def coordinates(linear: Value, extents: list[Value], strides: tuple[int, ...]) -> list[Index]:
    """The index along each axis of a linear index that counts only axes of nonzero stride."""
    found: list[Index] = []
    for extent, stride in reversed(list(zip(extents, strides, strict=True))):
        found.append(linear % extent if stride else 0)
        linear = linear // extent if stride else linear
    return found[::-1]


def _panel(
    f: Function, p: Packing, lanes: Lanes, reduce: list[Value], at: list[Value], columns: Value
) -> list[Value]:
    level = p.reductions - len(reduce)
    stride = p.strides[len(p.batch) + level]

    def step(_: Value, now: list[Value]) -> list[Value]:
        if len(reduce) > 1:
            reached = _panel(f, p, lanes, reduce[1:], now, columns)[1]
        else:
            _row(f, p, lanes, now, columns)
            reached = f.at(now[1], p.pitch, lanes.element)
        return [f.at(now[0], stride, lanes.element), reached]

    return f.loop(0, reduce[0], step, at)


def _row(f: Function, p: Packing, lanes: Lanes, at: list[Value], columns: Value) -> None:
    def copy(i: Value, _: list[Value]) -> list[Value]:
        x = f.load(lanes.element, f.at(at[0], i * p.strides[-1], lanes.element), lanes.itemsize)
        f.store(x, f.at(at[1], i, lanes.element), lanes.itemsize)
        return []

    def clear(i: Value, _: list[Value]) -> list[Value]:
        zero = f.constant(lanes.element, "0.0")
        f.store(zero, f.at(at[1], i, lanes.element), lanes.itemsize)
        return []

    f.loop(0, columns, copy)
    f.loop(columns, p.pitch, clear)
