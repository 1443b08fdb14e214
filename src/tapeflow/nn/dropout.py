"""Dropout as a function; the layer is in layers.py."""
from __future__ import annotations

from tapeflow import arguments, ops, random
from tapeflow.primitive import require_floating
from tapeflow.tensor import Tensor, TensorLike, as_tensor

SHARE = "it is the share that is dropped"


def dropout(x: TensorLike, rate: float, generator: random.Generator | None = None) -> Tensor:
    """x with each element 0 with probability `rate`, and the others scaled by 1 / (1 - rate).

    Raises: ArgumentError unless 0 <= rate < 1, DTypeError unless x is floating.
    Source: Srivastava et al. (2014).
    """
    x = as_tensor(x, op="dropout")
    require_floating("dropout", x.spec)
    arguments.fraction("dropout", "rate", rate, why=SHARE)
    kept = random.uniform(x.shape, dtype=x.dtype, generator=generator) >= rate
    return ops.where(kept, x / (1.0 - rate), 0.0)
