"""Windows that slide over the spatial axes of f[batch, *sizes, channels], for conv and pool."""
from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tapeflow import arguments, dispatch
from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.movement import Ints
from tapeflow.primitive import Primitive
from tapeflow.tensor import Tensor

Pairs: TypeAlias = tuple[tuple[int, int], ...]
Padding: TypeAlias = str | Sequence[Sequence[int]]
Slices: TypeAlias = tuple[slice, ...]


@dataclass(frozen=True, slots=True)
class Windows:
    """Where windows lie over axes of these sizes: one for each place of the output.

    The cell k of window o is at o * stride - before + k * dilation; it may lie in the padding.
    """

    sizes: Ints
    window: Ints
    strides: Ints
    padding: Pairs
    dilations: Ints

    @property
    def outputs(self) -> Ints:
        """How many windows there are along each axis; below 1 where not even one fits."""
        return tuple((n + before + after - extent) // stride + 1
                     for n, extent, stride, (before, after)
                     in zip(self.sizes, self.extents, self.strides, self.padding, strict=True))

    @property
    def extents(self) -> Ints:
        """From the first cell of a window to its last, both included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.window, self.dilations, strict=True))

    @property
    def cells(self) -> int:
        """The number of cells in a window."""
        return math.prod(self.window)


def check(op: str, w: Windows) -> None:
    """Raise ShapeError unless input and window have cells, and it fits once along each axis."""
    if 0 in w.window:
        raise ShapeError(op, got=f"window {_sizes(w.window)}", why="a window has at least one cell",
                         fix="give sizes of 1 or more")
    if min(w.sizes) < 1 or min(w.outputs) < 1:
        padded = [n + before + after
                  for n, (before, after) in zip(w.sizes, w.padding, strict=True)]
        empty = min(w.sizes) < 1
        raise ShapeError(
            op, got=f"input {_sizes(w.sizes)}, window {_sizes(w.window)}, strides "
                    f"{_sizes(w.strides)}, padding {w.padding}, dilations {_sizes(w.dilations)}",
            why=f"there are no cells in {_sizes(w.sizes)}" if empty else
            f"the window spans {_sizes(w.extents)}, the padded input is {_sizes(padded)}: "
            f"nothing would be left",
            fix="check the sizes, and the padding" if empty else
            'use padding="SAME", a smaller window, or a larger input')


def _sizes(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


# ---- what users give

def per_axis(op: str, name: str, given: int | Sequence[int], ndim: int) -> Ints:
    """`given` as one positive int an axis; one number stands for all.

    Raises: ArgumentError unless it is that.
    """
    found = arguments.integers(op, name, given)
    each = found * ndim if len(found) == 1 else found
    if len(each) != ndim or min(each) < 1:
        raise ArgumentError(op, got=f"{name} {given!r}", fix=f"give 1 or more, for {ndim} axes",
                            why="it must be positive" if len(each) == ndim else
                            f"there are {ndim} spatial axes")
    return each


def pairs(op: str, padding: Padding, unpadded: Windows) -> Pairs:
    """`padding` as cells before and after each axis; "SAME" gives ceil(size / stride) windows.

    Of an odd number of cells the last goes after the axis, as in TensorFlow.
    Raises: ArgumentError for an unknown word, or unless there is a pair of sizes an axis.
    """
    fix = 'use "SAME", "VALID", or (before, after) for each spatial axis'
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ArgumentError(op, got=f"padding {padding!r}", fix=fix,
                                why="there is no such padding")
        return unpadded.padding if padding == "VALID" else _same(unpadded)
    given = arguments.several(op, "padding", padding, "pairs")
    found = tuple(arguments.integers(op, "padding", pair) for pair in given)
    if len(found) != len(unpadded.sizes) or any(len(pair) != 2 for pair in found):
        raise ArgumentError(op, got=f"padding {padding!r}", fix=fix,
                            why=f"there are {len(unpadded.sizes)} spatial axes, and each needs two")
    if any(n < 0 for pair in found for n in pair):
        raise ArgumentError(op, got=f"padding {padding!r}", why="a padding is not negative",
                            fix="cut the input by a slice, e.g. x[:, 1:-1]")
    return found   # type: ignore[return-value]   # of length 2, as was checked


def _same(w: Windows) -> Pairs:
    return tuple((total // 2, total - total // 2)
                 for n, extent, stride in zip(w.sizes, w.extents, w.strides, strict=True)
                 for total in [max((-(-n // stride) - 1) * stride + extent - n, 0)])


def slide(op: str, sizes: Ints, window: Ints, strides: int | Sequence[int], padding: Padding,
          dilations: int | Sequence[int] = 1) -> Windows:
    """The windows that a user asks for.

    Raises: ArgumentError for strides, dilations or a padding that are none, ShapeError where no
        window fits.
    """
    ndim = len(sizes)
    steps = per_axis(op, "strides", strides, ndim)
    gaps = per_axis(op, "dilations", dilations, ndim)
    unpadded = Windows(sizes, window, steps, ((0, 0),) * ndim, gaps)
    w = Windows(sizes, window, steps, pairs(op, padding, unpadded), gaps)
    check(op, w)
    return w


# ---- many examples of what is a batch itself

def merged(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool],
           /, **attrs: Any) -> Any:
    """vmap of `prim`: the batches of all examples as one."""
    whole = [_shape.reshape(x, (size * x.shape[1], *x.shape[2:]))
             for x in _shape.filled(size, xs, batched)]
    found = dispatch.apply(prim, tuple(whole), attrs)
    ys = [_shape.reshape(y, (size, y.shape[0] // max(size, 1), *y.shape[1:]))
          for y in (found if prim.multiple else (found,))]
    return tuple(ys) if prim.multiple else ys[0]


# ---- loops over the cells of all windows

@functools.lru_cache(maxsize=256)
def taps(w: Windows) -> tuple[tuple[Slices, Slices], ...]:
    """For each cell of the window, row by row: the outputs whose cell lies in the input, and where
    it lies. Both are slices of the spatial axes, of equal sizes."""
    axes = [[_reach(k * d - before, n, m, s) for k in range(size)]
            for n, m, size, s, (before, _), d in zip(w.sizes, w.outputs, w.window, w.strides,
                                                     w.padding, w.dilations, strict=True)]
    found: list[tuple[Slices, Slices]] = [((), ())]
    for axis in axes:
        found = [((*out, o), (*cells, i)) for out, cells in found for o, i in axis]
    return tuple(found)


def each_example(*places: slice | int) -> Any:
    """The index that takes `places` of each example."""
    return (slice(None), *places)


def _reach(shift: int, size: int, outputs: int, stride: int) -> tuple[slice, slice]:
    """The outputs o for which o * stride + shift is below `size` and not negative, and those."""
    first = max(0, -(shift // stride))
    last = min(outputs - 1, (size - 1 - shift) // stride)
    if last < first:
        return slice(0, 0), slice(0, 0)
    start = first * stride + shift
    return slice(first, last + 1), slice(start, start + (last - first) * stride + 1, stride)
