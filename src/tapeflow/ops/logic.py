"""Comparisons, logic, and the bits of integers."""
from __future__ import annotations

import numpy as np

from tapeflow.ops.elementwise import BITS, BOOLS, FLOATS, INTEGERS, NUMBERS, NUMERIC, predicate
from tapeflow.tensor import Array


@predicate("{x} == {y}", of_complex="{x} == {y}")
def equal(x: Array, y: Array) -> Array:
    """Whether x equals y; NaN equals nothing."""
    return np.equal(x, y)


@predicate("{x} != {y}", of_complex="{x} != {y}")
def not_equal(x: Array, y: Array) -> Array:
    """Whether x differs from y."""
    return np.not_equal(x, y)


@predicate("{x} < {y}", of=NUMBERS)
def less(x: Array, y: Array) -> Array:
    """Whether x < y."""
    return np.less(x, y)


@predicate("{x} <= {y}", of=NUMBERS)
def less_equal(x: Array, y: Array) -> Array:
    """Whether x <= y."""
    return np.less_equal(x, y)


@predicate("{x} > {y}", of=NUMBERS)
def greater(x: Array, y: Array) -> Array:
    """Whether x > y."""
    return np.greater(x, y)


@predicate("{x} >= {y}", of=NUMBERS)
def greater_equal(x: Array, y: Array) -> Array:
    """Whether x >= y."""
    return np.greater_equal(x, y)


@predicate("{x} & {y}", of=BOOLS)
def logical_and(x: Array, y: Array) -> Array:
    """Whether both x and y hold."""
    return np.logical_and(x, y)


@predicate("{x} | {y}", of=BOOLS)
def logical_or(x: Array, y: Array) -> Array:
    """Whether x or y or both hold."""
    return np.logical_or(x, y)


@predicate("{x} ^ {y}", of=BOOLS)
def logical_xor(x: Array, y: Array) -> Array:
    """Whether exactly one of x and y holds."""
    return np.logical_xor(x, y)


@predicate("not {x}", of=BOOLS)
def logical_not(x: Array) -> Array:
    """Whether x does not hold."""
    return np.logical_not(x)


@predicate("{x} != {x}", of=NUMERIC)
def isnan(x: Array) -> Array:
    """Whether x is not a number."""
    return np.isnan(x)


@predicate("isinf({x})", of=NUMERIC)
def isinf(x: Array) -> Array:
    """Whether x is infinite, of either sign."""
    return np.isinf(x)


@predicate("isfinite({x})", of=NUMERIC)
def isfinite(x: Array) -> Array:
    """Whether x is neither infinite nor NaN."""
    return np.isfinite(x)


@predicate("signbit({x})", of=FLOATS)
def signbit(x: Array) -> Array:
    """Whether the sign of x is set, as it is for -0.0."""
    return np.signbit(x)


# ---- bits

@predicate("{x} & {y}", of=BITS, same_dtype=True)
def bitwise_and(x: Array, y: Array) -> Array:
    """The bits that x and y share."""
    return np.bitwise_and(x, y)


@predicate("{x} | {y}", of=BITS, same_dtype=True)
def bitwise_or(x: Array, y: Array) -> Array:
    """The bits that x or y has."""
    return np.bitwise_or(x, y)


@predicate("{x} ^ {y}", of=BITS, same_dtype=True)
def bitwise_xor(x: Array, y: Array) -> Array:
    """The bits in which x and y differ."""
    return np.bitwise_xor(x, y)


@predicate("bitwise_invert({x})", of=BITS, same_dtype=True)
def bitwise_invert(x: Array) -> Array:
    """x with every bit flipped."""
    return np.invert(x)


@predicate("bitwise_left_shift({x}, {y})", of=INTEGERS, same_dtype=True)
def bitwise_left_shift(x: Array, y: Array) -> Array:
    """x with its bits moved y places to the left, zeros coming in."""
    return np.left_shift(x, y)


@predicate("bitwise_right_shift({x}, {y})", of=INTEGERS, same_dtype=True)
def bitwise_right_shift(x: Array, y: Array) -> Array:
    """x with its bits moved y places to the right, copies of the sign coming in."""
    return np.right_shift(x, y)
