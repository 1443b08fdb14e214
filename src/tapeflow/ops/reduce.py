"""Reductions: sums, extrema and what is made of them."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.dtypes import as_dtype, bool_, int64, is_complex, uint64
from tapeflow.errors import DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops._pairwise import total
from tapeflow.ops.casts import cast
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import FLOATS, elementwise, where
from tapeflow.ops.shape import Axes, drop, sum_over
from tapeflow.primitive import (
    Fold,
    Primitive,
    Tangents,
    along,
    discrete,
    primitive,
    require_floating,
)
from tapeflow.tensor import Array, Axis, Spec, Tensor, TensorLike, as_tensor


def kept(x: Tensor, axes: Axes) -> tuple[int, ...]:
    """The shape of x with size 1 at `axes`."""
    return tuple(1 if a in axes else n for a, n in enumerate(x.shape))


def reduced(op: str, prim: Primitive, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    """`prim` of x over the axes that `axis` names, kept with size 1 where asked."""
    axes = _shape.normalize_axes(op, axis, len(x.value.shape))
    y = dispatch.unary(prim, x, {"axes": axes})
    return _shape.reshape(y, kept(x, axes)) if keepdims else y


def spread(y: Tensor, x: Tensor, axes: Axes) -> Tensor:
    """y, from which `axes` were dropped, again in the shape of x."""
    return _shape.spread_over(y, shape=x.shape, axes=axes)


# ---- sums

def in_sum_dtype(x: Tensor, dtype: Any, op: str) -> Tensor:
    """x in the dtype of its sum: small integers and bools are added up in 64 bits."""
    if dtype is not None:
        return cast(x, as_dtype(dtype, op))
    kind = x.value.dtype.kind
    return x if kind in "fcV" else cast(x, uint64 if kind == "u" else int64)


def sum(x: TensorLike, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The sum of x over `axis`, by default over all axes.

    Args:
        x: any[...].
        axis: an axis or several.
        dtype: of the result; by default that of x, for integers and bools 64 bits.
        keepdims: whether the axes stay, with size 1.

    Raises: OutOfRangeError if there is no such axis.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    Tensor([4., 6.], f32[2])
    """
    x = x if type(x) is Tensor else as_tensor(x, op="sum")
    if dtype is not None or x.value.dtype.kind not in "fcV":
        x = in_sum_dtype(x, dtype, "sum")
    return reduced("sum", sum_over, x, axis, keepdims)


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean of x over `axis`, by default over all axes; NaN where there are no elements.

    Raises: DTypeError unless x is floating or complex, OutOfRangeError if there is no such axis.
    """
    t = as_tensor(x, op="mean")
    t = t if is_complex(t.dtype) else floating("mean", t)
    return narrowed(_mean("mean", widened(t), axis, keepdims), t)


def floating(op: str, x: TensorLike) -> Tensor:
    """x as a tensor; raises DTypeError in the name of `op` unless it is floating."""
    t = x if type(x) is Tensor else as_tensor(x, op=op)
    if t.value.dtype.kind not in "fV":
        require_floating(op, t.spec)
    return t


def widened(x: Tensor) -> Tensor:
    """x in the dtype that its sums are computed in: in float16 the sum before a mean overflows."""
    return x if x.value.dtype.itemsize != 2 else cast(x, _shape.wide(x.dtype))


def narrowed(y: Tensor, x: Tensor) -> Tensor:
    """y in the dtype of x."""
    return y if x.value.dtype.itemsize != 2 else cast(y, x.dtype)


def _mean(op: str, x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    count = _count(op, x, axis)
    whole = reduced(op, sum_over, x, axis, keepdims)
    return whole * (1.0 / count if count else math.nan)


def _count(op: str, x: Tensor, axis: Axis) -> int:
    """How many elements of x there are to one of its reduction."""
    shape = x.value.shape
    if axis is None:
        return math.prod(shape)
    return math.prod([shape[a] for a in _shape.normalize_axes(op, axis, len(shape))])


def var(x: TensorLike, axis: Axis = None, correction: float = 0.0,
        keepdims: bool = False) -> Tensor:
    """The variance of x over `axis`, by default over all axes.

    Args:
        x: f[...].
        correction: what is taken from the count of elements before dividing; 1 for a sample.

    Raises: DTypeError unless x is floating, OutOfRangeError if there is no such axis.
    """
    return _var("var", x, axis, correction, keepdims)


def _central_moment(op: str, x: Tensor, center: Tensor, axis: Axis, correction: float,
                    keepdims: bool) -> Tensor:
    """The variance of x in the name of `op`; `center` is its mean, with the axes kept."""
    axes = _shape.normalize_axes(op, axis, x.ndim)
    count = _count(op, x, axis) - arguments.number(op, "correction", correction)
    y = _mean_square(x, center, axes=axes, factor=1.0 / count if count > 0 else math.nan)
    return _shape.reshape(y, kept(x, axes)) if keepdims else y


def _mean_square_adjoint(g: Tensor, y: Tensor, x: Tensor, center: Tensor, *, axes: Axes,
                         factor: float) -> Tensor:
    return spread(g * (2.0 * factor), x, axes) * (x - center)


def _mean_square_jvp(ts: Tangents, y: Tensor, x: Tensor, center: Tensor, *, axes: Axes,
                     factor: float) -> Tensor | None:
    return None if ts[0] is None else sum_over(ts[0] * (x - center), axes=axes) * (2.0 * factor)


def _mean_square_spec(x: Spec, center: Spec, *, axes: Axes, factor: float) -> Spec:
    return Spec(drop(x, axes), x.dtype)


def _mean_square_array(x: Array, center: Array, *, axes: Axes, factor: float) -> Array:
    away = x - center
    y: Array = total(away * away, axes, x.dtype) * factor
    return y


# moving the center, which is the mean, changes nothing: the sum of x - center is 0
@composite(_mean_square_adjoint, None, jvp=_mean_square_jvp, spec=_mean_square_spec,
           arrays=_mean_square_array)
def _mean_square(x: Tensor, center: Tensor, *, axes: Axes, factor: float) -> Tensor:
    away = x - center
    return sum_over(away * away, axes=axes) * factor


def moments(op: str, x: Tensor, axis: Axis, keepdims: bool) -> tuple[Tensor, Tensor]:
    """The mean and the variance of x, in the name of `op`."""
    t = floating(op, x)
    wide = widened(t)
    center = _mean(op, wide, axis, keepdims=True)
    variance = _central_moment(op, wide, center, axis, 0.0, keepdims)
    if not keepdims:
        center = _shape.reshape(center, variance.shape)
    return narrowed(center, t), narrowed(variance, t)


def std(x: TensorLike, axis: Axis = None, correction: float = 0.0,
        keepdims: bool = False) -> Tensor:
    """The standard deviation of x over `axis`: the root of var(); its derivative at 0 is 0.

    Raises: DTypeError unless x is floating, OutOfRangeError if there is no such axis.
    """
    t = floating("std", x)
    return narrowed(safe_sqrt(_var("std", widened(t), axis, correction, keepdims)), t)


def _var(op: str, x: TensorLike, axis: Axis, correction: float, keepdims: bool) -> Tensor:
    """The variance, in the name of `op`."""
    t = floating(op, x)
    wide = widened(t)
    center = _mean(op, wide, axis, keepdims=True)
    return narrowed(_central_moment(op, wide, center, axis, correction, keepdims), t)


def _slope_of_root(y: Tensor, x: Tensor) -> Tensor:
    there = y != 0
    return where(there, 0.5 / where(there, y, 1.0), 0.0)


@elementwise("sqrt({x})", _slope_of_root, of=FLOATS)
def safe_sqrt(x: Array) -> Array:
    """The square root of x >= 0, with derivative 0 at 0, as for the length of a vector."""
    return np.sqrt(x)


# ---- extrema

def require_elements(op: str, x: Spec, axes: Axes) -> None:
    """Raise ShapeError if there is nothing to reduce over `axes`."""
    if 0 in [x.shape[a] for a in axes]:
        raise ShapeError(op, got=x, why=f"the {op} of no elements does not exist",
                         fix="check that the axis is not empty")


def require_order(op: str, x: Spec) -> None:
    """Raise DTypeError unless x is of real numbers, which have an order."""
    if x.dtype.kind in "bc":
        raise DTypeError(op, got=x, why=f"{op} is defined for real numbers only",
                         fix="use tf.any or tf.all, or tf.abs(x) for complex numbers")


def _needs_elements(op: str) -> Callable[..., Spec]:
    def spec(x: Spec, *, axes: Axes) -> Spec:
        require_order(op, x)
        require_elements(op, x, axes)
        return Spec(drop(x, axes), x.dtype)
    return spec


def _chosen(y: Tensor, x: Tensor, axes: Axes) -> tuple[Tensor, Tensor]:
    """Where x is the extremum y, and one over how often it is, in y's shape."""
    hit = cast(x == spread(y, x, axes), x.dtype)
    return hit, 1.0 / sum_over(hit, axes=axes)


def _extremum_adjoint(g: Tensor, y: Tensor, x: Tensor, *, axes: Axes) -> Tensor:
    hit, share = _chosen(y, x, axes)
    return hit * spread(g * share, x, axes)


def _only(ts: Tangents) -> Tensor:
    """The tangent of the one input, which is there if the rule is called."""
    (t,) = ts
    assert t is not None
    return t


def _extremum_jvp(ts: Tangents, y: Tensor, x: Tensor, *, axes: Axes) -> Any:
    hit, share = _chosen(y, x, axes)
    return sum_over(_only(ts) * hit, axes=axes) * share


@primitive(name="max", spec=_needs_elements("max"), adjoints=(_extremum_adjoint,),
           jvp=_extremum_jvp, batching=along("axes"),
           lowering=Fold("{lowest}", "maximum({a}, {x})"))
def _max(x: Array, *, axes: Axes) -> Array:
    if x.ndim == len(axes):   # half the time of the ufunc for 100 numbers
        return _numbers_only(x).flat[x.argmax()]   # type: ignore[no-any-return]
    y: Array = np.maximum.reduce(_numbers_only(x), axis=axes)
    return y


@primitive(name="min", spec=_needs_elements("min"), adjoints=(_extremum_adjoint,),
           jvp=_extremum_jvp, batching=along("axes"),
           lowering=Fold("{highest}", "minimum({a}, {x})"))
def _min(x: Array, *, axes: Axes) -> Array:
    if x.ndim == len(axes):
        return _numbers_only(x).flat[x.argmin()]   # type: ignore[no-any-return]
    y: Array = np.minimum.reduce(_numbers_only(x), axis=axes)
    return y


def _numbers_only(x: Array) -> Array:
    if x.dtype.kind in "bc":   # NumPy would take it; the shape rule says why we do not
        raise TypeError("there is no order")
    return x


def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`, by default of all; NaN where one is NaN.

    The gradient is shared evenly by all elements that are the largest.
    Raises: DTypeError for bool, ShapeError if there are no elements.
    """
    return reduced("max", _max, x if type(x) is Tensor else as_tensor(x, op="max"), axis, keepdims)


def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest element over `axis`, by default of all; NaN where one is NaN.

    The gradient is shared evenly by all elements that are the smallest.
    Raises: DTypeError for bool, ShapeError if there are no elements.
    """
    return reduced("min", _min, x if type(x) is Tensor else as_tensor(x, op="min"), axis, keepdims)


# ---- truth

def _truth_spec(op: str) -> Callable[..., Spec]:
    def spec(x: Spec, *, axes: Axes) -> Spec:
        if x.dtype != bool_:
            raise DTypeError(op, got=x, why=f"the primitive {op} takes bools",
                             fix="compare first: x != 0")
        return Spec(drop(x, axes), bool_)
    return spec


@discrete(name="all", spec=_truth_spec("all"), batching=along("axes"),
          lowering=Fold("True", "{a} & {x}"))
def _all(x: Array, *, axes: Axes) -> Array:
    y: Array = np.logical_and.reduce(x, axis=axes)
    return y


@discrete(name="any", spec=_truth_spec("any"), batching=along("axes"),
          lowering=Fold("False", "{a} | {x}"))
def _any(x: Array, *, axes: Axes) -> Array:
    y: Array = np.logical_or.reduce(x, axis=axes)
    return y


def _truth(x: TensorLike, op: str) -> Tensor:
    t = as_tensor(x, op=op)
    return t if t.dtype == bool_ else t != 0


def all(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether every element over `axis` holds, or is not 0; true where there are none.

    Raises: OutOfRangeError if there is no such axis.
    """
    return reduced("all", _all, _truth(x, "all"), axis, keepdims)


def any(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether an element over `axis` holds, or is not 0; false where there are none.

    Raises: OutOfRangeError if there is no such axis.
    """
    return reduced("any", _any, _truth(x, "any"), axis, keepdims)


def count_nonzero(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """How many elements over `axis` are not 0, as int64.

    Raises: OutOfRangeError if there is no such axis.
    """
    ones = cast(_truth(x, "count_nonzero"), int64)
    return reduced("count_nonzero", sum_over, ones, axis, keepdims)
