"""What convolution and pooling mean, cell by cell: the reference that shares no code with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

Array = Any


def pairs(padding: Any, sizes: Sequence[int], window: Any, strides: Any, gaps: Any) -> Any:
    """Cells before and after each axis; "SAME" as TensorFlow's documentation states it."""
    if not isinstance(padding, str):
        return padding
    if padding == "VALID":
        return [(0, 0)] * len(sizes)
    found = []
    for n, k, s, d in zip(sizes, window, strides, gaps, strict=True):
        span = (k - 1) * d + 1
        total = max(span - s, 0) if n % s == 0 else max(span - n % s, 0)
        found.append((total // 2, total - total // 2))
    return found


def each(given: int | Sequence[int], ndim: int) -> Sequence[int]:
    return (given,) * ndim if isinstance(given, int) else given


def visits(
    sizes: Sequence[int], window: Any, strides: Any, padding: Any, gaps: Any
) -> tuple[tuple[int, ...], Iterator[tuple[Any, Any, Any]]]:
    """How many windows there are, and (place, cell of the window, where) for each that lies in the
    input."""
    ndim = len(sizes)
    strides, gaps = each(strides, ndim), each(gaps, ndim)
    around = pairs(padding, sizes, window, strides, gaps)
    places = tuple(
        (n + before + after - ((k - 1) * d + 1)) // s + 1
        for n, k, s, d, (before, after) in zip(sizes, window, strides, gaps, around, strict=True)
    )

    def inside() -> Iterator[tuple[Any, Any, Any]]:
        for place in np.ndindex(*places):
            for cell in np.ndindex(*window):
                at = tuple(
                    o * s + k * d - before
                    for o, s, k, d, (before, _) in zip(
                        place, strides, cell, gaps, around, strict=True
                    )
                )
                if all(0 <= i < n for i, n in zip(at, sizes, strict=True)):
                    yield place, cell, at

    return places, inside()


def conv(
    x: Array,
    w: Array,
    strides: Any = 1,
    padding: Any = "SAME",
    dilations: Any = 1,
    groups: int = 1,
) -> Array:
    """Cross-correlation, channels last, of a filter for each output of each group."""
    places, cells = visits(x.shape[1:-1], w.shape[:-2], strides, padding, dilations)
    y = np.zeros((len(x), *places, w.shape[-1]), x.dtype)
    c, o = w.shape[-2], w.shape[-1] // groups
    for place, cell, at in cells:
        for g in range(groups):
            taken = x[(slice(None), *at, slice(g * c, (g + 1) * c))]
            y[(slice(None), *place, slice(g * o, (g + 1) * o))] += (
                taken @ w[cell][:, g * o : (g + 1) * o]
            )
    return y


def conv_transpose(
    x: Array, w: Array, size: Sequence[int], strides: Any, padding: Any, dilations: Any = 1
) -> Array:
    """Each element of x, times a filter, added up where the window of its place lies."""
    places, cells = visits(size, w.shape[:-2], strides, padding, dilations)
    assert places == x.shape[1:-1]
    y = np.zeros((len(x), *size, w.shape[-2]), x.dtype)
    for place, cell, at in cells:
        y[(slice(None), *at)] += x[(slice(None), *place)] @ w[cell].T
    return y


def conv_filter(
    x: Array, g: Array, window: Sequence[int], strides: Any, padding: Any, dilations: Any
) -> Array:
    """How the sum of g * conv(x, w) changes with w."""
    places, cells = visits(x.shape[1:-1], window, strides, padding, dilations)
    assert places == g.shape[1:-1]
    w = np.zeros((*window, x.shape[-1], g.shape[-1]), x.dtype)
    for place, cell, at in cells:
        w[cell] += x[(slice(None), *at)].T @ g[(slice(None), *place)]
    return w


def pool(
    reduce: Callable[[Array], Array], x: Array, window: Any, strides: Any, padding: Any
) -> Array:
    """`reduce` over the cells of each window, stacked along axis 0, that lie in the input."""
    ndim = x.ndim - 2
    window = each(window, ndim)
    strides = window if strides is None else strides
    places, cells = visits(x.shape[1:-1], window, strides, padding, 1)
    found: dict[Any, list[Array]] = {}
    for place, _, at in cells:
        found.setdefault(place, []).append(x[(slice(None), *at)])
    y = np.empty((len(x), *places, x.shape[-1]), x.dtype)
    for place, values in found.items():
        y[(slice(None), *place)] = reduce(np.stack(values))
    return y
