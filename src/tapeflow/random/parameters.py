"""What the functions of `tf.random` are given: shapes, dtypes, parameters that broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow import ops
from tapeflow.arrays import of_number
from tapeflow.dtypes import DType, as_dtype, float32, is_floating, promote
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops.elementwise import Weak, operand
from tapeflow.ops.shape import broadcast_shapes
from tapeflow.tensor import Spec, Tensor, TensorLike, is_number

Shape = tuple[int, ...]


def floating(op: str, dtype: Any, *parameters: TensorLike) -> DType:
    """The dtype that is asked for, else that of the parameters that are floating tensors."""
    if dtype is None:
        found = [x.dtype for x in parameters if type(x) is Tensor and is_floating(x.dtype)]
        chosen = found[0] if found else float32
        for other in found[1:]:
            chosen = promote(chosen, other, op)
        return chosen
    chosen = as_dtype(dtype, op)
    if not is_floating(chosen):
        raise DTypeError(
            op,
            got=chosen.name,
            why="these numbers are floating",
            fix="use tf.random.randint, or cast the result",
        )
    return chosen


def operands(op: str, shape: Shape, **given: TensorLike) -> list[TensorLike]:
    """Parameters as they stand beside random numbers: weak numbers, or tensors that broadcast to
    `shape`. Raises: ShapeError for others."""
    found = []
    for name, x in given.items():
        x = operand(op, x)
        if isinstance(x, Tensor) and x.shape:
            wanted = Spec(shape, x.dtype)
            if broadcast_shapes(op, wanted, x.spec) != shape:
                raise ShapeError(
                    op,
                    got=f"shape {shape}, {name} {x.spec}",
                    why=f"{name} has more elements than there are numbers to draw",
                    fix="give the shape of all numbers, parameters broadcast to it",
                )
        found.append(x)
    return found


def in_dtype(x: TensorLike, dtype: DType, op: str) -> TensorLike:
    """A parameter beside numbers of this dtype."""
    return as_input(x, dtype, op) if isinstance(x, Tensor) else x


def as_input(x: TensorLike, dtype: DType, op: str) -> Tensor:
    """A parameter as the input of a primitive."""
    if type(x) is Weak:
        return x.like(dtype, op)
    return Tensor(of_number(x, dtype, op)) if is_number(x) else ops.cast(x, dtype)


def check(op: str, name: str, x: TensorLike, least: float, most: float = np.inf) -> None:
    """Raise ArgumentError if a parameter that has a value by now is not between these bounds; of
    what is traced only a run could tell."""
    if isinstance(x, Tensor):
        if x.is_traced or not x.size:
            return
        low, high = x.value.min(), x.value.max()
    else:
        low = high = x
    if not (low >= least and high <= most):
        bound = f"at least {least:g}" if most == np.inf else f"from {least:g} to {most:g}"
        raise ArgumentError(
            op,
            got=f"{name}={low}" if low == high else f"{name} from {low} to {high}",
            why=f"{name} must be {bound}",
            fix=f"give {name} {bound}",
        )
