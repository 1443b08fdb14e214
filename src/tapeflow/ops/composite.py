"""The kind for functions of several ops that have one derivative, shorter than the chain rule's."""
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tapeflow import dispatch
from tapeflow.primitive import Adjoint, Primitive, SpecRule
from tapeflow.tensor import Tensor


def composite(*adjoints: Adjoint | None, jvp: Callable[..., Tensor | None],
              arrays: Callable[..., Any] | None = None, spec: SpecRule | None = None,
              ) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Graphs hold the ops that the function is made of; tapes hold it as one step.

    `adjoints[i](g, y, *xs, **attrs)` and `jvp(tangents, y, *xs, **attrs)`, as for a primitive.
    `arrays(*xs, **attrs)`, with the shape rule `spec`, is what eager code runs in place of these
    ops where one function of arrays is faster; without it, it runs the ops.
    """
    def define(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
        step = _Step(fn, adjoints, jvp, arrays, spec)

        @functools.wraps(fn)
        def call(*xs: Tensor, **attrs: Any) -> Tensor:
            if arrays is not None and dispatch.here.context.tracer is None:
                return step(*xs, **attrs)
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
                 jvp: Callable[..., Any], arrays: Callable[..., Any] | None,
                 spec: SpecRule | None) -> None:
        super().__init__(arrays or fn, spec or self._no_spec, name=fn.__name__.strip("_"),
                         adjoints=adjoints, jvp=jvp)

    @staticmethod
    def _no_spec(*_: Any, **__: Any) -> Any:
        raise AssertionError("a composite is no node of a graph")
