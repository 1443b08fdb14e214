"""Rewriter: a graph on its way through a pass that replaces nodes, in order. Chain: several nodes
in the place of one."""
from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tapeflow.dtypes import DType
from tapeflow.graph import Graph, Node, Var
from tapeflow.primitive import REGISTRY, Primitive
from tapeflow.tensor import Array

Rule = Callable[["Rewriter", "Node[Var]"], "Var | Node[Var] | None"]


class Rewriter:
    """Replaces values by others, and nodes by nodes with the same outputs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._same: dict[Var, Var] = {}
        self._nodes: list[Node[Var]] = []
        self._numbers = itertools.count()   # of names: those before are taken
        self.constants: dict[Var, Array] = dict(graph.constants)
        self._producer: dict[Var, Node[Var]] = {}

    def run(self, rule: Rule) -> Graph:
        """The graph after `rule` was asked about every node: it gives a value that the node's only
        output equals, another node with the same outputs, or None where nothing is to be done."""
        for node in self._graph.nodes:
            current = node.reading(self._same)
            found = rule(self, current)
            while isinstance(found, Node):
                current, found = found, rule(self, found)
            if found is None:
                self._add(current)
            else:
                self._same[node.outputs[0]] = found
        outputs = tuple(self._same.get(v, v) for v in self._graph.outputs)
        graph = self._graph
        return Graph(graph.name, graph.inputs, tuple(self._nodes), outputs, self.constants)

    def _add(self, node: Node[Var]) -> None:
        self._nodes.append(node)
        for v in node.outputs:
            self._producer[v] = node

    def made_by(self, v: Var, name: str) -> Node[Var] | None:
        """The node that gives `v`, if it is of the primitive `name`."""
        node = self._producer.get(v)
        return node if node and node.prim.name == name else None

    def number(self, v: Var) -> Array | None:
        """The one number that `v` is everywhere, as an array without axes; None if it is not."""
        node = self.made_by(v, "broadcast_to")
        source = node.inputs[0] if node else v
        return None if source.shape else self.constants.get(source)

    def constant(self, value: Any, shape: tuple[int, ...], dtype: DType) -> Var:
        """A new value that is `value` everywhere."""
        held = self.fresh((), dtype)
        self.constants[held] = np.array(value, dtype)
        if not shape:
            return held
        made = self.fresh(shape, dtype)
        self._add(repeated(held, made))
        return made

    def add(self, name: str, inputs: tuple[Var, ...], dtype: DType) -> Var:
        """What the elementwise primitive `name` gives of these, by a new node."""
        made = self.fresh(inputs[0].shape, dtype)
        self._add(Node(REGISTRY[name], inputs, {}, (made,)))
        return made

    @functools.cached_property
    def _taken(self) -> set[str]:
        """The names of values."""
        graph = self._graph
        made = (v for node in graph.nodes for v in node.outputs)
        return {v.name for v in (*graph.inputs, *graph.constants, *made)}

    def fresh(self, shape: tuple[int, ...], dtype: DType) -> Var:
        """A new value, whose name no other has."""
        name = next(n for i in self._numbers if (n := f"k{i}") not in self._taken)
        self._taken.add(name)
        return Var(name, shape, dtype)


def repeated(number: Var, made: Var) -> Node[Var]:
    """The node that gives `made`, which is `number` everywhere."""
    attrs = {"shape": made.shape, "axes": tuple(range(len(made.shape)))}
    return Node(REGISTRY["broadcast_to"], (number,), attrs, (made,))


def replaced(node: Node[Var], name: str, *inputs: Var, **attrs: Any) -> Node[Var]:
    """`node` as one of the primitive `name`, with the same outputs."""
    kept: Mapping[str, Any] = attrs
    return Node(REGISTRY[name], inputs, kept, node.outputs, node.scope, node.line)


class Chain:
    """Nodes one after the other, in the place of one."""

    def __init__(self, node: Node[Var]) -> None:
        self._node = node
        self.nodes: list[Node[Var]] = []

    def add(self, prim: Primitive | str, *inputs: Var, out: Var | None = None, **attrs: Any) -> Var:
        """What a primitive, or that of a name, gives of these; `out` where that is there."""
        node, prim = self._node, REGISTRY[prim] if isinstance(prim, str) else prim
        (spec,) = prim.output_specs(tuple(v.spec for v in inputs), attrs)
        made = out or Var(f"{node.outputs[0].name}_{len(self.nodes)}", spec.shape, spec.dtype)
        self.nodes.append(Node(prim, inputs, attrs, (made,), node.scope, node.line))
        return made
