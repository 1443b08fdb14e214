"""Statistics of elements: quantiles, weighted means, covariances."""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import float64, int64
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import create, joining, reduce, sorting
from tapeflow.ops import shape as _shape
from tapeflow.ops.arithmetic import clip, floor, minimum, sqrt
from tapeflow.ops.casts import cast
from tapeflow.ops.elementwise import coerce, where
from tapeflow.ops.gather import take
from tapeflow.ops.linalg_diagonal import diagonal
from tapeflow.ops.logic import isinf, isnan
from tapeflow.tensor import Axis, Tensor, TensorLike, as_tensor

# ---- quantiles

def _reduced_last(op: str, x: Tensor, axis: Axis) -> Tensor:
    """x with the axes that `axis` names as one, behind the others."""
    axes = _shape.normalize_axes(op, axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    moved = _shape.permute_dims(x, (*kept, *axes))
    return _shape.reshape(moved, (*moved.shape[:len(kept)], math.prod(x.shape[a] for a in axes)))


_BETWEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda part: part,
    "lower": lambda part: part * 0.0,
    "higher": lambda part: where(part > 0, part * 0.0 + 1.0, part),
    "midpoint": lambda part: where(part > 0, part * 0.0 + 0.5, part),
}


def quantile(x: TensorLike, q: TensorLike, axis: Axis = None, method: str = "linear",
             keepdims: bool = False) -> Tensor:
    """The values below which the shares q of the elements lie, over `axis`, by default over all.

    Args:
        x: f[...].
        q: f[...] between 0 and 1, to which a traced one is brought; its axes come first in the
            result.
        method: what is taken between two elements: "linear", "lower", "higher" or "midpoint".

    NaN where an element is NaN. Gradients flow to the elements between which the value lies.
    Raises: DTypeError unless x is floating, ShapeError if there are no elements, ArgumentError for
        another method, or a q outside 0 to 1.

    >>> quantile([1.0, 2.0, 4.0], 0.75)
    Tensor(3., f32[])
    """
    shares = _shares("quantile", q, 1.0)
    return _quantile("quantile", x, shares, axis=axis, method=method, keepdims=keepdims)


def percentile(x: TensorLike, q: TensorLike, axis: Axis = None, method: str = "linear",
               keepdims: bool = False) -> Tensor:
    """quantile() of q between 0 and 100.

    Raises: as quantile().
    """
    shares = _shares("percentile", q, 100.0)
    return _quantile("percentile", x, shares, axis=axis, method=method, keepdims=keepdims)


def median(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The element in the middle over `axis`, by default of all; the mean of the two there are.

    Raises: DTypeError unless x is floating, ShapeError if there are no elements.
    """
    half = _shares("median", 0.5, 1.0)
    return _quantile("median", x, half, axis=axis, method="linear", keepdims=keepdims)


def _shares(op: str, q: TensorLike, whole: float) -> Tensor:
    """q, of a whole, in float64: places among many elements need its digits."""
    parts = cast(q, float64) if isinstance(q, Tensor) else create.asarray(q, dtype=float64)
    known = parts.value
    if isinstance(known, np.ndarray) and not ((known >= 0) & (known <= whole)).all():
        raise ArgumentError(op, got=f"q {q}", why=f"q lies between 0 and {whole:g}",
                            fix="give a share to tf.quantile, 100 times it to tf.percentile")
    return parts / whole


def _quantile(op: str, x: TensorLike, shares: Tensor, *, axis: Axis, method: str,
              keepdims: bool) -> Tensor:
    t = reduce.floating(op, x)
    if arguments.text(op, "method", method) not in _BETWEEN:
        raise ArgumentError(op, got=f"method={method!r}", why="there is no such method",
                            fix=f"use one of {', '.join(_BETWEEN)}")
    axes = _shape.normalize_axes(op, axis, t.ndim)
    reduce.require_elements(op, t.spec, axes)
    ordered = sorting.sort(_reduced_last(op, t, axis), axis=-1)
    n = ordered.shape[-1]
    place = shares * float(n - 1)
    low = clip(floor(place), 0.0, float(n - 1))
    part = cast(_BETWEEN[method](place - low), t.dtype)
    first, second = cast(low, int64), minimum(cast(low, int64) + 1, n - 1)
    a, b = take(ordered, first, axis=-1), take(ordered, second, axis=-1)
    part = _shape.broadcast_to(part, a.shape)
    y = where(part < 0.5, a + (b - a) * part, b - (b - a) * (1.0 - part))
    is_there = (part == 0) | (isinf(a) & (a == b))   # else infinite neighbours would give NaN
    y = where(is_there, a, y)
    has_nan = reduce.any(isnan(ordered), axis=-1)
    y = where(_shape.reshape(has_nan, (*has_nan.shape, *(1,) * shares.ndim)), math.nan, y)
    count = y.ndim - shares.ndim
    y = _shape.permute_dims(y, (*range(count, y.ndim), *range(count)))
    return _shape.reshape(y, (*shares.shape, *reduce.kept(t, axes))) if keepdims else y


# ---- means, spreads, covariances

def ptp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest element over `axis`, by default of all, less the smallest.

    Raises: DTypeError for bool, ShapeError if there are no elements.
    """
    t = as_tensor(x, op="ptp")
    reduce.require_order("ptp", t.spec)
    reduce.require_elements("ptp", t.spec, _shape.normalize_axes("ptp", axis, t.ndim))
    return reduce.max(t, axis, keepdims) - reduce.min(t, axis, keepdims)


def average(x: TensorLike, axis: Axis = None, weights: TensorLike | None = None,
            keepdims: bool = False) -> Tensor:
    """The mean over `axis`, by default over all axes, in which each element has a weight.

    weights: of the shape of x, or a vector along the one axis; by default all alike.
    Raises: DTypeError unless x is floating, ShapeError if the weights do not fit,
        OutOfRangeError if there is no such axis.

    >>> average([1.0, 2.0], weights=[3.0, 1.0])
    Tensor(1.25, f32[])
    """
    t = reduce.floating("average", x)
    axes = _shape.normalize_axes("average", axis, t.ndim)
    if weights is None:
        return reduce.mean(t, axis, keepdims)
    t, w = coerce("average", t, weights)
    if w.shape != t.shape:
        if len(axes) != 1 or w.shape != (t.shape[axes[0]],):
            raise ShapeError("average", got=f"{t.spec}, weights {w.spec}, axis {axis}",
                             why="each element needs a weight",
                             fix="give weights in the shape of x, or a vector and its axis")
        w = _shape.reshape(w, [n if a == axes[0] else 1 for a, n in enumerate(t.shape)])
        w = _shape.broadcast_to(w, t.shape)
    return reduce.sum(t * w, axis, keepdims=keepdims) / reduce.sum(w, axis, keepdims=keepdims)


def cov(x: TensorLike, y: TensorLike | None = None, rowvar: bool = True, bias: bool = False,
        ddof: int | None = None) -> Tensor:
    """The covariances of variables, one a row of x (and of y), or one a column.

    Args:
        x, y: f[k,n] or f[n]; n observations of k variables.
        rowvar: whether variables are rows.
        bias: whether to divide by n, not n - 1.
        ddof: what to take from n instead.

    Returns: f[k,k], f[] of one variable.
    Raises: DTypeError unless x is floating, ShapeError if there are more than two axes.
    """
    return _cov("cov", x, y, rowvar=rowvar, bias=bias, ddof=ddof)


def _cov(op: str, x: TensorLike, y: TensorLike | None, *, rowvar: bool, bias: bool = False,
         ddof: int | None = None) -> Tensor:
    given = [reduce.floating(op, v) for v in (x, y) if v is not None]
    for v in given:
        if v.ndim > 2:
            raise ShapeError(op, got=v.spec, why="variables and observations are two axes",
                             fix="take covariances of one matrix at a time")
    rows = [_shape.reshape(v, (1, v.size)) if v.ndim < 2 else v if rowvar else v.mT for v in given]
    table = rows[0] if len(rows) == 1 else joining.concat(rows, axis=0)
    less = arguments.integer(op, "ddof", ddof) if ddof is not None else 0 if bias else 1
    away = table - reduce.mean(table, axis=1, keepdims=True)
    count = table.shape[1] - less
    return _shape.squeeze(away @ away.mT * (1.0 / count if count > 0 else math.nan))


def corrcoef(x: TensorLike, y: TensorLike | None = None, rowvar: bool = True) -> Tensor:
    """The coefficients of correlation of variables: cov() over the products of deviations.

    Args, raises: as cov().
    """
    c = _cov("corrcoef", x, y, rowvar=rowvar)
    if not c.ndim:
        return c / c
    deviations = sqrt(diagonal(c))
    scaled = c / _shape.expand_dims(deviations, 1) / deviations
    return clip(scaled, -1.0, 1.0)
