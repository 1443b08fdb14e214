"""The operators and methods of Tensor, from the operations."""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from tapeflow import dispatch
from tapeflow.errors import ArgumentError
from tapeflow.ops import (
    arithmetic,
    device,
    index,
    joining,
    linalg,
    logic,
    reduce,
    shape,
    sorting,
    transcendental,
)
from tapeflow.ops.casts import astype
from tapeflow.ops.elementwise import Elementwise
from tapeflow.ops.info import STANDARD
from tapeflow.tensor import Tensor

_VERSIONS = ("2021.12", "2022.12", "2023.12", STANDARD)   # each contains those before it
_BINARY: dict[str, Elementwise] = {
    "add": arithmetic.add, "sub": arithmetic.subtract, "mul": arithmetic.multiply,
    "truediv": arithmetic.divide, "floordiv": arithmetic.floor_divide, "mod": arithmetic.remainder,
    "and": logic.bitwise_and, "or": logic.bitwise_or, "xor": logic.bitwise_xor,
    "lshift": logic.bitwise_left_shift, "rshift": logic.bitwise_right_shift,
}
_COMPARISON: dict[str, Elementwise] = {
    "eq": logic.equal, "ne": logic.not_equal, "lt": logic.less, "le": logic.less_equal,
    "gt": logic.greater, "ge": logic.greater_equal,
}
_UNARY: dict[str, Elementwise] = {
    "neg": arithmetic.negative, "pos": arithmetic.positive, "abs": arithmetic.abs_,
    "invert": logic.bitwise_invert,
}
_METHODS: dict[str, Callable[..., Any]] = {
    "astype": astype, "reshape": shape.reshape, "transpose": shape.transpose, "sum": reduce.sum,
    "mean": reduce.mean, "max": reduce.max, "min": reduce.min, "var": reduce.var, "std": reduce.std,
    "all": reduce.all, "any": reduce.any, "argmax": sorting.argmax, "argmin": sorting.argmin,
    "__pow__": transcendental.pow, "__getitem__": index.getitem, "__setitem__": index.setitem,
    "__matmul__": linalg.matmul,
    "__rpow__": lambda y, x: transcendental.pow(x, y),
    "__rmatmul__": lambda b, a: linalg.matmul(a, b), "__iter__": lambda x: _iterate(x),
    "to_device": device.to_device,
    "__dlpack__": device.dlpack, "__dlpack_device__": device.dlpack_device,
}
_PROPERTIES: dict[str, Callable[[Tensor], Any]] = {
    "mT": shape.matrix_transpose, "T": shape.transposed, "device": lambda x: device.DEVICE,
}


def bind() -> None:
    """Give Tensor its operators and methods."""
    for name, prim in {**_BINARY, **_COMPARISON}.items():
        setattr(Tensor, f"__{name}__", dispatch.binary(prim, prim.__call__, prim.accepted.kinds))
    for name, prim in _BINARY.items():
        kinds = prim.accepted.kinds
        setattr(Tensor, f"__r{name}__", dispatch.reflected(prim, prim.__call__, kinds))
    for name, op in _UNARY.items():
        setattr(Tensor, f"__{name}__", _method(op))
    for name, function in _METHODS.items():
        setattr(Tensor, name, function)
    Tensor.__array_namespace__ = _namespace   # type: ignore[attr-defined]
    for name, get in _PROPERTIES.items():
        setattr(Tensor, name, property(get))


def _namespace(x: Tensor, /, *, api_version: str | None = None) -> ModuleType:
    """The module whose functions take such tensors, for code that is written for any array library.

    Raises: ArgumentError for a version of the array API standard that is not followed.
    """
    if api_version is not None and api_version not in _VERSIONS:
        raise ArgumentError("__array_namespace__", got=f"api_version={api_version!r}",
                            why=f"tapeflow follows {STANDARD}", fix="leave the version out")
    return sys.modules[__name__.partition(".")[0]]


def _method(op: Elementwise) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return op(self)
    method.__doc__ = op.__doc__
    return method


def _iterate(x: Tensor) -> Iterator[Tensor]:
    len(x)   # which says why a tensor without axes has no elements to go through
    return iter(joining.unstack(x))
