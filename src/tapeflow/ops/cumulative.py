"""Running sums, products, extrema and logarithms of sums along an axis."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapeflow.dtypes import float64, int64, is_floating
from tapeflow.ops import movement, product, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.gather import take_along_axis
from tapeflow.ops.reduce import in_sum_dtype
from tapeflow.ops.transcendental import logaddexp
from tapeflow.primitive import along, discrete, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor
from tapeflow_kernels.cpu import rows


def _cumsum_adjoint(g: Tensor, x: Spec, *, axis: int, reverse: bool) -> Tensor:
    return _cumsum(g, axis=axis, reverse=not reverse)


@linear(name="cumsum", spec=lambda x, *, axis, reverse: x, adjoint=_cumsum_adjoint,
        batching=along("axis"))
def _cumsum(x: Array, *, axis: int, reverse: bool) -> Array:
    ordered = np.flip(x, axis) if reverse else x
    if axis == x.ndim - 1 and x.dtype.char in "fd":
        y = rows.apply("cumsum", ordered, axis)
    else:
        wide = float64 if is_floating(x.dtype) else x.dtype   # NumPy adds one after the other
        y = np.add.accumulate(ordered, axis, wide).astype(x.dtype, copy=False)
    return np.flip(y, axis) if reverse else y


def cumulative_sum(x: TensorLike, axis: int | None = None, dtype: Any = None,
                   include_initial: bool = False) -> Tensor:
    """The sums of the first 1, 2, ... elements along `axis`, which a vector need not name.

    include_initial: whether the sum of no elements, 0, stands before them.
    Raises: ArgumentError if a tensor of several axes does not name one, OutOfRangeError if it is
        not there.
    """
    x = in_sum_dtype(as_tensor(x, op="cumulative_sum"), dtype, "cumulative_sum")
    axis = _shape.one_axis("cumulative_sum", axis, x)
    y: Tensor = _cumsum(x, axis=axis, reverse=False)
    if include_initial:
        return movement.pad(y, [(1, 0) if a == axis else (0, 0) for a in range(x.ndim)])
    return y


def cumsum(x: TensorLike, axis: int = 0, exclusive: bool = False, reverse: bool = False,
           dtype: Any = None) -> Tensor:
    """The running sums of x along `axis`.

    exclusive: without the element itself; reverse: from the end; dtype: of the result, by default
        that of x, for integers and bools 64 bits.
    Raises: OutOfRangeError if there is no such axis.

    >>> cumsum([1, 2, 3])
    Tensor([1, 3, 6], i64[3])
    """
    x = in_sum_dtype(as_tensor(x, op="cumsum"), dtype, "cumsum")
    axis = _shape.normalize_axis("cumsum", axis, x.ndim)
    if exclusive and x.size:
        x = movement.behind(x, axis, -1 if reverse else 1, 0)   # subtracting would cancel
    y: Tensor = _cumsum(x, axis=axis, reverse=reverse)
    return y


def cumprod(x: TensorLike, axis: int = 0, exclusive: bool = False, reverse: bool = False,
            dtype: Any = None) -> Tensor:
    """The running products of x along `axis`.

    exclusive: without the element itself; reverse: from the end; dtype: of the result, by default
        that of x, for integers and bools 64 bits.
    Raises: OutOfRangeError if there is no such axis.

    >>> cumprod([1, 2, 3, 4])
    Tensor([ 1,  2,  6, 24], i64[4])
    """
    x = in_sum_dtype(as_tensor(x, op="cumprod"), dtype, "cumprod")
    axis = _shape.normalize_axis("cumprod", axis, x.ndim)
    x = movement.flip(x, axis) if reverse else x
    if exclusive and x.size:
        x = movement.behind(x, axis, 1, 1)
    y = product.running(x, axis)
    return movement.flip(y, axis) if reverse else y


def logcumsumexp(x: TensorLike, axis: int = 0, exclusive: bool = False, reverse: bool = False
                 ) -> Tensor:
    """log(cumsum(exp(x))) along `axis`, without overflow.

    exclusive: without the element itself, so that the first is -inf; reverse: from the end.
    Raises: DTypeError unless x is floating, OutOfRangeError if there is no such axis.
    """
    t = reduce.floating("logcumsumexp", x)
    axis = _shape.normalize_axis("logcumsumexp", axis, t.ndim)
    y = movement.flip(t, axis) if reverse else t
    if exclusive and y.size:
        y = movement.behind(y, axis, 1, -math.inf)
    step = 1
    while step < y.shape[axis]:   # doubling: y[i] holds the `step` elements up to i
        y = logaddexp(y, movement.behind(y, axis, step, -math.inf))
        step *= 2
    return movement.flip(y, axis) if reverse else y


# ---- extrema

def _position_spec(x: Spec, *, axis: int, largest: bool, reverse: bool) -> Spec:
    return Spec(x.shape, int64)


@discrete(name="cumulative_position", spec=_position_spec, batching=along("axis"))
def _positions(x: Array, *, axis: int, largest: bool, reverse: bool) -> Array:
    """Where the extremum of the elements up to each one is: the first of equals, NaN before all."""
    ordered = np.moveaxis(np.flip(x, axis) if reverse else x, axis, -1)
    so_far = (np.maximum if largest else np.minimum).accumulate(ordered, -1)
    is_new = np.ones(ordered.shape, bool)
    before, after = so_far[..., :-1], so_far[..., 1:]
    is_new[..., 1:] = (after != before) & ~((after != after) & (before != before))
    at = np.maximum.accumulate(np.where(is_new, np.arange(ordered.shape[-1]), 0), -1)
    if reverse:
        return np.moveaxis(np.flip(ordered.shape[-1] - 1 - at, -1), -1, axis)
    return np.moveaxis(at, -1, axis)


def _running(op: str, x: TensorLike, axis: int, largest: bool, reverse: bool) -> Tensor:
    t = as_tensor(x, op=op)
    reduce.require_order(op, t.spec)
    axis = _shape.normalize_axis(op, axis, t.ndim)
    at = _positions(t, axis=axis, largest=largest, reverse=reverse)
    return take_along_axis(t, at, axis)


def cummax(x: TensorLike, axis: int = 0, reverse: bool = False) -> Tensor:
    """The largest element so far along `axis`; NaN from the first NaN on.

    The gradient goes to the first of equal elements. reverse: from the end.
    Raises: DTypeError for bool, OutOfRangeError if there is no such axis.
    """
    return _running("cummax", x, axis, True, reverse)


def cummin(x: TensorLike, axis: int = 0, reverse: bool = False) -> Tensor:
    """The smallest element so far along `axis`; NaN from the first NaN on.

    The gradient goes to the first of equal elements. reverse: from the end.
    Raises: DTypeError for bool, OutOfRangeError if there is no such axis.
    """
    return _running("cummin", x, axis, False, reverse)
