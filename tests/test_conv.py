"""Convolutions against plain loops and SciPy, over sizes, strides, paddings, dilations, groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
import windows
from tapeflow.ops import conv
from tapeflow.testing import check_gradients

CONV = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}


def normal(*shape: int, seed: int = 0, dtype: Any = np.float64) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@st.composite
def convolutions(draw: Any) -> tuple[int, np.ndarray, np.ndarray, dict[str, Any]]:
    """Spatial axes, input, filters and the other arguments of a convolution that has a result."""
    ndim = draw(st.integers(1, 3))

    def per_axis(low: int, high: int) -> Any:
        return st.tuples(*[st.integers(low, high)] * ndim)

    window, gaps = draw(per_axis(1, 3)), draw(per_axis(1, 3))
    padding = draw(
        st.one_of(
            st.sampled_from(["SAME", "VALID"]),
            st.tuples(*[st.tuples(*[st.integers(0, 3)] * 2)] * ndim),
        )
    )
    least = 1 if padding == "SAME" else 1 + max(k * d for k, d in zip(window, gaps, strict=True))
    sizes = draw(per_axis(least, least + 4 - ndim))
    groups = draw(st.integers(1, 3))
    inputs, outputs = draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    x = normal(draw(st.integers(0, 2)), *sizes, groups * inputs)
    w = normal(*window, inputs, outputs, seed=1)
    strides = draw(per_axis(1, 4))
    return ndim, x, w, {"strides": strides, "padding": padding, "dilations": gaps, "groups": groups}


@settings(max_examples=150, deadline=None)
@given(convolutions())
def test_any_convolution_is_its_sum_of_products(made: Any) -> None:
    ndim, x, w, attrs = made
    y = CONV[ndim](x, w, **attrs)
    np.testing.assert_allclose(y.numpy(), windows.conv(x, w, **attrs), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(convolutions())
def test_both_adjoints_of_any_convolution_are_its_transposes(made: Any) -> None:
    """<g, conv(x, w)> = <conv_input(g, w), x> = <conv_filter(x, g), w>, since it is bilinear."""
    ndim, x, w, attrs = made
    y = windows.conv(x, w, **attrs)
    g = normal(*y.shape, seed=2)
    dx, dw = tf.vjp(lambda x, w: CONV[ndim](x, w, **attrs), x, w)[1](g)
    assert np.vdot(dx.numpy(), x) == pytest.approx(np.vdot(g, y), rel=1e-10, abs=1e-10)
    assert np.vdot(dw.numpy(), w) == pytest.approx(np.vdot(g, y), rel=1e-10, abs=1e-10)


@settings(max_examples=20, deadline=None)
@given(convolutions().filter(lambda made: 0 < made[1].size <= 120))
def test_derivatives_of_any_convolution_pass_finite_differences(made: Any) -> None:
    ndim, x, w, attrs = made
    check_gradients(lambda x, w: CONV[ndim](x, w, **attrs), (tf.asarray(x), tf.asarray(w)), order=2)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_one_channel_without_padding_is_scipys_correlation(ndim: int) -> None:
    x, w = normal(*[7, 5, 6][:ndim]), normal(*[2, 3, 4][:ndim], seed=1)
    y = CONV[ndim](x[None, ..., None], w[..., None, None], padding="VALID").numpy()[0, ..., 0]
    np.testing.assert_allclose(y, scipy.signal.correlate(x, w, "valid", "direct"), atol=1e-12)


def test_a_transposed_convolution_without_padding_is_scipys_full_convolution() -> None:
    x, w = normal(4, 5), normal(3, 2, seed=1)
    y = tf.nn.conv2d_transpose(x[None, ..., None], w[..., None, None], padding="VALID")
    full = scipy.signal.convolve2d(x, w)
    np.testing.assert_allclose(y.numpy()[0, ..., 0], full, atol=1e-12)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 20), st.integers(1, 6), st.integers(1, 5), st.integers(1, 4))
def test_same_padding_gives_a_window_for_each_stride(n: int, k: int, s: int, d: int) -> None:
    y = tf.nn.conv1d(np.ones((1, n, 1)), np.ones((k, 1, 1)), s, "SAME", d)
    assert y.shape == (1, -(-n // s), 1)


def test_the_odd_cell_of_same_padding_goes_after_the_input() -> None:
    y = tf.nn.conv1d([[[1.0], [2.0], [3.0]]], [[[1.0]], [[10.0]]])
    assert y.numpy().ravel().tolist() == [21.0, 32.0, 3.0]


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.sampled_from(["SAME", "VALID", "pairs"]),
)
def test_a_transposed_convolution_has_the_size_that_its_convolution_takes_back(
    n: int, k: int, s: int, padding: str
) -> None:
    around: Any = ((k - 1, 0), (0, k - 1)) if padding == "pairs" else padding
    x, w = normal(1, n, n, 2), normal(k, k, 3, 2, seed=1)
    y = tf.nn.conv2d_transpose(x, w, strides=s, padding=around)
    assert tf.nn.conv2d(y, w, s, around).shape == x.shape
    np.testing.assert_allclose(
        y.numpy(), windows.conv_transpose(x, w, y.shape[1:-1], s, around), atol=1e-12
    )


def test_a_transposed_convolution_covers_the_strides_beyond_small_windows() -> None:
    x, w = normal(1, 3, 3, 1), normal(2, 2, 1, 1)
    assert tf.nn.conv2d_transpose(x, w, None, 4, "VALID").shape[1:-1] == (12, 12)


@pytest.mark.parametrize(("padding", "size"), [("SAME", 6), ("VALID", 9), (((1, 1), (1, 2)), None)])
def test_a_transposed_convolution_is_as_large_as_in_keras(padding: Any, size: int | None) -> None:
    y = tf.nn.conv2d_transpose(normal(1, 3, 3, 1), normal(5, 5, 1, 1), None, 2, padding)
    assert y.shape[1:-1] == ((7, 6) if size is None else (size, size))


def test_groups_of_a_transposed_convolution_are_convolutions_side_by_side() -> None:
    x, w = normal(2, 3, 3, 4), normal(2, 3, 5, 4, seed=1)
    y = tf.nn.conv2d_transpose(x, w, strides=2, groups=2).numpy()
    halves = [tf.nn.conv2d_transpose(x[..., h], w[..., h], strides=2) for h in np.s_[:2, 2:]]
    np.testing.assert_allclose(y, tf.concat(halves, -1).numpy(), atol=1e-12)


def test_depthwise_filters_of_one_channel_stand_side_by_side() -> None:
    x = np.array([[[[1.0, 10.0]]]])
    w = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    assert tf.nn.depthwise_conv2d(x, w).numpy().ravel().tolist() == [1.0, 2.0, 30.0, 40.0]


def test_a_dilation_beyond_the_input_leaves_only_the_middle_cell() -> None:
    x, w = normal(1, 5, 5, 2), normal(3, 3, 2, 2, seed=1)
    y = tf.nn.conv2d(x, w, dilations=1000)
    np.testing.assert_allclose(y.numpy(), x @ w[1, 1], rtol=1e-12)
    dx = tf.grad(lambda x: tf.sum(tf.nn.conv2d(x, w, dilations=1000)))(x)
    np.testing.assert_allclose(dx.numpy(), np.broadcast_to(w[1, 1].sum(1), x.shape), rtol=1e-12)


def test_views_and_read_only_arrays_are_taken() -> None:
    x, w = normal(2, 4, 12, 6)[..., ::2, ::-2], normal(3, 3, 4, 3, seed=1).swapaxes(2, 3)
    x.flags.writeable = w.flags.writeable = False
    np.testing.assert_allclose(tf.nn.conv2d(x, w).numpy(), windows.conv(x, w), atol=1e-12)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16], ids=["f16", "bf16"])
def test_sums_in_half_precision_are_made_in_single(
    dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4096 ones: a sum in float16 would stop growing at 2048, in bfloat16 at 256."""
    x, w = tf.ones((1, 64, 64, 1), dtype=dtype), tf.ones((64, 64, 1, 1), dtype=dtype)
    y = tf.nn.conv2d(x, w, padding="VALID")
    assert (y.dtype, y.item()) == (dtype, 4096.0)
    dx = tf.grad(lambda x: tf.sum(tf.nn.conv2d(x, w)))(x)  # all windows have the middle cell
    assert (dx.dtype, dx[0, 32, 32, 0].item()) == (dtype, 4096.0)
    monkeypatch.setattr(conv, "_PART", 1)  # one example at a time
    many, one = tf.ones((4096, 1, 1), dtype=dtype), tf.ones((1, 1, 1), dtype=dtype)
    dw = tf.grad(lambda w: tf.sum(tf.nn.conv1d(many, w)))(one)
    assert (dw.dtype, dw.item()) == (dtype, 4096.0)


@pytest.mark.parametrize("part", [1, 40, 300])
def test_working_in_parts_changes_nothing(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = normal(3, 5, 4, 4), normal(3, 2, 2, 6, seed=1)
    attrs = {"strides": (2, 1), "padding": ((1, 1), (1, 0)), "groups": 2}
    whole = tf.vjp(lambda x, w: tf.nn.conv2d(x, w, **attrs), x, w)
    monkeypatch.setattr(conv, "_PART", part)
    parts = tf.vjp(lambda x, w: tf.nn.conv2d(x, w, **attrs), x, w)
    np.testing.assert_allclose(parts[0].numpy(), whole[0].numpy(), rtol=1e-12, atol=1e-12)
    for a, b in zip(parts[1](whole[0]), whole[1](whole[0]), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12, atol=1e-12)


def test_a_compiled_training_step_of_a_convolution_is_the_eager_one() -> None:
    x = tf.asarray(normal(4, 6, 6, 2, dtype=np.float32))

    def step(w: Any, b: Any) -> Any:
        return tf.grad(
            lambda w, b: tf.sum(tf.relu(tf.nn.conv2d(x, w, 2) + b) ** 2), argnums=(0, 1)
        )(w, b)

    w, b = tf.asarray(normal(3, 3, 2, 5, dtype=np.float32)), tf.zeros((5,))
    for compiled, eager in zip(tf.jit(step)(w, b), step(w, b), strict=True):
        np.testing.assert_allclose(compiled.numpy(), eager.numpy(), rtol=1e-4, atol=1e-4)


def test_an_empty_result_is_refused_with_sizes_and_fix() -> None:
    with pytest.raises(tf.errors.ShapeError) as caught:
        tf.nn.conv2d(np.ones((1, 2, 5, 1)), np.ones((3, 3, 1, 1)), padding="VALID")
    text = str(caught.value)
    assert "conv2d" in text and "3x3" in text and "2x5" in text and "SAME" in text
