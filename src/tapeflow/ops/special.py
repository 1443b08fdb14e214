"""Special functions: of errors, gamma, beta and Bessel, and logarithms that are right at 0.

Eager and compiled code share their definitions, in tapeflow_kernels/cpu/vecmath; docs/accuracy.md
says how exact they are. Source of the derivatives: NIST Digital Library of Mathematical Functions.
"""
from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from tapeflow.errors import ArgumentError
from tapeflow.ops.arithmetic import round_, sign, square
from tapeflow.ops.elementwise import FLOATS, elementwise, where
from tapeflow.ops.logic import isinf
from tapeflow.ops.transcendental import cos, exp, log, log1p
from tapeflow.tensor import Array, Tensor
from tapeflow_kernels.cpu import elements

_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)


def _undefined(op: str, argument: str) -> Callable[..., Tensor]:
    """The partial derivative that has no formula here."""
    def partial(y: Tensor, *xs: Tensor) -> Tensor:
        raise ArgumentError(op, got=", ".join(str(x.spec) for x in xs),
                            why=f"its derivative by {argument} is not defined here",
                            fix=f"differentiate by its last argument only, or stop the gradient: "
                                f"tf.stop_gradient({argument})")
    return partial


# ---- errors of a normal variable

@elementwise("erfc({x})", lambda y, x: -_TWO_OVER_ROOT_PI * exp(-square(x)), of=FLOATS)
def erfc(x: Array) -> Array:
    """1 - erf(x), which keeps its digits where it is small."""
    return elements.apply("erfc", x)


_FAR = 5.0   # from here on 15 steps of the fraction below are exact to 3e-15


def _slope_of_erfcx(y: Tensor, x: Tensor) -> Tensor:
    """2 x y - 2 / sqrt(pi); far out, where that cancels, -2 y r, as y is 1 / sqrt(pi) over x + r.

    Source: the continued fraction of erfc, DLMF 7.9.1.
    """
    far = x > _FAR
    at = where(far, x, _FAR)
    r = 8.0 / at
    for k in range(15, 0, -1):
        r = 0.5 * k / (at + r)
    near = 2.0 * where(far, 0.0, x) * y - _TWO_OVER_ROOT_PI
    return where(far, -2.0 * where(far, y, 0.0) * r, near)


@elementwise("erfcx({x})", _slope_of_erfcx, of=FLOATS)
def erfcx(x: Array) -> Array:
    """exp(x²) erfc(x), which does not vanish for large x."""
    return elements.apply("erfcx", x)


@elementwise("erfinv({x})", lambda y, x: math.sqrt(math.pi) / 2 * exp(square(y)), of=FLOATS)
def erfinv(x: Array) -> Array:
    """The number whose erf() is x; infinite at ±1, NaN beyond."""
    return elements.apply("erfinv", x)


# ---- the gamma function

def _next_polygamma(y: Tensor, n: Tensor, x: Tensor) -> Tensor:
    return polygamma(n + 1, x)


@elementwise("polygamma({n}, {x})", None, _next_polygamma, of=FLOATS)
def polygamma(n: Array, x: Array) -> Array:
    """The derivative of order n = 0, 1, ... of digamma at x; NaN for another n.

    No gradient flows to n.
    """
    return elements.apply("polygamma", n, x)


@elementwise("digamma({x})", lambda y, x: polygamma(1, x), of=FLOATS)
def digamma(x: Array) -> Array:
    """The derivative of lgamma(x); infinite at 0, NaN at -1, -2, ..."""
    return elements.apply("digamma", x)


@elementwise("lgamma({x})", lambda y, x: digamma(x), of=FLOATS)
def lgamma(x: Array) -> Array:
    """log|Gamma(x)|; infinite at 0, -1, -2, ..."""
    return elements.apply("lgamma", x)


def _gamma_density(y: Tensor, a: Tensor, x: Tensor) -> Tensor:
    return exp(xlogy(a - 1.0, x) - x - lgamma(a))


@elementwise("gammainc({a}, {x})", _undefined("gammainc", "a"), _gamma_density, of=FLOATS)
def gammainc(a: Array, x: Array) -> Array:
    """P(a, x), the regularised lower incomplete gamma function, for a and x of at least 0.

    Raises: ArgumentError where it is differentiated by a.
    """
    return elements.apply("gammainc", a, x)


@elementwise("gammaincc({a}, {x})", _undefined("gammaincc", "a"),
             lambda y, a, x: -_gamma_density(y, a, x), of=FLOATS)
def gammaincc(a: Array, x: Array) -> Array:
    """Q(a, x) = 1 - P(a, x), the regularised upper incomplete gamma function.

    Raises: ArgumentError where it is differentiated by a.
    """
    return elements.apply("gammaincc", a, x)


def _beta_density(y: Tensor, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    scale = lgamma(a) + lgamma(b) - lgamma(a + b)
    return exp(xlogy(a - 1.0, x) + xlog1py(b - 1.0, -x) - scale)


@elementwise("betainc({a}, {b}, {x})", _undefined("betainc", "a"), _undefined("betainc", "b"),
             _beta_density, of=FLOATS)
def betainc(a: Array, b: Array, x: Array) -> Array:
    """I(a, b, x), the regularised incomplete beta function, for positive a, b and 0 <= x <= 1.

    Raises: ArgumentError where it is differentiated by a or b.
    """
    return elements.apply("betainc", a, b, x)


# ---- modified Bessel functions

def _over(y: Tensor, x: Tensor, at_0: float) -> Tensor:
    """y / x, and its limit at 0."""
    return where(x == 0, at_0, y / where(x == 0, 1.0, x))


def _slope_of_i0(y: Tensor, x: Tensor) -> Tensor:
    return i1(x)


def _slope_of_i0e(y: Tensor, x: Tensor) -> Tensor:
    return i1e(x) - sign(x) * y


@elementwise("i0({x})", _slope_of_i0, of=FLOATS)
def i0(x: Array) -> Array:
    """The modified Bessel function of the first kind of order 0."""
    return elements.apply("i0", x)


def _slope_of_i1(y: Tensor, x: Tensor) -> Tensor:
    """i0(x) - i1(x) / x, and infinite where both are."""
    return i0(x) - _over(where(isinf(y), 0.0, y), x, 0.5)


@elementwise("i1({x})", _slope_of_i1, of=FLOATS)
def i1(x: Array) -> Array:
    """The modified Bessel function of the first kind of order 1."""
    return elements.apply("i1", x)


@elementwise("i0e({x})", _slope_of_i0e, of=FLOATS)
def i0e(x: Array) -> Array:
    """exp(-|x|) i0(x), which does not overflow."""
    return elements.apply("i0e", x)


@elementwise("i1e({x})", lambda y, x: i0e(x) - sign(x) * y - _over(y, x, 0.5), of=FLOATS)
def i1e(x: Array) -> Array:
    """exp(-|x|) i1(x), which does not overflow."""
    return elements.apply("i1e", x)


# ---- logarithms and quotients with limits

@elementwise("logit({x})", lambda y, x: 1.0 / (x * (1.0 - x)), of=FLOATS)
def logit(x: Array) -> Array:
    """log(x / (1 - x)), what sigmoid() undoes; NaN outside of 0 to 1."""
    return elements.apply("logit", x)


@elementwise("({t}(0) if ({x} == 0) & ({y} == {y}) else {x} * log({y}))",
             lambda z, x, y: log(y), lambda z, x, y: _quotient_or_0(x, y), of=FLOATS)
def xlogy(x: Array, y: Array) -> Array:
    """x log(y), and 0 where x is 0, unless y is NaN."""
    return np.where((x == 0) & ~np.isnan(y), np.zeros_like(x), x * np.log(y))


@elementwise("({t}(0) if ({x} == 0) & ({y} == {y}) else {x} * log1p({y}))",
             lambda z, x, y: log1p(y), lambda z, x, y: _quotient_or_0(x, 1.0 + y), of=FLOATS)
def xlog1py(x: Array, y: Array) -> Array:
    """x log(1 + y), and 0 where x is 0, unless y is NaN."""
    return np.where((x == 0) & ~np.isnan(y), np.zeros_like(x), x * np.log1p(y))


def _quotient_or_0(x: Tensor, y: Tensor) -> Tensor:
    return where(x == 0, 0.0, x / where(x == 0, 1.0, y))


def _slope_of_sinc(y: Tensor, x: Tensor) -> Tensor:
    """(cos(pi x) - sinc(x)) / x, near 0 by its series, which does not cancel."""
    near = abs(x) < 0.25
    apart = where(near | isinf(x), 0.0, x)
    angle = math.pi * (apart - 2.0 * round_(0.5 * apart))   # at most pi, so it loses no digits
    z = square(where(near, math.pi * x, 0.0))
    series = 0.0 * z
    for k in range(8, 0, -1):   # (-1)^k 2 k / (2 k + 1)! z^k / x
        series = series * z + (-1) ** k * 2 * k / math.factorial(2 * k + 1)
    slope = (cos(angle) - where(near, 1.0, y)) / where(near, 1.0, x)
    return where(near, series * (math.pi ** 2 * x), slope)


@elementwise("sinc({x})", _slope_of_sinc, of=FLOATS)
def sinc(x: Array) -> Array:
    """sin(pi x) / (pi x), and 1 at 0."""
    return elements.apply("sinc", x)
