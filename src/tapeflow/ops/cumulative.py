"""Running products, extrema and logarithms of sums along an axis."""
from __future__ import annotations

import math

import numpy as np

from tapeflow.dtypes import int64
from tapeflow.ops import movement, product, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.gather import take_along_axis
from tapeflow.ops.transcendental import logaddexp
from tapeflow.primitive import along, discrete
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor


def cumprod(x: TensorLike, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """The running products of x along `axis`.

    exclusive: without the element itself; reverse: from the end.
    Raises: OutOfRangeError if there is no such axis.

    >>> cumprod([1, 2, 3, 4])
    Tensor([ 1,  2,  6, 24], i64[4])
    """
    x = as_tensor(x, op="cumprod")
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
    return take_along_axis(t, _positions(t, axis=axis, largest=largest, reverse=reverse),
                                  axis)


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
