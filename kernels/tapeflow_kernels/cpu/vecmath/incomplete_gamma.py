"""Incomplete gamma functions, by series and a continued fraction, and for large a by an expansion.

Their sums, and what these are multiplied by, are pairs, as exp() turns units of the last place of
what it takes into as many times what it is. Loops end when a term changes nothing, for float32
sooner.
Source of the formulas: NIST Digital Library of Mathematical Functions, chapter 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    floor,
    fma,
    is_double,
    like,
    magnitude,
    of_two,
    root,
    select,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.exponential import scaled
from tapeflow_kernels.cpu.vecmath.gamma import over_gamma, over_gamma_less_1
from tapeflow_kernels.cpu.vecmath.gauss import shape_of_tail
from tapeflow_kernels.cpu.vecmath.pairs import (
    ONE,
    exp_less_1,
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
from tapeflow_kernels.cpu.vecmath.power import bend, log_of
from tapeflow_kernels.cpu.vecmath.zeros import STIRLING_FROM, stirling

_LARGE = 20.0  # from here on Temme's expansion holds, up to _NEAR times a from a
_NEAR = 0.29
_SMALL = 0.75  # up to here 1 less terms that vanish with x is better than the continued fraction
_STEPS, _FEW_STEPS = 104.0, 36.0
_OVER_ROOT, _OVER_ROOT_REST = 0.3989422804014327, -2.49232720227773e-17  # 1 / sqrt(2 pi)
# of Temme's expansion, in eta for each power of 1/a. Source: DLMF 8.12.12
_TEMME = of_two(
    (-0.3333333333333333, 0.08333333333333333, -0.014814814814814815, 0.0011574074074074073,
     0.0003527336860670194, -0.0001787551440329218, 3.919263178522438e-05,
     -2.185448510679992e-06, -1.85406221071516e-06, 8.296711340953087e-07,
     -1.7665952736826078e-07, 6.707853543401498e-09, 1.0261809784240309e-08,
     -4.382036018453353e-09, 9.14769958223679e-10),
    (-0.001851851851851852, -0.003472222222222222, 0.0026455026455026454, -0.0009902263374485596,
     0.00020576131687242798, -4.018775720164609e-07, -1.8098550334489977e-05,
     7.64916091608111e-06, -1.6120900894563446e-06, 4.647127802807434e-09, 1.378633446915721e-07,
     -5.752545603517705e-08, 1.1951628599778148e-08, -1.7543241719747647e-11,
     -1.0091543710600413e-09),
    (0.004133597883597883, -0.0026813271604938273, 0.0007716049382716049, 2.0093878600823047e-06,
     -0.0001073665322636516, 5.2923448829120125e-05, -1.2760635188618728e-05,
     3.423578734096138e-08, 1.3721957309062934e-06, -6.298992138380055e-07,
     1.4280614206064242e-07, -2.0477098421990866e-10, -1.409252991086752e-08,
     6.228974084922022e-09),
    (0.0006494341563786008, 0.00022947209362139917, -0.0004691894943952557,
     0.00026772063206283885, -7.561801671883977e-05, -2.396505113867297e-07,
     1.1082654115347302e-05, -5.6749528269915965e-06, 1.4230900732435883e-06,
     -2.7861080291528143e-11, -1.6958404091930278e-07, 8.099464905388083e-08),
    (-0.0008618882909167117, 0.0007840392217200666, -0.0002990724803031902,
     -1.4638452578843418e-06, 6.641498215465122e-05, -3.968365047179435e-05,
     1.1375726970678419e-05, 2.507497226237533e-10, -1.6954149536558305e-06,
     8.907507532205309e-07, -2.292934834000805e-07),
    (-0.00033679855336635813, -6.972813758365857e-05, 0.0002772753244959392,
     -0.00019932570516188847, 6.797780477937208e-05, 1.419062920643967e-07,
     -1.3594048189768693e-05, 8.018470256334202e-06, -2.291481176508095e-06),
    (0.0005313079364639922, -0.0005921664373536939, 0.0002708782096718045, 7.902353232660328e-07,
     -8.153969367561969e-05, 5.61168275310625e-05, -1.8329116582843375e-05),
    (0.00034436760689237765, 5.171790908260592e-05, -0.00033493161081142234,
     0.0002812695154763237, -0.00010976582244684731, -1.2741009095484485e-07,
     2.7744451511563645e-05),
    (-0.0006526239185953094, 0.0008394987206720873, -0.000438297098541721,
     -6.969091458420552e-07, 0.00016644846642067547, -0.00012783517679769218),
    (-0.0005967612901927463, -7.204895416020011e-05, 0.0006782308837667328,
     -0.0006401475260262758),
    (0.0013324454494800656, -0.0019144384985654776),
)


@inlined
def _distance(a: Any, x: Any) -> Any:
    """x - a - a log(x / a), at least 0, as a pair: exp() of its negative is x^a exp(-x) beside the
    maximum of that."""
    d = sum_of(x, -a)
    if magnitude(leading(d)) < _NEAR * a:
        return times(a, bend(quotient(d, (a, 0.0))))
    return less(d, times(a, less(log_of(x), log_of(a))))


@inlined
def _over_root(a: Any) -> Any:
    """1 / sqrt(2 pi a), as a pair."""
    return quotient((_OVER_ROOT, _OVER_ROOT_REST), root_of((a, 0.0)))


@inlined
def _term(a: Any, x: Any) -> Any:
    """x^a exp(-x) / Gamma(a + 1), as a pair and a power of 2."""
    if a >= STIRLING_FROM:
        d, rest = plus(_distance(a, x), (stirling(a), 0.0))
        power, k = exp_of((-d, -rest))
        return product(power, _over_root(a)), k
    power, k = exp_of(less(times(a, log_of(x)), (x, 0.0)))
    return product(power, over_gamma(a)), k


@inlined
def _next(term: Any, ratio: Any, total: Any) -> Any:
    """The next term of a series, a pair as its ratio to the last is, and the sum with it."""
    term = product(term, ratio)
    return term, plus(total, term)


@inlined
def _lower_series(a: Any, x: Any, small: Any) -> Any:
    """P(a, x) over its first term, by its series, DLMF 8.11.4."""
    term, total, k = ONE, ONE, 1.0
    while leading(term) > small * leading(total):
        term, total = _next(term, quotient((x, 0.0), sum_of(a, k)), total)
        k += 1.0
    return total


@inlined
def _fraction(a: Any, x: Any, small: Any) -> Any:
    """x^a exp(-x) over the upper incomplete gamma function, 0 < a <= 1, by the continued fraction
    DLMF 8.9.2 from its end, so that little of the errors of a step remains in the next.

    It converges as exp(-4 sqrt(k x)).
    """
    k = floor(_STEPS / x) + 6.0 if small < 1e-12 else floor(_FEW_STEPS / x) + 3.0
    b = x + 1.0 - a
    d = b + 2.0 * k
    while k > 0.0:
        d = (b + 2.0 * (k - 1.0)) - k * (k - a) / d
        k -= 1.0
    return d


@inlined
def _upper_sum(a: Any, x: Any, small: Any) -> Any:
    """Q(a, x) over x^a exp(-x) / Gamma(a + 1), x >= a: terms that fall to that of an a up to 1,
    DLMF 8.8.10, and what _fraction() gives for this."""
    over = quotient(ONE, (x, 0.0))
    term, total = ONE, (0.0, 0.0)
    while a > 1.0 and leading(term) > small * leading(total):
        term, total = _next(term, times(a, over), total)
        a -= 1.0
    if a > 1.0:
        return total
    return plus(total, (leading(term) * a / _fraction(a, x, small), 0.0))


@inlined
def _upper_near_0(a: Any, x: Any, small: Any) -> Any:
    """Q(a, x) for a < 1 and small x, without taking P from 1: with g = 1 / Gamma(1 + a),
    1 - g - g (x^a - 1) - g x^a a sigma, sigma the sum of (-x)^k / (k! (a + k)), DLMF 8.7.3."""
    first = quotient((-x, 0.0), sum_of(a, 1.0))
    power, total, k = 0.5 * x * x, 0.5 * x * x / (a + 2.0), 3.0
    while magnitude(power) > small * magnitude(leading(first)):
        power *= -x / k
        total += power / (a + k)
        k += 1.0
    sigma = plus(first, (total, 0.0))
    grown = expm1_of(times(a, log_of(x)))
    inside = plus(grown, times(a, product(plus(ONE, grown), sigma)))
    lost = over_gamma_less_1(a)
    y, rest = plus(lost, product(plus(ONE, lost), inside))
    return -(y + rest)


@inlined
def _temme(a: Any, x: Any) -> Any:
    """The smaller tail for large a, P or Q, as a number and a power of 2.

    Source: Temme, SIAM Journal on Mathematical Analysis 10 (1979).
    """
    d, rest = _distance(a, x)
    size = root(2.0 * d / a)
    eta, t = (size if x > a else -size), 1.0 / a
    more = _TEMME(eta, t) * _OVER_ROOT * root(t)
    y = root(d)
    y_rest = (fma(-y, y, d) + rest) * select(y > 0.0, 0.5 / y, 0.0)
    erfcx = quotient((shape_of_tail(y), 0.0), plus(ONE, (2.0 * y, 2.0 * y_rest)))
    tail, lost = plus(times(0.5, erfcx), (more if x > a else -more, 0.0))
    (s, s_rest), k = exp_less_1((-d, -rest))
    return tail + fma(s + s_rest, tail, lost), k


@inlined
def _tail(a: Any, x: Any, upper: Any, small: Any) -> Any:
    """P(a, x), or Q where `upper` is true, for positive a and x that are finite."""
    beyond = x > a
    if a >= _LARGE and magnitude(x - a) < _NEAR * a:
        tail, k = _temme(a, x)
        y = (scaled(tail, k), 0.0)
    else:
        beyond = beyond and x > _SMALL
        if upper and not beyond and a < 1.0 and x <= _SMALL:
            return _upper_near_0(a, x, small)
        total = _upper_sum(a, x, small) if beyond else _lower_series(a, x, small)
        term, k = _term(a, x)
        high, low = product(term, total)
        y = (scaled(high, k), scaled(low, k))
    if upper != beyond:
        y = less(ONE, y)
    high, low = y
    return high + low


@inlined
def _incomplete(a: Any, x: Any, upper: Any, exact: Any) -> Any:
    """P(a, x), or Q where `upper` is true; NaN where a or x is negative or there is no limit."""
    if not (a >= 0.0 and x >= 0.0) or (a == np.inf and x == np.inf) or (a == 0.0 and x == 0.0):
        return np.nan
    at_0, beyond = (1.0, 0.0) if upper else (0.0, 1.0)
    if a == 0.0 or x == np.inf:
        return beyond
    if x == 0.0 or a == np.inf:
        return at_0
    return _tail(a, x, upper, 1e-17 if exact else 1e-9)


@inlined
def gammainc(a: Any, x: Any) -> Any:
    """P(a, x), the regularised lower incomplete gamma function."""
    return like(_incomplete(like(a, 0.0), like(x, 0.0), False, is_double(x) == 1), x)


@inlined
def gammaincc(a: Any, x: Any) -> Any:
    """Q(a, x), the regularised upper incomplete gamma function."""
    return like(_incomplete(like(a, 0.0), like(x, 0.0), True, is_double(x) == 1), x)
