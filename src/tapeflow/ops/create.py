"""Tensors made from nothing, from numbers, and from arrays."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import as_dtype, float32, int64
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops.elementwise import cast, where
from tapeflow.ops.shape import another, broadcast_shapes, broadcast_to, reshape
from tapeflow.tensor import Tensor, TensorLike, as_tensor, is_number

Shape = int | Sequence[int]


def asarray(x: TensorLike, dtype: Any = None, device: Any = None,
            copy: bool | None = None) -> Tensor:
    """x as a tensor: NumPy arrays keep their dtype, Python floats become float32, ints int64.

    The result is always a tensor of its own, whatever `copy` says.

    Raises: DTypeError if x is not made of numbers, or of lists of unequal lengths.
    """
    tensor = as_tensor(x, None if dtype is None else as_dtype(dtype, "asarray"))
    return another(tensor) if dtype is None else cast(tensor, dtype)


def from_dlpack(x: Any) -> Tensor:
    """The elements of a CPU array of another library, copied."""
    return asarray(np.from_dlpack(x))


def _sizes(op: str, shape: Shape) -> tuple[int, ...]:
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    if any(n < 0 for n in sizes):
        raise ArgumentError(op, got=f"shape {sizes}", why="a size is not negative",
                            fix="give sizes of at least 0")
    return sizes


def full(shape: Shape, fill_value: TensorLike, dtype: Any = None) -> Tensor:
    """A tensor of this shape with every element `fill_value`."""
    value = asarray(fill_value, dtype)
    sizes = _sizes("full", shape)
    recorded = dispatch.here.context.records and not is_number(fill_value)
    if value.is_traced or dispatch.tracer() or recorded:
        return broadcast_to(value, sizes)
    array = np.empty(sizes, value.dtype)
    array[...] = value.value
    return dispatch.wrap(array)


def zeros(shape: Shape, dtype: Any = None) -> Tensor:
    """A tensor of zeros, by default in float32."""
    return full(shape, 0, as_dtype(dtype, "zeros") if dtype is not None else float32)


def ones(shape: Shape, dtype: Any = None) -> Tensor:
    """A tensor of ones, by default in float32."""
    return full(shape, 1, as_dtype(dtype, "ones") if dtype is not None else float32)


def empty(shape: Shape, dtype: Any = None) -> Tensor:
    """A tensor whose elements nobody should read; they are zeros."""
    return zeros(shape, dtype)


def full_like(x: TensorLike, fill_value: TensorLike, dtype: Any = None) -> Tensor:
    """A tensor of the shape and dtype of x with every element `fill_value`."""
    return _filled("full_like", x, fill_value, dtype)


def _filled(op: str, x: TensorLike, fill_value: TensorLike, dtype: Any) -> Tensor:
    x = as_tensor(x, op=op)
    if dtype is None and is_number(fill_value) and dispatch.here.context.tracer is None:
        array = np.empty(x.shape, x.dtype)
        array.fill(fill_value)
        return dispatch.wrap(array)
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


def zeros_like(x: TensorLike, dtype: Any = None) -> Tensor:
    """Zeros in the shape and dtype of x."""
    return _filled("zeros_like", x, 0, dtype)


def ones_like(x: TensorLike, dtype: Any = None) -> Tensor:
    """Ones in the shape and dtype of x."""
    return _filled("ones_like", x, 1, dtype)


def empty_like(x: TensorLike, dtype: Any = None) -> Tensor:
    """Elements that nobody should read, in the shape and dtype of x; they are zeros."""
    return _filled("empty_like", x, 0, dtype)


# ---- sequences

def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None) -> Tensor:
    """The numbers from `start` up to but without `stop`, `step` apart; from 0 if only one is given.

    Whole numbers give int64 and others float32, unless a dtype is given.

    >>> arange(3), arange(1, 2, 0.5)
    (Tensor([0, 1, 2], i64[3]), Tensor([1. , 1.5], f32[2]))
    """
    if step == 0:
        raise ArgumentError("arange", got="step 0", why="the numbers would never end",
                            fix="give another step")
    first, last = (0, start) if stop is None else (start, stop)
    if dtype is None:
        dtype = float32 if any(isinstance(n, float) for n in (first, last, step)) else int64
    return dispatch.wrap(np.arange(first, last, step).astype(as_dtype(dtype, "arange")))


def linspace(start: float, stop: float, num: int = 50, dtype: Any = None,
             endpoint: bool = True) -> Tensor:
    """`num` numbers, evenly apart, from `start` to `stop`, or just before it without `endpoint`."""
    if num < 0:
        raise ArgumentError("linspace", got=f"num={num}", why="a size is not negative",
                            fix="give the number of points")
    numbers = np.linspace(start, stop, num, endpoint=endpoint)
    return dispatch.wrap(numbers.astype(float32 if dtype is None else as_dtype(dtype, "linspace")))


def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None) -> Tensor:
    """Ones on the diagonal k places above the main one, zeros elsewhere."""
    chosen = float32 if dtype is None else as_dtype(dtype, "eye")
    return dispatch.wrap(np.eye(n_rows, n_cols, k, chosen))


def meshgrid(*vectors: TensorLike, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of all points of a grid, from those along each axis.

    indexing: `xy` has the second vector along the first axis, `ij` keeps the order.
    """
    if indexing not in ("xy", "ij"):
        raise ArgumentError("meshgrid", got=f"indexing={indexing!r}", why="there is no such order",
                            fix='use "xy" or "ij"')
    xs = [as_tensor(v, op="meshgrid") for v in vectors]
    if any(x.ndim > 1 for x in xs):
        raise ShapeError("meshgrid", got=", ".join(str(x.spec) for x in xs),
                         why="coordinates are vectors", fix="flatten them")
    axes = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        axes[:2] = [1, 0]
    apart = [reshape(x, [x.size if a == own else 1 for a in range(len(xs))])
             for x, own in zip(xs, axes, strict=True)]
    shape = broadcast_shapes("meshgrid", *(x.spec for x in apart)) if xs else ()
    return [broadcast_to(x, shape) for x in apart]


# ---- triangles

def _band(op: str, x: Tensor, k: int) -> Tensor:
    """Which elements of a matrix of x lie on or below the diagonal k."""
    if x.ndim < 2:
        raise ShapeError(op, got=x.spec, why="a matrix has two axes",
                         fix="use tf.expand_dims first")
    return dispatch.wrap(np.tri(x.shape[-2], x.shape[-1], k, dtype=bool))


def _zero(x: Tensor) -> Tensor:
    return dispatch.wrap(np.zeros((), x.dtype))


def tril(x: TensorLike, k: int = 0) -> Tensor:
    """The matrices x with zeros above the diagonal k."""
    x = as_tensor(x, op="tril")
    return where(_band("tril", x, k), x, _zero(x))


def triu(x: TensorLike, k: int = 0) -> Tensor:
    """The matrices x with zeros below the diagonal k."""
    x = as_tensor(x, op="triu")
    return where(_band("triu", x, k - 1), _zero(x), x)
