"""What NumPy's linear algebra lacks: triangular systems, the factors of LU, the exponential.

Arrays of matrices in, arrays of matrices out, over any leading axes, in the dtype of the input. All
heavy work is done by NumPy's products; what is left of a block is done by loops that are compiled
when first used, for complex numbers by NumPy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeflow_kernels.cpu import loops

Array = NDArray[Any]

_BLOCK = 64  # rows of a triangular system that are solved at once
_PANEL = 32  # columns that are eliminated one by one


def solve_triangular(a: Array, b: Array, lower: bool) -> Array:
    """x with a @ x = b, where a is triangular: its other triangle is not read.

    Args:
        a: [..., n, n].
        b: [..., n, k]; leading axes broadcast.

    Raises: numpy.linalg.LinAlgError if a 0 stands on the diagonal.
    """
    n, k = b.shape[-2:]
    if not a.diagonal(axis1=-2, axis2=-1).all():
        raise np.linalg.LinAlgError("Singular matrix")
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = np.broadcast_to(a, (*batch, n, n)).reshape(math.prod(batch), n, n)
    x = np.array(np.broadcast_to(b, (*batch, n, k)), order="C")
    rows = x.reshape(math.prod(batch), n, k)
    step = _BLOCK if k > 1 else 4 * _BLOCK
    starts = range(0, n, step)
    for start in starts if lower else reversed(starts):
        stop = min(start + step, n)
        known = slice(start) if lower else slice(stop, None)
        block = rows[:, start:stop]
        if start if lower else stop < n:
            block -= a[:, start:stop, known] @ rows[:, known]
        _substitute(a[:, start:stop, start:stop], block, lower)
    return x


def _substitute(a: Array, x: Array, lower: bool) -> None:
    """Replace [b, n, k] by the solution for triangles [b, n, n]; if complex by LAPACK's general
    solver, which exchanges no rows of an upper triangular matrix: that is its own factor U."""
    by_lapack = a.dtype.kind == "c"
    if lower == by_lapack:  # in reverse order an upper triangle is a lower one, and the other way
        a, x = a[:, ::-1, ::-1], x[:, ::-1]
    if by_lapack:
        x[...] = np.linalg.solve(np.triu(a), x)
        return
    strides = [s // x.itemsize for s in (*a.strides, *x.strides[:2])]
    count, n, k = x.shape
    if k == 1:
        _loop("substitute_one", a.dtype.char)(count, n, *strides, id(a), id(x))
    else:
        _loop("substitute", a.dtype.char)(count, n, k, *strides, id(a), id(x))


def lu(a: Array) -> tuple[Array, Array, Array]:
    """(l, u, order) with a[order] = l @ u: rows exchanged so that no element of l exceeds 1.

    Args:
        a: [..., m, n].

    Returns: l [..., m, k] with a unit diagonal, u [..., k, n], int64 [..., m], where k = min(m, n).
    Source: Golub & Van Loan, Matrix Computations (2013), algorithm 3.4.1, right-looking, by blocks.
    """
    *batch, m, n = a.shape
    k = min(m, n)
    work = np.array(a.reshape(math.prod(batch), m, n), order="C")
    order = np.tile(np.arange(m), (len(work), 1))
    for start in range(0, k, _PANEL):
        stop = min(start + _PANEL, k)
        panel = work[:, start:, start:stop].copy()
        _eliminate(panel, work, order)
        work[:, start:, start:stop] = panel
        block, one = panel[:, : stop - start], np.arange(stop - start)
        block[:, one, one] = 1
        above = work[:, start:stop, stop:]
        _substitute(block, above, lower=True)
        work[:, stop:, stop:] -= panel[:, stop - start :] @ above
    lower = np.tril(work[:, :, :k], -1) + np.eye(m, k, dtype=a.dtype)
    upper = np.triu(work[:, :k])
    return (
        lower.reshape(*batch, m, k),
        upper.reshape(*batch, k, n),
        order.reshape(*batch, m),
    )


def _eliminate(panel: Array, work: Array, order: Array) -> None:
    """Replace [b, m, k] by its factors, l below the diagonal. As its rows are exchanged, so are the
    last m of work [b, ..., n] and of order [b, ...]."""
    count, m, k = panel.shape
    done, n = order.shape[1] - m, work.shape[2]
    if panel.dtype.kind != "c":
        loop = _loop("eliminate", panel.dtype.char)
        loop(count, m, k, n, done, id(panel), id(work), id(order))
        return
    each = np.arange(count)
    for j in range(min(m, k)):
        at = j + np.abs(panel[:, j:, j]).argmax(1)
        for rows in (panel, work[:, done:], order[:, done:]):
            rows[each, j], rows[each, at] = rows[each, at], rows[each, j]
        pivot = panel[:, j, j, None]
        panel[:, j + 1 :, j] /= np.where(pivot == 0, 1, pivot)  # all below a pivot of 0 is 0
        panel[:, j + 1 :, j + 1 :] -= panel[:, j + 1 :, j, None] * panel[:, j, None, j + 1 :]


_SIZES = {"substitute": 8, "substitute_one": 7, "eliminate": 5}  # before the arrays


@functools.cache
def _loop(name: str, char: str) -> Callable[..., None]:
    """A loop of `dense_loops`, for float32 or float64 by the letter."""
    own = np.dtype(char).name
    dtypes = [own, own, *["int64"] * (name == "eliminate")]
    return loops.written("dense_loops", name, _SIZES[name], dtypes)


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
