"""Elementary functions of float32 and float64 that become part of the loops that use them.

They have no branches but one that reduces huge angles, so that loops vectorise without a library of
vector functions; only incomplete functions and polygamma loop. Elementary functions are within 2
ulp of the true value for every input, subnormal, infinite and NaN included; tests/test_vecmath.py
measures that, and docs/accuracy.md states it for the others. Special values are those of ISO C,
annex F.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapeflow_kernels.cpu.vecmath import (
    bessel,
    exponential,
    gamma,
    gauss,
    incomplete_beta,
    incomplete_gamma,
    inverse,
    logarithm,
    polygamma,
    power,
    trigonometry,
)  # fmt: skip

Function = Callable[..., Any]


def _both(*functions: Function) -> dict[str, Function]:
    """By dtype: one function for float32 and float64, or one each."""
    return {"float32": functions[0], "float64": functions[-1]}


FUNCTIONS: dict[str, dict[str, Function]] = {
    "exp": _both(exponential.exp),
    "expm1": _both(exponential.expm1),
    "sinh": _both(exponential.sinh),
    "cosh": _both(exponential.cosh),
    "tanh": _both(exponential.tanh),
    "sigmoid": _both(exponential.sigmoid),
    "erf": _both(exponential.erf),
    "erfc": _both(gauss.erfc),
    "erfcx": _both(gauss.erfcx),
    "erfinv": _both(gauss.erfinv),
    "lgamma": _both(gamma.lgamma),
    "digamma": _both(gamma.digamma),
    "polygamma": _both(polygamma.polygamma),
    "gammainc": _both(incomplete_gamma.gammainc),
    "gammaincc": _both(incomplete_gamma.gammaincc),
    "betainc": _both(incomplete_beta.betainc),
    "sinc": _both(gamma.sinc),
    "i0": _both(bessel.i0),
    "i0e": _both(bessel.i0e),
    "i1": _both(bessel.i1),
    "i1e": _both(bessel.i1e),
    "log": _both(logarithm.log),
    "log1p": _both(logarithm.log1p),
    "log2": _both(logarithm.log2),
    "log10": _both(logarithm.log10),
    "logaddexp": _both(logarithm.logaddexp),
    "pow": _both(power.pow_single, power.pow_double),
    "hypot": _both(power.hypot_single, power.hypot_double),
    "sin": _both(trigonometry.sin_single, trigonometry.sin_double),
    "cos": _both(trigonometry.cos_single, trigonometry.cos_double),
    "tan": _both(trigonometry.tan_single, trigonometry.tan_double),
    "asin": _both(inverse.asin),
    "acos": _both(inverse.acos),
    "atan": _both(inverse.atan),
    "atan2": _both(inverse.atan2),
    "asinh": _both(inverse.asinh),
    "acosh": _both(inverse.acosh),
    "atanh": _both(inverse.atanh),
    "logit": _both(inverse.logit),
}
"""What Scalar texts call these, and the function for each dtype."""
