"""The ranks of a job as one group, with collectives on NumPy arrays."""
from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tapeflow.distributed.environment import Place
from tapeflow.distributed.ring import COMBINE
from tapeflow.dtypes import SHORT, is_floating
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.jit.memory import Outputs
from tapeflow.tensor import Array, Spec

if TYPE_CHECKING:
    from tapeflow.distributed.job import Job


_PAGED_IN = 1 << 20   # bytes from which results are written to memory that earlier ones have left
_TYPES_KEPT = 2       # types of results whose memory is kept


def _typed(x: Array | Spec) -> str:
    return f"{SHORT.get(x.dtype, x.dtype)}[{','.join(map(str, x.shape))}]"


class Group:
    """All ranks of a job. At size 1 every collective is the identity.

    Every rank must call the same collectives in the same order, with arrays of the same shape
    and dtype. One that differs, dies or stays away raises DistributedError on all of them, after
    which the group is of no more use.
    """

    def __init__(self, place: Place | None = None, *, token: str = "", timeout: float = 60.0):
        """Join the ranks that `place` speaks of, and wait `timeout` seconds for all of them."""
        place = place or Place()
        self.rank, self.size, self.local_rank = place.rank, place.size, place.local_rank
        self._lock, self._results = threading.Lock(), dict[Spec, Outputs]()
        self._job: Job | None = None
        if self.size > 1:
            from tapeflow.distributed.job import Job

            self._job = Job(place, token, timeout)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Group(rank={self.rank}, size={self.size})"

    def close(self) -> None:
        """Leave the group; the others are told."""
        if self._job is not None:
            self._job.close()

    def check_reducible(self, op: str, x: Array | Spec) -> None:
        """Raise unless arrays like `x` can be reduced by `op`."""
        if op not in COMBINE:
            raise ArgumentError("all_reduce", got=f"op {op!r}", why="there is no such reduction",
                                fix="take one of " + ", ".join(COMBINE))
        if op == "mean" and not is_floating(x.dtype):
            raise DTypeError("all_reduce mean", got=f"x {_typed(x)}",
                             why="a mean of these is not one of them",
                             fix='cast x to float32, or take op="sum"')

    def all_reduce(self, x: Array, op: str = "mean", name: str | None = None,
                   out: Array | None = None) -> Array:
        """The arrays of all ranks joined element by element, the same bits on every rank.

        Args:
            op: sum, mean, max, min or prod.
            name: what errors call it; ranks must agree on it.
            out: where the result goes; may be `x`.
        """
        self.check_reducible(op, x)
        if self._job is None:
            return _copied(x, out)
        out = self._target("all_reduce", x, x.shape, out)
        with self._job.collective(f"all_reduce {op}", name, x):
            self._job.all_reduce([_flat(x)], [out.reshape(-1)], op)
        return out

    def all_reduce_together(self, xs: Sequence[Array], op: str, name: str | None,
                            outs: Sequence[Array]) -> None:
        """`all_reduce` of each of `xs` into its one of `outs`, as one message: all of one dtype,
        and outs in C order."""
        for x in xs:
            self.check_reducible(op, x)
        if self._job is None:
            for x, out in zip(xs, outs, strict=True):
                _copied(x, out)
            return
        with self._job.collective(f"all_reduce {op}", name,
                                  Spec((sum(x.size for x in xs),), xs[0].dtype)):
            self._job.all_reduce([*map(_flat, xs)], [out.reshape(-1) for out in outs], op)

    def broadcast(self, x: Array, root: int = 0, name: str | None = None,
                  out: Array | None = None) -> Array:
        """Rank `root`'s `x`, on every rank."""
        if not 0 <= root < self.size:
            raise ArgumentError("broadcast", got=f"root {root} among {self.size} ranks",
                                why="there is no such rank",
                                fix=f"take one of 0 to {self.size - 1}")
        if self._job is None:
            return _copied(x, out)
        out = self._target("broadcast", x, x.shape, out)
        if self.rank == root:
            _copied(x, out)
        with self._job.collective(f"broadcast from {root}", name, x):
            self._job.broadcast(out.reshape(-1), root)
        return out

    def all_gather(self, x: Array, name: str | None = None, out: Array | None = None) -> Array:
        """The arrays of all ranks, one after the other along axis 0."""
        shape = (self.size * x.shape[0], *x.shape[1:])   # of a 0-d x the op says what is wrong
        if self._job is None:
            return _copied(x, out)
        out = self._target("all_gather", x, shape, out)
        with self._job.collective("all_gather", name, x):
            self._job.all_gather(np.ascontiguousarray(x).reshape(-1),
                                 out.reshape(self.size, x.size))
        return out

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self._job is not None:
            with self._job.collective("barrier", None, None):
                self._job.barrier()


    def _target(self, op: str, x: Array, shape: tuple[int, ...], out: Array | None) -> Array:
        """Where the result of shape `shape` and of x's dtype goes."""
        if x.dtype not in SHORT:
            raise DTypeError(op, got=f"x {_typed(x)}", why="tapeflow has no such dtype",
                             fix="cast it to one of " + ", ".join(SHORT.values()))
        if out is None:
            return self._fresh(Spec(shape, x.dtype))
        if out.shape != shape or out.dtype != x.dtype or not out.flags.c_contiguous:
            raise ShapeError(op, got=f"out {_typed(out)}",
                             why=f"the result is {Spec(shape, x.dtype)}, in C order",
                             fix="leave out the argument, or give an array of that type")
        return out

    def _fresh(self, spec: Spec) -> Array:
        """An array for a result. Large ones take the memory of an earlier result that nobody holds
        any more: to page in 40 MB takes as long as to reduce them."""
        if spec.nbytes < _PAGED_IN:
            return np.empty(spec.shape, spec.dtype)
        with self._lock:
            if spec not in self._results:
                self._results = {**dict([*self._results.items()][1 - _TYPES_KEPT:]),
                                 spec: Outputs(spec.shape, spec.dtype)}
            return self._results[spec].take()


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1)


def _copied(x: Array, out: Array | None) -> Array:
    if out is None or out is x:
        return x
    out[...] = x
    return out
