"""Random numbers as functions of words, for the loops that draw them: `tapeflow_kernels.noise` in
machine code, the same bits. Only what it says is computed: no step is fused, none left out.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    constant,
    integer,
    like,
    number,
    pattern,
    polynomial,
    root,
    select,
    whole,
)
from tapeflow_kernels.noise import DIGITS, LOG, QUANTILE, ROOT_HALF, SPLITS, TAIL

_ONE = np.uint64(1)
_CENTRAL, _SQUARE, _NEAR, _FAR = SPLITS


def _quotients(part: int) -> list[Any]:
    """The polynomials of numerator and denominator; beyond 5 those of float32 are never used."""
    of = [QUANTILE[name][min(part, len(QUANTILE[name]) - 1)] for name in ("float32", "float64")]
    return [polynomial(single, double, fused=False) for single, double in zip(*of, strict=True)]


_SERIES = polynomial(LOG["float32"], LOG["float64"], fused=False)
_LN2 = constant(math.log(2), math.log(2))
_START = integer(ROOT_HALF["float32"], ROOT_HALF["float64"])
_DIGITS = integer(DIGITS["float32"], DIGITS["float64"])
_MASK = integer((1 << DIGITS["float32"]) - 1, (1 << DIGITS["float64"]) - 1)
_HAS_FAR_TAIL = integer(0, 1)
_MOST = integer(2**31 - 1, 2**63 - 1)
_OF_WORD = constant(2.0**-32, 2.0**-64)
_OF_HALF = constant(2.0**-31, 2.0**-63)
(_ABOVE, _BELOW), (_ABOVE_NEAR, _BELOW_NEAR), (_ABOVE_FAR, _BELOW_FAR) = map(_quotients, range(3))


@inlined
def _log(x: Any, near: Any, below_1: Any) -> Any:
    """The logarithm of x, normal and positive; `near` 1 that of 1 - below_1."""
    bits = whole(pattern(x) - _START(x), x)
    e = like(whole(bits >> _DIGITS(x), x), x)
    m = number(whole(bits & _MASK(x), x) + _START(x), x)
    f = select(near & (e == like(0, x)), -below_1, m - like(1, x))
    s = f / (f + like(2, x))
    return e * _LN2(x) + s * _SERIES(s * s)


@inlined
def _quantile(p: Any) -> Any:
    """As `noise._quantile`."""
    q = like(0.5, p) - p
    central = q <= like(_CENTRAL, p)
    r = root(-_log(p, False, p))
    x = select(central, like(_SQUARE, p) - q * q, r - like(_NEAR, p))
    above = select(central, _ABOVE(x), _ABOVE_NEAR(x))
    below = select(central, _BELOW(x), _BELOW_NEAR(x))
    if _HAS_FAR_TAIL(p):
        is_far, x = r > like(_FAR, p), r - like(_FAR, p)
        above = select(is_far, _ABOVE_FAR(x), above)
        below = select(is_far, _BELOW_FAR(x), below)
    z = above / below
    return select(central, q * z, z)


# ---- distributions: of a word, in the format of x


@inlined
def _signed(word: Any, z: Any) -> Any:
    return select(word & _ONE == _ONE, -z, z)


@inlined
def _half(word: Any, x: Any) -> Any:
    """The integer that is the word without its lowest bit, plus 1/2."""
    return like(whole(word >> _ONE, x), x) + like(0.5, x)


def _normal(word: Any, x: Any) -> Any:
    return _signed(word, _quantile(_half(word, x) * _OF_WORD(x)))


def _truncated_normal(word: Any, x: Any) -> Any:
    p = _half(word, x) * _OF_HALF(x)
    return _signed(word, _quantile(like(TAIL, x) + p * like(0.5 - TAIL, x)))


@inlined
def _exponential(word: Any, x: Any) -> Any:
    opposite = like(_MOST(x) - whole(word >> _ONE, x), x) + like(0.5, x)
    return -_log(_half(word, x) * _OF_HALF(x), True, opposite * _OF_HALF(x))


def _gumbel(word: Any, x: Any) -> Any:
    y = _exponential(word, x)
    return -_log(y, False, y)


FUNCTIONS: dict[str, Any] = {
    "draw_normal": inlined(_normal),
    "draw_truncated_normal": inlined(_truncated_normal),
    "draw_exponential": _exponential,
    "draw_gumbel": inlined(_gumbel),
}
"""What the text of kernels calls these."""
