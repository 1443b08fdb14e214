"""The axes that a kernel loops over, as few as the layouts of its operands allow."""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Strides = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One loop: how often, whether it is reduced, how far each operand moves by a step of it."""

    extent: int
    reduced: bool
    strides: Strides


@dataclass(frozen=True, slots=True)
class Space:
    """Loops from outermost to innermost. A kernel shares out `outer` and runs `middle` and `inner`:

        map      outer: all axes but the innermost          inner: the innermost
        tiles    outer: all axes but two   middle: one      inner: the innermost
        rows     outer: kept axes    middle: reduced ones   inner: the innermost, reduced
        columns  outer: kept axes    middle: reduced ones   inner: the innermost, kept

    Tiles are for operands that lie side by side along the middle axis, such as a transpose.
    """

    outer: tuple[Axis, ...]
    middle: tuple[Axis, ...]
    inner: Axis

    @property
    def form(self) -> str:
        if self.inner.reduced:
            return "rows"
        return "map" if not self.middle else "columns" if self.middle[0].reduced else "tiles"


def space_of(shape: Sequence[int], axes: Sequence[int], strides: Sequence[Strides]) -> Space:
    """The loops over `shape`, reducing `axes`, for operands with these strides.

    Axes of size 1 are dropped, and two become one where every operand steps evenly over both. The
    innermost loop is the one that fewest operands step over with gaps; a reduction keeps the order
    of its kept axes, in which its results lie.
    """
    loops = [Axis(n, a in axes, tuple(s[a] for s in strides))
             for a, n in enumerate(shape) if n != 1]
    if not loops or (axes and not any(loop.reduced for loop in loops)):
        loops.insert(0, Axis(1, bool(axes), (1,) * len(strides)))   # a step of it is never taken
    last_kept = max((a for a, loop in enumerate(loops) if not loop.reduced), default=-1)
    free = [a for a, loop in enumerate(loops) if not axes or loop.reduced or a == last_kept]
    best = min(free, key=lambda a: (_spread(loops[a]), -a))
    loops.append(loops.pop(best))
    merged = _merged(loops)
    *rest, inner = merged
    middle = [a for a in rest if a.reduced] if axes else _across(rest, inner)
    return Space(tuple(a for a in rest if a not in middle), tuple(middle), inner)


def _across(outer: Sequence[Axis], inner: Axis) -> list[Axis]:
    """The axis along which an operand lies side by side that has gaps along the innermost one."""
    gaps = [o for o, s in enumerate(inner.strides) if s not in (0, 1)]
    return [axis for axis in outer if any(axis.strides[o] == 1 for o in gaps)][-1:]


def _spread(axis: Axis) -> int:
    """How many operands would be read or written with gaps if this were the innermost loop."""
    return sum(s not in (0, 1) for s in axis.strides)


def _merged(loops: Sequence[Axis]) -> list[Axis]:
    merged = [loops[0]]
    for axis in loops[1:]:
        last = merged[-1]
        even = all(s == t * axis.extent for s, t in zip(last.strides, axis.strides, strict=True))
        if even and last.reduced == axis.reduced:
            merged[-1] = Axis(last.extent * axis.extent, axis.reduced, axis.strides)
        else:
            merged.append(axis)
    return merged


def count(axes: Sequence[Axis]) -> int:
    """How many steps nested loops over `axes` take."""
    return math.prod(a.extent for a in axes)
