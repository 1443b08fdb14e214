"""Indexing: x[...] and x[...] = v."""
from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import bool_, int64, is_integer
from tapeflow.errors import DTypeError, OutOfRangeError, ShapeError
from tapeflow.ops import create
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce, where
from tapeflow.ops.joint import jointly_linear
from tapeflow.ops.movement import Ints, everywhere, selection, slice_
from tapeflow.ops.places import flat_index, put_at, require_integer, take_at
from tapeflow.primitive import Copies, Leading, Part
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

# ---- writing a slice

def _update_adjoint(g: Tensor, i: int, specs: tuple[Spec, ...], *,
                    starts: Ints, steps: Ints) -> Tensor:
    if i:
        return slice_(g, starts=starts, sizes=specs[1].shape, steps=steps)
    zeros = create.zeros(specs[1].shape, specs[1].dtype)
    return update(g, zeros, starts=starts, steps=steps)


def _update_parts(x: Ints, v: Ints, *, starts: Ints, steps: Ints) -> list[Part]:
    return [everywhere(0, len(x)), (1, starts, steps)]


@jointly_linear(name="update", spec=lambda x, v, *, starts, steps: x, adjoint=_update_adjoint,
                batching=Leading(lambda size, *, starts, steps: {
                    "starts": (0, *starts), "steps": (1, *steps)}),
                lowering=Copies(_update_parts))
def update(x: Array, v: Array, *, starts: Ints, steps: Ints) -> Array:
    """x with v in place of its elements from `starts` on, `steps` apart."""
    y = np.array(x)
    y[selection(starts, v.shape, steps)] = v
    return y


# ---- keys

@dataclass(frozen=True, slots=True)
class _Key:
    """What `x[key]` takes: first a slice of every axis of x, then axes of size 1 dropped and
    inserted, then elements at `indices` along the axes `at` of what is left."""

    starts: Ints
    sizes: Ints
    steps: Ints
    shape: Ints                    # after dropping and inserting
    at: Ints
    indices: tuple[Tensor, ...]

    @property
    def order(self) -> Ints:
        """The axes with those of `at` together: in front, unless they are neighbours already."""
        if not self.at:
            return tuple(range(len(self.shape)))
        rest = tuple(a for a in range(len(self.shape)) if a not in self.at)
        before = self.at[0] if self.at == tuple(range(self.at[0], self.at[-1] + 1)) else 0
        return rest[:before] + self.at + rest[before:]

    @property
    def axis(self) -> int:
        return self.order.index(self.at[0])


def _parsed(x: Tensor, key: Any) -> _Key:
    items = _expanded(x, key)
    advanced = any(isinstance(item, Tensor) for item in items)
    ranges: list[tuple[int, int, int]] = []
    shape: list[int] = []
    at: list[int] = []
    indices: list[Tensor] = []
    for item in items:
        if item is None:
            shape.append(1)
            continue
        if isinstance(item, int) and advanced:   # as NumPy: it takes part in broadcasting
            item = as_tensor(item)
        if isinstance(item, Tensor):
            at.append(len(shape))
            indices.append(item)
        ranges.append(_range(item, x.shape[len(ranges)]))
        if not isinstance(item, int):
            shape.append(ranges[-1][1])
    starts, sizes, steps = zip(*ranges, strict=True) if ranges else ((), (), ())
    return _Key(starts, sizes, steps, tuple(shape), tuple(at), tuple(indices))


def _range(item: Any, n: int) -> tuple[int, int, int]:
    """Start, size and step of what `item` takes of an axis of size n."""
    if isinstance(item, Tensor):
        return 0, n, 1
    if isinstance(item, int):
        if not -n <= item < n:
            raise OutOfRangeError("getitem", got=f"index {item} on an axis of size {n}",
                                  why=f"indices are between {-n} and {n - 1}" if n else
                                  "the axis has no elements", fix="check the index, or the axis")
        return item % n, 1, 1
    start, stop, step = item.indices(n)
    size = len(range(start, stop, step))
    return (start if size else 0), size, step


def _expanded(x: Tensor, key: Any) -> list[Any]:
    """One item (int, slice, integer Tensor) for each axis of x, and None for new axes."""
    items: list[Any] = []
    for item in key if isinstance(key, tuple) else (key,):
        items += _items(item)
    used = sum(item is not None and not isinstance(item, EllipsisType) for item in items)
    dots = [i for i, item in enumerate(items) if isinstance(item, EllipsisType)]
    if used > x.ndim or len(dots) > 1:
        raise OutOfRangeError("getitem", got=f"{x.spec} and {used} indices", fix="give fewer",
                              why="there are more indices than axes" if used > x.ndim else
                              "`...` can stand only once")
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * (x.ndim - used), *items[at + 1:]]


def _items(item: Any) -> list[Any]:
    if item is None or isinstance(item, slice | EllipsisType):
        return [item]
    if isinstance(item, int | np.integer) and not isinstance(item, bool):
        return [int(item)]
    if isinstance(item, float | str | bool):
        raise DTypeError("getitem", got=f"index {item!r}",
                         why="it is neither integer, slice nor array",
                         fix="index with integers, slices, None, ... or integer tensors")
    index = as_tensor(item, op="getitem")
    if index.dtype == bool_:
        return [Tensor(a) for a in np.nonzero(index.concrete("boolean mask"))]
    if not index.size and not is_integer(index.dtype):   # []
        return [create.zeros(index.shape, int64)]
    require_integer("getitem", index.spec)
    return [index]


# ---- x[key] and x[key] = v

def getitem(x: TensorLike, key: Any) -> Tensor:
    """The elements of x at `key`: integers, slices, None, `...`, integer arrays; eagerly bools."""
    x = as_tensor(x, op="getitem")
    context = dispatch.here.context
    plain = type(key) is slice or type(key) is int
    if plain and context.tracer is None and not context.records and x.value.ndim:
        with suppress(IndexError):   # 0.7 us where the general way takes 7; it says what is wrong
            return dispatch.wrap(x.value[key])
    k = _parsed(x, key)
    y = _sliced(x, k)
    return _gathered(y, k) if k.at else y


def _sliced(x: Tensor, k: _Key) -> Tensor:
    if k.sizes == x.shape and all(s == 1 for s in k.steps):
        return _shape.reshape(x, k.shape)
    y: Tensor = slice_(x, starts=k.starts, sizes=k.sizes, steps=k.steps)
    return y if k.shape == k.sizes else _shape.reshape(y, k.shape)


def _gathered(y: Tensor, k: _Key) -> Tensor:
    rows, block = _rows(y, k)
    i = flat_index(*k.indices, sizes=block, op="getitem")
    return take_at(rows, i, axis=k.axis, op="getitem")


def _rows(y: Tensor, k: _Key) -> tuple[Tensor, Ints]:
    """y with the indexed axes made one, and what their sizes were."""
    moved = _shape.permute_dims(y, k.order)
    block = tuple(k.shape[a] for a in k.at)
    end = k.axis + len(block)
    sizes = (*moved.shape[:k.axis], math.prod(block), *moved.shape[end:])
    return _shape.reshape(moved, sizes), block


def updated(x: Tensor, key: Any, value: TensorLike) -> Tensor:
    """x with `value`, which is broadcast, in place of its elements at `key`.

    Raises: DTypeError if the value does not promote to the dtype of x, ShapeError if its shape does
        not broadcast to that of x[key].
    """
    v = _fitting(x, value)
    plain = isinstance(key, tuple | slice | int | EllipsisType | None)
    mask = None if plain else as_tensor(key, op="setitem")
    if mask is not None and mask.dtype == bool_ and v.ndim <= x.ndim - mask.ndim:
        held = _shape.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
        return where(held, v, x)
    k = _parsed(x, key)
    selected = _put(x, k, v) if k.at else _shape.reshape(_broadcast(v, k.shape), k.sizes)
    whole = k.sizes == x.shape and all(s == 1 for s in k.steps)
    if whole and (k.at or not dispatch.here.context.records):
        return selected   # recorders must see that x is overwritten: they know it by its object
    return update(x, selected, starts=k.starts, steps=k.steps)


def _fitting(x: Tensor, value: TensorLike) -> Tensor:
    v = coerce("setitem", x, value)[1]
    if v.dtype != x.dtype:
        raise DTypeError("setitem", got=f"{x.spec}, value {as_tensor(value).spec}",
                         why="the elements would lose precision",
                         fix=f"cast the value: tf.cast(v, {x.dtype.name!r})")
    return v


def _broadcast(v: Tensor, shape: Ints) -> Tensor:
    extra = v.ndim - len(shape)
    if extra > 0 and v.shape[:extra] == (1,) * extra:   # as NumPy allows in assignments
        v = _shape.reshape(v, v.shape[extra:])
    if v.ndim > len(shape) or any(n not in (1, m) for n, m in
                                  zip(v.shape[::-1], shape[::-1], strict=False)):
        raise ShapeError("setitem", got=f"value {v.spec} for {list(shape)}",
                         why="the value does not broadcast to the elements it replaces",
                         fix="reshape the value")
    return _shape.broadcast_to(v, shape)


def _put(x: Tensor, k: _Key, v: Tensor) -> Tensor:
    """The slice of x that the key starts from, with v at the indices."""
    rows, block = _rows(_sliced(x, k), k)
    i = flat_index(*k.indices, sizes=block, op="setitem")
    shape = (*rows.shape[:k.axis], *i.shape, *rows.shape[k.axis + 1:])
    put = put_at(rows, _broadcast(v, shape), i, axis=k.axis)
    moved = _shape.reshape(put, tuple(k.shape[a] for a in k.order))
    return _shape.reshape(_shape.permute_dims(moved, _shape.inverse_order(k.order)), k.sizes)


# ---- rebinding

def setitem(x: Tensor, key: Any, value: TensorLike) -> None:
    """Let the object x stand for its updated value from now on.

    Recorders know a tensor by the object. So the old value goes on under a new object, and what
    they learn is: old is x; new is computed from old; what was x until now is old; x is new.
    """
    old = _shape.another(x)
    new = updated(old, key, value)
    dispatch.rebind(x, new.value, old)
    dispatch.tell((_shape.identity, (new,), dispatch.NO_ATTRS, x))
