"""widen: kernels that read float32 get halves as such, and what they give becomes halves again.

Products of matrices read and write halves themselves, and fused loops do. Of convolutions and pools
only the loops before and behind them do, which the casts join.
"""

from __future__ import annotations

from dataclasses import replace

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.product import of_matrices
from tapeflow.ops.shape import wide
from tapeflow.primitive import REGISTRY, Kernel


def widen(graph: Graph) -> Graph:
    """`graph` with casts around such nodes."""
    nodes: list[Node[Var]] = []
    widened: dict[Var, Var] = {}
    for node in graph.nodes:
        if not isinstance(node.prim.lowering, Kernel) or of_matrices(node):
            nodes.append(node)
            continue
        for v in node.inputs:
            if wide(v.dtype) != v.dtype and v not in widened:
                widened[v] = _wide(v)
                nodes.append(_cast(node, v, widened[v]))
        made = {v: _wide(v) for v in node.outputs if wide(v.dtype) != v.dtype}
        inputs = tuple(widened.get(v, v) for v in node.inputs)
        outputs = tuple(made.get(v, v) for v in node.outputs)
        nodes.append(replace(node, inputs=inputs, outputs=outputs))
        nodes += [_cast(node, x, v) for v, x in made.items()]
    return replace(graph, nodes=tuple(nodes))


def _wide(v: Var) -> Var:
    return Var(f"{v.name}_wide", v.shape, wide(v.dtype))


def _cast(near: Node[Var], x: Var, y: Var) -> Node[Var]:
    """The node that gives `y`, which is `x` in another dtype."""
    attrs = {"dtype": y.dtype}
    return Node(REGISTRY["cast"], (x,), attrs, (y,), near.scope, near.line)
