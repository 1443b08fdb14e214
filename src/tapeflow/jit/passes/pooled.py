"""pooled: what is done to the gradient that max pooling hands back is done before it is spread out.

Each window gives its gradient to one cell, so there are several times fewer windows than cells. The
mask of a relu before the pooling is that of the pooled numbers, as the cell that gets something
holds the very number that came out; and the sum over all places is that over all windows.
"""

from __future__ import annotations

from collections import Counter

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.rewriting import Rewriter, replaced


def pooled(graph: Graph) -> Graph:
    """`graph` with such masks and sums before the spreading."""
    readers = Counter(v for node in graph.nodes for v in node.inputs)
    readers.update(graph.outputs)

    def rule(rewriter: Rewriter, node: Node[Var]) -> Node[Var] | None:
        if node.prim.name == "where" and readers[node.inputs[1]] == 1:
            return _masked(rewriter, node)
        return _summed(rewriter, node) if node.prim.name == "sum" else None

    return Rewriter(graph).run(rule)


def _masked(graph: Rewriter, node: Node[Var]) -> Node[Var] | None:
    """where(y > 0, gradient of y, 0), with y what was pooled."""
    mask, x, other = node.inputs
    spread, positive = graph.made_by(x, "max_pool_input"), graph.made_by(mask, "greater")
    if spread is None or positive is None or graph.number(other) != 0:
        return None
    y, zero = positive.inputs
    g, position = spread.inputs
    pooling = graph.made_by(position, "max_pool")
    if pooling is None or pooling.inputs[0] is not y or graph.number(zero) != 0:
        return None
    largest = pooling.outputs[0]
    nothing = graph.constant(0, g.shape, g.dtype)
    is_kept = graph.add("greater", (largest, nothing), mask.dtype)
    kept = graph.add("where", (is_kept, g, nothing), g.dtype)
    return replaced(node, "max_pool_input", kept, position, **spread.attrs)


def _summed(graph: Rewriter, node: Node[Var]) -> Node[Var] | None:
    """The sum over all places of what was spread out."""
    (x,), axes = node.inputs, node.attrs["axes"]
    spread = graph.made_by(x, "max_pool_input")
    if spread is None or not set(range(1, len(x.shape) - 1)) <= set(axes):
        return None
    return replaced(node, "sum", spread.inputs[0], **node.attrs)
