"""Rows of the operations on matrices for complex numbers, and of those that give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.linalg as sl

import tapeflow as tf
from linalg_cases import NOT_SQUARE, on
from op_case import Case
from tapeflow.ops.linalg_det import _cofactor_slope, _cofactors

SQUARE = ((3, 3), (2, 2, 2), (0, 0))


def _complex(x: Any) -> Any:
    """The same matrices with imaginary parts."""
    return x + 1j * np.random.default_rng(1).uniform(-2.0, 2.0, x.shape)


def _regular(x: Any) -> Any:
    return _complex(x) + 5.0 * np.eye(x.shape[-1])


def _definite(x: Any) -> Any:
    z = _complex(x)
    return z @ z.conj().mT + np.eye(x.shape[-1])


def _spread(x: Any) -> Any:
    n, m = x.shape[-2:]
    return 0.3 * _complex(x) + np.eye(n, m) * np.arange(1.0, m + 1)


def _hermitian(z: Any) -> Any:
    return (z + z.conj().mT) / 2


def rows(
    prepare: Callable[[Any], Any],
    fn: Any,
    ref: Any,
    shapes: Sequence[tuple[int, ...]] = SQUARE,
    **kwargs: Any,
) -> list[Case]:
    return on(prepare, fn, ref, shapes, (), **kwargs)


def _part(of: Any, i: int) -> Callable[..., Any]:
    return lambda *xs, **kwargs: of(*xs, **kwargs)[i]


def _sizes(of: Any, i: int) -> Callable[..., Any]:
    """The magnitudes of one of the results, whose phases are any."""
    return lambda *xs, **kwargs: abs(of(*xs, **kwargs)[i])


def _plane(of: Any) -> Callable[..., Any]:
    """What the vectors of singular values span, which no phase changes."""

    def spanned(x: Any) -> Any:
        u, _, vh = of(x, full_matrices=False)
        return u[..., :1] @ vh[..., :1, :]

    return lambda x: spanned(x)


def _widened(of: Any) -> Callable[..., Any]:
    """What NumPy gives in real numbers where it can."""

    def complex_always(x: Any) -> Any:
        y = of(x)
        return y.astype(np.result_type(x.dtype, np.complex64))

    return complex_always


COMPLEX_LINALG = [
    *rows(_regular, tf.linalg.inv, np.linalg.inv),
    *rows(_regular, tf.linalg.det, np.linalg.det),
    *rows(_regular, _part(tf.linalg.slogdet, 0), _part(np.linalg.slogdet, 0)),
    *rows(_regular, _part(tf.linalg.slogdet, 1), _part(np.linalg.slogdet, 1)),
    *rows(_complex, tf.linalg.expm, lambda z: np.array([*map(sl.expm, z)]), ((2, 2, 2),)),
    *rows(_regular, tf.linalg.matrix_power, np.linalg.matrix_power, ((2, 2),), n=-2),
    *rows(_definite, tf.linalg.cholesky, lambda z: np.linalg.cholesky(_hermitian(z))),
    *rows(
        _definite,
        tf.linalg.cholesky,
        lambda z, upper: np.linalg.cholesky(_hermitian(z)).conj().mT,
        ((2, 2),),
        upper=True,
    ),
    *[
        case
        for i in (0, 1)
        for case in rows(
            _spread, _part(tf.linalg.qr, i), _part(np.linalg.qr, i), ((3, 2), (2, 3), (2, 2, 2))
        )
    ],
    *[
        case
        for i in (1, 2)
        for case in rows(
            _spread, _part(tf.linalg.lu, i), _part(sl.lu, i), ((3, 2), (2, 3), (3, 3))
        )
    ],
    *rows(_spread, tf.linalg.eigvalsh, lambda z: np.linalg.eigvalsh(_hermitian(z))),
    *rows(
        _spread,
        _sizes(tf.linalg.eigh, 1),
        _sizes(lambda z: np.linalg.eigh(_hermitian(z)), 1),
    ),
    *rows(_spread, tf.linalg.svdvals, np.linalg.svdvals, ((3, 2), (2, 3))),
    *rows(_spread, _plane(tf.linalg.svd), _plane(np.linalg.svd), ((3, 2), (2, 3), (2, 2, 2))),
    *[
        case
        for i in range(3)
        for case in rows(
            _spread,
            _sizes(tf.linalg.svd, i),
            _sizes(np.linalg.svd, i),
            ((3, 2), (2, 3)),
            full_matrices=False,
        )
    ],
    *rows(_spread, tf.linalg.pinv, np.linalg.pinv, ((3, 2), (2, 3))),
    *[
        Case(_part(tf.linalg.lstsq, i), _part(np.linalg.lstsq, i), ["c[4,2]", "c[4]"])
        for i in (0, 1)
    ],
    Case(tf.linalg.solve, np.linalg.solve, [_regular(np.ones((3, 3))), "c[3,2]"]),
    Case(tf.linalg.solve, np.linalg.solve, [4.0 * np.eye(2), "c[2]"]),
    Case(
        lambda a, b: tf.linalg.triangular_solve(a, b, adjoint=True),
        lambda a, b: np.linalg.solve(np.tril(a).conj().mT, b),
        [_regular(np.ones((3, 3))), "c[3]"],
    ),
    Case(lambda z: _cofactors(z), lambda z: np.linalg.det(z) * np.linalg.inv(z).T, ["c[3,3]"]),
    Case(
        lambda z, e: _cofactor_slope(z, e),
        lambda z, e: (
            np.linalg.det(z)
            * (
                np.trace(np.linalg.inv(z) @ e) * np.linalg.inv(z)
                - np.linalg.inv(z) @ e @ np.linalg.inv(z)
            ).T
        ),
        ["c[2,2]", "c[2,2]"],
    ),
    *[
        Case(tf.linalg.vector_norm, np.linalg.vector_norm, ["c[2,3]"], {"ord": ord, "axis": 1})
        for ord in (2, 1, 3, -1, np.inf)
    ],
    Case(tf.linalg.vector_norm, np.linalg.vector_norm, ["c[3]"], {"ord": 0}, smooth=False),
    *[
        Case(tf.linalg.matrix_norm, np.linalg.matrix_norm, ["c[2,3]"], {"ord": ord})
        for ord in ("fro", "nuc", 1, 2, -np.inf)
    ],
    Case(tf.trace, np.trace, ["c[3,3]"]),
    Case(tf.diagonal, np.diagonal, ["c[3,2]"]),
    Case(tf.diag, np.diag, ["c[2]"]),
    Case(tf.kron, np.kron, ["c[2]", "f[2]"]),
    Case(tf.linalg.cross, np.linalg.cross, ["c[3]", "c[3]"]),
    Case(tf.block_diag, sl.block_diag, ["c[1,2]", "c[2,1]"]),
    *on(_spread, tf.linalg.eigvals, np.linalg.eigvals, SQUARE, NOT_SQUARE),
    *on(_spread, _part(tf.linalg.eig, 0), _part(np.linalg.eig, 0), SQUARE, NOT_SQUARE, "eig"),
    *rows(_spread, _part(tf.linalg.eig, 1), _part(np.linalg.eig, 1)),
    *[
        Case(fn, ref, [x])
        for x in (
            np.array([[1.0, 0.5, 0.2], [0.3, 2.0, -0.4], [0.1, 0.6, 4.0]]),  # real eigenvalues
            np.array([[1.0, 2.0, 0.2], [-1.5, 1.0, -0.4], [0.1, 0.6, 4.0]]),  # a pair and one
        )
        for fn, ref in [
            (tf.linalg.eigvals, _widened(np.linalg.eigvals)),
            (_part(tf.linalg.eig, 1), _widened(_part(np.linalg.eig, 1))),
        ]
    ],
]
