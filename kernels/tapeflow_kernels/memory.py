"""Arrays that start on a cache line: unaligned operands cost contractions 5 to 10 %."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 64
_SMALL = 1024  # bytes below which alignment gains nothing and allocation is felt


def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    """An uninitialised array, aligned unless it is small."""
    dtype = np.dtype(dtype)
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes < _SMALL:
        return np.empty(shape, dtype)
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    aligned: NDArray[Any] = memory[skip : skip + nbytes].view(dtype).reshape(shape)
    return aligned


def copy(array: NDArray[Any]) -> NDArray[Any]:
    """A contiguous, aligned copy."""
    made = empty(array.shape, array.dtype)
    made[...] = array
    return made
