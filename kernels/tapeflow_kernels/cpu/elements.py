"""apply(): a function of vecmath on arrays, or what a text says of each element.

So eager code computes what compiled loops compute, by the one definition that there is.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeflow_kernels.cpu import loops

Array = NDArray[Any]
_SINGLE = np.dtype(np.float32)


def apply(name: str, *xs: Array, text: str = "") -> Array:
    """The function `name` of each element: f[...], ... -> f[...], in the dtype of all inputs, which
    broadcast. Halves are computed in float32.

    text: of a function that vecmath does not have, as compiled programs have it: `{x}`, `{y}` and
        `{z}` are the elements, `{t}` is the dtype.
    """
    x = xs[0]
    dtype = x.dtype
    is_array = type(x) is np.ndarray  # the loop reads addresses where arrays have them
    if is_array and len(xs) == 1 and x.flags.c_contiguous and dtype.itemsize > 2:  # 2.6 -> 1.0 us
        y = np.empty_like(x)
        _loop(name, text, dtype.char, 1)(x.size, id(x), id(y))
        return y
    kind = dtype if dtype.itemsize > 2 else _SINGLE
    if len(xs) > 1:
        xs = tuple(np.broadcast_arrays(*xs))
    arrays = [np.ascontiguousarray(x, kind) for x in xs]
    y = np.empty(xs[0].shape, kind)
    _loop(name, text, kind.char, len(xs))(y.size, *map(id, arrays), id(y))
    return y if kind is dtype else y.astype(dtype)


@functools.cache
def _loop(name: str, text: str, char: str, arity: int) -> Callable[..., None]:
    """The loop for a dtype by its letter: NumPy takes 1.5 us to name it otherwise."""
    dtype = np.dtype(char).name
    elements = [f"x{i}[i]" for i in range(arity)]
    names = dict(zip("xyz", elements, strict=False))
    value = text.format(**names, t=dtype) if text else f"{name}({', '.join(elements)})"
    symbol = f"elements_{name}_{dtype}_{hashlib.sha256(value.encode()).hexdigest()[:12]}"
    return loops.compiled(symbol, lambda: _written(value, dtype, arity), 1, [dtype] * (arity + 1))


def _written(value: str, dtype: str, arity: int) -> Callable[..., None]:
    """The loop that gives each element of y this value; names are those of compiled programs."""
    import numba

    from tapeflow_kernels.cpu import scalars, vecmath

    scope: dict[str, Any] = {name: by[dtype] for name, by in vecmath.FUNCTIONS.items()}
    scope |= {**scalars.FUNCTIONS, dtype: getattr(numba, dtype), "inf": math.inf}
    pointers = ", ".join(f"x{i}" for i in range(arity))
    head = f"def loop(count, {pointers}, y):"
    exec(f"{head}\n    for i in range(count):\n        y[i] = {value}\n", scope)
    loop: Callable[..., None] = scope["loop"]
    return loop
