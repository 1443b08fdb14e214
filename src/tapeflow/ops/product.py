"""Products of elements, with derivatives that are right at zeros."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import float64, is_floating
from tapeflow.ops import create, index, joining, movement, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.shape import Axes
from tapeflow.primitive import Fold, Tangents, along, primitive
from tapeflow.tensor import Array, Axis, Spec, Tensor, TensorLike, as_tensor


def _prod_adjoint(g: Tensor, y: Tensor, x: Tensor, *, axes: Axes) -> Tensor:
    return reduce.spread(g, x, axes) * _others(x, axes)


def _prod_jvp(ts: Tangents, y: Tensor, x: Tensor, *, axes: Axes) -> Tensor:
    assert ts[0] is not None
    return reduce.sum(ts[0] * _others(x, axes), axis=axes)


@primitive(name="prod", spec=lambda x, *, axes: Spec(_shape.drop(x, axes), x.dtype),
           adjoints=(_prod_adjoint,), jvp=_prod_jvp, batching=along("axes"),
           lowering=Fold("{t}(1)", "{a} * {x}"))
def prod_over(x: Array, *, axes: Axes) -> Array:
    """Product of x over `axes`, which are dropped, in the dtype of x."""
    y: Array = np.multiply.reduce(x, axis=axes, dtype=_shape.wide(x.dtype))
    return y.astype(x.dtype)


def prod(x: TensorLike, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    """The product of x over `axis`, by default over all axes; of bools and integers in 64 bits.

    Raises: OutOfRangeError if there is no such axis.

    >>> prod([[1, 2], [3, 4]], axis=1)
    Tensor([ 2, 12], i64[2])
    """
    x = reduce.in_sum_dtype(as_tensor(x, op="prod"), dtype, "prod")
    return reduce.reduced("prod", prod_over, x, axis, keepdims)


def _others(x: Tensor, axes: Axes) -> Tensor:
    """For each element the product of the others over `axes`, without dividing.

    Products of pairs, of pairs of pairs, ...; on the way back each node passes down what it got,
    times the product of the sibling.
    """
    order = tuple(a for a in range(x.ndim) if a not in axes) + axes
    moved = _shape.permute_dims(x, order)
    batch = moved.shape[:x.ndim - len(axes)]
    count = math.prod(x.shape[a] for a in axes)
    levels = max(count - 1, 0).bit_length()
    missing = (1 << levels) - count
    ones = create.ones((*batch, missing), dtype=x.dtype)
    products = [joining.concat([_shape.reshape(moved, (*batch, count)), ones], axis=-1)]
    for _ in range(levels):
        pairs = _paired(products[-1])
        products.append(index.getitem(pairs, (..., 0)) * index.getitem(pairs, (..., 1)))
    others = create.ones_like(products.pop())
    for level in reversed(products):
        siblings = movement.flip(_paired(level), axis=-1)
        others = _shape.reshape(siblings * _shape.expand_dims(others, -1), level.shape)
    back = _shape.reshape(index.getitem(others, (..., slice(count))), moved.shape)
    return _shape.permute_dims(back, _shape.inverse_order(order))


def _paired(x: Tensor) -> Tensor:
    return _shape.reshape(x, (*x.shape[:-1], x.shape[-1] // 2, 2))


def cumulative_prod(x: TensorLike, axis: int | None = None, dtype: Any = None,
                    include_initial: bool = False) -> Tensor:
    """The products of the first 1, 2, ... elements along `axis`, which a vector need not name.

    include_initial: whether the product of no elements, 1, stands before them.
    Raises: ArgumentError if a tensor of several axes does not name one, OutOfRangeError if it is
        not there.
    """
    y = reduce.in_sum_dtype(as_tensor(x, op="cumulative_prod"), dtype, "cumulative_prod")
    axis = _shape.one_axis("cumulative_prod", axis, y)
    y = running(y, axis)
    if include_initial:
        ones = create.ones((*y.shape[:axis], 1, *y.shape[axis + 1:]), y.dtype)
        return joining.concat([ones, y], axis=axis)
    return y


def running(x: Tensor, axis: int) -> Tensor:
    """The products of the elements up to each one along `axis`."""
    context = dispatch.here.context
    if context.tracer is None and not context.records:   # one pass, which has no derivative
        return dispatch.wrap(context.quiet(_running, x.value, axis))
    step = 1
    while step < x.shape[axis]:   # doubling: x[i] holds the product of the `step` elements up to i
        x = x * movement.behind(x, axis, step, 1)
        step *= 2
    return x


def _running(x: Array, axis: int) -> Array:
    wide = float64 if is_floating(x.dtype) else x.dtype
    y: Array = np.multiply.accumulate(x, axis, wide).astype(x.dtype, copy=False)
    return y
