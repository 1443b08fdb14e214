"""Groups of nodes of a graph, merged two by two without ever making a cycle.

The groups are kept in an order in which they can run. To merge a and b, which comes later, what
stands between them and needs a is moved behind b, and what b needs before a; if something is both,
merging would make a cycle. Only what stands between them is looked at.
Source: Pearce & Kelly (2006), A dynamic topological sort algorithm for directed acyclic graphs.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tapeflow.graph import Graph, Var
from tapeflow.jit.passes.levels import Span, spans

Shape = tuple[int, ...]

_MOST_NODES = 96      # of one group: compile time grows faster than the memory traffic saved
_SEARCHED = 1000      # groups between two that are looked at before a cycle is assumed


@dataclass(eq=False)
class Group:
    """Nodes that become one, by position; `space` is None for a node that stays alone."""

    members: list[int]
    place: int                 # in the order
    space: Shape | None
    axes: Shape | None         # that it reduces
    span: Span                 # where it delays nothing
    sources: set[Group] = field(default_factory=set)   # groups it needs values of
    sinks: set[Group] = field(default_factory=set)     # groups that need its values

    def fits(self, other: Group) -> bool:
        """Whether both loop over the same space, and reduce it alike if at all."""
        return (self.space is not None and self.space == other.space
                and (self.axes is None or other.axes is None or self.axes == other.axes)
                and len(self.members) + len(other.members) <= _MOST_NODES)


class Groups:
    """The groups of a graph, each node at first in one of its own."""

    def __init__(self, graph: Graph) -> None:
        self._of: list[Group] = []
        self._spans = spans(graph)
        self._producer: dict[Var, int] = {}
        for i, node in enumerate(graph.nodes):
            self._producer.update((v, i) for v in node.outputs)

    def add(self, inputs: tuple[Var, ...], space: Shape | None, axes: Shape | None) -> Group:
        """The group of the next node, which reads `inputs`."""
        i = len(self._of)
        group = Group([i], i, space, axes, self._spans[i])
        self._of.append(group)
        group.sources = {source for v in inputs if (source := self.producing(v))}
        for source in group.sources:
            source.sinks.add(group)
        return group

    def producing(self, v: Var) -> Group | None:
        """The group that computes `v`."""
        return self._of[self._producer[v]] if v in self._producer else None

    def now(self, group: Group) -> Group:
        """The group that `group` has become part of."""
        return self._of[group.members[0]]

    def ordered(self) -> list[Group]:
        """The groups in an order in which they can run."""
        return sorted(dict.fromkeys(self._of), key=lambda g: g.place)

    def merge(self, a: Group, b: Group) -> None:
        """Make `a` and `b` one, if they fit and no path between them leads through another."""
        if a is b or not a.fits(b):
            return
        if a.place > b.place:
            a, b = b, a
        after = self._between(a, b, lambda g: g.sinks)
        before = self._between(b, a, lambda g: g.sources)
        if after is None or before is None or after & before:
            return
        span = a.span.common(b.span)
        merged = Group(sorted(a.members + b.members), 0, a.space, a.axes or b.axes, span)
        for i in merged.members:
            self._of[i] = merged
        merged.sources = {self.now(g) for g in a.sources | b.sources} - {merged}
        merged.sinks = {self.now(g) for g in a.sinks | b.sinks} - {merged}
        places = sorted(g.place for g in (a, b, *before, *after))
        order = (*sorted(before, key=_place), merged, *sorted(after, key=_place))
        for place, group in zip(places, order, strict=False):
            group.place = place

    def _between(self, start: Group, end: Group,
                 steps: Callable[[Group], set[Group]]) -> set[Group] | None:
        """The groups on paths from `start` that stand before `end` in the order; None: too many."""
        low, high = sorted((start.place, end.place))
        found: set[Group] = set()
        stack = [start]
        while stack:
            for group in map(self.now, steps(stack.pop())):
                if low < group.place < high and group not in found:
                    found.add(group)
                    stack.append(group)
            if len(found) > _SEARCHED:
                return None
        return found


def _place(group: Group) -> int:
    return group.place
