"""Constant folding: what depends on small constants alone is computed now."""
from __future__ import annotations

import numpy as np

from tapeflow import dispatch
from tapeflow.graph import Graph, Node, Var, run_node
from tapeflow.jit.passes.rewriting import Rewriter
from tapeflow.primitive import Scalar
from tapeflow.tensor import Array

_LARGEST = 1024   # elements of a constant that is made here; larger ones cost memory for good


def fold_constants(graph: Graph) -> Graph:
    """`graph` with nodes of constant inputs computed. One number repeated stays so: an elementwise
    op on such numbers is computed once and its result repeated."""
    return Rewriter(graph).run(_folded)


def _folded(graph: Rewriter, node: Node[Var]) -> Var | Node[Var] | None:
    if node.prim.multiple or node.prim.lowering is None or not node.inputs:
        return None   # without a lowering it may have effects
    y = node.outputs[0]
    if isinstance(node.prim.lowering, Scalar):
        numbers = [a for v in node.inputs if (a := graph.number(v)) is not None]
        if len(numbers) == len(node.inputs):
            return graph.constant(_computed(node, numbers), y.shape, y.dtype)
    arrays = [graph.constants[v] for v in node.inputs if v in graph.constants]
    is_repetition = node.prim.name == "broadcast_to"
    if is_repetition or y.spec.size > _LARGEST or len(arrays) < len(node.inputs):
        return None
    made = graph.fresh(y.shape, y.dtype)
    graph.constants[made] = _computed(node, arrays)
    return made


def _computed(node: Node[Var], arrays: list[Array]) -> Array:
    (result,) = dispatch.here.context.quiet(run_node, node, arrays)
    return np.array(result, node.outputs[0].dtype, order="C")
