"""Compiled convolutions against the same function interpreted, with gradients and what follows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow import tree
from tapeflow.jit import convolve, eager
from tapeflow.ops.conv import conv

SAME = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilations": (1, 1), "groups": 1}


def check_equal(found: Any, wanted: Any, tolerance: float = 1e-4) -> None:
    for a, b in zip(tree.flatten(found)[0], tree.flatten(wanted)[0], strict=True):
        x, y = np.asarray(a), np.asarray(b)
        scale = max(1.0, float(np.abs(y).max(initial=0.0)))
        np.testing.assert_allclose(x / scale, y / scale, rtol=tolerance, atol=tolerance)


def numbers(*shape: int, dtype: str = "float32") -> tf.Tensor:
    random = np.random.default_rng(sum(shape))
    return tf.asarray(random.standard_normal(shape).astype(dtype))


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tf.Tensor, tf.Tensor, dict[str, Any]]:
    axes = draw(st.integers(1, 3))
    small = st.tuples(*[st.integers(1, 3)] * axes)
    ones = (1,) * axes
    window, strides = draw(small), draw(st.one_of(st.just(ones), small))
    dilations = draw(st.one_of(st.just(ones), small))
    padding = tuple(draw(st.tuples(st.integers(0, 2), st.integers(0, 2))) for _ in range(axes))
    sizes = [
        draw(st.integers(max(1, (k - 1) * d + 1 - sum(p)), 9 + (k - 1) * d))
        for k, d, p in zip(window, dilations, padding, strict=True)
    ]
    groups = draw(st.sampled_from([1, 1, 2, 20]))
    c, o = (1, 1) if groups == 20 else (draw(st.integers(1, 20)), draw(st.integers(1, 40)))
    x = numbers(draw(st.integers(1, 3)), *sizes, groups * c)
    w = numbers(*window, c, groups * o)
    return x, w, {
        "strides": strides, "padding": padding, "dilations": dilations, "groups": groups
    }  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(convolutions())
def test_compiled_values_and_gradients_are_those_of_the_interpreter(
    case: tuple[tf.Tensor, tf.Tensor, dict[str, Any]],
) -> None:
    x, w, attrs = case
    bias = numbers(w.shape[-1])

    def loss(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
        y = tf.nn.relu(conv(x, w, **attrs) + b)
        return tf.sum(y * y * 0.1 + y)

    def both(x: tf.Tensor, w: tf.Tensor, b: tf.Tensor) -> Any:
        return conv(x, w, **attrs), tf.value_and_grad(loss, argnums=(0, 1, 2))(x, w, b)

    compiled = tf.jit(both)
    check_equal(compiled(x, w, bias), both(x, w, bias))
    assert compiled.lower(x, w, bias).host_steps == []


def test_padding_behind_windows_of_one_cell_is_zero() -> None:
    x, w = numbers(2, 3, 16), numbers(1, 16, 32)
    f = tf.value_and_grad(lambda x: tf.sum(tf.nn.conv1d(x, w, padding=((0, 2),)) ** 2 + 1))
    check_equal(tf.jit(f)(x), f(x))


def test_a_bias_a_residual_and_an_activation_join_the_convolution() -> None:
    x, w, bias, rest = numbers(2, 6, 6, 8), numbers(3, 3, 8, 8), numbers(8), numbers(2, 6, 6, 8)

    def block(x: tf.Tensor, rest: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.nn.conv2d(x, w) + bias + rest)

    compiled = tf.jit(block)
    check_equal(compiled(x, rest), block(x, rest))
    assert len(compiled.lower(x, rest).kernels) == 2  # filters into panels, and all the rest


def test_an_update_of_filters_joins_their_gradient() -> None:
    w = tf.Variable(numbers(3, 3, 4, 8))
    x, start = numbers(2, 6, 6, 4), w.numpy().copy()

    def step(x: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.sum(tf.square(tf.nn.conv2d(x, w)))
        w.assign_sub(0.1 * tape.gradient(loss, w))

    step(x)
    wanted = w.numpy().copy()
    w.assign(start)
    compiled = tf.jit(step)
    compiled(x)
    check_equal(w.numpy(), wanted)
    names = [node.prim.name for node in compiled.lower(x).graph.nodes]
    assert set(names) == {"product", "broadcast_to"}


@pytest.mark.parametrize("whole", [True, False])
def test_the_gradient_of_many_filters_of_one_cell_is_one_product(whole: bool) -> None:
    """Of all places, or of a part of each row, which are not evenly apart; with its update."""
    w = tf.Variable(numbers(1, 1, 40, 90))
    x, start = numbers(3, 8, 8, 40), w.numpy().copy()

    def step(x: tf.Tensor) -> None:
        part = x if whole else x[:, :, :5]
        with tf.GradientTape() as tape:
            loss = tf.sum(tf.square(tf.nn.conv2d(part, w)))
        w.assign_sub(0.01 * tape.gradient(loss, w))

    step(x)
    wanted = w.numpy().copy()
    w.assign(start)
    compiled = tf.jit(step)
    compiled(x)
    check_equal(w.numpy(), wanted)
    kinds = [launch.code.symbol.split("_")[0] for launch in compiled.lower(x).kernels]
    assert ("sums" in kinds) != whole


@pytest.mark.parametrize("view", ["transposed", "reversed", "broadcast", "part"])
def test_inputs_that_are_views_are_read_right(view: str) -> None:
    x, w = numbers(2, 5, 5, 5), numbers(3, 3, 5, 5)

    def look(v: tf.Tensor) -> tf.Tensor:
        if view == "transposed":
            return tf.permute_dims(v, (3, 2, 1, 0)) if v.shape[0] != 2 else tf.matrix_transpose(v)
        if view == "reversed":
            return tf.flip(v, axis=-1)
        if view == "broadcast":
            return tf.broadcast_to(v[..., :1], v.shape)
        return v[..., 1:4]

    def gradients(x: tf.Tensor, w: tf.Tensor) -> Any:
        filters = tf.matrix_transpose(w) if view == "transposed" else look(w)
        filters = filters[..., :3, :] if view == "part" else filters
        loss = lambda x, w: tf.sum(tf.square(tf.nn.conv2d(x, w, strides=2)))  # noqa: E731
        return tf.value_and_grad(loss, argnums=(0, 1))(look(x), filters)

    check_equal(tf.jit(gradients)(x, w), gradients(x, w))


def test_float64_keeps_its_precision() -> None:
    x, w = numbers(2, 6, 6, 3, dtype="float64"), numbers(3, 3, 3, 5, dtype="float64")
    f = tf.grad(lambda x, w: tf.sum(tf.nn.conv2d(x, w) ** 3), argnums=(0, 1))
    check_equal(tf.jit(f)(x, w), f(x, w), 1e-12)


def test_another_batch_size_compiles_no_new_code() -> None:
    w = numbers(3, 3, 4, 8)
    f = tf.jit(lambda x: tf.nn.conv2d(x, w))
    symbols = {
        n: {launch.code.symbol for launch in f.lower(numbers(n, 9, 9, 4)).kernels} for n in (1, 7)
    }
    assert symbols[1] == symbols[7]


def test_a_patch_too_large_for_the_stack_is_done_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(convolve.window, "MOST_PATCH_BYTES", 64)
    x, w = numbers(1, 5, 5, 3), numbers(3, 3, 3, 2)
    f = tf.jit(lambda x: tf.nn.conv2d(x, w))
    check_equal(f(x), tf.nn.conv2d(x, w))
    assert f.lower(x).host_steps == ["conv"]


def test_eager_code_runs_large_convolutions_by_the_same_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, w = numbers(2, 30, 30, 16), numbers(3, 3, 16, 16)
    with monkeypatch.context() as without:
        without.setattr(conv, "array_fn", None)
        found = tf.nn.conv2d(x, w)
    compiled = tf.jit(tf.nn.conv2d)(x, w)
    np.testing.assert_array_equal(found, compiled)
    check_equal(found, conv.array_fn(x.numpy(), w.numpy(), **SAME))
    with pytest.raises(tf.errors.ShapeError, match="channels"):
        tf.nn.conv2d(x, w[:, :, :8])


def test_eager_kernels_of_transposed_views_and_small_inputs_agree_with_numpy() -> None:
    x, w = numbers(2, 30, 16, 30), numbers(3, 3, 30, 16)
    view = tf.matrix_transpose(x)
    w = tf.permute_dims(w, (0, 1, 3, 2))
    check_equal(tf.nn.conv2d(view, w), conv.array_fn(view.numpy(), w.numpy(), **SAME))
    check_equal(
        tf.nn.conv2d(view[:, :4, :4], w), conv.array_fn(view[:, :4, :4].numpy(), w.numpy(), **SAME)
    )


def test_interpreted_code_runs_no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEFLOW_JIT", "0")
    monkeypatch.setattr(eager, "_compiled", None)
    check_equal(tf.nn.conv2d(numbers(2, 31, 31, 16), numbers(3, 3, 16, 16)).shape, (2, 31, 31, 16))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("groups", [1, 6], ids=["dense", "depthwise"])
def test_sequences_of_new_lengths_compile_their_convolutions_once_more_at_most(
    groups: int, dtype: str
) -> None:
    w = tf.cast(numbers(3, 6 // groups, 6), dtype)
    loss = lambda x, w: tf.sum(tf.cast(tf.nn.conv1d(x, w, groups=groups), "float32") ** 2)  # noqa: E731
    compiled = tf.jit(tf.value_and_grad(loss, argnums=(0, 1)))
    seen: list[set[str]] = []
    for length in (70, 83, 90, 111):
        x = tf.cast(numbers(2, length, 6), dtype)
        tolerance = 1e-4 if dtype == "float32" else 0.02
        check_equal(compiled(x, w), tf.value_and_grad(loss, argnums=(0, 1))(x, w), tolerance)
        seen.append({launch.code.symbol for launch in compiled.lower(x, w).kernels})
    assert seen[2] | seen[3] <= seen[0] | seen[1]
