"""Pooling: the largest or the mean of each window; cells in the padding never count."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import DType, int32, is_floating, uint8, uint16
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import NUMBERS
from tapeflow.ops.movement import Ints
from tapeflow.ops.window import (
    Padding,
    Pairs,
    Windows,
    check,
    each_example,
    merged,
    per_axis,
    slide,
    taps,
)
from tapeflow.primitive import Kernel, Rule, Tangents, linear, primitive, require_floating
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

_POOL = Kernel("pool")


def _windows(sizes: Ints, window: Ints, strides: Ints, padding: Pairs) -> Windows:
    return Windows(sizes, window, strides, padding, (1,) * len(sizes))


def _pooled(op: str, x: Spec, **attrs: Any) -> Spec:
    """The type of one number a window."""
    w = _windows(x.shape[1:-1], **attrs)
    check(op, w)
    _require_cells(op, w)
    return Spec((x.shape[0], *w.outputs, x.shape[-1]), x.dtype)


def _require_cells(op: str, w: Windows) -> None:
    """Raise unless each window has a cell outside the padding."""
    if any(n >= k for k, pair in zip(w.window, w.padding, strict=True) for n in pair):
        raise ArgumentError(op, got=f"padding {w.padding}, window {w.window}",
                            why="a window would lie in the padding alone",
                            fix="pad by less than the size of the window")


def _require_places(op: str, g: Spec, size: Ints, **attrs: Any) -> None:
    """Raise unless g has a number for each window of an input of this size."""
    places = _pooled(op, Spec((1, *size, 1), g.dtype), **attrs).shape[1:-1]
    if g.shape[1:-1] != places:
        raise ShapeError(op, got=f"g {g}, size {size}, {attrs}", fix="check the size",
                         why=f"there are {list(places)} windows")


def _position_dtype(cells: int) -> DType:
    return uint8 if cells <= 255 else uint16 if cells <= 65535 else int32


# ---- the largest, and where it was

def _max_pool_spec(x: Spec, **attrs: Any) -> tuple[Spec, Spec]:
    y = _pooled("max_pool", x, **attrs)
    cells = _windows(x.shape[1:-1], **attrs).cells
    return y, Spec(y.shape, _position_dtype(cells))


def _max_pool_x(gs: Any, ys: Any, x: Tensor, **attrs: Any) -> Tensor:
    return max_pool_input(gs[0], ys[1], size=x.shape[1:-1], **attrs)


def _max_pool_jvp(ts: Tangents, ys: Any, x: Tensor, **attrs: Any) -> tuple[Tensor | None, None]:
    (t,) = ts
    assert t is not None
    return max_pool_at(t, ys[1], **attrs), None


@primitive(name="max_pool", spec=_max_pool_spec, adjoints=(_max_pool_x,), jvp=_max_pool_jvp,
           multiple=True, lowering=_POOL, batching=Rule(merged))
def largest(x: Array, *, window: Ints, strides: Ints, padding: Pairs) -> tuple[Array, Array]:
    """any[n, *sizes, c] -> any[n, *places, c], and which cell of its window each was.

    The cells count row by row from 0; the first of equals is taken, and the first NaN before all.
    """
    w = _windows(x.shape[1:-1], window, strides, padding)
    shape, floats = (len(x), *w.outputs, x.shape[-1]), is_floating(x.dtype)
    y = np.full(shape, -np.inf if floats else np.iinfo(x.dtype).min, x.dtype)
    for places, cells in taps(w):
        here = y[each_example(*places)]
        np.maximum(here, x[each_example(*cells)], out=here)
    position = np.zeros(shape, _position_dtype(w.cells))
    before = np.ones(shape, bool)   # whether the cell stands before the first that equals y
    for places, cells in taps(w):
        here, v = each_example(*places), x[each_example(*cells)]
        differs = v != y[here]
        before[here] &= differs & (v == v) if floats else differs
        position += before
    return y, position


def _where_true(hit: Array, x: Array) -> Array:
    """x where `hit`, else 0; not a product, which makes NaN of infinity.

    By bits: 0.1 ms for 200,000 random hits where np.where takes 0.8, for its branches.
    """
    bits = x.view(f"i{x.itemsize}")
    kept: Array = (bits & -hit.astype(bits.dtype)).view(x.dtype)
    return kept


def _input_spec(g: Spec, position: Spec, *, size: Ints, **attrs: Any) -> Spec:
    _require_positions("max_pool_input", g, position)
    _require_places("max_pool_input", g, size, **attrs)
    return Spec((g.shape[0], *size, g.shape[-1]), g.dtype)


def _require_positions(op: str, y: Spec, position: Spec) -> None:
    if y.shape != position.shape:
        raise ShapeError(op, got=f"{y}, positions {position}", fix="check the window",
                         why="each window has one position")


def _at_spec(x: Spec, position: Spec, **attrs: Any) -> Spec:
    y = _pooled("max_pool_at", x, **attrs)
    _require_positions("max_pool_at", y, position)
    return y


def _at_x(g: Tensor, y: Tensor, x: Tensor, position: Tensor, **attrs: Any) -> Tensor:
    return max_pool_input(g, position, size=x.shape[1:-1], **attrs)


def _at_jvp(ts: Tangents, y: Tensor, x: Tensor, position: Tensor, **attrs: Any) -> Tensor | None:
    return None if ts[0] is None else max_pool_at(ts[0], position, **attrs)


@primitive(spec=_at_spec, adjoints=(_at_x, None), jvp=_at_jvp, lowering=_POOL,
           batching=Rule(merged))
def max_pool_at(x: Array, position: Array, *, window: Ints, strides: Ints,
                padding: Pairs) -> Array:
    """any[n, *sizes, c], int[n, *places, c] -> any[n, *places, c]: one cell of each window."""
    w = _windows(x.shape[1:-1], window, strides, padding)
    y = np.zeros(position.shape, x.dtype)
    for k, (places, cells) in enumerate(taps(w)):
        here = each_example(*places)
        y[here] += _where_true(position[here] == k, x[each_example(*cells)])
    return y


def _input_g(x: Tensor, y: Tensor, g: Tensor, position: Tensor, *, size: Ints,
             **attrs: Any) -> Tensor:
    return max_pool_at(x, position, **attrs)


def _input_jvp(ts: Tangents, y: Tensor, g: Tensor, position: Tensor, **attrs: Any) -> Tensor | None:
    return None if ts[0] is None else max_pool_input(ts[0], position, **attrs)


@primitive(spec=_input_spec, adjoints=(_input_g, None), jvp=_input_jvp, lowering=_POOL,
           batching=Rule(merged))
def max_pool_input(g: Array, position: Array, *, size: Ints, window: Ints, strides: Ints,
                   padding: Pairs) -> Array:
    """any[n, *places, c], int[n, *places, c] -> any[n, *size, c]: zeros, to which each g is added
    at the cell that its window's position names. Adjoint to max_pool_at."""
    w = _windows(size, window, strides, padding)
    x = np.zeros((len(g), *size, g.shape[-1]), _shape.wide(g.dtype))
    for k, (places, cells) in enumerate(taps(w)):
        here = each_example(*places)
        x[each_example(*cells)] += _where_true(position[here] == k, g[here])
    return x.astype(g.dtype, copy=False)


# ---- the mean

def _counts(w: Windows) -> Array:
    """How many cells of each window lie in the input: [*places, 1]."""
    counts = np.zeros((*w.outputs, 1), np.int64)
    for places, _ in taps(w):
        counts[places] += 1
    return counts


def _avg_spec(x: Spec, **attrs: Any) -> Spec:
    require_floating("avg_pool", x)
    return _pooled("avg_pool", x, **attrs)


def _avg_input_spec(g: Spec, *, size: Ints, **attrs: Any) -> Spec:
    require_floating("avg_pool_input", g)
    _require_places("avg_pool_input", g, size, **attrs)
    return Spec((g.shape[0], *size, g.shape[-1]), g.dtype)


def _avg_x(g: Tensor, x: Spec, **attrs: Any) -> Tensor:
    return avg_pool_input(g, size=x.shape[1:-1], **attrs)


def _avg_input_g(x: Tensor, g: Spec, *, size: Ints, **attrs: Any) -> Tensor:
    return mean_of_windows(x, **attrs)


@linear(name="avg_pool", spec=_avg_spec, adjoint=_avg_x, lowering=_POOL, batching=Rule(merged))
def mean_of_windows(x: Array, *, window: Ints, strides: Ints, padding: Pairs) -> Array:
    """f[n, *sizes, c] -> f[n, *places, c]: of the cells that are not in the padding."""
    w = _windows(x.shape[1:-1], window, strides, padding)
    wide = _shape.wide(x.dtype)
    y = np.zeros((len(x), *w.outputs, x.shape[-1]), wide)
    for places, cells in taps(w):
        y[each_example(*places)] += x[each_example(*cells)]
    y /= _counts(w).astype(wide)
    return y.astype(x.dtype, copy=False)


@linear(spec=_avg_input_spec, adjoint=_avg_input_g, lowering=_POOL, batching=Rule(merged))
def avg_pool_input(g: Array, *, size: Ints, window: Ints, strides: Ints,
                   padding: Pairs) -> Array:
    """f[n, *places, c] -> f[n, *size, c]: each g, divided among the cells of its window.

    Adjoint to avg_pool."""
    w = _windows(size, window, strides, padding)
    wide = _shape.wide(g.dtype)
    share = g.astype(wide) / _counts(w).astype(wide)
    x = np.zeros((len(g), *size, g.shape[-1]), wide)
    for places, cells in taps(w):
        x[each_example(*cells)] += share[each_example(*places)]
    return x.astype(g.dtype, copy=False)


# ---- what users call

def _given(op: str, x: Tensor, window: int | Sequence[int], strides: int | Sequence[int] | None,
           padding: Padding) -> dict[str, Any]:
    """The attributes of a pooling, as users give them."""
    if x.ndim < 3:
        raise ShapeError(op, got=x.spec, why="there are no spatial axes between batch and channels",
                         fix="give any[batch, *sizes, channels]; tf.expand_dims adds an axis")
    sizes = x.shape[1:-1]
    cells = per_axis(op, "window", window, len(sizes))
    w = slide(op, sizes, cells, cells if strides is None else strides, padding)
    _require_cells(op, w)
    return {"window": cells, "strides": w.strides, "padding": w.padding}


def max_pool(x: TensorLike, window: int | Sequence[int],
             strides: int | Sequence[int] | None = None, padding: Padding = "VALID") -> Tensor:
    """The largest number of each window, for each channel; the gradient goes to the first of them.

    Args:
        x: any[batch, *sizes, channels], with one to three spatial axes.
        window: its size; one number, or one an axis, as are strides.
        strides: from window to window; by default they do not overlap.
        padding: "VALID" for none; "SAME" for ceil(size / stride) windows; or (before, after) for
            each axis. Cells in the padding never count.

    Returns: any[batch, *places, channels].
    Raises: ShapeError if x has no spatial axes or nothing would be left, ArgumentError for a
        window, strides or a padding that are none, DTypeError for bool.

    >>> max_pool([[[1.0], [3.0], [2.0], [0.0]]], 2)[0, :, 0]
    Tensor([3., 2.], f32[2])
    """
    t = as_tensor(x, op="max_pool")
    if t.dtype.kind not in NUMBERS.kinds:
        raise DTypeError("max_pool", got=t.spec, why=f"max_pool is defined for {NUMBERS.words}",
                         fix=NUMBERS.fix)
    attrs = _given("max_pool", t, window, strides, padding)
    return dispatch.apply(largest, (t,), attrs)[0]   # type: ignore[no-any-return]


def avg_pool(x: TensorLike, window: int | Sequence[int],
             strides: int | Sequence[int] | None = None, padding: Padding = "VALID") -> Tensor:
    """The mean of each window, for each channel, of the cells that are not in the padding.

    Args: as max_pool; x is floating.
    Raises: as max_pool, and DTypeError unless x is floating.
    """
    t = as_tensor(x, op="avg_pool")
    require_floating("avg_pool", t.spec)
    return mean_of_windows(t, **_given("avg_pool", t, window, strides, padding))
