"""Eigenvalues and eigenvectors of matrices that need not be Hermitian; complex always.

Source of the derivatives: Giles (2008), section 3.1, for eigenvectors of any length and phase; what
LAPACK makes of these is differentiated as it is: unit length, the largest element real.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import complex_of, is_complex
from tapeflow.ops import reduce, sorting
from tapeflow.ops.arithmetic import abs_
from tapeflow.ops.casts import conj, imag, real
from tapeflow.ops.gather import one_hot
from tapeflow.ops.linalg_diagonal import diagonal_matrix, matrix_diagonal
from tapeflow.ops.linalg_matrix import (
    NO_EIGENVALUES,
    hermitian,
    lapack,
    of_literature,
    square,
)
from tapeflow.ops.linalg_solve import solve
from tapeflow.ops.linalg_spectral import gaps
from tapeflow.primitive import Leading, Tangents, primitive
from tapeflow.tensor import Array, Spec, Tensor, TensorLike


class EigResult(NamedTuple):
    """Eigenvalues, and the eigenvectors in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


def _values_spec(x: Spec) -> Spec:
    return Spec(x.shape[:-1], complex_of(x.dtype))


def _eig_spec(x: Spec) -> tuple[Spec, Spec]:
    return _values_spec(x), Spec(x.shape, complex_of(x.dtype))


def _largest(v: Tensor) -> Tensor:
    """1 at the largest element of each column, which is real, and 0 elsewhere."""
    if not v.shape[-1]:
        return v
    return one_hot(sorting.argmax(abs_(v), axis=-2), v.shape[-2], v.dtype, axis=-2)


def _along_columns(x: Tensor) -> Tensor:
    return reduce.sum(x, axis=-2, keepdims=True)


def _back(v: Tensor, inner: Tensor, x: Tensor) -> Tensor:
    """The cotangent of x from that of the change in the basis of its eigenvectors v."""
    g = solve(hermitian(v), inner @ hermitian(v))
    return g if is_complex(x.dtype) else real(g)


@of_literature
def _eig_adjoint(gs: Sequence[Tensor | None], ys: tuple[Tensor, ...], x: Tensor) -> Tensor:
    (g, h), (w, v) = gs, ys
    if h is None:
        assert g is not None
        return _back(v, diagonal_matrix(g), x)
    top = _largest(v)
    along = _along_columns(conj(v) * h)   # what the length and the phase of each vector take away
    free = h - real(along) * v - 1j * imag(along) / _along_columns(top * v) * top
    inner = conj(gaps(w)) * (hermitian(v) @ free)
    return _back(v, inner if g is None else inner + diagonal_matrix(g), x)


def _eig_jvp(ts: Tangents, ys: tuple[Tensor, ...], x: Tensor) -> tuple[Tensor, Tensor]:
    (t,), (w, v) = ts, ys
    assert t is not None
    inner = solve(v, t @ v)
    free, top = v @ (gaps(w) * inner), _largest(v)
    length = real(_along_columns(conj(v) * free))
    phase = imag(_along_columns(top * free)) / _along_columns(top * v)
    return matrix_diagonal(inner), free - v * (length + 1j * phase)


@primitive(name="eig", spec=_eig_spec, multiple=True, adjoints=(_eig_adjoint,), jvp=_eig_jvp,
           batching=Leading())
def _eig(x: Array) -> tuple[Array, Array]:
    """f[..., n, n] -> complex f[..., n], complex f[..., n, n]."""
    w, v = lapack("eig", NO_EIGENVALUES, np.linalg.eig, x)
    dtype = complex_of(x.dtype)   # NumPy's are real where none is complex
    return w.astype(dtype, copy=False), v.astype(dtype, copy=False)


def eig(x: TensorLike) -> EigResult:
    """The eigenvalues of each matrix x, in any order, and its eigenvectors in columns.

    x: f[..., n, n].
    Returns: complex f[..., n] and complex f[..., n, n], also where all are real. The vectors are of
        length 1, their largest element is real, and their derivative is infinite or NaN where
        eigenvalues are equal.
    Raises: ShapeError unless x is square, DTypeError unless its dtype is one of LAPACK's,
        LinAlgError where an element is not finite.
    """
    return EigResult(*dispatch.apply(_eig, (square("eig", x),)))


def _vectors(x: Tensor) -> Tensor:
    v: Tensor = dispatch.apply(_eig, (x,))[1]
    return v


@of_literature
def _eigvals_adjoint(g: Tensor, w: Tensor, x: Tensor) -> Tensor:
    return _back(_vectors(x), diagonal_matrix(g), x)


def _eigvals_jvp(ts: Tangents, w: Tensor, x: Tensor) -> Tensor:
    v = _vectors(x)
    assert ts[0] is not None
    return matrix_diagonal(solve(v, ts[0] @ v))


@primitive(name="eigvals", spec=_values_spec, adjoints=(_eigvals_adjoint,), jvp=_eigvals_jvp,
           batching=Leading())
def _eigvals(x: Array) -> Array:
    """f[..., n, n] -> complex f[..., n]."""
    w: Array = lapack("eigvals", NO_EIGENVALUES, np.linalg.eigvals, x)
    return w.astype(complex_of(x.dtype), copy=False)


def eigvals(x: TensorLike) -> Tensor:
    """The eigenvalues of each matrix x, in any order: f[..., n, n] -> complex f[..., n].

    Raises: as eig().
    """
    return _eigvals(square("eigvals", x))
