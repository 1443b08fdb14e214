"""The text of one element: scalar ops, literals, loads and stores, and steps of reductions."""
from __future__ import annotations

import re
from typing import Any

from tapeflow.dtypes import bool_, is_floating, is_integer
from tapeflow.graph import Node, Var
from tapeflow.primitive import Fold, Scalar
from tapeflow.tensor import Array

# Sums and products of floats may be formed in vector lanes; the text says where.
_IN_LANES = {"{a} + {x}": "lanes_add({a}, {x})", "{a} * {x}": "lanes_multiply({a}, {x})"}
_CALL_COST = 8   # of a function such as exp, in additions


def cast_name(v: Var) -> str:
    """The dtype of `v` as generated text calls it."""
    return v.dtype.name


def literal(array: Array, v: Var) -> str:
    """A number of the dtype of `v`."""
    if v.dtype == bool_:
        return str(bool(array))
    number = array.item()
    if is_floating(v.dtype) and number != number or number in (float("inf"), float("-inf")):
        return f"{cast_name(v)}({'math.nan' if number != number else 'math.inf' if number > 0 else '-math.inf'})"
    return f"{cast_name(v)}({number!r})"


def statements(node: Node[Var], name: str, operands: list[str]) -> list[str]:
    """`name = ...` for a scalar op, in the dtype of its output."""
    assert isinstance(node.prim.lowering, Scalar)
    v = node.outputs[0]
    text = _filled(node.prim.lowering.text, node, dict(zip(node.prim.params, operands, strict=True)))
    return [f"{name} = {_in_dtype(v, text)}"]


def _filled(template: str, node: Node[Var], operands: dict[str, str]) -> str:
    attrs: dict[str, Any] = {k: repr(a) for k, a in node.attrs.items()}
    return template.format(**{**attrs, **operands, "t": cast_name(node.outputs[0])})


def _in_dtype(v: Var, text: str) -> str:
    """Integers widen when Python adds them; floats of one dtype stay in it."""
    return f"{cast_name(v)}({text})" if is_integer(v.dtype) else text


def loaded(v: Var, element: str) -> str:
    """An element read from memory; bools are bytes there."""
    return f"{element} != 0" if v.dtype == bool_ else element


def stored(v: Var, name: str) -> str:
    """A value as it is written to memory."""
    return f"uint8({name})" if v.dtype == bool_ else name


def start(node: Node[Var]) -> str:
    """What a reduction holds before its first element."""
    return stored(node.outputs[0], _in_dtype(node.outputs[0], _fold(node).start.format(t=cast_name(node.outputs[0]))))


def combined(node: Node[Var], total: str, x: str) -> str:
    """What a reduction holds after one more element."""
    combine = _fold(node).combine
    if is_floating(node.outputs[0].dtype):
        combine = _IN_LANES.get(combine, combine)
    return _in_dtype(node.outputs[0], combine.format(a=total, x=x, t=cast_name(node.outputs[0])))


def combined_plainly(node: Node[Var], total: str, x: str) -> str:
    """The same, one after the other."""
    v = node.outputs[0]
    return _in_dtype(v, _fold(node).combine.format(a=total, x=x, t=cast_name(v)))


def finish(node: Node[Var]) -> str | None:
    """How a reduction ends, if by more than what it holds."""
    text = _fold(node).finish
    return None if text == "{a}" else text


def _fold(node: Node[Var]) -> Fold:
    assert isinstance(node.prim.lowering, Fold)
    return node.prim.lowering


def cost(node: Node[Var]) -> int:
    """Work for one element, in additions."""
    lowering = node.prim.lowering
    text = lowering.text if isinstance(lowering, Scalar) else ""
    return 1 + _CALL_COST * len(re.findall(r"\b[a-z_0-9]+\(", text.replace("{t}(", "")))
