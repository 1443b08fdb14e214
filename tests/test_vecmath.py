"""Elementary functions against wider arithmetic: at most 2 ulp, for every kind of number."""
from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from tapeflow_kernels import machine
from tapeflow_kernels.cpu import elements, lowering
from tapeflow_kernels.cpu.vecmath import FUNCTIONS, exponential
from tapeflow_kernels.cpu.vecmath.bits import like

Array = NDArray[Any]
COUNT = 50_000
WIDER = {"float32": np.float64, "float64": np.longdouble}
PATTERNS = {"float32": np.uint32, "float64": np.uint64}


def _sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


UNARY: dict[str, Callable[..., Array]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "log2": np.log2,
    "log10": np.log10, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin,
    "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "sigmoid": _sigmoid,
}
BINARY: dict[str, Callable[..., Array]] = {
    "pow": np.power, "hypot": np.hypot, "atan2": np.arctan2, "logaddexp": np.logaddexp,
}
# tests/test_accuracy.py compares these with mpmath's values
BY_MPMATH = {
    "erfc", "erfcx", "erfinv", "lgamma", "digamma", "polygamma", "gammainc", "gammaincc", "betainc",
    "i0", "i0e", "i1", "i1e", "sinc", "logit",
}  # fmt: skip


@lowering.inlined
def _ldexp(x: Any, k: Any) -> Any:
    """x · 2^k as CPUs compute it that have no instruction for that; k is given as a float."""
    integer, _ = exponential.nearest(k, like(1, k))
    return exponential.scaled_in_steps(x, integer)


@functools.cache
def _loop(name: str, dtype: str) -> tuple[str, str]:
    """LLVM IR of a loop over one function, and the name of what it defines."""
    arity = 1 if name in UNARY or name == "erf" else 2
    symbol = f"test_{name}_{dtype}"
    operands = [f"x{i}" for i in range(arity)]
    scope: dict[str, Any] = {"fn": FUNCTIONS[name][dtype] if name in FUNCTIONS else _ldexp}
    exec(f"def {symbol}(count, {', '.join(operands)}, y):\n    for i in range(count):\n"
         f"        y[i] = fn({', '.join(f'{x}[i]' for x in operands)})\n", scope)
    pointer = numba.types.CPointer(getattr(numba.types, dtype))
    lowered = lowering.lower(scope[symbol], [numba.types.int64, *[pointer] * (arity + 1)])
    return lowered.text, lowered.name


def apply(name: str, *xs: Array) -> Array:
    """A function of vecmath applied to arrays, as compiled loops do."""
    text, symbol = _loop(name, xs[0].dtype.name)
    y = np.empty_like(xs[0])
    address = _address(text, symbol)
    kinds = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, *[ctypes.c_void_p] * (len(xs) + 1)]
    result = ctypes.create_string_buffer(16)
    ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(address)(
        ctypes.addressof(result), ctypes.addressof(result), y.size,
        *(x.ctypes.data for x in xs), y.ctypes.data)
    return y


@functools.cache
def _address(text: str, symbol: str) -> int:
    return machine.load(machine.assemble(text), [symbol])[symbol]


def ulps(y: Array, true: Array) -> Array:
    """How far y is from what is true, in units of the last place there; infinite where one is NaN
    or infinite and the other is not, or signs of zeros differ."""
    with np.errstate(all="ignore"):
        near = true.astype(y.dtype)
        away = np.abs(y.astype(true.dtype) - true) / np.spacing(np.abs(near)).astype(true.dtype)
        same = (y == near) & (np.signbit(y) == np.signbit(near)) | np.isnan(y) & np.isnan(near)
    away = np.where(same & ~np.isfinite(near), 0, away)
    wrong = ~same & ((y == near) | ~np.isfinite(y.astype(np.float64)) | ~np.isfinite(near))
    return np.where(wrong | np.isnan(away), np.inf, away)


SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0,
           1.5, 1e30, -1e30, 89.0, -104.0, 710.0, -746.0]


def samples(dtype: str, seed: int) -> Array:
    """Numbers of every kind: special, any bit pattern, and where functions change."""
    rng = np.random.default_rng(seed)
    word = PATTERNS[dtype]
    any_bits = rng.integers(0, np.iinfo(word).max, COUNT, word, endpoint=True).view(dtype)
    starts, towards = np.array([[0, 0, 1, 1, -1, -1], [1, -1, 0, 2, 0, -2]], dtype)
    edges = np.nextafter(starts, towards)
    ranges = [rng.uniform(-far, far, COUNT) for far in (1, 20, 750)]
    parts = [np.array(SPECIAL), edges, any_bits, *ranges, np.exp(rng.uniform(-90, 5, COUNT)),
             1 + rng.uniform(-1e-3, 1e-3, COUNT)]
    return np.concatenate([p.astype(dtype) for p in parts])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("name", UNARY)
def test_a_function_is_within_2_ulp(name: str, dtype: str) -> None:
    x = samples(dtype, seed=len(name))
    away = ulps(apply(name, x), UNARY[name](x.astype(WIDER[dtype])))
    worst = away.argmax()
    assert away[worst] <= 2, f"{name}({x[worst]!r}) is {away[worst]} ulp off"


def _pairs(dtype: str, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    xs, ys = (a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL))
    x, y = rng.permutation(samples(dtype, seed)), rng.permutation(samples(dtype, seed + 1))
    near_1 = 1 + rng.uniform(-0.3, 0.4, COUNT)
    powers = rng.integers(-20, 20, COUNT)
    firsts = (xs, x, near_1, -rng.integers(0, 17, COUNT))
    seconds = (ys, y, rng.uniform(-1500, 1500, COUNT), powers)
    return (np.concatenate([p.astype(dtype) for p in firsts]),
            np.concatenate([p.astype(dtype) for p in seconds]))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("name", ["pow", "hypot", "atan2"])
def test_a_function_of_two_is_within_2_ulp(name: str, dtype: str) -> None:
    x, y = _pairs(dtype, seed=7)
    away = ulps(apply(name, x, y), BINARY[name](x.astype(WIDER[dtype]), y.astype(WIDER[dtype])))
    worst = away.argmax()
    assert away[worst] <= 2, f"{name}({x[worst]!r}, {y[worst]!r}) is {away[worst]} ulp off"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", WIDER)
def test_logaddexp_is_as_near_as_a_sum_of_two_terms_can_be(dtype: str) -> None:
    x, y = _pairs(dtype, seed=9)
    true = np.logaddexp(x.astype(WIDER[dtype]), y.astype(WIDER[dtype]))
    found = apply("logaddexp", x, y)
    size = np.maximum(np.abs(x), np.abs(y))   # the terms may cancel
    finite = np.isfinite(size) & np.isfinite(true.astype(dtype))
    assert np.array_equal(found[~finite], true.astype(dtype)[~finite], equal_nan=True)
    away = np.abs(found.astype(true.dtype) - true)[finite]
    assert (away <= 2 * np.spacing(np.maximum(size, np.abs(true).astype(dtype)))[finite]).all()


def _erf(x: float) -> Fraction:
    """erf(x) to 30 digits, from its series in exact arithmetic: 2/sqrt(pi) sum of
    (-1)^k x^(2k+1) / (k! (2k+1))."""
    two_over_root_pi = Fraction(1128379167095512573896158903121545171688, 10**39)
    power = total = Fraction(x)
    k = 0
    while abs(power) > Fraction(1, 10**35):
        k += 1
        power = Fraction(round(power * Fraction(x) ** 2 * -(2**160) / k), 2**160)
        total += power / (2 * k + 1)
    return two_over_root_pi * total


@pytest.mark.parametrize("dtype", WIDER)
def test_erf_is_within_2_ulp(dtype: str) -> None:
    rng = np.random.default_rng(3)
    x = np.concatenate([rng.uniform(-5, 5, 300), rng.uniform(-1.1, 1.1, 300)]).astype(dtype)
    found = apply("erf", x)
    for value, y in zip(x, found, strict=True):
        away = abs(Fraction(float(y)) - _erf(float(value))) / Fraction(float(np.spacing(abs(y))))
        assert away <= 2, f"erf({value!r}) is {float(away)} ulp off"


@pytest.mark.parametrize("dtype", WIDER)
def test_erf_keeps_special_values(dtype: str) -> None:
    x = np.array([0.0, -0.0, math.inf, -math.inf, math.nan, 7.0, -7.0], dtype)
    expected = np.array([0.0, -0.0, 1.0, -1.0, math.nan, 1.0, -1.0], dtype)
    assert np.array_equal(apply("erf", x), expected, equal_nan=True)
    assert np.signbit(apply("erf", x)[1])


@pytest.mark.parametrize("dtype", WIDER)
@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_angles_next_to_quarter_turns_keep_their_digits(name: str, dtype: str) -> None:
    # of all doubles and floats, these come nearest to multiples of pi/2 (Kahan)
    angle, cosine = {"float64": (6381956970095103 * 2.0**797, -4.68716592425462761112e-19),
                     "float32": (16367173 * 2.0**72, 1.6147697982476211883e-9)}[dtype]
    true = {"sin": 1.0, "cos": cosine, "tan": 1 / cosine}[name]
    found = abs(apply(name, np.array([angle], dtype))[0])
    assert abs(float(found) - abs(true)) <= 2 * np.spacing(found)


@pytest.mark.parametrize("dtype", WIDER)
def test_powers_of_2_scale_exactly_down_to_subnormal_results(dtype: str) -> None:
    rng = np.random.default_rng(11)
    most = np.finfo(dtype).maxexp
    x = rng.uniform(0.7, 1.4, COUNT).astype(dtype)
    k = rng.integers(-most - 30, most + 2, COUNT).astype(dtype)
    true = np.ldexp(x.astype(WIDER[dtype]), k.astype(int))
    with np.errstate(over="ignore"):
        assert (ulps(apply("ldexp", x, k), true) <= 1).all()


@pytest.mark.parametrize("dtype", WIDER)
def test_logarithms_of_powers_are_whole(dtype: str) -> None:
    exponents = np.arange(-30, 31)
    assert np.array_equal(apply("log2", np.exp2(exponents).astype(dtype)), exponents.astype(dtype))


@pytest.mark.skipif(machine.host().vector_bytes != 64, reason="needs registers of 512 bits")
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "erf", "sin", "pow"])
def test_loops_use_the_full_width_and_call_nothing(name: str) -> None:
    text, _ = _loop(name, "float64")
    assembly = machine.assembly(text)
    assert "zmm" in assembly and "call" not in assembly


def test_every_function_is_tested() -> None:
    assert set(FUNCTIONS) == {*UNARY, *BINARY, "erf", *BY_MPMATH}


def test_functions_of_elements_take_numpy_scalars() -> None:
    for x in (np.float32(0.5), np.float64(0.5), np.float16(0.5)):
        y = elements.apply("erf", x)
        assert (y.shape, y.dtype) == ((), x.dtype)
        np.testing.assert_allclose(y, 0.5204998778130465, rtol=1e-3)
