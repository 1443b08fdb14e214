"""Eigenvalues and singular values, with their vectors.

Vectors are differentiable only where their values differ: the derivatives divide by the differences
and are infinite or NaN where two are equal. Those of the values alone need no difference.

Sources: Giles (2008), "Collected matrix derivative results for forward and reverse mode algorithmic
differentiation"; Townsend (2016), "Differentiating the singular value decomposition".
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import is_complex, real_of
from tapeflow.errors import ArgumentError
from tapeflow.ops import create
from tapeflow.ops.casts import imag, real
from tapeflow.ops.elementwise import where
from tapeflow.ops.linalg_diagonal import diagonal_matrix, matrix_diagonal
from tapeflow.ops.linalg_matrix import (
    NO_EIGENVALUES,
    NO_SINGULAR_VALUES,
    column,
    hermitian,
    lapack,
    matrix,
    of_literature,
    off_diagonal,
    row,
    square,
    symmetric,
)
from tapeflow.primitive import Leading, Tangents, primitive
from tapeflow.tensor import Array, Spec, Tensor, TensorLike

Cotangents = Sequence[Tensor | None]


def _values_spec(x: Spec) -> Spec:
    return Spec((*x.shape[:-2], min(x.shape[-2:])), real_of(x.dtype))


def _real_diagonal(x: Tensor) -> Tensor:
    return real(matrix_diagonal(x))


# ---- of Hermitian matrices

class EighResult(NamedTuple):
    """Eigenvalues in ascending order, and the eigenvectors in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def gaps(w: Tensor) -> Tensor:
    """1 / (w[j] - w[i]) at [i, j], and 0 on the diagonal."""
    apart = row(w) - column(w)
    return off_diagonal(1.0 / _with_ones(apart))


def _with_ones(x: Tensor) -> Tensor:
    """The square matrices x with ones on the diagonal."""
    return where(dispatch.wrap(np.eye(x.shape[-1], dtype=bool)), 1.0, x)


@of_literature
def _eigh_adjoint(gs: Cotangents, ys: tuple[Tensor, ...], x: Tensor) -> Tensor:
    (g, h), (w, v) = gs, ys
    inner = None if g is None else diagonal_matrix(g)
    if h is not None:
        turned = gaps(w) * (hermitian(v) @ h)
        inner = turned if inner is None else inner + turned
    assert inner is not None
    return v @ inner @ hermitian(v)


def _eigh_jvp(ts: Tangents, ys: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, Tensor]:
    (t,), (w, v) = ts, ys
    inner = hermitian(v) @ t @ v
    return _real_diagonal(inner), v @ (gaps(w) * inner)


@primitive(name="eigh", spec=lambda x: (_values_spec(x), x), multiple=True,
           adjoints=(_eigh_adjoint,), jvp=_eigh_jvp, batching=Leading())
def _eigh(x: Array) -> tuple[Array, Array]:
    """Hermitian f[..., n, n] -> real f[..., n], f[..., n, n]."""
    w, v = lapack("eigh", NO_EIGENVALUES, np.linalg.eigh, x)
    return w, v


def eigh(x: TensorLike) -> EighResult:
    """The eigenvalues of each Hermitian matrix, in ascending order, and eigenvectors in columns.

    x: f[..., n, n]. What is decomposed is its Hermitian part, of a real x (x + x.mT) / 2; the
        derivative is that of it, too.
    The derivative of the vectors is infinite or NaN where eigenvalues are equal. Of complex vectors
    it leaves the phase alone, which is arbitrary.
    Raises: ShapeError unless x is square, DTypeError unless its dtype is one of LAPACK's,
        LinAlgError where an element is not finite.
    """
    return EighResult(*dispatch.apply(_eigh, (symmetric(square("eigh", x)),)))


def _eigvalsh_vectors(x: Tensor) -> Tensor:
    v: Tensor = dispatch.apply(_eigh, (x,))[1]
    return v


@of_literature
def _eigvalsh_adjoint(g: Tensor, w: Tensor, x: Tensor) -> Tensor:
    v = _eigvalsh_vectors(x)
    return (v * row(g)) @ hermitian(v)


def _eigvalsh_jvp(ts: Tangents, w: Tensor, x: Tensor) -> Tensor:
    v = _eigvalsh_vectors(x)
    return _real_diagonal(hermitian(v) @ ts[0] @ v)


@primitive(name="eigvalsh", spec=_values_spec, adjoints=(_eigvalsh_adjoint,), jvp=_eigvalsh_jvp,
           batching=Leading())
def _eigvalsh(x: Array) -> Array:
    """Hermitian f[..., n, n] -> real f[..., n]."""
    w: Array = lapack("eigvalsh", NO_EIGENVALUES, np.linalg.eigvalsh, x)
    return w


def eigvalsh(x: TensorLike) -> Tensor:
    """The eigenvalues of each Hermitian matrix, in ascending order: f[..., n, n] -> f[..., n].

    They are those of its Hermitian part. Raises: as eigh().
    """
    return _eigvalsh(symmetric(square("eigvalsh", x)))


# ---- singular values

class SVDResult(NamedTuple):
    """x = U @ diag(S) @ Vh, with S in descending order."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _svd_spec(x: Spec, *, full_matrices: bool) -> tuple[Spec, Spec, Spec]:
    *batch, n, m = x.shape
    k = min(n, m)
    rows, columns = (n, m) if full_matrices else (k, k)
    return (Spec((*batch, n, rows), x.dtype), _values_spec(x),
            Spec((*batch, columns, m), x.dtype))


def _require_thin(x: Tensor, full_matrices: bool) -> None:
    """Raise ArgumentError if some vectors belong to no singular value."""
    if full_matrices and x.shape[-1] != x.shape[-2]:
        raise ArgumentError("svd", got=f"full_matrices=True for {x.spec}",
                            why="vectors without a singular value are any basis of what is left, "
                            "so that they have no derivative",
                            fix="use full_matrices=False, or tf.linalg.svdvals")


def _gaps_of_squares(s: Tensor) -> Tensor:
    """1 / (s[j]² - s[i]²) at [i, j], and 0 on the diagonal."""
    return gaps(s) / _with_ones(row(s) + column(s))


def _turn(inner: Tensor, s: Tensor) -> Tensor:
    """How fast the phase of each pair of complex vectors turns, which neither of them determines
    alone: the columns of U take all of it."""
    return 1j * (imag(matrix_diagonal(inner)) / s)


@of_literature
def _svd_adjoint(gs: Cotangents, ys: tuple[Tensor, ...], x: Tensor, *,
                 full_matrices: bool) -> Tensor:
    (gu, g, gvh), (u, s, vh) = gs, ys
    if gu is None and gvh is None:
        assert g is not None
        k = s.shape[-1]
        return (u[..., :k] * row(g)) @ vh[..., :k, :]
    _require_thin(x, full_matrices)
    gaps, uh, v = _gaps_of_squares(s), hermitian(u), hermitian(vh)
    inner = diagonal_matrix(create.zeros_like(s) if g is None else g)
    outer = create.zeros_like(x)
    if gu is not None:
        turned = gaps * (uh @ gu)
        if is_complex(x.dtype):
            inner = inner + diagonal_matrix(_turn(uh @ gu, s))
        inner = inner + (turned + hermitian(turned)) * row(s)
        if u.shape[-2] > s.shape[-1]:
            outer = outer + ((gu - u @ (uh @ gu)) / row(s)) @ vh
    if gvh is not None:
        turned = gaps * hermitian(gvh @ v)
        inner = inner + column(s) * (turned + hermitian(turned))
        if v.shape[-2] > s.shape[-1]:
            outer = outer + u @ ((gvh - (gvh @ v) @ vh) / column(s))
    return u @ inner @ vh + outer


def _svd_jvp(ts: Tangents, ys: tuple[Tensor, ...], x: Tensor, *,
             full_matrices: bool) -> tuple[Tensor, Tensor, Tensor]:
    _require_thin(x, full_matrices)
    (t,), (u, s, vh) = ts, ys
    assert t is not None
    uh, v = hermitian(u), hermitian(vh)
    inner = uh @ t @ v
    scaled, lifted, gaps = inner * row(s), column(s) * inner, _gaps_of_squares(s)
    tu = u @ (gaps * (scaled + hermitian(scaled)))
    tv = v @ (gaps * (lifted + hermitian(lifted)))
    if is_complex(x.dtype):
        tu = tu + u * row(_turn(inner, s))
    if u.shape[-2] > s.shape[-1]:
        tu = tu + (t @ v - u @ inner) / row(s)
    if v.shape[-2] > s.shape[-1]:
        tv = tv + (hermitian(t) @ u - v @ hermitian(inner)) / row(s)
    return tu, _real_diagonal(inner), hermitian(tv)


@primitive(name="svd", spec=_svd_spec, multiple=True, adjoints=(_svd_adjoint,), jvp=_svd_jvp,
           batching=Leading())
def _svd(x: Array, *, full_matrices: bool) -> tuple[Array, Array, Array]:
    """f[..., n, m] -> f[..., n, k], f[..., k], f[..., k, m], with k = min(n, m) unless full."""
    u, s, vh = lapack("svd", NO_SINGULAR_VALUES, lambda a: np.linalg.svd(a, full_matrices), x)
    return u, s, vh


def svd(x: TensorLike, *, full_matrices: bool = True) -> SVDResult:
    """Unitary U and Vh, and the singular values S in descending order: x = U @ diag(S) @ Vh.

    Args:
        x: f[..., n, m].
        full_matrices: whether U and Vh are square; else they have k = min(n, m) vectors.

    The derivative of the vectors is infinite or NaN where singular values are equal, or 0 if x is
    not square. With `full_matrices` only a square x has one.
    Raises: ShapeError if x is no matrix, DTypeError unless its dtype is one of LAPACK's,
        LinAlgError where an element is not finite.
    """
    attrs = {"full_matrices": bool(full_matrices)}
    return SVDResult(*dispatch.apply(_svd, (matrix("svd", x),), attrs))


@of_literature
def _svdvals_adjoint(g: Tensor, s: Tensor, x: Tensor) -> Tensor:
    u, _, vh = svd(x, full_matrices=False)
    return (u * row(g)) @ vh


def _svdvals_jvp(ts: Tangents, s: Tensor, x: Tensor) -> Tensor:
    u, _, vh = svd(x, full_matrices=False)
    return _real_diagonal(hermitian(u) @ ts[0] @ hermitian(vh))


@primitive(name="svdvals", spec=_values_spec, adjoints=(_svdvals_adjoint,), jvp=_svdvals_jvp,
           batching=Leading())
def _svdvals(x: Array) -> Array:
    """f[..., n, m] -> f[..., min(n, m)]."""
    s: Array = lapack("svdvals", NO_SINGULAR_VALUES,
                      lambda a: np.linalg.svd(a, compute_uv=False), x)
    return s


def svdvals(x: TensorLike) -> Tensor:
    """The singular values of each matrix x, in descending order: f[..., n, m] -> f[..., min(n, m)].

    Raises: as svd().
    """
    return _svdvals(matrix("svdvals", x))
