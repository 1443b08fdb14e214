"""What segments of rows have in common: sums, means, products and extrema of each."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import is_complex, is_floating
from tapeflow.errors import DTypeError, ShapeError
from tapeflow.ops import create, joining, movement, places, sorting
from tapeflow.ops import shape as _shape
from tapeflow.ops.arithmetic import maximum
from tapeflow.ops.casts import cast
from tapeflow.ops.elementwise import where
from tapeflow.ops.gather import take
from tapeflow.ops.reduce import require_order
from tapeflow.primitive import Primitive, Rule, Tangents, primitive
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor


def _segments(op: str, x: TensorLike, segments: TensorLike, num_segments: int | None
              ) -> tuple[Tensor, Tensor, int]:
    """The rows, the segment of each, and how many segments there are."""
    rows, ids = as_tensor(x, op=op), as_tensor(segments, op=op)
    places.require_integer(op, ids.spec)
    if rows.shape[:ids.ndim] != ids.shape or not ids.ndim:
        raise ShapeError(op, got=f"{rows.spec}, segments {ids.spec}",
                         why="each row needs a segment", fix="give int[n] for n rows")
    if num_segments is not None:
        return rows, ids, arguments.size(op, "num_segments", num_segments)
    known = ids.concrete(op)
    return rows, ids, int(known.max()) + 1 if known.size else 0


def segment_sum(x: TensorLike, segments: TensorLike, num_segments: int | None = None) -> Tensor:
    """The sums of the rows of x in each segment: any[n,...], int[n] -> any[num_segments,...].

    Segments need no order. Without `num_segments` the last one decides, which a trace cannot see.
    Raises: ShapeError unless there is a segment a row, OutOfRangeError if one is not there.

    >>> segment_sum([1, 2, 3], [0, 1, 0])
    Tensor([4, 2], i64[2])
    """
    rows, ids, count = _segments("segment_sum", x, segments, num_segments)
    return places.add_at(rows, ids, axis=0, size=count, op="segment_sum")


def segment_mean(x: TensorLike, segments: TensorLike, num_segments: int | None = None) -> Tensor:
    """The means of the rows of x in each segment, 0 where there are none; see segment_sum().

    Raises: as segment_sum(), and DTypeError unless x is floating or complex.
    """
    rows, ids, count = _segments("segment_mean", x, segments, num_segments)
    if not (is_floating(rows.dtype) or is_complex(rows.dtype)):
        raise DTypeError("segment_mean", got=rows.spec, why="means are no integers",
                         fix="cast the input: tf.cast(x, tf.float32)")
    y = places.add_at(rows, ids, axis=0, size=count, op="segment_mean")
    many = _counts(ids, count, y)
    return y / where(many == 0, 1.0, many)


def _counts(ids: Tensor, count: int, y: Tensor) -> Tensor:
    """How many rows each segment has, in the dtype of y and as many axes."""
    ones = create.ones(ids.shape, dtype=y.dtype)
    many = places.add_at(ones, ids, axis=0, size=count, op="segment")
    return _shape.reshape(many, (count,) + (1,) * (y.ndim - 1))


def _extreme_spec(x: Spec, i: Spec, *, size: int, largest: bool, op: str) -> Spec:
    require_order(op, x)
    return Spec((size, *x.shape[i.ndim:]), x.dtype)


def _chosen(y: Tensor, x: Tensor, i: Tensor, size: int, op: str) -> tuple[Tensor, Tensor]:
    """Where x is the extremum y of its segment, and one over how often, in y's shape."""
    hit = cast(x == places.take_at(y, i, axis=0, op=op), x.dtype)
    often = places.add_at(hit, i, axis=0, size=size, op=op)
    return hit, 1.0 / maximum(often, 1.0)


def _extreme_adjoint(g: Tensor, y: Tensor, x: Tensor, i: Tensor, *, size: int, largest: bool,
                     op: str) -> Tensor:
    hit, share = _chosen(y, x, i, size, op)
    return hit * places.take_at(g * share, i, axis=0, op=op)


def _extreme_jvp(ts: Tangents, y: Tensor, x: Tensor, i: Tensor, *, size: int, largest: bool,
                 op: str) -> Tensor | None:
    if ts[0] is None:
        return None
    hit, share = _chosen(y, x, i, size, op)
    return places.add_at(ts[0] * hit, i, axis=0, size=size, op=op) * share


def _extreme_of(prim: Primitive, count: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
                size: int, largest: bool, op: str) -> Tensor:
    """As one op on the rows of all examples, whose segments follow each other."""
    x, i = _shape.filled(count, xs, batched)
    own = _shape.reshape(create.arange(count) * size, (count,) + (1,) * (i.ndim - 1))
    rows = _shape.reshape(x, (count * x.shape[1], *x.shape[2:]))
    joined = _shape.reshape(i + own, (count * i.shape[1], *i.shape[2:]))
    y = prim(rows, joined, size=count * size, largest=largest, op=op)
    return _shape.reshape(y, (count, size, *y.shape[1:]))


@primitive(name="extreme_at", spec=_extreme_spec, adjoints=(_extreme_adjoint, None),
           jvp=_extreme_jvp, batching=Rule(_extreme_of))
def _extreme_at(x: Array, i: Array, *, size: int, largest: bool, op: str) -> Array:
    """any[s,...], int[s] -> any[size,...]: the largest or smallest of the rows at each index."""
    if x.dtype.kind in "bc":
        raise TypeError("no order")   # which the shape rule explains
    wide = _shape.wide(x.dtype)
    limits: Any = (-np.inf, np.inf) if is_floating(wide) else (
        np.iinfo(wide.name).min, np.iinfo(wide.name).max)
    y = np.full((size, *x.shape[i.ndim:]), limits[0 if largest else 1], wide)
    (np.maximum if largest else np.minimum).at(y, i, x.astype(wide, copy=False))
    return y.astype(x.dtype, copy=False)


def _extreme(op: str, x: TensorLike, segments: TensorLike, num_segments: int | None,
             largest: bool) -> Tensor:
    rows, ids, count = _segments(op, x, segments, num_segments)
    i = places.flat_index(ids, sizes=(count,), op=op)
    return _extreme_at(rows, i, size=count, largest=largest, op=op)


def segment_max(x: TensorLike, segments: TensorLike, num_segments: int | None = None) -> Tensor:
    """The largest of the rows of x in each segment, element by element; see segment_sum().

    A segment without rows has -inf, or the least integer. The gradient is shared by the largest.
    Raises: as segment_sum(), and DTypeError for bool.
    """
    return _extreme("segment_max", x, segments, num_segments, True)


def segment_min(x: TensorLike, segments: TensorLike, num_segments: int | None = None) -> Tensor:
    """The smallest of the rows of x in each segment, element by element; see segment_sum().

    A segment without rows has inf, or the largest integer. The gradient is shared by the smallest.
    Raises: as segment_sum(), and DTypeError for bool.
    """
    return _extreme("segment_min", x, segments, num_segments, False)


def segment_prod(x: TensorLike, segments: TensorLike, num_segments: int | None = None) -> Tensor:
    """The products of the rows of x in each segment, 1 where there are none; see segment_sum().

    Raises: as segment_sum().
    """
    rows, ids, count = _segments("segment_prod", x, segments, num_segments)
    i = _shape.reshape(places.flat_index(ids, sizes=(count,), op="segment_prod"), (ids.size,))
    rest = rows.shape[ids.ndim:]
    if not ids.size:
        return create.ones((count, *rest), dtype=rows.dtype)
    order = sorting.argsort(i)
    flat = _shape.reshape(rows, (ids.size, *rest))
    return _products(take(flat, order, axis=0), take(i, order, axis=0), count)


def _products(x: Tensor, ids: Tensor, count: int) -> Tensor:
    """The products of rows sorted by segment, without dividing: by doubling, each row becomes the
    product of the `step` rows up to it that are of its segment; the last of a segment has all."""
    n, step = x.shape[0], 1
    while step < n:
        before, own = movement.part(ids, 0, 0, n - step), movement.part(ids, 0, step, n - step)
        same = _shape.reshape(before == own, (n - step,) + (1,) * (x.ndim - 1))
        others = where(same, movement.part(x, 0, 0, n - step), 1)
        more = movement.part(x, 0, step, n - step) * others
        x = joining.concat([movement.part(x, 0, 0, step), more], axis=0)
        step *= 2
    numbers = create.arange(count)
    last = maximum(sorting.searchsorted(ids, numbers, side="right") - 1, 0)
    has_rows = _shape.reshape(take(ids, last) == numbers, (count,) + (1,) * (x.ndim - 1))
    return where(has_rows, take(x, last, axis=0), 1)
