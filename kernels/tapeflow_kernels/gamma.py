"""How a number of the gamma distribution moves with the distribution's shape.

A number x that exceeds a share P of the others does so for every shape a: P(a, x(a)) is constant,
hence dx/da = -(dP/da) / p(a, x), whatever way x was drawn. Source: Figurnov, Mohamed & Mnih (2018),
"Implicit reparameterization gradients", arXiv:1805.08498.
"""

from __future__ import annotations

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
    a, x = np.broadcast_arrays(a, x)
    result = np.empty(a.shape)
    large = a >= _LARGE
    result[~large] = _by_series(a[~large], x[~large])
    result[large] = _by_expansion(a[large], x[large])
    return result


def _by_series(a: Array, x: Array) -> Array:
    """P = x^a exp(-x) / Gamma(a + 1) * sum t_n, t_n = x^n / ((a + 1) ... (a + n)), by terms; each
    t_n falls with a as its logarithm does: by 1 / (a + 1) + ... + 1 / (a + n)."""
    term, fall = np.ones_like(x), np.zeros_like(x)
    total, moved = np.ones_like(x), np.zeros_like(x)
    for n in range(1, _MOST):
        term = term * x / (a + n)
        fall = fall + 1 / (a + n)
        total, moved = total + term, moved - term * fall
        if not (term * fall > _EXACT * total).any():
            break
    there = x > 0
    logarithm = np.log(np.where(there, x, 1.0))
    known = total * (logarithm - elements.apply("digamma", a + 1)) + moved
    return np.where(there, -x / a * known, 0.0)


def _by_expansion(a: Array, x: Array) -> Array:
    """The expansion of x in a normal number z (Cornish & Fisher, 1938), z found by Newton's steps:
    x = a + z a^(1/2) + (z² - 1) / 3 + (z³ - 7z) / 36 a^(-1/2) - (3z⁴ + 7z² - 16) / 810 a^(-1)."""
    root = np.sqrt(a)
    z = (x - a) / root
    for _ in range(6):
        cubic, quartic = z**3 - 7 * z, 3 * z**4 + 7 * z**2 - 16
        error = a + z * root + (z**2 - 1) / 3 + cubic / (36 * root) - quartic / (810 * a) - x
        z = z - error / (root + 2 * z / 3 + (3 * z**2 - 7) / (36 * root))
    cubic, quartic = z**3 - 7 * z, 3 * z**4 + 7 * z**2 - 16
    found: Array = 1 + z / (2 * root) - cubic / (72 * a * root) + quartic / (810 * a**2)
    return found
