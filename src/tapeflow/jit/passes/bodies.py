"""Passes inside the bodies of loops and branches, which first take in numbers from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.holder import Holder
from tapeflow.tensor import Array


def bodies(graph: Graph, optimize: Callable[[Graph], Graph]) -> Graph:
    """`graph` with what its nodes hold after all passes, constants without axes taken in."""
    numbers = {v: a for v, a in graph.constants.items() if not v.shape}
    nodes = (_optimised(node, numbers, optimize) for node in graph.nodes)
    return replace(graph, nodes=tuple(nodes))


def _optimised(
    node: Node[Var], numbers: dict[Var, Array], optimize: Callable[[Graph], Graph]
) -> Node[Var]:
    prim = node.prim
    if not isinstance(prim, Holder):
        return node
    known = {i: numbers[v] for i, v in enumerate(node.inputs) if v in numbers}
    prim, left = prim.knowing(known)
    inputs = tuple(node.inputs[i] for i in left)
    return replace(node, prim=prim.holding(tuple(map(optimize, prim.graphs))), inputs=inputs)
