"""Cross entropies from logits, one loss an example."""
from __future__ import annotations

import math

import numpy as np

from tapeflow.dtypes import int64
from tapeflow.errors import OutOfRangeError, ShapeError
from tapeflow.ops import create, reduce
from tapeflow.ops import shape as _shape
from tapeflow.ops.activation import greatest, log_softmax, softmax
from tapeflow.ops.casts import cast
from tapeflow.ops.composite import composite
from tapeflow.ops.elementwise import FLOATS, coerce, elementwise, where
from tapeflow.ops.places import require_integer
from tapeflow.ops.transcendental import exp, log, sigmoid
from tapeflow.primitive import Tangents, require_floating
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor
from tapeflow_kernels.cpu import elements, rows


def _is_label(labels: Tensor, logits: Tensor) -> Tensor:
    """bool[...,c]: which logit each label names."""
    return _shape.expand_dims(labels, -1) == create.arange(logits.shape[-1])


def _away(labels: Tensor, logits: Tensor) -> Tensor:
    """The derivative of the loss: softmax, less 1 at the label."""
    return softmax(logits) - cast(_is_label(labels, logits), logits.dtype)


def _sparse_jvp(ts: Tangents, y: Tensor, labels: Tensor, logits: Tensor) -> Tensor | None:
    return None if ts[1] is None else reduce.sum(ts[1] * _away(labels, logits), -1)


def _sparse_array(labels: Array, logits: Array) -> Array:
    found = rows.apply("log_softmax", logits, logits.ndim - 1)
    starts = np.arange(0, found.size, found.shape[-1]).reshape(labels.shape)
    y: Array = np.negative(found.take(starts + labels))
    return y


# compiled, exponentials and their sum are those of softmax in the derivative
@composite(None, lambda g, y, labels, logits: _shape.expand_dims(g, -1) * _away(labels, logits),
           jvp=_sparse_jvp, arrays=_sparse_array,
           spec=lambda labels, logits: Spec(labels.shape, logits.dtype))
def _sparse(labels: Tensor, logits: Tensor) -> Tensor:
    shifted = logits - greatest(logits, -1)
    own = reduce.max(where(_is_label(labels, logits), shifted, -math.inf), -1)
    return log(reduce.sum(exp(shifted), -1)) - own


def sparse_softmax_cross_entropy(labels: TensorLike, logits: TensorLike) -> Tensor:
    """-log softmax(logits)[label]: int[...], f[...,c] -> f[...].

    Compiled, the loss of a label that is not between 0 and c - 1 is infinite.
    Raises: OutOfRangeError for such a label in eager code; ShapeError unless there is one label
        for each row of logits, DTypeError unless labels are integers and logits floating.

    >>> sparse_softmax_cross_entropy([0], [[0.0, 0.0]])
    Tensor([0.6931472], f32[1])
    """
    labels = as_tensor(labels, op="sparse_softmax_cross_entropy")
    logits = as_tensor(logits, op="sparse_softmax_cross_entropy")
    require_integer("sparse_softmax_cross_entropy", labels.spec)
    require_floating("sparse_softmax_cross_entropy", logits.spec)
    if not logits.ndim or labels.shape != logits.shape[:-1] or not logits.shape[-1]:
        raise ShapeError("sparse_softmax_cross_entropy",
                         got=f"labels {labels.spec}, logits {logits.spec}",
                         why="there must be one label for each row of logits",
                         fix="give labels int[n] and logits f[n,c]; for one-hot labels use "
                             "softmax_cross_entropy")
    if not labels.is_traced:
        _check_labels(labels, logits.shape[-1])
    return _sparse(cast(labels, int64), reduce.widened(logits))


def _check_labels(labels: Tensor, classes: int) -> None:
    array = labels.value
    if array.size and not (array.min() >= 0 and array.max() < classes):
        raise OutOfRangeError("sparse_softmax_cross_entropy",
                              got=f"labels from {array.min()} to {array.max()}",
                              why=f"there are {classes} classes, so labels go from 0 to "
                                  f"{classes - 1}",
                              fix="mend the labels, or select the rows that have one")


def softmax_cross_entropy(labels: TensorLike, logits: TensorLike) -> Tensor:
    """-sum(labels log softmax(logits)) over the last axis: f[...,c], f[...,c] -> f[...].

    labels: the probability of each class, such as one-hot rows.
    Raises: ShapeError unless both have one shape.
    """
    y, x = _alike("softmax_cross_entropy", labels, logits)
    return -reduce.sum(y * log_softmax(x), -1)


# softplus(x) - x y, in a form with a limit where x is infinite and y is 0 or 1
_SIGMOID_CROSS_ENTROPY = ("(log1p(exp(-abs({x})))"
                          " + ({t}(0) if {t}({x} > 0) == {y} else {x} * ({t}({x} > 0) - {y})))")


@elementwise(_SIGMOID_CROSS_ENTROPY, lambda z, y, x: -x, lambda z, y, x: sigmoid(x) - y, of=FLOATS)
def _sigmoid_cross_entropy(y: Array, x: Array) -> Array:
    return elements.apply("sigmoid_cross_entropy", x, y, text=_SIGMOID_CROSS_ENTROPY)


def sigmoid_cross_entropy(labels: TensorLike, logits: TensorLike) -> Tensor:
    """-labels log sigmoid(logits) - (1 - labels) log(1 - sigmoid(logits)), element by element.

    Raises: ShapeError unless both have one shape.
    """
    y, x = _alike("sigmoid_cross_entropy", labels, logits)
    return _sigmoid_cross_entropy(y, x)


def _alike(op: str, labels: TensorLike, logits: TensorLike) -> list[Tensor]:
    y, x = coerce(op, labels, logits)
    require_floating(op, x.spec)
    if y.shape != x.shape:
        raise ShapeError(op, got=f"labels {y.spec}, logits {x.spec}", why="the shapes differ",
                         fix="give a label for each logit; for class numbers use "
                             "sparse_softmax_cross_entropy")
    return [reduce.widened(y), reduce.widened(x)]
