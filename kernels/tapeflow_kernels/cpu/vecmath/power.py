"""Powers, by way of logarithms that are pairs: a number and what it lacks. And hypotenuses."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    copysign,
    fma,
    like,
    magnitude,
    polynomial,
    rint,
    root,
    select,
)
from tapeflow_kernels.cpu.vecmath.exponential import (
    LN2,
    LN2_REST,
    LOG2_E,
    clipped,
    nearest,
    power_of_2,
    scaled,
)
from tapeflow_kernels.cpu.vecmath.logarithm import split, split_any
from tapeflow_kernels.cpu.vecmath.pairs import exp_less_1, less, plus, product, quotient

# ((2 atanh(s) / s - 2) / s² - 2/3) / s², in s²
_COEFFICIENTS = (
    0.4, 0.28571428571429364, 0.22222222221656232, 0.18181818335314404, 0.15384594970895457,
    0.13334804238225345, 0.11706248540922386, 0.11723051028097753,
)  # fmt: skip
atanh_tail = polynomial(_COEFFICIENTS, _COEFFICIENTS)
# (log(1 + f) - f) / f² and (exp(r) - 1 - r) / r², as float32 needs them
_LOG_COEFFICIENTS = (
    -0.5000000000445634, 0.33333333619653827, -0.24999997692993609, 0.19999941130866822,
    -0.16666823826926574, 0.14289164800185855, -0.1249823881958088, 0.11028403306854524,
    -0.0993614137651327, 0.09923879802924102, -0.09771449356382762, 0.053931296078182256,
)  # fmt: skip
_EXP_COEFFICIENTS = (
    0.5000000013620138, 0.16666666681794626, 0.041666463386339524, 0.008333310754576892,
    0.001393382048977602, 0.00019891180158282143,
)  # fmt: skip
_SHORT_LOG = polynomial(_LOG_COEFFICIENTS, _LOG_COEFFICIENTS)
_SHORT_EXP = polynomial(_EXP_COEFFICIENTS, _EXP_COEFFICIENTS)
_TWO_THIRDS, _TWO_THIRDS_REST = 2 / 3, 3.700743415417188e-17


@inlined
def atanh_rest(s: Any) -> Any:
    """2 atanh(s) - 2 s as a pair, for a pair s up to 0.17: s³ (2/3 + ...)."""
    z, z_rest = product(s, s)
    t = z * atanh_tail(z)
    r = _TWO_THIRDS + t
    return product(s, product((z, z_rest), (r, (t - (r - _TWO_THIRDS)) + _TWO_THIRDS_REST)))


@inlined
def log_of(x: Any) -> Any:
    """log(x) as a pair, for float64 x > 0, to 2^-65 of its size.

    With m = x 2^-e and s = (m - 1) / (m + 1): e ln(2) + 2 s + s³ (2/3 + ...).
    """
    e, m = split_any(x)
    f, d = m - 1.0, m + 1.0
    d_rest = m - (d - 1.0)
    over = 1.0 / d
    s = f * over
    s_rest = fma(-s, d_rest, fma(-s, d, f)) * over
    v, v_rest = atanh_rest((s, s_rest))
    a = 2.0 * s + v
    a_rest = (v - (a - 2.0 * s)) + (v_rest + 2.0 * s_rest)
    k = e * LN2(x)
    y = k + a
    return y, (a - (y - k)) + (a_rest + fma(e, LN2(x), -k) + e * LN2_REST(x))


@inlined
def bend(m: Any) -> Any:
    """m - log(1 + m) for a pair m up to 0.3, as a pair: with s = m / (2 + m), m s less what
    2 atanh(s) has beyond 2 s."""
    s = quotient(m, plus((2.0, 0.0), m))
    return less(product(m, s), atanh_rest(s))


@inlined
def log_of_pair(a: Any) -> Any:
    """The logarithm of a pair, as a pair."""
    x, x_rest = a
    high, low = log_of(x)
    return high, low + x_rest / x


@inlined
def _of_positive(x: Any, y: Any) -> Any:
    """x to the power y for float64 x > 0, finite or not."""
    high, low = log_of(x)
    p = high * y
    lost = fma(high, y, -p) + low * y
    (s, rest), k = exp_less_1((p, lost))
    return scaled(1.0 + (s + rest), k)


@inlined
def _signed(x: Any, y: Any, unsigned: Any) -> Any:
    """x to the power y, given |x| to the power y where that is neither 0 nor infinite.

    Source of the special cases: ISO C, F.10.4.4.
    """
    zero, one, infinity, nan = like(0, x), like(1, x), like(np.inf, x), like(np.nan, x)
    far, half = magnitude(x), like(0.5, x) * y
    vanishes = (far == zero) | (far == infinity)
    grows = (far == zero) == (y < zero)
    z = select(vanishes, select(grows, infinity, zero), unsigned)
    z = select(far == one, one, z)
    is_whole = rint(y) == y
    z = select((x < zero) & (x > -infinity) & (not is_whole), nan, z)
    is_odd = is_whole & (rint(half) != half)
    z = select(is_odd, copysign(z, x), z)
    z = select((x != x) | (y != y), nan, z)
    return select((x == one) | (y == zero), one, z)


@inlined
def pow_double(x: Any, y: Any) -> Any:
    """x to the power y, for float64."""
    return _signed(x, y, _of_positive(magnitude(x), y))


@inlined
def pow_single(x: Any, y: Any) -> Any:
    """x to the power y, for float32, through float64 to 2^-34."""
    e, m = split(like(magnitude(x), 0.0))
    f = m - 1.0
    product = like(y, 0.0) * fma(e, LN2(f), fma(f * f, _SHORT_LOG(f), f))
    product = clipped(product, -110.0, 95.0)  # whose exp is 0 and infinite, in float32
    k, whole_k = nearest(product, LOG2_E(f))
    r = fma(-whole_k, LN2(f), product)
    z = fma(fma(_SHORT_EXP(r), r, 1.0), r, 1.0) * power_of_2(k, r)
    return _signed(x, y, like(z, x))


@inlined
def hypot_single(x: Any, y: Any) -> Any:
    """sqrt(x² + y²), for float32, through float64, where no square overflows or vanishes."""
    infinity, a, b = like(np.inf, x), like(x, 0.0), like(y, 0.0)
    either = (magnitude(x) == infinity) | (magnitude(y) == infinity)
    return select(either, infinity, like(root(a * a + b * b), x))


@inlined
def hypot_double(x: Any, y: Any) -> Any:
    """sqrt(x² + y²), for float64, scaled so that no square overflows or vanishes."""
    a, b = magnitude(x), magnitude(y)
    larger = select(a > b, a, b)
    huge, tiny = larger > 2.0**500, larger < 2.0**-450
    down = select(huge, 2.0**-600, select(tiny, 2.0**600, 1.0))
    up = select(huge, 2.0**600, select(tiny, 2.0**-600, 1.0))
    length = root((a * down) * (a * down) + (b * down) * (b * down)) * up
    return select((a == np.inf) | (b == np.inf), np.inf, length)
