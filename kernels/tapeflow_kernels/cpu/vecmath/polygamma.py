"""Derivatives of digamma, by sums of powers whose exponents are pairs, as sums are.

Source of the formulas: NIST Digital Library of Mathematical Functions, sections 5.15 and 25.11.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import floor, is_double, like, rint, select, table
from tapeflow_kernels.cpu.vecmath.exponential import nearest, scaled
from tapeflow_kernels.cpu.vecmath.gamma import digamma, lgamma_pair
from tapeflow_kernels.cpu.vecmath.pairs import (
    ONE,
    exp_of,
    leading,
    less,
    plus,
    product,
    quotient,
    sum_of,
    times,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.power import log_of, log_of_pair

_EXACT = 22.0  # factorials up to here are numbers of float64
_FACTORIAL = table([float(math.factorial(n)) for n in range(23)])
# B(2 j) / (2 j)!, j = 1, 2, ...
_BERNOULLI = table([
    0.08333333333333333, -0.001388888888888889, 3.306878306878307e-05, -8.267195767195768e-07,
    2.08767569878681e-08, -5.284190138687493e-10, 1.3382536530684679e-11, -3.3896802963225827e-13,
    8.586062056277845e-15, -2.174868698558062e-16,
])


@inlined
def _exp(a: Any) -> Any:
    """exp of a pair, as a pair."""
    (high, low), k = exp_of(a)
    return scaled(high, k), scaled(low, k)


@inlined
def _beyond(s: Any, w: Any) -> Any:
    """The sum of ((w + k) / w)^-s over k >= 0, for w of at least s + 4, as a pair.

    By Euler and Maclaurin, DLMF 25.11.28.
    """
    x = leading(w)
    over = 1.0 / (x * x)
    # s (s+1) ... (s + 2 j - 2) / w^(2 j - 1) B(2 j) / (2 j)!
    c, rest = s / x, 0.0
    for j in range(10):
        rest += c * _BERNOULLI(j)
        c *= (s + (2.0 * j + 1.0)) * (s + (2.0 * j + 2.0)) * over
    return plus(quotient(w, (s - 1.0, 0.0)), (0.5 + rest, 0.0))


@inlined
def _shares(s: Any, q: Any, first: Any) -> Any:
    """The sum of ((q + k) / q)^-s over k >= 0 as a pair, for q > 0; `first`: where _beyond() takes
    over, less s."""
    start, total, k = log_of(q), ONE, 1.0
    w, share, last = sum_of(q, 1.0), ONE, first + s
    if q >= last:
        return _beyond(s, (q, 0.0))
    while leading(w) < last and leading(share) > 1e-18:
        share = _exp(times(s, less(start, log_of_pair(w))))
        total = plus(total, share)
        k += 1.0
        w = sum_of(q, k)
    if leading(w) < last:
        return total
    share = _exp(times(s, less(start, log_of_pair(w))))
    return plus(total, product(share, _beyond(s, w)))


@inlined
def _zeta_of(s: Any, q: Any, first: Any, unit: Any) -> Any:
    """The sum of ((q + k) / u)^-s over k >= 0 as a pair, for q > 0 and the logarithm of u."""
    return product(_exp(times(s, less(unit, log_of(q)))), _shares(s, q, first))


@inlined
def _zeta_below(s: Any, v: Any, first: Any) -> Any:
    """log(u^-s), u how far a negative v is from a whole number, and the sum of ((v + k) / u)^-s
    over k >= 0, from both sides of 0."""
    above, below = v - floor(v), -v - floor(-v)
    unit = log_of(select(above < below, above, below))
    mirrored = less(_zeta_of(s, below, first, unit), _zeta_of(s, 1.0 - v, first, unit))
    sign = select(rint(0.5 * s) == 0.5 * s, 1.0, -1.0)
    return times(-s, unit), plus(_zeta_of(s, above, first, unit), times(sign, mirrored))


@inlined
def _magnified(n: Any, e: Any, total: Any) -> Any:
    """n! exp(e) times a sum, the last two pairs."""
    if n <= _EXACT:
        at, _ = nearest(n, 1.0)
        total = times(_FACTORIAL(at), total)
    else:
        e = plus(e, lgamma_pair(n + 1.0))
    share, k = exp_of(e)
    high, low = product(share, total)
    return scaled(high + low, k)


@inlined
def polygamma(n: Any, x: Any) -> Any:
    """The derivative of order n of digamma, n = 0, 1, ...; NaN for another n.

    (-1)^(n+1) n! zeta(n + 1, x); for negative x the sum over all integers less that above 1 - x.
    """
    order, v = like(n, 0.0), like(x, 0.0)
    if order == 0.0:
        return digamma(x)
    if not (order > 0.0 and rint(order) == order and order < np.inf and v > -np.inf):
        return like(np.nan, x)
    s, first = order + 1.0, 12.0 if is_double(x) else 4.0
    sign = 1.0 if rint(0.5 * s) == 0.5 * s else -1.0
    if v == np.inf:
        return like(0.0 * sign, x)
    if v <= 0.0 and rint(v) == v:
        return like(np.inf if sign > 0.0 else np.nan, x)
    if v < 0.0:
        e, total = _zeta_below(s, v, first)
    elif v > 1.0:   # (order, not s) log(v): the sum is about v / order for large v
        e, total = times(-order, log_of(v)), quotient(_shares(s, v, first), (v, 0.0))
    else:
        e, total = times(-s, log_of(v)), _shares(s, v, first)
    return like(sign * _magnified(order, e, total), x)
