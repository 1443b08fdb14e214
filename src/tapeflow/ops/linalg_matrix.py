"""Matrices: what ops take for one, how they say that LAPACK failed, and what many rules need."""
from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import complex64, complex128, float32, float64, is_complex
from tapeflow.errors import DTypeError, LinAlgError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import conj
from tapeflow.ops.elementwise import where
from tapeflow.primitive import Leading, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

_LAPACK = (float32, float64, complex64, complex128)

# ---- what an op takes

def require_lapack(op: str, *specs: Spec) -> None:
    """Raise DTypeError unless all are of a dtype that LAPACK computes in."""
    if any(s.dtype not in _LAPACK for s in specs):
        raise DTypeError(op, got=", ".join(map(str, specs)),
                         why=f"{op} is defined for float32, float64, complex64 and complex128",
                         fix="cast the input: tf.cast(x, tf.float32)")


def matrix(op: str, x: TensorLike) -> Tensor:
    """x as f[..., n, m]. Raises: DTypeError or ShapeError in the name of `op` if it is not."""
    y = as_tensor(x, op=op)
    require_lapack(op, y.spec)
    require_matrix(op, y)
    return y


def require_matrix(op: str, x: Tensor) -> None:
    """Raise ShapeError in the name of `op` unless x has two axes or more."""
    if x.ndim < 2:
        raise ShapeError(op, got=x.spec, why="a matrix has two axes",
                         fix="use tf.expand_dims first")


def square(op: str, x: TensorLike) -> Tensor:
    """x as f[..., n, n]. Raises: DTypeError or ShapeError in the name of `op` if it is not."""
    y = matrix(op, x)
    require_square(op, y)
    return y


def require_square(op: str, x: Tensor) -> None:
    """Raise ShapeError in the name of `op` unless the matrices x are square."""
    require_matrix(op, x)
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError(op, got=x.spec, why="the matrix is not square",
                         fix="for least squares use tf.linalg.lstsq or tf.linalg.pinv")


# ---- what LAPACK refuses

@dataclass(frozen=True, slots=True)
class Failure:
    """Why an op refuses a matrix, what to do, and the function that shows which matrix it is."""

    why: str
    fix: str
    probe: Callable[[Array], Any]


def _no_zero_on_diagonal(a: Array) -> None:
    if not np.diagonal(a).all():
        raise np.linalg.LinAlgError


SINGULAR = Failure("is singular", "use tf.linalg.lstsq or tf.linalg.pinv, or add to the diagonal",
                   np.linalg.inv)
ZERO_ON_DIAGONAL = Failure("has a 0 on its diagonal", SINGULAR.fix, _no_zero_on_diagonal)
INDEFINITE = Failure("is not positive definite",
                     "add a little to the diagonal: a + 1e-6 * tf.eye(n)", np.linalg.cholesky)
NO_SINGULAR_VALUES = Failure("has no singular values that LAPACK finds", "scale the matrix",
                             lambda a: np.linalg.svd(a, compute_uv=False))
NO_EIGENVALUES = Failure("has no eigenvalues that LAPACK finds", "scale the matrix",
                         np.linalg.eigvals)


def lapack(op: str, failure: Failure, function: Callable[..., Any], *arrays: Array) -> Any:
    """`function` of the arrays, of which the first holds the matrices.

    Raises: LinAlgError in the name of `op` for the first matrix that it refuses.
    """
    try:
        return function(*arrays)
    except np.linalg.LinAlgError:
        raise _refused(op, failure, arrays[0]) from None


def _refused(op: str, failure: Failure, a: Array) -> LinAlgError:
    batch = a.shape[:-2]
    at = next((i for i in np.ndindex(batch) if _fails(failure, a[i])), None)
    where_it_is = f" at {list(at)}" if at else ""
    spec = dispatch.wrap(a).spec
    if at is not None and not np.isfinite(a[at]).all():
        return LinAlgError(op, got=f"{spec}, with NaN or infinity{where_it_is}",
                           why="an element of the matrix is not finite",
                           fix="find where it comes from: tf.isfinite(a)")
    return LinAlgError(op, got=spec, why=f"the matrix{where_it_is} {failure.why}", fix=failure.fix)


def _fails(failure: Failure, a: Array) -> bool:
    try:
        failure.probe(a)
    except np.linalg.LinAlgError:
        return True
    return False


# ---- what rules need

def same(x: Spec) -> Spec:
    """The type of an output that is that of the input."""
    return x


def identity(n: int, like: Tensor) -> Tensor:
    """The identity matrix of size n, in the dtype of `like`."""
    return dispatch.wrap(np.eye(n, dtype=like.dtype))


def hermitian(x: Tensor) -> Tensor:
    """The conjugate transpose of the matrices x."""
    return _conjugate(x.mT)


def _conjugate(x: Tensor) -> Tensor:
    return conj(x) if is_complex(x.dtype) else x


def of_literature(rule: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The adjoint `rule(gs, ys, *xs, **attrs)` as the literature has it for tapeflow: there
    cotangents are the conjugates of ours (docs/complex.md)."""
    @functools.wraps(rule)
    def adjoint(gs: Any, ys: Any, *xs: Tensor, **attrs: Any) -> Tensor:
        if isinstance(gs, Tensor):
            theirs: Any = _conjugate(gs)
        else:
            theirs = tuple(None if g is None else _conjugate(g) for g in gs)
        return _conjugate(rule(theirs, ys, *xs, **attrs))
    return adjoint


@linear(name="symmetric", spec=same, adjoint=lambda g, x: symmetric(g), batching=Leading())
def _symmetric(x: Array) -> Array:
    """f[..., n, n] -> f[..., n, n]; it is its own adjoint, of complex matrices too."""
    y: Array = x + x.conj().swapaxes(-1, -2)
    y *= 0.5
    return y


def symmetric(x: Tensor) -> Tensor:
    """The Hermitian part of the matrices x, (x + its conjugate transpose) / 2."""
    return _symmetric(x)


def column(x: Tensor) -> Tensor:
    """x[..., n] as columns: [..., n, 1]."""
    return _shape.expand_dims(x, -1)


def row(x: Tensor) -> Tensor:
    """x[..., n] as rows: [..., 1, n]."""
    return _shape.expand_dims(x, -2)


def off_diagonal(x: Tensor) -> Tensor:
    """The square matrices x with zeros on the diagonal, and no derivative there."""
    return where(dispatch.wrap(np.eye(x.shape[-1], dtype=bool)), 0.0, x)
