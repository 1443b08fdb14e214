"""Values that a kernel computes again rather than reads: cheap ones, of what it reads anyway, or of
one value more that lasts, where then nobody needs the result in memory."""
from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.fused import iteration_space
from tapeflow.jit.passes.groups import Group
from tapeflow.primitive import Scalar

_DEEPEST = 3     # cheap ops in a row that take less time than reading their result


@dataclass(frozen=True)
class _Recipe:
    """The nodes, by position, that give a value; the lasting values that they read besides."""

    nodes: set[int] = field(default_factory=set)
    reads: set[Var] = field(default_factory=set)

    def add(self, other: _Recipe) -> None:
        self.nodes.update(other.nodes)
        self.reads.update(other.reads)


class Again:
    """What the groups of a graph compute again; `numbers` are those that kernels hold as text."""

    def __init__(self, graph: Graph, groups: Iterable[Group],
                 numbers: Mapping[Var, Node[Var] | None]) -> None:
        self._nodes, self._numbers = graph.nodes, numbers
        self._producer = {v: i for i, node in enumerate(graph.nodes) for v in node.outputs}
        alone = [graph.nodes[i] for g in groups if g.space is None for i in g.members]
        self._lasting = {*graph.inputs, *graph.constants, *graph.outputs}
        self._lasting.update(v for node in alone for v in (*node.inputs, *node.outputs))

    def before(self, group: Group) -> list[Node[Var]]:
        """The nodes of other groups that this one has too, in order."""
        members = [self._nodes[i] for i in group.members]
        made = {v for node in members for v in node.outputs}
        read = dict.fromkeys(v for node in members for v in node.inputs if v not in made)
        known = {*read, *self._numbers}
        found: set[int] = set()
        for v in read:
            recipe = self._recipe(v, known - {v})
            if recipe and len(recipe.reads) <= (v not in self._lasting):
                found |= recipe.nodes
                known |= recipe.reads
        return [self._nodes[i] for i in sorted(found)]

    def _recipe(self, v: Var, known: set[Var], depth: int = _DEEPEST) -> _Recipe | None:
        """How to compute `v` from what is known and what lasts; None if it is too dear."""
        node = self._nodes[self._producer[v]] if v in self._producer else None
        if node is None or depth == 0 or not _is_cheap(node):
            return None
        made = _Recipe({self._producer[v]})
        for x in node.inputs:
            if x in known or self._is_repeated(x):
                continue
            inner = self._recipe(x, known, depth - 1)
            if x in self._lasting and (inner is None or inner.reads):
                made.reads.add(x)
            elif inner is None:
                return None
            else:
                made.add(inner)
        return made

    def _is_repeated(self, v: Var) -> bool:
        """Whether `v` takes less memory than its shape says."""
        return v in self._producer and (
            self._nodes[self._producer[v]].prim.name == "broadcast_to")


def _is_cheap(node: Node[Var]) -> bool:
    """Whether a node takes less time than reading its result: no division and few functions."""
    lowering = node.prim.lowering
    if not isinstance(lowering, Scalar) or "/" in lowering.text or iteration_space(node) is None:
        return False
    called = re.findall(r"(\w+)\(", lowering.text.replace("{t}(", "("))
    return {"abs", "maximum", "minimum"}.issuperset(called)
