"""Passes over graphs, one a file: pure functions from Graph to Graph."""
from __future__ import annotations

from collections.abc import Callable

from tapeflow.graph import Graph
from tapeflow.jit.passes.assemble import assemble
from tapeflow.jit.passes.barriers import barriers
from tapeflow.jit.passes.bodies import bodies
from tapeflow.jit.passes.bounds import bounds
from tapeflow.jit.passes.cse import cse
from tapeflow.jit.passes.dce import dce
from tapeflow.jit.passes.epilogue import epilogue
from tapeflow.jit.passes.flatten import flatten
from tapeflow.jit.passes.fold_constants import fold_constants
from tapeflow.jit.passes.fuse import fuse
from tapeflow.jit.passes.gather_products import gather_products
from tapeflow.jit.passes.pooled import pooled
from tapeflow.jit.passes.regroup import regroup
from tapeflow.jit.passes.simplify import simplify
from tapeflow.jit.passes.widen import widen

Pass = Callable[[Graph], Graph]


def _bodies(graph: Graph) -> Graph:
    return bodies(graph, optimize)


PIPELINE: tuple[Pass, ...] = (
    dce, simplify, fold_constants, cse, simplify, pooled, assemble, gather_products, regroup,
    bounds, flatten, simplify, cse, dce, _bodies, widen, epilogue, fuse, barriers, dce)


def optimize(graph: Graph) -> Graph:
    """`graph` after all passes."""
    for run in PIPELINE:
        graph = run(graph)
    return graph
