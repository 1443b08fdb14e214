"""The gamma function's logarithm and the derivatives of that, computed in float64 for float32 too.

Polynomials are Chebyshev interpolations of the functions to 2^-56, written out in powers.
Source of the identities: NIST Digital Library of Mathematical Functions, chapter 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    copysign,
    fma,
    is_double,
    like,
    magnitude,
    of_double,
    rint,
    select,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.logarithm import log
from tapeflow_kernels.cpu.vecmath.pairs import ONE, plus, quotient, sum_of, times
from tapeflow_kernels.cpu.vecmath.power import log_of
from tapeflow_kernels.cpu.vecmath.zeros import (
    SIN_PI,
    STIRLING_FROM,
    digamma_beside_zero,
    digamma_tail,
    lgamma_beside_zero,
    sin_pi_over,
    stirling,
)

# log(Gamma(1 + u)) / u and log(Gamma(2 + u)) / u, |u| <= 1/2
_AT_1 = of_double(
    -0.5772156649015329, 0.8224670334241132, -0.4006856343865315, 0.2705808084277846,
    -0.2073855510286556, 0.16955717699739029, -0.14404989677130728, 0.12550966952714004,
    -0.11133426569698086, 0.10009945734469952, -0.09095402444526833, 0.08335384765507184,
    -0.07693231436857932, 0.07143274952784964, -0.06667255575708834, 0.06250470442310463,
    -0.058771857911566715, 0.0555050100131062, -0.05314214812830013, 0.05049714995922952,
    -0.043977669311539, 0.04190865229477288, -0.062313109383947816, 0.060006549171053046,
    0.029351948150667537, -0.029062781167204906, -0.2117112848789538, 0.20576657203290266,
    0.2426088118659276, -0.23637810363983194, -0.25810612401802563, 0.2510025580986794,
)
_AT_2 = of_double(
    0.42278433509846713, 0.3224670334241132, -0.06735230105319809, 0.020580808427784546,
    -0.0073855510286741114, 0.0028905103307415836, -0.0011927539116954181,
    0.0005096695247392805, -0.00022315475870367355, 9.945751290176889e-05,
    -4.492623209360517e-05, 2.05072105479096e-05, -9.439541921024715e-06,
    4.374892520636031e-06, -2.0388192484564222e-06, 9.549510392959532e-07,
    -4.511181191016309e-07, 2.129692727315228e-07, -9.501416425423385e-08,
    4.509983567521808e-08, -3.1314285360886705e-08, 1.4963573191192003e-08,
)
# (pi cot(pi r) - 1/r) / r in r², |r| <= 1/2
_COT_PI = of_double(
    -3.289868133696453, -2.1646464674222763, -2.034686123968887, -2.0081547123978356,
    -2.0019891500813385, -2.000492182582688, -2.000122155993404, -2.0000390795214096,
    -1.9998538028018538, -2.002055143574151, -1.9794719278501824, -2.1546514757241018,
    -1.123882666647484, -5.690980971418901, 9.291034710448868, -25.976974604271653,
    30.338072529881977, -24.270458024029857,
)
# digamma(x) / (x - root) in 2 x - 3, 1 <= x <= 2, with the root less 1 and what that lacks
_BESIDE_ROOT = of_double(
    0.9510558760318328, -0.21181371064073024, 0.06013562106019673, -0.018550615381739837,
    0.0059367952783072235, -0.0019350666647357589, 0.0006368880302846364,
    -0.00021074841288832956, 6.995018923408578e-05, -2.3258232475310846e-05,
    7.741228917125823e-06, -2.5781348596283653e-06, 8.589262341522206e-07,
    -2.8620913305524894e-07, 9.538512882131195e-08, -3.1812511684429887e-08,
    1.0603457246127488e-08, -3.503398923223047e-09, 1.167771177499064e-09,
    -4.1965284357280646e-10, 1.3988314142821704e-10, -2.7517988497113302e-11,
    9.172618879913334e-12, -1.0006438997505267e-11, 3.335477322544212e-12,
)
_EULER, _EULER_REST = 0.5772156649015329, -4.942915152430645e-18
# (1 / Gamma(1 + a) - 1 - Euler's constant a) / a² in 2 a - 1, 0 <= a <= 1
_RECIPROCAL = of_double(
    -0.6409146614210154, 0.04504894014839893, 0.024162345598673092, -0.005822618323777832,
    0.0002246061108090882, 0.00010400993109271406, -1.9319858817988038e-05, 9.026441236134238e-07,
    1.594103425881648e-07, -3.117089639828085e-08, 1.9752198680151877e-09, 7.82578138934055e-11,
    -2.606902471516342e-11, 2.172556492934903e-12, -3.682218669528376e-14, -1.0885244709436032e-14,
    1.2532594027414467e-15,
)
_ROOT, _ROOT_REST = 0.46163214496836236, -1.5522348162858677e-17
_BEYOND_PI = of_double(*SIN_PI[1:])
_PI, _PI_REST = 3.141592653589793, 1.2246467991473532e-16
_LOG_PI, _LOG_PI_REST = 1.1447298858494002, 1.0265951162707826e-17
_SHIFT = 0.4189385332046727  # (log(2 pi) - 1) / 2, and what that lacks
_SHIFT_REST = 1.6728209650585413e-17


@inlined
def _lgamma_far(a: Any) -> Any:
    """log(Gamma(a)) for a >= 2.5, as a pair: (a - 1/2) (log(a) - 1) + (log(2 pi) - 1) / 2 + ...,
    with the first two terms as pairs."""
    high, low = log_of(a)
    high, more = sum_of(high, -1.0)
    b = a - 0.5
    p = b * high
    y, rest = sum_of(p, _SHIFT)
    rest += fma(b, high, -p) + b * (low + more)
    finite = p < np.inf
    return select(finite, y, p), select(finite, rest + (stirling(a) + _SHIFT_REST), 0.0)


@inlined
def lgamma_pair(a: Any) -> Any:
    """log(Gamma(a)) as a pair, for float64 a >= 1/2."""
    u, v = a - 1.0, a - 2.0
    y, rest = _lgamma_far(select(a < STIRLING_FROM, STIRLING_FROM, a))
    near = select(a < 1.5, u * _AT_1(u), v * _AT_2(v))
    is_near = a < STIRLING_FROM
    return select(is_near, near, y), select(is_near, 0.0, rest)


@inlined
def lgamma_1p(u: Any) -> Any:
    """log(Gamma(1 + u)), -1/2 <= u <= 1/2."""
    return u * _AT_1(u)


@inlined
def over_gamma_less_1(a: Any) -> Any:
    """1 / Gamma(1 + a) - 1 for 0 <= a <= 1, as a pair."""
    return times(a, plus((_EULER, _EULER_REST), (a * _RECIPROCAL(2.0 * a - 1.0), 0.0)))


@inlined
def over_gamma(a: Any) -> Any:
    """1 / Gamma(1 + a) for 0 <= a <= 5, as a pair."""
    factor = ONE
    while a > 1.0:
        factor = times(a, factor)
        a -= 1.0
    return quotient(plus(ONE, over_gamma_less_1(a)), factor)


@inlined
def _log_of_sine(a: Any, away: Any) -> Any:
    """log(a sin(pi away)) as a pair, for 0 < away <= 1/2."""
    p, z = away * _PI, away * away
    lost = fma(away, _PI, -p) + away * _PI_REST
    tail = away * z * _BEYOND_PI(z)
    sine = p + tail
    q = a * sine
    rest = fma(a, sine, -q) + a * ((tail - (sine - p)) + lost)
    y, less = log_of(q)
    return y, less + rest / q


@inlined
def _lgamma_below(a: Any, y: Any, rest: Any) -> Any:
    """log|Gamma(-a)|, given that of a as a pair."""
    r = a - rint(a)
    sine, less = _log_of_sine(a, magnitude(r))
    start, lost = sum_of(_LOG_PI, -sine)
    high, more = sum_of(start, -y)
    far = high + ((lost + more) + (_LOG_PI_REST - less - rest))
    return select(r == 0.0, np.inf, lgamma_beside_zero(a, r, far))


@inlined
def lgamma(x: Any) -> Any:
    """log|Gamma(x)|, by reflection for x < -1/2; infinite at 0, -1, -2, ..."""
    v = like(x, 0.0)
    a = magnitude(v)
    small = a < 0.5
    near = lgamma_1p(select(small, v, 0.0)) - log(a)
    y, rest = lgamma_pair(select(small, 1.0, a))
    if is_double(x):
        below = _lgamma_below(a, y, rest)
    else:
        r = magnitude(a - rint(a))
        below = select(r > 0.0, _LOG_PI - log(a * r * sin_pi_over(r * r)) - (y + rest), np.inf)
    y = select(v < 0.0, below, y + rest)
    return like(select(a == np.inf, np.inf, select(small, near, y)) + 0.0, x)  # no -0 at 1


@inlined
def digamma(x: Any) -> Any:
    """The derivative of log(Gamma(x)), by reflection for negative x; NaN at -1, -2, ..."""
    v = like(x, 0.0)
    a = magnitude(v)
    below = copysign(1.0, v) < 0.0
    small, tail = a < 1.0, a >= 2.0
    w = select(small, a, select(tail, 0.0, a - 1.0))
    near = ((w - _ROOT) - _ROOT_REST) * _BESIDE_ROOT(fma(2.0, w, -1.0))
    over = 1.0 / a
    t = select(tail, over, 0.5)
    far = log(select(tail, a, 2.0)) - fma(t * t, digamma_tail(t), 0.5 * t)
    y = select(tail, far, near)   # for small a, of 1 + a
    r = a - rint(a)
    cotangent = fma(r, _COT_PI(r * r), 1.0 / r)
    reflected = select(small, y, y + over) + select((r == 0.0) & (a > 0.0), np.nan, cotangent)
    if is_double(x):
        reflected = digamma_beside_zero(a, r, reflected)
    return like(select(below, reflected, select(small, y - over, y)), x)


@inlined
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), from the nearest whole number."""
    v = like(x, 0.0)
    a = magnitude(v)
    k = rint(a)
    r = a - k
    half = 0.5 * k
    y = r * sin_pi_over(r * r) / (3.141592653589793 * select(a > 0.0, a, 1.0))
    y = select(rint(half) == half, y, -y)
    return like(select(a < 1e-100, 1.0, select(a == np.inf, 0.0, y)), x)
