"""Determinants.

The determinant is a polynomial, so its derivatives exist for singular matrices too. They are made
of cofactors, which no inverse gives there but the singular values do: with x = U diag(s) V^H, the
cofactors of x are det(U) det(V^H) conj(U C V^H), where C are those of diag(s), products of all s
but one (Stewart 1998, "On the adjugate matrix", Linear Algebra Appl. 283).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import is_complex, real_of
from tapeflow.ops import create, reduce
from tapeflow.ops.casts import imag, real
from tapeflow.ops.linalg_diagonal import matrix_trace
from tapeflow.ops.linalg_matrix import (
    NO_SINGULAR_VALUES,
    column,
    identity,
    lapack,
    same,
    square,
)
from tapeflow.ops.linalg_solve import inv
from tapeflow.primitive import Leading, Tangents, primitive, total
from tapeflow.tensor import Array, Spec, Tensor, TensorLike


def _number_spec(x: Spec) -> Spec:
    return Spec(x.shape[:-2], x.dtype)


def _of_matrix(g: Tensor) -> Tensor:
    """A number for each matrix, as matrices of one element."""
    return column(column(g))


def _det_jvp(ts: Tangents, y: Tensor, x: Tensor) -> Tensor:
    assert ts[0] is not None
    return reduce.sum(ts[0] * _cofactors(x), axis=(-2, -1))


def _det_adjoint(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return _of_matrix(g) * _cofactors(x)


@primitive(name="det", spec=_number_spec, jvp=_det_jvp, adjoints=(_det_adjoint,),
           batching=Leading())
def _det(x: Array) -> Array:
    """f[..., n, n] -> f[...]."""
    return np.asarray(np.linalg.det(x))


def det(x: TensorLike) -> Tensor:
    """The determinant of each matrix x: f[..., n, n] -> f[...].

    It overflows early: for its logarithm use slogdet(). First and second derivatives are right for
    singular matrices too; higher ones raise LinAlgError there.
    Raises: ShapeError unless x is square, DTypeError unless its dtype is one of LAPACK's.
    """
    return _det(square("det", x))


# ---- cofactors: the derivative of det, and what depends on them

def _cofactors_adjoint(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    return _cofactor_slope(x, g)


def _cofactors_jvp(ts: Tangents, y: Tensor, x: Tensor) -> Tensor:
    assert ts[0] is not None
    return _cofactor_slope(x, ts[0])


@primitive(name="cofactors", spec=same, adjoints=(_cofactors_adjoint,), jvp=_cofactors_jvp,
           batching=Leading())
def _cofactors(x: Array) -> Array:
    """f[..., n, n] -> f[..., n, n]: det(x) times the transposed inverse, by singular values."""
    sign, u, s, vh = _oriented(x)
    cofactors: Array = (u.conj() * (sign * _products_but_one(s))[..., None, :]) @ vh.conj()
    return cofactors


def _oriented(x: Array) -> tuple[Array, Array, Array, Array]:
    """The determinant of U and V^T, then U, the singular values, and V^T."""
    u, s, vh = lapack("det", NO_SINGULAR_VALUES, np.linalg.svd, x)
    return (np.linalg.det(u) * np.linalg.det(vh))[..., None], u, s, vh


def _products_before(s: Array) -> Array:
    """The product of the elements before each one, along the last axis."""
    shifted = np.roll(s, 1, -1)
    shifted[..., :1] = 1
    products: Array = np.cumprod(shifted, -1)
    return products


def _products_but_one(s: Array) -> Array:
    after = _products_before(s[..., ::-1])[..., ::-1]
    return _products_before(s) * after


def _products_but_two(s: Array) -> Array:
    """[..., n, n]: the product of all s but those of row and column; 0 on the diagonal."""
    n = s.shape[-1]
    between = np.where(np.tri(n, dtype=bool), 1, s[..., None, :])   # from row to column
    upper = np.triu(_products_before(between), 1)
    after = _products_before(s[..., ::-1])[..., ::-1]
    upper = upper * _products_before(s)[..., :, None] * after[..., None, :]
    both: Array = upper + upper.swapaxes(-1, -2)
    return both


def _slope_adjoint_of_x(g: Tensor, y: Tensor, x: Tensor, e: Tensor) -> Tensor:
    return _second_slope(x, y, e, g)


def _slope_adjoint_of_e(g: Tensor, y: Tensor, x: Tensor, e: Tensor) -> Tensor:
    return _cofactor_slope(x, g)


def _slope_jvp(ts: Tangents, y: Tensor, x: Tensor, e: Tensor) -> Tensor | None:
    moved = [None if ts[0] is None else _second_slope(x, y, e, ts[0]),
             None if ts[1] is None else _cofactor_slope(x, ts[1])]
    return total(moved)


@primitive(name="cofactor_slope", spec=lambda x, e: x, jvp=_slope_jvp,
           adjoints=(_slope_adjoint_of_x, _slope_adjoint_of_e), batching=Leading())
def _cofactor_slope(x: Array, e: Array) -> Array:
    """The derivative of the cofactors of x along e; the same matrix either way, as that of a
    gradient is: in the basis of singular vectors,

        [i, i]: the sum over k of e[k, k] times the product of all s but i and k
        [i, j]: -e[j, i] times the product of all s but i and j
    """
    sign, u, s, vh = _oriented(x)
    products = _products_but_two(s) * sign[..., None]
    turned = u.conj().swapaxes(-1, -2) @ e @ vh.conj().swapaxes(-1, -2)
    inner = -products * turned.swapaxes(-1, -2)
    along = products @ np.diagonal(turned, 0, -2, -1)[..., None]
    inner += along * np.eye(s.shape[-1], dtype=s.dtype)
    slope: Array = u.conj() @ inner @ vh.conj()
    return slope


def _second_slope(x: Tensor, slope: Tensor, e: Tensor, t: Tensor) -> Tensor:
    """The derivative along t of `slope`, that of the cofactors of x along e; x must be regular.

    With y the inverse, the transposed slope is det(x) (tr(y e) y - y e y).
    """
    y = inv(x)
    ye, yt = y @ e, y @ t
    both = ye @ yt
    inner = both + yt @ ye - _trace(ye) * yt - _trace(both) * identity(x.shape[-1], x)
    return _trace(yt) * slope + _of_matrix(_det(x)) * (inner @ y).mT


def _trace(x: Tensor) -> Tensor:
    return _of_matrix(matrix_trace(x))


# ---- its sign and logarithm

class SlogdetResult(NamedTuple):
    """det(x) = sign * exp(logabsdet)."""

    sign: Tensor
    logabsdet: Tensor


def _slogdet_spec(x: Spec) -> tuple[Spec, Spec]:
    return _number_spec(x), Spec(x.shape[:-2], real_of(x.dtype))


def _slogdet_adjoint(gs: Sequence[Tensor | None], ys: tuple[Tensor, ...], x: Tensor) -> Tensor:
    (turn, g), (sign, _) = gs, ys
    factor = create.zeros_like(sign) if g is None else g
    if turn is not None and is_complex(x.dtype):
        factor = factor + 1j * imag(turn * sign)
    return _of_matrix(factor) * inv(x).mT


def _slogdet_jvp(ts: Tangents, ys: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor | None, Tensor]:
    assert ts[0] is not None
    moved = matrix_trace(inv(x) @ ts[0])
    return ys[0] * (1j * imag(moved)) if is_complex(x.dtype) else None, real(moved)


@primitive(name="slogdet", spec=_slogdet_spec, multiple=True, adjoints=(_slogdet_adjoint,),
           jvp=_slogdet_jvp, batching=Leading())
def _slogdet(x: Array) -> tuple[Array, Array]:
    """f[..., n, n] -> f[...], real f[...]."""
    sign, logarithm = np.linalg.slogdet(x)
    return sign, logarithm


def slogdet(x: TensorLike) -> SlogdetResult:
    """The sign of the determinant of each matrix x, of a complex x its direction, and the logarithm
    of its magnitude: f[..., n, n] -> f[...], f[...].

    They are 0 and -inf for a singular matrix, whose derivative is refused with LinAlgError.

    Raises: ShapeError unless x is square, DTypeError unless its dtype is one of LAPACK's.
    """
    return SlogdetResult(*dispatch.apply(_slogdet, (square("slogdet", x),)))
