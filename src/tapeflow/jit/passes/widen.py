"""widen: what reduces or repeats a few neighbours, and much else besides, goes by whole rows.

A group norm of f[n, height, width, groups, channels] reduces and repeats along height, width and
the few channels of a group. Loops over so few would fill no vectors. So sums are formed along
height and width first, for groups and channels as one row, and what is repeated is repeated for
that row before: a copy of [n, groups, channels], which loops then read as they read the image.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.rewriting import Chain
from tapeflow.primitive import Fold

_WIDTH = 128  # elements from which a loop fills vectors by itself
_REPAID = 16  # times that the row is used


def widen(graph: Graph) -> Graph:
    """`graph` with such reductions and repetitions in two steps."""
    nodes: list[Node[Var]] = []
    for node in graph.nodes:
        nodes += _widened(node)
    return replace(graph, nodes=tuple(nodes))


def _widened(node: Node[Var]) -> list[Node[Var]]:
    lowering, chain = node.prim.lowering, Chain(node)
    if node.prim.name == "broadcast_to":
        _repeat(chain, node)
    elif isinstance(lowering, Fold) and lowering.finish == "{a}":
        _reduce(chain, node)
    return chain.nodes or [node]


def _near(shape: tuple[int, ...], axes: Collection[int]) -> int | None:
    """Where the last of `axes` begin, if they are short and others of them are many times longer;
    None where there is nothing to gain."""
    first = len(shape)
    while first and first - 1 in axes:
        first -= 1
    width = math.prod(shape[first:])
    times = math.prod(shape[a] for a in axes if a < first)
    kept = math.prod(n for a, n in enumerate(shape) if a not in axes)
    return first if 1 < width < _WIDTH and kept > 1 and times >= _REPAID else None


def _repeat(chain: Chain, node: Node[Var]) -> None:
    (x,), (y,) = node.inputs, node.outputs
    axes = tuple(node.attrs["axes"])
    near = _near(y.shape, axes)
    if near is None:
        return
    far = tuple(a for a in axes if a < near)
    row = tuple(n for a, n in enumerate(y.shape) if a not in far)
    few = tuple(range(near - len(far), len(row)))
    made = chain.add("concat", chain.add("broadcast_to", x, shape=row, axes=few), axis=0)
    chain.add("broadcast_to", made, out=y, shape=y.shape, axes=far)


def _reduce(chain: Chain, node: Node[Var]) -> None:
    (x,), (y,) = node.inputs, node.outputs
    axes = tuple(node.attrs["axes"])
    near = _near(x.shape, axes)
    if near is None or x.dtype.itemsize < 4:  # halves would be rounded in between
        return
    far = tuple(a for a in axes if a < near)
    row = chain.add(node.prim, x, axes=far)
    chain.add(node.prim, row, out=y, axes=tuple(range(near - len(far), len(row.shape))))
