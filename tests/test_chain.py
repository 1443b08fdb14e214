"""Loops over the same rows as one launch: the same numbers, and nothing overwritten too early."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def chains(f: Any, *args: Any) -> list[str]:
    """The kernels that are chains, without their digests."""
    symbols = [launch.code.symbol for launch in f.lower(*args).kernels]
    return [symbol.rsplit("_", 1)[0] for symbol in symbols if symbol.startswith("rows_")]


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def normalized(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)


PAIRS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "softmax": (tf.nn.softmax, softmax),
    "log_softmax": (tf.nn.log_softmax, lambda x: np.log(softmax(x))),
    "layer_norm": (tf.nn.layer_normalization, normalized),
    "l2_normalize": (
        lambda x: tf.nn.l2_normalize(x, -1),
        lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
    ),
}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(2, 9), min_size=1, max_size=2),
    st.integers(2, 300),
    st.sampled_from(sorted(PAIRS)),
)
def test_rows_in_chains_have_the_numbers_of_float64(
    sizes: list[int], length: int, name: str
) -> None:
    ours, theirs = PAIRS[name]
    x = normal(8, *sizes, length)
    found = tf.jit(ours)(x).numpy()
    np.testing.assert_allclose(found, theirs(x.astype("float64")), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_gradients_in_chains_are_those_of_the_interpreter(name: str) -> None:
    op, _ = PAIRS[name]
    x, g = normal(64, 50), normal(64, 50, seed=1)

    def both(x: tf.Tensor, g: tf.Tensor) -> Any:
        y, pull = tf.vjp(op, x)
        return y, pull(g)[0]

    compiled = tf.jit(both)
    for found, wanted in zip(compiled(x, g), both(tf.asarray(x), tf.asarray(g)), strict=True):
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert chains(compiled, x, g)


def test_softmax_is_one_launch_and_keeps_its_exponentials_in_the_result() -> None:
    f, x = tf.jit(tf.nn.softmax), normal(64, 50)
    assert chains(f, x) == ["rows_4_loops"]
    assert len(f.lower(x).kernels) == 1
    assert f.lower(x).memory.arena < x.nbytes / 10


def test_a_value_that_is_returned_too_is_not_overwritten() -> None:
    def f(x: tf.Tensor) -> Any:
        e = tf.exp(x - tf.max(x, -1, keepdims=True))
        return e, e / tf.sum(e, -1, keepdims=True)

    x = normal(64, 50)
    e, y = tf.jit(f)(x)
    wide = x.astype("float64")
    np.testing.assert_allclose(e.numpy(), np.exp(wide - wide.max(-1, keepdims=True)), rtol=1e-5)
    np.testing.assert_allclose(y.numpy(), softmax(wide), rtol=1e-5)


def test_what_another_step_reads_later_is_not_overwritten() -> None:
    def f(x: tf.Tensor) -> Any:
        e = tf.exp(x - tf.max(x, -1, keepdims=True))
        return e / tf.sum(e, -1, keepdims=True), tf.matrix_transpose(e) @ x

    x = normal(64, 50)
    wide = x.astype("float64")
    e = np.exp(wide - wide.max(-1, keepdims=True))
    np.testing.assert_allclose(tf.jit(f)(x)[1].numpy(), e.T @ wide, rtol=1e-3, atol=1e-3)


def test_rows_that_another_order_mixes_are_no_chain() -> None:
    """The sums are read along the columns: row 0 needs those of all rows."""
    def f(x: tf.Tensor) -> tf.Tensor:
        return tf.tanh(x) / tf.sum(tf.tanh(x) ** 2, -1)

    x = normal(64, 64)
    t = np.tanh(x.astype("float64"))
    compiled = tf.jit(f)
    np.testing.assert_allclose(compiled(x).numpy(), t / (t * t).sum(-1), rtol=1e-4, atol=1e-5)
    assert chains(compiled, x) == []


def test_few_rows_are_left_to_all_threads() -> None:
    assert chains(tf.jit(tf.nn.softmax), normal(4, 3000)) == []


def test_a_variable_is_updated_after_the_rows_that_read_it() -> None:
    w = tf.Variable(normal(64, 50))

    def step() -> tf.Tensor:
        y = tf.nn.softmax(w)
        w.assign(w + y)
        return tf.sum(y * w, -1)

    start = w.numpy().astype("float64")
    found = tf.jit(step)().numpy()
    y = softmax(start)
    np.testing.assert_allclose(w.numpy(), start + y, rtol=1e-5)
    np.testing.assert_allclose(found, (y * (start + y)).sum(-1), rtol=1e-4)


def test_other_sizes_of_rows_compile_no_new_code() -> None:
    f = tf.jit(lambda x: tf.nn.softmax(x * 3.0))
    symbols = {
        shape: {launch.code.symbol for launch in f.lower(normal(*shape)).kernels}
        for shape in [(64, 50), (100, 7), (32, 1000)]
    }
    assert len(set(map(frozenset, symbols.values()))) == 1


def test_rows_do_not_depend_on_the_number_of_threads() -> None:
    x, f = normal(500, 300), tf.jit(lambda x: tf.nn.log_softmax(x))
    threads = tf.config.num_threads()
    try:
        found = []
        for count in (1, 2, 3):
            tf.config.set_num_threads(count)
            found.append(f(x).numpy())
    finally:
        tf.config.set_num_threads(threads)
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()
