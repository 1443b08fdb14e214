"""Activations by name."""
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tapeflow import ops
from tapeflow.lookup import by_name
from tapeflow.tensor import Tensor, TensorLike, as_tensor

Activation: TypeAlias = Callable[[TensorLike], Tensor]

_NAMES = ("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "silu", "sigmoid", "tanh",
          "softplus", "softmax", "log_softmax", "exp")
_TABLE: dict[str, Activation] = {"linear": as_tensor,
                                 **{name: getattr(ops, name) for name in _NAMES}}


def get(given: str | Activation | None, op: str) -> Activation:
    """The activation that `given` names, or is; None gives x as it is.

    Raises: ArgumentError for an unknown name, or what is no function.
    """
    if callable(given):
        return given
    return by_name(op, "activation", "linear" if given is None else given, _TABLE)
