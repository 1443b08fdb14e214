"""A block of an image turned for tiles, whose rows go along the reduction: over places.

    T[plane, tap along x, channel, row of the patch, pair of places]

Each tap along x has what it meets at all places of a row, so that strides and dilations are gone,
and rows follow each other: a tap along y begins some rows later.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .amx import SIDE
from .geometry import Patch
from .halves import Memory
from .ir import Index, Module, Value
from .lanes import Lanes
from .tilecopy import ALTERNATELY

_LANES = Lanes("float32", SIDE)
_NUMBERS = Lanes("int16", SIDE)  # of bfloat16


@dataclass(frozen=True)
class Turned:
    """The extents of T; `channels` go through the taps along x where these lie side by side in the
    patch: then `taps` is 1.

    stride: places of the patch from one of the output to the next.
    block: pairs that tiles take at once, of `joined` rows.
    """

    planes: int
    taps: int
    channels: int
    rows: int
    pairs: int
    stride: int
    block: int
    joined: int

    @property
    def pitch(self) -> int:
        """Pairs from one channel to the next: whole vectors."""
        return math.ceil(self.rows * self.pairs / SIDE) * SIDE

    @property
    def elements(self) -> int:
        """Pairs of one image."""
        return self.planes * self.taps * self.channels * self.pitch


def emit_turn(module: Module, turned: Turned, patch: Patch) -> None:
    """Write `void turn(ptr to, ptr patch, i64 places)`: T from a patch of bfloat16 numbers, zero
    behind the first `places` of each row."""
    whole, rest = divmod(turned.channels, SIDE)
    for count in sorted({SIDE * (whole > 0), rest} - {0}):
        _emit_channels(module, turned, patch, count)
    f = module.internal("turn", ["ptr", "ptr", "i64"])
    to, source, places = f.parameters

    def some(index: Index, first: Index, count: int, at: Value) -> list[Value]:
        into = f.at(to, (index * turned.channels + first) * turned.pitch, _LANES.element)
        f.call(f"turn_{count}", [into, f.at(at, first, _NUMBERS.element), places])
        return []

    def plane(z: Value, _: list[Value]) -> list[Value]:
        f.loop(0, turned.taps, lambda x, _: tap(z, x))
        return []

    def tap(z: Value, x: Value) -> list[Value]:
        at = f.at(source, z * patch.steps[0] + x * patch.steps[2], _NUMBERS.element)
        index = z * turned.taps + x
        if whole:
            f.loop(0, whole, lambda g, _: some(index, g * SIDE, SIDE, at))
        return some(index, whole * SIDE, rest, at) if rest else []

    f.loop(0, turned.planes, plane)


def _emit_channels(module: Module, turned: Turned, patch: Patch, count: int) -> None:
    """Write `void turn_{count}(ptr to, ptr patch, i64 places)` for so many channels, at most those
    of a vector: first pairs of places, channels side by side, then turned square by square."""
    f = module.internal(f"turn_{count}", ["ptr", "ptr", "i64"])
    to, source, places = f.parameters
    room = f.value("ptr", f"alloca [{turned.pitch * SIDE} x float], align 64")
    step = turned.stride * patch.pitch

    whole = places // 2  # pairs of which both are there

    def row(y: Value, _: list[Value]) -> list[Value]:
        def both(p: Value, masks: tuple[Value | int, Value | int]) -> list[Value]:
            halves = []
            for i, mask in enumerate(masks):
                at = f.at(source, y * patch.steps[1] + (p * 2 + i) * step, _NUMBERS.element)
                halves.append(Memory(_NUMBERS, "int16").load(f, at, mask))
            held = _NUMBERS.shuffle(f, halves[0], halves[1], ALTERNATELY)
            to = f.at(room, (y * turned.pairs + p) * SIDE, _LANES.element)
            Lanes("int16", 2 * SIDE).store(f, held, to)
            return []

        def rest(p: Value, _: list[Value]) -> list[Value]:
            there = (f.choose(f.less(p * 2 + i, places), count, 0) for i in range(2))
            first, second = (_LANES.first(f, channels) for channels in there)
            return both(p, (first, second))

        f.loop(0, whole, lambda p, _: both(p, (count, count)))
        f.loop(whole, turned.pairs, rest)
        return []

    def square(at: Value, _: list[Value]) -> list[Value]:
        rows = [
            _LANES.load(f, f.at(room, at * SIDE + i * SIDE, _LANES.element)) for i in range(SIDE)
        ]
        for c, channel in enumerate(_LANES.transpose(f, rows)[:count]):
            _LANES.store(f, channel, f.at(to, at + c * turned.pitch, _LANES.element))
        return []

    f.loop(0, turned.rows, row)
    f.loop(0, turned.pitch, square, step=SIDE)
