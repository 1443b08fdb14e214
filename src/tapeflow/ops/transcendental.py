"""Exponentials, logarithms, powers, and the trigonometric and hyperbolic functions."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tapeflow.dtypes import weak
from tapeflow.errors import ArgumentError
from tapeflow.ops.arithmetic import positive, rsqrt, square
from tapeflow.ops.casts import imag, real
from tapeflow.ops.elementwise import (
    FLOATS,
    INEXACT,
    INTEGERS,
    Weak,
    coerce,
    elementwise,
    predicate,
    unfit,
    where,
)
from tapeflow.tensor import Array, Tensor, TensorLike, as_tensor
from tapeflow_kernels.cpu import elements

_LN2 = math.log(2)


@elementwise("exp({x})", lambda y, x: y, of=INEXACT)
def exp(x: Array) -> Array:
    """e to the power x."""
    return np.exp(x)


def _complex_expm1(z: Array) -> Array:
    """NumPy's, but where a part is 0, infinite or NaN, for which that misses what C99 says."""
    y: Array = np.expm1(z)
    plain = np.isfinite(z) & (z.imag != 0)
    if plain.all():
        return y
    of_real = np.expm1(z.real) + 0.0 + z.imag * 1j   # -0 becomes 0
    return np.where(plain, y, np.where(z.imag == 0, of_real, np.exp(z) - 1))


@elementwise("expm1({x})", lambda y, x: y + 1.0, of=INEXACT)
def expm1(x: Array) -> Array:
    """exp(x) - 1, exact near 0."""
    return np.expm1(x) if x.dtype.kind != "c" else _complex_expm1(x)


@elementwise("log({x})", lambda y, x: 1.0 / x, of=INEXACT)
def log(x: Array) -> Array:
    """The natural logarithm of x; -inf at 0, NaN below."""
    return np.log(x)


@elementwise("log1p({x})", lambda y, x: 1.0 / (1.0 + x), of=INEXACT)
def log1p(x: Array) -> Array:
    """log(1 + x), exact near 0."""
    return np.log1p(x)


@elementwise("log2({x})", lambda y, x: (1 / _LN2) / x, of=INEXACT)
def log2(x: Array) -> Array:
    """The logarithm of x to base 2."""
    return np.log2(x)


@elementwise("log10({x})", lambda y, x: (1 / math.log(10)) / x, of=INEXACT)
def log10(x: Array) -> Array:
    """The logarithm of x to base 10."""
    return np.log10(x)


def _share_of_sum(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    alike = (x == y) & (abs(x) == math.inf)   # as equal infinities share, by 0 between them
    return sigmoid(where(alike, 0.0, x - y))


@elementwise("logaddexp({x}, {y})", _share_of_sum, lambda z, x, y: _share_of_sum(z, y, x),
             of=FLOATS)
def logaddexp(x: Array, y: Array) -> Array:
    """log(exp(x) + exp(y)), without overflow."""
    return np.logaddexp(x, y)


def _share_of_powers(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return _share_of_sum(z, _LN2 * x, _LN2 * y)


@elementwise(f"logaddexp({{t}}({_LN2}) * {{x}}, {{t}}({_LN2}) * {{y}}) * {{t}}({1 / _LN2})",
             _share_of_powers, lambda z, x, y: _share_of_powers(z, y, x), of=FLOATS)
def logaddexp2(x: Array, y: Array) -> Array:
    """log2(2^x + 2^y), without overflow."""
    return np.logaddexp2(x, y)


# ---- powers

def _base_partial(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return y * _pow(x, where(y == 0, 1.0, y - 1))


def _exponent_partial(z: Tensor, x: Tensor, y: Tensor) -> Tensor:
    vanishes = (x == 0) & (real(y) >= 0)
    return where(vanishes, 0.0, z * log(where(vanishes, 1.0, x)))


@elementwise("pow({x}, {y})", _base_partial, _exponent_partial, of=INEXACT)
def _pow(x: Array, y: Array) -> Array:
    return np.power(x, y)


@predicate(None, of=INTEGERS, same_dtype=True)   # a negative exponent is an error of its run
def integer_pow(x: Array, y: Array) -> Array:
    """x to the power y, which is not negative, of integers."""
    if y.dtype.kind == "i" and np.any(y < 0):
        raise ArgumentError("pow", got=f"integers to the power {y.min()}",
                            why="a negative power of an integer is no integer",
                            fix="cast the base: tf.cast(x, tf.float32)")
    return np.power(x, y)


def exp2(x: TensorLike) -> Tensor:
    """2 to the power x.

    Raises: DTypeError unless x is floating.
    """
    t = as_tensor(x, op="exp2")
    if t.value.dtype.kind not in FLOATS.kinds:
        raise unfit("exp2", FLOATS, t.spec)
    return pow(2.0, t)


_PRODUCTS: dict[int, Callable[[Any], Tensor]] = {
    1: positive, 2: square, 3: lambda x: square(x) * x, 4: lambda x: square(square(x)),
}


def pow(x: TensorLike, y: TensorLike) -> Tensor:
    """x to the power y; small whole powers are products.

    Returns: the common shape and dtype. 0 to the power 0 is 1, and its derivatives are 0.
    Raises: ArgumentError for a negative power of an integer, DTypeError for a power that is a
        float of a base that is none.
    """
    if type(y) in (int, float) and y in _PRODUCTS and not isinstance(x, int | float):
        if type(y) is float and type(x) is not Weak:
            x = x if type(x) is Tensor else as_tensor(x, op="pow")
            if x.value.dtype.kind in "biu":
                weak(y, x.dtype, "pow")
        return _PRODUCTS[int(y)](x)
    if coerce("pow", x, y)[0].dtype.kind in INTEGERS.kinds:
        return integer_pow(x, y)
    return _pow(x, y)


# ---- trigonometry

def _slope_of_sin(y: Tensor, x: Tensor) -> Tensor:
    return cos(x)


@elementwise("sin({x})", _slope_of_sin, of=INEXACT)
def sin(x: Array) -> Array:
    """The sine of x, in radians."""
    return np.sin(x)


@elementwise("cos({x})", lambda y, x: -sin(x), of=INEXACT)
def cos(x: Array) -> Array:
    """The cosine of x, in radians."""
    return np.cos(x)


@elementwise("tan({x})", lambda y, x: 1.0 + square(y), of=INEXACT)
def tan(x: Array) -> Array:
    """The tangent of x, in radians."""
    return np.tan(x)


@elementwise("asin({x})", lambda y, x: rsqrt(1.0 - square(x)), of=INEXACT)
def asin(x: Array) -> Array:
    """The angle whose sine is x; NaN outside [-1, 1]."""
    return np.arcsin(x)


@elementwise("acos({x})", lambda y, x: -rsqrt(1.0 - square(x)), of=INEXACT)
def acos(x: Array) -> Array:
    """The angle whose cosine is x; NaN outside [-1, 1]."""
    return np.arccos(x)


@elementwise("atan({x})", lambda y, x: 1.0 / (1.0 + square(x)), of=INEXACT)
def atan(x: Array) -> Array:
    """The angle whose tangent is x."""
    return np.arctan(x)


@elementwise("atan2({y}, {x})", lambda z, y, x: x / (square(x) + square(y)),
             lambda z, y, x: -y / (square(x) + square(y)), of=FLOATS)
def atan2(y: Array, x: Array) -> Array:
    """The angle of the point (x, y), between -pi and pi."""
    return np.arctan2(y, x)


def angle(x: TensorLike) -> Tensor:
    """The angle of the complex x, between -pi and pi; of a real x 0 or pi.

    Raises: DTypeError for bool and integers.

    >>> angle([1j, -1.0])
    Tensor([1.5707964, 3.1415927], f32[2])
    """
    x = as_tensor(x, op="angle")
    if x.dtype.kind not in INEXACT.kinds:
        raise unfit("angle", INEXACT, x.spec)
    return atan2(imag(x), real(x))


# ---- hyperbolic functions

def _slope_of_sinh(y: Tensor, x: Tensor) -> Tensor:
    return cosh(x)


@elementwise("sinh({x})", _slope_of_sinh, of=INEXACT)
def sinh(x: Array) -> Array:
    """The hyperbolic sine of x."""
    return np.sinh(x)


@elementwise("cosh({x})", lambda y, x: sinh(x), of=INEXACT)
def cosh(x: Array) -> Array:
    """The hyperbolic cosine of x."""
    return np.cosh(x)


@elementwise("tanh({x})", lambda y, x: 1.0 - square(y), of=INEXACT)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent of x."""
    return np.tanh(x)


@elementwise("asinh({x})", lambda y, x: rsqrt(square(x) + 1.0), of=INEXACT)
def asinh(x: Array) -> Array:
    """The number whose hyperbolic sine is x."""
    return np.arcsinh(x)


@elementwise("acosh({x})", lambda y, x: rsqrt(x - 1.0) * rsqrt(x + 1.0), of=INEXACT)
def acosh(x: Array) -> Array:
    """The number whose hyperbolic cosine is x; NaN below 1."""
    return np.arccosh(x)


@elementwise("atanh({x})", lambda y, x: 1.0 / (1.0 - square(x)), of=INEXACT)
def atanh(x: Array) -> Array:
    """The number whose hyperbolic tangent is x; NaN outside [-1, 1]."""
    return np.arctanh(x)


# ---- the logistic function and the error function

@elementwise("sigmoid({x})", lambda y, x: y * (1.0 - y), of=FLOATS)
def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return elements.apply("sigmoid", x)


@elementwise("erf({x})", lambda y, x: (2 / math.sqrt(math.pi)) * exp(-square(x)), of=FLOATS)
def erf(x: Array) -> Array:
    """The error function: the probability that a normal variable of variance 1/2 is within ±x."""
    return elements.apply("erf", x)
