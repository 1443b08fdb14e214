"""Dead code elimination."""
from __future__ import annotations

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.holder import Holder


def dce(graph: Graph) -> Graph:
    """`graph` without nodes and constants that no output needs; effects are outputs too. Loops and
    branches lose what nothing needs of them."""
    needed: set[Var] = set(graph.outputs)
    kept: list[Node[Var]] = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            if isinstance(node.prim, Holder):
                node = node.prim.giving(node, needed, dce)
            kept.append(node)
            needed.update(node.inputs)
    constants = {v: a for v, a in graph.constants.items() if v in needed}
    return Graph(graph.name, graph.inputs, tuple(reversed(kept)), graph.outputs, constants)
