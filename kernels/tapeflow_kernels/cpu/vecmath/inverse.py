"""The inverses of the trigonometric and hyperbolic functions, for float32 and float64, without
branches or calls."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    constant,
    copysign,
    fma,
    like,
    magnitude,
    polynomial,
    root,
    select,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.exponential import LN2
from tapeflow_kernels.cpu.vecmath.logarithm import log, log1p_of
from tapeflow_kernels.cpu.vecmath.pairs import sum_of

_hex = float.fromhex
_QUARTER = constant(_hex("0x1.921fb6p+0"), _hex("0x1.921fb54442d18p+0"))  # pi/2
_QUARTER_REST = constant(_hex("-0x1.777a5cp-25"), _hex("0x1.1a62633145c07p-54"))
# (atan(t) / t - 1) / t² in t², |t| <= 1
_ATAN = polynomial(
    (-0.3333333432674408, 0.19999949634075165, -0.14284004271030426, 0.11088261753320694,
     -0.08931826800107956, 0.07031914591789246, -0.04896051436662674, 0.026305001229047775,
     -0.00914462935179472, 0.001488691894337535),
    (-0.3333333333333333, 0.1999999999999992, -0.14285714285701234, 0.11111111110268297,
     -0.0909090906193528, 0.07692307078827029, -0.06666657934573768, 0.05882264416776449,
     -0.052624922290256754, 0.04758080083637821, -0.043306538430670664, 0.03938687540798632,
     -0.035271331066871296, 0.030330719265790507, -0.024191345810140718, 0.01718398172211335,
     -0.010412153260359241, 0.005140912856746939, -0.0019612554271685326, 0.0005376839297396244,
     -9.371186345052626e-05, 7.767624330289919e-06),
)  # fmt: skip
# (asin(t) / t - 1) / t² in t², |t| <= 1/2
_ASIN = polynomial(
    (0.1666666567325592, 0.07500094175338745, 0.04459940269589424, 0.031100662425160408,
     0.017149237915873528, 0.03369084745645523),
    (0.16666666666666669, 0.07499999999998433, 0.04464285714635543, 0.030381944138531247,
     0.02237217294214989, 0.017352392720869973, 0.013971212973552933, 0.011479177415184906,
     0.01032281435018578, 0.005457506718640358, 0.01740087944269402, -0.014851887071247204,
     0.028757851367421566),
)  # fmt: skip


@inlined
def _atan_of_ratio(y: Any, x: Any) -> Any:
    """atan(y / x) for y, x >= 0, not both 0 or infinite."""
    swapped = y > x
    t = select(swapped, x, y) / select(swapped, y, x)
    z = t * t
    small = fma(t * z, _ATAN(z), t)
    return select(swapped, _QUARTER(x) - (small - _QUARTER_REST(x)), small)


@inlined
def atan(x: Any) -> Any:
    return copysign(_atan_of_ratio(magnitude(x), like(1, x)), x)


@inlined
def atan2(y: Any, x: Any) -> Any:
    """Source of the special cases: ISO C, F.10.1.4."""
    zero, one, infinity = like(0, x), like(1, x), like(np.inf, x)
    b, a = magnitude(y), magnitude(x)
    both = (a == infinity) & (b == infinity)
    b, a = select(both, one, b), select(both, one, a)
    nothing = (a == zero) & (b == zero)
    angle = _atan_of_ratio(b, select(nothing, one, a))
    beyond = _QUARTER(x) + _QUARTER(x)
    beyond -= angle - (_QUARTER_REST(x) + _QUARTER_REST(x))
    angle = select(copysign(one, x) < zero, beyond, angle)
    return copysign(angle, y)


@inlined
def _asin_beyond_linear(t: Any, z: Any) -> Any:
    """asin(t) - t for |t| <= 1/2, given z = t²."""
    return t * z * _ASIN(z)


@inlined
def asin(x: Any) -> Any:
    """asin(x), near 1 as pi/2 - 2 asin(sqrt((1 - x) / 2))."""
    half, far = like(0.5, x), magnitude(x)
    large = far > half
    z = select(large, fma(-half, far, half), far * far)
    t = select(large, root(z), far)
    tail = _asin_beyond_linear(t, z)
    y = _QUARTER(x) - ((t + t) + ((tail + tail) - _QUARTER_REST(x)))
    return copysign(select(large, y, t + tail), x)


@inlined
def acos(x: Any) -> Any:
    """pi/2 - asin(x), near ±1 as 2 asin(sqrt((1 - x) / 2))."""
    zero, half, far = like(0, x), like(0.5, x), magnitude(x)
    large = far > half
    z = select(large, fma(-half, far, half), far * far)
    t = select(large, root(z), x)
    t += _asin_beyond_linear(t, z)
    quarter, quarter_rest = _QUARTER(x), _QUARTER_REST(x)
    beyond = (quarter + quarter) - ((t + t) - (quarter_rest + quarter_rest))
    near_ends = select(x < zero, beyond, t + t)
    return select(large, near_ends, quarter - (t - quarter_rest))


# ---- logarithms of 1 + u, where u is a number and what it lacks


@inlined
def asinh(x: Any) -> Any:
    """log(1 + u), u = a + a² / (1 + sqrt(1 + a²)), a = |x|; log(2 a) for large a."""
    one, a = like(1, x), magnitude(x)
    large = a > like(1e9, x)
    b = select(large, one, a)
    u, rest = sum_of(b, b * (b / (one + root(fma(b, b, one)))))
    y = select(large, log(a) + LN2(x), log1p_of(u, rest))
    return copysign(y, x)


@inlined
def acosh(x: Any) -> Any:
    """log(1 + u), u = t + sqrt(t² + 2 t), t = x - 1; log(2 x) for large x."""
    one = like(1, x)
    large = x > like(1e9, x)
    t = select(large, one, x - one)
    square = fma(t, t, t + t)
    s = root(square)
    s_rest = select(s > like(0, x), fma(-s, s, square) / (s + s), s)
    u, rest = sum_of(s, t)
    y = select(large, log(x) + LN2(x), log1p_of(u, rest + s_rest))
    return select(x < one, like(np.nan, x), y)


@inlined
def atanh(x: Any) -> Any:
    """log(1 + u) / 2, u = 2 a / (1 - a), a = |x|."""
    one, a = like(1, x), magnitude(x)
    d, d_rest = sum_of(one, -a)
    over = one / d
    u = (a + a) * over
    rest = fma(-u, d_rest, fma(-u, d, a + a)) * over
    y = log1p_of(u, select(a < one, rest, like(0, x)))
    return copysign(like(0.5, x) * y, x)


@inlined
def logit(x: Any) -> Any:
    """log(x / (1 - x)), near 1/2 as 2 atanh(2 x - 1)."""
    one, quarter = like(1, x), like(0.25, x)
    middle = (x > quarter) & (x < like(0.75, x))
    twice = atanh(select(middle, (x + x) - one, like(0, x)))
    return select(middle, twice + twice, log(x / (one - x)))
