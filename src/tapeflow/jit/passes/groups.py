"""Groups of nodes of a graph, merged two by two without ever making a cycle.

The groups are kept in an order in which they can run. To merge a and b, which comes later, into the
place of a, what stands between them and b needs is moved before a, and what needs a behind that; if
something is both, merging would make a cycle. Few groups are looked at: b needs little of what
stands between, where much may need a.
Source: Pearce & Kelly (2006), A dynamic topological sort algorithm for directed acyclic graphs.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter

from tapeflow.graph import Graph, Var
from tapeflow.jit.passes.levels import Span, spans

Shape = tuple[int, ...]

_MOST_NODES = 96      # of one group: compile time grows faster than the memory traffic saved
_SEARCHED = 1000      # groups between two that are looked at before a cycle is assumed
_SOURCES, _SINKS, _PLACE = attrgetter("sources"), attrgetter("sinks"), attrgetter("place")


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
            for v in node.outputs:
                self._producer[v] = i

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
        return sorted(dict.fromkeys(self._of), key=_PLACE)

    def merge(self, a: Group, b: Group) -> None:
        """Make `a` and `b` one, if they fit and no path between them leads through another."""
        if a is b or not a.fits(b):
            return
        if a.place > b.place:
            a, b = b, a
        before = _between(b, a, _SOURCES)
        if before is None:
            return
        after = _between(a, max(before, key=_PLACE), _SINKS) if before else set()
        if after is None:
            return
        span = a.span.common(b.span)
        merged = Group(sorted(a.members + b.members), 0, a.space, a.axes or b.axes, span)
        for i in merged.members:
            self._of[i] = merged
        _take_links(merged, a, b)
        places = sorted(g.place for g in (a, *before, *after))
        order = (*sorted(before, key=_PLACE), merged, *sorted(after, key=_PLACE))
        for place, group in zip(places, order, strict=True):
            group.place = place


def _take_links(merged: Group, *parts: Group) -> None:
    """Let `merged` stand for its parts wherever these are linked to."""
    merged.sources = set().union(*(g.sources for g in parts)).difference(parts)
    merged.sinks = set().union(*(g.sinks for g in parts)).difference(parts)
    for group in merged.sources:
        group.sinks.difference_update(parts)
        group.sinks.add(merged)
    for group in merged.sinks:
        group.sources.difference_update(parts)
        group.sources.add(merged)


def _between(start: Group, end: Group, links: Callable[[Group], set[Group]]) -> set[Group] | None:
    """The groups that `links` lead to from `start` and that stand before `end` in the order; None
    where they lead on to `end`, or are too many."""
    low, high = sorted((start.place, end.place))
    found: set[Group] = set()
    stack = [start]
    while stack:
        group = stack.pop()
        linked = links(group)
        if (end in linked and group is not start) or len(found) > _SEARCHED:
            return None
        new = {g for g in linked if low < g.place < high} - found
        found |= new
        stack += new
    return found
