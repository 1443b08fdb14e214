"""The code that fills a patch: a zero-padded copy of what an item of a convolution reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .geometry import Patch
from .halves import Memory
from .ir import Function, Index, Module, Value, ceiling
from .lanes import Lanes


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


def _inside(f: Function, index: Value, extent: Value) -> Value:
    """Whether 0 <= index < extent."""
    return f.value("i1", f"icmp ult i64 {index.name}, {extent.name}")


@dataclass(frozen=True)
class Copied:
    """How numbers of X are read, and how a patch holds them, so many to an element: two bfloat16
    numbers side by side are a pair."""

    source: Memory
    held: Memory
    numbers: int

    @staticmethod
    def of(lanes: Lanes, memory: str, rounds: bool, numbers: int = 1) -> Copied:
        """For code that computes with `lanes`, from what X holds; rounded to bfloat16 or as they
        are."""
        if not rounds:
            return Copied(Memory(lanes, memory), Memory(lanes, lanes.dtype), numbers)
        if memory != "bfloat16":
            return Copied(Memory(lanes, memory), Memory(lanes, "bfloat16"), numbers)
        bits = Memory(Lanes("int16", 2 * lanes.count), "int16")
        return Copied(bits, bits, numbers)


@dataclass(frozen=True)
class Filler:
    """Writes `void fill(ptr patch, ptr x, i64 limit, i64 z, i64 y, i64 x, i64 sizes…, strides…)`:
    the patch whose first element is at z, y, x of X, which may lie in the padding.

    dense: the numbers from one place of X along x to the next, where all of them are read; else 0.
    is_whole: rows that lie outside X are zero; else they are left as they are: nothing reads them.
    """

    module: Module
    copied: Copied
    patch: Patch
    dense: int
    is_whole: bool = False

    def emit(self) -> None:
        f = self.module.internal("fill", ["ptr", "ptr"] + ["i64"] * 10)
        patch, x, limit, *rest = f.parameters
        start, source = rest[:3], Source(x, rest[3:6], rest[6:9])
        self._emit_row()
        shape, held = self.patch, self.copied.held.element

        def plane(index: Value, _: list[Value]) -> list[Value]:
            z = start[0] + index * shape.apart[0]
            here = source.x, z * source.strides[0], index * shape.steps[0]
            inside = taps(f, start[1], shape.rows, shape.apart[1], source.size[1])
            first, end = (0, shape.rows) if self.is_whole else inside
            f.loop(first, end, row(*here))
            return []

        def row(x: Value, above: Value, to: Value) -> Callable[[Value, list[Value]], list[Value]]:
            def body(index: Value, _: list[Value]) -> list[Value]:
                y = start[1] + index * shape.apart[1]
                at = f.at(x, above + y * source.strides[1], self.copied.source.element)
                width = source.size[2]
                if self.is_whole:
                    width = f.choose(_inside(f, y, source.size[1]), width, 0)
                into = f.at(patch, (to + index * shape.steps[1]) * self.copied.numbers, held)
                f.call("fill_row", [into, at, start[2], width, source.strides[2], limit])
                return []

            return body

        f.loop(*taps(f, start[0], shape.planes, shape.apart[0], source.size[0]), plane)

    def _emit_row(self) -> None:
        """`void fill_row(ptr to, ptr from, i64 first, i64 width, i64 stride, i64 limit)`: places
        from `first` on of a row of which `width` exist, the others are zero."""
        f = self.module.internal("fill_row", ["ptr", "ptr"] + ["i64"] * 4)
        to, x, first, width, stride, limit = f.parameters
        shape, copied = self.patch, self.copied

        def segment(index: Value, _: list[Value]) -> list[Value]:
            place = first + index * shape.apart[2]
            low = f.smaller(f.larger(place * -1, 0), shape.positions)
            high = f.larger(low, f.smaller(width - place, shape.positions))
            size = shape.positions * shape.pitch * copied.numbers
            into = f.at(to, index * size, copied.held.element)
            out = f.at(x, place * stride, copied.source.element)
            self._segment(f, (into, out), (low, high), (stride, limit))
            return []

        f.loop(0, shape.segments, segment)

    def _segment(
        self,
        f: Function,
        ends: tuple[Value, Value],
        inside: tuple[Value, Value],
        steps: tuple[Value, Value],
    ) -> None:
        """Copy the positions `inside`, low to high - 1, and clear the others; `ends` are where to
        and from where, `steps` the stride of X and the limit of channels."""
        (to, x), (low, high), (stride, limit) = ends, inside, steps
        source, held, lanes = self.copied.source, self.copied.held, self.copied.held.lanes
        pitch = self.patch.pitch * self.copied.numbers
        whole, zero = f.integer(self.patch.positions * pitch), lanes.zero(f)
        self._sweep(f, to, low * pitch, lambda at, mask: zero)
        behind = f.at(to, high * pitch, held.element)
        self._sweep(f, behind, whole - high * pitch, lambda at, mask: zero)
        if self.dense == pitch or 0 < self.dense <= pitch <= lanes.count // 2:
            into = f.at(to, low * pitch, held.element)
            out = f.at(x, low * self.dense, source.element)
            copy = self._copy if self.dense == pitch else self._spread
            copy(f, into, out, high - low)
            return

        def position(index: Value, _: list[Value]) -> list[Value]:
            into = f.at(to, index * pitch, held.element)
            out = f.at(x, index * stride, source.element)
            for v in range(0, pitch, lanes.count):
                mask = lanes.first(f, f.smaller(limit, pitch) - v)
                row = source.load(f, f.at(out, v, source.element), mask)
                present = min(lanes.count, pitch - v)
                held.store(f, row, f.at(into, v, held.element), present)
            return []

        f.loop(low, high, position)

    def _copy(self, f: Function, to: Value, source: Value, places: Value) -> None:
        def load(at: Value, mask: Value | None) -> Value:
            read = self.copied.source
            return read.load(f, f.at(source, at, read.element), mask)

        self._sweep(f, to, places * self.dense, load)

    def _spread(self, f: Function, to: Value, source: Value, places: Value) -> None:
        """Copy places with zeros behind each, as many at a time as a vector takes."""
        read, held, pitch = self.copied.source, self.copied.held, self.patch.pitch
        pitch *= self.copied.numbers
        lanes, most = held.lanes, held.lanes.count // pitch
        order = [p * self.dense + i if i < self.dense else lanes.count
                 for p in range(most) for i in range(pitch)]  # fmt: skip
        order += [lanes.count] * (lanes.count - len(order))

        def some(at: Value, count: Index) -> list[Value]:
            numbers, written = (
                size * count if isinstance(count, int) else lanes.first(f, count * size)
                for size in (self.dense, pitch)
            )
            row = read.load(f, f.at(source, at * self.dense, read.element), numbers)
            spread = lanes.shuffle(f, row, lanes.zero(f), order)
            held.store(f, spread, f.at(to, at * pitch, held.element), written)
            return []

        whole = places // most * most
        f.loop(0, whole, lambda at, _: some(at, most), step=most)
        f.loop(whole, places, lambda at, _: some(at, places - whole), step=most)

    def _sweep(
        self, f: Function, to: Value, length: Value, value: Callable[[Value, Value | None], Value]
    ) -> None:
        """to[0:length] = value, vector by vector."""
        held, lanes = self.copied.held, self.copied.held.lanes
        whole = length // lanes.count * lanes.count

        def step(at: Value, _: list[Value]) -> list[Value]:
            held.store(f, value(at, None), f.at(to, at, held.element))
            return []

        def last() -> None:
            mask = lanes.first(f, length - whole)
            held.store(f, value(whole, mask), f.at(to, whole, held.element), mask)

        f.loop(0, whole, step, step=lanes.count)
        f.when(f.less(whole, length), last)
