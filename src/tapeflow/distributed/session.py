"""The group that this process belongs to, and the collectives that users call."""
from __future__ import annotations

import atexit
from collections.abc import Iterable

from tapeflow import arguments, config, dispatch
from tapeflow.distributed import environment
from tapeflow.distributed.group import Group
from tapeflow.errors import StateError, TraceError
from tapeflow.ops import collective
from tapeflow.tensor import Tensor, TensorLike, as_tensor
from tapeflow.variable import Variable, variables_in

_group: Group | None = None
_LINEAR = ("sum", "mean")


def init(timeout: float | None = None) -> Group:
    """Join the job that the launcher's environment describes; rank 0 of 1 if there is none.

    Understands the variables of torchrun, `tapeflow launch`, Slurm, Open MPI and PMI. A second
    call gives the same group.

    Args:
        timeout: seconds to wait for the other ranks; by default TAPEFLOW_TIMEOUT, or 60. Ten times
            as long a collective waits for ranks that live but do not come.

    Raises: DistributedError if the ranks do not come together; it names who is missing.
    """
    global _group
    if _group is None:
        _group = Group(environment.read(), token=config.job_token(),
                       timeout=config.timeout() if timeout is None else timeout)
        atexit.register(shutdown)
    return _group


def shutdown() -> None:
    """Leave the job; called at exit."""
    global _group
    if _group is not None:
        atexit.unregister(shutdown)
        _group.close()
        _group = None


def group() -> Group:
    """The group of this process; one rank alone needs no `init()`."""
    if _group is None:
        place = environment.read()
        if place.size > 1:
            raise StateError("distributed", got=f"rank {place.rank} of {place.size}",
                             why="this process has not joined its job",
                             fix="call tf.distributed.init() first")
        return init()
    return _group


def rank() -> int:
    """Which rank this process is, from 0."""
    return group().rank


def size() -> int:
    """How many ranks the job has."""
    return group().size


def local_rank() -> int:
    """Which rank this is among those of its host, from 0."""
    return group().local_rank


def barrier() -> None:
    """Wait until every rank is here.

    Raises: DistributedError if one does not come in time, TraceError in a compiled function.
    """
    if dispatch.tracer() is not None:
        raise TraceError("barrier", got="a call in a compiled function",
                         why="it would wait once, while the function is traced",
                         fix="call it outside; collectives wait for each other anyway")
    group().barrier()


def all_reduce(x: TensorLike, op: str = "mean", name: str | None = None) -> Tensor:
    """The sum, mean, max, min or prod of all ranks' `x`, the same bits on every rank.

    Args:
        x: of one shape and dtype on all ranks.
        name: what errors call it; ranks must agree on it.

    Raises: ArgumentError if there is no such reduction; DistributedError on all ranks if one
        disagrees or is gone.
    """
    linear = arguments.text("all_reduce", "op", op) in _LINEAR
    prim = collective.all_reduce if linear else collective.all_reduce_nonlinear
    result: Tensor = prim(as_tensor(x), group=group(), op=op, name=name)
    return result


def broadcast(x: TensorLike, root: int = 0, name: str | None = None) -> Tensor:
    """Rank `root`'s `x`, on every rank. Raises: ArgumentError if there is no such rank."""
    at = arguments.integer("broadcast", "root", root)
    result: Tensor = collective.broadcast(as_tensor(x), group=group(), root=at, name=name)
    return result


def all_gather(x: TensorLike, name: str | None = None) -> Tensor:
    """All ranks' `x`, one after the other along axis 0."""
    result: Tensor = collective.all_gather(as_tensor(x), group=group(), name=name)
    return result


def reduce_scatter(x: TensorLike, name: str | None = None) -> Tensor:
    """This rank's part, along axis 0, of the sum of all ranks' `x`."""
    result: Tensor = collective.reduce_scatter(as_tensor(x), group=group(), name=name)
    return result


def broadcast_variables(variables: Iterable[Variable], root: int = 0) -> None:
    """Give each variable the value that it has on rank `root`.

    Raises: ArgumentError unless these are variables and `root` is a rank.
    """
    for variable in variables_in("broadcast_variables", variables):
        variable.assign(broadcast(variable.value, root, variable.name))
