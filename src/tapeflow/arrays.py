"""Arrays of what users give that is no tensor: numbers, and nested lists of them."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from tapeflow.dtypes import SHORT, DType, complex128, default_of, float64
from tapeflow.errors import DTypeError

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]


def silent() -> Callable[..., Any]:
    """`run(f, *args)`, for one thread at a time, without NumPy's floating-point warnings: these are
    off in a contextvars context. Running a function in it costs 20 ns, np.errstate 780."""
    context = contextvars.copy_context()
    context.run(np.seterr, all="ignore")
    return context.run


class _Here(threading.local):
    def __init__(self) -> None:
        self.quiet = silent()


_here = _Here()


def refuse_masked(x: Any, op: str) -> None:
    """Raise DTypeError if elements of the NumPy array x are masked."""
    if np.ma.is_masked(x):
        raise DTypeError(
            op,
            got=f"a NumPy array of shape {x.shape}, of which {int(np.sum(x.mask))} are masked",
            why="a tensor has no mask: what it hides would be taken for values",
            fix="fill them: x.filled(0), and pass the mask beside it where it matters",
        )


def of_number(x: complex, dtype: DType, op: str) -> Array:
    """A Python number as an array without axes; raises DTypeError if it does not fit `dtype`."""
    try:
        return _here.quiet(np.array, x, dtype)  # type: ignore[no-any-return]
    except (OverflowError, TypeError, ValueError):  # complex numbers in a real dtype; NaN in ints
        raise DTypeError(
            op,
            got=f"the Python number {_short(x)}",
            why=f"it does not fit {dtype.name}",
            fix="give another number, or another dtype, e.g. tf.asarray(x, tf.float64)",
        ) from None


def of_numbers(x: object, dtype: DType | None, op: str) -> Array:
    """Nested lists of numbers as an array, in `dtype`, else the default for what they are.

    Raises: DTypeError if these are no numbers, lists of unequal lengths, or integers that do not
        fit `dtype`.
    """
    try:
        array = np.array(x)
    except (ValueError, TypeError) as error:
        raise DTypeError(
            op,
            got=f"{type(x).__name__} {_short(x)}",
            why=str(error),
            fix="give numbers in lists of equal lengths, or a NumPy array",
        ) from None
    if array.dtype.kind not in "biufc" and array.dtype not in SHORT:
        raise DTypeError(
            op,
            got=f"{type(x).__name__} {_short(x)}",
            why="this is neither a tensor nor numbers",
            fix="ask with `is None` whether there is a value"
            if x is None
            else "give a tensor, a NumPy array of numbers, or nested lists of numbers",
        )
    array = _exact(array, x)
    if dtype is None and array.dtype in (float64, complex128) and not hasattr(x, "__array__"):
        dtype = default_of(array.dtype.type(0).item())
    if dtype is not None and dtype.kind in "iu" and array.dtype.kind in "iu" and array.size:
        for extreme in (int(array.min()), int(array.max())):  # astype() would wrap them round
            of_number(extreme, dtype, op)
    return array if dtype is None else _here.quiet(array.astype, dtype)


def _exact(array: Array, x: object) -> Array:
    """The array that NumPy made of x, without rounding integers: those above 2**63 together with
    smaller ones become floats there."""
    if array.dtype != float64 or not array.size or np.abs(array).max() < 2.0**63:
        return array
    numbers = np.array(x, object)
    whole = all(type(n) is int and n >= 0 for n in numbers.flat)
    return numbers.astype(np.uint64) if whole else array


def _short(x: object) -> str:
    text = repr(x)
    return text if len(text) <= 60 else text[:57] + "..."
