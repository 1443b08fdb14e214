"""Random numbers of an element as functions of a key and the element's place, on arrays.

Words of 32 bits come from Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2,
3" (2011). The key is a seed, the counter a stream, a call of it and a block of that call. Normal
numbers are the quantiles of Wichura's algorithm AS 241 (1988), with a word of the format's width
each: the sign, and how far into the tail.

All arithmetic is of single operations that IEEE 754 defines, in one order, so that `cpu/noise.py`
gives the same bits for it; a fused multiply-add or a library's logarithm would not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

BLOCKS = 256  # of four words, that one item of work computes side by side
ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85  # what is added to the key after each round
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

# log m = s * (2 + 2/3 s² + 2/5 s⁴ + …), s = (m - 1) / (m + 1), with |s| <= 0.172
LOG = {"float32": tuple(2 / (2 * k + 1) for k in range(5)),
       "float64": tuple(2 / (2 * k + 1) for k in range(12))}  # fmt: skip
ROOT_HALF = {"float32": 0x3F3504F3, "float64": 0x3FE6A09E667F3BCD}
DIGITS = {"float32": 23, "float64": 52}

# Numerators and denominators of AS 241: PPND7 and PPND16, constant term first. The first pair is
# for the middle, the others for the tails, up to 5 and beyond, of which float32 has no words.
QUANTILE: dict[str, tuple[tuple[tuple[float, ...], tuple[float, ...]], ...]] = {
    "float32": (
        ((3.3871327179, 50.434271938, 159.29113202, 59.109374720),
         (1.0, 17.895169469, 78.757757664, 67.187563600)),
        ((1.4234372777, 2.7568153900, 1.3067284816, 0.17023821103),
         (1.0, 0.73700164250, 0.12021132975, 0.0)),
    ),
    "float64": (
        ((3.3871328727963666080, 133.14166789178437745, 1971.5909503065514427,
          13731.693765509461125, 45921.953931549871457, 67265.770927008700853,
          33430.575583588128105, 2509.0809287301226727),
         (1.0, 42.313330701600911252, 687.18700749205790830, 5394.1960214247511077,
          21213.794301586595867, 39307.895800092710610, 28729.085735721942674,
          5226.4952788528545610)),
        ((1.42343711074968357734, 4.63033784615654529590, 5.76949722146069140550,
          3.64784832476320460504, 1.27045825245236838258, 0.241780725177450611770,
          0.0227238449892691845833, 7.74545014278341407640e-4),
         (1.0, 2.05319162663775882187, 1.67638483018380384940, 0.689767334985100004550,
          0.148103976427480074590, 0.0151986665636164571966, 5.47593808499534494600e-4,
          1.05075007164441684324e-9)),
        ((6.65790464350110377720, 5.46378491116411436990, 1.78482653991729133580,
          0.296560571828504891230, 0.0265321895265761230930, 1.24266094738807843860e-3,
          2.71155556874348757815e-5, 2.01033439929228813265e-7),
         (1.0, 0.599832206555887937690, 0.136929880922735805310, 0.0148753612908506148525,
          7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
          2.04426310338993978564e-15)),
    ),
}  # fmt: skip
SPLITS = 0.425, 0.180625, 1.6, 5.0
TAIL = 0.02275013194817921  # of a normal distribution beyond 2 deviations, where truncated ones end


def draw(kind: str, state: Array, count: int, dtype: str, digits: int) -> Array:
    """`count` numbers of the distribution `kind`, for the state (seed, stream, call).

    Uniform numbers are multiples of 2^-digits.
    """
    words = _words(state, count, np.dtype(dtype).itemsize // 4)
    if kind == "uniform":
        return _uniform(words, dtype, digits)
    with np.errstate(all="ignore"):
        return _KINDS[kind](words, dtype)


def philox(counters: Sequence[Array], key: tuple[int, int]) -> list[Array]:
    """Four words for each counter of four words, all in u64."""
    c0, c1, c2, c3 = counters
    for i in range(ROUNDS):
        k0, k1 = (np.uint64((k + i * w) & 0xFFFFFFFF) for k, w in zip(key, WEYL, strict=True))
        a, b = c0 * np.uint64(MULTIPLIERS[0]), c2 * np.uint64(MULTIPLIERS[1])
        c0, c1, c2, c3 = b >> _HALF ^ c1 ^ k0, b & _LOW, a >> _HALF ^ c3 ^ k1, a & _LOW
    return [c0, c1, c2, c3]


def _words(state: Array, count: int, size: int) -> Array:
    """Words of 32 or 64 bits: block after block of an item lies side by side."""
    seed, stream, call = map(int, state)
    items = -(-count * size // (4 * BLOCKS))
    blocks = np.arange(items * BLOCKS, dtype=np.uint64)
    stream = (stream + (call >> 32)) % 2**64
    fixed = (np.full_like(blocks, v) for v in (call % 2**32, stream % 2**32, stream >> 32))
    words = philox((blocks, *fixed), (seed % 2**32, seed >> 32))
    if size == 2:
        words = [words[0] | words[1] << _HALF, words[2] | words[3] << _HALF]
    return np.stack(words).reshape(len(words), items, BLOCKS).swapaxes(0, 1).reshape(-1)[:count]


def _uniform(words: Array, dtype: str, digits: int) -> Array:
    bits = np.dtype(dtype).itemsize * 8
    integers = (words >> np.uint64(bits - digits)).astype(np.int64)
    numbers: Array = integers.astype(dtype) * np.dtype(dtype).type(2.0**-digits)
    return numbers


def _fraction(integers: Array, dtype: str, bits: int) -> Array:
    """(i + 1/2) / 2^bits, for integers that a signed integer of the format's width holds."""
    kind = np.dtype(dtype).type
    numbers: Array = (integers.astype(np.int64).astype(dtype) + kind(0.5)) * kind(2.0**-bits)
    return numbers


def _polynomial(coefficients: Sequence[float], x: Array) -> Array:
    total = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + x.dtype.type(c)
    return total


def _log(x: Array, below_1: Array | None = None) -> Array:
    """The logarithm of x, normal and positive; near 1 that of 1 - below_1, where that is given."""
    name = x.dtype.name
    kind, digits = x.dtype.type, DIGITS[name]
    start = np.asarray(ROOT_HALF[name], f"i{x.itemsize}")
    bits = x.view(start.dtype) - start
    e = (bits >> digits).astype(x.dtype)
    m = ((bits & ((1 << digits) - 1)) + start).view(x.dtype)
    f = m - kind(1)
    if below_1 is not None:
        f = np.where(e == 0, -below_1, f)
    s = f / (f + kind(2))
    found: Array = e * kind(math.log(2)) + s * _polynomial(LOG[name], s * s)
    return found


def _quantile(p: Array) -> Array:
    """How many standard deviations from the mean a normal number is that others exceed with
    probability p <= 1/2."""
    kind = p.dtype.type
    middle, near, *far = QUANTILE[p.dtype.name]
    q = kind(0.5) - p
    central = q <= kind(SPLITS[0])
    r = np.sqrt(-_log(p))
    x = np.where(central, kind(SPLITS[1]) - q * q, r - kind(SPLITS[2]))
    above, below = (np.where(central, _polynomial(a, x), _polynomial(b, x))
                    for a, b in zip(middle, near, strict=True))  # fmt: skip
    for tail in far:
        is_far, x = r > kind(SPLITS[3]), r - kind(SPLITS[3])
        above, below = (np.where(is_far, _polynomial(c, x), known)
                        for c, known in zip(tail, (above, below), strict=True))  # fmt: skip
    z = above / below
    return np.where(central, q * z, z)


def _signed(words: Array, z: Array) -> Array:
    return np.where(words & np.uint64(1) == 1, -z, z)


def _normal(words: Array, dtype: str) -> Array:
    bits = np.dtype(dtype).itemsize * 8
    return _signed(words, _quantile(_fraction(words >> np.uint64(1), dtype, bits)))


def _truncated_normal(words: Array, dtype: str) -> Array:
    kind, bits = np.dtype(dtype).type, np.dtype(dtype).itemsize * 8
    p = _fraction(words >> np.uint64(1), dtype, bits - 1)
    return _signed(words, _quantile(kind(TAIL) + p * kind(0.5 - TAIL)))


def _exponential(words: Array, dtype: str) -> Array:
    bits = np.dtype(dtype).itemsize * 8 - 1
    halved = words >> np.uint64(1)
    opposite = np.uint64(2**bits - 1) - halved
    return -_log(_fraction(halved, dtype, bits), _fraction(opposite, dtype, bits))


def _gumbel(words: Array, dtype: str) -> Array:
    return -_log(_exponential(words, dtype))


_KINDS: dict[str, Callable[[Array, str], Array]] = {
    "normal": _normal,
    "truncated_normal": _truncated_normal,
    "exponential": _exponential,
    "gumbel": _gumbel,
}
