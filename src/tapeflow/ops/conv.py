"""Convolutions over any number of spatial axes, and their two adjoints.

All three are the same sum over batch, output places, cells of the window and channels, of products
of x, w and the output; each holds two of them. So each one's adjoints are the other two.
"""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.movement import Ints, moveaxis
from tapeflow.ops.precision import asked
from tapeflow.ops.window import Pairs, Slices, Windows, check, each_example, taps
from tapeflow.primitive import Kernel, Primitive, Rule, bilinear, require_floating
from tapeflow.tensor import Array, Spec, Tensor

_CONVOLUTION = Kernel("convolution")


# ---- what fits

def check_ranks(op: str, x: Spec, w: Spec, ndim: int | None = None) -> None:
    """Raise unless x is f[batch, *sizes, channels] and w f[*window, in, out], of one dtype."""
    require_floating(op, x, w)
    if x.dtype != w.dtype:
        raise DTypeError(op, got=f"x {x}, filters {w}", why="the dtypes differ",
                         fix="cast one of them: tf.cast(x, tf.float32)")
    given = x.ndim - 2 if ndim is None else ndim
    if given < 1 or (x.ndim, w.ndim) != (given + 2, given + 2):
        axes = "axis" if ndim == 1 else "axes"
        raise ShapeError(
            op, got=f"x {x}, filters {w}",
            why="both need a batch or window, and channels, beside the spatial axes"
            if ndim is None else f"with {ndim} spatial {axes}, both have {ndim + 2} axes",
            fix="give x any[batch, *sizes, channels] and filters any[*window, in, out]; "
                "tf.expand_dims adds an axis of size 1")


def check_groups(op: str, channels: int, w: Spec, groups: int) -> None:
    """Raise unless `channels` are those that filters w in `groups` take, and the groups equal."""
    inputs, outputs = w.shape[-2:]
    if groups < 1 or channels % groups or outputs % groups:
        raise ArgumentError(op, got=f"groups {groups}, {channels} channels, filters {w}",
                            why=f"{channels} inputs and {outputs} outputs must fall into groups "
                                "of equal sizes",
                            fix="choose a number that divides both")
    if channels != inputs * groups:
        of_group = f" in each of {groups} groups" if groups > 1 else ""
        raise ShapeError(op, got=f"{channels} channels, filters {w}",
                         why=f"the filters take {inputs} channels{of_group}, the input has "
                             f"{channels // groups}{of_group}",
                         fix="check the channels, which come last: images are NHWC, filters HWIO")


def fit(op: str, x: Spec, w: Spec, groups: int, ndim: int | None = None) -> None:
    check_ranks(op, x, w, ndim)
    check_groups(op, x.shape[-1], w, groups)


def _conv_spec(x: Spec, w: Spec, *, strides: Ints, padding: Pairs, dilations: Ints,
               groups: int, precision: str = "") -> Spec:
    fit("conv", x, w, groups)
    windows = Windows(x.shape[1:-1], w.shape[:-2], strides, padding, dilations)
    check("conv", windows)
    return Spec((x.shape[0], *windows.outputs, w.shape[-1]), x.dtype)


def require_windows(op: str, g: Spec, windows: Windows) -> None:
    """Raise unless there are as many windows as g, which stands for an output, has places."""
    check(op, windows)
    if g.shape[1:-1] != windows.outputs:
        raise ShapeError(
            op, got=f"input {g}, output sizes {list(windows.sizes)}, window {windows.window}, "
                    f"strides {windows.strides}, padding {windows.padding}",
            why=f"a convolution of such an output has sizes {list(windows.outputs)}, "
                f"the input has {list(g.shape[1:-1])}",
            fix="choose output sizes that the strides bring down to those of the input")


def _input_spec(g: Spec, w: Spec, *, size: Ints, strides: Ints, padding: Pairs, dilations: Ints,
                groups: int, precision: str = "") -> Spec:
    check_ranks("conv_input", g, w)
    channels = w.shape[-2] * max(groups, 1)
    check_groups("conv_input", channels, w, groups)
    if g.shape[-1] != w.shape[-1]:
        raise ShapeError("conv_input", got=f"g {g}, filters {w}", fix="check the channels",
                         why=f"the filters give {w.shape[-1]} channels, g has {g.shape[-1]}")
    windows = Windows(size, w.shape[:-2], strides, padding, dilations)
    require_windows("conv_input", g, windows)
    return Spec((g.shape[0], *size, channels), g.dtype)


def _filter_spec(x: Spec, g: Spec, *, window: Ints, strides: Ints, padding: Pairs,
                 dilations: Ints, groups: int, precision: str = "") -> Spec:
    check_ranks("conv_filter", x, g)
    w = Spec((*window, x.shape[-1] // max(groups, 1), g.shape[-1]), x.dtype)
    check_groups("conv_filter", x.shape[-1], w, groups)
    if x.shape[0] != g.shape[0]:
        raise ShapeError("conv_filter", got=f"x {x}, g {g}", why="the batches differ",
                         fix="give one output for each input")
    windows = Windows(x.shape[1:-1], window, strides, padding, dilations)
    require_windows("conv_filter", g, windows)
    return w


# ---- meaning on arrays: windows as the rows of a matrix, a part of them at a time

_PART = 1 << 20   # elements of that matrix


def _parts(n: int, windows: Windows, channels: int) -> Iterator[tuple[slice, slice]]:
    """Examples and cells of the window that are worked on together."""
    cells = windows.cells
    one = max(1, math.prod(windows.outputs) * channels)   # elements of one example and cell
    few = max(1, min(cells, _PART // one))
    examples = max(1, _PART // (one * cells)) if few == cells else 1
    for i in range(0, n, examples):
        for k in range(0, cells, few):
            yield slice(i, min(i + examples, n)), slice(k, min(k + few, cells))


def _columns(x: Array, found: Sequence[tuple[Slices, Slices]], outputs: Ints,
             groups: int) -> Array:
    """x[n, *sizes, c] -> [groups, n * places, cells * c/groups]: the cells of each window."""
    n, c = len(x), x.shape[-1] // groups
    by_group = x.reshape(*x.shape[:-1], groups, c)
    columns = np.zeros((groups, n, *outputs, len(found), c), x.dtype)
    to = np.moveaxis(columns, 0, -2)
    for k, (places, cells) in enumerate(found):
        to[each_example(*places, k)] = by_group[each_example(*cells)]
    return columns.reshape(groups, n * math.prod(outputs), len(found) * c)


def _add_columns(x: Array, columns: Array, found: Sequence[tuple[Slices, Slices]], outputs: Ints,
                 groups: int) -> None:
    """Add to x what stands in the windows of `columns`: adjoint to _columns."""
    n, c = len(x), x.shape[-1] // groups
    by_group = x.reshape(*x.shape[:-1], groups, c)
    of = np.moveaxis(columns.reshape(groups, n, *outputs, len(found), c), 0, -2)
    for k, (places, cells) in enumerate(found):
        by_group[each_example(*cells)] += of[each_example(*places, k)]


def _rows(y: Array, groups: int) -> Array:
    """y[n, *outputs, o] -> [groups, n * places, o/groups]."""
    flat = y.reshape(math.prod(y.shape[:-1]), groups, y.shape[-1] // groups)
    return flat.transpose(1, 0, 2)


def _matrices(w: Array, groups: int) -> Array:
    """w[*window, c/groups, o] -> [groups, cells, c/groups, o/groups]."""
    *window, c, o = w.shape
    return w.reshape(math.prod(window), c, groups, o // groups).transpose(2, 0, 1, 3)


def _stacked(m: Array) -> Array:
    """[groups, cells, c, o] -> [groups, cells * c, o]."""
    return m.reshape(len(m), m.shape[1] * m.shape[2], m.shape[3])


def _now(attrs: Mapping[str, Any], x: Tensor) -> dict[str, Any]:
    """The attributes of an adjoint: as exact as is asked for now."""
    return {**{k: v for k, v in attrs.items() if k != "precision"}, **asked(x)}


def _conv_x(g: Tensor, x: Tensor, w: Tensor, **attrs: Any) -> Tensor:
    return conv_input(g, w, size=x.shape[1:-1], **_now(attrs, g))


def _conv_w(g: Tensor, x: Tensor, w: Tensor, **attrs: Any) -> Tensor:
    return conv_filter(x, g, window=w.shape[:-2], **_now(attrs, g))


def _input_g(x: Tensor, g: Tensor, w: Tensor, *, size: Ints, **attrs: Any) -> Tensor:
    return conv(x, w, **_now(attrs, g))


def _input_w(x: Tensor, g: Tensor, w: Tensor, *, size: Ints, **attrs: Any) -> Tensor:
    return conv_filter(x, g, window=w.shape[:-2], **_now(attrs, g))


def _filter_x(w: Tensor, x: Tensor, g: Tensor, *, window: Ints, **attrs: Any) -> Tensor:
    return conv_input(g, w, size=x.shape[1:-1], **_now(attrs, g))


def _filter_g(w: Tensor, x: Tensor, g: Tensor, *, window: Ints, **attrs: Any) -> Tensor:
    return conv(x, w, **_now(attrs, g))


# ---- many examples: more images for the same filters, or more groups where filters differ too

def _more_channels(x: Tensor) -> Tensor:
    """f[size, ..., c] -> f[..., size * c]."""
    moved = moveaxis(x, 0, x.ndim - 2)
    return _shape.reshape(moved, (*moved.shape[:-2], moved.shape[-2] * moved.shape[-1]))


def _more_groups(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool], /, *,
                 groups: int, **attrs: Any) -> Tensor:
    wide = [_more_channels(x) for x in _shape.filled(size, xs, batched)]
    y = prim(*wide, groups=size * groups, **attrs)
    apart = _shape.reshape(y, (*y.shape[:-1], size, y.shape[-1] // max(size, 1)))
    return moveaxis(apart, y.ndim - 1, 0)


def _with_filters(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool],
                  /, **attrs: Any) -> Any:
    x, w = xs
    if batched[1]:
        return _more_groups(prim, size, xs, batched, **attrs)
    images = _shape.reshape(x, (size * x.shape[1], *x.shape[2:]))
    y = prim(images, w, **attrs)
    return _shape.reshape(y, (size, x.shape[1], *y.shape[1:]))


@bilinear(spec=_conv_spec, lowering=_CONVOLUTION, batching=Rule(_with_filters),
          adjoints=(_conv_x, _conv_w))
def conv(x: Array, w: Array, *, strides: Ints, padding: Pairs, dilations: Ints,
         groups: int, precision: str = "") -> Array:
    """f[n, *sizes, c], f[*window, c/groups, o] -> f[n, *places, o]: at each place the sum of the
    products of window and filter. Each group of channels has filters of its own."""
    windows = Windows(x.shape[1:-1], w.shape[:-2], strides, padding, dilations)
    outputs, found = windows.outputs, taps(windows)
    wide = _shape.wide(x.dtype)
    matrices = _matrices(w.astype(wide, copy=False), groups)
    y = np.zeros((len(x), *outputs, w.shape[-1]), wide)
    for examples, cells in _parts(len(x), windows, x.shape[-1]):
        columns = _columns(x[examples].astype(wide, copy=False), found[cells], outputs, groups)
        rows = _rows(y[examples], groups)
        rows += columns @ _stacked(matrices[:, cells])
    return y.astype(x.dtype, copy=False)


@bilinear(spec=_input_spec, lowering=_CONVOLUTION, batching=Rule(_with_filters),
          adjoints=(_input_g, _input_w))
def conv_input(g: Array, w: Array, *, size: Ints, strides: Ints, padding: Pairs, dilations: Ints,
               groups: int, precision: str = "") -> Array:
    """f[n, *places, o], f[*window, c/groups, o] -> f[n, *size, c]: adjoint to conv in x."""
    windows = Windows(size, w.shape[:-2], strides, padding, dilations)
    outputs, found = windows.outputs, taps(windows)
    wide = _shape.wide(g.dtype)
    matrices = _matrices(w.astype(wide, copy=False), groups)
    x = np.zeros((len(g), *size, w.shape[-2] * groups), wide)
    for examples, cells in _parts(len(g), windows, x.shape[-1]):
        rows = _rows(g[examples].astype(wide, copy=False), groups)
        columns = rows @ _stacked(matrices[:, cells]).swapaxes(1, 2)
        _add_columns(x[examples], columns, found[cells], outputs, groups)
    return x.astype(g.dtype, copy=False)


@bilinear(spec=_filter_spec, lowering=_CONVOLUTION, batching=Rule(_more_groups),
          adjoints=(_filter_x, _filter_g))
def conv_filter(x: Array, g: Array, *, window: Ints, strides: Ints, padding: Pairs,
                dilations: Ints, groups: int, precision: str = "") -> Array:
    """f[n, *sizes, c], f[n, *places, o] -> f[*window, c/groups, o]: adjoint to conv in w."""
    windows = Windows(x.shape[1:-1], window, strides, padding, dilations)
    outputs, found = windows.outputs, taps(windows)
    wide, c, o = _shape.wide(x.dtype), x.shape[-1] // groups, g.shape[-1]
    w = np.zeros((*window, c, o), wide)
    matrices = _matrices(w, groups)
    for examples, cells in _parts(len(x), windows, x.shape[-1]):
        columns = _columns(x[examples].astype(wide, copy=False), found[cells], outputs, groups)
        rows = _rows(g[examples].astype(wide, copy=False), groups)
        part = matrices[:, cells]
        part += (columns.swapaxes(1, 2) @ rows).reshape(part.shape)
    return w.astype(x.dtype, copy=False)
