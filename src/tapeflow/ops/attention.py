"""Attention: for each query a mean of values, weighted by how well their keys fit."""
from __future__ import annotations

import math

from tapeflow.dtypes import bool_, is_floating
from tapeflow.errors import DTypeError, ShapeError
from tapeflow.ops import create
from tapeflow.ops import shape as _shape
from tapeflow.ops.activation import softmax
from tapeflow.ops.elementwise import coerce, where
from tapeflow.ops.linalg import matmul
from tapeflow.ops.logic import logical_and
from tapeflow.primitive import require_floating
from tapeflow.tensor import Tensor, TensorLike, as_tensor

_OP = "scaled_dot_product_attention"
_LOW = -1e30   # beside it exp is 0; infinite, a row of it alone would become NaN
_LOW_HALF = -6e4


def scaled_dot_product_attention(query: TensorLike, key: TensorLike, value: TensorLike,
                                 mask: TensorLike | None = None, *, is_causal: bool = False,
                                 scale: float | None = None) -> Tensor:
    """softmax(query @ key.mT * scale) @ value, over the keys that each query may see.

    Args:
        query: f[..., n, d].
        key: f[..., m, d].
        value: f[..., m, k]; leading axes broadcast.
        mask: bool[..., n, m], true where a query may see a key; or f[..., n, m], which is added to
            the products.
        is_causal: whether query i sees the keys 0 to i only.
        scale: by default 1 / sqrt(d).

    Returns: f[..., n, k]; zeros for a query that sees no key by a bool mask.
    Raises: ShapeError if the sizes do not fit, DTypeError unless all are floating.
    Source: Vaswani et al. (2017), arXiv:1706.03762.
    """
    q, k, v = coerce(_OP, query, key, value)
    if v.ndim < 2 or k.ndim < 2 or k.shape[-2] != v.shape[-2]:
        raise ShapeError(_OP, got=f"key {k.spec}, value {v.spec}", why="each key needs a value",
                         fix="give key f[..., m, d] and value f[..., m, k]")
    weights = attention_weights(q, k, mask, is_causal=is_causal, scale=scale)
    return matmul(weights, v)


def attention_weights(query: TensorLike, key: TensorLike, mask: TensorLike | None = None, *,
                      is_causal: bool = False, scale: float | None = None) -> Tensor:
    """The weights of the mean that scaled_dot_product_attention is: f[..., n, m]."""
    q, k = coerce(_OP, query, key)
    require_floating(_OP, q.spec)
    if min(q.ndim, k.ndim) < 2 or q.shape[-1] != k.shape[-1]:
        raise ShapeError(_OP, got=f"query {q.spec}, key {k.spec}",
                         why="a key has the size of a query",
                         fix="give query f[..., n, d] and key f[..., m, d]")
    factor = 1.0 / math.sqrt(max(q.shape[-1], 1)) if scale is None else scale
    scores = matmul(q * factor, _shape.matrix_transpose(k))
    seen = _causal(*scores.shape[-2:]) if is_causal else None
    if mask is not None:
        given = as_tensor(mask, op=_OP)
        if is_floating(given.dtype):
            scores = scores + given
        elif given.dtype == bool_:
            seen = given if seen is None else logical_and(seen, given)
        else:
            raise DTypeError(_OP, got=f"mask {given.spec}", why="it is neither bool nor floating",
                             fix="compare it first, e.g. mask != 0")
    return softmax(scores) if seen is None else _softmax_of_seen(scores, seen)


def _causal(n: int, m: int) -> Tensor:
    """bool[n,m]: whether key j is not after query i."""
    rows, columns = create.arange(n), create.arange(m)
    return _shape.expand_dims(rows, 1) >= columns


def _softmax_of_seen(scores: Tensor, seen: Tensor) -> Tensor:
    low = _LOW_HALF if scores.dtype.itemsize == 2 else _LOW
    return where(seen, softmax(where(seen, scores, low)), 0.0)
