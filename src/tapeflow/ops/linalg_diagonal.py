"""Diagonals of matrices, and matrices made of diagonals and of blocks."""
from __future__ import annotations

import math
from typing import Any

from tapeflow import arguments
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import joining, movement, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.linalg_matrix import require_matrix
from tapeflow.tensor import Tensor, TensorLike, as_tensor


def matrix_diagonal(x: TensorLike, *, offset: int = 0) -> Tensor:
    """The diagonals of the matrices x: any[..., n, m] -> any[..., k].

    offset: how far above the main diagonal; below it if negative.
    Raises: ShapeError if x has fewer than two axes, ArgumentError if the offset is no whole number.
    """
    return _diagonal("diagonal", as_tensor(x, op="diagonal"), offset)


def _diagonal(op: str, x: Tensor, offset: int) -> Tensor:
    """The diagonals of the matrices x, in the name of `op`."""
    above = arguments.integer(op, "offset", offset)
    require_matrix(op, x)
    *batch, n, m = x.shape
    start = (above, 0)[above < 0] - m * min(above, 0)
    size = max(0, min(n + min(above, 0), m - max(above, 0)))
    flat = _shape.reshape(x, (*batch, n * m))
    rest = (0,) * len(batch)
    return movement.slice_(flat, starts=(*rest, start if size else 0), sizes=(*batch, size),
                           steps=(*(1 for _ in batch), m + 1))


def diagonal(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The diagonals over two axes of x, along a new last axis, as NumPy's.

    Raises: ShapeError if x has fewer than two axes, OutOfRangeError if one is not there,
        ArgumentError if both are the same.

    >>> diagonal([[1, 2], [3, 4]])
    Tensor([1, 4], i64[2])
    """
    return _diagonal("diagonal", _last("diagonal", x, axis1, axis2), offset)


def _last(op: str, x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """x with these two axes last, in the name of `op`."""
    x = as_tensor(x, op=op)
    require_matrix(op, x)
    one, other = (_shape.normalize_axis(op, a, x.ndim) for a in (axis1, axis2))
    if one == other:
        raise ArgumentError(op, got=f"{x.spec}, axes {axis1} and {axis2}",
                            why="a diagonal needs two axes", fix="name two different axes")
    rest = [a for a in range(x.ndim) if a not in (one, other)]
    return _shape.permute_dims(x, [*rest, one, other])


def matrix_trace(x: TensorLike, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sum of the diagonal of each matrix x: any[..., n, m] -> any[...].

    Args:
        x: any[..., n, m].
        offset: how far above the main diagonal; below it if negative.
        dtype: of the result; by default that of x, for integers and bools 64 bits.

    Raises: ShapeError if x has fewer than two axes.
    """
    numbers = reduce.in_sum_dtype(as_tensor(x, op="trace"), dtype, "trace")
    y = _diagonal("trace", numbers, offset)
    return _shape.sum_over(y, axes=(y.ndim - 1,))


def trace(x: TensorLike, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Tensor:
    """The sums of the diagonals over two axes of x, as NumPy's.

    Raises: as diagonal().
    """
    return matrix_trace(_last("trace", x, axis1, axis2), offset=offset)


def diagonal_matrix(x: Tensor, above: int = 0) -> Tensor:
    """x[..., n] on the diagonal `above`, zeros elsewhere: [..., n + |above|, n + |above|]."""
    *batch, n = x.shape
    size = n + abs(above)
    rest = (0,) * len(batch)
    start = above if above >= 0 else -above * size
    flat = movement.place(x, shape=(*batch, size * size), starts=(*rest, start if n else 0),
                          steps=(*(1 for _ in batch), size + 1))
    return _shape.reshape(flat, (*batch, size, size))


def diag(x: TensorLike, k: int = 0) -> Tensor:
    """The diagonal k of a matrix, or the matrix with a vector on its diagonal k.

    Raises: ShapeError if x is neither, ArgumentError if k is no whole number.

    >>> diag([1, 2])
    Tensor([[1, 0],
            [0, 2]], i64[2,2])
    """
    x, k = as_tensor(x, op="diag"), arguments.integer("diag", "k", k)
    if x.ndim not in (1, 2):
        raise ShapeError("diag", got=x.spec, why="x is neither a vector nor a matrix",
                         fix="for several matrices use tf.linalg.diagonal")
    return diagonal_matrix(x, k) if x.ndim == 1 else _diagonal("diag", x, k)


def block_diag(*blocks: TensorLike) -> Tensor:
    """The matrices one below the other along the diagonal, zeros elsewhere.

    blocks: of one dtype; a vector stands for one row, a number for a matrix of one element.
    Raises: ShapeError if one has more than two axes, ArgumentError without any.
    """
    if not blocks:
        raise ArgumentError("block_diag", got="no matrices", why="there must be at least one",
                            fix="write tf.block_diag(a, b)")
    xs = coerce("block_diag", *blocks)
    if any(x.ndim > 2 for x in xs):
        raise ShapeError("block_diag", got=", ".join(str(x.spec) for x in xs),
                         why="a block is a matrix", fix="give matrices one by one")
    matrices = [_shape.reshape(x, (1,) * (2 - x.ndim) + x.shape) for x in xs]
    width, left, rows = sum(x.shape[1] for x in matrices), 0, []
    for x in matrices:
        rows.append(movement.place(x, shape=(x.shape[0], width), starts=(0, left), steps=(1, 1)))
        left += x.shape[1]
    return joining.concat(rows)


def kron(a: TensorLike, b: TensorLike) -> Tensor:
    """The Kronecker product: each element of a times all of b, in its place.

    a, b: any[n, m], any[k, l] -> any[n * k, m * l]; of more axes alike, of fewer with ones in
        front.
    Raises: DTypeError if the dtypes do not promote.
    """
    x, y = coerce("kron", a, b)
    ndim = max(x.ndim, y.ndim)
    sizes, others = ((1,) * (ndim - t.ndim) + t.shape for t in (x, y))
    apart = [size for n in sizes for size in (n, 1)]
    between = [size for n in others for size in (1, n)]
    product = _shape.reshape(x, apart) * _shape.reshape(y, between)
    return _shape.reshape(product, [math.prod(pair) for pair in zip(sizes, others, strict=True)])
