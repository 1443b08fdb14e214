"""The error function's complement and inverse. Each is computed in float64 for float32 too.

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
from tapeflow_kernels.cpu.vecmath.exponential import (
    clipped,
    erf_near,
    exp,
    exp_and_power,
    scaled,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.logarithm import log

# (1 + 2 x) exp(x²) erfc(x), x >= 0, in (x - 3.75) / (x + 3.75).
# Source of the form: Shepherd & Laframboise, Mathematics of Computation 36 (1981)
_ERFCX = of_double(
    1.2375126308378275, -0.14024059858554702, 0.00358541548546365, 0.08227673849015112,
    -0.10880393014170486, 0.09230432116019513, -0.058693398590614, 0.028362277421569364,
    -0.009746579546733069, 0.0017556258319139934, 0.00029371358771431225,
    -0.0002901539762990061, 5.164944451696205e-05, 2.238390038090339e-05,
    -1.1445178311518049e-05, -9.728185029677076e-07, 1.7537598965322038e-06,
    -5.832039466992171e-08, -2.616930395796968e-07, 2.4363842659574258e-08,
    4.163213221156018e-08, -4.454188309154417e-09, -7.094843440843675e-09,
    5.826552475656065e-10, 1.2007166392684951e-09, -4.9844152844245993e-11,
    -1.689091555613108e-10, 1.8240025042773818e-12, 1.3644024033145443e-11,
)
# erfinv(x) / x in w = -log(1 - x²), and in its root. Source of the form: Giles, Approximating the
# erfinv function, GPU Computing Gems 2 (2010)
_NEAR = of_double(
    1.6536545626831027, 0.7504943200799635, -0.058922567103777745, -0.0226044474534427,
    0.0178083618182855, -0.00413731437763532, -0.0012716922681254177, 0.0012324855718632934,
    -0.0002643936728808268, -0.00011688886556874711, 9.336742725235734e-05,
    -1.5027582849378318e-05, -1.1257494271261306e-05, 7.129642900560496e-06,
    -6.831540544487464e-07, -1.0584174019720957e-06, 5.382078862956802e-07,
    -1.1520113194027481e-08, -9.687946564826672e-08, 4.0471163864192175e-08,
    3.028556497072415e-09, -9.393027907670336e-09, 2.647531226541269e-09,
    1.07174842186996e-09, -6.725570072690255e-10, -4.858347047596898e-11,
    6.429272956364003e-11,
)  # 0 to 6.25, stretched to ±1
_MIDDLE = of_double(
    3.0838856104922208, 0.7539442257706239, 0.003021139436374687, -0.0015825410894023445,
    0.0007883078513080825, -0.0004006356984600362, 0.00016966502194523157,
    -4.7391826268505975e-05, 2.4058651068356814e-06, 5.127311113552116e-06,
    -2.664795494388795e-06, 5.264806395414446e-07, 9.289880428980632e-08,
    -9.472721055891026e-08, 2.638787731411147e-08, -3.203577432768853e-10,
    -2.4460309532929973e-09, 9.50582156482861e-10, -1.2945832287743332e-10,
    -4.7634358429893096e-11, 2.9501980492819456e-11, -3.2448030094062037e-12,
    -9.826481903561458e-13,
)  # roots of 2.5 to 4
_FAR = of_double(
    5.102469766505421, 1.2627439715993545, -0.0004286291993762782, -0.00029305859763537924,
    0.0001346404454712309, -4.2795204605974103e-05, 1.1897275265721295e-05,
    -3.0868010361640586e-06, 7.803313534769678e-07, -2.09749463013667e-07,
    7.283150533817003e-08, -3.734358565215709e-08, 2.3723868974276697e-08,
    -1.4993411560279713e-08, 8.476962531090727e-09, -4.044794166298865e-09,
    1.5592380809543998e-09, -4.52213359626764e-10, 3.044874836452975e-11,
    8.858304827977362e-11, -5.814195545749437e-11, 1.0366704322856824e-11,
    1.0957240764988951e-12,
)  # roots of 4 to 6.5


@inlined
def shape_of_tail(a: Any) -> Any:
    """(1 + 2 a) exp(a²) erfc(a), a >= 0."""
    return _ERFCX((a - 3.75) / (a + 3.75))


@inlined
def _scaled_tail(a: Any) -> Any:
    """exp(a²) erfc(a), a >= 0."""
    return shape_of_tail(a) * 0.5 / (0.5 + a)


@inlined
def erfc(x: Any) -> Any:
    """1 - erf(x). exp(-a²) is that of a² rounded, less what rounding left out."""
    v = like(x, 0.0)
    a = clipped(magnitude(v), 0.0, 28.0)
    square = a * a
    q = _scaled_tail(a)
    y, k = exp_and_power(-square)
    tail = scaled(y * fma(-q, fma(a, a, -square), q), k)
    far = select(v < 0.0, 2.0 - tail, tail)
    near = select(a < 0.5, v, 0.0)
    return like(select(a < 0.5, 1.0 - erf_near(near), far), x)


@inlined
def erfcx(x: Any) -> Any:
    """exp(x²) erfc(x); 2 exp(x²) less that of |x| for negative x."""
    v = like(x, 0.0)
    a = magnitude(v)
    q = select(a == np.inf, 0.0, _scaled_tail(a))
    b = select(v < 0.0, clipped(a, 0.0, 27.0), 0.0)
    square = b * b
    e = exp(square)
    both = (e + e) * (1.0 + fma(b, b, -square))
    return like(select(v < 0.0, both - q, q), x)


@inlined
def erfinv(x: Any) -> Any:
    """The number whose erf is x; infinite at ±1, NaN beyond."""
    v = like(x, 0.0)
    a = magnitude(v)
    w = -log((1.0 - a) * (1.0 + a))
    s = root(w)
    far = select(s < 4.0, _MIDDLE((s - 3.25) / 0.75), _FAR((s - 5.25) / 1.25))
    y = v * select(w < 6.25, _NEAR(fma(w, 0.32, -1.0)), far)
    return like(select(a == 1.0, copysign(np.inf, v), y), x)
