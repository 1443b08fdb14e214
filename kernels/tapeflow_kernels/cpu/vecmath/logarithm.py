"""log and what is made of it, for float32 and float64, without branches or calls."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    constant,
    fma,
    integer,
    is_double,
    like,
    magnitude,
    number,
    pattern,
    polynomial,
    select,
    whole,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.exponential import DIGITS, LN2, LN2_REST, exp
from tapeflow_kernels.cpu.vecmath.pairs import sum_of

_hex = float.fromhex
_LOG2_E = constant(_hex("0x1.715476p+0"), _hex("0x1.71547652b82fep+0"))
_LOG2_E_REST = constant(_hex("0x1.4ae0cp-26"), _hex("0x1.777d0ffda0d24p-56"))
_LOG10_E = constant(_hex("0x1.bcb7b2p-2"), _hex("0x1.bcb7b1526e50ep-2"))
_LOG10_E_REST = constant(_hex("-0x1.5b235ep-27"), _hex("0x1.95355baaafad3p-57"))
_LOG10_2 = constant(_hex("0x1.344136p-2"), _hex("0x1.34413509f79ffp-2"))
_LOG10_2_REST = constant(_hex("-0x1.ec10cp-27"), _hex("-0x1.9dc1da994fd21p-59"))
_SMALLEST = constant(2.0**-126, 2.0**-1022)  # normal number
_LIFT = constant(2.0**23, 2.0**52)
_LIFTED = constant(23.0, 52.0)
_MASK = integer(2**23 - 1, 2**52 - 1)
# 1/sqrt(2): significands go from here to twice this
_START = integer(int(np.float32(math.sqrt(0.5)).view(np.int32)),
                 int(np.float64(math.sqrt(0.5)).view(np.int64)))  # fmt: skip

# float32: (log(1 + f) - f + f² / 2) / f³ in f; float64: (2 atanh(s) / s - 2) / s² in s², where
# s = f / (2 + f), as a quotient takes less time there than seven more terms
_TAIL = polynomial(
    (0.3333333134651184, -0.2499999701976776, 0.20000715553760529, -0.1666780263185501,
     0.14249058067798615, -0.12425687164068222, 0.11685419827699661, -0.11479733884334564,
     0.06971611827611923),
    (0.6666666666666666, 0.4000000000000088, 0.28571428570803614, 0.22222222391713917,
     0.18181795640132906, 0.15386239702814658, 0.13268773138656886, 0.13086626147840102),
)  # fmt: skip


@inlined
def split(x: Any) -> Any:
    """e and m with x = m 2^e, 1/sqrt(2) <= m < sqrt(2), for normal x > 0."""
    i = whole(pattern(x) - _START(x), x)
    return like(whole(i >> DIGITS(x), x), x), number(whole(i & _MASK(x), x) + _START(x), x)


@inlined
def split_any(x: Any) -> Any:
    """e and m as split(), for any x > 0."""
    small = x < _SMALLEST(x)
    e, m = split(select(small, x * _LIFT(x), x))
    return e - select(small, _LIFTED(x), like(0, x)), m


@inlined
def _beyond_linear(f: Any, rest: Any) -> Any:
    """log(1 + f) - f + rest."""
    half = like(0.5, f)
    if is_double(f):
        s = f / (like(2, f) + f)
        z, square = s * s, half * f * f
        return fma(s, fma(_TAIL(z), z, square), rest) - square
    square = f * f
    return fma(-half, square, fma(_TAIL(f) * f, square, rest))


@inlined
def _special(x: Any, y: Any) -> Any:
    """y, unless the logarithm of x is infinite or does not exist."""
    zero, infinity = like(0, x), like(np.inf, x)
    y = select(x == zero, -infinity, y)
    y = select(x < zero, like(np.nan, x), y)
    return select(x < infinity, y, x)


@inlined
def log(x: Any) -> Any:
    e, m = split_any(x)
    f = m - like(1, x)
    return _special(x, fma(e, LN2(x), f + _beyond_linear(f, e * LN2_REST(x))))


@inlined
def log1p_of(x: Any, rest: Any) -> Any:
    """log(1 + x + rest), where rest is at most some ulp of x.

    log(u) + c / u, where 1 + x was rounded to u and c is what that lost.
    """
    one = like(1, x)
    u, lost = sum_of(one, x)
    e, m = split(u)
    f = m - one
    y = fma(e, LN2(x), f + _beyond_linear(f, fma(e, LN2_REST(x), (lost + rest) / u)))
    return select(x == like(0, x), x, _special(u, y))


@inlined
def log1p(x: Any) -> Any:
    return log1p_of(x, like(0, x))


@inlined
def log2(x: Any) -> Any:
    e, m = split_any(x)
    f = m - like(1, x)
    rest = _beyond_linear(f, like(0, x))
    return _special(x, e + fma(f, _LOG2_E(x), fma(rest, _LOG2_E(x), (f + rest) * _LOG2_E_REST(x))))


@inlined
def log10(x: Any) -> Any:
    e, m = split_any(x)
    f = m - like(1, x)
    rest = _beyond_linear(f, like(0, x))
    small = fma(f + rest, _LOG10_E_REST(x), e * _LOG10_2_REST(x))
    y = fma(e, _LOG10_2(x), fma(f, _LOG10_E(x), fma(rest, _LOG10_E(x), small)))
    return _special(x, y)


@inlined
def logaddexp(x: Any, y: Any) -> Any:
    larger = select((x >= y) | (x != x), x, y)
    apart = select(x == y, like(0, x), -magnitude(x - y))  # equal infinities are 0 apart
    return larger + log1p(exp(apart))
