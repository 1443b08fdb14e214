"""Fusion: neighbouring elementwise ops and reductions become one kernel.

Two groups are merged when they loop over the same shape, reduce it over the same axes (if at all),
share a value, and no path between them leads through another node, which would be a cycle. A value
that only its group uses is never written to memory.
"""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.fused import Fused as Fused
from tapeflow.jit.passes.fused import Shape, iteration_space

_MOST_NODES = 96      # of one group: compile time grows faster than the memory traffic saved
_FARTHEST = 64        # nodes between two groups merged for an input alone, which then lives longer
_SEARCHED = 1000      # groups looked at for a cycle before one is assumed


def fuse(graph: Graph) -> Graph:
    """`graph` with its elementwise ops and reductions in Fused nodes."""
    return _Fuser(graph).run()


@dataclass(eq=False)
class _Group:
    """Nodes that become one, by position; `space` is None where the only one stays as it is."""

    members: list[int]
    space: Shape | None = None
    axes: Shape | None = None
    sources: set[_Group] = field(default_factory=set)   # groups it needs values of

    def fits(self, other: _Group) -> bool:
        return (self.space is not None and self.space == other.space
                and (self.axes is None or other.axes is None or self.axes == other.axes)
                and len(self.members) + len(other.members) <= _MOST_NODES)


class _Fuser:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.numbers = _broadcast_numbers(graph)
        self.producer = {v: i for i, node in enumerate(graph.nodes) for v in node.outputs}
        self.group: list[_Group] = []          # of each node
        self.readers: dict[Var, _Group] = {}   # the last group that reads a value

    def run(self) -> Graph:
        for i, node in enumerate(self.graph.nodes):
            self._add(i, node)
        nodes = [made for group in self._ordered() for made in self._emit(group)]
        return Graph(self.graph.name, self.graph.inputs, tuple(nodes), self.graph.outputs,
                     self.graph.constants)

    # ---- grouping

    def _add(self, i: int, node: Node[Var]) -> None:
        space = iteration_space(node)
        values = [v for v in node.inputs if v not in self.numbers]
        group = _Group([i], *(space or (None, None)))
        group.sources = {self.group[self.producer[v]] for v in values if v in self.producer}
        self.group.append(group)
        if space is None:
            return
        for v in values:
            if v in self.producer:
                self._merge(self.group[self.producer[v]], self.group[i])
        for v in values:
            reader = self.readers.get(v)
            if v.shape and reader and i - self._current(reader).members[-1] <= _FARTHEST:
                self._merge(self._current(reader), self.group[i])
            self.readers[v] = self.group[i]

    def _current(self, group: _Group) -> _Group:
        """The group that `group` was merged into."""
        return self.group[group.members[0]]

    def _merge(self, a: _Group, b: _Group) -> None:
        if a is b or not a.fits(b) or self._is_apart(a, b) or self._is_apart(b, a):
            return
        merged = _Group(sorted(a.members + b.members), a.space, a.axes or b.axes)
        for i in merged.members:
            self.group[i] = merged
        merged.sources = {self._current(s) for s in a.sources | b.sources} - {merged}

    def _is_apart(self, a: _Group, b: _Group) -> bool:
        """Whether a path from `a` to `b` leads through another group."""
        first, seen = a.members[0], {a, b}
        stack = [s for s in map(self._current, b.sources) if s not in seen]
        while stack:
            group = stack.pop()
            if group in seen or group.members[-1] < first:
                continue
            seen.add(group)
            sources = [self._current(s) for s in group.sources]
            if a in sources or len(seen) > _SEARCHED:
                return True
            stack.extend(sources)
        return False

    # ---- writing the graph

    def _ordered(self) -> Iterator[_Group]:
        """The groups, each after those it needs, otherwise in the order of their last nodes."""
        done: set[_Group] = set()
        stack = sorted(dict.fromkeys(self.group), key=lambda g: -g.members[-1])
        while stack:
            group = stack[-1]
            missing = [s for s in map(self._current, group.sources) if s not in done]
            if group in done:
                stack.pop()
            elif missing:
                stack.extend(sorted(missing, key=lambda g: -g.members[-1]))
            else:
                done.add(stack.pop())
                yield group

    def _emit(self, group: _Group) -> list[Node[Var]]:
        members = [self.graph.nodes[i] for i in group.members]
        if group.space is None:
            return members
        used = self._used_outside(group)
        outputs = tuple(v for node in members for v in node.outputs if v in used)
        if not outputs:
            return []
        body = self._body(members, outputs)
        node = members[-1]
        return [Node(Fused(body, group.space, group.axes), body.inputs, {}, outputs, node.scope, node.line)]

    def _used_outside(self, group: _Group) -> set[Var]:
        inside = set(group.members)
        used = set(self.graph.outputs)
        for i, node in enumerate(self.graph.nodes):
            if i not in inside:
                used.update(node.inputs)
        return used

    def _body(self, members: list[Node[Var]], outputs: tuple[Var, ...]) -> Graph:
        """The members as a graph, with the numbers that they use."""
        computed = {v for node in members for v in node.outputs}
        read = dict.fromkeys(v for node in members for v in node.inputs if v not in computed)
        numbers = [self.numbers[v] for v in read if v in self.numbers]
        nodes = [node for node in numbers if isinstance(node, Node)]
        held = {node.inputs[0] for node in nodes} | {v for v in numbers if isinstance(v, Var)}
        inputs = tuple(v for v in read if v not in self.numbers)
        return Graph("body", inputs, (*nodes, *members), outputs,
                     {v: a for v, a in self.graph.constants.items() if v in held})


def _broadcast_numbers(graph: Graph) -> dict[Var, Var | Node[Var]]:
    """The constants without axes, and the nodes that repeat them: in kernels they are literals."""
    numbers: dict[Var, Var | Node[Var]] = {v: v for v in graph.constants if not v.shape}
    for node in graph.nodes:
        if node.prim.name == "broadcast_to" and node.inputs[0] in graph.constants and not node.inputs[0].shape:
            numbers[node.outputs[0]] = node
    return numbers
