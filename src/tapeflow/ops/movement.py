"""Moving elements to other places: slices, padding, and orders of axes and of elements."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import bool_
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import create
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import where
from tapeflow.primitive import Copies, Leading, Part, View, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

Ints = tuple[int, ...]


# ---- slice and place, adjoint to each other

def selection(starts: Ints, sizes: Ints, steps: Ints) -> tuple[slice, ...]:
    """The slices that take `sizes` elements from `starts`, `steps` apart."""
    def end(start: int, size: int, step: int) -> int | None:
        stop = start + size * step
        return None if stop < 0 else stop
    return tuple(slice(a, end(a, n, s), s) for a, n, s in zip(starts, sizes, steps, strict=True))


def slice_layout(shape: Ints, offset: int, strides: Ints, /, **attrs: Ints) -> tuple[int, Ints]:
    """Where the elements lie that start at `starts`, `steps` apart, of what lies so."""
    moved = offset + sum(a * s for a, s in zip(attrs["starts"], strides, strict=True))
    return moved, tuple(a * s for a, s in zip(attrs["steps"], strides, strict=True))


def _slice_adjoint(g: Tensor, x: Spec, *, starts: Ints, sizes: Ints, steps: Ints) -> Tensor:
    return place(g, shape=x.shape, starts=starts, steps=steps)


@linear(name="slice", spec=lambda x, *, starts, sizes, steps: Spec(sizes, x.dtype),
        adjoint=_slice_adjoint,
        batching=Leading(lambda size, *, starts, sizes, steps: {
            "starts": (0, *starts), "sizes": (size, *sizes), "steps": (1, *steps)}),
        lowering=View(slice_layout))
def slice_(x: Array, *, starts: Ints, sizes: Ints, steps: Ints) -> Array:
    """`sizes` elements of x from `starts` on, `steps` apart."""
    return x[selection(starts, sizes, steps)]


def everywhere(source: int | None, ndim: int) -> Part:
    """The part of an output that is all of it."""
    return source, (0,) * ndim, (1,) * ndim


def _place_parts(x: Ints, *, shape: Ints, starts: Ints, steps: Ints) -> list[Part]:
    return [everywhere(None, len(shape)), (0, starts, steps)]


@linear(name="place", spec=lambda x, *, shape, starts, steps: Spec(shape, x.dtype),
        lowering=Copies(_place_parts),
        batching=Leading(lambda size, *, shape, starts, steps: {
            "shape": (size, *shape), "starts": (0, *starts), "steps": (1, *steps)}),
        adjoint=lambda g, x, *, shape, starts, steps: slice_(g, starts=starts, sizes=x.shape,
                                                             steps=steps))
def place(x: Array, *, shape: Ints, starts: Ints, steps: Ints) -> Array:
    """Zeros of `shape`, with x in them from `starts` on, `steps` apart."""
    y = np.zeros(shape, x.dtype)
    y[selection(starts, x.shape, steps)] = x
    return y


def flip(x: TensorLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """x with its elements in reverse order along `axis`, by default along all axes.

    Raises: OutOfRangeError if there is no such axis.
    """
    x = as_tensor(x, op="flip")
    axes = _shape.normalize_axes("flip", axis, x.ndim)
    starts = tuple(n - 1 if a in axes and n else 0 for a, n in enumerate(x.shape))
    steps = tuple(-1 if a in axes else 1 for a in range(x.ndim))
    return slice_(x, starts=starts, sizes=x.shape, steps=steps)


def flipud(x: TensorLike) -> Tensor:
    """x with its rows in reverse order: flip() along the first axis.

    Raises: OutOfRangeError if x has no axes.
    """
    t = as_tensor(x, op="flipud")
    return flip(t, _shape.normalize_axis("flipud", 0, t.ndim))


def fliplr(x: TensorLike) -> Tensor:
    """x with its columns in reverse order: flip() along the second axis.

    Raises: OutOfRangeError if x has fewer than two axes.
    """
    t = as_tensor(x, op="fliplr")
    return flip(t, _shape.normalize_axis("fliplr", 1, t.ndim))


def rot90(x: TensorLike, k: int = 1, axes: Sequence[int] = (0, 1)) -> Tensor:
    """x turned by k quarters, from the first of two axes towards the second.

    Raises: OutOfRangeError if there is no such axis, ArgumentError unless two are named.

    >>> rot90([[1, 2], [3, 4]])
    Tensor([[2, 4],
            [1, 3]], i64[2,2])
    """
    t = as_tensor(x, op="rot90")
    named = [_shape.normalize_axis("rot90", a, t.ndim)
             for a in arguments.integers("rot90", "axes", axes)]
    if len(named) != 2 or named[0] == named[1]:
        raise ArgumentError("rot90", got=f"axes {axes}", why="a turn is between two axes",
                            fix="name two, e.g. (0, 1)")
    first, second = named
    turns = arguments.integer("rot90", "k", k) % 4
    if turns == 2:
        return flip(t, named)
    order = [*range(t.ndim)]
    order[first], order[second] = second, first
    if turns == 1:
        return _shape.permute_dims(flip(t, second), order)
    return flip(_shape.permute_dims(t, order), second) if turns else _shape.another(t)


def part(x: Tensor, axis: int, start: int, size: int) -> Tensor:
    """`size` elements of x along `axis`, from `start` on."""
    shape = x.value.shape
    starts = (0,) * axis + (start,) + (0,) * (len(shape) - axis - 1)
    sizes = (*shape[:axis], size, *shape[axis + 1:])
    return slice_(x, starts=starts, sizes=sizes, steps=(1,) * len(shape))


def pad(x: TensorLike, paddings: Sequence[Sequence[int]] | int,
        constant_value: float = 0) -> Tensor:
    """x with `constant_value` before and after its elements.

    Args:
        x: any[...].
        paddings: (before, after) for each axis; or one number for all.

    Raises: ShapeError unless there is a pair for each axis, ArgumentError if one is negative.

    >>> pad([1, 2], [(1, 2)])
    Tensor([0, 1, 2, 0, 0], i64[5])
    """
    x = as_tensor(x, op="pad")
    pairs = _pairs(x, paddings)
    if any(n < 0 for pair in pairs for n in pair):
        raise ArgumentError("pad", got=f"paddings {pairs}", why="a padding is not negative",
                            fix="use a slice to cut elements off")
    shape = arguments.sizes("pad", tuple([before + n + after for n, (before, after)
                                          in zip(x.shape, pairs, strict=True)]))
    starts = tuple(before for before, _ in pairs)
    padded = place(x, shape=shape, starts=starts, steps=(1,) * x.ndim)
    if constant_value == 0:
        return padded
    ones = create.ones(x.shape, dtype=bool)
    inside = place(ones, shape=shape, starts=starts, steps=(1,) * x.ndim)
    return where(inside, padded, constant_value)


def behind(x: Tensor, axis: int, step: int, value: float) -> Tensor:
    """x moved `step` places along `axis`, back if that is below 0: `value` comes in, and what is
    past the end falls off."""
    rest = part(x, axis, max(-step, 0), x.shape[axis] - abs(step))
    room = max(step, 0), max(-step, 0)
    return pad(rest, [room if a == axis else (0, 0) for a in range(x.ndim)], constant_value=value)


def _pairs(x: Tensor, paddings: Any) -> list[tuple[int, ...]]:
    if type(paddings) is int or isinstance(paddings, np.integer):
        return [(int(paddings), int(paddings))] * x.ndim
    given = arguments.several("pad", "paddings", paddings, "pairs, one for each axis")
    pairs = [arguments.integers("pad", "paddings", pair) for pair in given]
    if len(pairs) != x.ndim or any(len(pair) != 2 for pair in pairs):
        raise ShapeError("pad", got=f"{x.spec}, paddings {given}", why="each axis needs a pair",
                         fix="give [(before, after), ...], a pair for each axis")
    return pairs


def moveaxis(x: TensorLike, source: int | Sequence[int],
             destination: int | Sequence[int]) -> Tensor:
    """x with the axes `source` moved to `destination`; the others stay in order.

    Raises: ArgumentError unless each has a place of its own, OutOfRangeError if one is not there.
    """
    x = as_tensor(x, op="moveaxis")
    sources = _ordered("moveaxis", source, x.ndim)
    targets = _ordered("moveaxis", destination, x.ndim)
    if not len(set(sources)) == len(set(targets)) == len(sources) == len(targets):
        raise ArgumentError("moveaxis", got=f"axes {source} to {destination}",
                            why="each axis needs a place of its own",
                            fix="give as many places as axes, each once")
    places: dict[int, int] = dict(zip(targets, sources, strict=True))
    rest = iter(a for a in range(x.ndim) if a not in sources)
    return _shape.permute_dims(x, [places[a] if a in places else next(rest) for a in range(x.ndim)])


def _ordered(op: str, axes: int | Sequence[int], ndim: int) -> list[int]:
    return [_shape.normalize_axis(op, a, ndim) for a in arguments.integers(op, "axes", axes)]


def broadcast_arrays(*arrays: TensorLike) -> list[Tensor]:
    """The arrays, each in the common shape. Raises: ShapeError if there is none."""
    xs = [as_tensor(x, op="broadcast_arrays") for x in arrays]
    shape: Any = _shape.broadcast_shapes("broadcast_arrays", *(x.spec for x in xs))
    return [_shape.broadcast_to(x, shape) for x in xs]


def broadcast_shapes(*shapes: int | Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes have in common.

    Raises: ShapeError if there is none, ArgumentError unless they are made of sizes.

    >>> broadcast_shapes((3, 1), (2,))
    (3, 2)
    """
    op = "broadcast_shapes"
    return _shape.broadcast_shapes(op, *[Spec(arguments.sizes(op, s), bool_) for s in shapes])
