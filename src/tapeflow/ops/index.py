"""Indexing: x[...] and x[...] = v."""
from __future__ import annotations

import math
from contextlib import suppress
from types import EllipsisType
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import bool_
from tapeflow.errors import DTypeError
from tapeflow.ops import create
from tapeflow.ops import shape as _shape
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import coerce, where
from tapeflow.ops.joint import jointly_linear
from tapeflow.ops.keys import (
    Key,
    broadcast_update,
    is_fixed,
    of_numpy,
    parsed,
    require_mask,
)
from tapeflow.ops.movement import Ints, everywhere, place, selection, slice_
from tapeflow.ops.places import flat_index, put_at, take_at
from tapeflow.primitive import Copies, Leading, Part, Tangents
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


# ---- x[key] and x[key] = v

def getitem(x: TensorLike, key: Any, op: str = "getitem") -> Tensor:
    """The elements of x at `key`: integers, slices, None, `...`, arrays of integers, and masks.

    Raises: DTypeError for what is no key, OutOfRangeError for an index that is not there, more of
        them than axes, or a mask of other sizes, TraceError for a traced mask.
    """
    x = as_tensor(x, op=op)
    context = dispatch.here.context
    if context.tracer is None:
        if is_fixed(key):
            return _part(x, key=key, op=op)
        if not context.records:   # 0.7 us where the general way takes 7; it says more
            with suppress(IndexError, TypeError, ValueError):
                return dispatch.wrap(x.value[of_numpy(key)])
    k = parsed(op, x.spec, key)
    y = _sliced(x, k)
    return _gathered(op, y, k) if k.at else y


def _part_adjoint(g: Tensor, y: Tensor, x: Tensor, *, key: Any, op: str) -> Tensor:
    k = parsed(op, x.spec, key)
    return place(_shape.reshape(g, k.sizes), shape=x.shape, starts=k.starts, steps=k.steps)


def _part_jvp(ts: Tangents, y: Tensor, x: Tensor, *, key: Any, op: str) -> Tensor | None:
    return None if ts[0] is None else _part(ts[0], key=key, op=op)


@composite(_part_adjoint, jvp=_part_jvp, arrays=lambda x, *, key, op: x[key],
           spec=lambda x, *, key, op: Spec(parsed(op, x, key).shape, x.dtype))
def _part(x: Tensor, *, key: Any, op: str) -> Tensor:
    """The elements of x at a key without arrays."""
    return _sliced(x, parsed(op, x.spec, key))


def _sliced(x: Tensor, k: Key) -> Tensor:
    if k.is_whole(x.shape):
        return _shape.reshape(x, k.shape)
    y: Tensor = slice_(x, starts=k.starts, sizes=k.sizes, steps=k.steps)
    return y if k.shape == k.sizes else _shape.reshape(y, k.shape)


def _gathered(op: str, y: Tensor, k: Key) -> Tensor:
    rows, block = _rows(y, k)
    i = flat_index(*k.indices, sizes=block, op=op)
    return take_at(rows, i, axis=k.axis, op=op)


def _rows(y: Tensor, k: Key) -> tuple[Tensor, Ints]:
    """y with the indexed axes made one, and what their sizes were."""
    moved = _shape.permute_dims(y, k.order)
    block = tuple(k.shape[a] for a in k.at)
    end = k.axis + len(block)
    sizes = (*moved.shape[:k.axis], math.prod(block), *moved.shape[end:])
    return _shape.reshape(moved, sizes), block


def updated(x: Tensor, key: Any, value: TensorLike, op: str = "setitem") -> Tensor:
    """x with `value`, which is broadcast, in place of its elements at `key`; of several values for
    one element the last stays.

    Raises: DTypeError if the value does not promote to the dtype of x, ShapeError if its shape does
        not broadcast to that of x[key].
    """
    v = _fitting(op, x, value)
    context = dispatch.here.context
    if context.tracer is None and not context.records:
        with suppress(*_REFUSED):   # the general way says what is wrong
            y = x.value.copy()
            y[of_numpy(key)] = v.value
            return dispatch.wrap(y)
    mask = None if isinstance(key, _PLAIN) else as_tensor(key, op=op)
    if mask is not None and mask.dtype == bool_ and v.ndim <= x.ndim - mask.ndim:
        require_mask(op, x.spec, mask.spec)
        held = _shape.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim))
        return where(held, v, x)
    k = parsed(op, x.spec, key)
    selected = _put(op, x, k, v) if k.at else _shape.reshape(_broadcast(op, v, k.shape), k.sizes)
    if k.is_whole(x.shape) and (k.at or not context.records):
        return selected   # recorders must see that x is overwritten: they know it by its object
    return update(x, selected, starts=k.starts, steps=k.steps)


_REFUSED = (AttributeError, IndexError, TypeError, ValueError)   # the first: x has no value
_PLAIN = (tuple, slice, int, EllipsisType, type(None))


def _fitting(op: str, x: Tensor, value: TensorLike) -> Tensor:
    v = coerce(op, x, value)[1]
    if v.dtype != x.dtype:
        raise DTypeError(op, got=f"{x.spec}, value {as_tensor(value).spec}",
                         why="the elements would lose precision",
                         fix=f"cast the value: tf.cast(v, {x.dtype.name!r})")
    return v


def _broadcast(op: str, v: Tensor, shape: Ints) -> Tensor:
    kept = broadcast_update(op, v.spec, shape)
    return _shape.broadcast_to(_shape.reshape(v, kept), shape)


def _put(op: str, x: Tensor, k: Key, v: Tensor) -> Tensor:
    """The slice of x that the key starts from, with v at the indices."""
    rows, block = _rows(_sliced(x, k), k)
    i = flat_index(*k.indices, sizes=block, op=op)
    shape = (*rows.shape[:k.axis], *i.shape, *rows.shape[k.axis + 1:])
    put = put_at(rows, _broadcast(op, v, shape), i, axis=k.axis)
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
