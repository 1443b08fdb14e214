"""Both modes of differentiation over the records of a body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tapeflow import ops
from tapeflow.autodiff.forward import ForwardAccumulator
from tapeflow.autodiff.reverse import pullback
from tapeflow.dispatch import Record
from tapeflow.primitive import total
from tapeflow.tensor import Tensor


def pulled(
    records: Sequence[Record],
    arriving: Iterable[tuple[Tensor | None, Tensor | None]],
    sources: Sequence[Sequence[Tensor]],
) -> list[Tensor | None]:
    """The cotangent of each source, which several tensors may stand for, from targets and theirs;
    None where nothing arrives."""
    pairs = [(y, g) for y, g in arriving if y is not None and g is not None]
    every = [x for xs in sources for x in xs]
    found = iter(pullback(records, [y for y, _ in pairs], [g for _, g in pairs], every))
    return [total([next(found) for _ in xs]) for xs in sources]


def pushed(
    records: Sequence[Record],
    leaving: Iterable[tuple[Sequence[Tensor], Tensor | None]],
    targets: Iterable[Tensor | None],
) -> list[Tensor | None]:
    """The tangent of each target, from sources and theirs; None where it is zero."""
    pairs = [(x, t) for xs, t in leaving if t is not None for x in xs]
    moved = ForwardAccumulator([x for x, _ in pairs], [t for _, t in pairs])
    for record in records:
        moved.record(record)
    return [None if y is None else moved.jvp(y) for y in targets]


def filled(x: Tensor | None, like: Tensor) -> Tensor:
    """`x`, or zeros like the other."""
    return ops.zeros(like.shape, like.dtype) if x is None else x
