"""Reductions that skip NaN."""
from __future__ import annotations

import math

from tapeflow import arguments
from tapeflow.dtypes import is_complex, is_floating
from tapeflow.ops import create, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast
from tapeflow.ops.elementwise import where
from tapeflow.ops.logic import isnan
from tapeflow.ops.product import prod_over
from tapeflow.ops.shape import sum_over
from tapeflow.tensor import Axis, Tensor, TensorLike, as_tensor


def _without(op: str, x: TensorLike, value: float) -> tuple[Tensor, Tensor]:
    """x with a number in place of NaN, and where there was none."""
    t = as_tensor(x, op=op)
    if not (is_floating(t.dtype) or is_complex(t.dtype)):
        return t, create.ones(t.shape, dtype="bool")
    there = ~isnan(t)
    return where(there, t, value), there


def nansum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over `axis`, by default over all axes, of what is not NaN.

    Raises: OutOfRangeError if there is no such axis.
    """
    return _total("nansum", _without("nansum", x, 0.0)[0], axis, keepdims)


def _total(op: str, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """The sum of x, in the name of `op`."""
    return reduce.reduced(op, sum_over, reduce.in_sum_dtype(x, None, op), axis, keepdims)


def nanprod(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The product over `axis`, by default over all axes, of what is not NaN.

    Raises: OutOfRangeError if there is no such axis.
    """
    t = reduce.in_sum_dtype(_without("nanprod", x, 1.0)[0], None, "nanprod")
    return reduce.reduced("nanprod", prod_over, t, axis, keepdims)


def nanmean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over `axis`, by default over all axes, of what is not NaN; NaN if all is.

    Raises: DTypeError unless x is floating, OutOfRangeError if there is no such axis.
    """
    return _nanmean("nanmean", x, axis, keepdims)


def _nanmean(op: str, x: TensorLike, axis: Axis, keepdims: bool) -> Tensor:
    t, there = _without(op, reduce.floating(op, x), 0.0)
    return _total(op, t, axis, keepdims) / _total(op, cast(there, t.dtype), axis, keepdims)


def nanvar(x: TensorLike, axis: Axis = None, correction: float = 0.0,
           keepdims: bool = False) -> Tensor:
    """The variance over `axis`, by default over all axes, of what is not NaN; NaN if all is.

    correction: what is taken from the count of elements before dividing.
    Raises: DTypeError unless x is floating, OutOfRangeError if there is no such axis.
    """
    return _nanvar("nanvar", x, axis, correction, keepdims)


def _nanvar(op: str, x: TensorLike, axis: Axis, correction: float, keepdims: bool) -> Tensor:
    less = arguments.number(op, "correction", correction)
    t = reduce.floating(op, x)
    away, there = _without(op, t - _nanmean(op, t, axis, True), 0.0)
    count = _total(op, cast(there, away.dtype), axis, keepdims) - less
    y = _total(op, away * away, axis, keepdims) / where(count > 0, count, 1.0)
    return where(count > 0, y, math.nan)


def nanstd(x: TensorLike, axis: Axis = None, correction: float = 0.0,
           keepdims: bool = False) -> Tensor:
    """The root of nanvar(); its derivative at 0 is 0.

    Raises: DTypeError unless x is floating, OutOfRangeError if there is no such axis.
    """
    return reduce.safe_sqrt(_nanvar("nanstd", x, axis, correction, keepdims))


def _nan_extreme(op: str, x: TensorLike, axis: Axis, keepdims: bool, sign: float) -> Tensor:
    t, there = _without(op, x, -sign * math.inf)
    reduce.require_order(op, t.spec)
    reduce.require_elements(op, t.spec, _shape.normalize_axes(op, axis, t.ndim))
    y = (reduce.max if sign > 0 else reduce.min)(t, axis, keepdims)
    if not is_floating(t.dtype):
        return y
    return where(reduce.any(there, axis, keepdims), y, math.nan)


def nanmax(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`, by default of all, that is not NaN; NaN if all are.

    Raises: DTypeError for bool, ShapeError if there are no elements.
    """
    return _nan_extreme("nanmax", x, axis, keepdims, 1.0)


def nanmin(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`, by default of all, that is not NaN; NaN if all are.

    Raises: DTypeError for bool, ShapeError if there are no elements.
    """
    return _nan_extreme("nanmin", x, axis, keepdims, -1.0)
