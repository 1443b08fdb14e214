"""Along which axes the examples of tf.vmap lie, in trees of arguments and results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tapeflow import arguments
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import shape
from tapeflow.ops.movement import moveaxis
from tapeflow.tensor import Tensor, as_tensor
from tapeflow.tree import LEAF, Structure, flatten, paths

Axes = list[int | None]


def spread(name: str, axes: Any, tree: Any) -> Axes:
    """The axis for each leaf of `tree`: one that is given for a part of it is that of all in it.

    A leaf that is None has none.
    Raises: ArgumentError unless `axes` has the structure of `tree`, as far as it goes.
    """
    leaves, structure = flatten(tree)
    given, form = flatten(axes)
    found = _spread(name, iter(given), form, structure)
    return [None if x is None else a for x, a in zip(leaves, found, strict=True)]


def _spread(name: str, given: Iterator[Any], form: Structure, structure: Structure) -> Axes:
    if form == LEAF:
        return [_axis(name, next(given))] * len(paths(structure))
    _, keys, parts = form
    _, their_keys, theirs = (None, (), ()) if structure == LEAF else structure
    if keys != their_keys or len(parts) != len(theirs):
        raise ArgumentError(
            "vmap",
            got=f"{name} with {len(parts)} axes for "
            + ("one tensor" if structure == LEAF else f"a tree of {len(theirs)}"),
            why=f"{name} and what it is for are of different structures",
            fix="give one axis for all, or a tree of axes in the structure of what they are for",
        )
    return [
        axis
        for part, child in zip(parts, theirs, strict=True)
        for axis in _spread(name, given, part, child)
    ]


def _axis(name: str, given: Any) -> int | None:
    wanted = "an axis, None, or a tree of them"
    return None if given is None else arguments.integer("vmap", name, given, wanted)


def sized(leaves: Sequence[Any], axes: Axes) -> int:
    """The number of examples, which lie along `axes` of the leaves.

    Raises: ArgumentError if none does, ShapeError if they differ, OutOfRangeError if there is no
        such axis.
    """
    xs = [(as_tensor(x, op="vmap"), a) for x, a in zip(leaves, axes, strict=True) if a is not None]
    sizes = {x.shape[shape.normalize_axis("vmap", a, x.ndim)] for x, a in xs}
    if not sizes:
        raise ArgumentError(
            "vmap",
            got=f"in_axes None for all of {len(leaves)} arguments",
            why="there are no examples to run over",
            fix="give at least one argument an axis, e.g. in_axes=0",
        )
    if len(sizes) > 1:
        raise ShapeError(
            "vmap",
            got=", ".join(f"{x.spec} along axis {a}" for x, a in xs),
            why="the numbers of examples differ",
            fix="check in_axes; None is for what all examples share",
        )
    return sizes.pop()


def placed(x: Any, source: int, target: int) -> Tensor:
    """`x` with the axis `source` moved to `target`, as a tensor of its own.

    Raises: OutOfRangeError if there is no such axis.
    """
    y = as_tensor(x, op="vmap")
    first, last = (shape.normalize_axis("vmap", a, y.ndim) for a in (source, target))
    return moveaxis(y, first, last)
