"""Fusion: neighbouring elementwise ops and reductions become one kernel.

Two groups are merged when they loop over the same shape, reduce it over the same axes (if at all),
one gives the other a value or both read one, and no path between them leads through a third. What
only its group uses is never written to memory, and cheap values of others are computed again. For
the sake of a value that both read, a reduction is not put off: what waits for it would need a loop
more.
"""
from __future__ import annotations

from collections import defaultdict

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.again import Again
from tapeflow.jit.passes.fused import Fused as Fused
from tapeflow.jit.passes.fused import is_literal, iteration_space
from tapeflow.jit.passes.groups import Group, Groups

_FARTHEST = 64        # nodes between two groups merged for an input alone, which then lives longer
_READERS = 4          # groups that read a value and may be merged with its next reader


def fuse(graph: Graph) -> Graph:
    """`graph` with its elementwise ops and reductions in Fused nodes."""
    numbers = _numbers(graph)
    groups = _grouped(graph, numbers)
    returned = set(graph.outputs)
    again = Again(graph, groups, numbers)
    contents = {group: [*(again.before(group) if group.space is not None else ()),
                        *(graph.nodes[i] for i in group.members)] for group in groups}
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


def _grouped(graph: Graph, numbers: dict[Var, Node[Var] | None]) -> list[Group]:
    groups = Groups(graph)
    readers: defaultdict[Var, list[Group]] = defaultdict(list)
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
            if v in graph.constants and not v.shape:
                continue   # a number that two read brings them no closer
            readers[v] = _join_readers(groups, readers[v], group, i)
    return groups.ordered()


def _join_readers(groups: Groups, readers: list[Group], group: Group, i: int) -> list[Group]:
    """Merge the group of node i with such as read one value with it, where that delays nothing;
    gives those that its next reader may join."""
    known = dict.fromkeys(groups.now(reader) for reader in reversed(readers))
    for reader in known:
        here = groups.now(group)
        near = i - reader.members[-1] <= _FARTHEST
        if near and not reader.span.common(here.span).is_empty:
            groups.merge(reader, here)
    latest = dict.fromkeys([groups.now(group), *map(groups.now, known)])
    return [*latest][:_READERS][::-1]


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
