"""Systems of linear equations, inverses, and least squares.

Sources of the derivatives: Giles (2008), "Collected matrix derivative results for forward and
reverse mode algorithmic differentiation"; Golub & Pereyra (1973), SIAM J. Numer. Anal. 10(2), for
the pseudo-inverse, where the rank does not change.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapeflow.dtypes import bool_, real_of
from tapeflow.ops import create, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast, conj, real
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import where
from tapeflow.ops.info import finfo
from tapeflow.ops.linalg_matrix import (
    SINGULAR,
    ZERO_ON_DIAGONAL,
    column,
    hermitian,
    identity,
    lapack,
    matrix,
    of_literature,
    require_square,
    same,
    square,
)
from tapeflow.ops.linalg_spectral import svd, svdvals
from tapeflow.ops.linalg_system import System, system
from tapeflow.primitive import Leading, Tangents, primitive, register
from tapeflow.tensor import Array, Tensor, TensorLike, as_tensor
from tapeflow_kernels import dense

# ---- any systems

def _solve_array(a: Array, b: Array) -> Array:
    solution: Array = lapack("solve", SINGULAR, np.linalg.solve, a, b)
    return solution


def _solve_back(a: Tensor, g: Tensor) -> Tensor:
    return _solve(a.mT, g)


_solve = System(_solve_array, "solve", back=_solve_back, part=lambda a: a)
register(_solve)


def solve(x1: TensorLike, x2: TensorLike) -> Tensor:
    """x with x1 @ x = x2.

    Args:
        x1: f[..., n, n].
        x2: f[n], or f[..., n, k]; leading axes broadcast.

    Returns: as x2, with the leading axes of both.
    Raises: LinAlgError if a matrix is singular, ShapeError if the sizes do not fit, DTypeError
        unless the dtypes are LAPACK's.
    """
    a, b, is_vector = system("solve", x1, x2)
    require_square("solve", a)
    x = _solve.solution(a, b)
    return _shape.squeeze(x, -1) if is_vector else x


# ---- triangular systems

def _triangle(a: Tensor, *, lower: bool, unit_diagonal: bool) -> Tensor:
    if lower:
        return create.tril(a, -1 if unit_diagonal else 0)
    return create.triu(a, 1 if unit_diagonal else 0)


def _back_substituted(a: Tensor, g: Tensor, *, lower: bool, unit_diagonal: bool) -> Tensor:
    return _triangular(a.mT, g, lower=not lower, unit_diagonal=unit_diagonal)


def _triangular_array(a: Array, b: Array, *, lower: bool, unit_diagonal: bool) -> Array:
    if unit_diagonal:
        a = np.where(np.eye(a.shape[-1], dtype=bool), a.dtype.type(1), a)
    x: Array = lapack("triangular_solve", ZERO_ON_DIAGONAL,
                      lambda a, b: dense.solve_triangular(a, b, lower), a, b)
    return x


_triangular = System(_triangular_array, "triangular_solve", back=_back_substituted, part=_triangle)
register(_triangular)


def substituted(a: Tensor, b: Tensor, lower: bool, unit_diagonal: bool = False) -> Tensor:
    """x with a @ x = b for triangular matrices a with the same leading axes as b."""
    return _triangular(a, b, lower=lower, unit_diagonal=unit_diagonal)


def substituted_right(b: Tensor, a: Tensor, lower: bool) -> Tensor:
    """x with x @ a = b for triangular matrices a with the same leading axes as b."""
    return substituted(a.mT, b.mT, not lower).mT


def triangular_solve(a: TensorLike, b: TensorLike, lower: bool = True, adjoint: bool = False,
                     unit_diagonal: bool = False) -> Tensor:
    """x with a @ x = b, where a is triangular: its other triangle is not read.

    Args:
        a: f[..., n, n].
        b: f[n], or f[..., n, k]; leading axes broadcast.
        lower: whether the lower triangle of a holds the matrix; else the upper one.
        adjoint: whether to solve with the conjugate transpose of a instead.
        unit_diagonal: whether the diagonal is taken for ones, and not read either.

    Raises: LinAlgError if a 0 stands on the diagonal, ShapeError if the sizes do not fit,
        DTypeError unless the dtypes are LAPACK's.
    """
    op = "triangular_solve"
    x, y, is_vector = system(op, a, b)
    require_square(op, x)
    if adjoint:
        x = hermitian(x)
    solution = _triangular.solution(x, y, lower=bool(lower) != bool(adjoint),
                                    unit_diagonal=bool(unit_diagonal))
    return _shape.squeeze(solution, -1) if is_vector else solution


# ---- inverses

@primitive(name="inv", spec=same, adjoints=(lambda g, y, x: -(y.mT @ g @ y.mT),),
           jvp=lambda ts, y, x: -(y @ ts[0] @ y), batching=Leading())
def _inv(x: Array) -> Array:
    """f[..., n, n] -> f[..., n, n]."""
    inverse: Array = lapack("inv", SINGULAR, np.linalg.inv, x)
    return inverse


def inv(x: TensorLike) -> Tensor:
    """The inverse of each matrix x: f[..., n, n] -> f[..., n, n].

    To solve equations, solve() is faster and more exact.
    Raises: LinAlgError if a matrix is singular, ShapeError unless it is square, DTypeError unless
        the dtype is one of LAPACK's.
    """
    return _inv(square("inv", x))


@of_literature
def _pinv_adjoint(g: Tensor, y: Tensor, a: Tensor, tolerance: Tensor) -> Tensor:
    n, m = a.shape[-2:]
    outside, null = identity(n, a) - a @ y, identity(m, a) - y @ a
    gh, yh = hermitian(g), hermitian(y)
    return outside @ gh @ y @ yh + yh @ y @ gh @ null - yh @ g @ yh


def _pinv_jvp(ts: Tangents, y: Tensor, a: Tensor, tolerance: Tensor) -> Tensor | None:
    t = ts[0]
    if t is None:
        return None
    n, m = a.shape[-2:]
    outside, null = identity(n, a) - a @ y, identity(m, a) - y @ a
    th, yh = hermitian(t), hermitian(y)
    return y @ yh @ th @ outside + null @ th @ yh @ y - y @ t @ y


# one derivative: that of the decomposition does not exist where singular values are equal
@composite(_pinv_adjoint, None, jvp=_pinv_jvp)
def _pinv(a: Tensor, tolerance: Tensor) -> Tensor:
    u, s, vh = svd(a, full_matrices=False)
    kept = _is_kept(s, tolerance)
    inverted = where(kept, 1.0 / where(kept, s, 1.0), 0.0)
    return hermitian(vh) @ (column(inverted) * hermitian(u))


def _is_kept(s: Tensor, tolerance: Tensor) -> Tensor:
    """Which singular values s[..., k] do not count as 0."""
    if not s.shape[-1]:
        return create.zeros(s.shape, bool_)
    return s > tolerance * reduce.max(s, axis=-1, keepdims=True)


def _tolerance(op: str, a: Tensor, given: TensorLike | None) -> Tensor:
    """The fraction of the largest singular value below which one counts as 0: f[] or f[..., 1]."""
    dtype = real_of(a.dtype)
    default = max(a.shape[-2:]) * finfo(dtype).eps
    fraction = cast(as_tensor(default if given is None else given, op=op), dtype)
    return column(fraction) if fraction.ndim else fraction


def pinv(x: TensorLike, *, rtol: TensorLike | None = None) -> Tensor:
    """The Moore-Penrose inverse of each matrix x: f[..., n, m] -> f[..., m, n].

    rtol: singular values up to this fraction of the largest count as 0; by default max(n, m) times
        the precision of the dtype.
    The derivative is that along matrices of the same rank, as all near one of full rank are.
    Raises: ShapeError if x is no matrix, DTypeError unless the dtype is one of LAPACK's.
    """
    x = matrix("pinv", x)
    return _pinv(x, _tolerance("pinv", x, rtol))


def matrix_rank(x: TensorLike, *, rtol: TensorLike | None = None) -> Tensor:
    """The number of singular values of each matrix x that are not 0: f[..., n, m] -> i64[...].

    rtol: as for pinv().
    Raises: ShapeError if x is no matrix, DTypeError unless the dtype is one of LAPACK's.
    """
    x = matrix("matrix_rank", x)
    return _rank(svdvals(x), _tolerance("matrix_rank", x, rtol))


def _rank(s: Tensor, tolerance: Tensor) -> Tensor:
    return reduce.count_nonzero(_is_kept(s, tolerance), axis=-1)


class LstsqResult(NamedTuple):
    """What lstsq gives."""

    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor


def lstsq(a: TensorLike, b: TensorLike, rcond: float | None = None) -> LstsqResult:
    """The x of least norm among those with the least |a @ x - b|.

    Args:
        a: f[..., n, m].
        b: f[n], or f[..., n, k]; leading axes broadcast.
        rcond: singular values up to this fraction of the largest count as 0; by default max(n, m)
            times the precision of the dtype.

    Returns: the solution f[m] or f[..., m, k]; the sums of squares of a @ x - b, f[..., k] with
        k = 1 for a vector b, whatever the rank; the rank i64[...] and the singular values of a. The
        derivative is that along matrices of the same rank.
    Raises: ShapeError if the sizes do not fit, DTypeError unless the dtypes are LAPACK's.
    """
    x, y, is_vector = system("lstsq", a, b)
    tolerance = _tolerance("lstsq", x, rcond)
    solution, s = _pinv(x, tolerance) @ y, svdvals(x)
    away = x @ solution - y
    residuals = reduce.sum(real(conj(away) * away), axis=-2)
    if is_vector:
        solution = _shape.squeeze(solution, -1)
    return LstsqResult(solution, residuals, _rank(s, tolerance), s)
