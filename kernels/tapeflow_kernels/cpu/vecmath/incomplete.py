"""Incomplete gamma and beta functions, by series and continued fractions in float64.

Their loops end when a term changes nothing, after _MOST turns at the latest.
Source of the formulas: NIST Digital Library of Mathematical Functions, chapter 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import fma, like, magnitude, of_double, root, select
from tapeflow_kernels.cpu.vecmath.exponential import exp, expm1
from tapeflow_kernels.cpu.vecmath.gamma import lgamma_1p, lgamma_positive
from tapeflow_kernels.cpu.vecmath.gauss import erfc
from tapeflow_kernels.cpu.vecmath.logarithm import log, log1p, sum_of
from tapeflow_kernels.cpu.vecmath.power import atanh_tail, log_of, pow_double
from tapeflow_kernels.cpu.vecmath.zeros import stirling

_MOST = 20000
_EPSILON = 1e-17  # a term of this share changes nothing
_CLOSE = 0.04  # relative distance up to which _bend() loses less than logarithms
_TINY = 1e-300  # stands for 0 in denominators
_LARGE = 1e5  # from here on Temme's expansion is exact to 1e-16
_TWO_PI = 6.283185307179586
_STIRLING_FROM = 2.5
# of Temme's expansion, in eta. Source: DLMF 8.12
_TEMME_0 = of_double(
    -0.3333333333333333, 0.08333333333333333, -0.014814814814814815, 0.0011574074074074073,
    0.0003527336860670194, -0.0001787551440329218, 3.919263178522438e-05,
    -2.185448510679992e-06, -1.85406221071516e-06, 8.296711340953087e-07,
    -1.7665952736826078e-07, 6.707853543401498e-09, 1.0261809784240309e-08,
    -4.382036018453353e-09, 9.14769958223679e-10, -2.5514193994946248e-11,
)
_TEMME_1 = of_double(
    -0.001851851851851852, -0.003472222222222222, 0.0026455026455026454,
    -0.0009902263374485596, 0.00020576131687242798, -4.018775720164609e-07,
    -1.8098550334489977e-05, 7.64916091608111e-06, -1.6120900894563446e-06,
    4.647127802807434e-09, 1.378633446915721e-07, -5.752545603517705e-08,
)
_TEMME_2 = of_double(
    0.004133597883597883, -0.0026813271604938273, 0.0007716049382716049,
    2.0093878600823047e-06, -0.0001073665322636516, 5.2923448829120125e-05,
    -1.2760635188618728e-05, 3.423578734096138e-08, 1.3721957309062934e-06,
)


@inlined
def _bend(m: Any) -> Any:
    """m - log(1 + m) for small m: with s = m / (2 + m), m s less what 2 atanh(s) has beyond 2 s."""
    s = m / (2.0 + m)
    z = s * s
    return fma(m, s, -(s * z) * (2.0 / 3.0 + z * atanh_tail(z)))


@inlined
def _log_of_ratio(x: Any, x_rest: Any, a: Any, a_rest: Any) -> Any:
    """log((x + x_rest) / (a + a_rest)) as a pair."""
    high, low = log_of(x)
    less, least = log_of(a)
    d, rest = sum_of(high, -less)
    return d, rest + ((low - least) + (x_rest / x - a_rest / a))


@inlined
def _times(a: Any, pair: Any) -> Any:
    """a times a pair, as a pair."""
    high, low = pair
    p = a * high
    return p, fma(a, high, -p) + a * low


@inlined
def _distance(a: Any, x: Any) -> Any:
    """x - a - a log(x / a), at least 0: what exp() takes in x^a exp(-x) beside its maximum. A pair,
    as exp() turns units of the last place of it into as many times what it is."""
    m = (x - a) / a
    if magnitude(m) < _CLOSE:
        return a * _bend(m), 0.0
    p, rest = _times(a, _log_of_ratio(x, 0.0, a, 0.0))
    away, lost = sum_of(x, -a)
    y, more = sum_of(away, -p)
    return y, more + (lost - rest)


@inlined
def _exp_of_less(pair: Any) -> Any:
    """exp(-d) of a pair d."""
    d, rest = pair
    return exp(-d) * (1.0 - rest)


@inlined
def _apart(x: Any) -> Any:
    """x, as a denominator: never 0."""
    return select(magnitude(x) > _TINY, x, _TINY)


# ---- incomplete gamma


@inlined
def _gamma_term(a: Any, x: Any) -> Any:
    """x^a exp(-x) / Gamma(a + 1)."""
    if a >= _STIRLING_FROM:
        return _exp_of_less(_distance(a, x)) * (exp(-stirling(a)) / root(_TWO_PI * a))
    e = exp(-0.5 * x)
    scale = lgamma_1p(a) if a < 0.5 else lgamma_positive(a + 1.0)
    return e * (pow_double(x, a) * exp(-scale)) * e


@inlined
def _lower_series(a: Any, x: Any) -> Any:
    """P(a, x) by its series, DLMF 8.11.4."""
    term, total, k = 1.0, 1.0, 1.0
    while term > _EPSILON * total and k < _MOST:
        term *= x / (a + k)
        total += term
        k += 1.0
    return _gamma_term(a, x) * total


@inlined
def _upper_fraction(a: Any, x: Any) -> Any:
    """Q(a, x) by its continued fraction, DLMF 8.9.2, from the front (Lentz)."""
    b = x + 1.0 - a
    c, d = 1.0 / _TINY, 1.0 / b
    total, change, k = d, 0.0, 1.0
    while magnitude(change - 1.0) > 1e-16 and k < _MOST:
        over = -k * (k - a)
        b += 2.0
        d = 1.0 / _apart(over * d + b)
        c = _apart(b + over / c)
        change = c * d
        total *= change
        k += 1.0
    return a * _gamma_term(a, x) * total


@inlined
def _upper_near_0(a: Any, x: Any) -> Any:
    """Q(a, x) for a < 1 and x <= 1, without taking P from 1: DLMF 8.7.3 less its terms of 1."""
    scale = lgamma_1p(a) if a < 0.5 else lgamma_positive(a + 1.0)
    power = a * log(x)
    term, total, k = 1.0, 0.0, 1.0
    while magnitude(term) > _EPSILON * magnitude(total) and k < _MOST:
        term *= -x / k
        total += term / (a + k)
        k += 1.0
    start = expm1(scale) - expm1(power)
    return (start - a * exp(power) * total) * exp(-scale)


@inlined
def _temme(a: Any, x: Any, upper: bool) -> Any:
    """P or Q for large a. Source: Temme, SIAM Journal on Mathematical Analysis 10 (1979)."""
    distance, rest = _distance(a, x)
    y = root(distance)
    eta = root(2.0 * distance / a)
    right = x > a
    signed = eta if right else -eta
    correction = (_TEMME_0(signed) + (_TEMME_1(signed) + _TEMME_2(signed) / a) / a)
    correction *= _exp_of_less((distance, rest)) / root(_TWO_PI * a)
    if upper:
        return 0.5 * erfc(y if right else -y) + correction
    return 0.5 * erfc(-y if right else y) - correction


@inlined
def _is_near(a: Any, x: Any) -> Any:
    """Whether Temme's expansion holds: else P or Q is 0."""
    return a > _LARGE and magnitude(x - a) < 0.3 * a


@inlined
def _outside(a: Any, x: Any, at_0: Any, beyond: Any) -> Any:
    """The value where a or x is 0, infinite or no number that there is one for; else -1."""
    if not (a >= 0.0 and x >= 0.0) or (a == np.inf and x == np.inf) or (a == 0.0 and x == 0.0):
        return np.nan
    if a == 0.0 or x == np.inf:
        return beyond
    return at_0 if x == 0.0 or a == np.inf else -1.0


@inlined
def gammainc(a: Any, x: Any) -> Any:
    """P(a, x), the regularised lower incomplete gamma function."""
    b, v = like(a, 0.0), like(x, 0.0)
    y = _outside(b, v, 0.0, 1.0)
    if y != -1.0:
        return like(y, x)
    if _is_near(b, v):
        return like(_temme(b, v, False), x)
    return like(_lower_series(b, v) if v <= 1.0 or v < b else 1.0 - _upper_fraction(b, v), x)


@inlined
def gammaincc(a: Any, x: Any) -> Any:
    """Q(a, x), the regularised upper incomplete gamma function."""
    b, v = like(a, 0.0), like(x, 0.0)
    y = _outside(b, v, 1.0, 0.0)
    if y != -1.0:
        return like(y, x)
    if _is_near(b, v):
        return like(_temme(b, v, True), x)
    if v <= 1.0 and b < 1.0:
        return like(_upper_near_0(b, v), x)
    return like(1.0 - _lower_series(b, v) if v <= 1.0 or v < b else _upper_fraction(b, v), x)


# ---- incomplete beta


@inlined
def _gamma_ratio(s: Any, large: Any) -> Any:
    """Gamma(large + s) / Gamma(large), large >= 2.5, by Stirling's formula."""
    both = large + s
    grown = (large - 0.5) * log1p(s / large) - s
    return pow_double(both, s) * exp(grown + (stirling(both) - stirling(large)))


@inlined
def _power(x: Any, y: Any, a: Any) -> Any:
    """x^a, where x was rounded if it is over 1/2, and is 1 - y."""
    return pow_double(x, a) * (1.0 + select(x < 0.5, 0.0, a * ((1.0 - x) - y) / x))


@inlined
def _beta_distance(a: Any, b: Any, x: Any, y: Any) -> Any:
    """-a log(x (a + b) / a) - b log(y (a + b) / b), at least 0, as a pair."""
    off = x * b - a * y
    u, v = off / a, -off / b
    if magnitude(u) < _CLOSE and magnitude(v) < _CLOSE:
        return a * _bend(u) + b * _bend(v), 0.0
    both, both_rest = sum_of(a, b)
    y_rest = (1.0 - y) - x
    p, first = _times(a, _log_of_ratio(a, 0.0, both * x, fma(both, x, -(both * x)) + both_rest * x))
    lost = fma(both, y, -(both * y)) + (both_rest * y + both * y_rest)
    q, second = _times(b, _log_of_ratio(b, 0.0, both * y, lost))
    d, rest = sum_of(p, q)
    return d, rest + (first + second)


@inlined
def _beta_term(a: Any, b: Any, x: Any, y: Any) -> Any:
    """x^a y^b / B(a, b), where x + y = 1."""
    both = a + b
    least, most = (a, b) if a < b else (b, a)
    if least >= _STIRLING_FROM:
        lost = stirling(both) - stirling(a) - stirling(b)
        scale = exp(lost) * root(a * (b / both) / _TWO_PI)
        return _exp_of_less(_beta_distance(a, b, x, y)) * scale
    powers = _power(x, y, a) * _power(y, x, b)
    if most >= _STIRLING_FROM:
        return least * (powers * _gamma_ratio(least, most) * exp(-_lgamma_of_next(least)))
    ratio = _lgamma_of_next(both) - _lgamma_of_next(a) - _lgamma_of_next(b)
    return powers * exp(ratio) * (a * (b / both))


@inlined
def _lgamma_of_next(a: Any) -> Any:
    """log(Gamma(1 + a)) for a >= 0."""
    return lgamma_1p(a) if a < 0.5 else lgamma_positive(a + 1.0)


@inlined
def _beta_fraction(a: Any, b: Any, x: Any, y: Any) -> Any:
    """I(a, b, x) for x up to about its mean, by a continued fraction of positive terms (Lentz).

    Source: Didonato & Morris, ACM Transactions on Mathematical Software 18 (1992), formula 9.
    """
    away = a * y - b * x + 1.0
    total = a * away / (a + 1.0)
    c, d, change, m = total, 0.0, 0.0, 1.0
    while magnitude(change - 1.0) > 2e-16 and m < _MOST:
        before = a + 2.0 * m - 1.0
        step = m * (b - m) * x / before
        over = (a + m - 1.0) * (a + b + m - 1.0) * x / before * step
        under = m + step + (a + m) * (away + m * (1.0 + y)) / (before + 2.0)
        d = 1.0 / _apart(under + over * d)
        c = _apart(under + over / c)
        change = c * d
        total *= change
        m += 1.0
    return _beta_term(a, b, x, y) / total


@inlined
def betainc(a: Any, b: Any, x: Any) -> Any:
    """I(a, b, x), the regularised incomplete beta function."""
    p, q, v = like(a, 0.0), like(b, 0.0), like(x, 0.0)
    if not (p > 0.0 and q > 0.0 and v >= 0.0 and v <= 1.0 and p < np.inf and q < np.inf):
        return like(np.nan, x)
    if v == 0.0 or v == 1.0:
        return x
    w = 1.0 - v
    more = 1.0 if p >= 1.0 and q >= 1.0 else 0.0
    if v <= (p + more) / (p + q + 2.0 * more):
        return like(_beta_fraction(p, q, v, w), x)
    return like(1.0 - _beta_fraction(q, p, w, v), x)
