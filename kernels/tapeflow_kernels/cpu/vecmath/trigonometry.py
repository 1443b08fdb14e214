"""Sine, cosine and tangent of any angle, for float32 and float64, without calls.

An angle is reduced to n quarter turns and r, |r| <= pi/4. For large ones, 2/pi · 2^e is known to
enough bits, less whole turns, for every 32nd (float32: 20th) exponent e.
Source: Payne & Hanek, Radian reduction for trigonometric functions, SIGNUM 18 (1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    fma,
    like,
    magnitude,
    number,
    pattern,
    polynomial,
    rint,
    select,
    table,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.pairs import sum_of

_hex = float.fromhex
_TO_QUARTERS = _hex("0x1.45f306dc9c883p-1")  # 2/pi
_QUARTER = _hex("0x1.921fb54442d18p+0")  # pi/2, in three parts
_QUARTER_2 = _hex("0x1.1a62633145c07p-54")
_QUARTER_3 = _hex("-0x1.f1976b7ed8fbcp-110")
_SHIFTER = 1.5 * 2.0**52

# (sin(r) / r - 1) / r² and (cos(r) - 1 + r²/2) / r⁴ in r²
_SINE = polynomial(
    (-0.1666666716337204, 0.008333331905305386, -0.00019840082677546889, 2.7249313916399842e-06),
    (-0.16666666666666666, 0.008333333333333331, -0.00019841269841265017, 2.755731921930192e-06,
     -2.5052106219521895e-08, 1.6058529572267877e-10, -7.586576588171073e-13),
)  # fmt: skip
_COSINE = polynomial(
    (0.0416666679084301, -0.00138888880610466, 2.480059629306197e-05, -2.730044741383608e-07),
    (0.041666666666666664, -0.0013888888888888887, 2.4801587301584618e-05,
     -2.7557319221382114e-07, 2.087675578389404e-09, -1.1470459749675607e-11,
     4.745804889760674e-14),
)  # fmt: skip


# ---- 2/pi · 2^e, to many bits

_BITS = 1400


def _arctangent_of_inverse(n: int) -> int:
    """arctan(1 / n) · 2^_BITS."""
    term = total = (1 << _BITS) // n
    k = 1
    while term:
        term //= -n * n
        k += 2
        total += term // k
    return total


def _windows(exponents: Sequence[int], digits: int, parts: int) -> list[float]:
    """2/pi · 2^e for each exponent, less a multiple of 4 · 2^digits, in parts of 53 bits."""
    pi = 4 * (4 * _arctangent_of_inverse(5) - _arctangent_of_inverse(239))  # Machin's formula
    quarters = (2 << 2 * _BITS) // pi
    values = []
    for e in exponents:
        below = _BITS - e
        rest = quarters % (4 << digits + below)
        low = digits + 2 + below
        for _ in range(parts):
            low -= 53
            values.append((rest >> low << low) / (1 << below))
            rest %= 1 << low
    return values


_OF_DOUBLE = table(_windows(range(25, 1024, 32), 52, 4))
_A, _A_REST, _B, _B_REST, _C, _C_REST, _D, _D_REST = _windows(range(50, 128, 20), 23, 2)


# ---- reduction


@inlined
def _below_4(x: Any) -> Any:
    """x less a multiple of 4."""
    return x - 4.0 * rint(0.25 * x)


@inlined
def _by_size(far: Any, smaller: Any, larger: Any) -> Any:
    """What belongs to the window of a number of at least 2^50: one of two pairs."""
    a, b = smaller
    c, d = larger
    small = select(far < 2.0**70, a, b)
    return select(far < 2.0**90, small, select(far < 2.0**110, c, d))


@inlined
def _far_single(x: Any) -> Any:
    """n and r with x = n quarters + r, for float64 x that is a float32."""
    far = magnitude(x)
    m = x * _by_size(far, (2.0**-50, 2.0**-70), (2.0**-90, 2.0**-110))
    window = _by_size(far, (_A, _B), (_C, _D))
    p = m * window
    rest = fma(m, window, -p) + m * _by_size(far, (_A_REST, _B_REST), (_C_REST, _D_REST))
    whole_less = _below_4(p)
    n = rint(whole_less + rest)
    return n, ((whole_less - n) + rest) * _QUARTER


@inlined
def _far_double(x: Any) -> Any:
    """n, r and a rest with x = n quarters + r + rest."""
    window = (((pattern(x) >> 52) & 2047) - 1023 - 25) >> 5
    m = x * number((1023 - 25 - 32 * window) << 52, x)
    at = 4 * window
    p, q, u = m * _OF_DOUBLE(at), m * _OF_DOUBLE(at + 1), m * _OF_DOUBLE(at + 2)
    p_rest, q_rest = fma(m, _OF_DOUBLE(at), -p), fma(m, _OF_DOUBLE(at + 1), -q)
    tiny = fma(m, _OF_DOUBLE(at + 2), -u) + m * _OF_DOUBLE(at + 3)
    s, s_rest = sum_of(_below_4(p), _below_4(p_rest))
    t, t_rest = sum_of(s, _below_4(q))
    n = rint(t)
    small, small_rest = sum_of(q_rest, u)
    smaller, smallest = sum_of(s_rest, t_rest)
    f, f_rest = sum_of(t - n, small)
    g, g_rest = sum_of(f, smaller)
    h, h_rest = sum_of(g, ((small_rest + tiny) + smallest) + (f_rest + g_rest))
    r = h * _QUARTER
    return n, r, fma(h, _QUARTER, -r) + fma(h, _QUARTER_2, h_rest * _QUARTER)


@inlined
def _reduced_single(x: Any) -> Any:
    """n, the last bits of which count quarters, r and a rest, for float32."""
    wide = like(x, 0.0)
    n = rint(wide * _TO_QUARTERS)
    r = fma(-n, _QUARTER_2, fma(-n, _QUARTER, wide))
    if magnitude(wide) >= 2.0**50:
        n, r = _far_single(wide)
    narrow = like(r, x)
    return pattern(n + _SHIFTER), narrow, like(r - like(narrow, 0.0), x)


@inlined
def _reduced_double(x: Any) -> Any:
    """n, the last bits of which count quarters, r and a rest, for float64."""
    n = rint(x * _TO_QUARTERS)
    start = fma(-n, _QUARTER, x)
    r = fma(-n, _QUARTER_2, start)
    rest = fma(-n, _QUARTER_3, fma(-n, _QUARTER_2, start - r))
    if magnitude(x) >= 2.0**25:
        n, r, rest = _far_double(x)
    return pattern(n + _SHIFTER), r, rest


# ---- the functions


@inlined
def _sine(r: Any, rest: Any) -> Any:
    """sin(r + rest) as a number and what it lacks."""
    z = r * r
    tail = fma(r * z, _SINE(z), rest)
    y = r + tail
    return y, (r - y) + tail


@inlined
def _cosine(r: Any, rest: Any) -> Any:
    """cos(r + rest) as a number and what it lacks."""
    one, z = like(1, r), r * r
    half = like(0.5, r) * z
    start = one - half
    tail = ((one - start) - half) + fma(z * z, _COSINE(z), -r * rest)
    y = start + tail
    return y, (start - y) + tail


@inlined
def _turned(n: Any, r: Any, rest: Any) -> Any:
    """The sine of n quarter turns and r."""
    s, _ = _sine(r, rest)
    c, _ = _cosine(r, rest)
    y = select((n & 1) != 0, c, s)
    return select((n & 2) != 0, -y, y)


@inlined
def _ratio(n: Any, r: Any, rest: Any) -> Any:
    """The tangent of n quarter turns and r: s / c or -c / s, and what the quotient lacks."""
    s, s_rest = _sine(r, rest)
    c, c_rest = _cosine(r, rest)
    odd = (n & 1) != 0
    a, a_rest = select(odd, -c, s), select(odd, -c_rest, s_rest)
    b, b_rest = select(odd, s, c), select(odd, s_rest, c_rest)
    over = like(1, r) / b
    y = a * over
    return fma(fma(-y, b, a) + (a_rest - y * b_rest), over, y)


@inlined
def sin_single(x: Any) -> Any:
    n, r, rest = _reduced_single(x)
    return select(x == like(0, x), x, _turned(n, r, rest))


@inlined
def sin_double(x: Any) -> Any:
    n, r, rest = _reduced_double(x)
    return select(x == 0.0, x, _turned(n, r, rest))


@inlined
def cos_single(x: Any) -> Any:
    n, r, rest = _reduced_single(x)
    return _turned(n + 1, r, rest)


@inlined
def cos_double(x: Any) -> Any:
    n, r, rest = _reduced_double(x)
    return _turned(n + 1, r, rest)


@inlined
def tan_single(x: Any) -> Any:
    n, r, rest = _reduced_single(x)
    return select(x == like(0, x), x, _ratio(n, r, rest))


@inlined
def tan_double(x: Any) -> Any:
    n, r, rest = _reduced_double(x)
    return select(x == 0.0, x, _ratio(n, r, rest))
