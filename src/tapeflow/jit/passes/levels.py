"""Levels: how many reductions and kernels of other kinds a node must wait for, and may.

What reads the result of a reduction cannot be in one loop with it. So a node has a level, one more
than that of a reduction it waits for, and a last level at which it delays nothing that comes after.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.fused import iteration_space
from tapeflow.primitive import Fold, View


@dataclass(frozen=True, slots=True)
class Span:
    """The levels at which a node, or a group of them, delays nothing."""

    first: int
    last: int

    def common(self, other: Span) -> Span:
        """The levels of both; `last` is below `first` if there are none."""
        return Span(max(self.first, other.first), min(self.last, other.last))

    @property
    def is_empty(self) -> bool:
        return self.last < self.first


def spans(graph: Graph) -> Sequence[Span]:
    """The levels of each node."""
    producer = {v: i for i, node in enumerate(graph.nodes) for v in node.outputs}
    ends = [_ends_a_level(node) for node in graph.nodes]
    first = [0] * len(ends)
    for i, node in enumerate(graph.nodes):
        made = (producer[v] for v in node.inputs if v in producer)
        first[i] = max((first[p] + ends[p] for p in made), default=0)
    last = [max(first, default=0)] * len(ends)
    for i in reversed(range(len(ends))):
        for p in {producer[v] for v in graph.nodes[i].inputs if v in producer}:
            last[p] = min(last[p], last[i] - ends[p])
    return [Span(*both) for both in zip(first, last, strict=True)]


def _ends_a_level(node: Node[Var]) -> bool:
    """Whether what reads the node's result is in no loop with it."""
    if isinstance(node.prim.lowering, View):
        return False
    return isinstance(node.prim.lowering, Fold) or iteration_space(node) is None
