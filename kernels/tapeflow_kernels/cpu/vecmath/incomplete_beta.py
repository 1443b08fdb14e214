"""The incomplete beta function, by a continued fraction in float64.

Source of the formulas: NIST Digital Library of Mathematical Functions, chapter 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import fma, like, magnitude, root, select
from tapeflow_kernels.cpu.vecmath.exponential import exp
from tapeflow_kernels.cpu.vecmath.gamma import lgamma_1p, lgamma_positive
from tapeflow_kernels.cpu.vecmath.logarithm import log1p
from tapeflow_kernels.cpu.vecmath.pairs import sum_of, times
from tapeflow_kernels.cpu.vecmath.power import atanh_tail, log_of, pow_double
from tapeflow_kernels.cpu.vecmath.zeros import stirling

_MOST = 20000
_CLOSE = 0.04  # relative distance up to which _bend() loses less than logarithms
_TINY = 1e-300  # stands for 0 in denominators
_TWO_PI = 6.283185307179586
_STIRLING_FROM = 2.5


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
def _exp_of_less(pair: Any) -> Any:
    """exp(-d) of a pair d."""
    d, rest = pair
    return exp(-d) * (1.0 - rest)


@inlined
def _apart(x: Any) -> Any:
    """x, as a denominator: never 0."""
    return select(magnitude(x) > _TINY, x, _TINY)


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
    p, first = times(a, _log_of_ratio(a, 0.0, both * x, fma(both, x, -(both * x)) + both_rest * x))
    lost = fma(both, y, -(both * y)) + (both_rest * y + both * y_rest)
    q, second = times(b, _log_of_ratio(b, 0.0, both * y, lost))
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
