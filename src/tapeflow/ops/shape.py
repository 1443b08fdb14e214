"""Ops that arrange elements, and broadcasting with its adjoint, the sum."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.dtypes import DType, float32, is_floating
from tapeflow.errors import ArgumentError, OutOfRangeError, ShapeError
from tapeflow.ops._pairwise import total
from tapeflow.primitive import Fold, Leading, Scalar, View, along, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

Strides = tuple[int, ...]
Axes = tuple[int, ...]


def normalize_axis(op: str, axis: int, ndim: int) -> int:
    """`axis` counted from the front; raises OutOfRangeError where there is no such axis."""
    if type(axis) is not int:
        axis = arguments.integer(op, "axis", axis)
    if not -ndim <= axis < ndim:
        raise OutOfRangeError(op, got=f"axis {axis} of a tensor with {ndim} axes",
                              why=f"axis must be between {-ndim} and {ndim - 1}" if ndim else
                              "a tensor without axes has none to choose",
                              fix="check the shape, or count the axis from the end with -1")
    return axis % ndim


_ALL = [tuple(range(ndim)) for ndim in range(8)]


def _first(count: int) -> tuple[int, ...]:
    """The axes 0, 1, ..., of which there are so many."""
    return _ALL[count] if count < len(_ALL) else tuple(range(count))


def normalize_axes(op: str, axis: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """All axes that `axis` names (None: every one), from the front and in order."""
    if axis is None:
        return _first(ndim)
    if type(axis) is int:
        return (normalize_axis(op, axis, ndim),)
    axes = tuple([normalize_axis(op, a, ndim) for a in arguments.integers(op, "axis", axis)])
    if len(set(axes)) < len(axes):
        raise ArgumentError(op, got=f"axis {axis}", why="an axis is named twice",
                            fix="name it once")
    return tuple(sorted(axes))


def one_axis(op: str, axis: int | None, x: Tensor) -> int:
    """`axis` counted from the front; a vector need not name its only one."""
    if axis is None and x.ndim != 1:
        raise ArgumentError(op, got=f"{x.spec}, axis None", why=f"there are {x.ndim} axes",
                            fix="say along which, e.g. axis=-1")
    return normalize_axis(op, 0 if axis is None else axis, x.ndim)


# ---- the same elements as another object

@linear(name="identity", spec=lambda x: x, adjoint=lambda g, x: g,
        lowering=Scalar("{x}", of_complex="{x}"), batching=Leading())
def identity(x: Array) -> Array:
    """x, as another object."""
    return x


def another(x: Tensor) -> Tensor:
    """A tensor that holds what x holds: x[i] = v rebinds one and leaves the other alone.

    Only recorders are told, since they know a tensor by its object; no node enters a graph.
    """
    y = Tensor(x.value)
    context = dispatch.here.context
    if context.records or context.tracer is not None:
        dispatch.tell((identity, (x,), dispatch.NO_ATTRS, y))
    return y


# ---- reshape

def _reshape_spec(x: Spec, *, shape: tuple[int, ...]) -> Spec:
    if math.prod(shape) != x.size:
        raise ShapeError("reshape", got=f"{x} -> {list(shape)}",
                         why=f"{x.size} elements do not fill {math.prod(shape)} places",
                         fix="give a shape with as many elements, or -1 for one axis")
    return Spec(shape, x.dtype)


def _reshape_layout(shape: tuple[int, ...], offset: int, strides: Strides, /,
                    **attrs: tuple[int, ...]) -> tuple[int, Strides] | None:
    if strides != contiguous(shape):
        return None
    return offset, contiguous(attrs["shape"])


def contiguous(shape: tuple[int, ...]) -> Strides:
    """The strides, in elements, of an array stored row by row."""
    strides, step = [], 1
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def _reshape_adjoint(g: Tensor, x: Spec, *, shape: tuple[int, ...]) -> Tensor:
    return in_shape(g, shape=x.shape)


@linear(name="reshape", spec=_reshape_spec, lowering=View(_reshape_layout),
        batching=Leading(lambda size, *, shape: {"shape": (size, *shape)}),
        adjoint=_reshape_adjoint)
def in_shape(x: Array, *, shape: tuple[int, ...]) -> Array:
    """The elements of x, in order, in `shape`, which has as many places."""
    return x.reshape(shape)


def reshape(x: TensorLike, shape: int | Sequence[int], *, copy: bool | None = None) -> Tensor:
    """The elements of x, in order, in another shape.

    Args:
        x: any[...].
        shape: the new sizes; one of them may be -1, and takes what is left.
        copy: for the array API; the result is always a tensor of its own.

    Returns: any[shape].
    Raises: ShapeError if the number of elements differs, ArgumentError if a size is no integer.

    >>> reshape([1, 2, 3, 4], (2, -1))
    Tensor([[1, 2],
            [3, 4]], i64[2,2])
    """
    x = x if type(x) is Tensor else as_tensor(x, op="reshape")
    sizes = arguments.integers("reshape", "shape", shape)
    if -1 in sizes:
        sizes = _fill(x.spec, sizes)
    if sizes == x.value.shape:
        return another(x)
    return dispatch.unary(in_shape, x, {"shape": sizes})


def flattened(x: Tensor) -> Tensor:
    """x as a vector."""
    return reshape(x, (x.size,))


def _fill(x: Spec, sizes: tuple[int, ...]) -> tuple[int, ...]:
    at = sizes.index(-1)
    known = math.prod(sizes[:at] + sizes[at + 1:])
    if -1 in sizes[at + 1:] or (x.size % known if known else x.size):
        raise ShapeError("reshape", got=f"{x} -> {list(sizes)}",
                         why=f"{x.size} elements do not divide by the {known} given",
                         fix="let -1 stand once, for a size that divides evenly")
    return (*sizes[:at], x.size // known if known else 0, *sizes[at + 1:])


def expand_dims(x: TensorLike, axis: int | Sequence[int] = 0) -> Tensor:
    """x with axes of size 1 inserted, so that they stand at `axis` in the result.

    Raises: OutOfRangeError if the result has no such axis, ArgumentError if one is named twice.
    """
    x = x if type(x) is Tensor else as_tensor(x, op="expand_dims")
    if type(axis) is int:
        sizes = x.value.shape
        at = normalize_axis("expand_dims", axis, len(sizes) + 1)
        return dispatch.unary(in_shape, x, {"shape": (*sizes[:at], 1, *sizes[at:])})
    named = arguments.integers("expand_dims", "axis", axis)
    ndim = x.ndim + len(named)
    axes = normalize_axes("expand_dims", named, ndim)
    rest = iter(x.shape)
    return reshape(x, [1 if a in axes else next(rest) for a in range(ndim)])


def squeeze(x: TensorLike, axis: int | Sequence[int] | None = None) -> Tensor:
    """x without the axes `axis`, which must be of size 1; None: without all such axes.

    Raises: ShapeError if one is of another size, OutOfRangeError if it is not there.
    """
    x = x if type(x) is Tensor else as_tensor(x, op="squeeze")
    sizes = x.value.shape
    if axis is None:
        return reshape(x, [n for n in sizes if n != 1])
    axes = normalize_axes("squeeze", axis, len(sizes))
    if [sizes[a] for a in axes] != [1] * len(axes):
        raise ShapeError("squeeze", got=f"{x.spec}, axis {axis}", why="only axes of size 1 can go",
                         fix="name axes of size 1, or use tf.reshape")
    return reshape(x, [n for a, n in enumerate(sizes) if a not in axes])


# ---- transpose

def _transpose_adjoint(g: Tensor, x: Spec, *, axes: Axes) -> Tensor:
    return _transpose(g, axes=inverse_order(axes))


@linear(name="transpose",
        spec=lambda x, *, axes: Spec(tuple(x.shape[a] for a in axes), x.dtype),
        adjoint=_transpose_adjoint,
        batching=Leading(lambda size, *, axes: {"axes": (0, *(a + 1 for a in axes))}),
        lowering=View(lambda shape, offset, strides, *, axes: (
            offset, tuple(strides[a] for a in axes))))
def _transpose(x: Array, *, axes: tuple[int, ...]) -> Array:
    return x.transpose(axes)


def inverse_order(axes: tuple[int, ...]) -> tuple[int, ...]:
    """The order that undoes `axes`."""
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))


def permute_dims(x: TensorLike, axes: Sequence[int]) -> Tensor:
    """x with its axes in the order `axes`.

    Raises: ArgumentError unless `axes` names every axis once.
    """
    x = x if type(x) is Tensor else as_tensor(x, op="permute_dims")
    named = arguments.integers("permute_dims", "axes", axes)
    ndim = len(x.value.shape)
    natural = _first(ndim)
    order = tuple([normalize_axis("permute_dims", a, ndim) for a in named])
    if order == natural:
        return another(x)
    if tuple(sorted(order)) != natural:
        raise ArgumentError("permute_dims", got=f"{x.spec}, axes {named}",
                            why="axes must name each axis once",
                            fix=f"give an order of {natural}")
    return dispatch.unary(_transpose, x, {"axes": order})


def transpose(x: TensorLike, axes: Sequence[int] | None = None) -> Tensor:
    """x with its axes in the order `axes`, by default reversed.

    Raises: ArgumentError unless `axes` names every axis once.
    """
    x = x if type(x) is Tensor else as_tensor(x, op="transpose")
    ndim = len(x.value.shape)
    if axes is not None or ndim < 2:
        return permute_dims(x, range(ndim) if axes is None else axes)
    return dispatch.unary(_transpose, x, {"axes": _first(ndim)[::-1]})


def transposed(x: Tensor) -> Tensor:
    """A matrix with its axes swapped. Raises: ShapeError for all else."""
    if len(x.value.shape) != 2:
        raise ShapeError("T", got=x.spec, why="T is defined for matrices",
                         fix="use .mT for the last two axes, or tf.transpose for all")
    return dispatch.unary(_transpose, x, {"axes": (1, 0)})


def matrix_transpose(x: TensorLike) -> Tensor:
    """x with its last two axes swapped: any[..., n, m] -> any[..., m, n].

    Raises: ShapeError if there are fewer than two.
    """
    x = as_tensor(x, op="matrix_transpose")
    if x.ndim < 2:
        raise ShapeError("matrix_transpose", got=x.spec, why="a matrix has two axes",
                         fix="use tf.expand_dims first")
    first, last = x.ndim - 2, x.ndim - 1
    return dispatch.unary(_transpose, x, {"axes": (*range(first), last, first)})


# ---- broadcast

def _broadcast_layout(shape: tuple[int, ...], offset: int, strides: Strides, /,
                      **attrs: tuple[int, ...]) -> tuple[int, Strides]:
    own = iter(strides)
    return offset, tuple(0 if a in attrs["axes"] else next(own)
                         for a in range(len(attrs["shape"])))


def _spread_adjoint(g: Tensor, x: Spec, *, shape: tuple[int, ...], axes: Axes) -> Tensor:
    return sum_over(g, axes=axes)


@linear(name="broadcast_to",
        spec=lambda x, *, shape, axes: Spec(arguments.sizes("broadcast_to", shape), x.dtype),
        adjoint=_spread_adjoint,
        batching=Leading(lambda size, *, shape, axes: {
            "shape": (size, *shape), "axes": tuple(a + 1 for a in axes)}),
        lowering=View(_broadcast_layout))
def spread_over(x: Array, *, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """x repeated along the new axes `axes`, so that it has `shape`; the adjoint of sum."""
    strides = list(x.strides)
    for axis in axes:
        strides.insert(axis, 0)
    if x.flags.c_contiguous and x.dtype.kind != "V":   # 0.4 us where np.broadcast_to takes 4
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return np.broadcast_to(np.expand_dims(x, axes), shape)


def drop(x: Spec, axes: Axes) -> tuple[int, ...]:
    """The shape of x without `axes`."""
    return tuple(n for a, n in enumerate(x.shape) if a not in axes)


def wide(dtype: DType) -> DType:
    """What sums of `dtype` are computed in: half precision would stop growing at 2048."""
    return float32 if dtype.itemsize == 2 and is_floating(dtype) else dtype


@linear(name="sum",
        spec=lambda x, *, axes: Spec(drop(x, axes), x.dtype),
        adjoint=lambda g, x, *, axes: spread_over(g, shape=x.shape, axes=axes),
        batching=along("axes"),
        lowering=Fold("{t}(0)", "{a} + {x}", takes_complex=True))
def sum_over(x: Array, *, axes: Axes) -> Array:
    """Sum of x over `axes`, which are dropped, in the dtype of x."""
    dtype = x.dtype
    if dtype.itemsize != 2:
        return total(x, axes, dtype)
    return total(x, axes, wide(dtype)).astype(dtype)


def broadcast_to(x: TensorLike, shape: Sequence[int]) -> Tensor:
    """x repeated along axes of size 1 and new leading axes, so that it has `shape`.

    Raises: ShapeError if another axis would have to change.
    """
    y = x if type(x) is Tensor else as_tensor(x, op="broadcast_to")
    own = y.value.shape
    shape = arguments.integers("broadcast_to", "shape", shape)
    if own == shape:
        return another(y)
    new = len(shape) - len(own)
    if shape[new:] == own:
        return dispatch.unary(spread_over, y, {"shape": shape, "axes": _first(new)})
    arguments.sizes("broadcast_to", shape)
    padded = (1,) * new + own
    if new < 0 or any(n not in (1, m) for n, m in zip(padded, shape, strict=True)):
        raise ShapeError("broadcast_to", got=f"{y.spec} -> {list(shape)}",
                         why="counted from the right, each size must be equal or 1",
                         fix="reshape first, so that axes to repeat have size 1")
    axes = tuple([a for a, (n, m) in enumerate(zip(padded, shape, strict=True))
                  if n != m or a < new])
    kept = tuple([n for a, n in enumerate(padded) if a not in axes])
    return spread_over(y if kept == y.shape else reshape(y, kept), shape=shape, axes=axes)


def filled(size: int, xs: Sequence[Tensor], batched: Sequence[bool]) -> tuple[Tensor, ...]:
    """`xs` for so many examples, also those that are not `batched` but the same for all."""
    return tuple([x if b else broadcast_to(x, (size, *x.shape))
                  for x, b in zip(xs, batched, strict=True)])


def broadcast_shapes(op: str, *specs: Spec) -> tuple[int, ...]:
    """The common shape of inputs of `op` that meet element by element.

    Raises: ShapeError if there is none.
    """
    shapes = [s.shape for s in specs]
    if len(set(shapes)) == 1:   # mostly, and a trace asks for each node
        return shapes[0]
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        raise ShapeError(op, got=", ".join(map(str, specs)),
                         why="the shapes do not broadcast together",
                         fix="reshape one so that, counted from the right, sizes are equal or 1"
                         ) from None
