"""The operators and methods of Tensor, from the operations."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapeflow import dispatch
from tapeflow.ops import create, elementwise, linalg, reduce, shape
from tapeflow.ops.elementwise import Elementwise
from tapeflow.tensor import Tensor

_BINARY: dict[str, Elementwise] = {
    "add": elementwise.add, "sub": elementwise.subtract, "mul": elementwise.multiply,
    "truediv": elementwise.divide,
}
_COMPARISON: dict[str, Elementwise] = {"gt": elementwise.greater}
_UNARY: dict[str, Callable[[Any], Tensor]] = {"neg": elementwise.negative}
_METHODS: dict[str, Callable[..., Tensor]] = {
    "astype": elementwise.cast, "reshape": shape.reshape, "sum": reduce.sum,
    "transpose": shape.transpose,
}


def bind() -> None:
    """Give Tensor its operators and methods."""
    for name, prim in {**_BINARY, **_COMPARISON}.items():
        setattr(Tensor, f"__{name}__", dispatch.binary(prim, prim.__call__))
    for name, prim in _BINARY.items():
        setattr(Tensor, f"__r{name}__", dispatch.reflected(prim, prim.__call__))
    for name, op in _UNARY.items():
        setattr(Tensor, f"__{name}__", _method(op))
    for name, op in _METHODS.items():
        setattr(Tensor, name, _method(op))
    Tensor.__matmul__ = lambda a, b: linalg.matmul(a, b)   # type: ignore[attr-defined]
    Tensor.__rmatmul__ = lambda a, b: linalg.matmul(b, a)   # type: ignore[attr-defined]
    Tensor.mT = property(shape.matrix_transpose)   # type: ignore[attr-defined]


def _method(op: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def method(self: Tensor, *args: Any, **keywords: Any) -> Tensor:
        return op(self, *args, **keywords)
    method.__doc__ = op.__doc__
    return method
