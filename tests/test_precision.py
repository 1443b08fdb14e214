"""Narrow dtypes in products: errors within bounds that follow from the formats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.jit.plan import HostStep, plan

HALF_ULP = {"bfloat16": 2.0**-8, "float16": 2.0**-11, "float32": 2.0**-24}
LEAST = {"bfloat16": 2.0**-134, "float16": 2.0**-25, "float32": 2.0**-150}
SUM = 2.0**-23  # of the magnitudes, for each addition in float32


def numbers(shape: tuple[int, ...], dtype: str, seed: int) -> tf.Tensor:
    """Normal numbers, exact in `dtype`."""
    return tf.cast(np.random.default_rng(seed).standard_normal(shape), dtype)


def exact(a: tf.Tensor, b: tf.Tensor) -> tuple[Any, Any]:
    """a @ b in float64, and the sums of the magnitudes."""
    x, y = a.numpy().astype(np.float64), b.numpy().astype(np.float64)
    return x @ y, np.abs(x) @ np.abs(y)


def host_steps(fn: Any, *args: Any) -> list[Any]:
    """What the program for these arguments leaves to NumPy."""
    steps = plan(fn.lower(*args).graph, {}).steps
    return [step.node.prim.name for step in steps if isinstance(step, HostStep)]


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(0, 70), st.integers(1, 70)),
    st.sampled_from(["bfloat16", "float16"]),
    st.booleans(),
)
def test_products_of_halves_are_summed_in_float32_and_rounded_once(
    sizes: tuple[int, int, int], dtype: str, transposed: bool
) -> None:
    m, k, n = sizes
    a = numbers((m, k), dtype, 0)
    b = numbers((n, k), dtype, 1).T if transposed else numbers((k, n), dtype, 1)
    found = tf.jit(tf.matmul)(a, b)
    wanted, magnitude = exact(a, b)
    assert found.dtype.name == dtype
    error = np.abs(found.numpy().astype(np.float64) - wanted)
    bound = HALF_ULP[dtype] * 1.01 * np.abs(wanted) + (k + 1) * SUM * magnitude + LEAST[dtype]
    assert (error <= bound).all()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_product_of_halves_is_no_host_step(dtype: str) -> None:
    fn = tf.jit(lambda a, b, c: tf.nn.relu(a @ b + c))
    a, b, c = numbers((5, 3), dtype, 0), numbers((3, 4), dtype, 1), numbers((5, 4), dtype, 2)
    assert host_steps(fn, a, b, c) == []
    wanted = np.maximum(exact(a, b)[0] + c.numpy().astype(np.float64), 0.0)
    found = fn(a, b, c).numpy().astype(np.float64)
    np.testing.assert_allclose(found, wanted, rtol=2 * HALF_ULP[dtype], atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_infinities_and_nan_pass_through_products_of_halves(dtype: str) -> None:
    a = tf.cast(np.array([[np.inf, 1.0], [np.nan, 1.0], [-np.inf, 2.0]]), dtype)
    found = tf.jit(tf.matmul)(a, tf.cast(np.array([[2.0], [1.0]]), dtype)).numpy()
    np.testing.assert_array_equal(found.astype(np.float64), [[np.inf], [np.nan], [-np.inf]])
