"""Kernels of pooling against plain loops, on every kind of host; compiled against interpreted."""

from __future__ import annotations

import ctypes
import math
import platform
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
import windows
from tapeflow_kernels.cpu import pool, pool_code
from tapeflow_kernels.cpu.pool import Pool, Shape
from tapeflow_kernels.machine import AVX2, AVX512, BASELINE, Host, assemble, assembly, host, load

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
HOSTS = [host(), AVX2, BASELINE] if platform.machine() == "x86_64" else [host()]
POOLS = {"max_pool": np.maximum.reduce, "avg_pool": np.mean}


@st.composite
def pooled(draw: Any, channels: int = 70) -> tuple[np.ndarray, dict[str, Any]]:
    """An input with ties, and the arguments of a pooling that has a result."""
    ndim = draw(st.integers(1, 3))

    def per_axis(low: int, high: int) -> Any:
        return draw(st.tuples(*[st.integers(low, high)] * ndim))

    window = per_axis(1, 4 if ndim < 3 else 3)
    strides = draw(st.none() | st.tuples(*[st.integers(1, 4)] * ndim))
    pair = [st.tuples(*[st.integers(0, k - 1)] * 2) for k in window]
    padding = draw(st.sampled_from(["SAME", "VALID"]) | st.tuples(*pair))
    shape = (draw(st.integers(1, 2)), *per_axis(4, 9 - ndim), draw(st.integers(1, channels)))
    x = np.random.default_rng(math.prod(shape)).integers(-9, 9, shape).astype(float)
    return x, {"window": window, "strides": strides, "padding": padding}


def first_largest(x: Any, g: Any, window: Any, strides: Any, padding: Any) -> Any:
    """Each g added to the first of the largest cells of its window, by plain loops."""
    steps = window if strides is None else strides
    best, where = np.full(g.shape, -np.inf), np.zeros(g.shape, object)
    _, cells = windows.visits(x.shape[1:-1], window, steps, padding, 1)
    for place, _, at in cells:
        for n, c in np.ndindex(len(x), x.shape[-1]):
            v, largest = x[(n, *at, c)], best[(n, *place, c)]
            if v > largest or (np.isnan(v) and not np.isnan(largest)):
                best[(n, *place, c)], where[(n, *place, c)] = v, at
    made = np.zeros(x.shape)
    for index in np.ndindex(*g.shape):
        made[(index[0], *where[index], index[-1])] += g[index]
    return made


def shared_out(x: Any, g: Any, window: Any, strides: Any, padding: Any) -> Any:
    """Each g shared evenly by the cells of its window, by plain loops."""
    steps = window if strides is None else strides
    places, cells = windows.visits(x.shape[1:-1], window, steps, padding, 1)
    inside = list(cells)
    counts = np.zeros(places)
    for place, _, _ in inside:
        counts[place] += 1
    made = np.zeros(x.shape)
    for place, _, at in inside:
        made[(slice(None), *at)] += g[(slice(None), *place)] / counts[place]
    return made


@settings(max_examples=25, deadline=None)
@given(pooled(), st.sampled_from(["float32", "float64"]), st.sampled_from(sorted(POOLS)))
def test_compiled_pools_and_their_gradients_are_those_of_plain_loops(
    made: Any, dtype: str, name: str
) -> None:
    x, attrs = made
    op = getattr(tf.nn, name)
    wanted = windows.pool(lambda v: POOLS[name](v, axis=0), x, **attrs)
    g = np.random.default_rng(1).integers(-9, 9, wanted.shape).astype(float)

    @tf.jit
    def both(x: tf.Tensor, g: tf.Tensor) -> Any:
        y, pull = tf.vjp(lambda x: op(x, **attrs), x)
        return y, pull(g)[0]

    arrays = tf.asarray(x.astype(dtype)), tf.asarray(g.astype(dtype))
    y, received = both(*arrays)
    gradient = {"max_pool": first_largest, "avg_pool": shared_out}[name]
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(y.numpy(), wanted, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(
        received.numpy(), gradient(x, g, **attrs), rtol=tolerance, atol=8 * tolerance
    )
    assert both.lower(*arrays).host_steps == []


@settings(max_examples=15, deadline=None)
@given(pooled(), st.sampled_from(["bfloat16", "float16"]), st.sampled_from(sorted(POOLS)))
def test_pools_of_halves_and_their_gradients_are_rounded_once(
    made: Any, dtype: str, name: str
) -> None:
    x, attrs = made
    op = getattr(tf.nn, name)
    wanted = windows.pool(lambda v: POOLS[name](v, axis=0), x, **attrs)
    g = np.random.default_rng(1).integers(-9, 9, wanted.shape).astype(float)
    gradient = {"max_pool": first_largest, "avg_pool": shared_out}[name](x, g, **attrs)

    @tf.jit
    def both(x: tf.Tensor, g: tf.Tensor) -> Any:
        y, pull = tf.vjp(lambda x: op(x, **attrs), x)
        return y, pull(g)[0]

    arrays = tf.cast(tf.asarray(x), dtype), tf.cast(tf.asarray(g), dtype)
    half_ulp = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[dtype]
    for found, exact in zip(both(*arrays), (wanted, gradient), strict=True):
        assert found.dtype.name == dtype
        y = found.numpy().astype(float)
        np.testing.assert_allclose(y, exact, rtol=1.01 * half_ulp, atol=1e-5)
    assert both.lower(*arrays).host_steps == []


@settings(max_examples=10, deadline=None)
@given(pooled(5), st.sampled_from(sorted(POOLS)))
def test_compiled_second_derivatives_are_those_of_the_interpreter(made: Any, name: str) -> None:
    x, attrs = made
    op = getattr(tf.nn, name)

    def f(x: tf.Tensor) -> tf.Tensor:
        square = lambda x: tf.sum(op(x, **attrs) ** 3)  # noqa: E731
        return tf.grad(lambda x: tf.sum(tf.grad(square)(x) ** 2))(x)

    compiled = tf.jit(f)
    np.testing.assert_allclose(compiled(x).numpy(), f(tf.asarray(x)).numpy(), rtol=1e-12)
    assert compiled.lower(x).host_steps == []


def run(made: Pool, shape: Shape, arrays: list[np.ndarray], target: Host, share: int) -> None:
    """All items, `share` at a time, the last ones first."""
    ir = pool_code.emit(made, "kernel", target)
    function = KERNEL(load(assemble(ir, target, optimise=False), ["kernel"])["kernel"])
    block = np.array(pool.arguments(shape, [a.ctypes.data for a in arrays]), np.int64)
    items = pool.items(made, shape)
    for start in reversed(range(0, items, share)):
        function(start, min(start + share, items), block.ctypes.data)


@pytest.mark.parametrize("target", HOSTS, ids=lambda h: h.cpu)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3, 32, 75])
def test_every_host_gives_the_same_numbers_in_shares_of_any_size(
    channels: int, dtype: str, target: Host
) -> None:
    shape = Shape(2, (1, 5, 7), (0, 1, 1), (1, 3, 4))
    x = np.random.default_rng(0).standard_normal((2, 5, 7, channels)).astype(dtype)
    x[0, 2, 2] = np.nan
    whole = Pool("max", dtype, 1, channels, (1, 3, 3), (1, 2, 2), True)
    y, position = np.empty((2, 3, 4, channels), dtype), np.zeros((2, 3, 4, channels), np.uint8)
    run(whole, shape, [x, position, y], target, 2)
    np.testing.assert_array_equal(
        y, windows.pool(np.maximum.reduce, x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    )
    backward = Pool("max_input", dtype, 1, channels, (1, 3, 3), (1, 2, 2), True)
    received = np.full(x.shape, np.nan, dtype)
    g = np.arange(y.size, dtype=dtype).reshape(y.shape) % 7
    run(backward, shape, [g, position, received], target, 3)
    np.testing.assert_array_equal(
        received, first_largest(x, g, (3, 3), (2, 2), ((1, 1), (1, 1)))
    )


@pytest.mark.parametrize("padding", ["VALID", ((1, 1),)], ids=str)
def test_ties_infinities_and_nan_are_decided_as_in_eager_code(padding: Any) -> None:
    values = [[2, 2, 1], [np.nan, 3, np.nan], [-np.inf] * 3, [1, np.inf, np.nan], [-0.0, 0.0, -1]]
    x = np.array(values).reshape(5, 3, 1) * np.ones(20)

    def both(x: tf.Tensor) -> Any:
        y, pull = tf.vjp(lambda x: tf.nn.max_pool(x, 3, 1, padding), x)
        return y, pull(tf.ones_like(y))[0]

    for found, wanted in zip(tf.jit(both)(x), both(tf.asarray(x)), strict=True):
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())


@pytest.mark.parametrize("view", ["transposed", "reversed", "broadcast"])
def test_views_are_pooled_as_what_they_show(view: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 6, 6, 3)).astype("float32")
    look = {
        "transposed": lambda x: tf.permute_dims(x, (3, 2, 1, 0)),
        "reversed": lambda x: tf.flip(x, axis=-1),
        "broadcast": lambda x: tf.broadcast_to(x[..., :1], x.shape),
    }[view]

    def f(x: tf.Tensor) -> Any:
        return tf.value_and_grad(lambda x: tf.sum(tf.nn.max_pool(look(x), 2) ** 2))(x)

    for found, wanted in zip(tf.jit(f)(x), f(tf.asarray(x)), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-5)


def test_another_batch_size_of_a_pool_compiles_no_new_code() -> None:
    f = tf.jit(lambda x: tf.nn.max_pool(x, 2))
    symbols = {
        n: {launch.code.symbol for launch in f.lower(tf.ones((n, 2 * n, 8, 4))).kernels}
        for n in (1, 7)
    }
    assert symbols[1] == symbols[7]


def test_the_largest_are_found_in_vectors() -> None:
    made = Pool("max", "float32", 1, 64, (1, 2, 2), (1, 2, 2), False)
    text = assembly(pool_code.emit(made, "kernel", AVX512), AVX512, optimise=False)
    assert "zmm" in text and "call" not in text


@pytest.mark.parametrize(("dtype", "steps"), [(tf.int32, ["max_pool"]), (tf.float16, [])])
def test_integers_are_pooled_on_the_host_halves_by_a_kernel(dtype: Any, steps: list[str]) -> None:
    x = tf.cast(tf.reshape(tf.arange(16), (1, 4, 4, 1)), dtype)
    f = tf.jit(lambda x: tf.nn.max_pool(x, 2))
    assert f(x).numpy().ravel().tolist() == [5, 7, 13, 15]
    assert f.lower(x).host_steps == steps
