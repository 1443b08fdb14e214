"""Functions of square matrices: powers and the exponential; and products of many matrices."""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from tapeflow import arguments
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import create, joining
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.linalg import matmul
from tapeflow.ops.linalg_matrix import identity, same, square
from tapeflow.ops.linalg_solve import inv
from tapeflow.primitive import Leading, primitive
from tapeflow.tensor import Array, Tensor, TensorLike
from tapeflow_kernels import dense


def matrix_power(x: TensorLike, n: int) -> Tensor:
    """The product of n matrices x, each f[..., m, m]; of the inverses if n is negative.

    Raises: LinAlgError for the inverse of a singular matrix, ArgumentError if n is no whole number,
        ShapeError unless x is square, DTypeError unless its dtype is one of LAPACK's.
    """
    x, n = square("matrix_power", x), arguments.integer("matrix_power", "n", n)
    if n < 0:
        x, n = inv(x), -n
    power = None
    while n:   # by the binary digits of n
        if n % 2:
            power = x if power is None else power @ x
        n //= 2
        x = x @ x if n else x
    if power is None:
        return _shape.broadcast_to(identity(x.shape[-1], x), x.shape)
    return _shape.another(power)


# ---- the exponential

def _along(x: Tensor, t: Tensor) -> Tensor:
    """The derivative of the exponential at x along t: the upper right block of the exponential of
    [[x, t], [0, x]]. Source: Higham (2008), Functions of Matrices, equation 3.16."""
    n = x.shape[-1]
    above, below = [x, t], [create.zeros_like(x), x]
    rows = [joining.concat(blocks, axis=-1) for blocks in (above, below)]
    block: Tensor = _expm(joining.concat(rows, axis=-2))[..., :n, n:]
    return block


@primitive(name="expm", spec=same, adjoints=(lambda g, y, x: _along(x.mT, g),),
           jvp=lambda ts, y, x: _along(x, ts[0]), batching=Leading())
def _expm(x: Array) -> Array:
    """f[..., n, n] -> f[..., n, n]."""
    return dense.expm(x)


def expm(x: TensorLike) -> Tensor:
    """The exponential of each matrix x, the sum of x^k / k!: f[..., n, n] -> f[..., n, n].

    Source: Higham (2005), SIAM J. Matrix Anal. Appl. 26(4), by scaling and squaring.
    Raises: ShapeError unless x is square, DTypeError unless its dtype is one of LAPACK's.
    """
    return _expm(square("expm", x))


# ---- products of many matrices

def multi_dot(arrays: Sequence[TensorLike]) -> Tensor:
    """The product of two matrices or more, in the order that multiplies the fewest numbers.

    arrays: matrices; the first and the last may be vectors.
    Raises: ArgumentError for fewer than two, ShapeError if the sizes do not fit, DTypeError if the
        dtypes do not promote.
    """
    given = arguments.several("multi_dot", "arrays", arrays, "matrices")
    if len(given) < 2:
        raise ArgumentError("multi_dot", got=f"{len(given)} arrays", why="there is no product",
                            fix="give at least two")
    xs = coerce("multi_dot", *given)
    inner = [x.ndim == 2 for x in xs[1:-1]]
    if not all(inner) or not {xs[0].ndim, xs[-1].ndim} <= {1, 2}:
        raise ShapeError("multi_dot", got=", ".join(str(x.spec) for x in xs),
                         why="only the first and the last may be vectors, all else are matrices",
                         fix="use tf.matmul for products over leading axes")
    first, *_, last = xs
    matrices = [_shape.expand_dims(first, 0) if first.ndim == 1 else first, *xs[1:-1],
                _shape.expand_dims(last, 1) if last.ndim == 1 else last]
    sizes = tuple(m.shape[0] for m in matrices) + matrices[-1].shape[1:]
    product = _multiplied(matrices, _splits(sizes), 0, len(matrices))
    gone = [axis for axis, x in ((0, first), (1, last)) if x.ndim == 1]
    return _shape.squeeze(product, gone)


def _multiplied(matrices: Sequence[Tensor], split: dict[tuple[int, int], int], start: int,
                stop: int) -> Tensor:
    if stop - start == 1:
        return matrices[start]
    middle = split[start, stop]
    return matmul(_multiplied(matrices, split, start, middle),
                  _multiplied(matrices, split, middle, stop))


@lru_cache(4096)
def _splits(sizes: tuple[int, ...]) -> dict[tuple[int, int], int]:
    """Where to cut each part of the chain in two, for the fewest multiplications.

    Source: Cormen et al., Introduction to Algorithms, section "Matrix-chain multiplication".
    """
    count = len(sizes) - 1
    cost = dict.fromkeys(((i, i + 1) for i in range(count)), 0)
    split = {}
    for length in range(2, count + 1):
        for i in range(count - length + 1):
            j = i + length
            cost[i, j], split[i, j] = min(
                (cost[i, k] + cost[k, j] + sizes[i] * sizes[k] * sizes[j], k)
                for k in range(i + 1, j))
    return split
