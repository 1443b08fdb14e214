"""Common subexpression elimination."""
from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from tapeflow.graph import Graph, Node, Var
from tapeflow.tensor import Array

_COMMUTATIVE = frozenset({"add", "multiply", "maximum", "minimum", "equal", "not_equal",
                          "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or",
                          "bitwise_xor"})
_COMPARED = 4096   # bytes: larger constants are not looked at


def cse(graph: Graph) -> Graph:
    """`graph` with each value computed once: equal ops on equal inputs are one, in either order
    where the op commutes, and equal small constants are one."""
    same: dict[Var, Var] = {}
    constants, known = _constants(graph.constants, same)
    numbers = {v: i for i, v in enumerate((*graph.inputs, *constants))}
    nodes: list[Node[Var]] = []
    for node in graph.nodes:
        node = node.reading(same)
        key = _key(node, numbers)
        if key is not None and key in known:
            same.update(zip(node.outputs, known[key], strict=True))
            continue
        if key is not None:
            known[key] = node.outputs
        first = len(numbers)
        numbers.update((v, first + i) for i, v in enumerate(node.outputs))
        nodes.append(node)
    outputs = tuple(same.get(v, v) for v in graph.outputs)
    return Graph(graph.name, graph.inputs, tuple(nodes), outputs, constants)


def _constants(constants: Mapping[Var, Array], same: dict[Var, Var]
               ) -> tuple[dict[Var, Array], dict[Hashable, tuple[Var, ...]]]:
    """The constants that differ; the others are entered in `same`."""
    known: dict[Hashable, tuple[Var, ...]] = {}
    kept: dict[Var, Array] = {}
    for v, array in constants.items():
        key = (v.spec, array.tobytes()) if array.nbytes <= _COMPARED else v
        if key in known:
            same[v] = known[key][0]
        else:
            known[key] = (v,)
            kept[v] = array
    return kept, known


def _key(node: Node[Var], numbers: Mapping[Var, int]) -> Hashable | None:
    """What two equal nodes share; None where that cannot be told."""
    order = [numbers[v] for v in node.inputs]
    if node.prim.name in _COMMUTATIVE:
        order.sort()
    attrs = [(name, _frozen(value)) for name, value in node.attrs.items()]
    if any(value is None for _, value in attrs):
        return None
    return (node.prim, tuple(order), tuple(attrs))


def _frozen(value: Any) -> Hashable | None:
    """`value` as something that is equal only to its like: 1, 1.0 and True differ, and so do 0.0
    and -0.0. None where there is no such thing."""
    if isinstance(value, tuple | list):
        parts = tuple(map(_frozen, value))
        return None if None in parts else (type(value), parts)
    if isinstance(value, int | str | type(None) | np.dtype):   # bools are ints
        return (type(value), value)
    if isinstance(value, float | slice):
        return (type(value), repr(value))
    return None
