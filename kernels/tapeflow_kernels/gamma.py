"""How a number of the gamma distribution moves with the distribution's shape.

A number x that exceeds a share P of the others does so for every shape a: P(a, x(a)) is constant,
hence dx/da = -(dP/da) / p(a, x), whatever way x was drawn. Source: Figurnov, Mohamed & Mnih (2018),
"Implicit reparameterization gradients", arXiv:1805.08498.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeflow_kernels.cpu import elements

Array = NDArray[Any]

_LARGE = 1000.0  # shapes from here on are nearly normal
_EXACT = 1e-17
_MOST = 3000  # terms; numbers of smaller shapes need fewer


def slope(a: Array, x: Array) -> Array:
    """dx/da for each x of shape a; in float64, of which some digits are lost for the rare x far
    above a."""
    return _apart(_by_series, _by_expansion, a, x)


def slope_slopes(a: Array, x: Array) -> tuple[Array, Array]:
    """How slope(a, x) changes with a, at the same x, and with x."""
    by_a, by_x = _apart(_slopes_by_series, _slopes_by_expansion, a, x)
    return by_a, by_x


def _apart(small: Callable[..., Any], large: Callable[..., Any], a: Array, x: Array) -> Array:
    """What `small` gives, and for large shapes `large`."""
    a, x = np.broadcast_arrays(a, x)
    is_large = a >= _LARGE
    found = np.array(small(np.where(is_large, 1.0, a), np.where(is_large, 1.0, x)))
    if is_large.any():
        found[..., is_large] = large(a[is_large], x[is_large])
    return found


def _sums(a: Array, x: Array, order: int) -> list[Array]:
    """T, T' and, of `order` 2, T'', where P = x^a exp(-x) / Gamma(a + 1) * T and T = sum of t_n =
    x^n / ((a + 1) ... (a + n)), by terms; each t_n falls with a as its logarithm does: by h_n =
    1 / (a + 1) + ... + 1 / (a + n), which falls by the sum of their squares."""
    term, fall, bend = np.ones_like(x), np.zeros_like(x), np.zeros_like(x)
    sums = [np.ones_like(x), *(np.zeros_like(x) for _ in range(order))]
    for n in range(1, _MOST):
        step = 1 / (a + n)
        term, fall = term * x * step, fall + step
        moved = [term, term * -fall]
        if order == 2:
            bend = bend + step * step
            moved.append(term * (fall * fall + bend))
        sums = [total + part for total, part in zip(sums, moved, strict=True)]
        if not (abs(moved[-1]) > _EXACT * sums[0]).any():
            break
    return sums


def _by_series(a: Array, x: Array) -> Array:
    total, first = _sums(a, x, 1)
    there = x > 0
    logarithm = np.log(np.where(there, x, 1.0)) - elements.apply("digamma", a + 1)
    return np.where(there, -x / a * (total * logarithm + first), 0.0)


def _slopes_by_series(a: Array, x: Array) -> tuple[Array, Array]:
    """With log P = l = a log x - x - lgamma(a + 1) + log T, slope = -l' x T / a; the density is
    P a / (x T), and its logarithm falls by digamma(a) - log x as a grows."""
    total, first, second = _sums(a, x, 2)
    there = x > 0
    above = np.where(there, x, 1.0)
    rise = np.log(above) - elements.apply("digamma", a + 1)
    own = -above / a * (total * rise + first)
    curved = total * (rise * rise - elements.apply("polygamma", np.ones_like(a), a + 1))
    log_density = rise + 1 / a
    by_a = -above / a * (curved + 2 * rise * first + second) - own * log_density
    by_x = -log_density - own * ((a - 1) / above - 1)
    return np.where(there, by_a, 0.0), np.where(there, by_x, 0.0)


def _normal(a: Array, x: Array) -> tuple[Array, Array]:
    """The normal number z that x is an expansion of (Cornish & Fisher, 1938), and dx/dz:
    x = a + z a^(1/2) + (z² - 1) / 3 + (z³ - 7z) / 36 a^(-1/2) - (3z⁴ + 7z² - 16) / 810 a^(-1)."""
    root = np.sqrt(a)
    z = (x - a) / root
    for _ in range(6):  # of Newton's
        cubic, quartic = z**3 - 7 * z, 3 * z**4 + 7 * z**2 - 16
        error = a + z * root + (z**2 - 1) / 3 + cubic / (36 * root) - quartic / (810 * a) - x
        z = z - error / (root + 2 * z / 3 + (3 * z**2 - 7) / (36 * root))
    return z, root + 2 * z / 3 + (3 * z**2 - 7) / (36 * root) - (12 * z**3 + 14 * z) / (810 * a)


def _by_expansion(a: Array, x: Array) -> Array:
    z, _ = _normal(a, x)
    root, cubic, quartic = np.sqrt(a), z**3 - 7 * z, 3 * z**4 + 7 * z**2 - 16
    found: Array = 1 + z / (2 * root) - cubic / (72 * a * root) + quartic / (810 * a**2)
    return found


def _slopes_by_expansion(a: Array, x: Array) -> tuple[Array, Array]:
    """With z, how the slope changes along a curve of x, on which z stays; the rest is its a's."""
    z, width = _normal(a, x)
    root, cubic, quartic = np.sqrt(a), z**3 - 7 * z, 3 * z**4 + 7 * z**2 - 16
    by_z = 1 / (2 * root) - (3 * z**2 - 7) / (72 * a * root) + (12 * z**3 + 14 * z) / (810 * a**2)
    along = -z / (4 * a * root) + cubic / (48 * a**2 * root) - 2 * quartic / (810 * a**3)
    by_x = by_z / width
    return along - by_x * _by_expansion(a, x), by_x
