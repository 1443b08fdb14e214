"""Arithmetic, rounding and extrema, element by element."""
from __future__ import annotations

import math

import numpy as np

from tapeflow.dtypes import is_complex, real_of
from tapeflow.ops.casts import cast, conj
from tapeflow.ops.elementwise import (
    FLOATS,
    INEXACT,
    NUMBERS,
    NUMERIC,
    Gate,
    elementwise,
    predicate,
    where,
)
from tapeflow.tensor import Array, Tensor, TensorLike, as_tensor

_PRODUCT = ("complex({x}.real * {y}.real - {x}.imag * {y}.imag,"
            " {x}.real * {y}.imag + {x}.imag * {y}.real)")


@elementwise("{x} + {y}", 1, 1, of=NUMERIC, of_complex="{x} + {y}")
def add(x: Array, y: Array) -> Array:
    """x + y."""
    return np.add(x, y)


@elementwise("{x} - {y}", 1, -1, of=NUMERIC, of_complex="{x} - {y}")
def subtract(x: Array, y: Array) -> Array:
    """x - y."""
    return np.subtract(x, y)


# Numba's own product of complex numbers is a call
@elementwise("{x} * {y}", lambda z, x, y: y, lambda z, x, y: x, of=NUMERIC, of_complex=_PRODUCT)
def multiply(x: Array, y: Array) -> Array:
    """x * y."""
    return np.multiply(x, y)


@elementwise("{x} / {y}", lambda z, x, y: 1.0 / y, lambda z, x, y: -(z / y), of=INEXACT)
def divide(x: Array, y: Array) -> Array:
    """x / y, for floating and complex dtypes; x / 0 is infinite or NaN."""
    return np.divide(x, y)


@elementwise("-{x}", -1, of=NUMERIC, of_complex="-{x}")
def negative(x: Array) -> Array:
    """-x."""
    return np.negative(x)


@elementwise("{x}", 1, of=NUMERIC, of_complex="{x}")
def positive(x: Array) -> Array:
    """x itself."""
    return np.positive(x)


def _slope_of_abs(y: Tensor, x: Tensor) -> Tensor:
    return conj(sign(x)) if is_complex(x.dtype) else sign(x)


@elementwise("abs({x})", _slope_of_abs, of=NUMERIC, result=real_of)
def abs_(x: Array) -> Array:
    """The magnitude of x; its derivative at 0 is 0."""
    return np.abs(x)


@elementwise("{x} * {x}", lambda y, x: 2 * x, of=NUMERIC)
def square(x: Array) -> Array:
    """x * x."""
    return np.square(x)


@elementwise("sqrt({x})", lambda y, x: 0.5 / y, of=INEXACT)
def sqrt(x: Array) -> Array:
    """The square root of x; NaN below 0, of a complex x the one in the right half of the plane."""
    return np.sqrt(x)


@elementwise("{t}(1) / sqrt({x})", lambda y, x: -0.5 * y / x, of=INEXACT)
def rsqrt(x: Array) -> Array:
    """1 / sqrt(x)."""
    return np.reciprocal(np.sqrt(x))


@elementwise("{t}(1) / {x}", lambda y, x: -square(y), of=INEXACT)
def reciprocal(x: Array) -> Array:
    """1 / x."""
    return np.reciprocal(x)


@elementwise("hypot({x}, {y})", lambda z, x, y: _share(x, z), lambda z, x, y: _share(y, z),
             of=FLOATS)
def hypot(x: Array, y: Array) -> Array:
    """sqrt(x² + y²), without overflow on the way; its derivatives at the origin are 0."""
    return np.hypot(x, y)


def _share(x: Tensor, whole: Tensor) -> Tensor:
    """x / whole: 0 for nothing of nothing, all for infinity."""
    endless = abs_(x) == math.inf
    return where(endless, sign(x), where(endless, 0.0, x) / where(whole == 0, 1.0, whole))


# ---- division with a remainder

@predicate("floor_divide({x}, {y})", of=NUMBERS, same_dtype=True)
def floor_divide(x: Array, y: Array) -> Array:
    """x / y rounded down; an integer divided by 0 gives 0, and what is infinite or is divided by it
    the floor of the quotient, as the array API has it: 1 // -inf is -0, inf // 2 is inf."""
    whole: Array = np.floor_divide(x, y)
    if whole.dtype.kind in "iu":
        return whole
    is_finite = np.isfinite(x) & np.isfinite(y)
    return whole if is_finite.all() else np.where(is_finite, whole, np.floor(np.divide(x, y)))


@elementwise("remainder({x}, {y})", 1, lambda z, x, y: -floor_divide(x, y))
def remainder(x: Array, y: Array) -> Array:
    """x - floor(x / y) * y: in the sign of y."""
    return np.remainder(x, y)


# ---- rounding: integers stay as they are

@predicate("floor({x})", of=NUMBERS, same_dtype=True)
def floor(x: Array) -> Array:
    """The largest whole number not above x."""
    return x if x.dtype.kind in "iu" else np.floor(x)


@predicate("ceil({x})", of=NUMBERS, same_dtype=True)
def ceil(x: Array) -> Array:
    """The smallest whole number not below x."""
    return x if x.dtype.kind in "iu" else np.ceil(x)


@predicate("trunc({x})", of=NUMBERS, same_dtype=True)
def trunc(x: Array) -> Array:
    """x rounded towards zero."""
    return x if x.dtype.kind in "iu" else np.trunc(x)


@predicate("round({x})", of=NUMERIC, same_dtype=True)
def round_(x: Array) -> Array:
    """x rounded to the nearest whole number, halves to even; a complex x in both parts."""
    return np.round(x) if x.dtype.kind in "fc" else x if x.dtype.kind in "iu" else np.rint(x)


# ---- signs and directions

@predicate("sign({x})", of=NUMBERS, same_dtype=True)
def _sign(x: Array) -> Array:
    return np.sign(x)


def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1: the sign of x; of a complex x its direction x / |x|, at 0 with derivative 0.

    Raises: DTypeError for bool.
    """
    if type(x) is Tensor and not is_complex(x.dtype):
        return _sign(x)
    x = as_tensor(x, op="sign")
    if not is_complex(x.dtype):
        return _sign(x)
    there = x != 0
    return where(there, x / where(there, abs_(x), 1.0), 0.0)


# ---- extrema

def _share_of_extremum(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The derivative to x: all where x was chosen, half where both were."""
    return where(x == y, 0.5, cast(x == z, z.dtype))


@elementwise("maximum({x}, {y})", lambda z, x, y: _share_of_extremum(x, y, z),
             lambda z, x, y: _share_of_extremum(y, x, z))
def maximum(x: Array, y: Array) -> Array:
    """The larger of x and y, NaN where one is; at ties each gets half of the gradient."""
    return np.maximum(x, y)


@elementwise("minimum({x}, {y})", lambda z, x, y: _share_of_extremum(x, y, z),
             lambda z, x, y: _share_of_extremum(y, x, z))
def minimum(x: Array, y: Array) -> Array:
    """The smaller of x and y, NaN where one is; at ties each gets half of the gradient."""
    return np.minimum(x, y)


@elementwise("minimum(maximum({x}, {low}), {high})",
             Gate(lambda z, x, low, high: (x >= low) & (x <= high)),
             Gate(lambda z, x, low, high: (x < low) & (low <= high)),
             Gate(lambda z, x, low, high: (x > high) | (low > high)))
def _clip(x: Array, low: Array, high: Array) -> Array:
    if x.dtype.kind == "V":   # NumPy cannot clip bfloat16
        return np.minimum(np.maximum(x, low), high)
    return x.clip(low, high)


def clip(x: TensorLike, min: TensorLike | None = None, max: TensorLike | None = None) -> Tensor:
    """x brought between `min` and `max`, either of which may be missing.

    The gradient passes where x lies between them, bounds included.

    >>> clip([-2.0, 0.5, 3.0], -1.0, 1.0)
    Tensor([-1. ,  0.5,  1. ], f32[3])
    """
    return clipped("clip", x, min, max)


def clipped(op: str, x: TensorLike, min: TensorLike | None, max: TensorLike | None) -> Tensor:
    """clip(), in the name of `op`."""
    x = as_tensor(x, op=op)
    if min is None and max is None:
        return positive(x)
    if max is None:
        return where(x < min, min, x)
    if min is None:
        return where(x > max, max, x)
    return _clip(x, min, max)


@elementwise("copysign({x}, {y})", lambda z, x, y: where(x == 0, 0.0, sign(x) * sign(z)), None,
             of=FLOATS)
def copysign(x: Array, y: Array) -> Array:
    """The magnitude of x with the sign of y."""
    return np.copysign(x, y)


@predicate("nextafter({x}, {y})", of=FLOATS, same_dtype=True)
def nextafter(x: Array, y: Array) -> Array:
    """The number that follows x in the direction of y."""
    return np.nextafter(x, y)
