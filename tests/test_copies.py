"""Ops that put values together out of copies: compiled they run without a host step, as eager."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "uint16", "int64", "bool"]
SIZES = st.integers(0, 5)
SHAPES = st.lists(SIZES, min_size=1, max_size=4).map(tuple)


def numbers(shape: tuple[int, ...], dtype: str, seed: int = 0) -> tf.Tensor:
    values = np.random.default_rng(seed).integers(-99, 99, shape) / 8
    return tf.cast(tf.asarray(values), dtype)


def check_compiled(fn: Callable[..., Any], *xs: tf.Tensor) -> None:
    """All bits of what `fn` gives compiled are those of eager, and nothing runs on the host."""
    compiled = tf.jit(fn)
    for got, want in zip(compiled(*xs), fn(*xs), strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert got.numpy().tobytes() == want.numpy().tobytes()
    assert compiled.lower(*xs).host_steps == []


@settings(deadline=None, max_examples=40)
@given(SHAPES, st.lists(SIZES, min_size=1, max_size=4), st.integers(0, 3), st.sampled_from(DTYPES))
def test_concat_of_any_sizes(shape: Any, lengths: list[int], axis: int, dtype: str) -> None:
    axis %= len(shape)
    xs = [numbers((*shape[:axis], n, *shape[axis + 1:]), dtype, n) for n in lengths]
    check_compiled(lambda *xs: [tf.concat(xs, axis), tf.concat(xs, None)], *xs)


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.integers(1, 3), st.integers(0, 4), st.sampled_from(DTYPES))
def test_stack_and_unstack_along_any_axis(shape: Any, count: int, axis: int, dtype: str) -> None:
    axis %= len(shape) + 1
    xs = [numbers(shape, dtype, i) for i in range(count)]
    check_compiled(lambda *xs: [tf.stack(xs, axis), *tf.unstack(tf.stack(xs, axis), axis)], *xs)


@settings(deadline=None, max_examples=30)
@given(SHAPES, st.lists(SIZES, min_size=1, max_size=4), st.integers(0, 3), st.sampled_from(DTYPES))
def test_split_into_any_parts(shape: Any, lengths: list[int], axis: int, dtype: str) -> None:
    axis %= len(shape)
    x = numbers((*shape[:axis], sum(lengths), *shape[axis + 1:]), dtype)
    check_compiled(lambda x: tf.split(x, lengths, axis), x)


@settings(deadline=None, max_examples=40)
@given(st.data(), SHAPES, st.sampled_from(DTYPES))
def test_pad_by_any_widths(data: st.DataObject, shape: Any, dtype: str) -> None:
    ones = st.booleans() if dtype == "bool" else st.integers(0, 1)  # an int is no bool
    value = 0 if "float16" in dtype else data.draw(ones)  # NumPy computes with halves
    widths = data.draw(st.lists(st.tuples(SIZES, SIZES), min_size=len(shape), max_size=len(shape)))
    check_compiled(lambda x: [tf.pad(x, widths, value)], numbers(shape, dtype))


@settings(deadline=None, max_examples=40)
@given(st.data(), SHAPES, st.sampled_from(DTYPES))
def test_writing_to_any_slice(data: st.DataObject, shape: Any, dtype: str) -> None:
    key = tuple(data.draw(st.slices(n)) for n in shape)
    value = numbers(np.zeros(shape)[key].shape, dtype, 1)

    def written(x: tf.Tensor, v: tf.Tensor) -> list[tf.Tensor]:
        y = tf.flip(x)
        y[key] = v
        return [y]

    check_compiled(written, numbers(shape, dtype), value)


@settings(deadline=None, max_examples=30)
@given(st.data(), SHAPES)
def test_the_gradient_of_a_slice_of_any_step(data: st.DataObject, shape: Any) -> None:
    key = tuple(data.draw(st.slices(n)) for n in shape)
    check_compiled(lambda x: [tf.grad(lambda x: tf.sum(tf.square(x[key])))(x)],
                   numbers(shape, "float64"))


def test_inputs_may_be_views_and_equal() -> None:
    x = numbers((4, 4), "float32")
    check_compiled(lambda x: [tf.concat([x.T, tf.flip(x), x[::2], x], 0)], x)


def test_a_variable_that_is_put_together_again_keeps_what_others_read() -> None:
    state = tf.Variable(np.arange(6.0))

    @tf.jit
    def push(x: Any) -> Any:
        before = state * 1.0
        state.assign(tf.concat([state[1:], tf.reshape(x, (1,))]))
        return before

    for i in range(3):
        kept = state.value
        assert push(tf.asarray(10.0 + i)).numpy().tolist() == kept.numpy().tolist()
    assert state.numpy().tolist() == [3, 4, 5, 10, 11, 12]
    assert kept.numpy().tolist() == [2, 3, 4, 5, 10, 11]


def test_a_new_size_makes_no_new_code() -> None:
    compiled = tf.jit(lambda x, y: tf.pad(tf.concat([x, y], 1), [(1, 1), (2, 2)]))
    codes = [{launch.code for launch in compiled.lower(
        numbers((n, 3), "float32"), numbers((n, 4), "float32")).kernels} for n in (2, 5)]
    assert codes[0] == codes[1]


def test_sizes_that_differ_are_refused_while_tracing() -> None:
    with pytest.raises(tf.errors.ShapeError, match="concat"):
        tf.jit(lambda x, y: tf.concat([x, y], 0))(tf.ones((2, 3)), tf.ones((2, 4)))
