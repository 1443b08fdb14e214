"""Triangular and orthogonal factors of matrices.

Sources of the derivatives: Murray (2016), arXiv:1602.07527, for Cholesky's; Walter & Lehmann
(2010), arXiv:1001.1654, for QR and LU.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import int64
from tapeflow.errors import ArgumentError
from tapeflow.ops import create, joining, sorting
from tapeflow.ops.casts import cast, real
from tapeflow.ops.gather import take_along_axis
from tapeflow.ops.linalg_diagonal import diagonal_matrix, matrix_diagonal
from tapeflow.ops.linalg_matrix import (
    INDEFINITE,
    column,
    hermitian,
    identity,
    lapack,
    matrix,
    of_literature,
    row,
    same,
    square,
    symmetric,
)
from tapeflow.ops.linalg_solve import substituted, substituted_right
from tapeflow.ops.shape import broadcast_to
from tapeflow.primitive import Leading, Tangents, primitive
from tapeflow.tensor import Array, Spec, Tensor, TensorLike
from tapeflow_kernels import dense

Cotangents = Sequence[Tensor | None]

# ---- Cholesky

def _lower_half(x: Tensor) -> Tensor:
    """The lower triangles of x, their diagonals halved."""
    return create.tril(x) * (1.0 - 0.5 * identity(x.shape[-1], x))


@of_literature
def _cholesky_adjoint(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    inner = _lower_half(hermitian(y) @ g)
    left = substituted(hermitian(y), inner, lower=False)
    return substituted_right(left, y, lower=True)


def _cholesky_jvp(ts: Tangents, y: Tensor, x: Tensor) -> Tensor:
    assert ts[0] is not None
    half = substituted(y, ts[0], lower=True)
    return y @ _lower_half(substituted(y, hermitian(half), lower=True))


@primitive(name="cholesky", spec=same, adjoints=(_cholesky_adjoint,), jvp=_cholesky_jvp,
           batching=Leading())
def _cholesky(x: Array) -> Array:
    """Hermitian f[..., n, n] -> f[..., n, n], lower triangular."""
    y: Array = lapack("cholesky", INDEFINITE, np.linalg.cholesky, x)
    return y


def cholesky(x: TensorLike, *, upper: bool = False) -> Tensor:
    """The lower triangular y with a positive diagonal whose product with its conjugate transpose
    is x.

    Args:
        x: f[..., n, n], Hermitian and positive definite. What is decomposed is its Hermitian part,
            of a real x (x + x.mT) / 2; the derivative is that of it, too.
        upper: whether to give the conjugate transpose instead.

    Raises: LinAlgError unless the matrices are positive definite, ShapeError unless they are
        square, DTypeError unless the dtype is one of LAPACK's.
    """
    y = _cholesky(symmetric(square("cholesky", x)))
    return hermitian(y) if upper else y


# ---- QR

class QRResult(NamedTuple):
    """x = Q @ R."""

    Q: Tensor
    R: Tensor


def _qr_spec(x: Spec) -> tuple[Spec, Spec]:
    *batch, _, n = x.shape
    return x, Spec((*batch, n, n), x.dtype)


def _with_real_diagonal_of(x: Tensor, y: Tensor) -> Tensor:
    """x, whose diagonal is 0, with the real part of that of y, as that of R is."""
    return x + diagonal_matrix(real(matrix_diagonal(y)))


@of_literature
def _qr_adjoint(gs: Cotangents, ys: tuple[Tensor, ...], x: Tensor) -> Tensor:
    q, r = ys
    gq, gr = (create.zeros_like(y) if g is None else g for g, y in zip(gs, ys, strict=True))
    inner = gr @ hermitian(r) - hermitian(q) @ gq
    above = create.triu(inner, 1)
    turned = gq + q @ _with_real_diagonal_of(above + hermitian(above), inner)
    return substituted_right(turned, hermitian(r), lower=True)


def _qr_jvp(ts: Tangents, ys: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, Tensor]:
    q, r = ys
    assert ts[0] is not None
    turned = substituted_right(ts[0], r, lower=False)
    inner = hermitian(q) @ turned
    below = create.tril(inner, -1)
    upper = _with_real_diagonal_of(create.triu(inner, 1) + hermitian(below), inner)
    return turned - q @ upper, upper @ r


@primitive(name="qr", spec=_qr_spec, multiple=True, adjoints=(_qr_adjoint,), jvp=_qr_jvp,
           batching=Leading())
def _qr(x: Array) -> tuple[Array, Array]:
    """f[..., m, n] -> f[..., m, n], f[..., n, n], where m >= n."""
    q, r = np.linalg.qr(x)
    return q, r


def _complete_spec(x: Spec) -> tuple[Spec, Spec]:
    *batch, m, _ = x.shape
    return Spec((*batch, m, m), x.dtype), x


def _not_complete(*values: Any) -> Any:
    raise ArgumentError("qr", got=f"mode='complete' for {values[-1].spec}",
                        why="the columns of Q beyond those of x are any basis of what is left, so "
                        "that they have no derivative", fix='use mode="reduced"')


@primitive(name="qr_complete", spec=_complete_spec, multiple=True, adjoints=(_not_complete,),
           jvp=_not_complete, batching=Leading())
def _qr_complete(x: Array) -> tuple[Array, Array]:
    """f[..., m, n] -> f[..., m, m], f[..., m, n], where m > n."""
    q, r = np.linalg.qr(x, "complete")
    return q, r


def qr(x: TensorLike, *, mode: str = "reduced") -> QRResult:
    """Q with orthonormal columns and an upper triangular R: x = Q @ R.

    Args:
        x: f[..., m, n].
        mode: "reduced" for Q of f[..., m, k] with k = min(m, n), "complete" for one of
            f[..., m, m], which has no derivative where m > n.

    The derivative needs that the first k columns of x are independent.
    Raises: ArgumentError for another mode, ShapeError if x is no matrix, DTypeError unless its
        dtype is one of LAPACK's.
    """
    x = matrix("qr", x)
    if mode not in ("reduced", "complete"):
        raise ArgumentError("qr", got=f"mode={mode!r}", why="there is no such mode",
                            fix='use "reduced" or "complete"')
    m, n = x.shape[-2:]
    if m < n:   # Q is that of the first m columns
        q, r = dispatch.apply(_qr, (x[..., :m],))
        return QRResult(q, joining.concat([r, hermitian(q) @ x[..., m:]], axis=-1))
    thin = mode == "reduced" or m == n
    return QRResult(*dispatch.apply(_qr if thin else _qr_complete, (x,)))


# ---- LU

class LUResult(NamedTuple):
    """x = P @ L @ U."""

    P: Tensor
    L: Tensor
    U: Tensor


def _lu_spec(x: Spec) -> tuple[Spec, Spec, Spec]:
    *batch, m, n = x.shape
    return x, Spec((*batch, n, n), x.dtype), Spec((*batch, m), int64)


def _reordered(x: Tensor, order: Tensor) -> Tensor:
    """The rows of the matrices x in this order."""
    return take_along_axis(x, broadcast_to(column(order), x.shape), axis=-2)


def _lu_adjoint(gs: Cotangents, ys: tuple[Tensor, ...], x: Tensor) -> Tensor:
    lower, upper, order = ys
    n = upper.shape[-1]
    gl, gu = (create.zeros_like(y) if g is None else g
              for g, y in zip(gs[:2], ys[:2], strict=True))
    inner = create.triu(gu @ upper.mT - lower.mT @ gl)
    first = substituted(lower[..., :n, :].mT, inner, lower=False, unit_diagonal=True)
    turned = joining.concat([gl[..., :n, :] + first, gl[..., n:, :]], axis=-2)
    return _reordered(substituted_right(turned, upper.mT, lower=True), sorting.argsort(order))


def _lu_jvp(ts: Tangents, ys: tuple[Tensor, ...],
            x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    lower, upper, order = ys
    n = upper.shape[-1]
    assert ts[0] is not None
    turned = substituted_right(_reordered(ts[0], order), upper, lower=False)
    inner = create.triu(substituted(lower[..., :n, :], turned[..., :n, :], lower=True,
                                    unit_diagonal=True))
    return turned - lower @ inner, inner @ upper, None


@primitive(name="lu", spec=_lu_spec, multiple=True, adjoints=(_lu_adjoint,), jvp=_lu_jvp,
           batching=Leading())
def _lu(x: Array) -> tuple[Array, Array, Array]:
    """f[..., m, n] -> f[..., m, n], f[..., n, n] and the order i64[..., m] of the rows, which is
    constant nearly everywhere; where m >= n."""
    return dense.lu(x)


def lu(x: TensorLike) -> LUResult:
    """A permutation P, L with a unit diagonal and no element beyond 1, and an upper triangular U:
    x = P @ L @ U.

    Args:
        x: f[..., m, n].

    Returns: P f[..., m, m], L f[..., m, k] and U f[..., k, n], where k = min(m, n). The derivative
        needs that the first k columns of x are independent.
    Raises: ShapeError if x is no matrix, DTypeError unless its dtype is one of LAPACK's.
    """
    x = matrix("lu", x)
    m, n = x.shape[-2:]
    left = x[..., :m] if m < n else x   # which alone decides on the order
    lower, upper, order = dispatch.apply(_lu, (left,))
    if m < n:
        rest = substituted(lower, _reordered(x[..., m:], order), lower=True, unit_diagonal=True)
        upper = joining.concat([upper, rest], axis=-1)
    places = cast(column(create.arange(m)) == row(order), x.dtype)
    return LUResult(places, lower, upper)
