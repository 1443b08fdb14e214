"""The kind for functions of several ops that have one derivative, shorter than the chain rule's."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tapeflow import dispatch
from tapeflow.primitive import Adjoint, Primitive
from tapeflow.tensor import Tensor


def composite(*adjoints: Adjoint | None, jvp: Callable[..., Tensor | None]
              ) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Graphs hold the ops that the function is made of; tapes hold it as one step.

    `adjoints[i](g, y, *xs, **attrs)` and `jvp(tangents, y, *xs, **attrs)`, as for a primitive.
    """
    def define(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
        step = _Step(fn, adjoints, jvp)

        @functools.wraps(fn)
        def call(*xs: Tensor, **attrs: Any) -> Tensor:
            if not dispatch.is_heard():
                return fn(*xs, **attrs)
            with dispatch.muted():
                y = fn(*xs, **attrs)
            dispatch.tell((step, xs, attrs, y))
            return y
        return call
    return define


class _Step(Primitive):
    """What a tape keeps of a composite; graphs never hold one."""

    def __init__(self, fn: Callable[..., Tensor], adjoints: Sequence[Adjoint | None],
                 jvp: Callable[..., Any]) -> None:
        super().__init__(fn, self._no_spec, adjoints=adjoints, jvp=jvp)

    @staticmethod
    def _no_spec(*_: Any, **__: Any) -> Any:
        raise AssertionError("a composite is no node of a graph")
