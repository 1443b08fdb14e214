"""What NumPy's linear algebra lacks: triangular systems, the factors of LU, the exponential.

Arrays of matrices in, arrays of matrices out, over any leading axes, in the dtype of the input. All
heavy work is done by NumPy's products and its LAPACK; Python loops over blocks of columns only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_BLOCK = 64  # rows of a triangular system that LAPACK solves at once
_PANEL = 32  # columns that are eliminated one by one


def solve_triangular(a: Array, b: Array, lower: bool) -> Array:
    """x with a @ x = b, where a is triangular: its other triangle is not read.

    Args:
        a: [..., n, n].
        b: [..., n, k]; leading axes broadcast.

    Raises: numpy.linalg.LinAlgError if a 0 stands on the diagonal.
    """
    n = a.shape[-1]
    if n <= _BLOCK:
        return _substituted(a, b, lower)
    half = n // 2
    first, last = slice(None, half), slice(half, None)
    if not lower:
        first, last = last, first
    x = solve_triangular(a[..., first, first], b[..., first, :], lower)
    rest = b[..., last, :] - a[..., last, first] @ x
    y = solve_triangular(a[..., last, last], rest, lower)
    return np.concatenate((x, y) if lower else (y, x), -2)


def _substituted(a: Array, b: Array, lower: bool) -> Array:
    """The solution by LAPACK's general solver: it exchanges no rows of an upper triangular matrix,
    which is its own factor U, and then substitutes back."""
    if lower:  # with rows and columns in reverse order it is an upper one
        backwards = np.linalg.solve(np.triu(a[..., ::-1, ::-1]), b[..., ::-1, :])
        return backwards[..., ::-1, :]
    return np.linalg.solve(np.triu(a), b)


def lu(a: Array) -> tuple[Array, Array, Array]:
    """(l, u, order) with a[order] = l @ u: rows exchanged so that no element of l exceeds 1.

    Args:
        a: [..., m, n].

    Returns: l [..., m, k] with a unit diagonal, u [..., k, n], int64 [..., m], where k = min(m, n).
    Source: Golub & Van Loan, Matrix Computations (2013), algorithm 3.4.1, right-looking, by blocks.
    """
    *batch, m, n = a.shape
    k = min(m, n)
    work = np.array(a.reshape(math.prod(batch), m, n))
    order = np.tile(np.arange(m), (len(work), 1))
    for start in range(0, k, _PANEL):
        stop = min(start + _PANEL, k)
        rows = _eliminate(work[:, start:, start:stop])
        order[:, start:] = np.take_along_axis(order[:, start:], rows, 1)
        for others in (work[:, start:, :start], work[:, start:, stop:]):
            others[...] = np.take_along_axis(others, rows[:, :, None], 1)
        block = np.tril(work[:, start:stop, start:stop], -1) + np.eye(stop - start, dtype=a.dtype)
        above = work[:, start:stop, stop:]
        above[...] = solve_triangular(block, above, lower=True)
        work[:, stop:, stop:] -= work[:, stop:, start:stop] @ above
    lower = np.tril(work[:, :, :k], -1) + np.eye(m, k, dtype=a.dtype)
    upper = np.triu(work[:, :k])
    return (
        lower.reshape(*batch, m, k),
        upper.reshape(*batch, k, n),
        order.reshape(*batch, m),
    )


def _eliminate(panel: Array) -> Array:
    """Replace [b, m, k] by its factors, l below the diagonal; gives the order of its rows."""
    count, m, k = panel.shape
    each = np.arange(count)
    order = np.tile(np.arange(m), (count, 1))
    for j in range(min(m, k)):
        at = j + np.abs(panel[:, j:, j]).argmax(1)
        for rows in (panel, order):
            rows[each, j], rows[each, at] = rows[each, at], rows[each, j]
        pivot = panel[:, j, j, None]
        panel[:, j + 1 :, j] /= np.where(pivot == 0, 1, pivot)  # all below a pivot of 0 is 0
        panel[:, j + 1 :, j + 1 :] -= panel[:, j + 1 :, j, None] * panel[:, j, None, j + 1 :]
    return order


# of the numerator of the [13/13] Padé approximant of exp, as multiples of the first
_PADE = (
    64764752532480000, 32382376266240000, 7771770303897600, 1187353796428800, 129060195264000,
    10559470521600, 670442572800, 33522128640, 1323241920, 40840800, 960960, 16380, 182, 1,
)  # fmt: skip
_REACH = 5.371920351148152  # the 1-norm up to which its error is below the rounding of float64


def expm(a: Array) -> Array:
    """The exponential of each matrix [..., n, n]; NaN where an element is not finite.

    Source: Higham (2005), "The scaling and squaring method for the matrix exponential revisited",
        SIAM J. Matrix Anal. Appl. 26(4), table 2.3 and algorithm 2.3 with m = 13.
    """
    norm = np.abs(a).sum(-2).max(-1, initial=0)[..., None, None]
    is_finite = np.isfinite(norm)
    times = np.ceil(np.log2(np.where(is_finite & (norm > _REACH), norm / _REACH, 1))).astype(int)
    y = _pade(np.where(is_finite, a, 0) * np.exp2(-times).astype(norm.dtype))
    for done in range(int(times.max(initial=0))):
        y = np.where(done < times, y @ y, y)
    return np.where(is_finite, y, np.nan).astype(a.dtype, copy=False)


def _pade(a: Array) -> Array:
    c = [n / _PADE[0] for n in _PADE]
    one = np.eye(a.shape[-1], dtype=a.dtype)
    a2 = a @ a
    a4 = a2 @ a2
    a6 = a4 @ a2
    odd = a6 @ (c[13] * a6 + c[11] * a4 + c[9] * a2)
    odd = a @ (odd + c[7] * a6 + c[5] * a4 + c[3] * a2 + c[1] * one)
    even = a6 @ (c[12] * a6 + c[10] * a4 + c[8] * a2)
    even = even + c[6] * a6 + c[4] * a4 + c[2] * a2 + one
    return np.linalg.solve(even - odd, even + odd)
