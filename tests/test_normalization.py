"""Normalization, softmax and their gradients, compiled, against NumPy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.jit.passes.fused import Fused
from tapeflow.testing import check_gradients

Arrays = list[np.ndarray]


def normal(*shape: int, seed: int = 0, scale: float = 1.0, mean: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, scale, shape).astype("float32")


def batch_norm(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, g: tf.Tensor) -> Any:
    """Batch normalization over all axes but the last, and its gradients."""

    def f(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, tuple(range(x.ndim - 1)))
        return tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3)

    y, pull = tf.vjp(f, x, scale, offset)
    return y, *pull(g)


def batch_norm_in_float64(x: Any, scale: Any, offset: Any, g: Any) -> Arrays:
    x, scale, offset, g = (a.astype("float64") for a in (x, scale, offset, g))
    axes = tuple(range(x.ndim - 1))
    factor = 1 / np.sqrt(x.var(axes) + 1e-3)
    away = (x - x.mean(axes)) * factor
    inner = g.mean(axes) + away * (g * away).mean(axes)
    own = scale * factor * (g - inner)
    return [away * scale + offset, own, (g * away).sum(axes), g.sum(axes)]


def full_passes(f: Any, *args: Any) -> list[tuple[int, int]]:
    """Of each loop over values of the greatest size, how many such values it reads and writes."""
    nodes = [n for n in f.lower(*args).graph.nodes if isinstance(n.prim, Fused)]
    most = max(v.spec.size for n in nodes for v in n.inputs)
    views = {n.outputs[0] for n in f.lower(*args).graph.nodes if n.prim.name == "broadcast_to"}
    counts = [
        (
            sum(v.spec.size == most and v not in views for v in n.inputs),
            sum(v.spec.size == most for v in n.outputs),
        )
        for n in nodes
    ]
    return [count for count in counts if any(count)]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from([1, 3, 16, 70]),
    st.sampled_from([0.0, 30.0]),
)
def test_batch_norm_and_its_gradients_are_those_of_float64(
    sizes: list[int], channels: int, mean: float
) -> None:
    shape = (*sizes, channels)
    args = (
        normal(*shape, mean=mean),
        normal(channels, seed=1),
        normal(channels, seed=2),
        normal(*shape, seed=3),
    )
    for found, wanted in zip(tf.jit(batch_norm)(*args), batch_norm_in_float64(*args), strict=True):
        scale = 1 + np.abs(wanted).max()
        np.testing.assert_allclose(found.numpy() / scale, wanted / scale, atol=3e-4)


def test_batch_norm_with_its_gradient_reads_no_more_than_it_must() -> None:
    """The mean; the variance with the sums of the gradient; then both results in one loop."""
    args = normal(8, 6, 6, 16), normal(16), normal(16), normal(8, 6, 6, 16)
    f = tf.jit(batch_norm)
    assert full_passes(f, *args) == [(1, 0), (2, 0), (2, 2)]


@pytest.mark.parametrize("axis", [0, 1, (0, 1)], ids=str)
def test_variance_survives_a_mean_that_is_far_larger(axis: Any) -> None:
    x = normal(300, 70, mean=4096.0)
    mean, variance = tf.jit(lambda x: tf.nn.moments(x, axis))(x)
    wide = x.astype("float64")
    np.testing.assert_allclose(mean.numpy(), wide.mean(axis), rtol=1e-6)
    np.testing.assert_allclose(variance.numpy(), wide.var(axis), rtol=1e-3)


SHAPES = [((5,), (5,), (5,)), ((4, 1), (5,), ()), ((1, 1, 1), (3, 1, 1), (5,)), ((), (4, 5), ())]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
def test_moments_of_any_shape_normalize_with_all_their_derivatives(shapes: Any) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(3, 4, 5))
    mean, variance, scale = (random.uniform(1, 2, size=shape) for shape in shapes)

    def f(x: Any, mean: Any, variance: Any, scale: Any) -> tf.Tensor:
        return tf.nn.batch_normalization(x, mean, variance, None, scale, 1e-3) ** 2

    tensors = tuple(map(tf.asarray, (x, mean, variance, scale)))
    wanted = ((x - mean) / np.sqrt(variance + 1e-3) * scale) ** 2
    np.testing.assert_allclose(f(*tensors).numpy(), wanted, rtol=1e-12)
    check_gradients(f, tensors, order=2)


def test_moments_have_the_derivatives_of_both() -> None:
    x = tf.asarray(normal(3, 4).astype("float64"))
    check_gradients(lambda x: tf.nn.moments(x, 0)[1] * tf.nn.moments(x, 0)[0], (x,), order=2)
    check_gradients(lambda x: tf.var(x, 1, correction=1), (x,), order=2)


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> Any:
    """The mean loss and its gradient."""
    return tf.value_and_grad(lambda x: tf.mean(tf.nn.sparse_softmax_cross_entropy(labels, x)))(
        logits
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 40), st.integers(1, 200), st.sampled_from([1.0, 50.0, 1e4]))
def test_cross_entropy_and_its_gradient_are_those_of_float64(
    rows: int, classes: int, scale: float
) -> None:
    x = normal(rows, classes, scale=scale)
    labels = np.random.default_rng(1).integers(0, classes, rows)
    loss, gradient = tf.jit(cross_entropy)(x, labels)
    wide = x.astype("float64")
    e = np.exp(wide - wide.max(1, keepdims=True))
    own = wide[np.arange(rows), labels] - wide.max(1)
    wanted = (np.log(e.sum(1)) - own).mean()
    np.testing.assert_allclose(loss.item(), wanted, rtol=1e-5, atol=1e-5)
    share = e / e.sum(1, keepdims=True) - np.eye(classes)[labels]
    np.testing.assert_allclose(gradient.numpy(), share / rows, atol=1e-6)


def test_an_infinite_logit_of_another_class_costs_infinitely_much() -> None:
    x = np.array([[0.0, np.inf], [1.0, 2.0]], "float32")
    loss = tf.nn.sparse_softmax_cross_entropy([0, 0], x).numpy()
    np.testing.assert_allclose(loss, [np.inf, np.log1p(np.exp(1.0))], rtol=1e-6)


def test_cross_entropy_takes_each_exponential_once() -> None:
    f = tf.jit(cross_entropy)
    x, labels = normal(8, 30), np.zeros(8, np.int64)
    names = [
        inner.prim.name
        for node in f.lower(x, labels).graph.nodes
        if isinstance(node.prim, Fused)
        for inner in node.prim.body.nodes
    ]
    assert names.count("exp") == 1
