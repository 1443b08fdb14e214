"""Norms of vectors and matrices, and the condition of a matrix."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tapeflow import arguments
from tapeflow.dtypes import is_complex, real_of
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import create, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.arithmetic import abs_, clip, sqrt
from tapeflow.ops.casts import cast, conj, real
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import stop_gradient, where
from tapeflow.ops.info import finfo
from tapeflow.ops.linalg_matrix import matrix, require_matrix
from tapeflow.ops.linalg_solve import inv
from tapeflow.ops.linalg_spectral import svdvals
from tapeflow.ops.logic import isfinite
from tapeflow.ops.shape import Axes
from tapeflow.primitive import Tangents
from tapeflow.tensor import Axis, Tensor, TensorLike, as_tensor

_INFINITE = {math.inf: reduce.max, -math.inf: reduce.min}


def vector_norm(x: TensorLike, *, axis: Axis = None, keepdims: bool = False,
                ord: float = 2) -> Tensor:
    """The length of x over `axis`, by default of all its elements as one vector.

    Args:
        x: f[...].
        axis: an axis, or several, whose elements are taken for one vector.
        keepdims: whether the axes stay, with size 1.
        ord: (sum of |x|^ord)^(1 / ord); inf and -inf for the largest and smallest |x|, 0 for the
            count of elements that are not 0.

    No power overflows or vanishes: x is divided by its largest element first. The derivative at 0
    is 0; where several elements are the largest or smallest they share it.
    Raises: DTypeError unless x is floating or complex, OutOfRangeError if there is no such axis,
        ArgumentError if `ord` is no number, ShapeError for the largest or smallest of no elements.
    """
    return _vector_norm("vector_norm", _inexact("vector_norm", x), axis, keepdims, ord)


def _inexact(op: str, x: TensorLike) -> Tensor:
    """x as a floating or complex tensor, in the name of `op`."""
    y = as_tensor(x, op=op)
    return y if is_complex(y.dtype) else reduce.floating(op, y)


def _vector_norm(op: str, x: Tensor, axis: Axis, keepdims: bool, ord: float) -> Tensor:
    p = arguments.number(op, "ord", ord)
    axes = _shape.normalize_axes(op, axis, x.ndim)
    if p in _INFINITE:
        reduce.require_elements(op, x.spec, axes)
        return _INFINITE[p](abs_(x), axis=axes, keepdims=keepdims)
    if p == 0:
        return cast(reduce.count_nonzero(x, axes, keepdims), real_of(x.dtype))
    if p == 1:
        return reduce.sum(abs_(x), axes, keepdims=keepdims)
    wide = reduce.widened(x)
    y = reduce.narrowed(_length(wide, axes=axes) if p == 2 else _power_mean(wide, axes, p), x)
    return _shape.reshape(y, reduce.kept(x, axes)) if keepdims else y


def length(op: str, x: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The Euclidean length of x over `axis`, in the name of `op`; see vector_norm()."""
    return _vector_norm(op, x, axis, keepdims, 2)


def _scale(size: Tensor, axes: Axes) -> Tensor:
    """The largest of these magnitudes, a constant, with the axes kept; some divisor where it is
    none."""
    if 0 in [size.shape[a] for a in axes]:
        return create.ones(reduce.kept(size, axes), size.dtype)
    limits = finfo(size.dtype)
    top = reduce.max(stop_gradient(size), axis=axes, keepdims=True)
    return clip(top, limits.smallest_normal, limits.max)


def _length_adjoint(g: Tensor, y: Tensor, x: Tensor, *, axes: Axes) -> Tensor:
    return reduce.spread(g, x, axes) * conj(_direction(y, x, axes))


def _length_jvp(ts: Tangents, y: Tensor, x: Tensor, *, axes: Axes) -> Tensor:
    assert ts[0] is not None
    return real(_shape.sum_over(conj(_direction(y, x, axes)) * ts[0], axes=axes))


def _direction(y: Tensor, x: Tensor, axes: Axes) -> Tensor:
    """x / y, and 0 where all x are 0, with all its derivatives."""
    length = reduce.spread(y, x, axes)
    there = length != 0
    return where(there, x, 0.0) / where(there, length, 1.0)


@composite(_length_adjoint, jvp=_length_jvp)
def _length(x: Tensor, *, axes: Axes) -> Tensor:
    size = abs_(x)
    plain = sqrt(_shape.sum_over(size * size, axes=axes))
    if _is_exact(plain):
        return plain
    scale = _scale(size, axes)
    scaled = size / scale
    length = sqrt(_shape.sum_over(scaled * scaled, axes=axes))
    return length * _shape.reshape(scale, length.shape)


def _is_exact(length: Tensor) -> bool:
    """Whether no square on the way here can have overflowed, or vanished and mattered; of a traced
    length nobody knows. Unscaled lengths take 11 us instead of 28, for a 3x3 matrix."""
    if length.is_traced:
        return False
    limits = finfo(length.dtype)
    least, greatest = length.value.min(initial=math.inf), length.value.max(initial=0.0)
    return bool(limits.smallest_normal ** 0.5 / limits.eps < least and greatest < math.inf)


def _power_mean(x: Tensor, axes: Axes, p: float) -> Tensor:
    """(sum of |x|^p)^(1 / p), with derivative 0 where all x are 0, or one is."""
    scale = _scale(abs_(x), axes)
    there = x != 0
    powers = where(there, abs_(where(there, x, 1.0) / scale) ** p, 0.0 if p > 0 else math.inf)
    total = _shape.sum_over(powers, axes=axes)
    is_one = (total != 0) & isfinite(total)
    root = where(is_one, total, 1.0) ** (1.0 / p)
    mean = where(is_one, root, total if p > 0 else 1.0 / total)
    return mean * _shape.reshape(scale, mean.shape)


def matrix_norm(x: TensorLike, *, keepdims: bool = False, ord: float | str | None = "fro"
                ) -> Tensor:
    """The norm of each matrix x: f[..., n, m] -> f[...].

    Args:
        x: f[..., n, m].
        keepdims: whether the last two axes stay, with size 1.
        ord: "fro" (or None) for the root of the sum of squares, "nuc" for the sum of the singular
            values, 2 and -2 for the largest and smallest of them; 1 and -1 for the largest and
            smallest sum of magnitudes in a column, inf and -inf in a row.

    Raises: ArgumentError for another `ord`, ShapeError if x is no matrix, or for the largest or
        smallest of nothing, DTypeError unless x is floating or complex, for singular values of a
        dtype of LAPACK's.
    """
    x = _inexact("matrix_norm", x)
    return _matrix_norm("matrix_norm", x, keepdims, ord)


def _matrix_norm(op: str, x: Tensor, keepdims: bool, ord: Any) -> Tensor:
    require_matrix(op, x)
    axes = (x.ndim - 2, x.ndim - 1)
    y: Tensor
    if ord is None or ord == "fro":
        y = _vector_norm(op, x, axes, True, 2)
    elif ord in ("nuc", 2, -2):
        s = svdvals(matrix(op, x))
        y = _extreme(op, ord, s, x.ndim - 2) if ord != "nuc" else reduce.sum(s, -1, keepdims=True)
        y = _shape.expand_dims(y, -1)
    elif ord in (1, -1, math.inf, -math.inf):
        summed, other = axes if abs(ord) == 1 else axes[::-1]
        y = _extreme(op, ord, reduce.sum(abs_(x), summed, keepdims=True), other)
    else:
        raise ArgumentError(op, got=f"ord={ord!r}", why="there is no such norm of a matrix",
                            fix='use "fro", "nuc", 1, -1, 2, -2, inf or -inf')
    return y if keepdims else _shape.squeeze(y, axes)


def _extreme(op: str, ord: float, x: Tensor, axis: int) -> Tensor:
    """The largest of x along the axis, which stays; the smallest for a negative `ord`."""
    reduce.require_elements(op, x.spec, (axis,))
    choose: Callable[..., Tensor] = reduce.max if ord > 0 else reduce.min
    return choose(x, axis=axis, keepdims=True)


def norm(x: TensorLike, ord: float | str | None = None, axis: Axis = None,
         keepdims: bool = False) -> Tensor:
    """The norm of x, as NumPy's: of a vector over one axis, of matrices over two.

    Args:
        x: f[...].
        ord: as for vector_norm() and matrix_norm(); by default the root of the sum of squares.
        axis: one or two; by default both of a matrix, the only one of a vector, and without `ord`
            all of x as one vector.
        keepdims: whether the axes stay, with size 1.

    Raises: ShapeError if neither one nor two axes are left to choose, else as these two.
    """
    x = _inexact("norm", x)
    if axis is None and ord is None:
        return _vector_norm("norm", x, None, keepdims, 2)
    named = range(x.ndim) if axis is None else arguments.integers("norm", "axis", axis)
    axes = [_shape.normalize_axis("norm", a, x.ndim) for a in named]
    if len(axes) == 1:
        return _vector_norm("norm", x, axes[0], keepdims, 2 if ord is None else ord)   # type: ignore[arg-type]
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ShapeError("norm", got=f"{x.spec}, axis {axis}",
                         why="a norm is that of a vector, along one axis, or a matrix, along two",
                         fix="name one or two different axes, or use tf.linalg.vector_norm")
    order = [a for a in range(x.ndim) if a not in axes] + axes
    y = _matrix_norm("norm", _shape.permute_dims(x, order), False, ord)
    return _shape.expand_dims(y, axes) if keepdims else y


def cond(x: TensorLike, p: float | str | None = None) -> Tensor:
    """The condition of each matrix x: f[..., n, m] -> f[...], infinite for a singular one.

    p: None or 2 for the ratio of the largest to the smallest singular value, -2 for its inverse;
        else the norm of x, as matrix_norm() has it, times that of the inverse.
    Raises: LinAlgError for a singular matrix and a `p` that takes the inverse, else as
        matrix_norm().
    """
    x = matrix("cond", x)
    if p is None or p in (2, -2):
        s = svdvals(x)
        largest, smallest = (_extreme("cond", way, s, s.ndim - 1) for way in (1, -1))
        ratio = where(largest == 0.0, math.inf, largest / smallest)
        return _shape.squeeze(1.0 / ratio if p == -2 else ratio, -1)
    return _matrix_norm("cond", x, False, p) * _matrix_norm("cond", inv(x), False, p)
