"""Putting tensors together, and taking apart what was put together."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.joint import jointly_linear
from tapeflow.ops.movement import Ints, part
from tapeflow.primitive import Copies, Part, along
from tapeflow.tensor import Array, Axis, Spec, Tensor, TensorLike, as_tensor, is_number


def _concat_spec(*specs: Spec, axis: int) -> Spec:
    first = specs[0]
    others = [s.shape[:axis] + s.shape[axis + 1:] for s in specs]
    if any(s.ndim != first.ndim for s in specs) or any(o != others[0] for o in others):
        raise ShapeError("concat", got=", ".join(map(str, specs)),
                         why=f"the sizes differ along axes other than {axis}",
                         fix="make them equal, or concatenate along another axis")
    if any(s.dtype != first.dtype for s in specs):
        raise DTypeError("concat", got=", ".join(map(str, specs)), why="the dtypes differ",
                         fix="cast them to one: tf.cast(x, tf.float32)")
    length = sum(s.shape[axis] for s in specs)
    return Spec((*first.shape[:axis], length, *first.shape[axis + 1:]), first.dtype)


def _concat_parts(*shapes: Ints, axis: int) -> list[Part]:
    ends = accumulate((shape[axis] for shape in shapes), initial=0)
    steps = (1,) * len(shapes[0])
    return [(i, tuple(start if a == axis else 0 for a in range(len(steps))), steps)
            for i, start in zip(range(len(shapes)), ends, strict=False)]


@jointly_linear(name="concat", spec=_concat_spec, lowering=Copies(_concat_parts),
                batching=along("axis"),
                adjoint=lambda g, i, specs, *, axis: part(
                    g, axis, sum(s.shape[axis] for s in specs[:i]), specs[i].shape[axis]))
def _concat(*xs: Array, axis: int) -> Array:
    """The inputs one after the other along `axis`."""
    return np.concatenate(xs, axis)


def concat(tensors: Sequence[TensorLike], axis: int | None = 0) -> Tensor:
    """The tensors one after the other along `axis`; None: all flattened first.

    Raises: ShapeError if other sizes differ, DTypeError if the dtypes do not promote, ArgumentError
        without any tensor.

    >>> concat([[1, 2], [3]])
    Tensor([1, 2, 3], i64[3])
    """
    xs = _several("concat", tensors)
    if axis is None:
        xs = [_shape.flattened(x) for x in xs]
    along = _shape.normalize_axis("concat", 0 if axis is None else axis, len(xs[0].value.shape))
    return _joined(xs, along)


def _joined(xs: Sequence[Tensor], axis: int) -> Tensor:
    if len(xs) == 1:
        return _shape.another(xs[0])
    return dispatch.apply(_concat, tuple(xs), {"axis": axis})   # type: ignore[no-any-return]


def _several(op: str, tensors: Sequence[TensorLike]) -> list[Tensor]:
    given = tensors if type(tensors) in (list, tuple) else _listed(op, tensors)
    if not given:
        raise ArgumentError(op, got="no tensors", why=f"{op} needs at least one", fix="give one")
    return coerce(op, *given)


def _listed(op: str, tensors: Any) -> Sequence[TensorLike]:
    if isinstance(tensors, Tensor) or is_number(tensors):
        raise ArgumentError(op, got=type(tensors).__name__, why=f"{op} takes a list of tensors",
                            fix=f"write tf.{op}([x, y])")
    rows = getattr(tensors, "ndim", 0) > 0   # of a NumPy array
    return list(tensors) if rows else arguments.several(op, "tensors", tensors, "tensors")


def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """Tensors of one shape, along a new axis that stands at `axis` in the result.

    Raises: ShapeError if the shapes differ, OutOfRangeError if the result has no such axis.
    """
    xs = _several("stack", tensors)
    shape = xs[0].value.shape
    axis = _shape.normalize_axis("stack", axis, len(shape) + 1)
    if [x.value.shape for x in xs].count(shape) < len(xs):
        raise ShapeError("stack", got=", ".join(str(x.spec) for x in xs), why="the shapes differ",
                         fix="make them equal, or use tf.concat")
    if axis == len(shape):
        return _joined([_shape.reshape(x, (*shape, 1)) for x in xs], axis)
    # the same order of elements in fewer steps than by an axis for each tensor
    attrs = {"shape": (*shape[:axis], len(xs), *shape[axis:])}
    return dispatch.unary(_shape.in_shape, _joined(xs, axis), attrs)


def add_n(tensors: Sequence[TensorLike]) -> Tensor:
    """The sum of tensors of one shape.

    Raises: ShapeError if the shapes differ, ArgumentError without any tensor.
    """
    xs = _several("add_n", tensors)
    if any(x.shape != xs[0].shape for x in xs):
        raise ShapeError("add_n", got=", ".join(str(x.spec) for x in xs), why="the shapes differ",
                         fix="make them equal, or use + to broadcast")
    return sum(xs[1:], start=xs[0]) if len(xs) > 1 else _shape.another(xs[0])


def split(x: TensorLike, parts: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """x cut along `axis`: a number of equal parts, or parts of the sizes given.

    Raises: ShapeError if the parts do not fill the axis, ArgumentError unless they are whole
        numbers.
    """
    x = as_tensor(x, op="split")
    axis = _shape.normalize_axis("split", axis, x.ndim)
    n = x.shape[axis]
    if isinstance(parts, int | np.integer):
        sizes = (n // parts,) * int(parts) if parts > 0 and n % parts == 0 else (-1,)
    else:
        sizes = arguments.integers("split", "parts", parts)
    if sum(sizes) != n or any(size < 0 for size in sizes):
        raise ShapeError("split", got=f"{x.spec}, parts {parts}, axis {axis}",
                         why=f"the parts do not add up to {n}", fix="give sizes that do")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [part(x, axis, start, size) for start, size in zip(starts, sizes, strict=True)]


def unstack(x: TensorLike, axis: int = 0) -> tuple[Tensor, ...]:
    """The tensors that lie side by side along `axis`, which they lose.

    Raises: OutOfRangeError if there is no such axis.
    """
    x = as_tensor(x, op="unstack")
    axis = _shape.normalize_axis("unstack", axis, x.ndim)
    sizes = x.shape[:axis] + x.shape[axis + 1:]
    return tuple([_shape.reshape(part(x, axis, i, 1), sizes) for i in range(x.shape[axis])])


def tile(x: TensorLike, repetitions: Sequence[int] | int) -> Tensor:
    """x side by side with itself, `repetitions` times along each axis, counted from the last.

    Raises: ArgumentError unless these are whole numbers of at least 0.
    """
    x = as_tensor(x, op="tile")
    times = arguments.integers("tile", "repetitions", repetitions)
    if any(n < 0 for n in times):
        raise ArgumentError("tile", got=f"repetitions {times}", why="a count is not negative",
                            fix="give counts of at least 0")
    ndim = max(x.ndim, len(times))
    times = (1,) * (ndim - len(times)) + times
    sizes = (1,) * (ndim - x.ndim) + x.shape
    apart = [n for size in sizes for n in (1, size)]
    repeated = [n for pair in zip(times, sizes, strict=True) for n in pair]
    wide = _shape.broadcast_to(_shape.reshape(x, apart), repeated)
    return _shape.reshape(wide, [t * n for t, n in zip(times, sizes, strict=True)])


def roll(x: TensorLike, shift: int | Sequence[int], axis: Axis = None) -> Tensor:
    """x with its elements moved `shift` places along `axis`; what falls off enters at the start.

    Without an axis the elements are moved as if in one row.

    Raises: ArgumentError unless each axis has a shift, OutOfRangeError if one is not there.
    """
    y = _shape.another(as_tensor(x, op="roll"))
    if axis is None:
        return _shape.reshape(roll(_shape.flattened(y), shift, 0), y.shape)
    shifts = arguments.integers("roll", "shift", shift)
    axes = arguments.integers("roll", "axis", axis)
    if len(shifts) == 1:
        shifts *= len(axes)
    if len(shifts) != len(axes):
        raise ArgumentError("roll", got=f"{len(shifts)} shifts, {len(axes)} axes",
                            why="each axis needs a shift", fix="give as many shifts as axes")
    for places, a in zip(shifts, axes, strict=True):
        a = _shape.normalize_axis("roll", a, y.ndim)
        n = y.shape[a]
        by = places % n if n else 0
        if by:
            y = concat([part(y, a, n - by, by), part(y, a, 0, n - by)], axis=a)
    return y
