"""What generated text calls, for CUDA: functions of scalars that the device's own mathematics serve.

They are plain Python, so that Numba's simulator runs them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def maximum(x: Any, y: Any) -> Any:
    """The greater, or NaN if one is."""
    return x if x > y or x != x else y


def minimum(x: Any, y: Any) -> Any:
    """The lesser, or NaN if one is."""
    return x if x < y or x != x else y


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), by its odd part, so that nothing overflows."""
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def sign(x: Any) -> Any:
    """1, 0 or -1, or NaN."""
    return x if x != x else (x > 0) - (x < 0)


def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return 1.0 / math.sqrt(x)


def logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)), without overflow."""
    return maximum(x, y) + math.log1p(math.exp(-math.fabs(x - y)))


def add_unordered(a: Any, x: Any) -> Any:
    """a + x: on a device each thread adds in the order of its loop."""
    return a + x


def multiply_unordered(a: Any, x: Any) -> Any:
    """a * x, likewise."""
    return a * x


def remainder(x: Any, y: Any) -> Any:
    """x - y * floor(x / y), with the sign of y."""
    return x - y * math.floor(x / y)


def floor_divide(x: Any, y: Any) -> Any:
    """The quotient rounded down."""
    return math.floor(x / y)


OF_DEVICE: dict[str, Callable[..., Any]] = {
    name: getattr(math, name)
    for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan",
        "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "pow", "hypot", "atan2", "sqrt",
        "floor", "ceil", "trunc", "copysign", "isinf", "isfinite",
    )
}  # fmt: skip
"""Functions that the device has itself."""

OWN: dict[str, Callable[..., Any]] = {
    fn.__name__: fn
    for fn in (
        maximum, minimum, sigmoid, sign, rsqrt, logaddexp, add_unordered, multiply_unordered,
        remainder, floor_divide,
    )
}  # fmt: skip
"""Functions that are compiled for the device."""
