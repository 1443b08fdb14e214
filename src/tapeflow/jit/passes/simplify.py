"""Algebra that is exact for every input, NaN, infinities and the sign of zero included.

So x + 0 stays for floats, as -0 + 0 is 0, and x * 0 stays everywhere. One rule is better than
exact: n equal numbers summed are n times the number, which rounds once instead of n - 1 times.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tapeflow.dtypes import DType, is_complex, is_floating
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.rewriting import Rewriter, replaced
from tapeflow.tensor import Array

Found = Var | Node[Var] | None


def simplify(graph: Graph) -> Graph:
    """`graph` after the rules below; what they leave unused is for dce."""
    return Rewriter(graph).run(_simplified)


def _simplified(graph: Rewriter, node: Node[Var]) -> Found:
    rule = _RULES.get(node.prim.name)
    return rule(graph, node) if rule else None


def _is(number: Array | None, value: float) -> bool:
    """Whether `number` is `value`, in the sign of zero too; no complex one is, whose parts' signs
    arithmetic may change."""
    if number is None or is_complex(number.dtype) or number != value:
        return False
    sign = math.copysign(1, value) < 0
    return not is_floating(number.dtype) or bool(np.signbit(number)) == sign


# ---- arithmetic

def _add(graph: Rewriter, node: Node[Var]) -> Found:
    for x, y in (node.inputs, node.inputs[::-1]):
        nothing = -0.0 if is_floating(x.dtype) else 0
        if _is(graph.number(y), nothing):
            return x
        opposite = graph.made_by(y, "negative")
        if opposite:
            return replaced(node, "subtract", x, opposite.inputs[0])
    return None


def _subtract(graph: Rewriter, node: Node[Var]) -> Found:
    x, y = node.inputs
    if _is(graph.number(y), 0.0):
        return x
    opposite = graph.made_by(y, "negative")
    return replaced(node, "add", x, opposite.inputs[0]) if opposite else None


def _multiply(graph: Rewriter, node: Node[Var]) -> Found:
    for x, y in (node.inputs, node.inputs[::-1]):
        number = graph.number(y)
        if _is(number, 1):
            return x
        if is_floating(y.dtype) and _is(number, -1):
            return replaced(node, "negative", x)
    return None


def _divide(graph: Rewriter, node: Node[Var]) -> Found:
    x, y = node.inputs
    number = graph.number(y)
    if _is(number, 1):
        return x
    if number is None or not _has_exact_inverse(number):
        return None
    return replaced(node, "multiply", x, graph.constant(1 / number, y.shape, y.dtype))


def _has_exact_inverse(number: Array) -> bool:
    """Whether a float is a power of two whose inverse is a normal number."""
    if is_complex(number.dtype):
        return False
    mantissa, exponent = math.frexp(float(number))
    return abs(mantissa) == 0.5 and abs(exponent) < 14   # float16 has the fewest exponents


def _negative(graph: Rewriter, node: Node[Var]) -> Found:
    inner = graph.made_by(node.inputs[0], "negative")
    return inner.inputs[0] if inner else None


def _logical_not(graph: Rewriter, node: Node[Var]) -> Found:
    inner = graph.made_by(node.inputs[0], "logical_not")
    return inner.inputs[0] if inner else None


def _pow(graph: Rewriter, node: Node[Var]) -> Found:
    x, y = node.inputs
    number = graph.number(y)
    if _is(number, 1):
        return x
    if _is(number, 2):
        return replaced(node, "square", x)
    return replaced(node, "reciprocal", x) if is_floating(x.dtype) and _is(number, -1) else None


def _cast(graph: Rewriter, node: Node[Var]) -> Found:
    x, dtype = node.inputs[0], node.attrs["dtype"]
    if x.dtype == dtype:
        return x
    inner = graph.made_by(x, "cast")
    if inner and inner.inputs[0].dtype == dtype and _holds_all_of(x.dtype, dtype):
        return inner.inputs[0]
    return None


def _holds_all_of(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` survives in `wide`. NumPy calls int64 to float64 safe."""
    if narrow.kind in "iu" and is_floating(wide) and narrow.itemsize == 8:
        return False
    return bool(np.can_cast(narrow, wide, "safe"))


def _identity(graph: Rewriter, node: Node[Var]) -> Found:
    return node.inputs[0]


def _where(graph: Rewriter, node: Node[Var]) -> Found:
    _, x, y = node.inputs
    return x if x is y else None


# ---- shapes

def _reshape(graph: Rewriter, node: Node[Var]) -> Found:
    x, shape = node.inputs[0], tuple(node.attrs["shape"])
    if x.shape == shape:
        return x
    inner = graph.made_by(x, "reshape")
    return replaced(node, "reshape", inner.inputs[0], shape=shape) if inner else None


def _transpose(graph: Rewriter, node: Node[Var]) -> Found:
    x, axes = node.inputs[0], tuple(node.attrs["axes"])
    if axes == tuple(range(len(axes))):
        return x
    inner = graph.made_by(x, "transpose")
    if inner is None:
        return None
    order = tuple(inner.attrs["axes"][a] for a in axes)
    return replaced(node, "transpose", inner.inputs[0], axes=order)


def _broadcast_to(graph: Rewriter, node: Node[Var]) -> Found:
    x, shape, axes = node.inputs[0], tuple(node.attrs["shape"]), tuple(node.attrs["axes"])
    if not axes:
        return x
    inner = graph.made_by(x, "broadcast_to")
    if inner is None:
        return None
    kept = [a for a in range(len(shape)) if a not in axes]
    together = tuple(sorted([*axes, *(kept[a] for a in inner.attrs["axes"])]))
    return replaced(node, "broadcast_to", inner.inputs[0], shape=shape, axes=together)


def _sum(graph: Rewriter, node: Node[Var]) -> Found:
    x, axes = node.inputs[0], tuple(node.attrs["axes"])
    if not axes:
        return x
    count = math.prod(x.shape[a] for a in axes)
    if count == 1:
        return replaced(node, "reshape", x, shape=node.outputs[0].shape)
    inner = graph.made_by(x, "broadcast_to")
    if inner is None or count == 0 or not set(axes) <= set(inner.attrs["axes"]):
        return None
    return _sum_of_repeated(graph, node, inner, count)


def _sum_of_repeated(graph: Rewriter, node: Node[Var], inner: Node[Var], count: int) -> Found:
    """count times what `inner` repeats, if it repeats along all axes that are summed."""
    y = node.outputs[0]
    if inner.inputs[0].shape != y.shape or (y.dtype.itemsize == 2 and is_floating(y.dtype)):
        return None
    return replaced(node, "multiply", inner.inputs[0], graph.constant(count, y.shape, y.dtype))


_RULES: dict[str, Callable[[Rewriter, Node[Var]], Found]] = {
    "add": _add, "subtract": _subtract, "multiply": _multiply, "divide": _divide,
    "negative": _negative, "logical_not": _logical_not, "pow": _pow, "cast": _cast,
    "positive": _identity, "stop_gradient": _identity, "where": _where, "reshape": _reshape,
    "transpose": _transpose, "broadcast_to": _broadcast_to, "sum": _sum,
}
