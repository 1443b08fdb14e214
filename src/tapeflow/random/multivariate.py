"""Vectors whose elements depend on each other."""

from __future__ import annotations

from typing import Any

from tapeflow import arguments, ops
from tapeflow.errors import ShapeError
from tapeflow.ops.linalg_factor import cholesky
from tapeflow.random.continuous import normal
from tapeflow.random.generator import Generator, known
from tapeflow.random.parameters import floating, operands
from tapeflow.tensor import Tensor, TensorLike, as_tensor


def multivariate_normal(
    shape: Any,
    mean: TensorLike,
    cov: TensorLike,
    dtype: Any = None,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed vectors: the mean, plus a Cholesky factor times standard numbers.

    Args:
        shape: of the vectors; the result is f[*shape, k].
        mean: f[..., k], whose leading axes broadcast to `shape`; gradients flow to it and to cov.
        cov: f[..., k, k], symmetric and positive definite.
        dtype: float32 or float64; by default that of mean and cov.

    Raises: ShapeError if mean and cov do not fit, LinAlgError if cov is not positive definite,
        DTypeError unless the dtype is floating.
    """
    op = "multivariate_normal"
    m, c, sizes = as_tensor(mean, op=op), as_tensor(cov, op=op), arguments.sizes(op, shape)
    if not m.ndim or c.shape[-2:] != 2 * m.shape[-1:]:
        raise ShapeError(
            op,
            got=f"mean {m.spec}, cov {c.spec}",
            why="they are not of one number of elements",
            fix="give mean f[..., k] and cov f[..., k, k]",
        )
    chosen = floating(op, dtype, m, c)
    factor = cholesky(ops.cast(c, chosen))
    operands(op, (*sizes, m.shape[-1]), mean=m)
    operands(op, (*sizes, *factor.shape[-2:]), cov=factor)
    m = ops.cast(m, chosen)
    z = normal((*sizes, m.shape[-1]), dtype=chosen, generator=known(op, generator))
    if factor.ndim == 2:
        return m + ops.matmul(z, factor.mT)
    return m + ops.squeeze(ops.matmul(factor, ops.expand_dims(z, -1)), -1)
