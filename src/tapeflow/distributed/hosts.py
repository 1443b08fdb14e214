"""The way from host to host within one collective: one rank of each host stands for it."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from tapeflow.distributed.shared import Watch
from tapeflow.distributed.transport import Arrival, Transport
from tapeflow.distributed.wire import PIECE_BYTES, Data
from tapeflow.tensor import Array

if TYPE_CHECKING:
    import zmq

_GLANCE_SECONDS = 0.1   # how often a rank that waits looks whether its peers live


def _pieces(x: Array) -> Iterator[Array]:
    """The flat array `x` in pieces that fit a frame; an empty one is one piece."""
    step = PIECE_BYTES // x.itemsize
    return (x[i:i + step] for i in range(0, max(x.size, 1), step))


class HostNeighbours:
    """The leaders of the next and the previous host, for the collective that `header` names."""

    def __init__(self, transport: Transport, header: Data, following: int, previous: int,
                 watch: Watch, compare: Callable[[int, Data], None]):
        self._transport, self._header = transport, header
        self._following, self._previous = following, previous
        self._watch, self._compare = watch, compare
        self._trackers: list[zmq.MessageTracker] = []

    def send(self, part: Array) -> None:
        for piece in _pieces(part):
            tracker = self._transport.send(self._following, self._header, piece.view(np.uint8))
            if tracker is not None:
                self._trackers.append(tracker)

    def receive(self, into: Array, keep: Callable[[Array, Array], None]) -> None:
        for piece in _pieces(into):
            arrival = self._next()
            self._compare(arrival.sender, arrival.header)
            keep(piece, np.frombuffer(arrival.payload, np.uint8).view(into.dtype))

    def sent(self) -> None:
        start = time.monotonic()
        while any(not tracker.done for tracker in self._trackers):
            self._watch([self._following], time.monotonic() - start)
            time.sleep(1e-4)
        self._trackers.clear()

    def _next(self) -> Arrival:
        start = time.monotonic()
        while (arrival := self._transport.receive(_GLANCE_SECONDS)) is None:
            self._watch([self._previous], time.monotonic() - start)
        return arrival
