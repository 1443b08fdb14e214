"""Forward mode: tangents pushed along with the values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapeflow import dispatch
from tapeflow.dispatch import Record
from tapeflow.tensor import Tensor


class ForwardAccumulator:
    """Carries the tangents of `primals` through all that runs inside `with`."""

    def __init__(self, primals: Sequence[Tensor], tangents: Sequence[Tensor]) -> None:
        self._tangent = {id(x): t for x, t in zip(primals, tangents, strict=True)}
        self._alive: list[Any] = list(primals)  # ids stay valid while their tensors live
        self._put_off: list[Record] = []
        self._pending: set[int] = set()  # ids of what these gave
        dispatch.listen(self)

    def __enter__(self) -> ForwardAccumulator:
        dispatch.start(self)
        return self

    def __exit__(self, *exc: object) -> None:
        dispatch.stop(self)

    def accessed(self, variable: Any, value: Tensor) -> None:
        """Nothing to note: a value that was read has a tangent only if it was given as a primal."""

    def rebound(self, x: Tensor, old: Tensor) -> None:
        """`x` has no tangent until a record says which."""
        self._tangent.pop(id(x), None)

    def record(self, record: Record) -> None:
        """Push tangents through an op; one of a function that has a derivative of its own, only
        when what it gives is used by that: it may have none itself."""
        if dispatch.here.context.is_aside:
            self._put_off.append(record)
            self._pending.update(map(id, dispatch.as_tuple(record[3])))
        else:
            self._push(record)

    def _push(self, record: Record) -> None:
        prim, inputs, attrs, outputs = record
        tangents = list(map(self.jvp, inputs))
        if all(t is None for t in tangents):
            return
        with dispatch.paused(self):  # the tangent's own arithmetic must not be perturbed again
            pushed = prim.push(tangents, outputs, inputs, attrs)
        pairs = (
            zip(outputs, pushed, strict=True) if isinstance(outputs, tuple) else [(outputs, pushed)]
        )
        for y, t in pairs:
            if t is not None:
                self._tangent[id(y)] = t
                self._alive.append(y)

    def jvp(self, y: Tensor) -> Tensor | None:
        """The tangent of `y`; None where it does not depend on the primals."""
        if id(y) in self._pending:
            self._catch_up(y)
        return self._tangent.get(id(y))

    def _catch_up(self, y: Tensor) -> None:
        """Push through what was put off and `y` depends on."""
        wanted, chosen = {id(y)}, []
        for record in reversed(self._put_off):
            made = set(map(id, dispatch.as_tuple(record[3])))
            if not made.isdisjoint(wanted):
                chosen.append(record)
                wanted.update(map(id, record[1]))
                self._pending -= made
        for record in reversed(chosen):
            self._push(record)
