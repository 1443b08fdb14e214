"""Running sums, differences and repetition along an axis."""
from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import float64, is_floating
from tapeflow.errors import ArgumentError
from tapeflow.ops import create, gather, movement
from tapeflow.ops import shape as _shape
from tapeflow.ops.reduce import in_sum_dtype
from tapeflow.primitive import along, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor


def _cumsum_adjoint(g: Tensor, x: Spec, *, axis: int, reverse: bool) -> Tensor:
    return _cumsum(g, axis=axis, reverse=not reverse)


@linear(name="cumsum", spec=lambda x, *, axis, reverse: x, adjoint=_cumsum_adjoint,
        batching=along("axis"))
def _cumsum(x: Array, *, axis: int, reverse: bool) -> Array:
    ordered = np.flip(x, axis) if reverse else x
    wide = float64 if is_floating(x.dtype) else x.dtype   # NumPy adds one after the other
    y = np.cumsum(ordered, axis, dtype=wide).astype(x.dtype, copy=False)
    return np.flip(y, axis) if reverse else y


def cumulative_sum(x: TensorLike, axis: int | None = None, dtype: Any = None,
                   include_initial: bool = False) -> Tensor:
    """The sums of the first 1, 2, ... elements along `axis`, which a vector need not name.

    include_initial: whether the sum of no elements, 0, stands before them.
    Raises: ArgumentError if a tensor of several axes does not name one, OutOfRangeError if it is
        not there.
    """
    x = in_sum_dtype(as_tensor(x, op="cumulative_sum"), dtype, "cumulative_sum")
    axis = _shape.one_axis("cumulative_sum", axis, x)
    y: Tensor = _cumsum(x, axis=axis, reverse=False)
    if include_initial:
        return movement.pad(y, [(1, 0) if a == axis else (0, 0) for a in range(x.ndim)])
    return y


def cumsum(x: TensorLike, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """The running sums of x along `axis`.

    exclusive: without the element itself; reverse: from the end.
    Raises: OutOfRangeError if there is no such axis.

    >>> cumsum([1, 2, 3])
    Tensor([1, 3, 6], i64[3])
    """
    x = as_tensor(x, op="cumsum")
    axis = _shape.normalize_axis("cumsum", axis, x.ndim)
    if exclusive and x.size:
        x = _shifted(x, axis, reverse)
    y: Tensor = _cumsum(x, axis=axis, reverse=reverse)
    return y


def _shifted(x: Tensor, axis: int, reverse: bool) -> Tensor:
    """x one place further along `axis`, or one back: a zero enters, and the element at the other
    end falls off. Subtracting each element from its sum would cancel."""
    rest = movement.part(x, axis, 1 if reverse else 0, x.shape[axis] - 1)
    room = (0, 1) if reverse else (1, 0)
    return movement.pad(rest, [room if a == axis else (0, 0) for a in range(x.ndim)])


def diff(x: TensorLike, axis: int = -1, n: int = 1, prepend: TensorLike | None = None,
         append: TensorLike | None = None) -> Tensor:
    """The differences of neighbours along `axis`, n times over.

    Raises: ArgumentError unless n is a whole number of at least 0, OutOfRangeError if there is no
        such axis, ShapeError if `prepend` or `append` does not fit x.
    """
    n = arguments.size("diff", "n", n)
    x = as_tensor(x, op="diff")
    axis = _shape.normalize_axis("diff", axis, x.ndim)
    ends = [end for end in (prepend, x, append) if end is not None]
    y = movement.concat(ends, axis)
    for _ in range(min(n, y.shape[axis])):   # then nothing is left
        size = max(y.shape[axis] - 1, 0)
        y = movement.part(y, axis, y.shape[axis] - size, size) - movement.part(y, axis, 0, size)
    return y


def repeat(x: TensorLike, repeats: int | TensorLike, axis: int | None = None) -> Tensor:
    """Each element along `axis` several times in a row; without an axis x is flattened.

    repeats: how often, for all or for each; where they differ they must be known while tracing.
    Raises: ArgumentError unless these are counts, one for each element or one for all.
    """
    x = as_tensor(x, op="repeat")
    if axis is None:
        x, axis = movement.flattened(x), 0
    axis = _shape.normalize_axis("repeat", axis, x.ndim)
    times = as_tensor(repeats, op="repeat").concrete("repeat")
    if times.dtype.kind not in "iu" or np.any(times < 0):
        raise ArgumentError("repeat", got=f"repeats {repeats!r}", fix="give integers",
                            why="a count is a whole number of at least 0")
    if times.ndim and times.shape != (x.shape[axis],) and times.shape != (1,):
        raise ArgumentError("repeat", got=f"{times.size} counts for {x.shape[axis]} elements",
                            why="each element needs a count",
                            fix="give one count, or one an element")
    places = np.repeat(np.arange(x.shape[axis]), times)
    return gather.take(x, create.asarray(places), axis)
