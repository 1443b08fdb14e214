"""Pooling against plain loops; ties, NaN, padding, and the bytes that its gradient reads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
import windows
from tapeflow.jit.trace import trace
from tapeflow.tensor import Spec
from tapeflow.testing import check_gradients


@st.composite
def pools(draw: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """An input whose numbers all differ, and the arguments of a pooling that has a result."""
    ndim = draw(st.integers(1, 3))

    def per_axis(low: int, high: int) -> Any:
        return draw(st.tuples(*[st.integers(low, high)] * ndim))

    window, strides = per_axis(1, 3), draw(st.none() | st.tuples(*[st.integers(1, 4)] * ndim))
    pair = [st.tuples(*[st.integers(0, k - 1)] * 2) for k in window]
    padding = draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(*pair))
    shape = (draw(st.integers(0, 2)), *per_axis(3, 7 - ndim), draw(st.integers(1, 2)))
    x = np.random.default_rng(0).permutation(math.prod(shape)).reshape(shape).astype(float)
    return x, {"window": window, "strides": strides, "padding": padding}


@settings(max_examples=100, deadline=None)
@given(pools())
def test_any_pool_is_the_reduction_of_its_windows(made: Any) -> None:
    x, attrs = made
    largest = windows.pool(lambda v: v.max(0), x, **attrs)
    mean = windows.pool(lambda v: v.mean(0), x, **attrs)
    np.testing.assert_array_equal(tf.nn.max_pool(x, **attrs).numpy(), largest)
    np.testing.assert_allclose(tf.nn.avg_pool(x, **attrs).numpy(), mean, rtol=1e-13)


@settings(max_examples=12, deadline=None)
@given(pools().filter(lambda made: made[0].size > 0), st.sampled_from(["max_pool", "avg_pool"]))
def test_derivatives_of_any_pool_pass_finite_differences(made: Any, name: str) -> None:
    x, attrs = made
    pool = getattr(tf.nn, name)
    check_gradients(lambda x: pool(x, **attrs) ** 2, (tf.asarray(x / x.size),), order=2)


def gradient_of_max(x: Any, *args: Any) -> list[float]:
    values = np.asarray(x, float).reshape(1, -1, 1)
    found = tf.grad(lambda x: tf.sum(tf.nn.max_pool(x, *args)))(values)
    return found.numpy().ravel().tolist()


def test_of_equals_the_first_gets_the_gradient() -> None:
    assert gradient_of_max([1, 2, 2, 2, 0, 0], 3) == [0, 1, 0, 1, 0, 0]


def test_windows_that_overlap_add_their_gradients() -> None:
    assert gradient_of_max([0, 5, 1, 2], 2, 1) == [0, 2, 0, 1]


def test_a_nan_wins_as_in_numpy() -> None:
    x = np.array([1, np.nan, np.inf, np.nan, -1, -2]).reshape(1, 6, 1)
    y = tf.nn.max_pool(x, 3).numpy().ravel()
    np.testing.assert_array_equal(y, [np.nan, np.nan])
    assert gradient_of_max(x, 3) == [0, 1, 0, 1, 0, 0]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_an_infinite_gradient_reaches_the_largest_alone(dtype: str) -> None:
    x = np.array([1, 3, 2, 0], dtype).reshape(1, 4, 1)
    pull = tf.vjp(lambda x: tf.nn.max_pool(x, 4), x)[1]
    received = pull(np.full((1, 1, 1), np.inf, dtype))[0].numpy()
    assert received.ravel().tolist() == [0, np.inf, 0, 0]


@pytest.mark.parametrize("value", [-np.inf, -1e300, np.nan])
def test_padding_never_wins(value: float) -> None:
    x, around = np.full((1, 2, 2, 1), value), ((2, 2), (2, 2))
    y = tf.nn.max_pool(x, 3, 1, around)
    np.testing.assert_array_equal(y.numpy(), np.full((1, 4, 4, 1), value))
    gradient = tf.grad(lambda x: tf.sum(tf.nn.max_pool(x, 3, 1, around)))(x)
    assert gradient.numpy().sum() == 16.0


def test_the_least_integer_is_pooled() -> None:
    x = np.full((1, 3, 1), -128, np.int8)
    assert tf.nn.max_pool(x, 2, padding="SAME").numpy().ravel().tolist() == [-128, -128]


def test_padding_is_left_out_of_the_mean() -> None:
    x = np.array([2.0, 4.0, 6.0]).reshape(1, 3, 1)
    assert tf.nn.avg_pool(x, 2, padding="SAME").numpy().ravel().tolist() == [3.0, 6.0]


@pytest.mark.parametrize(
    ("window", "dtype"), [(15, tf.uint8), (16, tf.uint16), (257, tf.int32)], ids=str
)
def test_positions_are_as_small_as_the_window_allows(window: int, dtype: Any) -> None:
    n = window + 1
    graph = trace(lambda x: tf.nn.max_pool(x, window), Spec((1, n, n, 1), tf.float32), name="f")
    assert graph.nodes[0].outputs[1].dtype == dtype
    x = np.random.default_rng(0).normal(size=(1, n, n, 1))
    inside = x[:, :window, :window]
    gradient = tf.grad(lambda x: tf.sum(tf.nn.max_pool(x, window)))(x).numpy()
    assert gradient.argmax() == np.flatnonzero(x == inside.max())[0] and gradient.sum() == 1


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=["f16", "bf16"])
def test_means_in_half_precision_are_summed_in_single(dtype: Any) -> None:
    x = tf.ones((1, 64, 64, 1), dtype=dtype)
    y, pull = tf.vjp(lambda x: tf.nn.avg_pool(x, 64), x)
    assert (y.dtype, y.item()) == (dtype, 1.0)
    assert pull(tf.ones(y.shape, dtype=dtype) * 4096)[0].numpy().astype(float).sum() == 4096.0
    high = tf.pad(tf.ones((1, 1, 1, 1), dtype=dtype), [(0, 0), (63, 63), (63, 63), (0, 0)])
    received = tf.grad(lambda x: tf.sum(tf.nn.max_pool(x, 64, 1)))(high)
    assert (received.dtype, received[0, 63, 63, 0].item()) == (dtype, 4096.0)


def test_a_compiled_gradient_of_pools_is_the_eager_one() -> None:
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype("f4")
    gradient = tf.grad(lambda x: tf.sum(tf.nn.avg_pool(tf.nn.max_pool(x, 3, 2, "SAME"), 2, 1) ** 2))
    np.testing.assert_allclose(tf.jit(gradient)(x).numpy(), gradient(x).numpy(), rtol=1e-5)
