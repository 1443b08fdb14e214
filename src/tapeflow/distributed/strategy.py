"""DataParallel: every rank has all variables, and a part of each batch."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from tapeflow.distributed import session
from tapeflow.errors import ArgumentError
from tapeflow.ops.collective import all_reduce_bucket
from tapeflow.optim.optimizer import Minimizer
from tapeflow.tensor import Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable

_BUCKET = 16 << 20   # bytes; one message costs little beside it


class Optimizer(Protocol):
    """What DataParallel wraps, and what it is itself."""

    learning_rate: Any
    iterations: Any

    def apply(self, gradients: Sequence[Tensor | None], variables: Sequence[Variable]) -> Any: ...


def buckets(tensors: Sequence[Tensor]) -> list[list[int]]:
    """Positions of `tensors` in groups of one dtype and about 16 MB, the last first: backward
    passes finish the last layers' gradients first."""
    made: list[list[int]] = []
    open_: dict[object, list[int]] = {}
    room: dict[object, int] = {}
    for i in reversed(range(len(tensors))):
        x = tensors[i]
        if room.get(x.dtype, 0) <= 0:
            open_[x.dtype], room[x.dtype] = [], _BUCKET
            made.append(open_[x.dtype])
        open_[x.dtype].append(i)
        room[x.dtype] -= x.size * x.dtype.itemsize
    return made


class DataParallel(Minimizer):
    """An optimizer that applies the mean of all ranks' gradients; its loss is this rank's.

    Ranks that begin with equal variables (`broadcast_variables`) keep them equal to the last bit.

    Args:
        optimizer: what to apply the mean with.
        compression, spare_replicas: None and 0; there is nothing else yet.

    Raises: ArgumentError for another compression or spare replicas.
    """

    def __init__(self, optimizer: Optimizer, compression: None = None, spare_replicas: int = 0):
        for name, given, only in (("compression", compression, None),
                                  ("spare_replicas", spare_replicas, 0)):
            if given != only:
                raise ArgumentError("DataParallel", got=f"{name}={given!r}",
                                    why=f"there is no {name} yet", fix="leave it out")
        self.optimizer = optimizer

    @property
    def learning_rate(self) -> Any:
        return self.optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.optimizer.learning_rate = value

    @property
    def iterations(self) -> Any:
        return self.optimizer.iterations

    def apply(self, gradients: Sequence[TensorLike | None], variables: Sequence[Variable]) -> None:
        """Replace each gradient by its mean over the ranks, and apply them."""
        given = [None if g is None else as_tensor(g) for g in gradients]
        self.optimizer.apply(mean_of(given), variables)


def mean_of(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """The mean over the ranks of each gradient that is there."""
    group = session.group()
    there = [i for i, g in enumerate(gradients) if g is not None]
    present = [g for g in gradients if g is not None]
    result = list(gradients)
    for number, bucket in enumerate(buckets(present) if group.size > 1 else ()):
        means = all_reduce_bucket(*(present[i] for i in bucket), group=group, op="mean",
                                  name=f"gradients {number}")
        for i, mean in zip(bucket, means, strict=True):
            result[there[i]] = mean
    return result
