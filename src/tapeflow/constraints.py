"""Limits on weights, kept after each update. Each function gives `project(weights) -> Tensor`."""
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tapeflow import ops
from tapeflow.lookup import by_name
from tapeflow.tensor import Tensor, TensorLike

__all__ = ["Constraint", "get", "max_norm"]

Constraint: TypeAlias = Callable[[TensorLike], Tensor]


def max_norm(max_value: float = 2.0, axis: int | tuple[int, ...] = 0) -> Constraint:
    """Weights whose norm along `axis` is larger than `max_value` are scaled down to it.

    Axis 0 of a Dense kernel runs over the inputs of one unit; for filters HWIO give (0, 1, 2).
    Source: Srivastava et al. (2014), section 5.1.
    """
    def project(w: TensorLike) -> Tensor:
        return ops.clip_by_norm(w, max_value, axis)
    return project


_TABLE: dict[str, Callable[..., Constraint]] = {"max_norm": max_norm}


def get(given: str | Constraint | None, op: str = "constraints.get") -> Constraint | None:
    """The constraint that `given` names, or is; None for none.

    Raises: ArgumentError for an unknown name, or what is no function.
    """
    if given is None or callable(given):
        return given
    return by_name(op, "constraint", given, _TABLE)()
