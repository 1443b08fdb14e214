"""How often numbers occur: each on its own, and in bins."""
from __future__ import annotations

from typing import NoReturn

import numpy as np

from tapeflow import arguments
from tapeflow.dtypes import float64, int64, is_floating
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import create, index, joining, movement, places, reduce, sorting
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast
from tapeflow.ops.elementwise import where
from tapeflow.tensor import Tensor, TensorLike, as_tensor


def bincount(x: TensorLike, weights: TensorLike | None = None, minlength: int = 0,
             length: int | None = None) -> Tensor:
    """How often each whole number occurs in a vector, or the sum of its weights there.

    Args:
        x: int[n], none negative.
        weights: any[n].
        minlength: the least size of the result, which ends with the largest number of x.
        length: its size, which must be given for a traced x.

    Returns: int64[m], or the dtype of the weights.
    Raises: ShapeError unless x is a vector, ArgumentError if a number is negative, OutOfRangeError
        if one is not below `length`.

    >>> bincount([0, 2, 2])
    Tensor([1, 0, 2], i64[3])
    """
    i = as_tensor(x, op="bincount")
    places.require_integer("bincount", i.spec)
    if i.ndim != 1:
        raise ShapeError("bincount", got=i.spec, why="the numbers are a vector",
                         fix="flatten them: tf.reshape(x, -1)")
    size = arguments.size("bincount", "minlength", minlength)
    if length is not None:
        size = arguments.size("bincount", "length", length)
    else:
        known = i.concrete("bincount")
        if known.size and known.min() < 0:
            raise ArgumentError("bincount", got=f"{known.min()}", why="it counts from 0 on",
                                fix="take the least number away first")
        size = max(size, int(known.max()) + 1 if known.size else 0)
    values = create.ones(i.shape, dtype=int64) if weights is None else as_tensor(
        weights, op="bincount")
    return places.add_at(values, i, axis=0, size=size, op="bincount")


def histogram(x: TensorLike, bins: int | TensorLike = 10,
              range: tuple[float, float] | None = None, weights: TensorLike | None = None,
              density: bool = False) -> tuple[Tensor, Tensor]:
    """How many elements lie in each bin, and the edges of the bins, of which the last is closed.

    Args:
        x: of any shape; NaN and what lies outside of the edges is not counted.
        bins: how many bins of one width, or their ascending edges.
        range: the first and the last edge, by default the least and the largest element.
        weights: what an element counts, of the shape of x; gradients flow to them.
        density: whether to give the density, whose integral is 1.

    Returns: int64[bins] (the dtype of the weights; a float for densities), and f[bins + 1].
    Raises: ArgumentError unless there is a bin and edges ascend, ShapeError if the weights have
        another shape.

    >>> histogram([1.0, 2.0, 1.5], bins=2, range=(1.0, 2.0))[0]
    Tensor([1, 2], i64[2])
    """
    t = _shape.flattened(as_tensor(x, op="histogram"))
    t = t if is_floating(t.dtype) else cast(t, float64)
    edges = _edges(t, bins, range)
    count = edges.shape[0] - 1
    values = create.ones(t.shape, dtype=int64) if weights is None else _shape.flattened(
        as_tensor(weights, op="histogram"))
    if values.shape != t.shape:
        raise ShapeError("histogram", got=f"x {t.spec}, weights {values.spec}",
                         why="each element needs a weight", fix="give weights in the shape of x")
    last = index.getitem(edges, -1)
    at = sorting.searchsorted(edges, t, side="right") - 1
    at = where(t == last, count - 1, at)
    inside = (t >= index.getitem(edges, 0)) & (t <= last)
    y = places.add_at(values, where(inside, at, count), axis=0, size=count + 1, op="histogram")
    y = movement.part(y, 0, 0, count)
    if density:
        widths = movement.part(edges, 0, 1, count) - movement.part(edges, 0, 0, count)
        y = cast(y, edges.dtype) if not is_floating(y.dtype) else y
        y = y / (reduce.sum(y) * widths)
    return y, edges


def _edges(x: Tensor, bins: int | TensorLike, limits: tuple[float, float] | None) -> Tensor:
    given = None if isinstance(bins, int) else as_tensor(bins, op="histogram")
    if given is not None and given.ndim == 1:
        if given.shape[0] < 2:
            _no_bin(given)
        _require_ascent("bins", given.value)
        return cast(given, x.dtype)
    count = arguments.size("histogram", "bins", bins)
    if not count:
        _no_bin(count)
    if limits is not None:
        low, high = (create.asarray(arguments.number("histogram", "range", r), dtype=x.dtype)
                     for r in arguments.several("histogram", "range", limits, "two numbers"))
        _require_ascent("range", np.asarray(limits))
    elif x.size:
        low, high = reduce.min(x), reduce.max(x)
    else:
        low, high = create.zeros((), x.dtype), create.ones((), x.dtype)
    same = low == high
    low, high = where(same, low - 0.5, low), where(same, high + 0.5, high)
    steps = create.arange(count + 1, dtype=x.dtype) * ((high - low) / count)
    return joining.concat([movement.part(low + steps, 0, 0, count), _shape.reshape(high, (1,))])


def _require_ascent(name: str, edges: object) -> None:
    """Raise ArgumentError for edges that fall, where their values are known."""
    if isinstance(edges, np.ndarray) and not (edges[:-1] <= edges[1:]).all():
        raise ArgumentError("histogram", got=f"{name} {edges}", why="edges ascend",
                            fix="sort them: tf.sort(edges)")


def _no_bin(bins: object) -> NoReturn:
    raise ArgumentError("histogram", got=f"bins {bins}", why="there is no bin",
                        fix="give a count of at least 1, or at least two edges")
