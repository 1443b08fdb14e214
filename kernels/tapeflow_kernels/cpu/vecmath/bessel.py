"""The modified Bessel functions I0 and I1, computed in float64 for float32 too.

Polynomials are Chebyshev interpolations of the functions to 2^-56, written out in powers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    copysign,
    fma,
    like,
    magnitude,
    of_double,
    root,
    select,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.exponential import clipped, exp, exp_and_power, scaled

_BORDER = 7.75
# (I0(x) - 1) / z and (I1(x) / (x/2) - 1) / z in z = x² / 4, up to the border
_I0_NEAR = of_double(
    1.0, 0.25, 0.027777777777777776, 0.001736111111111111, 6.944444444444444e-05,
    1.9290123456790175e-06, 3.936759889140542e-08, 6.151187326795165e-10,
    7.594058427742859e-12, 7.594058436788974e-14, 6.27608119851293e-16,
    4.3583917139890085e-18, 2.578910476750628e-20, 1.3159147891012967e-22,
    5.84063530607766e-25, 2.3123704339844335e-27, 7.1803456898273e-30,
    3.5418050575847564e-32,
)
_I1_NEAR = of_double(
    0.5, 0.08333333333333333, 0.006944444444444444, 0.00034722222222222224,
    1.1574074074074092e-05, 2.755731922398449e-07, 4.9209498614335e-09,
    6.834652585038725e-11, 7.594058435439005e-13, 6.903689337374885e-15,
    5.2300698600765196e-17, 3.352585107145996e-19, 1.8422726252925266e-21,
    8.76125788535745e-24, 3.6990407483765405e-26, 1.2217326391568124e-28,
    6.368678549290667e-31,
)
# exp(-x) sqrt(x) I(x) in 15.5 / x - 1, beyond
_I0_FAR = of_double(
    0.4022850564674586, 0.0034780646235956286, 0.00014630498370439318,
    1.2470619492181316e-05, 1.740859473580309e-06, 3.696990978724736e-07,
    1.1886685581416834e-07, 5.6368042851604145e-08, 3.009930619788329e-08,
    6.119084417442101e-09, -1.61933942085953e-08, -2.1152340465541542e-08,
    -2.4099663378275205e-09, 1.6350272091574927e-08, 8.132736452086128e-09,
    -1.1652889778716899e-08, -8.328474433010187e-09, 8.718175002770245e-09,
    6.614004793671656e-09, -6.210440378348645e-09, -4.3105478810329135e-09,
    3.650744435648466e-09, 2.2071478114488533e-09, -1.5589592524784307e-09,
    -8.193184467339821e-10, 4.1746424060401343e-10, 1.9341424360607744e-10,
    -5.196302431411211e-11, -2.1592069750679475e-11,
)
_I1_FAR = of_double(
    0.38908372789601825, -0.010078728909315788, -0.00023517122407217103,
    -1.6805827209778773e-05, -2.1490095229139313e-06, -4.3216595714504114e-07,
    -1.336332330059552e-07, -6.17468863852955e-08, -3.277493136621723e-08,
    -7.233570232016807e-09, 1.6528250017721376e-08, 2.2333933492383993e-08,
    3.141566394084647e-09, -1.680588417202093e-08, -8.903522317765957e-09,
    1.1784579102084225e-08, 8.960920152824345e-09, -8.759915866243141e-09,
    -7.10015206160041e-09, 6.237364559901754e-09, 4.644174554088139e-09,
    -3.6720035599761283e-09, -2.3928165490149443e-09, 1.570612137385627e-09,
    8.946557702927891e-10, -4.211576758514746e-10, -2.1275508534978234e-10,
    5.247817797718789e-11, 2.391985403076701e-11,
)


@inlined
def _near(x: Any) -> Any:
    """|x| up to the border, and its square over 4."""
    a = clipped(magnitude(x), 0.0, _BORDER)
    return a, (0.5 * a) * (0.5 * a)


@inlined
def _far(a: Any) -> Any:
    """a from the border on, and what the polynomials take."""
    far = select(a < _BORDER, _BORDER, a)
    return far, fma(2.0 * _BORDER, 1.0 / far, -1.0)


@inlined
def _grown(tail: Any, a: Any) -> Any:
    """exp(a) tail, which overflows where the product does."""
    y, k = exp_and_power(clipped(a, 0.0, 720.0))
    return select(a == np.inf, a, scaled(y * tail, k))


@inlined
def i0(x: Any) -> Any:
    """I0(x)."""
    v = like(x, 0.0)
    _, z = _near(v)
    far, u = _far(magnitude(v))
    grown = _grown(_I0_FAR(u) / root(far), far)
    return like(select(magnitude(v) <= _BORDER, fma(z, _I0_NEAR(z), 1.0), grown), x)


@inlined
def i0e(x: Any) -> Any:
    """exp(-|x|) I0(x)."""
    v = like(x, 0.0)
    a, z = _near(v)
    far, u = _far(magnitude(v))
    near = exp(-a) * fma(z, _I0_NEAR(z), 1.0)
    return like(select(magnitude(v) <= _BORDER, near, _I0_FAR(u) / root(far)), x)


@inlined
def _i1_near(a: Any, z: Any) -> Any:
    return 0.5 * fma(a * z, _I1_NEAR(z), a)


@inlined
def i1(x: Any) -> Any:
    """I1(x)."""
    v = like(x, 0.0)
    a, z = _near(v)
    far, u = _far(magnitude(v))
    grown = _grown(_I1_FAR(u) / root(far), far)
    y = select(magnitude(v) <= _BORDER, _i1_near(a, z), grown)
    return like(copysign(y, v), x)


@inlined
def i1e(x: Any) -> Any:
    """exp(-|x|) I1(x)."""
    v = like(x, 0.0)
    a, z = _near(v)
    far, u = _far(magnitude(v))
    y = select(magnitude(v) <= _BORDER, exp(-a) * _i1_near(a, z), _I1_FAR(u) / root(far))
    return like(copysign(y, v), x)
