"""Stirling's formula, and the logarithm of gamma and its derivative beside their negative zeros.

Between poles, terms of the size of log(x) cancel; so what they differ by from their values at the
zero is summed up, each in a form that vanishes with the distance. Zeros are known as pairs.
Source of the identities: NIST Digital Library of Mathematical Functions, chapter 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeflow_kernels.cpu.lowering import inlined
from tapeflow_kernels.cpu.vecmath.bits import (
    copysign,
    difference,
    floor,
    fma,
    magnitude,
    of_double,
    select,
    table,
)  # fmt: skip
from tapeflow_kernels.cpu.vecmath.exponential import nearest
from tapeflow_kernels.cpu.vecmath.power import atanh_tail

STIRLING_FROM = 2.5  # where stirling() holds
# (log(Gamma(x)) - (x - 1/2) log(x) + x - log(2 pi) / 2) x in 1/x
_stirling_tail = of_double(
    0.08333333333333333, -2.359959235255875e-17, -0.0027777777777706746,
    -8.501718480471589e-13, 0.0007936508475299465, -2.086759830664443e-09,
    -0.000595184341632708, -9.72062893353782e-07, 0.0008545366735835491,
    -0.00012509540654047875, -0.0009965836631596794, -0.005101940578653445,
    0.0273438844906243, -0.06073299787800126, 0.07968810923803239, -0.06232113797798969,
    0.023125742455313122, 0.0018359473654533521, -0.003371465769296597,
)
# sin(pi r) / r in r², |r| <= 1/2
SIN_PI = (
    3.141592653589793, -5.16771278004997, 2.5501640398773455, -0.5992645293207921,
    0.08214588661112787, -0.007370430945707596, 0.0004663028056889684,
    -2.191535285969446e-05, 7.952025736213849e-07, -2.293998713586946e-08,
    5.249879114060463e-10,
)
# (log(x) - 1 / (2 x) - digamma(x)) x² in 1/x, x >= 2
digamma_tail = of_double(
    0.08333333333333333, -6.709154424133889e-17, -0.008333333333311889,
    -2.7071740203409613e-12, 0.003968254148044065, -7.248434151373788e-09,
    -0.0041664738423631605, -3.5624706055369674e-06, 0.007622841353016659,
    -0.00044972782331931233, -0.018040051324060887, -0.013559614032167308,
    0.10825026807693681, 0.14183213162862185, -1.8826296103578177, 6.338561090278992,
    -12.863493009804909, 17.80476155154579, -17.12602818942609, 11.063760403504297,
    -4.344156326432885, 0.7866354637991011,
)
sin_pi_over = of_double(*SIN_PI)
# both again in 1/x², for 1/x² < 0.06 and 0.2, as differences need them
_STIRLING_SHORT = (
    0.0833333333333331, -0.0027777777772834975, 0.0007936506182214177, -0.0005952140574121105,
    0.0008401020327647227, -0.0018540859437911042, 0.004967951810385892, -0.00962306776575128,
)
_stirling_short = of_double(*_STIRLING_SHORT)
_step_of_stirling = difference(*_STIRLING_SHORT)
_step_of_digamma = difference(
    0.0, 0.08333333333333288, -0.008333333332450392, 0.00396825367440906, -0.004166627356038963,
    0.007572945381497674, -0.020968353432702196, 0.07959992094249001, -0.3618405865458707,
    1.674632351295345, -6.820947831812904, 21.82374011544119, -49.51310443723806, 69.5844476638912,
    -45.127949233826115,
)
# how far below -n digamma is 0, n = 0, 1, ..., less what the second table has
_DIGAMMA_ZEROS = 12.0
_DIGAMMA_ZERO = table([
    0.5040830082644554, 0.5734984731623904, 0.6107208684441446, 0.6352933664369012,
    0.6532377617431424, 0.6671624415568855, 0.6784182130734268, 0.687788325031626,
    0.6957641638164013, 0.7026725400018637, 0.7087408382541447, 0.7141330612289538,
])
_DIGAMMA_ZERO_REST = table([
    8.15428206243813e-18, 1.574185691077347e-17, 1.2202694992732132e-17, -5.454396163173039e-17,
    3.2882257089650634e-17, 3.2153051074948335e-18, -1.40129649619771e-17, 2.4133947001851525e-17,
    -4.467870224652488e-18, -7.435123333532191e-18, -3.74126397210638e-17, 2.835340426574184e-17,
])
# pi over the sine of pi times these
_DIGAMMA_SCALE = table([
    3.141851123454259, 3.227242697072363, 3.3417244345721966, 3.4484206296467317,
    3.5444448939260167, 3.630868139165468, 3.709168988099669, 3.7806510952253163,
    3.846375823567905, 3.907193684148891, 3.9637879228211306, 4.016712105886352,
])
# how far from -n the gamma function is 1 or -1, above and below, n = 3, 4, ... (from 18 on, no
# number is near), less what the second table has; 2 over the sine of pi times these; and log(1 -
# zero) - 1. Above -3 _BETWEEN takes their place
_LGAMMA_POLES = 17.0
_LGAMMA_ZERO = table([
    np.nan, 0.14358088834998006, 0.04470571514140207, 0.03936183974053688, 0.008455359439952277,
    0.008218168322593521, 0.0013925199191243706, 0.0013852944531550972, 0.0001984921093623021,
    0.00019833340732475162, 2.4802904179335845e-05, 2.48002706819597e-05, 2.7557490225318057e-06,
    2.7557148226503463e-06, 2.7557337083353163e-07, 2.755730136466002e-07, 2.5052109918476226e-08,
    2.5052106852407546e-08, 2.087675709796081e-09, 2.087675687777539e-09, 1.6059043843534355e-10,
    1.6059043830108875e-10, 1.147074559808161e-11, 1.147074559737784e-11, 7.647163731835846e-13,
    7.647163731803788e-13, 4.779477332388026e-14, 4.779477332386745e-14, 2.8114572543455435e-15,
    2.811457254345498e-15,
])
_LGAMMA_ZERO_REST = table([
    0.0, -3.862806401714152e-18, 8.223977942582053e-19, -3.2731379225891636e-18,
    8.231751957350036e-19, 5.582665915956405e-19, -7.090441230646531e-20, 2.6295731811446077e-20,
    6.263909978492175e-21, -1.1820573401560963e-20, 3.15397713595963e-22, -1.0083974251164085e-21,
    -6.500300408654724e-23, 5.624459871432079e-23, 1.4502658434955713e-23, 2.4472526783403563e-23,
    -6.807394864189793e-25, -1.2924868620853802e-24, -8.658839215884982e-26, 4.849684877236172e-26,
    6.465141936497467e-27, -7.046449983196074e-27, -7.830340218001236e-28, -4.194056116105366e-28,
    -3.8035184915187745e-29, -4.886154187641447e-29, -9.319923331229129e-31, 1.811833433216651e-30,
    -8.713180440266469e-32, 2.2878206410005478e-32,
])
_LGAMMA_SCALE = table([
    0.0, 4.58788033371341, 14.287156057702827, 16.21482013881463, 75.30071908302618,
    77.4735292352474, 457.17249301933083, 459.55701369973696, 3207.280207115126, 3209.8466019791126,
    25667.146411918588, 25669.8719613071, 231015.1494821718, 231018.01650261326, 2310164.3327948046,
    2310167.3271392, 25411822.5745955, 25411825.684688948, 304941887.9476089, 304941891.1638056,
    3964244562.5671253, 3964244565.8812633, 55499423897.43618, 55499423900.84126, 832491358485.3358,
    832491358488.8258, 13319861735791.508, 13319861735795.078, 226437649508484.16,
    226437649508487.8,
])
_LGAMMA_LOG = table([
    0.0, 0.42156036286131016, 0.6004565575135224, 0.6172794549673025, 0.7903492487611049,
    0.7931282267723395, 0.9457111978488166, 0.9461080286834418, 1.079416729858355,
    1.079466333048443, 1.1972218214541799, 1.197227332918054, 1.3025848174191055, 1.30258536856549,
    1.3978952477462456, 1.3978952978504624, 1.4849066477003245, 1.484906651875676,
    1.5649493573009463, 1.5649493576221272, 1.6390573296037878, 1.6390573296267295,
    1.7080502011014453, 1.7080502011029748, 1.7725887222397334, 1.772588722239829,
    1.8332133440562133, 1.8332133440562188, 1.8903717578961645, 1.8903717578961647,
])
# log|Gamma(-a)| over its distances from two zeros in (a - _MIDDLE) _SPREAD, 2.395 <= a <= 2.81
_BETWEEN = of_double(
    5.599574393831339, 0.8840764751387836, 0.5637935541409302, 0.17579959517819183,
    0.0938813603913614, 0.03711524695753754, 0.018525302098041027, 0.008152931901091407,
    0.003983113654513751, 0.0018485239233785196, 0.0009002473291519699, 0.00042985372118463334,
    0.00021006845055980265, 0.0001019912064966942, 5.012080222619395e-05, 2.4597124839134762e-05,
    1.2122662839255495e-05, 5.993770389881556e-06, 3.0497420083518674e-06, 1.517295707989192e-06,
    6.208150108465404e-07, 3.089635243945982e-07, 3.380633784221245e-07, 1.7063692823196654e-07,
    -9.370356890804828e-08, -4.796231806766707e-08, 9.946695871938497e-08, 5.055492357812182e-08,
    -3.137549035516654e-08, -1.5971572263089706e-08, 7.613398065686005e-09, 3.870030070383515e-09,
)
_MIDDLE, _SPREAD = 2.6025, 4.819277108433735
_FIRST, _FIRST_REST = 2.4570247382208006, 3.7075610815513266e-17
_SECOND, _SECOND_REST = 2.7476826467274127, -9.055340329338315e-17


@inlined
def stirling(x: Any) -> Any:
    """What Stirling's formula for log(Gamma(x)) lacks, x >= STIRLING_FROM."""
    t = 1.0 / x
    return _stirling_tail(t) * t


@inlined
def _log1p(m: Any, s: Any) -> Any:
    """log(1 + m) for |m| <= 1/4, given m / (2 + m)."""
    z = s * s
    return fma(-s, m - z * (2.0 / 3.0 + z * atanh_tail(z)), m)


@inlined
def lgamma_beside_zero(a: Any, r: Any, far: Any) -> Any:
    """log|Gamma(-a)|, where sin(pi a) is up to an eighth off that at the nearest zero, else `far`;
    r: a less the nearest whole number.

    -log(sin(pi a) / sin(pi zero)) - lgamma(1 + a) + lgamma(1 + zero).
    """
    n, away = a - r, magnitude(r)
    known = (n >= 3.0) & (n <= _LGAMMA_POLES)
    at, _ = nearest(select(known, 2.0 * n - select(r > 0.0, 5.0, 6.0), 0.0), 1.0)
    zero = _LGAMMA_ZERO(at)
    h = (away - zero) - _LGAMMA_ZERO_REST(at)
    half, middle = 0.5 * h, 0.5 * ((0.5 - away) + (0.5 - zero))
    cosine = middle * sin_pi_over(middle * middle)
    w = half * sin_pi_over(half * half) * cosine * _LGAMMA_SCALE(at)
    d, b, base = copysign(h, h * r), 1.0 + a, 1.0 + (n + copysign(zero, r))
    both, product = b + base, b * base
    over = 1.0 / (both * product)
    t, t_0, s = both * base * over, both * b * over, d * product * over
    grown = fma(a + 0.5, _log1p(d * t_0, s), d * _LGAMMA_LOG(at))
    squared = t * t
    rest = _stirling_short(squared) + t_0 * (t + t_0) * _step_of_stirling(squared, t_0 * t_0)
    y = -_log1p(w, w / (2.0 + w)) - (grown - d * t * t_0 * rest)
    u = (a - _MIDDLE) * _SPREAD
    between = ((a - _FIRST) - _FIRST_REST) * ((a - _SECOND) - _SECOND_REST) * _BETWEEN(u)
    return select(known & (magnitude(w) <= 0.125), y, select(magnitude(u) <= 1.0, between, far))


@inlined
def digamma_beside_zero(a: Any, r: Any, far: Any) -> Any:
    """digamma(-a) up to a quarter from a known zero, else `far`; r: a less the nearest whole
    number.

    pi cot(pi a) + digamma(2 + a) - 1 / (1 + a), less the same at the zero.
    """
    n = floor(a)
    known = n < _DIGAMMA_ZEROS
    at, _ = nearest(select(known, n, 0.0), 1.0)
    zero = _DIGAMMA_ZERO(at)
    h = ((a - n) - zero) - _DIGAMMA_ZERO_REST(at)
    cotangent = h * sin_pi_over(h * h) * _DIGAMMA_SCALE(at) / (magnitude(r) * sin_pi_over(r * r))
    b, base = 2.0 + a, 2.0 + (n + zero)
    both, product, before = b + base, b * base, (b - 1.0) * (base - 1.0)
    over = 1.0 / (both * product * before)
    s, u = h * product * before * over, both * before * over
    t, t_0 = u * base, u * b
    rest = fma(t + t_0, _step_of_digamma(t * t, t_0 * t_0), 0.5)
    slope = fma(u, rest, both * product * over)
    y = fma(h, slope, _log1p(h * t_0, s)) - cotangent
    return select(known & (magnitude(h) <= 0.25), y, far)
