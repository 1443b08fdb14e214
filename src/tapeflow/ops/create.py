"""Tensors made from nothing, from numbers, and from arrays."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import as_dtype, float32
from tapeflow.ops.elementwise import cast
from tapeflow.ops.shape import broadcast_to
from tapeflow.tensor import Tensor, TensorLike, as_tensor

Shape = int | Sequence[int]


def asarray(x: TensorLike, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Tensor:
    """x as a tensor: NumPy arrays keep their dtype, Python floats become float32, ints int64.

    Raises: DTypeError if x is not made of numbers, or of lists of unequal lengths.
    """
    tensor = as_tensor(x, None if dtype is None else as_dtype(dtype, "asarray"))
    return tensor if dtype is None else cast(tensor, dtype)


def full(shape: Shape, fill_value: TensorLike, dtype: Any = None) -> Tensor:
    """A tensor of this shape with every element `fill_value`."""
    value = asarray(fill_value, dtype)
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if value.is_traced or dispatch.tracer():
        return broadcast_to(value, sizes)
    array = np.empty(sizes, value.dtype)
    array.fill(value.value)
    return dispatch.wrap(array)


def zeros(shape: Shape, dtype: Any = None) -> Tensor:
    """A tensor of zeros, by default in float32."""
    return full(shape, 0, as_dtype(dtype, "zeros") if dtype is not None else float32)


def ones(shape: Shape, dtype: Any = None) -> Tensor:
    """A tensor of ones, by default in float32."""
    return full(shape, 1, as_dtype(dtype, "ones") if dtype is not None else float32)


def full_like(x: TensorLike, fill_value: TensorLike, dtype: Any = None) -> Tensor:
    """A tensor of the shape and dtype of x with every element `fill_value`."""
    x = as_tensor(x)
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


def zeros_like(x: TensorLike, dtype: Any = None) -> Tensor:
    """Zeros in the shape and dtype of x."""
    return full_like(x, 0, dtype)


def ones_like(x: TensorLike, dtype: Any = None) -> Tensor:
    """Ones in the shape and dtype of x."""
    return full_like(x, 1, dtype)
