"""Products of matrices, vectors and tensors."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import arguments, dispatch
from tapeflow.dtypes import bool_
from tapeflow.errors import DTypeError, OutOfRangeError, ShapeError
from tapeflow.ops import joining, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import conj
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import NUMERIC, coerce
from tapeflow.ops.precision import asked
from tapeflow.primitive import Kernel, Primitive, Rule, Tangents, bilinear, total
from tapeflow.tensor import Array, Spec, Tensor, TensorLike


def _matmul_spec(a: Spec, b: Spec, precision: str = "") -> Spec:
    if a.dtype != b.dtype:
        raise DTypeError("matmul", got=f"a {a}, b {b}", why="the dtypes differ",
                         fix="cast one of them: tf.cast(x, tf.float32)")
    if a.dtype.kind not in NUMERIC.kinds:
        raise DTypeError("matmul", got=f"a {a}, b {b}", fix=NUMERIC.fix,
                         why=f"matmul is defined for {NUMERIC.words}")
    if a.ndim < 2 or b.ndim < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ShapeError("matmul", got=f"a {a}, b {b}",
                         why=_mismatch(a, b), fix="transpose one, or check the layer's input size")
    return Spec((*a.shape[:-1], b.shape[-1]), a.dtype)


def _mismatch(a: Spec, b: Spec) -> str:
    if not a.ndim or not b.ndim:
        return "an input without axes is no matrix"
    rows = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != rows:
        return f"a has {a.shape[-1]} columns and b has {rows} rows"
    return "the leading axes do not broadcast together"


def _left_adjoint(g: Tensor, a: Tensor, b: Tensor, precision: str = "") -> Tensor:
    return _product(g, _shape.matrix_transpose(b))


def _right_adjoint(g: Tensor, a: Tensor, b: Tensor, precision: str = "") -> Tensor:
    return _product(_shape.matrix_transpose(a), g)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """The product, in a trace as exact as is asked for now; eager ones are always exact."""
    return dispatch.apply(_matmul, (a, b), asked(a))   # type: ignore[no-any-return]


def _matmul_of(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool],
               /, precision: str = "") -> Tensor:
    a, b = xs
    attrs = {"precision": precision} if precision else {}
    if not batched[1] and b.ndim == 2:   # the rows of all examples, as of one matrix
        rows = _shape.reshape(a, (math.prod(a.shape[:-1]), a.shape[-1]))
        return _shape.reshape(prim(rows, b, **attrs), (*a.shape[:-1], b.shape[-1]))
    return prim(*_shape.filled(size, xs, batched), **attrs)


@bilinear(name="matmul", spec=_matmul_spec, lowering=Kernel("contraction"),
          batching=Rule(_matmul_of),
          adjoints=(_left_adjoint, _right_adjoint))
def _matmul(a: Array, b: Array, precision: str = "") -> Array:
    """f[..., n, k] @ f[..., k, m] -> f[..., n, m], with equal leading axes, at least as exact as
    `precision` says, see tf.config.matmul_precision."""
    dtype = a.dtype
    if dtype.itemsize <= 2:
        if dtype.kind == "b":   # NumPy would take it; the shape rule says why we do not
            raise TypeError("bool has no product")
        wide = _shape.wide(dtype)
        a, b = a.astype(wide), b.astype(wide)
    y: Array = np.matmul(a, b)
    return y if dtype.itemsize > 2 else y.astype(dtype)


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """The matrix product, batched over leading axes, which broadcast.

    Args:
        a: any[..., n, k], or a vector any[k].
        b: any[..., k, m], or a vector any[k].

    Returns: any[..., n, m]; without n where a is a vector, without m where b is one.
    Raises: ShapeError if the sizes do not fit, DTypeError if the dtypes do not promote.
    """
    if not (type(a) is Tensor is type(b) and a.value.dtype is b.value.dtype):
        a, b = coerce("matmul", a, b)
    if len(a.value.shape) == 2 == len(b.value.shape):
        return _product(a, b)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul", got=f"a {a.spec}, b {b.spec}", why=_mismatch(a.spec, b.spec),
                         fix="use * to scale")
    left, right = a.ndim == 1, b.ndim == 1
    x = _shape.expand_dims(a, 0) if left else a
    y = _shape.expand_dims(b, 1) if right else b
    if y.ndim == 2 < x.ndim and x.shape[-1] == y.shape[0]:
        product = _by_rows(x, y)
    else:
        if x.shape[:-2] != y.shape[:-2] and x.shape[-1] == y.shape[-2]:
            x, y = _together(a, b, x, y)
        product = _product(x, y)
    if left or right:
        rows, columns = product.shape[-2:]
        kept = (() if left else (rows,)) + (() if right else (columns,))
        return _shape.reshape(product, product.shape[:-2] + kept)
    return product


def _by_rows(x: Tensor, y: Tensor) -> Tensor:
    """The product of all rows of x, as of one matrix, with the one matrix y."""
    rows = _shape.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))
    return _shape.reshape(_product(rows, y), (*x.shape[:-1], y.shape[-1]))


def _together(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x and y with their leading axes broadcast."""
    try:
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ShapeError("matmul", got=f"a {a.spec}, b {b.spec}", why=_mismatch(a.spec, b.spec),
                         fix="make the leading axes equal, or 1") from None
    return (_shape.broadcast_to(x, (*batch, *x.shape[-2:])),
            _shape.broadcast_to(y, (*batch, *y.shape[-2:])))


def tensordot(a: TensorLike, b: TensorLike,
              axes: int | tuple[Sequence[int], Sequence[int]] = 2) -> Tensor:
    """The sum of products over axes of both: the last `axes` of a with the first of b, or pairs.

    Returns: the other axes of a, then those of b.
    Raises: ShapeError unless paired axes have equal sizes, OutOfRangeError if one is not there.
    """
    a, b = coerce("tensordot", a, b)
    ours, theirs = _paired(a, b, axes)
    if [a.shape[i] for i in ours] != [b.shape[i] for i in theirs]:
        raise ShapeError("tensordot", got=f"a {a.spec}, b {b.spec}, axes {axes}",
                         why="the sizes of paired axes differ", fix="pair axes of equal sizes")
    free_a = [i for i in range(a.ndim) if i not in ours]
    free_b = [i for i in range(b.ndim) if i not in theirs]
    shape = [a.shape[i] for i in free_a] + [b.shape[i] for i in free_b]
    rows, count, columns = (math.prod(x.shape[i] for i in axes)
                            for x, axes in ((a, free_a), (a, ours), (b, free_b)))
    x = _shape.reshape(_shape.permute_dims(a, free_a + ours), (rows, count))
    y = _shape.reshape(_shape.permute_dims(b, theirs + free_b), (count, columns))
    return _shape.reshape(_product(x, y), shape)


def _paired(a: Tensor, b: Tensor, axes: Any) -> tuple[list[int], list[int]]:
    """The axes of a and those of b that a tensordot sums over."""
    if isinstance(axes, int | np.integer):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise OutOfRangeError("tensordot", got=f"a {a.spec}, b {b.spec}, axes {axes}",
                                  why="there are not so many axes to pair", fix="pair fewer")
        return list(range(a.ndim - int(axes), a.ndim)), list(range(int(axes)))
    both = arguments.several("tensordot", "axes", axes, "the axes of a and those of b")
    if len(both) != 2:
        raise arguments.wrong("tensordot", "axes", axes, "a count, or the axes of a and those of b")
    ours, theirs = (
        [_shape.normalize_axis("tensordot", i, x.ndim)
         for i in arguments.integers("tensordot", "axes", named)]
        for x, named in ((a, both[0]), (b, both[1])))
    return ours, theirs


def vecdot(a: TensorLike, b: TensorLike, axis: int = -1) -> Tensor:
    """The sum of products of conj(a) with b along `axis`; the other axes broadcast.

    Raises: ShapeError unless both have the same size along the axis.
    """
    a, b = coerce("vecdot", a, b)
    axis = _shared_axis("vecdot", axis, a, b)
    if a.shape[axis] != b.shape[axis]:
        raise ShapeError("vecdot", got=f"a {a.spec}, b {b.spec}, axis {axis}",
                         why="the vectors differ in length", fix="make them equally long")
    return reduce.sum(conj(a) * b, axis, dtype=a.dtype)


def _shared_axis(op: str, axis: int, a: Tensor, b: Tensor) -> int:
    """`axis` counted from the end, an axis of both, in the name of `op`."""
    shortest = min(a.ndim, b.ndim)
    return _shape.normalize_axis(op, axis, shortest) - shortest


def outer(a: TensorLike, b: TensorLike) -> Tensor:
    """The products of all elements of two vectors: any[n], any[m] -> any[n,m].

    Raises: ShapeError unless both are vectors.
    """
    x, y = coerce("outer", a, b)
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError("outer", got=f"a {x.spec}, b {y.spec}", why="both must be vectors",
                         fix="flatten them with tf.reshape(x, (-1,))")
    return _shape.expand_dims(x, 1) * y


_NEXT, _LAST = np.array([1, 2, 0]), np.array([2, 0, 1])   # of each element's two others


def _cross_array(x: Array, y: Array, *, axis: int) -> Array:
    product: Array = (x.take(_NEXT, axis) * y.take(_LAST, axis)
                      - x.take(_LAST, axis) * y.take(_NEXT, axis))
    return product


def _cross_jvp(ts: Tangents, z: Tensor, x: Tensor, y: Tensor, *, axis: int) -> Tensor | None:
    tx, ty = ts
    return total([None if tx is None else _cross(tx, y, axis=axis),
                  None if ty is None else _cross(x, ty, axis=axis)])


@composite(lambda g, z, x, y, *, axis: _cross(y, g, axis=axis),
           lambda g, z, x, y, *, axis: _cross(g, x, axis=axis), jvp=_cross_jvp,
           arrays=_cross_array, spec=lambda x, y, *, axis: x)
def _cross(x: Tensor, y: Tensor, *, axis: int) -> Tensor:
    (x1, x2), (y1, y2) = ((joining.roll(t, -1, axis), joining.roll(t, 1, axis)) for t in (x, y))
    product: Tensor = x1 * y2 - x2 * y1
    return product


def cross(x1: TensorLike, x2: TensorLike, *, axis: int = -1) -> Tensor:
    """The cross products of vectors of three elements along `axis`; the other axes broadcast.

    Raises: ShapeError unless both have the size 3 there, OutOfRangeError unless both have the axis,
        DTypeError if the dtypes do not promote, or for bool.
    """
    x, y = coerce("cross", x1, x2)
    if x.dtype == bool_:
        raise DTypeError("cross", got=f"x1 {x.spec}, x2 {y.spec}", fix=NUMERIC.fix,
                         why=f"cross is defined for {NUMERIC.words}")
    axis = _shared_axis("cross", axis, x, y)
    if not x.shape[axis] == 3 == y.shape[axis]:
        raise ShapeError("cross", got=f"x1 {x.spec}, x2 {y.spec}, axis {axis}",
                         why="a cross product is one of vectors of three elements",
                         fix="choose the axis along which there are three")
    shape = _shape.broadcast_shapes("cross", x.spec, y.spec)
    return _cross(_shape.broadcast_to(x, shape), _shape.broadcast_to(y, shape), axis=axis)
