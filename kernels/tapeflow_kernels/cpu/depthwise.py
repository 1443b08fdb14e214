"""The innermost loops of a diagonal convolution: a vector of X is read once for all taps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .ir import Function, Value
from .micro import Micro


def summed(
    f: Function, micro: Micro, operands: tuple[Value, Value], extents: Sequence[Value], taps: int
) -> list[Value]:
    """The sums of a tile, row by row, as `micro.summed` gives them; the last of the loops goes over
    the taps along x, which are unrolled: what row r and tap t meet lies at one place for all pairs
    of equal r · stride + t · dilation."""
    lanes, columns = micro.lanes, []
    for v in range(micro.vectors):
        a, b = (f.at(start, v * lanes.count, lanes.element) for start in operands)
        columns.append(_column(f, micro, (a, b), extents, taps))
    return [columns[v][row] for row in range(micro.rows) for v in range(micro.vectors)]


def _column(
    f: Function,
    micro: Micro,
    operands: tuple[Value, Value],
    extents: Sequence[Value],
    taps: int,
) -> list[Value]:
    """The sums of the vector of columns that operands begin at."""
    lanes, kind = micro.lanes, micro.lanes.element
    planes, rows = extents[:2]

    def plane(_: Value, carried: list[Value]) -> list[Value]:
        a, b, *sums = carried
        _, _, *sums = f.loop(0, rows, row, [a, b, *sums])
        return [f.at(a, micro.a.steps[0], kind), f.at(b, micro.b.steps[0], kind), *sums]

    def row(_: Value, carried: list[Value]) -> list[Value]:
        a, b, *sums = carried
        totals = _row(f, micro, (a, b), sums, taps)
        return [f.at(a, micro.a.steps[1], kind), f.at(b, micro.b.steps[1], kind), *totals]

    return f.loop(0, planes, plane, [*operands, *[lanes.zero(f)] * micro.rows])[2:]


def _row(
    f: Function, micro: Micro, operands: tuple[Value, Value], sums: Sequence[Value], taps: int
) -> list[Value]:
    """All taps along x of one row of the window."""
    a, b = operands
    lanes, kind = micro.lanes, micro.lanes.element
    weights = [lanes.load(f, f.at(b, t * micro.b.innermost, kind)) for t in range(taps)]
    meeting = defaultdict(list)
    for r in range(micro.rows):
        for t in range(taps):
            meeting[r * micro.a_row + t * micro.a.innermost].append((r, t))
    totals = list(sums)
    for place in sorted(meeting):
        met = lanes.load(f, f.at(a, place, kind))
        for r, t in meeting[place]:
            totals[r] = lanes.multiply_add(f, met, weights[t], totals[r])
    return totals
