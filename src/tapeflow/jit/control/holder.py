"""Holder: a primitive that holds graphs, and what passes may do with it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Self, TypeVar

from tapeflow.graph import Graph, Node, Var, evaluate
from tapeflow.primitive import Primitive, Rule, SpecRule
from tapeflow.tensor import Array, Tensor

T = TypeVar("T")
Cleaned = Callable[[Graph], Graph]
Evaluator = Callable[..., Sequence[Array]]


class Holder(Primitive):
    """A loop or branch. Its derivatives are taken while tracing: passes give holders without.

    On arrays it runs `bodies_run`, one for each graph: node by node, unless `running` says how.
    """

    def __init__(self, name: str, graphs: tuple[Graph, ...], typed: SpecRule) -> None:
        super().__init__(self._run, typed, name=name, multiple=True, batching=Rule(_for_all))
        self.graphs = graphs
        self.bodies_run: tuple[Evaluator, ...] = tuple(partial(evaluate, g) for g in graphs)

    def running(self, bodies: Sequence[Evaluator]) -> Self:
        """The same, whose bodies run so."""
        other = self.holding(self.graphs)
        other.bodies_run = tuple(bodies)
        return other

    @abstractmethod
    def _run(self, *arrays: Array) -> tuple[Array, ...]:
        """What it means on arrays."""

    @abstractmethod
    def holding(self, graphs: tuple[Graph, ...]) -> Self:
        """The same with other graphs of the same inputs and outputs."""

    @abstractmethod
    def for_all(
        self, size: int, xs: tuple[Tensor, ...], batched: Sequence[bool]
    ) -> Sequence[Tensor]:
        """Its outputs for many examples: see primitive.Rule."""

    @abstractmethod
    def reaching(self, batched: Sequence[bool]) -> Sequence[bool]:
        """Which outputs differ among examples, where the inputs `batched` do."""

    @abstractmethod
    def knowing(self, numbers: Mapping[int, Array]) -> tuple[Self, Sequence[int]]:
        """The same with inputs as constants of its graphs, where they stay as they are; and which
        inputs are left."""

    @abstractmethod
    def giving(self, node: Node[Var], needed: Collection[Var], cleaned: Cleaned) -> Node[Var]:
        """`node`, which is of this, without what no needed output needs."""


def _for_all(
    prim: Holder, size: int, xs: tuple[Tensor, ...], batched: Sequence[bool], /
) -> tuple[Tensor, ...]:
    return tuple(prim.for_all(size, xs, batched))


def with_constants(graph: Graph, numbers: Mapping[int, Array]) -> Graph:
    """`graph` with the inputs at these positions as constants."""
    held = {graph.inputs[i]: a for i, a in numbers.items()}
    inputs = tuple(v for v in graph.inputs if v not in held)
    return replace(graph, inputs=inputs, constants={**graph.constants, **held})


def used(graph: Graph) -> set[Var]:
    """The values that a graph without dead code reads or gives."""
    return {*graph.outputs, *(v for node in graph.nodes for v in node.inputs)}


def picked(items: Sequence[T], places: Sequence[int]) -> tuple[T, ...]:
    """The items at these places."""
    return tuple(items[i] for i in places)


def live_carries(
    graph: Graph, carries: Sequence[Var], wanted: Collection[int], cleaned: Cleaned
) -> tuple[list[int], Graph]:
    """The outputs of a loop's body that it needs to give those `wanted`, and the body with only
    these. Its first outputs become `carries` at the next turn."""
    live = set(wanted)
    while True:
        order = sorted(live)
        body = cleaned(replace(graph, outputs=picked(graph.outputs, order)))
        reached = used(body)
        more = {k for k, v in enumerate(carries) if v in reached} - live
        if not more:
            return order, body
        live |= more
