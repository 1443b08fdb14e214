"""Taking elements at indices, and adding to them."""
from __future__ import annotations

import math

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import as_dtype, float32, int64
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import create, places
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import coerce
from tapeflow.primitive import Tangents
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor


def take(x: TensorLike, indices: TensorLike, axis: int | None = None) -> Tensor:
    """The elements of x at `indices` along `axis`, which a vector need not name.

    Args:
        x: any[..., n, ...].
        indices: int[s], of any shape s; negative ones count from the end.

    Returns: any[..., s, ...].
    Raises: OutOfRangeError if an index is not below n, DTypeError unless indices are integers.

    >>> take([10, 20, 30], [2, 0])
    Tensor([30, 10], i64[2])
    """
    return _taken("take", x, indices, axis)


def _taken(op: str, x: TensorLike, indices: TensorLike, axis: int | None,
           from_end: bool = True) -> Tensor:
    x = as_tensor(x, op=op)
    axis = _shape.one_axis(op, axis, x)
    i = as_tensor(indices, op=op)
    return places.take_at(x, i, axis=axis, op=op, from_end=from_end)


def gather(x: TensorLike, indices: TensorLike, axis: int = 0) -> Tensor:
    """The slices of x at `indices` along `axis`: take() along the first axis unless told.

    Raises: as take().
    """
    return _taken("gather", x, indices, axis)


def _by_rows(i: Tensor, axis: int, size: int) -> tuple[tuple[int, ...], Tensor]:
    """The order of axes that has `axis` last, and where in so ordered rows of `size` the elements
    at i lie, row after row."""
    order = (*(a for a in range(i.ndim) if a != axis), axis)
    ordered = _shape.permute_dims(i, order)
    rows = math.prod(ordered.shape[:-1])
    row = _shape.reshape(create.arange(rows), (*ordered.shape[:-1], 1))
    return order, places.flat_index(row, ordered, sizes=(rows, size), op="take_along_axis")


def _along_adjoint(g: Tensor, y: Tensor, x: Tensor, i: Tensor, *, axis: int) -> Tensor:
    order, flat = _by_rows(i, axis, x.shape[axis])
    updates = _shape.permute_dims(g, order)
    added = places.add_at(updates, flat, axis=0, size=x.size, op="take_along_axis")
    ordered = _shape.reshape(added, [x.shape[a] for a in order])
    return _shape.permute_dims(ordered, _shape.inverse_order(order))


def _along_jvp(ts: Tangents, y: Tensor, x: Tensor, i: Tensor, *, axis: int) -> Tensor | None:
    return None if ts[0] is None else _along(ts[0], i, axis=axis)


def _along_array(x: Array, i: Array, *, axis: int) -> Array:
    index = [np.arange(n).reshape(-1, *(1,) * (i.ndim - 1 - a)) for a, n in enumerate(i.shape)]
    index[axis] = i
    try:
        y: Array = x[tuple(index)]
    except IndexError:
        places.within("take_along_axis", i, x.shape[axis])
        raise
    return y


@composite(_along_adjoint, None, jvp=_along_jvp, arrays=_along_array,
           spec=lambda x, i, *, axis: Spec(i.shape, x.dtype))
def _along(x: Tensor, i: Tensor, *, axis: int) -> Tensor:
    order, flat = _by_rows(i, axis, x.shape[axis])
    ordered = _shape.reshape(_shape.permute_dims(x, order), (x.size,))
    y = places.take_at(ordered, flat, axis=0, op="take_along_axis")
    return _shape.permute_dims(y, _shape.inverse_order(order))


def take_along_axis(x: TensorLike, indices: TensorLike, axis: int = -1) -> Tensor:
    """For each row of x along `axis` the elements at that row of `indices`; other axes broadcast.

    Raises: ShapeError unless both have as many axes, OutOfRangeError if an index is not there.
    """
    op = "take_along_axis"
    x, i = as_tensor(x, op=op), as_tensor(indices, op=op)
    if x.ndim != i.ndim:
        raise ShapeError(op, got=f"{x.spec}, indices {i.spec}",
                         why="both must have as many axes", fix="use tf.expand_dims")
    axis = _shape.normalize_axis(op, axis, x.ndim)
    if x.ndim == 1:
        return places.take_at(x, i, axis=0, op=op)
    places.require_integer(op, i.spec)
    of_x, of_i = ([*t.shape[:axis], 1, *t.shape[axis + 1:]] for t in (x, i))
    if of_x != of_i:
        own = [Spec(tuple(sizes), x.dtype) for sizes in (of_x, of_i)]
        common = _shape.broadcast_shapes(op, *own)
        x, i = (_shape.broadcast_to(t, [*common[:axis], t.shape[axis], *common[axis + 1:]])
                for t in (x, i))
    return _along(x, i, axis=axis)


def repeat(x: TensorLike, repeats: int | TensorLike, axis: int | None = None) -> Tensor:
    """Each element along `axis` several times in a row; without an axis x is flattened.

    repeats: how often, for all or for each; where they differ they must be known while tracing.
    Raises: ArgumentError unless these are counts, one for each element or one for all.
    """
    x = as_tensor(x, op="repeat")
    if axis is None:
        x, axis = _shape.flattened(x), 0
    axis = _shape.normalize_axis("repeat", axis, x.ndim)
    times = as_tensor(repeats, op="repeat").concrete("repeat")
    if times.dtype.kind not in "iu" or np.any(times < 0):
        raise ArgumentError("repeat", got=f"repeats {repeats!r}", fix="give integers",
                            why="a count is a whole number of at least 0")
    if times.ndim and times.shape != (x.shape[axis],) and times.shape != (1,):
        raise ArgumentError("repeat", got=f"{times.size} counts for {x.shape[axis]} elements",
                            why="each element needs a count",
                            fix="give one count, or one an element")
    if times.size == 1:
        return _each_repeated(x, int(times.item()), axis)
    return take(x, create.asarray(np.repeat(np.arange(x.shape[axis]), times)), axis)


def _each_repeated(x: Tensor, count: int, axis: int) -> Tensor:
    """Each element along `axis` so often in a row, as a view of x as far as that goes."""
    before, n, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1:]
    apart = _shape.reshape(x, (*before, n, 1, *after))
    return _shape.reshape(_shape.broadcast_to(apart, (*before, n, count, *after)),
                          (*before, n * count, *after))


def scatter_add(x: TensorLike, indices: TensorLike, updates: TensorLike, axis: int = 0) -> Tensor:
    """x with `updates` added at `indices` along `axis`; what meets at one index is added up.

    Args:
        x: any[..., n, ...].
        indices: int[s].
        updates: any[..., s, ...], in the dtype of x.

    Raises: ShapeError if the updates do not fit, OutOfRangeError if an index is not below n.

    >>> scatter_add([0, 0, 0], [1, 1], [5, 6])
    Tensor([ 0, 11,  0], i64[3])
    """
    target, v = coerce("scatter_add", x, updates)
    i = as_tensor(indices, op="scatter_add")
    axis = _shape.normalize_axis("scatter_add", axis, target.ndim)
    if v.shape != (*target.shape[:axis], *i.shape, *target.shape[axis + 1:]):
        raise ShapeError("scatter_add", got=f"{target.spec}, indices {i.spec}, updates {v.spec}",
                         why="the updates must have the shape of what is taken at the indices",
                         fix="give one update for each index")
    return target + places.add_at(v, i, axis=axis, size=target.shape[axis], op="scatter_add")


def one_hot(indices: TensorLike, depth: int, dtype: object = None, axis: int = -1) -> Tensor:
    """1 at the indices and 0 elsewhere, along a new axis of size `depth`; float32 by default.

    An index that is not between 0 and depth - 1 gives zeros.
    Raises: DTypeError unless the indices are integers, ArgumentError if `depth` is no size,
        OutOfRangeError if the result has no such axis.

    >>> one_hot([1, 0], 3)
    Tensor([[0., 1., 0.],
            [1., 0., 0.]], f32[2,3])
    """
    i = as_tensor(indices, op="one_hot")
    places.require_integer("one_hot", i.spec)
    depth = arguments.size("one_hot", "depth", depth)
    axis = _shape.normalize_axis("one_hot", axis, i.ndim + 1)
    along = [depth if a == axis else 1 for a in range(i.ndim + 1)]
    hit = _shape.expand_dims(cast(i, int64), axis) == _shape.reshape(create.arange(depth), along)
    return cast(hit, float32 if dtype is None else as_dtype(dtype, "one_hot"))


def embedding_lookup(params: TensorLike, ids: TensorLike) -> Tensor:
    """The rows of a table at `ids`: f[n,k], int[...] -> f[...,k].

    Raises: OutOfRangeError unless ids are from 0 up to, not including, n.
    """
    return _taken("embedding_lookup", params, ids, axis=0, from_end=False)
