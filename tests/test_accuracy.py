"""How many units of the last place functions are off, eager and compiled, on sweeps of numbers.

`python tests/test_accuracy.py` writes the table of docs/accuracy.md anew. Elementary functions are
compared with wider arithmetic, the others with special_values.txt: on each line a function, its
arguments, the double nearest to the value, and what that lacks, by mpmath with 40 digits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special as sp

import tapeflow as tf
from test_vecmath import BINARY, UNARY, WIDER, _pairs, samples, ulps

PAGE = Path(__file__).parents[1] / "docs" / "accuracy.md"
VALUES = Path(__file__).parent / "special_values.txt"
FEW = 4
Array = np.ndarray[Any, Any]

MORE: dict[str, Callable[..., Array]] = {
    "sqrt": np.sqrt, "square": np.square, "reciprocal": np.reciprocal,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "exp2": np.exp2,
}  # fmt: skip
ELEMENTARY = {**UNARY, **MORE, "pow": np.power, "hypot": np.hypot, "atan2": np.arctan2}
MODES: dict[str, Callable[[Any], Any]] = {"eager": lambda f: f, "compiled": tf.jit}
every_mode = pytest.mark.parametrize("mode", MODES)
every_dtype = pytest.mark.parametrize("dtype", WIDER)


@functools.cache
def stored() -> dict[str, tuple[Array, Array, Array]]:
    """By function: arguments, one row each, the nearest doubles, and what they lack."""
    rows: dict[str, list[list[float]]] = {}
    for line in VALUES.read_text().splitlines():
        name, *numbers = line.split()
        rows.setdefault(name, []).append([float.fromhex(n) for n in numbers])
    tables = {name: np.array(found).T for name, found in rows.items()}
    return {name: (t[:-2], t[-2], t[-1]) for name, t in tables.items()}


def off_elementary(name: str, dtype: str, mode: str) -> float:
    """The largest error of a sweep, in ulp."""
    xs = _pairs(dtype, seed=7) if name in BINARY else (samples(dtype, seed=len(name)),)
    with np.errstate(all="ignore"):
        true = ELEMENTARY[name](*(x.astype(WIDER[dtype]) for x in xs))
    found = MODES[mode](getattr(tf, name, getattr(tf.nn, name, None)))(*map(tf.asarray, xs))
    return float(ulps(found.numpy(), true).max())


def off_special(name: str, dtype: str, mode: str) -> float:
    """The largest error at the stored arguments; those of float32 are what they round to, so the
    values move along their slope."""
    wide, value, lack = stored()[name]
    xs = wide.astype(dtype)
    function = MODES[mode](getattr(tf, name))
    found = function(*map(tf.asarray, xs)).numpy()
    if dtype == "float64":
        return float(ulps(found, value.astype(np.longdouble) + lack).max())
    with np.errstate(all="ignore"):
        exact = xs.astype(np.float64)
    return float(ulps(found, function(*map(tf.asarray, exact)).numpy()).max())


NAMES = [*ELEMENTARY, *stored()]


def off(name: str, dtype: str, mode: str) -> float:
    return (off_elementary if name in ELEMENTARY else off_special)(name, dtype, mode)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every_mode
@every_dtype
@pytest.mark.parametrize("name", NAMES)
def test_a_function_is_within_4_ulp(name: str, dtype: str, mode: str) -> None:
    assert off(name, dtype, mode) <= FEW


EDGES = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 2.0, -2.0, 1e-300, -1e-300, 700.0])
OF_SCIPY = {
    "erf": sp.erf, "erfc": sp.erfc, "erfcx": sp.erfcx, "erfinv": sp.erfinv, "lgamma": sp.gammaln,
    "digamma": sp.digamma, "i0": sp.i0, "i1": sp.i1, "i0e": sp.i0e, "i1e": sp.i1e,
    "logit": sp.logit, "sinc": np.sinc,
}  # fmt: skip
# where SciPy and NumPy have NaN
LIMITS_AT_INFINITY = {"sinc": [0.0, 0.0], "i0": [np.inf, np.inf], "i1": [np.inf, -np.inf],
                      "lgamma": [np.inf, np.inf]}  # fmt: skip


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@every_mode
@pytest.mark.parametrize("name", OF_SCIPY)
def test_zeros_infinities_and_nan_give_what_they_give_in_scipy(name: str, mode: str) -> None:
    found = MODES[mode](getattr(tf, name))(tf.asarray(EDGES)).numpy()
    expected = OF_SCIPY[name](EDGES)
    if name in LIMITS_AT_INFINITY:
        expected[2:4] = LIMITS_AT_INFINITY[name]
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=2e-16 if name == "sinc" else 0)
    if found[0] == 0:
        assert not np.signbit(found[0]) and np.signbit(found[1]), "odd functions keep the sign of 0"


@every_mode
def test_lgamma_is_infinite_at_poles_however_far(mode: str) -> None:
    poles = tf.asarray(np.array([-1.0, -(2.0**53), -1e308]))
    assert MODES[mode](tf.lgamma)(poles).tolist() == [np.inf] * 3


@every_mode
def test_digamma_below_minus_12_is_within_3_ulp_of_the_terms_that_cancel(mode: str) -> None:
    x = -np.random.default_rng(0).uniform(12, 80, 20_000)
    b = 1 - x.astype(np.longdouble)
    series = [-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760]
    above = np.log(b) - 1 / (2 * b) + sum(c / b ** (2 * k) for k, c in enumerate(series, 1))
    pi = np.longdouble(np.pi) + 1.2246467991473532e-16
    cotangent = pi / np.tan(pi * (x - np.rint(x)))
    found = MODES[mode](tf.digamma)(tf.asarray(x)).numpy()
    ulp = np.spacing((above + np.abs(cotangent)).astype(float))
    assert (np.abs(found - (above - cotangent)) / ulp).max() <= 3


A = np.array([0.0, 0.0, 1.0, np.inf, 2.0, -1.0, 1.0, np.nan, np.inf, 1e-300, 3.0])
X = np.array([0.0, 2.0, 0.0, 2.0, np.inf, 1.0, -1.0, 1.0, np.inf, 0.5, 1e-300])
HUGE = np.array([1e10, 1e300, 1e308, 1e308, 1e-300, 1e16, 1e16, 1e300, 25.0])
BESIDE = np.array([1e10, 1e300, 1e308, 1.0, 1e308, 1e16 + 2e8, 1e16 - 4e8, 1e299, 700.0])


@every_mode
@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_edges_of_incomplete_gamma_are_scipys(name: str, mode: str) -> None:
    found = MODES[mode](getattr(tf, name))(tf.asarray(A), tf.asarray(X)).numpy()
    np.testing.assert_allclose(found, getattr(sp, name)(A, X), rtol=1e-13, atol=1e-300)


@every_mode
@pytest.mark.parametrize("name", ["gammainc", "gammaincc"])
def test_incomplete_gamma_knows_huge_parameters(name: str, mode: str) -> None:
    found = MODES[mode](getattr(tf, name))(tf.asarray(HUGE), tf.asarray(BESIDE)).numpy()
    np.testing.assert_allclose(found, getattr(sp, name)(HUGE, BESIDE), rtol=3e-13)


BETA = np.array([  # a, b, x
    [1.0, 1e-12, 0.999], [1e-12, 1.0, 0.001], [1e-300, 1e-300, 0.3], [1e-320, 1.0, 0.5],
    [3.0, 1e-320, 0.5], [2e-320, 1e-320, 0.3], [5.0, 1e-10, 0.9], [1e6, 1e-6, 1 - 1e-9],
    [1e7, 2e7, 0.3334], [2.0, 3.0, 0.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.1], [0.0, 1.0, 0.5],
]).T  # fmt: skip


@every_mode
def test_incomplete_beta_knows_tiny_and_large_parameters(mode: str) -> None:
    found = MODES[mode](tf.betainc)(*map(tf.asarray, BETA)).numpy()
    expected = sp.betainc(*BETA)
    expected[[2, 4, 5]] = 0.5, 6.8e-322, 1 / 3   # where SciPy rounds to 0, or by 1 ulp
    np.testing.assert_allclose(found[:12], expected[:12], rtol=1e-12)
    assert np.isnan(found[12])


@every_mode
def test_polygamma_has_its_limits_and_neither_overflows_nor_vanishes_early(mode: str) -> None:
    n = np.array([1.0, 2.0, 1.0, 300.0, 1.0, 1.0, 2.0, 1.5, 1.0, 1.0])
    x = np.array([np.inf, np.inf, 1e300, 200.0, 0.0, -1e-200, -3.0, 1.0, -np.inf, np.nan])
    zeta = np.sum((200 / (200 + np.arange(400.0))) ** 301)
    log = sp.gammaln(301.0) - 301 * np.log(200.0) + np.log(zeta)
    nan = np.nan
    expected = [0.0, 0.0, 1e-300, -np.exp(log), np.inf, np.inf, nan, nan, nan, nan]
    found = MODES[mode](tf.polygamma)(tf.asarray(n), tf.asarray(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["gammainc", "gammaincc", "betainc"])
def test_a_derivative_that_is_not_defined_says_so(name: str) -> None:
    inputs = [tf.asarray(2.0)] * (3 if name == "betainc" else 2)
    with pytest.raises(tf.errors.ArgumentError, match=f"{name}: its derivative by a is not"):
        tf.grad(getattr(tf, name))(*inputs)
    with pytest.raises(tf.errors.ArgumentError, match=f"{name}: its derivative by a is not"):
        tf.jvp(lambda a: getattr(tf, name)(a, *inputs[1:]), (inputs[0],), (inputs[0],))


def table() -> Iterator[str]:
    yield "| function | float32 eager | compiled | float64 eager | compiled |"
    yield "|---|---|---|---|---|"
    for name in sorted(NAMES):
        cells = [f"{off(name, dtype, mode):.2g}" for dtype in WIDER for mode in MODES]
        yield f"| {name} | {' | '.join(cells)} |"


def test_the_page_has_a_row_for_each_function() -> None:
    _, _, body = PAGE.read_text().partition("|---|---|---|---|---|\n")
    assert [line.split("|")[1].strip() for line in body.splitlines()] == sorted(NAMES)


def _write() -> None:
    head, mark, _ = PAGE.read_text().partition("| function |")
    PAGE.write_text(head + "\n".join(table()) + "\n")
    assert mark


if __name__ == "__main__":
    with np.errstate(all="ignore"):
        _write()
