"""The code that fills a patch: a zero-padded copy of what an item of a convolution reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .geometry import Patch
from .halves import Memory
from .ir import Function, Index, Module, Value, ceiling


@dataclass(frozen=True)
class Source:
    """X as arguments: its address, extents and strides along z, y, x."""

    x: Value
    size: list[Value]
    strides: list[Value]


def taps(
    f: Function, first: Value, count: Index, dilation: int, extent: Value
) -> tuple[Value, Value]:
    """Of the places first, first + dilation, … the range that is at least 0 and below `extent`."""
    below = f.larger(first * -1, 0)
    above = f.larger(extent - first, 0)
    start = f.smaller(ceiling(below, dilation), count)
    return start, f.smaller(ceiling(above, dilation), count)


@dataclass(frozen=True)
class Filler:
    """Writes `void fill(ptr patch, ptr x, i64 limit, i64 z, i64 y, i64 x, i64 sizes…, strides…)`:
    the patch whose first element is at z, y, x of X, which may lie in the padding.

    memory: what X holds; the patch holds what that is computed in.
    is_dense: neighbours along x lie side by side in X.
    Rows that lie outside X are left as they are: nothing reads them.
    """

    module: Module
    memory: Memory
    patch: Patch
    is_dense: bool

    def emit(self) -> None:
        f = self.module.internal("fill", ["ptr", "ptr"] + ["i64"] * 10)
        patch, x, limit, *rest = f.parameters
        start, source = rest[:3], Source(x, rest[3:6], rest[6:9])
        self._emit_row()
        shape = self.patch

        def plane(index: Value, _: list[Value]) -> list[Value]:
            z = start[0] + index * shape.apart[0]
            here = source.x, z * source.strides[0], index * shape.steps[0]
            f.loop(*taps(f, start[1], shape.rows, shape.apart[1], source.size[1]), row(*here))
            return []

        def row(x: Value, above: Value, to: Value) -> Callable[[Value, list[Value]], list[Value]]:
            def body(index: Value, _: list[Value]) -> list[Value]:
                y = start[1] + index * shape.apart[1]
                at = f.at(x, above + y * source.strides[1], self.memory.element)
                segments(at, to + index * shape.steps[1])
                return []

            return body

        def segments(at: Value, to: Value) -> None:
            def segment(index: Value, _: list[Value]) -> list[Value]:
                place = start[2] + index * shape.apart[2]
                into = to + index * (shape.positions * shape.pitch)
                low = f.smaller(f.larger(place * -1, 0), shape.positions)
                high = f.larger(low, f.smaller(source.size[2] - place, shape.positions))
                operands = [
                    f.at(patch, into, self.memory.lanes.element),
                    f.at(at, place * source.strides[2], self.memory.element),
                    *(low, high, source.strides[2], limit),
                ]
                f.call("fill_row", operands)
                return []

            f.loop(0, shape.segments, segment)

        f.loop(*taps(f, start[0], shape.planes, shape.apart[0], source.size[0]), plane)

    def _emit_row(self) -> None:
        """`void fill_row(ptr to, ptr from, i64 low, i64 high, i64 stride, i64 limit)`: positions
        low to high - 1 are copied, the others are zero."""
        f = self.module.internal("fill_row", ["ptr", "ptr"] + ["i64"] * 4)
        to, source, low, high, stride, limit = f.parameters
        lanes, memory, pitch = self.memory.lanes, self.memory, self.patch.pitch
        kind, held = memory.element, lanes.element
        whole = f.integer(self.patch.positions * pitch)
        zero = lanes.zero(f)
        self._sweep(f, to, low * pitch, lambda at, mask: zero)
        self._sweep(f, f.at(to, high * pitch, held), whole - high * pitch, lambda at, mask: zero)
        if self.is_dense:
            self._copy(f, f.at(to, low * pitch, held), f.at(source, low * pitch, kind),
                       (high - low) * pitch)  # fmt: skip
            return

        def position(index: Value, _: list[Value]) -> list[Value]:
            into, out = f.at(to, index * pitch, held), f.at(source, index * stride, kind)
            for v in range(0, pitch, lanes.count):
                mask = lanes.first(f, f.smaller(limit, pitch) - v)
                row = memory.load(f, f.at(out, v, kind), mask)
                present = min(lanes.count, pitch - v)
                lanes.store(f, row, f.at(into, v, held), present)
            return []

        f.loop(low, high, position)

    def _copy(self, f: Function, to: Value, source: Value, length: Value) -> None:
        def load(at: Value, mask: Value | None) -> Value:
            return self.memory.load(f, f.at(source, at, self.memory.element), mask)

        self._sweep(f, to, length, load)

    def _sweep(
        self, f: Function, to: Value, length: Value, value: Callable[[Value, Value | None], Value]
    ) -> None:
        """to[0:length] = value, vector by vector."""
        lanes = self.memory.lanes
        whole = length // lanes.count * lanes.count

        def step(at: Value, _: list[Value]) -> list[Value]:
            lanes.store(f, value(at, None), f.at(to, at, lanes.element))
            return []

        def last() -> None:
            mask = lanes.first(f, length - whole)
            lanes.store_where(f, value(whole, mask), f.at(to, whole, lanes.element), mask)

        f.loop(0, whole, step, step=lanes.count)
        f.when(f.less(whole, length), last)
