"""Loops over rows for eager code mean what the ops of compiled programs mean, beside NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ShapeError
from tapeflow_kernels.cpu import loops, rows

RANDOM = np.random.default_rng(11)
INF, NAN = np.inf, np.nan
SHAPES = [((3, 7), 1), ((7, 3), 0), ((2, 5, 3), 1), ((4, 2500), 1), ((1,), 0), ((0, 3), 1)]
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def _log_softmax(x: Any, axis: int) -> Any:
    away = x - x.max(axis, keepdims=True)
    return away - np.log(np.exp(away).sum(axis, keepdims=True))


def _standardized(x: Any, axis: int) -> Any:
    away = x - x.mean(axis, keepdims=True)
    return away / np.sqrt((away * away).mean(axis, keepdims=True) + np.longdouble(0.25))


EXPECTED = {
    "softmax": lambda x, axis: np.exp(_log_softmax(x, axis)),
    "log_softmax": _log_softmax,
    "cumsum": lambda x, axis: np.cumsum(x, axis),
    "standardize": _standardized,
}
NUMBERS = {"standardize": (0.25,)}  # what a loop takes besides an array


@dtypes
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_loop_over_rows_gives_what_numpy_gives_in_longdouble(
    name: str, shape: tuple[int, ...], axis: int, dtype: str
) -> None:
    x = (5 * RANDOM.normal(size=shape)).astype(dtype)
    found = rows.apply(name, x, axis, *NUMBERS.get(name, ()))
    assert found.dtype == dtype
    expected = EXPECTED[name](x.astype(np.longdouble), axis)
    rounding = float(np.finfo(dtype).eps)
    largest = float(np.abs(expected).max(initial=0))
    room = 0 if name == "softmax" else 16 * rounding * largest  # where numbers cancel
    np.testing.assert_allclose(found, expected, rtol=64 * rounding, atol=room)


def test_an_address_is_that_of_the_first_element() -> None:
    x = np.zeros((4, 3))
    for part in (x, x[2:, 1:], x[::-1]):
        assert loops.address(part) == part.ctypes.data


def test_an_empty_row_has_no_elements() -> None:
    assert rows.apply("softmax", np.zeros((3, 0)), 1).shape == (3, 0)


def test_rows_that_do_not_lie_in_order_are_read_as_they_are() -> None:
    x = RANDOM.normal(size=(6, 8))
    expected = rows.apply("softmax", x[::2, ::-1].copy(), 1)
    np.testing.assert_array_equal(rows.apply("softmax", x[::2, ::-1], 1), expected)


@pytest.mark.parametrize("op", [tf.softmax, tf.log_softmax])
def test_infinite_logits_give_eager_what_they_give_compiled(op: Any) -> None:
    x = tf.asarray([[INF, 1.0, 2.0], [-INF, -INF, -INF], [-INF, 0.0, 1.0], [NAN, 0.0, 1.0]])
    np.testing.assert_allclose(op(x).numpy(), tf.jit(op)(x).numpy(), rtol=3e-7)


@pytest.mark.parametrize("op", [tf.softmax, tf.log_softmax])
def test_an_empty_axis_is_refused_eager_as_compiled(op: Any) -> None:
    for f in (op, tf.jit(op)):
        with pytest.raises(ShapeError, match="softmax of no elements"):
            f(tf.zeros((3, 0)))
        assert f(tf.zeros((0, 3))).shape == (0, 3)


def test_a_softmax_of_a_million_adds_up_to_1() -> None:
    total = np.sum(tf.softmax(tf.zeros(10**6)).numpy(), dtype=np.float64)
    assert abs(total - 1) < 1e-7


def test_a_running_sum_of_tenths_is_rounded_once() -> None:
    x = np.full(10**6, 0.1, np.float32)
    np.testing.assert_array_equal(
        tf.cumsum(x).numpy(), np.cumsum(x, dtype=np.float64).astype(np.float32)
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize(
    "op",
    [
        tf.nn.gelu,
        lambda x: tf.nn.gelu(x, approximate=True),
        tf.nn.silu,
        tf.softplus,
        lambda x: tf.sigmoid_cross_entropy(tf.cast(x > 3.0, x.dtype), x),
    ],
)
def test_what_is_written_as_text_has_the_same_bits_eager_as_compiled(op: Any, dtype: str) -> None:
    x = tf.cast(np.array([*np.linspace(-90, 90, 501), INF, -INF, NAN]), dtype)
    eager, compiled = (f(x).numpy().astype(np.float64) for f in (op, tf.jit(op)))
    np.testing.assert_array_equal(eager, compiled)


@dtypes
def test_running_products_are_the_same_on_a_tape(dtype: str) -> None:
    x = tf.asarray(RANDOM.normal(size=(4, 9)).astype(dtype))
    for axis in (0, 1):
        alone = tf.cumprod(x, axis)
        with tf.GradientTape() as tape:
            tape.watch(x)
            recorded = tf.cumprod(x, axis)
        np.testing.assert_allclose(alone.numpy(), recorded.numpy(), rtol=1e-6, atol=1e-30)
        np.testing.assert_allclose(alone.numpy(), np.cumprod(x.numpy(), axis), rtol=1e-6)


def test_a_sparse_cross_entropy_of_infinite_logits_is_the_same_compiled() -> None:
    logits = np.array([[INF, 1.0], [INF, 1.0], [-INF, 1.0], [-INF, 1.0], [-INF, -INF], [NAN, 0]])
    labels = tf.asarray([0, 1, 0, 1, 0, 1])
    loss = tf.nn.sparse_softmax_cross_entropy
    eager, compiled = (f(labels, tf.asarray(logits)).numpy() for f in (loss, tf.jit(loss)))
    np.testing.assert_array_equal(eager, compiled)
