"""Fusion: neighbouring elementwise ops and reductions become one kernel.

Two groups are merged when they loop over the same shape, reduce it over the same axes (if at all),
one gives the other a value or both read one, and no path between them leads through a third. What
only its group uses is never written to memory.
"""
from __future__ import annotations

from collections import defaultdict

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.fused import Fused as Fused
from tapeflow.jit.passes.fused import is_literal, iteration_space
from tapeflow.jit.passes.groups import Group, Groups

_FARTHEST = 64        # nodes between two groups merged for an input alone, which then lives longer


def fuse(graph: Graph) -> Graph:
    """`graph` with its elementwise ops and reductions in Fused nodes."""
    numbers = _numbers(graph)
    groups = _grouped(graph, numbers)
    returned = set(graph.outputs)
    readers: defaultdict[Var, set[Group]] = defaultdict(set)
    for group in groups:
        for i in group.members:
            for v in graph.nodes[i].inputs:
                readers[v].add(group)
    nodes: list[Node[Var]] = []
    for group in groups:
        members = [graph.nodes[i] for i in group.members]
        made = [v for node in members for v in node.outputs]
        outputs = tuple(v for v in made if v in returned or readers[v] - {group})
        if group.space is None or not outputs:
            nodes.extend(members)
            continue
        body = _body(graph, members, outputs, numbers)
        last = members[-1]
        prim = Fused(body, group.space, group.axes)
        nodes.append(Node(prim, body.inputs, {}, outputs, last.scope, last.line))
    return Graph(graph.name, graph.inputs, tuple(nodes), graph.outputs, graph.constants)


def _grouped(graph: Graph, numbers: dict[Var, Node[Var] | None]) -> list[Group]:
    groups = Groups(graph)
    last_reader: dict[Var, Group] = {}
    for i, node in enumerate(graph.nodes):
        inputs = tuple(v for v in node.inputs if v not in numbers)
        space = iteration_space(node)
        group = groups.add(inputs, *(space or (None, None)))
        if space is None:
            continue
        for v in inputs:
            source = groups.producing(v)
            if source:
                groups.merge(source, groups.now(group))
        for v in inputs:
            reader = groups.now(last_reader.get(v, group))
            if v.shape and i - reader.members[-1] <= _FARTHEST:
                groups.merge(reader, groups.now(group))
            last_reader[v] = groups.now(group)
    return groups.ordered()


def _numbers(graph: Graph) -> dict[Var, Node[Var] | None]:
    """The constants that are literals in kernels, and the nodes that repeat them."""
    numbers: dict[Var, Node[Var] | None] = {
        v: None for v, a in graph.constants.items() if is_literal(a)}
    for node in graph.nodes:
        if node.prim.name == "broadcast_to" and numbers.get(node.inputs[0], node) is None:
            numbers[node.outputs[0]] = node
    return numbers


def _body(graph: Graph, members: list[Node[Var]], outputs: tuple[Var, ...],
          numbers: dict[Var, Node[Var] | None]) -> Graph:
    """The members as a graph, with the numbers that they use."""
    made = {v for node in members for v in node.outputs}
    read = dict.fromkeys(v for node in members for v in node.inputs if v not in made)
    repeats = [node for v in read if (node := numbers.get(v))]
    held = {*read, *(node.inputs[0] for node in repeats)}
    return Graph("body", tuple(v for v in read if v not in numbers), (*repeats, *members), outputs,
                 {v: a for v, a in graph.constants.items() if v in held and v in numbers})
