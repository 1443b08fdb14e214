"""barriers: what kept a second run of tf.checkpoint behind the first goes, once all is in order."""
from __future__ import annotations

from dataclasses import replace

from tapeflow.autodiff.rematerialize import barrier
from tapeflow.graph import Graph, Node, Var


def barriers(graph: Graph) -> Graph:
    """`graph` with the inputs of each barrier in place of its outputs. No later pass may merge
    equal nodes, or move them."""
    same: dict[Var, Var] = {}
    nodes: list[Node[Var]] = []
    for node in graph.nodes:
        node = node.reading(same)
        if node.prim is barrier:
            same.update(zip(node.outputs, node.inputs, strict=False))
        else:
            nodes.append(node)
    outputs = tuple(same.get(v, v) for v in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)
