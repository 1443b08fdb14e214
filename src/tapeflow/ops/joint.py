"""The kind of primitive that is linear in all its inputs together, however many they are."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tapeflow import dispatch
from tapeflow.ops import create
from tapeflow.primitive import (
    Batching,
    Definition,
    Lowering,
    Primitive,
    SpecRule,
    Tangents,
    register,
)
from tapeflow.tensor import Tensor


class _JointlyLinear(Primitive):
    """Has one rule for the cotangent of every input, as a table could not be of fixed length."""

    def __init__(self, array_fn: Callable[..., Any], spec: SpecRule, name: str,
                 adjoint: Callable[..., Tensor], lowering: Lowering | None,
                 batching: Batching | None) -> None:
        super().__init__(array_fn, spec, name=name, lowering=lowering, batching=batching)
        self._adjoint = adjoint

    def pull(self, gs: Any, ys: dispatch.Outputs, xs: tuple[Tensor, ...], attrs: Mapping[str, Any],
             wanted: Sequence[bool]) -> list[Tensor | None]:
        specs = tuple(x.spec for x in xs)
        return [self._adjoint(gs, i, specs, **attrs) if want else None
                for i, want in enumerate(wanted)]

    def push(self, ts: Tangents, ys: dispatch.Outputs, xs: tuple[Tensor, ...],
             attrs: Mapping[str, Any]) -> Any:
        filled = [create.zeros_like(x) if t is None else t for t, x in zip(ts, xs, strict=True)]
        return dispatch.apply(self, tuple(filled), attrs)


def jointly_linear(*, name: str, spec: SpecRule, adjoint: Callable[..., Tensor],
                   lowering: Lowering | None = None,
                   batching: Batching | None = None) -> Definition:
    """An op such as concat; `adjoint(g, i, specs, **attrs)` is the cotangent of input i."""
    return lambda fn: register(_JointlyLinear(fn, spec, name, adjoint, lowering, batching))
