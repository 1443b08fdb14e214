"""Penalties on weights, to be added to a loss. Each function here gives `penalty(weights)`, f[]."""
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tapeflow import ops
from tapeflow.lookup import by_name
from tapeflow.tensor import Tensor, TensorLike, as_tensor

__all__ = ["Regularizer", "get", "l1", "l1_l2", "l2"]

Regularizer: TypeAlias = Callable[[TensorLike], Tensor]


def l1(rate: float = 0.01) -> Regularizer:
    """`rate` times the sum of absolute values, which drives weights to zero."""
    return lambda w: rate * ops.sum(ops.abs(as_tensor(w)))


def l2(rate: float = 0.01) -> Regularizer:
    """`rate` times the sum of squares, which keeps weights small."""
    return lambda w: rate * ops.sum(ops.square(as_tensor(w)))


def l1_l2(l1: float = 0.01, l2: float = 0.01) -> Regularizer:
    """The sum of both penalties."""
    def penalty(w: TensorLike) -> Tensor:
        x = as_tensor(w)
        return l1 * ops.sum(ops.abs(x)) + l2 * ops.sum(ops.square(x))
    return penalty


_TABLE: dict[str, Callable[..., Regularizer]] = {f.__name__: f for f in (l1, l2, l1_l2)}


def get(given: str | Regularizer | None, op: str = "regularizers.get") -> Regularizer | None:
    """The regularizer that `given` names, or is; None for none.

    Raises: ArgumentError for an unknown name, or what is no function.
    """
    if given is None or callable(given):
        return given
    return by_name(op, "regularizer", given, _TABLE)()
