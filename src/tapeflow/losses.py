"""Losses of a batch: the mean over its examples. `tf.nn` has cross entropies of each example.

Losses of float16 or bfloat16 are computed, and given, in float32.
"""
from __future__ import annotations

from tapeflow import ops
from tapeflow.errors import ShapeError
from tapeflow.ops import reduce
from tapeflow.tensor import Tensor, TensorLike, as_tensor

__all__ = ["huber", "mean_absolute_error", "mean_squared_error", "sigmoid_cross_entropy",
           "softmax_cross_entropy", "sparse_softmax_cross_entropy"]


def _differences(op: str, targets: TensorLike, predictions: TensorLike) -> Tensor:
    y, p = as_tensor(targets), as_tensor(predictions)
    if y.shape != p.shape:   # [n] and [n,1] would broadcast to [n,n], which is never meant
        raise ShapeError(op, got=f"targets {y.spec}, predictions {p.spec}", why="the shapes differ",
                         fix="reshape the targets: tf.reshape(y, predictions.shape)")
    return reduce.widened(ops.subtract(p, y))


def mean_squared_error(targets: TensorLike, predictions: TensorLike) -> Tensor:
    """The mean of (predictions - targets)², f[]. Raises: ShapeError if the shapes differ."""
    return ops.mean(ops.square(_differences("mean_squared_error", targets, predictions)))


def mean_absolute_error(targets: TensorLike, predictions: TensorLike) -> Tensor:
    """The mean of |predictions - targets|, f[]. Raises: ShapeError if the shapes differ."""
    return ops.mean(ops.abs(_differences("mean_absolute_error", targets, predictions)))


def huber(targets: TensorLike, predictions: TensorLike, delta: float = 1.0) -> Tensor:
    """The mean of d²/2, or beyond `delta` of delta (|d| - delta/2), where d is the difference.

    Raises: ShapeError if the shapes differ.
    Source: Huber (1964).
    """
    d = ops.abs(_differences("huber", targets, predictions))
    near = ops.minimum(d, delta)
    return ops.mean(near * (d - 0.5 * near))


def sparse_softmax_cross_entropy(labels: TensorLike, logits: TensorLike) -> Tensor:
    """The mean of -log softmax(logits)[label], f[]: labels int[n], logits f[n, classes]."""
    return ops.mean(ops.sparse_softmax_cross_entropy(labels, logits))


def softmax_cross_entropy(labels: TensorLike, logits: TensorLike) -> Tensor:
    """The mean of -sum(labels log softmax(logits)), f[]: both f[n, classes]."""
    return ops.mean(ops.softmax_cross_entropy(labels, logits))


def sigmoid_cross_entropy(labels: TensorLike, logits: TensorLike) -> Tensor:
    """The mean of -labels log p - (1 - labels) log(1 - p) with p = sigmoid(logits), f[]."""
    return ops.mean(ops.sigmoid_cross_entropy(labels, logits))
