"""A running job seen from one rank: collectives on flat arrays, over hosts and within them.

Ranks of one host meet in shared memory; the first of each host stands for it in a ring of hosts.
Before data moves within a host its ranks compare what each is about to do; between hosts every
frame says it.
"""
from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from tapeflow.distributed import rendezvous
from tapeflow.distributed.agreement import Saying, disagreement, packed, unpacked
from tapeflow.distributed.environment import Place
from tapeflow.distributed.hosts import HostNeighbours
from tapeflow.distributed.membership import hosts, listed
from tapeflow.distributed.ring import Ring, laid
from tapeflow.distributed.shared import HostBlock
from tapeflow.distributed.wire import Data, Signature, signature
from tapeflow.errors import DistributedError, user_frame
from tapeflow.tensor import Array, Spec

# A peer that is gone is told at once; one that lives may be saving, evaluating or compiling.
_PATIENCE = 10
_JOINING = Data(0, Signature("init", "", "", ()), "")


def _site() -> str:
    place = user_frame()
    return f"{place[0]}:{place[1]}" if place else "?"


class Job:
    """All ranks of a job of at least two."""

    def __init__(self, place: Place, token: str, timeout: float):
        """Wait until all ranks are here; `timeout` seconds at most."""
        self._rank, self._size = place.rank, place.size
        self._lock, self._broken = threading.Lock(), ""
        self._now, self._patience = _JOINING, timeout
        self._block: HostBlock | None = None
        self._transport, roster = rendezvous.meet(place, token, timeout)
        self._hosts = hosts(roster.members)
        self._here = next(ranks for ranks in self._hosts if self._rank in ranks)
        try:
            if len(self._here) > 1:
                self._block = rendezvous.share(
                    self._here, self._rank, roster.key, self._watch_here)
        except BaseException:
            self.close()
            raise
        self._patience = _PATIENCE * timeout

    def close(self) -> None:
        """Leave the job; the others are told."""
        with self._lock:
            self._broken = self._broken or "this rank has left its group"
            self._transport.close()
            self._block = None

    @contextmanager
    def collective(self, op: str, name: str | None, x: Array | Spec | None) -> Iterator[None]:
        """Within, this rank takes part in the collective that all ranks are to call next."""
        with self._lock:
            said = signature(op, name, x) if x is not None else Signature(op, "", "", ())
            self._now = Data(self._now.number + 1, said, _site())
            if self._broken:
                raise self._stopped(self._broken)
            try:
                if self._block is not None:
                    self._compare_here(self._block)
                yield
            except BaseException as error:
                self._broken = (error.why if isinstance(error, DistributedError) else
                                f"rank {self._rank} left {op} by {type(error).__name__}")
                self._transport.stop(self._broken)
                raise

    def all_reduce(self, xs: Sequence[Array], outs: Sequence[Array], op: str) -> None:
        """Join the flat arrays `xs` of all ranks in `outs`, as one message."""
        divisor = self._size if op == "mean" else 1
        if len(self._hosts) == 1:
            assert self._block is not None, "a job has several ranks"
            self._block.all_reduce(xs, outs, op, divisor)
            return
        joined = outs[0] if len(outs) == 1 else np.empty(sum(x.size for x in xs), xs[0].dtype)
        np.concatenate(xs, out=joined)
        if self._block is not None:
            self._block.all_reduce([joined], [joined], op, 1)
        if self._leads:
            self._ring().all_reduce(joined, op)
            if divisor != 1:
                np.divide(joined, divisor, out=joined)
        self._spread(joined)
        for out, at in laid(outs) if len(outs) > 1 else ():
            out[...] = joined[at]

    def broadcast(self, x: Array, root: int) -> None:
        """Make the flat array `x` that of rank `root`, in place."""
        host = next(ranks for ranks in self._hosts if root in ranks)
        if self._block is not None and self._here == host:
            self._block.broadcast(x, host.index(root))
        if len(self._hosts) > 1:
            if self._leads:
                self._ring().broadcast(x, self._hosts.index(host))
            if self._here != host:
                self._spread(x)

    def all_gather(self, x: Array, rows: Array) -> None:
        """Write the flat arrays `x` of all ranks into `rows`, one a rank."""
        if self._block is not None:
            self._block.all_gather(x, [rows[rank] for rank in self._here])
        else:
            rows[self._rank] = x
        if len(self._hosts) > 1:
            if self._leads:
                blocks = [rows[list(ranks)].reshape(-1) for ranks in self._hosts]
                self._ring().all_gather(blocks)
                for ranks, block in zip(self._hosts, blocks, strict=True):
                    rows[list(ranks)] = block.reshape(len(ranks), x.size)
            self._spread(rows.reshape(-1))

    def barrier(self) -> None:
        """Wait for every rank; those of this host have met already, to compare."""
        if len(self._hosts) > 1:
            if self._leads:
                self._ring().all_reduce(np.zeros(1, np.uint8), "max")
            if self._block is not None:
                self._block.meet()

    @property
    def _leads(self) -> bool:
        return self._rank == self._here[0]

    def _spread(self, x: Array) -> None:
        """Give the ranks of this host what their leader has."""
        if self._block is not None:
            self._block.broadcast(x, 0)

    def _ring(self) -> Ring:
        leaders = [ranks[0] for ranks in self._hosts]
        index, size = leaders.index(self._rank), len(leaders)
        return Ring(index, size, HostNeighbours(
            self._transport, self._now, leaders[(index + 1) % size], leaders[index - 1],
            self._watch, self._compare))

    def _compare(self, sender: int, theirs: Data) -> None:
        """Raise if a rank of another host is in another collective than this one."""
        ours = self._now
        if (theirs.number, theirs.signature) != (ours.number, ours.signature):
            raise disagreement(Saying(self._rank, ours.signature, ours.site),
                               Saying(sender, theirs.signature, theirs.site))

    def _compare_here(self, block: HostBlock) -> None:
        said = block.agree(packed(self._now.signature), self._now.site.encode())
        if said is not None:
            first, *rest = (unpacked(rank, *header)
                            for rank, header in zip(self._here, said, strict=True))
            raise disagreement(first, next(s for s in rest if s.signature != first.signature))

    def _watch_here(self, missing: list[int], waited: float) -> None:
        self._watch([self._here[i] for i in missing], waited)

    def _watch(self, missing: list[int], waited: float) -> None:
        """Raise if the job cannot go on, or has kept us waiting too long."""
        why = self._transport.failure()
        if why is not None:
            raise self._stopped(why)
        if waited > self._patience:
            raise DistributedError(
                self._now.signature.op, got=f"rank {self._rank}: {self._now.signature}",
                why=f"{listed(missing)} did not come within {self._patience:g} s",
                fix="let all ranks call this, and equally often; or raise TAPEFLOW_TIMEOUT")

    def _stopped(self, why: str) -> DistributedError:
        return DistributedError(
            self._now.signature.op, got=f"rank {self._rank}: {self._now.signature}", why=why,
            fix="look for that rank's own error; if it ended well, let all ranks take equally "
                "many steps")
