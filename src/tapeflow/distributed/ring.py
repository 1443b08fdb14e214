"""Plans of who sends what to whom, with no sockets in them.

Source: Patarasuk & Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
JPDC 2009: reduce-scatter, then all-gather, each in size - 1 steps. The order in which terms meet
depends on the size alone, so that sums are bit-equal from run to run.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tapeflow.tensor import Array

Placed = list[tuple[Array, slice]]   # parts of arrays, and where in a longer one each belongs

COMBINE: dict[str, np.ufunc] = {
    "sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum, "prod": np.multiply,
}


@dataclass(frozen=True, slots=True)
class Step:
    """Send one part to the next rank and take one from the previous."""

    send: int
    receive: int
    combine: bool   # True: join what came to ours; False: it is final, keep it


def ring_steps(rank: int, size: int) -> Iterator[Step]:
    """What `rank` does, in order, for its parts numbered 0 to size - 1.

    >>> [(s.send, s.receive, s.combine) for s in ring_steps(rank=0, size=2)]
    [(0, 1, True), (1, 0, False)]
    """
    for t in range(size - 1):
        yield Step((rank - t) % size, (rank - t - 1) % size, combine=True)
    for t in range(size - 1):
        yield Step((rank - t + 1) % size, (rank - t) % size, combine=False)


def spans(count: int, parts: int) -> list[slice]:
    """`count` elements cut into `parts` neighbouring slices of nearly equal length.

    >>> spans(5, 2)
    [slice(0, 2, None), slice(2, 5, None)]
    """
    cuts = [count * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(cuts)]


def laid(arrays: Sequence[Array]) -> Placed:
    """Flat arrays, laid end to end."""
    cuts = [0, *itertools.accumulate(x.size for x in arrays)]
    return [(x, slice(*cut)) for x, cut in zip(arrays, itertools.pairwise(cuts), strict=True)]


def within(placed: Placed, span: slice) -> Placed:
    """What of `placed` lies in `span`, with places that count from its start."""
    found = []
    for x, at in placed:
        start, stop = max(span.start, at.start), min(span.stop, at.stop)
        if start < stop:
            found.append((x[start - at.start:stop - at.start],
                          slice(start - span.start, stop - span.start)))
    return found


def fold(op: str, terms: Sequence[Array], out: Array, divisor: int = 1) -> None:
    """Join `terms` from left to right into `out`, then divide by `divisor`."""
    combine = COMBINE[op]
    combine(terms[0], terms[1], out=out)
    for term in terms[2:]:
        combine(out, term, out=out)
    if divisor != 1:
        np.divide(out, divisor, out=out)


class Neighbours(Protocol):
    """The way to the next member of a ring and from the previous one."""

    def send(self, part: Array) -> None:
        """Start sending `part`; it must not change before `sent()`."""

    def receive(self, into: Array, keep: Callable[[Array, Array], None]) -> None:
        """`keep(piece of into, what came for it)` for each piece, until `into` is full."""

    def sent(self) -> None:
        """Wait until all parts sent so far may change again."""


def _replace(into: Array, came: Array) -> None:
    into[...] = came


@dataclass(frozen=True)
class Ring:
    """Collectives among `size` members of which this is number `index`."""

    index: int
    size: int
    neighbours: Neighbours

    def all_reduce(self, x: Array, op: str) -> None:
        """Join the flat array `x` of every member, in place."""
        combine = COMBINE[op]

        def join(into: Array, came: Array) -> None:
            combine(into, came, out=into)

        parts = [x[span] for span in spans(x.size, self.size)]
        for step in ring_steps(self.index, self.size):
            self.neighbours.send(parts[step.send])
            self.neighbours.receive(parts[step.receive], join if step.combine else _replace)
        self.neighbours.sent()

    def all_gather(self, blocks: Sequence[Array]) -> None:
        """Fill `blocks`, one flat array a member, of which blocks[index] is ours."""
        for t in range(self.size - 1):
            self.neighbours.send(blocks[(self.index - t) % self.size])
            self.neighbours.receive(blocks[(self.index - t - 1) % self.size], _replace)
        self.neighbours.sent()

    def broadcast(self, x: Array, root: int) -> None:
        """Make the flat array `x` of every member that of member `root`, in place."""
        if self.index != root:
            self.neighbours.receive(x, _replace)
        if (self.index + 1) % self.size != root:
            self.neighbours.send(x)
        self.neighbours.sent()
