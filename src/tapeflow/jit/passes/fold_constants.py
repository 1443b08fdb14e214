"""Constant folding: what depends on small constants alone is computed now."""
from __future__ import annotations

import numpy as np

from tapeflow import dispatch
from tapeflow.graph import Graph, Node, Var
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
        numbers = [graph.number(v) for v in node.inputs]
        if all(a is not None for a in numbers):
            return graph.constant(_computed(node, numbers), y.shape, y.dtype)
    arrays = [graph.constants.get(v) for v in node.inputs]
    is_repetition = node.prim.name == "broadcast_to"
    if is_repetition or y.spec.size > _LARGEST or any(a is None for a in arrays):
        return None
    made = graph.fresh(y.shape, y.dtype)
    graph.constants[made] = _computed(node, arrays)
    return made


def _computed(node: Node[Var], arrays: list[Array | None]) -> Array:
    y = node.outputs[0]
    result = dispatch.here.context.quiet(node.prim.array_fn, *arrays, **node.attrs)
    return np.array(result, y.dtype, order="C")
