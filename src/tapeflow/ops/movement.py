"""Cutting tensors apart and putting them together."""
from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.dtypes import bool_
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import create
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce, where
from tapeflow.ops.joint import jointly_linear
from tapeflow.primitive import Copies, Leading, Part, View, along, linear
from tapeflow.tensor import Array, Axis, Spec, Tensor, TensorLike, as_tensor, is_number

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


# ---- concat

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
