"""Arithmetic of pairs, a number of float64 and what it lacks, to about 2^-100 of its size."""

from __future__ import annotations

from typing import Any

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import fma, magnitude, root, select
from tapeflow_kernels.cpu.vecmath.exponential import (
    EXP_TAIL,
    LN2,
    LN2_REST,
    LOG2_E,
    clipped,
    nearest,
    scaled,
)

ONE = (1.0, 0.0)


@inlined
def sum_of(a: Any, b: Any) -> Any:
    """a + b as a pair: a number and what it lacks."""
    s = a + b
    part = s - a
    return s, (a - (s - part)) + (b - part)


@inlined
def leading(a: Any) -> Any:
    """A pair, without what its number lacks."""
    x, _ = a
    return x


@inlined
def plus(a: Any, b: Any) -> Any:
    """The sum of two pairs."""
    x, x_rest = a
    y, y_rest = b
    s, rest = sum_of(x, y)
    return s, rest + (x_rest + y_rest)


@inlined
def less(a: Any, b: Any) -> Any:
    """The difference of two pairs."""
    y, y_rest = b
    return plus(a, (-y, -y_rest))


@inlined
def product(a: Any, b: Any) -> Any:
    """The product of two pairs."""
    x, x_rest = a
    y, y_rest = b
    p = x * y
    return p, fma(x, y, -p) + fma(x, y_rest, x_rest * y)


@inlined
def times(x: Any, a: Any) -> Any:
    """x times a pair."""
    y, y_rest = a
    p = x * y
    return p, fma(x, y, -p) + x * y_rest


@inlined
def quotient(a: Any, b: Any) -> Any:
    """The quotient of two pairs."""
    x, x_rest = a
    y, y_rest = b
    over = 1.0 / y
    q = x * over
    return q, (fma(-q, y, x) + fma(-q, y_rest, x_rest)) * over


@inlined
def root_of(a: Any) -> Any:
    """The square root of a pair."""
    x, x_rest = a
    r = root(x)
    return r, (fma(-r, r, x) + x_rest) * (0.5 / r)


@inlined
def exp_less_1(a: Any) -> Any:
    """s and k, s a pair, with exp of a pair = (1 + s) 2^k and |s| < 1/2. What float64 has no number
    for is infinite or 0 by 2^k."""
    x, rest = a
    rest = select(magnitude(x) < 1000.0, rest, 0.0)
    x = clipped(x, -1100.0, 1100.0)
    k, whole_k = nearest(x, LOG2_E(x))
    r, rest = fma(-whole_k, LN2(x), x), fma(-whole_k, LN2_REST(x), rest)
    both = r + rest
    tail = fma(EXP_TAIL(both) * both, both, rest)
    s = r + tail
    return (s, (r - s) + tail), k


@inlined
def exp_of(a: Any) -> Any:
    """exp of a pair, as a pair of about 1 and a power of 2."""
    s, k = exp_less_1(a)
    return plus(ONE, s), k


@inlined
def expm1_of(a: Any) -> Any:
    """exp(a) - 1 as a pair, for a pair a that is at most 0."""
    s, k = exp_less_1(a)
    scale = scaled(1.0, k)
    return plus(sum_of(scale, -1.0), times(scale, s))
