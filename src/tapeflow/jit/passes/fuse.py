"""Fusion: neighbouring elementwise ops and reductions become one kernel.

Two groups are merged when they loop over the same shape, reduce it over the same axes (if at all),
one gives the other a value or both read one, and no path between them leads through a third. What
only its group uses is never written to memory. A value of another group is computed again rather
than read where that takes one cheap op on values that the group reads anyway.
"""
from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.fused import Fused as Fused
from tapeflow.jit.passes.fused import is_literal, iteration_space
from tapeflow.jit.passes.groups import Group, Groups
from tapeflow.primitive import Scalar

_FARTHEST = 64        # nodes between two groups merged for an input alone, which then lives longer


def fuse(graph: Graph) -> Graph:
    """`graph` with its elementwise ops and reductions in Fused nodes."""
    numbers = _numbers(graph)
    groups = _grouped(graph, numbers)
    returned = set(graph.outputs)
    producer = {v: i for i, node in enumerate(graph.nodes) for v in node.outputs}
    contents = {group: _contents(graph, group, numbers, producer) for group in groups}
    readers: defaultdict[Var, set[Group]] = defaultdict(set)
    for group, inside in contents.items():
        made = {v for node in inside for v in node.outputs}
        for v in {v for node in inside for v in node.inputs} - made:
            readers[v].add(group)
    nodes: list[Node[Var]] = []
    for group, inside in contents.items():
        given = [v for i in group.members for v in graph.nodes[i].outputs]
        outputs = tuple(v for v in given if v in returned or readers[v])
        if group.space is None or not outputs:
            nodes.extend(graph.nodes[i] for i in group.members)
            continue
        body = _body(graph, inside, outputs, numbers)
        last = inside[-1]
        prim = Fused(body, group.space, group.axes)
        nodes.append(Node(prim, body.inputs, {}, outputs, last.scope, last.line))
    return Graph(graph.name, graph.inputs, tuple(nodes), graph.outputs, graph.constants)


def _contents(graph: Graph, group: Group, numbers: Mapping[Var, Node[Var] | None],
              producer: Mapping[Var, int]) -> list[Node[Var]]:
    """The nodes of a group, behind those that it computes again."""
    members = [graph.nodes[i] for i in group.members]
    if group.space is None:
        return members
    made = {v for node in members for v in node.outputs}
    read = {v for node in members for v in node.inputs if v not in made}
    known = {*read, *numbers}
    makers = (graph.nodes[i] for i in sorted({producer[v] for v in read if v in producer}))
    again = (node for node in makers if _is_cheap(node) and known.issuperset(node.inputs))
    return [*again, *members]


def _is_cheap(node: Node[Var]) -> bool:
    """Whether a node takes less time than reading its result: no division and few functions."""
    lowering = node.prim.lowering
    if not isinstance(lowering, Scalar) or "/" in lowering.text or iteration_space(node) is None:
        return False
    called = re.findall(r"(\w+)\(", lowering.text.replace("{t}(", "("))
    return {"abs", "maximum", "minimum"}.issuperset(called)


def _grouped(graph: Graph, numbers: dict[Var, Node[Var] | None]) -> list[Group]:
    groups = Groups(graph)
    last_reader: dict[Var, Group] = {}
    for i, node in enumerate(graph.nodes):
        space = iteration_space(node)
        inputs = node.inputs   # all of them for what stays as it is: it holds no literals
        if space is not None:
            inputs = tuple(v for v in inputs if v not in numbers)
        group = groups.add(inputs, *(space or (None, None)))
        if space is None:
            continue
        for v in inputs:
            source = groups.producing(v)
            if source:
                groups.merge(source, groups.now(group))
        for v in inputs:
            reader = groups.now(last_reader.get(v, group))
            if i - reader.members[-1] <= _FARTHEST:
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
