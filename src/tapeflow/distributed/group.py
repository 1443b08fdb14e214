"""The ranks of a job as one group, with collectives on NumPy arrays.

Ranks of one host meet in shared memory; the first of each host stands for it in a ring of hosts.
Before any data moves the ranks compare what each is about to do.
"""
from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from tapeflow import dtypes
from tapeflow.distributed.environment import Place
from tapeflow.distributed.ring import COMBINE, Array
from tapeflow.errors import ArgumentError, DistributedError, DTypeError, ShapeError, user_frame

if TYPE_CHECKING:
    from tapeflow.distributed.hosts import HostRing
    from tapeflow.distributed.shared import HostBlock
    from tapeflow.distributed.transport import Transport
    from tapeflow.distributed.wire import Data

# A peer that is gone is told at once; one that lives may be saving, evaluating or compiling.
_PATIENCE = 10


class Group:
    """All ranks of a job. At size 1 every collective is the identity."""

    def __init__(self, place: Place | None = None, *, token: str = "", timeout: float = 60.0):
        """Join the group that `place` names; waits until all its ranks are here."""
        place = place or Place()
        self.rank, self.size, self.local_rank = place.rank, place.size, place.local_rank
        self._patience = timeout
        self._number, self._lock, self._broken = 0, threading.Lock(), ""
        self._transport: Transport | None = None
        self._block: HostBlock | None = None
        self._hosts: tuple[tuple[int, ...], ...] = ((0,),)
        self._here: tuple[int, ...] = (0,)
        if self.size > 1:
            self._join(place, token, timeout)

    def _join(self, place: Place, token: str, timeout: float) -> None:
        from tapeflow.distributed import rendezvous

        self._transport, roster = rendezvous.meet(place, token, timeout)
        self._hosts = hosts(roster.members)
        self._here = next(ranks for ranks in self._hosts if self.rank in ranks)
        try:
            if len(self._here) > 1:
                self._block = rendezvous.share(self._here, roster.key, self._watch_here, self.rank)
        except BaseException:
            self.close()
            raise
        self._patience = _PATIENCE * timeout

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Group(rank={self.rank}, size={self.size})"

    def close(self) -> None:
        """Leave the group; the others are told."""
        if self._transport is not None:
            self._transport.close()
        self._block = None
        self._broken = self._broken or "this rank has closed its group"

    def all_reduce(self, x: Array, op: str = "mean", name: str | None = None,
                   out: Array | None = None) -> Array:
        """The arrays of all ranks joined element by element, on every rank the same bits.

        Args:
            x: of one shape and dtype on all ranks.
            op: sum, mean, max, min or prod.
            name: what to call it in errors; ranks must give the same.
            out: where to put the result; may be `x`.
        """
        out = self._target(f"all_reduce {op}", x, out)
        _check_op(op, x)
        if self.size == 1:
            out[...] = x
            return out
        several = len(self._hosts) > 1
        divisor = self.size if op == "mean" else 1
        with self._collective(f"all_reduce {op}", name, x) as call:
            flat, result = _flat(x), out.reshape(-1)
            if self._block is not None:
                self._block.all_reduce(flat, result, op, 1 if several else divisor)
            else:
                result[...] = flat
            if several:
                if self._leads:
                    self._ring(call).all_reduce(result, op)
                    if divisor != 1:
                        np.divide(result, divisor, out=result)
                self._spread(result)
        return out

    def broadcast(self, x: Array, root: int = 0, name: str | None = None,
                  out: Array | None = None) -> Array:
        """Rank `root`'s `x`, on every rank."""
        if not 0 <= root < self.size:
            raise ArgumentError("broadcast", got=f"root {root} of {self.size} ranks",
                                why="there is no such rank",
                                fix=f"take one of 0 to {self.size - 1}")
        out = self._target("broadcast", x, out)
        out[...] = x
        if self.size == 1:
            return out
        with self._collective(f"broadcast from {root}", name, x) as call:
            flat, host = out.reshape(-1), next(h for h in self._hosts if root in h)
            if self._block is not None and self._here == host:
                self._block.broadcast(flat, host.index(root))
            if len(self._hosts) > 1:
                if self._leads:
                    self._ring(call).broadcast(flat, self._hosts.index(host))
                if self._here != host:
                    self._spread(flat)
        return out

    def all_gather(self, x: Array, name: str | None = None, out: Array | None = None) -> Array:
        """The arrays of all ranks, one after the other along axis 0."""
        if x.ndim == 0:
            raise ShapeError("all_gather", got=f"x {signature('', None, x).type}",
                             why="there is no axis to join the ranks' values along",
                             fix="reshape x to [1]")
        whole = np.empty((self.size * x.shape[0], *x.shape[1:]), x.dtype)
        out = self._target("all_gather", whole, out)
        rows = out.reshape(self.size, -1) if x.size else out.reshape(self.size, 0)
        rows[self.rank] = _flat(x)
        if self.size == 1:
            return out
        with self._collective("all_gather", name, x) as call:
            if self._block is not None:
                self._block.all_gather(rows[self.rank].copy(), [rows[r] for r in self._here])
            if len(self._hosts) > 1:
                if self._leads:
                    blocks = [rows[list(ranks)].reshape(-1) for ranks in self._hosts]
                    self._ring(call).all_gather(blocks)
                    for ranks, block in zip(self._hosts, blocks, strict=True):
                        rows[list(ranks)] = block.reshape(len(ranks), -1)
                self._spread(rows.reshape(-1))
        return out

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size == 1:
            return
        with self._collective("barrier", None, None) as call:
            if len(self._hosts) > 1:
                if self._leads:
                    self._ring(call).all_reduce(np.zeros(1, np.uint8), "max")
                if self._block is not None:
                    self._block.meet()
