"""The functions of one element that generated text calls on CUDA.

Those that the device has come from its own mathematics; the others are written out. They mean what
the functions of the same names mean on CPUs. A text casts what they give to its dtype. They are
plain Python, so that Numba's simulator runs them too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

_SHIFTER = 1.5 * 2.0**52  # adding it rounds a smaller number to a whole one


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    e = math.exp(-abs(x))
    return e / (1 + e) if x < 0 else 1 / (1 + e)


def logit(x: Any) -> Any:
    """log(x / (1 - x))."""
    return 2 * math.atanh(2 * x - 1) if 0.25 < x < 0.75 else math.log(x / (1 - x))


def logaddexp(x: Any, y: Any) -> Any:
    """log(exp(x) + exp(y)), without overflow."""
    if x == y:
        return x + math.log(2.0)
    return (x if x >= y or x != x else y) + math.log1p(math.exp(-abs(x - y)))


def power(x: Any, y: Any) -> Any:
    """x to the power y."""
    return x**y


def maximum(x: Any, y: Any) -> Any:
    """The larger, or NaN if one is."""
    return x if x >= y or x != x else y


def minimum(x: Any, y: Any) -> Any:
    """The smaller, or NaN if one is."""
    return x if x <= y or x != x else y


def sign(x: Any) -> Any:
    """1, 0 or -1, or NaN."""
    return 1 if x > 0 else -1 if x < 0 else x


def isfinite(x: Any) -> Any:
    """Whether x is neither infinite nor NaN."""
    return abs(x) < math.inf


def isinf(x: Any) -> Any:
    """Whether x is infinite, of either sign."""
    return abs(x) == math.inf


def signbit(x: Any) -> Any:
    """Whether the sign is set, as it is for -0.0."""
    return math.copysign(1.0, x) < 0


def nearest(x: Any) -> Any:
    """The whole number nearest to x, halves to even."""
    if not abs(x) < _SHIFTER / 4:
        return x
    return math.copysign((float(x) + _SHIFTER) - _SHIFTER, x)


def floor(x: Any) -> Any:
    """The largest whole number not above x."""
    return math.copysign(math.floor(x), x) if abs(x) < _SHIFTER / 4 else x


def ceil(x: Any) -> Any:
    """The smallest whole number not below x."""
    return math.copysign(math.ceil(x), x) if abs(x) < _SHIFTER / 4 else x


def trunc(x: Any) -> Any:
    """x rounded towards zero."""
    return math.copysign(math.floor(abs(x)), x) if abs(x) < _SHIFTER / 4 else x


def remainder(x: Any, y: Any) -> Any:
    """x - floor(x / y) y; by 0 it is NaN, of integers 0."""
    if y == 0:
        return type(y)(math.nan) if type(y)(0.5) != 0 else type(y)(0)
    return x % y


def floor_divide(x: Any, y: Any) -> Any:
    """x / y rounded down; by 0 it is infinite or NaN, of integers 0; by infinity 0 or -0."""
    if y == 0:
        return x * math.copysign(math.inf, y) if type(y)(0.5) != 0 else type(y)(0)
    if not (isfinite(x) and isfinite(y)):
        return x / y
    return x // y


def invert(x: Any) -> Any:
    """x with every bit flipped; a bool is one bit."""
    return x == 0 if type(x)(2) == type(x)(1) else ~x


def left_shift(x: Any, y: Any) -> Any:
    """x with its bits moved to the left."""
    return x << y if 0 <= y < 64 else 0


def right_shift(x: Any, y: Any) -> Any:
    """x with its bits moved to the right, copies of the sign coming in."""
    if 0 <= y < 64:
        return x >> y
    return -1 if x < 0 else 0


def add(x: Any, y: Any) -> Any:
    """x + y: a thread adds in the order of its loop."""
    return x + y


def multiply(x: Any, y: Any) -> Any:
    """x * y, likewise."""
    return x * y


OF_DEVICE: dict[str, Callable[..., Any]] = {
    name: getattr(math, name)
    for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos", "tan", "asin",
        "acos", "atan", "atan2", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc",
        "lgamma", "hypot", "copysign",
    )
}  # fmt: skip
"""Functions that the device has itself."""

OWN: dict[str, Callable[..., Any]] = {
    "sigmoid": sigmoid, "logit": logit, "logaddexp": logaddexp, "pow": power, "maximum": maximum,
    "minimum": minimum, "sign": sign, "isfinite": isfinite, "isinf": isinf, "signbit": signbit,
    "round": nearest, "floor": floor, "ceil": ceil, "trunc": trunc, "remainder": remainder,
    "floor_divide": floor_divide, "bitwise_invert": invert, "bitwise_left_shift": left_shift,
    "bitwise_right_shift": right_shift, "add_unordered": add, "multiply_unordered": multiply,
}  # fmt: skip
"""Functions that are compiled for the device, by the names that texts have for them."""
