"""Order: the largest, the sorted, and where they are."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import bfloat16, int64, promote
from tapeflow.errors import ArgumentError, OutOfRangeError, ShapeError
from tapeflow.ops import gather, movement, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast
from tapeflow.primitive import Primitive, Rule, Tangents, along, discrete, primitive
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor


def _position_spec(op: str) -> Callable[..., Spec]:
    def spec(x: Spec, *, axis: int) -> Spec:
        if x.shape[axis] == 0:
            raise ShapeError(op, got=f"{x}, axis {axis}", why="the axis has no elements",
                             fix="check that it is not empty")
        return Spec(x.shape[:axis] + x.shape[axis + 1:], int64)
    return spec


@discrete(name="argmax", spec=_position_spec("argmax"), batching=along("axis"))
def _argmax(x: Array, *, axis: int) -> Array:
    return np.asarray(x.argmax(axis))


@discrete(name="argmin", spec=_position_spec("argmin"), batching=along("axis"))
def _argmin(x: Array, *, axis: int) -> Array:
    return np.asarray(x.argmin(axis))


def _position(op: str, prim: Any, x: TensorLike, axis: int | None, keepdims: bool) -> Tensor:
    x = as_tensor(x, op=op)
    if axis is None:
        y = prim(_shape.reshape(x, (x.size,)), axis=0)
        return _shape.reshape(y, (1,) * x.ndim) if keepdims else y
    axis = _shape.normalize_axis(op, axis, x.ndim)
    y = prim(x, axis=axis)
    return _shape.expand_dims(y, axis) if keepdims else y


def argmax(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where along `axis` the largest element is (the first of them), by default of all in a row.

    Raises: ShapeError if there are no elements.

    >>> argmax([[1, 5, 2], [7, 0, 7]], axis=1)
    Tensor([1, 0], i64[2])
    """
    return _position("argmax", _argmax, x, axis, keepdims)


def argmin(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where along `axis` the smallest element is (the first of them), by default of all in a row.

    Raises: ShapeError if there are no elements.
    """
    return _position("argmin", _argmin, x, axis, keepdims)


@discrete(name="argsort", spec=lambda x, *, axis, descending: Spec(x.shape, int64),
          batching=along("axis"))
def _argsort(x: Array, *, axis: int, descending: bool) -> Array:
    if not descending:
        return np.argsort(x, axis, kind="stable")
    backwards = np.argsort(np.flip(x, axis), axis, kind="stable")   # so that ties stay in order
    return np.flip(x.shape[axis] - 1 - backwards, axis)


def argsort(x: TensorLike, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """The indices that sort x along `axis`; NaNs count as largest: last, descending first.

    Equal elements keep their order, `stable` or not.
    Raises: OutOfRangeError if there is no such axis.
    """
    x = as_tensor(x, op="argsort")
    axis = _shape.normalize_axis("argsort", axis, x.ndim)
    return _argsort(x, axis=axis, descending=descending)


@discrete(spec=lambda order, *, axis: order, batching=along("axis"))
def inverse_order(order: Array, *, axis: int) -> Array:
    """Where along `axis` each element has gone that stood in this order."""
    y = np.empty_like(order)
    ahead = np.arange(order.shape[axis]).reshape(-1, *(1,) * (order.ndim - 1 - axis))
    np.put_along_axis(y, order, ahead, axis)
    return y


def _sort_adjoint(g: Tensor, y: Tensor, x: Tensor, *, axis: int, descending: bool) -> Tensor:
    order = argsort(x, axis, descending)
    return gather.take_along_axis(g, inverse_order(order, axis=axis), axis)


def _sort_jvp(ts: Tangents, y: Tensor, x: Tensor, *, axis: int, descending: bool) -> Tensor:
    return gather.take_along_axis(ts[0], argsort(x, axis, descending), axis)


@primitive(name="sort", spec=lambda x, *, axis, descending: x, adjoints=(_sort_adjoint,),
           jvp=_sort_jvp, batching=along("axis"))
def _sort(x: Array, *, axis: int, descending: bool) -> Array:
    # NumPy has vector instructions for these: 0.5 ms for f32[200000], where argsort takes 47
    has_vectors = x.dtype.kind in "iuf" and x.dtype.itemsize > 1
    y = np.sort(x, axis, kind="quicksort" if has_vectors else "stable")
    return np.flip(y, axis) if descending else y


def sort(x: TensorLike, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """x with its elements in order along `axis`; NaNs count as largest: last, descending first.

    Zeros are equal whatever their sign, and so may change places, `stable` or not.
    Raises: OutOfRangeError if there is no such axis.

    >>> sort([3, 1, 2], descending=True)
    Tensor([3, 2, 1], i64[3])
    """
    x = as_tensor(x, op="sort")
    axis = _shape.normalize_axis("sort", axis, x.ndim)
    return _sort(x, axis=axis, descending=descending)


def _ordered(x: Array) -> Array:
    """x in a dtype in which NumPy knows what is NaN."""
    return x.astype(np.float32) if x.dtype == bfloat16 else x


@discrete(name="argpartition", spec=lambda x, *, kth, axis: Spec(x.shape, int64),
          batching=along("axis"))
def _argpartition(x: Array, *, kth: tuple[int, ...], axis: int) -> Array:
    return np.argpartition(_ordered(x), kth, axis)


def _parted(op: str, x: Tensor, kth: int | Sequence[int], axis: int) -> Tensor:
    """argpartition() along an axis that is there, in the name of `op`."""
    places, n = arguments.integers(op, "kth", kth), x.shape[axis]
    if not all(-n <= k < n for k in places):
        raise OutOfRangeError(op, got=f"{x.spec}, kth {kth}, axis {axis}",
                              why=f"the axis has {n} places", fix="choose places that are there")
    return _argpartition(x, kth=tuple(k % n for k in places), axis=axis)


def argpartition(x: TensorLike, kth: int | Sequence[int], axis: int = -1) -> Tensor:
    """The indices that bring the elements of x along `axis` into the order of partition().

    Raises: OutOfRangeError if there is no such axis, or no such place.
    """
    x = as_tensor(x, op="argpartition")
    return _parted("argpartition", x, kth, _shape.normalize_axis("argpartition", axis, x.ndim))


def partition(x: TensorLike, kth: int | Sequence[int], axis: int = -1) -> Tensor:
    """x with the elements at `kth` along `axis` where sort() has them: none before one of these is
    larger, none behind it smaller. The others are in no particular order.

    Raises: OutOfRangeError if there is no such axis, or no such place.
    """
    x = as_tensor(x, op="partition")
    axis = _shape.normalize_axis("partition", axis, x.ndim)
    return gather.take_along_axis(x, _parted("partition", x, kth, axis), axis)


def top_k(x: TensorLike, k: int) -> tuple[Tensor, Tensor]:
    """The k largest elements along the last axis in descending order, and their indices.

    Raises: ShapeError if the last axis has fewer than k elements.
    """
    x, k = as_tensor(x, op="top_k"), arguments.integer("top_k", "k", k)
    if not x.ndim or not 0 <= k <= x.shape[-1]:
        raise ShapeError("top_k", got=f"{x.spec}, k {k}", fix="choose a smaller k",
                         why="the last axis has not so many elements")
    order = movement.part(argsort(x, -1, descending=True), x.ndim - 1, 0, k)
    return gather.take_along_axis(x, order, -1), order


def in_top_k(targets: TensorLike, predictions: TensorLike, k: int) -> Tensor:
    """Whether the prediction for each target is among the k largest: int[n], f[n,c] -> bool[n].

    Ties with the k-th count. Raises: ShapeError unless there is a target a row.
    """
    k = arguments.integer("in_top_k", "k", k)
    t, p = as_tensor(targets, op="in_top_k"), as_tensor(predictions, op="in_top_k")
    if p.ndim != 2 or t.shape != p.shape[:1]:
        raise ShapeError("in_top_k", got=f"targets {t.spec}, predictions {p.spec}",
                         why="there must be one target for each row", fix="give int[n] and f[n,c]")
    own = gather.take_along_axis(p, _shape.expand_dims(t, 1), 1)
    return reduce.count_nonzero(p > own, axis=1) < k


def _searched(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
              side: str) -> Any:
    return NotImplemented if batched[0] else prim(*xs, side=side)


@discrete(name="searchsorted", spec=lambda x, v, *, side: Spec(v.shape, int64),
          batching=Rule(_searched))
def _searchsorted(x: Array, v: Array, *, side: str) -> Array:
    return np.searchsorted(x, v, side)   # type: ignore[call-overload, no-any-return]


def searchsorted(x: TensorLike, values: TensorLike, side: str = "left",
                 sorter: TensorLike | None = None) -> Tensor:
    """Where in the ascending vector x the values would have to be inserted.

    side: `left` puts a value before its equals, `right` after them.
    Raises: ArgumentError for another side, ShapeError unless x is a vector, DTypeError if the
        dtypes do not promote.
    """
    x, v = as_tensor(x, op="searchsorted"), as_tensor(values, op="searchsorted")
    if side not in ("left", "right"):
        raise ArgumentError("searchsorted", got=f"side={side!r}", why="there is no such side",
                            fix='use "left" or "right"')
    if x.ndim != 1:
        raise ShapeError("searchsorted", got=x.spec, why="only a vector can be searched",
                         fix="flatten it, or search row by row")
    if sorter is not None:
        x = gather.take(x, sorter)
    dtype = promote(x.dtype, v.dtype, "searchsorted")
    return _searchsorted(cast(x, dtype), cast(v, dtype), side=side)


# ---- sets, and other results whose size depends on the elements: in eager code only

def nonzero(x: TensorLike) -> tuple[Tensor, ...]:
    """The indices of all elements that are not 0, one vector an axis; in eager code only.

    Raises: TraceError for a traced x, ShapeError if x has no axes.
    """
    x = as_tensor(x, op="nonzero")
    if not x.ndim:
        raise ShapeError("nonzero", got=x.spec, why="a tensor without axes has no indices",
                         fix="use x != 0")
    return tuple(Tensor(i) for i in np.nonzero(x.concrete("nonzero")))


def _unique(op: str, x: TensorLike, *asked: str, axis: int | None = None,
            equal_nan: bool = False) -> tuple[Tensor, ...]:
    """What is different in x, and of index, inverse and counts, in this order, what is asked."""
    array = as_tensor(x, op=op).concrete(op)
    if axis is not None:
        axis = _shape.normalize_axis(op, axis, array.ndim)
    found = np.unique(_ordered(array), axis=axis, equal_nan=equal_nan,
                      **{f"return_{name}": True for name in asked})   # type: ignore[call-overload]
    values, *positions = found if asked else (found,)
    if "inverse" in asked:
        at = asked.index("inverse")
        positions[at] = positions[at].reshape(array.shape if axis is None else -1)
    return (Tensor(values.astype(array.dtype, copy=False)),
            *(Tensor(i.astype(np.int64, copy=False)) for i in positions))


def unique(x: TensorLike, return_index: bool = False, return_inverse: bool = False,
           return_counts: bool = False, axis: int | None = None) -> Any:
    """The different elements of x in ascending order, as NumPy's; in eager code only.

    Args:
        return_index, return_inverse, return_counts: give a tuple of the values and, in this order,
            where each comes first, which of them each element of x is, and how often each occurs.
        axis: compare the parts of x along this axis, by default the elements.

    All NaNs are one value, unless there is an axis; unique_values and its like tell them apart.
    Raises: TraceError for a traced x, OutOfRangeError if there is no such axis.

    >>> unique([3, 1, 3], return_counts=True)
    (Tensor([1, 3], i64[2]), Tensor([1, 2], i64[2]))
    """
    wanted = {"index": return_index, "inverse": return_inverse, "counts": return_counts}
    asked = [name for name, is_wanted in wanted.items() if is_wanted]
    found = _unique("unique", x, *asked, axis=axis, equal_nan=True)
    return found if asked else found[0]


class UniqueCounts(NamedTuple):
    """The different elements, and how often each occurs."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """The different elements, and for each element which it is."""

    values: Tensor
    inverse_indices: Tensor


class UniqueAll(NamedTuple):
    """The different elements, where each comes first, which one each element is, and counts."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


def unique_all(x: TensorLike) -> UniqueAll:
    """All that unique_values, unique_inverse and unique_counts give; in eager code only.

    Raises: TraceError for a traced x.
    """
    return UniqueAll(*_unique("unique_all", x, "index", "inverse", "counts"))


def unique_values(x: TensorLike) -> Tensor:
    """The different elements of x in ascending order; in eager code only.

    Raises: TraceError for a traced x.
    """
    return _unique("unique_values", x)[0]


def unique_counts(x: TensorLike) -> UniqueCounts:
    """The different elements of x, and how often each occurs; in eager code only.

    Raises: TraceError for a traced x.
    """
    return UniqueCounts(*_unique("unique_counts", x, "counts"))


def unique_inverse(x: TensorLike) -> UniqueInverse:
    """The different elements of x, and for each element of x which it is; in eager code only.

    Raises: TraceError for a traced x.
    """
    return UniqueInverse(*_unique("unique_inverse", x, "inverse"))
