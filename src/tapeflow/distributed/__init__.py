"""Several processes as one job: collectives and data parallelism.

>>> import tapeflow.distributed as D
>>> D.size(), D.all_reduce([1.0, 2.0], op="sum")
(1, Tensor([1., 2.], f32[2]))
"""
from tapeflow.distributed.call import launch
from tapeflow.distributed.session import (
    all_gather,
    all_reduce,
    barrier,
    broadcast,
    broadcast_variables,
    init,
    local_rank,
    rank,
    reduce_scatter,
    shutdown,
    size,
)
from tapeflow.distributed.strategy import DataParallel

__all__ = [
    "DataParallel",
    "all_gather",
    "all_reduce",
    "barrier",
    "broadcast",
    "broadcast_variables",
    "init",
    "launch",
    "local_rank",
    "rank",
    "reduce_scatter",
    "shutdown",
    "size",
]
