"""The body of a Fused node as lines of Python: one element of each value.

Values of halves are float32 there; only casts and stores round them.
"""
from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tapeflow.dtypes import NAMES, DType, bool_, is_floating, is_integer
from tapeflow.graph import Node, Var
from tapeflow.jit.passes.fused import Fused, has_complex
from tapeflow.ops.shape import wide
from tapeflow.primitive import Fold, Scalar

_INSTRUCTIONS = frozenset({*NAMES.values(), "abs", "bool", "ceil", "copysign", "floor", "isfinite",
                           "isinf", "maximum", "minimum", "round", "sign", "signbit", "sqrt",
                           "trunc"})
_WORK_OF_A_CALL = 4   # of a polynomial: the gates of an LSTM, five calls, take 3.3 ns an element


def load(element: str, dtype: DType) -> str:
    """`element` of memory as a value: a bool is a byte there, a half is bits."""
    if wide(dtype) != dtype:
        return f"of_{NAMES[dtype]}({element})"
    return f"bool({element})" if dtype == bool_ else element


def stored(value: str, dtype: DType) -> str:
    """A value as an element of memory."""
    return f"to_{NAMES[dtype]}({value})" if wide(dtype) != dtype else value


def literal(value: Any, dtype: DType) -> str:
    """A number in the text of a kernel."""
    if dtype == bool_:
        return str(bool(value))
    number = int(value) if is_integer(dtype) else float(value)
    return f"{NAMES[wide(dtype)]}({number!r})"


class Body:
    """The values of a body by name, and the lines that compute them.

    `cast` are the kinds of dtypes whose results are cast, as they would widen.
    """

    def __init__(self, prim: Fused, cast: str = "biu") -> None:
        self.prim = prim
        self.cast = cast
        self.names: dict[Var, str] = {}
        self._count = 0
        for v, array in prim.body.constants.items():
            self.names[v] = literal(array, v.dtype)

    def name(self, v: Var) -> str:
        """The name of `v`, given to it now if it has none."""
        if v not in self.names:
            self.names[v] = f"v{self._count}"
            self._count += 1
        return self.names[v]

    def lines(self) -> Iterator[str]:
        """An assignment for each value that is not a reduction's."""
        for node in self.prim.body.nodes:
            if node.prim.name == "broadcast_to":
                self.names[node.outputs[0]] = self.names[node.inputs[0]]
            elif isinstance(node.prim.lowering, Scalar):
                yield f"{self.name(node.outputs[0])} = {self._expression(node, node.prim.lowering)}"

    def _expression(self, node: Node[Var], lowering: Scalar) -> str:
        inputs = dict(zip(node.prim.params, (self.names[v] for v in node.inputs), strict=False))
        dtype = wide(node.outputs[0].dtype)
        chosen = lowering.of_complex if has_complex(node) else lowering.text
        assert chosen is not None, f"{node.prim} of complex numbers runs on the host"
        text = _filled(chosen, {**node.attrs, **inputs, "t": NAMES[dtype]})
        if node.prim.name == "cast" and dtype != node.outputs[0].dtype:
            return f"rounded_{NAMES[node.outputs[0].dtype]}({text})"
        return f"{NAMES[dtype]}({text})" if dtype.kind in self.cast else text

    def work(self) -> int:
        """What an element costs, counted in elements that are only moved."""
        texts = (node.prim.lowering.text for node in self.prim.body.nodes
                 if isinstance(node.prim.lowering, Scalar))
        called = (name for text in texts for name in re.findall(r"\b([a-z]\w*)\(", text))
        return 1 + _WORK_OF_A_CALL * sum(name not in _INSTRUCTIONS for name in called)

    def folds(self) -> Iterator[tuple[str, Node[Var]]]:
        """The reductions, each with the name of its accumulator."""
        folds = [node for node in self.prim.body.nodes if isinstance(node.prim.lowering, Fold)]
        return ((f"a{i}", node) for i, node in enumerate(folds))


def start(fold: Fold, dtype: DType) -> str:
    """Where a reduction to `dtype` starts."""
    return _filled(fold.start, {"t": NAMES[wide(dtype)], "lowest": _bound(dtype, -1),
                                "highest": _bound(dtype, 1)})


def _bound(dtype: DType, side: int) -> str:
    """The least or the greatest value of a dtype; of a complex one, which has none, infinity."""
    if dtype == bool_:
        return str(side > 0)
    if not is_integer(dtype):
        return literal(side * math.inf, dtype)
    limits = np.iinfo(NAMES[dtype])
    return literal(limits.max if side > 0 else limits.min, dtype)


def combined(fold: Fold, dtype: DType, a: str, x: str) -> str:
    """`a` with `x` taken in. Sums and products of floats may be taken in any order, which lets a
    loop carry as many of them as vectors hold."""
    if is_floating(dtype) and fold.combine in _UNORDERED:
        return f"{_UNORDERED[fold.combine]}({a}, {x})"
    text = _filled(fold.combine, {"a": a, "x": x, "t": NAMES[wide(dtype)]})
    return text if is_floating(dtype) else f"{NAMES[dtype]}({text})"


_SUM = "{a} + {x}"
_UNORDERED = {_SUM: "add_unordered", "{a} * {x}": "multiply_unordered"}


def is_sum(fold: Fold, dtype: DType) -> bool:
    """Whether a reduction adds up floats, so that what rounding takes can be kept."""
    return is_floating(dtype) and fold.combine == _SUM


def finished(fold: Fold, dtype: DType, a: str) -> str:
    """The result of a reduction."""
    return _filled(fold.finish, {"a": a, "t": NAMES[wide(dtype)]})


def _filled(text: str, names: Mapping[str, Any]) -> str:
    return text.format(**{name: NAMES[value] if isinstance(value, np.dtype) else value
                          for name, value in names.items()})
