"""The incomplete beta function, by a continued fraction.

What multiplies the fraction is a pair, as exp() turns units of the last place of what it takes into
as many times what it is. So are x and 1 - x, one of which is rounded.
Source of the formulas: NIST Digital Library of Mathematical Functions, chapters 5 and 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import floor, fma, is_double, like, magnitude, select, table
from tapeflow_kernels.cpu.vecmath.exponential import scaled
from tapeflow_kernels.cpu.vecmath.gamma import digamma, over_gamma, over_gamma_less_1
from tapeflow_kernels.cpu.vecmath.pairs import (
    ONE,
    exp_of,
    expm1_of,
    leading,
    less,
    plus,
    product,
    quotient,
    root_of,
    sum_of,
    times,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.power import bend, log_of, log_of_pair
from tapeflow_kernels.cpu.vecmath.zeros import STIRLING_FROM, digamma_tail, stirling

_MOST = 20000
_CLOSE = 0.29  # what bend() takes
_MUCH = 2.0**300  # what numerators and denominators are kept below
_OVER_TWO_PI = (0.15915494309189535, -9.839338337591243e-18)
_SUBNORMAL, _RATIO_COUNTS, _UP = 2.0**-1000, 2.0**-600, 2.0**200
_NEAR_1 = 0.75  # (1 - x) a up to which a series in 1 - x is better than the fraction
# of Gauss's quadrature from 0 to 1
_NODES = table([
    0.019855071751231884, 0.10166676129318664, 0.2372337950418355, 0.4082826787521751,
    0.591717321247825, 0.7627662049581645, 0.8983332387068134, 0.9801449282487681,
])
_WEIGHTS = table([
    0.05061426814518813, 0.11119051722668724, 0.15685332293894363, 0.181341891689181,
    0.181341891689181, 0.15685332293894363, 0.11119051722668724, 0.05061426814518813,
])


@inlined
def _excess(a: Any, off: Any, x: Any, both: Any) -> Any:
    """a (u - log(1 + u)), where u = off / a and 1 + u = x both / a, as a pair."""
    u = quotient(off, (a, 0.0))
    if magnitude(leading(u)) < _CLOSE:
        return times(a, bend(u))
    return times(a, less(u, log_of_pair(quotient(product(x, both), (a, 0.0)))))


@inlined
def _distance(a: Any, b: Any, x: Any, y: Any) -> Any:
    """-a log(x (a + b) / a) - b log(y (a + b) / b), at least 0, as a pair."""
    both, off = sum_of(a, b), less(times(b, x), times(a, y))
    return plus(_excess(a, off, x, both), _excess(b, times(-1.0, off), y, both))


@inlined
def _log_gamma_ratio(s: Any, large: Any) -> Any:
    """log(Gamma(large + s) / Gamma(large)) as a pair, s < 2.5 <= large, by Stirling's formula."""
    both = sum_of(large, s)
    ratio = quotient((s, 0.0), (large, 0.0))
    rest = (stirling(leading(both)) - stirling(large), 0.0)
    if leading(ratio) < _CLOSE:
        rest = less(rest, plus(times(0.5, ratio), times(large - 0.5, bend(ratio))))
        return plus(times(s, log_of_pair(both)), rest)
    grown = product(plus(both, (-0.5, 0.0)), log_of_pair(both))
    return plus(less(grown, plus(times(large - 0.5, log_of(large)), (s, 0.0))), rest)


@inlined
def _of_small(a: Any, b: Any) -> Any:
    """1 / B(a, b) for a and b below 2.5, as a pair."""
    both, lost = sum_of(a, b)
    least, most = (a, b) if a < b else (b, a)
    share = times(least, quotient((most, 0.0), (both, lost)))
    below = times(1.0 - lost * digamma(1.0 + both), over_gamma(both))
    return product(share, quotient(product(over_gamma(a), over_gamma(b)), below))


@inlined
def _term(a: Any, b: Any, x: Any, y: Any) -> Any:
    """x^a y^b / B(a, b) for pairs x and y = 1 - x, as a pair and a power of 2."""
    least, most = (a, b) if a < b else (b, a)
    if least >= STIRLING_FROM:
        both, lost = sum_of(a, b)
        shift = stirling(both) - stirling(a) - stirling(b)
        power, k = exp_of(less((shift, 0.0), _distance(a, b, x, y)))
        share = times(least, quotient((most, 0.0), (both, lost)))
        return product(power, root_of(product(share, _OVER_TWO_PI))), k
    e = plus(times(a, log_of_pair(x)), times(b, log_of_pair(y)))
    if most < STIRLING_FROM:
        power, k = exp_of(e)
        return product(power, _of_small(a, b)), k
    power, k = exp_of(plus(e, _log_gamma_ratio(least, most)))
    return product(power, times(least, over_gamma(least))), k


@inlined
def _step(a: Any, b: Any, x: Any, m: Any) -> Any:
    """Step m of the continued fraction: what is above p + q away, p and q."""
    last = m - 1.0   # m first, as a may be tiny
    before = a + (m + last)
    share = x / before
    inner = m * (b - m) * share
    over = (a + last) * ((a + b) + last) * share * inner
    scale = (a + m) / (before + 2.0)
    return over, fma(scale * m, 2.0 - x, m + inner), scale


@inlined
def _fraction(a: Any, b: Any, at: Any, small: Any) -> Any:
    """x^a y^b / B(a, b) over I(a, b, x) for pairs x and y = 1 - x in `at`.

    A continued fraction of positive terms up to about the mean, whose end is found from its front
    and which is then added up from there, so that little of the errors of a step remains in the
    next. Source: Didonato & Morris, ACM Transactions on Mathematical Software 18 (1992), formula 9.
    """
    x, y = at
    away, lost = plus(ONE, less(times(a, y), times(b, x)))
    away += lost
    v = leading(x)
    first = a * away / (a + 1.0)
    last, now, last_below, below, m, change = 1.0, first, 0.0, 1.0, 1.0, 1.0
    while magnitude(change) > small * magnitude(now * below) and m < _MOST:
        over, p, q = _step(a, b, v, m)
        under = fma(q, away, p)
        down = select(magnitude(below) > _MUCH, 1.0 / _MUCH, 1.0)
        last, now = now * down, fma(under, now, over * last) * down
        last_below, below = below * down, fma(under, below, over * last_below) * down
        change = now * last_below - last * below
        m += 1.0
    if small > 1e-14:  # for float32
        return now / below
    rest, m = 0.0, floor(1.5 * m) + 2.0
    while m > 0.0:
        over, p, q = _step(a, b, v, m)
        rest = over / (fma(q, away, p) + rest)
        m -= 1.0
    return first + rest


@inlined
def _lower(a: Any, b: Any, at: Any, small: Any) -> Any:
    """I(a, b, x) for pairs x and y = 1 - x in `at`, as a pair."""
    x, y = at
    term, k = _term(a, b, x, y)
    high, low = quotient(term, (_fraction(a, b, at, small), 0.0))
    return scaled(high, k), scaled(low, k)


@inlined
def _log_share(a: Any, b: Any) -> Any:
    """log(Gamma(a + b) / Gamma(a) / Gamma(1 + b)) for b < 1 to the last digit of b, as a pair.

    Gamma(a + b) / Gamma(a) is exp of b times the mean of digamma; that of the logarithm in it has a
    closed form.
    """
    far = a if a >= 3.0 else a + 3.0   # so that bend() holds
    both = sum_of(far, b)
    mean, i = 0.0, 0
    while i < 8:
        t = 1.0 / (far + b * _NODES(i))
        mean -= _WEIGHTS(i) * fma(t * t, digamma_tail(t), 0.5 * t)
        i += 1
    total = times(b, plus(log_of_pair(both), (mean, 0.0)))
    total = plus(total, log_of_pair(plus(ONE, over_gamma_less_1(b))))
    total = less(total, times(far, bend(quotient((b, 0.0), (far, 0.0)))))
    k = 0.0 if a >= 3.0 else 3.0
    while k > 0.5:
        k -= 1.0
        total = less(total, log_of_pair(quotient(plus(sum_of(a, b), (k, 0.0)), sum_of(a, k))))
    return total


@inlined
def _near_1(a: Any, b: Any, y: Any, small: Any) -> Any:
    """I(a, b, 1 - y) for b < 1 and a pair y that is small, also beside 1 / a.

    1 - g y^b (1 + b sigma), g as in _log_share() and sigma the sum of (1 - a) ... (k - a) y^k /
    (k! (b + k)), DLMF 8.17.7, without taking from 1 what is nearly 1.
    """
    v, first = leading(y), times(-1.0, product(sum_of(a, -1.0), y))
    power, rest, k = leading(first), 0.0, 2.0
    first = quotient(first, sum_of(b, 1.0))
    while magnitude(power) > small and k < _MOST:
        power *= (k - a) / k * v
        rest += power / (b + k)
        k += 1.0
    sigma = plus(first, (rest, 0.0))
    grown = expm1_of(plus(_log_share(a, b), times(b, log_of_pair(y))))
    return times(-1.0, plus(grown, times(b, product(sigma, plus(ONE, grown)))))


@inlined
def _normal(a: Any, b: Any) -> Any:
    """a and b so large that they have reciprocals, and what I(a, b, x) is to be multiplied by: of
    two small ones only the ratio counts, of one only b does, as a factor."""
    if a >= _SUBNORMAL and b >= _SUBNORMAL:
        return a, b, 1.0
    if a < _RATIO_COUNTS and b < _RATIO_COUNTS:
        return a * _UP, b * _UP, 1.0
    return (a * _UP, b, 1.0) if a < b else (a, b * _UP, 1.0 / _UP)


@inlined
def betainc(a: Any, b: Any, x: Any) -> Any:
    """I(a, b, x), the regularised incomplete beta function."""
    p, q, v = like(a, 0.0), like(b, 0.0), like(x, 0.0)
    if not (p > 0.0 and q > 0.0 and v >= 0.0 and v <= 1.0 and p < np.inf and q < np.inf):
        return like(np.nan, x)
    if v == 0.0 or v == 1.0:
        return x
    small = 1e-15 if is_double(x) else 1e-13
    p, q, scale = _normal(p, q)
    w, lost = sum_of(1.0, -v)
    more = 1.0 if p >= 1.0 and q >= 1.0 else 0.0
    is_left = v * (p + q + 2.0 * more) <= p + more
    if q < 1.0 and w < 0.5 and w * p < _NEAR_1:
        y = _near_1(p, q, (w, lost), 0.01 * small)
    elif is_left or q < 1.0 or (p < 1.0 and v < 0.5 and v * q < _NEAR_1):
        y = _lower(p, q, ((v, 0.0), (w, lost)), small)
    else:
        y = less(ONE, _lower(q, p, ((w, lost), (v, 0.0)), small))
    high, low = y
    return like((high + low) * scale, x)
