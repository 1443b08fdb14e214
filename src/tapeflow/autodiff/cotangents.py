"""What a backward pass starts from, and what its gradients become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from tapeflow import ops
from tapeflow.dispatch import Record, as_tuple
from tapeflow.dtypes import is_inexact
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import shape
from tapeflow.tensor import Tensor, as_tensor
from tapeflow.tree import flatten

Unconnected: TypeAlias = Literal["none", "zero"]


def differentiable(op: str, x: Tensor, records: Sequence[Record] = ()) -> None:
    """Raise DTypeError, which names what gave x, unless x is floating or complex."""
    if not is_inexact(x.dtype):
        made = (prim.name for prim, _, _, y in records if any(o is x for o in as_tuple(y)))
        blame = "".join(f": what {name} gives has no derivative" for name in made)
        raise DTypeError(
            op,
            got=x.spec,
            why=f"only floating tensors have gradients{blame}",
            fix="cast it before the tape: tf.cast(x, tf.float32)",
        )


def seeds(targets: Sequence[Tensor], output_gradients: Any) -> list[Tensor]:
    """The cotangents of targets: those given, in their dtypes; ones where there is none.

    Raises: ArgumentError unless there are as many as targets, ShapeError unless each has the shape
        of its target.
    """
    if output_gradients is None:
        return [ops.ones_like(y) for y in targets]
    given = flatten(output_gradients)[0]
    if len(given) != len(targets):
        raise ArgumentError(
            "gradient",
            got=f"{len(given)} output gradients for {len(targets)} targets",
            why="each target needs one",
            fix="give them in the structure of the target",
        )
    found = [
        ops.ones_like(y) if g is None else as_tensor(g) for y, g in zip(targets, given, strict=True)
    ]
    for y, g in zip(targets, found, strict=True):
        if y.shape != g.shape:
            raise ShapeError(
                "gradient",
                got=f"target {y.spec}, output gradient {g.spec}",
                why="an output gradient has the shape of its target",
                fix="broadcast it: tf.broadcast_to(g, target.shape)",
            )
    return [ops.cast(g, y.dtype) for y, g in zip(targets, found, strict=True)]


def basis(y: Tensor) -> Tensor:
    """One element of `y` after the other is 1, the others are 0: f[size, *y.shape]."""
    return ops.reshape(ops.eye(y.size, dtype=y.dtype), (y.size, *y.shape))


def apart(grads: Sequence[Tensor | None], given: Sequence[Tensor]) -> list[Tensor | None]:
    """The gradients as different objects: x[i] = v on one leaves the others and `given` alone."""
    seen = set(map(id, given))
    found: list[Tensor | None] = []
    for g in grads:
        found.append(shape.another(g) if g is not None and id(g) in seen else g)
        seen.add(id(g))
    return found


def filled(
    grads: Sequence[Tensor | None],
    leaves: Sequence[Any],
    unconnected: Unconnected,
    front: tuple[int, ...] = (),
) -> list[Tensor | None]:
    """The gradients, with zeros for what is unconnected where that is asked for.

    Raises: ArgumentError for another choice than "none" or "zero".
    """
    if unconnected not in ("none", "zero"):
        raise ArgumentError(
            "gradient",
            got=f"unconnected_gradients={unconnected!r}",
            why="there is no such choice",
            fix='use "none" or "zero"',
        )
    if unconnected == "none":
        return list(grads)
    return [
        ops.zeros((*front, *x.shape), x.dtype) if g is None else g
        for x, g in zip(leaves, grads, strict=True)
    ]
