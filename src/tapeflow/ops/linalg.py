"""Products of matrices."""
from __future__ import annotations

import numpy as np

from tapeflow.errors import DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.primitive import Kernel, bilinear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike


def _matmul_spec(a: Spec, b: Spec) -> Spec:
    if a.dtype != b.dtype:
        raise DTypeError("matmul", got=f"a {a}, b {b}", why="the dtypes differ",
                         fix="cast one of them: tf.cast(x, tf.float32)")
    if a.ndim < 2 or b.ndim < 2 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        raise ShapeError("matmul", got=f"a {a}, b {b}",
                         why=_mismatch(a, b), fix="transpose one, or check the layer's input size")
    return Spec((*a.shape[:-1], b.shape[-1]), a.dtype)


def _mismatch(a: Spec, b: Spec) -> str:
    if not a.ndim or not b.ndim:
        return "an input without axes is no matrix"
    rows = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != rows:
        return f"a has {a.shape[-1]} columns and b has {rows} rows"
    return "the leading axes do not broadcast together"


@bilinear(name="matmul", spec=_matmul_spec, lowering=Kernel("contraction"),
          adjoints=(lambda g, a, b: _matmul(g, _shape.matrix_transpose(b)),
                    lambda g, a, b: _matmul(_shape.matrix_transpose(a), g)))
def _matmul(a: Array, b: Array) -> Array:
    """f[..., n, k] @ f[..., k, m] -> f[..., n, m], with equal leading axes."""
    return np.matmul(a, b)


def matmul(a: TensorLike, b: TensorLike) -> Tensor:
    """The matrix product, batched over leading axes, which broadcast.

    Args:
        a: any[..., n, k], or a vector any[k].
        b: any[..., k, m], or a vector any[k].

    Returns: any[..., n, m]; without n where a is a vector, without m where b is one.
    Raises: ShapeError if the sizes do not fit, DTypeError if the dtypes do not promote.
    """
    a, b = coerce("matmul", a, b)
    if not a.ndim or not b.ndim:
        raise ShapeError("matmul", got=f"a {a.spec}, b {b.spec}", why=_mismatch(a.spec, b.spec),
                         fix="use * to scale")
    left, right = a.ndim == 1, b.ndim == 1
    x = _shape.expand_dims(a, 0) if left else a
    y = _shape.expand_dims(b, 1) if right else b
    if x.shape[:-2] != y.shape[:-2] and x.shape[-1] == y.shape[-2]:
        x, y = _together(a, b, x, y)
    product = _matmul(x, y)
    if left or right:
        axes = ((-2,) if left else ()) + ((-1,) if right else ())
        return _shape.squeeze(product, axes)
    return product


def _together(a: Tensor, b: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """x and y with their leading axes broadcast."""
    batch_x, batch_y = Spec(x.shape[:-2], x.dtype), Spec(y.shape[:-2], y.dtype)
    try:
        batch = np.broadcast_shapes(batch_x.shape, batch_y.shape)
    except ValueError:
        raise ShapeError("matmul", got=f"a {a.spec}, b {b.spec}", why=_mismatch(a.spec, b.spec),
                         fix="make the leading axes equal, or 1") from None
    return (_shape.broadcast_to(x, (*batch, *x.shape[-2:])),
            _shape.broadcast_to(y, (*batch, *y.shape[-2:])))
