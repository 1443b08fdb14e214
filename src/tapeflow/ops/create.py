"""Tensors made from nothing, from numbers, and from arrays."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.arrays import of_number
from tapeflow.dtypes import as_dtype, complex64, float32, int64, is_complex
from tapeflow.errors import ArgumentError, OutOfMemoryError, ShapeError
from tapeflow.ops.casts import cast
from tapeflow.ops.device import on_cpu
from tapeflow.ops.elementwise import where
from tapeflow.ops.shape import another, broadcast_shapes, broadcast_to, reshape
from tapeflow.tensor import Spec, Tensor, TensorLike, as_tensor, is_number

Shape = int | Sequence[int]


def asarray(x: TensorLike, dtype: Any = None, device: Any = None,
            copy: bool | None = None) -> Tensor:
    """x as a tensor: NumPy arrays keep their dtype, Python floats become float32, ints int64.

    copy: False gives a tensor back as it is, the same object; otherwise the result is one of its
        own, which no assignment to x changes.
    Raises: DTypeError if x is not made of numbers, or of lists of unequal lengths, or is a NumPy
        array with masked elements; ArgumentError for another device than the CPU, or if `copy` is
        False and x must be copied.
    """
    on_cpu("asarray", device)
    if copy is False:
        return _uncopied(x, dtype)
    tensor = as_tensor(x, None if dtype is None else as_dtype(dtype, "asarray"))
    return another(tensor) if dtype is None else cast(tensor, dtype)


def _uncopied(x: TensorLike, dtype: Any) -> Tensor:
    wanted = None if dtype is None else as_dtype(dtype, "asarray")
    if type(x) is Tensor and (wanted is None or wanted == x.dtype):
        return x
    raise ArgumentError("asarray", got=f"copy=False for {type(x).__name__}",
                        why="only a tensor that has the dtype already needs no copy",
                        fix="leave copy out")


def from_dlpack(x: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """The elements of a CPU array of another library, copied.

    copy: False lets the tensor share the memory of x, to which nobody must write from then on.
    Raises: ArgumentError if x does not speak DLPack, or its elements are on another device, or
        another device is asked for.
    """
    on_cpu("from_dlpack", device)
    if type(x) is Tensor:
        return another(x)
    if not hasattr(x, "__dlpack__"):
        raise arguments.wrong("from_dlpack", "x", x, "an array with __dlpack__")
    try:
        array = np.from_dlpack(x)
        return dispatch.wrap(array) if copy is False else asarray(array)
    except (BufferError, RuntimeError) as error:
        raise ArgumentError("from_dlpack", got=type(x).__name__, why=str(error),
                            fix="give an array in memory of the CPU, of a dtype that NumPy has"
                            ) from error


def full(shape: Shape, fill_value: TensorLike, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of this shape with every element `fill_value`, or with that broadcast to it.

    Raises: ArgumentError unless the shape is made of sizes, ShapeError if `fill_value` is of a
        shape that does not broadcast to it.
    """
    on_cpu("full", device)
    return _full("full", shape, fill_value, dtype)


def _full(op: str, shape: Shape, fill_value: TensorLike, dtype: Any) -> Tensor:
    sizes = arguments.sizes(op, shape)
    wanted = None if dtype is None else as_dtype(dtype, op)
    value = as_tensor(fill_value, wanted, op=op)
    if wanted is not None and value.value.dtype is not wanted:
        value = cast(value, wanted)
    context = dispatch.here.context
    is_recorded = context.records and not is_number(fill_value)
    if is_recorded or context.tracer is not None or value.is_traced or value.value.ndim:
        return broadcast_to(value, sizes)
    try:
        array = np.empty(sizes, value.dtype)
    except MemoryError as error:
        nbytes = Spec(sizes, value.dtype).nbytes
        raise OutOfMemoryError(op, got=f"shape {sizes}, {value.dtype.name}", fix="make it smaller",
                               why=f"{nbytes:,} bytes cannot be had") from error
    array.fill(value.value)
    return dispatch.wrap(array)


def zeros(shape: Shape, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of zeros, by default in float32.

    Raises: ArgumentError unless the shape is made of sizes, DTypeError if there is no such dtype.
    """
    on_cpu("zeros", device)
    return _full("zeros", shape, 0, float32 if dtype is None else dtype)


def ones(shape: Shape, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor of ones, by default in float32.

    Raises: ArgumentError unless the shape is made of sizes, DTypeError if there is no such dtype.
    """
    on_cpu("ones", device)
    return _full("ones", shape, 1, float32 if dtype is None else dtype)


def empty(shape: Shape, dtype: Any = None, device: Any = None) -> Tensor:
    """A tensor whose elements nobody should read; they are zeros.

    Raises: ArgumentError unless the shape is made of sizes, DTypeError if there is no such dtype.
    """
    on_cpu("empty", device)
    return _full("empty", shape, 0, float32 if dtype is None else dtype)


def full_like(x: TensorLike, fill_value: TensorLike, dtype: Any = None,
              device: Any = None) -> Tensor:
    """A tensor of the shape and dtype of x with every element `fill_value`.

    Raises: DTypeError if that is a number which does not fit the dtype, ShapeError if it is of a
        shape that does not broadcast to x's.
    """
    on_cpu("full_like", device)
    return _filled("full_like", x, fill_value, dtype)


def _filled(op: str, x: TensorLike, fill_value: TensorLike, dtype: Any) -> Tensor:
    x = as_tensor(x, op=op)
    if dtype is None and is_number(fill_value) and dispatch.here.context.tracer is None:
        array = np.empty(x.shape, x.dtype)
        array[...] = of_number(fill_value, x.dtype, op)
        return dispatch.wrap(array)
    return _full(op, x.shape, fill_value, x.dtype if dtype is None else dtype)


def zeros_like(x: TensorLike, dtype: Any = None, device: Any = None) -> Tensor:
    """Zeros in the shape and dtype of x."""
    on_cpu("zeros_like", device)
    return _filled("zeros_like", x, 0, dtype)


def ones_like(x: TensorLike, dtype: Any = None, device: Any = None) -> Tensor:
    """Ones in the shape and dtype of x."""
    on_cpu("ones_like", device)
    return _filled("ones_like", x, 1, dtype)


def empty_like(x: TensorLike, dtype: Any = None, device: Any = None) -> Tensor:
    """Elements that nobody should read, in the shape and dtype of x; they are zeros."""
    on_cpu("empty_like", device)
    return _filled("empty_like", x, 0, dtype)


# ---- sequences

def arange(start: float, stop: float | None = None, step: float = 1, dtype: Any = None,
           device: Any = None) -> Tensor:
    """The numbers from `start` up to but without `stop`, `step` apart; from 0 if only one is given.

    Whole numbers give int64 and others float32, unless a dtype is given.

    Raises: ArgumentError if `step` is 0, or an argument is no number.

    >>> arange(3), arange(1, 2, 0.5)
    (Tensor([0, 1, 2], i64[3]), Tensor([1. , 1.5], f32[2]))
    """
    on_cpu("arange", device)
    named = {"start": start, "step": step, **({} if stop is None else {"stop": stop})}
    for name, given in named.items():
        arguments.number("arange", name, given)
    if step == 0:
        raise ArgumentError("arange", got="step 0", why="the numbers would never end",
                            fix="give another step")
    first, last = (0, start) if stop is None else (start, stop)
    if dtype is None:
        dtype = float32 if any(isinstance(n, float) for n in (first, last, step)) else int64
    try:
        numbers = np.arange(first, last, step)
    except (ValueError, OverflowError) as error:
        raise ArgumentError("arange", got=f"from {first} to {last} by {step}", why=str(error),
                            fix="give finite numbers, not too many steps apart") from None
    chosen = as_dtype(dtype, "arange")
    return dispatch.wrap(dispatch.here.context.quiet(numbers.astype, chosen))


def linspace(start: complex, stop: complex, num: int = 50, dtype: Any = None, *,
             device: Any = None, endpoint: bool = True) -> Tensor:
    """`num` numbers, evenly apart, from `start` to `stop`, or just before it without `endpoint`.

    By default they are float32, or complex64 if one of the two is complex.
    Raises: ArgumentError if `num` is no size, or `start` or `stop` no number, DTypeError if they
        are complex and the dtype is not.
    """
    on_cpu("linspace", device)
    first, last = (x if isinstance(x, complex) else arguments.number("linspace", name, x)
                   for name, x in (("start", start), ("stop", stop)))
    count = arguments.size("linspace", "num", num)
    numbers = dispatch.wrap(dispatch.here.context.quiet(np.linspace, first, last, count, endpoint))
    default = complex64 if is_complex(numbers.dtype) else float32
    return cast(numbers, default if dtype is None else dtype)


def eye(n_rows: int, n_cols: int | None = None, k: int = 0, dtype: Any = None,
        device: Any = None) -> Tensor:
    """Ones on the diagonal k places above the main one, zeros elsewhere.

    Raises: ArgumentError unless the sizes and k are whole numbers.
    """
    on_cpu("eye", device)
    chosen = float32 if dtype is None else as_dtype(dtype, "eye")
    rows = arguments.size("eye", "n_rows", n_rows)
    columns = rows if n_cols is None else arguments.size("eye", "n_cols", n_cols)
    above = max(-rows, min(arguments.integer("eye", "k", k), columns))
    return dispatch.wrap(np.eye(rows, columns, above, chosen))


def meshgrid(*vectors: TensorLike, indexing: str = "xy") -> list[Tensor]:
    """The coordinates of all points of a grid, from those along each axis.

    indexing: `xy` has the second vector along the first axis, `ij` keeps the order.
    Raises: ArgumentError for another indexing, ShapeError unless all are vectors.
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
    rows, columns = x.shape[-2:]
    return dispatch.wrap(np.tri(rows, columns, max(-rows, min(k, columns)), dtype=bool))


def _zero(x: Tensor) -> Tensor:
    return dispatch.wrap(np.zeros((), x.dtype))


def tril(x: TensorLike, k: int = 0) -> Tensor:
    """The matrices x with zeros above the diagonal k.

    Raises: ShapeError if x has fewer than two axes, ArgumentError if k is no whole number.
    """
    x = as_tensor(x, op="tril")
    return where(_band("tril", x, arguments.integer("tril", "k", k)), x, _zero(x))


def triu(x: TensorLike, k: int = 0) -> Tensor:
    """The matrices x with zeros below the diagonal k.

    Raises: ShapeError if x has fewer than two axes, ArgumentError if k is no whole number.
    """
    x = as_tensor(x, op="triu")
    return where(_band("triu", x, arguments.integer("triu", "k", k) - 1), _zero(x), x)
