"""exp and what is made of it, for float32 and float64, without branches or calls.

Source of the reductions: Muller et al., Handbook of Floating-Point Arithmetic (2018), chapter 10.
"""

from __future__ import annotations

from typing import Any

from tapeflow_kernels import machine
from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    constant,
    copysign,
    fma,
    integer,
    ldexp,
    like,
    magnitude,
    number,
    pattern,
    polynomial,
    select,
    whole,
)  # fmt: skip

SHIFTER = constant(1.5 * 2**23, 1.5 * 2**52)  # adding it rounds a small number to a whole one
DIGITS = integer(23, 52)  # of the significand, as stored
BIAS = integer(127, 1023)
LN2 = constant(float.fromhex("0x1.62e43p-1"), float.fromhex("0x1.62e42fefa39efp-1"))
LN2_REST = constant(float.fromhex("-0x1.05c61p-29"), float.fromhex("0x1.abc9e3b39803fp-56"))
LOG2_E = constant(1.4426950408889634, 1.4426950408889634)
_LEAST = constant(-104.0, -746.0)  # exp of less is 0
_MOST = constant(89.0, 710.0)  # exp of more is infinite
_MINUS_ONE = constant(-26.0, -55.0)  # exp(x) - 1 for less is -1
_CERTAIN = constant(10.0, 20.0)  # tanh of more is 1

# (exp(r) - 1 - r) / r² for |r| <= ln(2) / 2
EXP_TAIL = polynomial(
    (0.5, 0.16666576266288757, 0.04166655242443085, 0.008363292552530766, 0.0013926326064392924),
    (0.5000000000000001, 0.16666666666666669, 0.04166666666662348, 0.008333333333330011,
     0.0013888888917538296, 0.00019841269863303223, 2.4801520792572694e-05, 2.75572680728901e-06,
     2.762032742826824e-07, 2.5100569275813683e-08),
)  # fmt: skip
# (exp(2 r) - 1 - 2 r) / (2 r²) for |r| <= ln(2) / 4
_TANH_TAIL = polynomial(
    (1.0, 0.6666630506515503, 0.3333324193954468, 0.13381268084049225, 0.04456424340605736),
    (1.0, 0.6666666666666667, 0.3333333333329878, 0.13333333333328018, 0.04444444453612255,
     0.012698412712514063, 0.003174594661449305, 0.0007054660626659865, 0.00014141607643273338,
     2.570298293843321e-05),
)  # fmt: skip


@inlined
def clipped(x: Any, least: Any, most: Any) -> Any:
    """x between two bounds; NaN stays."""
    x = select(x < least, least, x)
    return select(x > most, most, x)


@inlined
def nearest(x: Any, scale: Any) -> Any:
    """The whole number nearest to a small x · scale, as an integer and as it is."""
    shifted = fma(x, scale, SHIFTER(x))
    return whole(pattern(shifted) - pattern(SHIFTER(x)), x), shifted - SHIFTER(x)


@inlined
def power_of_2(k: Any, x: Any) -> Any:
    """2^k as a normal number of the format of x."""
    return number(whole(k + BIAS(x), x) << DIGITS(x), x)


@inlined
def scaled_in_steps(y: Any, k: Any) -> Any:
    """y · 2^k by two products, as 2^k alone may be no normal number."""
    first = whole(k >> 1, y)
    return y * power_of_2(first, y) * power_of_2(whole(k - first, y), y)


# y · 2^k, also where that is subnormal or infinite. exp of 100,000 float32: 18 us, in steps 23.
scaled = ldexp if "+avx512f" in machine.host().features else scaled_in_steps


@inlined
def exp_of(r: Any) -> Any:
    """exp(r) for |r| <= ln(2) / 2."""
    one = like(1, r)
    return fma(fma(EXP_TAIL(r), r, one), r, one)


@inlined
def exp_and_power(x: Any) -> Any:
    """y and k with exp(x) = y 2^k, where x is not huge."""
    k, whole_k = nearest(x, LOG2_E(x))
    r = fma(-whole_k, LN2_REST(x), fma(-whole_k, LN2(x), x))
    return exp_of(r), k


@inlined
def exp(x: Any) -> Any:
    y, k = exp_and_power(clipped(x, _LEAST(x), _MOST(x)))
    return scaled(y, k)


@inlined
def _exp_below(x: Any) -> Any:
    """exp(x) for x <= 0."""
    y, k = exp_and_power(select(x < _LEAST(x), _LEAST(x), x))
    return scaled(y, k)


@inlined
def _half_exp(x: Any) -> Any:
    """exp(x) / 2 for x >= 0, which overflows later."""
    beyond = _MOST(x) + like(1, x)
    y, k = exp_and_power(select(x > beyond, beyond, x))
    return scaled(y, whole(k - 1, x))


@inlined
def _half_expm1(x: Any) -> Any:
    """(exp(x) - 1) / 2 where exp(x) is a normal number, but 0 for -0."""
    k, whole_k = nearest(x, LOG2_E(x))
    start, rest = fma(-whole_k, LN2(x), x), -whole_k * LN2_REST(x)  # the first is exact
    r = start + rest
    scale = power_of_2(whole(k - 1, x), x)
    return fma(scale, fma(EXP_TAIL(r) * r, r, rest), fma(scale, start, scale - like(0.5, x)))


@inlined
def expm1(x: Any) -> Any:
    half = _half_expm1(clipped(x, _MINUS_ONE(x), _MOST(x)))
    return select(x == like(0, x), x, half + half)


@inlined
def tanh(x: Any) -> Any:
    """With h = (exp(2|x|) - 1) / 2: h - h h / (1 + h) for small h, else 1 - 1 / (1 + h).

    The low part of ln(2) would change h by less than tanh shows.
    """
    half, one, far = like(0.5, x), like(1, x), magnitude(x)
    far = select(far > _CERTAIN(x), _CERTAIN(x), far)
    k, whole_k = nearest(far, LOG2_E(x) + LOG2_E(x))
    r = fma(-whole_k, half * LN2(x), far)
    scale = power_of_2(k, x)
    h = fma(scale, _TANH_TAIL(r) * r * r, fma(scale, r, fma(scale, half, -half)))
    c = select(h < one, h, one)
    return copysign(fma(-c, c / (one + h), c), x)


@inlined
def sinh(x: Any) -> Any:
    """With t = exp(|x|) - 1: t - t q / 2 for small t, else (t + q) / 2, where q = t / (1 + t)."""
    half, far = like(0.5, x), magnitude(x)
    large = far > _CERTAIN(x)
    h = _half_expm1(select(large, like(0, x), far))
    q = (h + h) / (like(1, x) + (h + h))
    near = select(h < half, fma(-h, q, h + h), fma(half, q, h))
    return copysign(select(large, _half_exp(far), near), x)


@inlined
def cosh(x: Any) -> Any:
    h = _half_exp(magnitude(x))
    return h + like(0.25, x) / h


@inlined
def sigmoid(x: Any) -> Any:
    """With e = exp(-|x|): e - e e / (1 + e) for negative x, else 1 - e / (1 + e)."""
    one, e = like(1, x), _exp_below(-magnitude(x))
    c = select(x < like(0, x), e, one)
    return fma(-c, e / (one + e), c)


# ---- the error function

# erf(x) / x - 1 in x², |x| < 1
_NEAR = polynomial(
    (0.12837916612625122, -0.3761262595653534, 0.11283594369888306, -0.02685421146452427,
     0.005189087241888046, -0.000801686430349946, 7.875874871388078e-05),
    (0.1283791670955126, -0.37612638903183754, 0.1128379167095512, -0.02686617064512984,
     0.0052239776254232985, -0.000854832702193483, 0.00012055332902888736,
     -1.4925647567519332e-05, 1.6462045441468418e-06, -1.6364642158167616e-07,
     1.4792401209404813e-08, -1.216456005728345e-09, 8.709045129053106e-11,
     -4.230945824295338e-12),
)  # fmt: skip
# -log(1 - erf(1 + u)), up to 4 and 6
_FAR = polynomial(
    (1.8496055603027344, 2.638967752456665, 0.8431047201156616, 0.04157574102282524,
     -0.010077808052301407, 0.002054300857707858, -0.0003202395746484399,
     3.2960830139927566e-05, -1.6371513993362896e-06),
    (1.8496055099332485, 2.6389675142347313, 0.8431072563607669, 0.0415610980121353,
     -0.010033825160920953, 0.0019779016975242304, -0.0002373204631306626,
     -2.6279862858634217e-05, 2.7156334221864213e-05, -9.595006509513527e-06,
     2.033159780146731e-06, -1.1028561509522453e-07, -1.2585035591399704e-07,
     7.014356561785236e-08, -2.3570812642171107e-08, 5.9695484096523654e-09,
     -1.1993313226526883e-09, 1.9306769041530837e-10, -2.470337254501987e-11,
     2.459764005017919e-12, -1.837898289962346e-13, 9.691465054328285e-15,
     -3.213950386575977e-16, 5.038175090820216e-18),
)  # fmt: skip
_CERTAIN_ERF = constant(4.0, 6.0)


@inlined
def erf_near(x: Any) -> Any:
    """erf(x) for |x| < 1."""
    return fma(_NEAR(x * x), x, x)


@inlined
def erf(x: Any) -> Any:
    one, far = like(1, x), magnitude(x)
    near = select(far < one, x, like(0, x))
    beyond = clipped(far, one, _CERTAIN_ERF(x)) - one
    tail, k = exp_and_power(-_FAR(beyond))
    tail *= power_of_2(k, x)
    y = copysign(one - tail, x)
    return select(far < one, erf_near(near), y)
