"""Functions of the rows of an array for eager code, by loops that are compiled when first used.

NumPy makes a pass and an array for each step of these, and carries sums in float64 only if it
converts the array first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeflow_kernels.cpu import loops

Array = NDArray[Any]


def apply(name: str, x: Array, axis: int, *numbers: float) -> Array:
    """A function of `row_loops` along `axis` of x: f[...] -> f[...], in float32 or float64, with
    what else it takes."""
    if axis < x.ndim - 1:
        return apply(name, x.swapaxes(axis, -1), x.ndim - 1, *numbers).swapaxes(axis, -1)
    x = x if x.flags.c_contiguous else np.ascontiguousarray(x)
    y = np.empty_like(x)
    if x.size:
        n = x.shape[-1]
        given = [np.array(number) for number in numbers]
        _loop(name, x.dtype.char, len(given))(x.size // n, n, id(x), *map(id, given), id(y))
    return y


@functools.cache
def _loop(name: str, char: str, numbers: int) -> Callable[..., None]:
    dtype = np.dtype(char).name
    return loops.written("row_loops", name, 2, [dtype, *["float64"] * numbers, dtype])
