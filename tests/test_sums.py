"""Sums of ten million terms are as good as rounding them once or twice, however they lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf

COUNT = 10**7
ULPS = 8
Array = np.ndarray[Any, Any]

# how the numbers lie, and the axes to sum over
LAYOUTS: dict[str, tuple[Callable[[Array], Array], Any]] = {
    "vector": (lambda x: x, None),
    "every second": (lambda x: x[::2], None),
    "two columns": (lambda x: x.reshape(-1, 2), 0),
    "ten columns side by side": (lambda x: np.asfortranarray(x.reshape(-1, 10)), 0),
    "many columns": (lambda x: x.reshape(-1, 1000), 0),
    "two rows": (lambda x: x.reshape(2, -1), 1),
    "transposed": (lambda x: x.reshape(10, -1).T, None),
    "leading axes": (lambda x: x.reshape(50, -1, 2), (0, 1)),
    "outer axes": (lambda x: x.reshape(1000, 100, 100), (0, 2)),
}
MODES: dict[str, Callable[[Any], Any]] = {"eager": lambda f: f, "compiled": tf.jit}
layouts = pytest.mark.parametrize(("laid", "axis"), LAYOUTS.values(), ids=LAYOUTS.keys())
modes = pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())


def check_ulps(found: Any, true: Array, ulps: float = ULPS) -> None:
    away = np.abs(found.numpy() - true) / np.spacing(true.astype(found.numpy().dtype))
    assert away.max() <= ulps, f"{away.max()} ulp off"


@modes
@layouts
def test_a_sum_of_tenths_is_within_ulps_of_the_exact_one(laid: Any, axis: Any, mode: Any) -> None:
    x = laid(np.full(COUNT, 0.1, np.float32))
    found = mode(lambda x: tf.sum(x, axis))(tf.asarray(x))
    check_ulps(found, x.sum(axis, dtype=np.float64))


@modes
@layouts
def test_a_sum_of_ones_is_exact(laid: Any, axis: Any, mode: Any) -> None:
    x = laid(np.ones(COUNT, np.float32))
    found = mode(lambda x: tf.sum(x, axis))(tf.asarray(x))
    np.testing.assert_array_equal(found.numpy(), x.sum(axis, dtype=np.float64))


@modes
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_sum_behind_other_ops_is_as_good(dtype: str, mode: Any) -> None:
    x = np.random.default_rng(0).random((2, COUNT // 8), dtype).T
    found = mode(lambda x: tf.sum(x * x, 0))(tf.asarray(x))
    check_ulps(found, (x * x).sum(0, dtype=np.longdouble))


@modes
def test_the_mean_and_the_variance_are_as_good(mode: Any) -> None:
    x = np.random.default_rng(0).random((COUNT // 2, 2), np.float32) + 3
    mean, var = mode(lambda x: (tf.mean(x, 0), tf.var(x, 0)))(tf.asarray(x))
    check_ulps(mean, x.mean(0, dtype=np.float64))
    check_ulps(var, x.astype(np.float64).var(0), 64)   # the mean is rounded before it is taken away


@modes
@pytest.mark.parametrize(
    ("value", "total"), [(np.inf,) * 2, (-np.inf,) * 2, (np.nan,) * 2, (3e38, np.inf)]
)
def test_what_is_not_finite_stays_so(value: float, total: float, mode: Any) -> None:
    x = np.ones((3, 5000), np.float32)
    x[:, 1::2] = value
    found = mode(lambda x: tf.sum(x, 1))(tf.asarray(x))
    np.testing.assert_array_equal(found.numpy(), np.full(3, total, np.float32))


def test_running_sums_do_not_drift() -> None:
    found = tf.cumsum(tf.full((COUNT,), 0.1))[-1]
    check_ulps(found, np.array(float(np.float32(0.1)) * COUNT), 1)


@modes
@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_a_sum_of_nothing_is_0(shape: tuple[int, ...], mode: Any) -> None:
    for axis in (None, 0):
        found = mode(lambda x, axis=axis: tf.sum(x, axis))(tf.zeros(shape))
        np.testing.assert_array_equal(found.numpy(), np.zeros(shape).sum(axis))
