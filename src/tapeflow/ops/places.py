"""Reading and writing at computed places along one axis."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow.dtypes import int64, is_integer
from tapeflow.errors import DTypeError, OutOfRangeError, ShapeError
from tapeflow.ops import create
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import where
from tapeflow.ops.movement import Ints, moveaxis
from tapeflow.primitive import Primitive, Rule, Tangents, discrete, primitive
from tapeflow.tensor import Array, Spec, Tensor


def require_integer(op: str, indices: Spec) -> None:
    """Raise DTypeError in the name of `op` unless the indices are integers."""
    if not is_integer(indices.dtype):
        raise DTypeError(op, got=f"indices {indices}", why="indices are integers",
                         fix="cast them: tf.cast(i, tf.int64)")


def _take_spec(x: Spec, i: Spec, *, axis: int, op: str, from_end: bool = True) -> Spec:
    require_integer(op, i)
    return Spec((*x.shape[:axis], *i.shape, *x.shape[axis + 1:]), x.dtype)


def within(op: str, i: Array, size: int, from_end: bool = True) -> Array:
    """i, if every element is an index of an axis of `size`, counted from its end if negative."""
    if i.dtype.kind == "b":   # which NumPy takes for 0 and 1; the rules of shapes say why not
        raise TypeError(f"{op}: bools are no indices")
    least = -size if from_end else 0
    if i.size and (i.min() < least or i.max() >= size):
        worst = i.max() if i.max() >= size else i.min()
        raise OutOfRangeError(op, got=f"index {worst} on an axis of size {size}",
                              why=f"indices are between {least} and {size - 1}" if size else
                              "the axis has no elements",
                              fix="check the indices, or the axis")
    return i


def _take_adjoint(g: Tensor, y: Tensor, x: Tensor, i: Tensor, *,
                  axis: int, op: str, from_end: bool = True) -> Tensor:
    return add_at(g, i, axis=axis, size=x.shape[axis], op=op)


def _take_jvp(ts: Tangents, y: Tensor, x: Tensor, i: Tensor, *,
              axis: int, op: str, from_end: bool = True) -> Tensor | None:
    return None if ts[0] is None else take_at(ts[0], i, axis=axis, op=op)


def _places(size: int, i: Tensor, n: int, op: str) -> Tensor:
    """Where the elements at indices i[size, ...] of examples with n rows each lie in all rows."""
    example = _shape.reshape(create.arange(size), (size,) + (1,) * (i.ndim - 1))
    return flat_index(example, i, sizes=(size, n), op=op)


def _rows_first(x: Tensor, axis: int, count: int = 1) -> Tensor:
    """x[size, ..., *rows, ...] -> [size, *rows, ...], for `count` axes of rows from `axis` + 1."""
    rows = range(axis + 1, axis + 1 + count)
    rest = (a for a in range(1, x.ndim) if a not in rows)
    return _shape.permute_dims(x, (0, *rows, *rest))


def _rows_back(x: Tensor, axis: int, count: int = 1) -> Tensor:
    """What _rows_first undoes."""
    before, after = range(1 + count, 1 + count + axis), range(1 + count + axis, x.ndim)
    return _shape.permute_dims(x, (0, *before, *range(1, 1 + count), *after))


def _joined(x: Tensor) -> Tensor:
    """The rows of all examples in a row: any[size, n, ...] -> any[size * n, ...]."""
    return _shape.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))


def _take_of(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
             axis: int, op: str, from_end: bool = True) -> Any:
    x, i = xs
    attrs = {"op": op, "from_end": from_end}
    if not batched[1]:
        return take_at(x, i, axis=axis + 1, **attrs)
    if not batched[0]:
        return moveaxis(take_at(x, i, axis=axis, **attrs), axis, 0)
    if not from_end:
        return NotImplemented
    places = _places(size, i, x.shape[axis + 1], op)
    taken = take_at(_joined(_rows_first(x, axis)), places, axis=0, op=op)
    return _rows_back(taken, axis, i.ndim - 1)


@primitive(name="take", spec=_take_spec, adjoints=(_take_adjoint, None), jvp=_take_jvp,
           batching=Rule(_take_of))
def take_at(x: Array, i: Array, *, axis: int, op: str, from_end: bool = True) -> Array:
    """any[..., n, ...], int[s] -> any[..., s, ...]: the elements at i along `axis`.

    `op` is what the user called, for errors: which indices there are is seen only here. `from_end`
    lets negative ones count from the end.
    """
    if not from_end or i.dtype.kind == "b":
        within(op, i, x.shape[axis], from_end)
    try:
        return np.asarray(x.take(i, axis))
    except IndexError:   # asking first would take longer than taking a few
        within(op, i, x.shape[axis])
        raise


def _add_at_spec(x: Spec, i: Spec, *, axis: int, size: int, op: str) -> Spec:
    require_integer(op, i)
    if x.shape[axis:axis + i.ndim] != i.shape:
        raise ShapeError(op, got=f"updates {x}, indices {i}, axis {axis}",
                         why="the updates must have the shape of the indices from this axis on",
                         fix="give one update for each index")
    return Spec((*x.shape[:axis], size, *x.shape[axis + i.ndim:]), x.dtype)


def _add_at_jvp(ts: Tangents, y: Tensor, x: Tensor, i: Tensor, *,
                axis: int, size: int, op: str) -> Tensor | None:
    return None if ts[0] is None else add_at(ts[0], i, axis=axis, size=size, op=op)


def _add_of(prim: Primitive, count: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
            axis: int, size: int, op: str) -> Tensor:
    x, i = xs
    if not batched[1]:
        return add_at(x, i, axis=axis + 1, size=size, op=op)
    (x,) = _shape.filled(count, (x,), batched[:1])
    rows = _rows_first(x, axis, i.ndim - 1)
    places = _places(count, i, size, op)
    added = add_at(rows, places, axis=0, size=count * size, op=op)
    apart = _shape.reshape(added, (count, size, *added.shape[1:]))
    return _rows_back(apart, axis)


@primitive(name="add_at", spec=_add_at_spec, jvp=_add_at_jvp, batching=Rule(_add_of), adjoints=(
    lambda g, y, x, i, *, axis, size, op: take_at(g, i, axis=axis, op=op), None))
def add_at(x: Array, i: Array, *, axis: int, size: int, op: str) -> Array:
    """any[..., s, ...], int[s] -> any[..., size, ...]: zeros, to which x is added at i.

    Adjoint to take.
    """
    if x.shape[axis:axis + i.ndim] != i.shape:
        raise ValueError("the updates do not fit the indices")
    y = np.zeros((*x.shape[:axis], size, *x.shape[axis + i.ndim:]), x.dtype)
    places: Any = (slice(None),) * axis + (within(op, i, size),)
    np.add.at(y, places, x)
    return y


def _put_spec(x: Spec, v: Spec, i: Spec, *, axis: int) -> Spec:
    require_integer("setitem", i)
    return x


def _put_jvp(ts: Tangents, y: Tensor, x: Tensor, v: Tensor, i: Tensor, *, axis: int) -> Tensor:
    tx, tv = (create.zeros_like(p) if t is None else t for t, p in zip(ts[:2], (x, v), strict=True))
    return put_at(tx, tv, i, axis=axis)


def _put_adjoint(g: Tensor, y: Tensor, x: Tensor, v: Tensor, i: Tensor, *, axis: int) -> Tensor:
    return put_at(g, create.zeros_like(v), i, axis=axis)


def _put_value_adjoint(g: Tensor, y: Tensor, x: Tensor, v: Tensor, i: Tensor, *,
                       axis: int) -> Tensor:
    return where(_stays(i, v, x.shape[axis], axis), take_at(g, i, axis=axis, op="setitem"), 0)


def _stays(i: Tensor, v: Tensor, size: int, axis: int) -> Tensor:
    """Which elements of v are not written over by a later one at the same index."""
    turns = _shape.reshape(create.arange(math.prod(i.shape)), i.shape)
    last = put_at(create.zeros((size,), int64), turns, i, axis=0)
    stays = take_at(last, i, axis=0, op="setitem") == turns
    return _shape.reshape(stays, i.shape + (1,) * (v.ndim - axis - i.ndim))


def _put_of(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
            axis: int) -> Tensor:
    x, v = _shape.filled(size, xs[:2], batched[:2])
    i = xs[2]
    if not batched[2]:
        return put_at(x, v, i, axis=axis + 1)
    rows = _rows_first(x, axis)
    places = _places(size, i, rows.shape[1], "setitem")
    put = put_at(_joined(rows), _rows_first(v, axis, i.ndim - 1), places, axis=0)
    return _rows_back(_shape.reshape(put, rows.shape), axis)


@primitive(name="put_at", spec=_put_spec, jvp=_put_jvp, batching=Rule(_put_of),
           adjoints=(_put_adjoint, _put_value_adjoint, None))
def put_at(x: Array, v: Array, i: Array, *, axis: int) -> Array:
    """x with v in place of its elements at i along `axis`; at equal indices the last one stays."""
    y = np.array(x)
    places = np.asarray(within("setitem", i, x.shape[axis]), order="C")   # NumPy goes by memory
    y[(slice(None),) * axis + (places,)] = np.asarray(v, order="C")
    return y


def _flat_spec(*indices: Spec, sizes: Ints, op: str) -> Spec:
    for i in indices:
        require_integer(op, i)
    return Spec(_shape.broadcast_shapes(op, *indices), int64)


def _flat_of(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
             sizes: Ints, op: str) -> Tensor:
    """The indices of one example broadcast: axes of size 1 stand between them and the examples."""
    ndim = max(x.ndim - b for x, b in zip(xs, batched, strict=True))
    aligned = [_shape.reshape(x, (size,) + (1,) * (ndim + 1 - x.ndim) + x.shape[1:]) if b else x
               for x, b in zip(xs, batched, strict=True)]
    return flat_index(*aligned, sizes=sizes, op=op)


@discrete(name="flat_index", spec=_flat_spec, batching=Rule(_flat_of))
def flat_index(*indices: Array, sizes: Ints, op: str) -> Array:
    """Where elements with these indices, one array an axis, lie in `sizes` places, row by row."""
    flat = np.zeros((), np.int64)
    for i, n in zip(indices, sizes, strict=True):
        inside = within(op, i, n).astype(np.int64)
        flat = flat * n + np.where(inside < 0, inside + n, inside)
    return flat
