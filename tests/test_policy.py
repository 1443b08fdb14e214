"""Mixed precision: which dtypes layers, losses and variables have, and that nets still learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import nn
from test_precision import SUM, exact, host_steps, numbers

MIXED = "mixed_bfloat16"


def blobs() -> tuple[tf.Tensor, tf.Tensor]:
    """256 points around 4 centres, and which."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 256)
    centres = rng.standard_normal((4, 20)) * 2.0
    points = centres[labels] + rng.standard_normal((256, 20))
    return tf.asarray(points.astype(np.float32)), tf.asarray(labels)


def trained(policy: str, compiled: bool, turns: int) -> tuple[nn.Module, Any, list[float]]:
    """A small net, its step, and the losses on the way."""
    x, y = blobs()
    tf.random.seed(0)
    model = nn.Sequential([nn.Dense(32, "relu"), nn.BatchNorm(), nn.Dense(4)])
    optimizer = tf.optim.SGD(0.05, momentum=0.9)

    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.losses.sparse_softmax_cross_entropy(y, model(x, training=True))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    with tf.config.policy(policy):
        model(x)
        run: Callable[..., Any] = tf.jit(step) if compiled else step
        losses = [run(x, y).item() for _ in range(turns)]
    return model, run, losses


@pytest.mark.parametrize("compiled", [False, True])
def test_a_net_learns_as_well_in_mixed_precision(compiled: bool) -> None:
    x, y = blobs()
    right = {}
    for policy in ("float32", MIXED):
        model, _, losses = trained(policy, compiled, 60)
        assert losses[-1] < 0.2 * losses[0]
        with tf.config.policy(policy):
            right[policy] = np.mean(tf.argmax(model(x), axis=1).numpy() == y.numpy())
    assert right[MIXED] >= right["float32"] - 0.01 > 0.9


def test_a_mixed_step_has_no_step_on_the_host() -> None:
    _, step, _ = trained(MIXED, True, 1)
    with tf.config.policy(MIXED):
        assert host_steps(step, *blobs()) == []


def test_compiled_and_eager_steps_agree_to_the_digits_of_bfloat16() -> None:
    losses = [trained(MIXED, compiled, 5)[2] for compiled in (False, True)]
    np.testing.assert_allclose(*losses, rtol=0.02)


def test_variables_and_their_gradients_stay_float32() -> None:
    layer = nn.Dense(3)
    with tf.config.policy(MIXED), tf.GradientTape() as tape:
        y = layer(tf.ones((2, 5)))
        gradients = tape.gradient(y, layer.trainable_variables)
    assert y.dtype == tf.bfloat16
    assert {v.dtype for v in (*layer.variables, *gradients)} == {tf.float32}


LAYERS = {
    "conv1d": (lambda: nn.Conv1D(6, 3), (2, 9, 4)),
    "conv2d": (lambda: nn.Conv2D(6, 3, groups=2), (2, 7, 7, 4)),
    "conv3d": (lambda: nn.Conv3D(6, 2), (2, 4, 4, 4, 4)),
    "transposed": (lambda: nn.Conv2DTranspose(6, 3, strides=2), (2, 4, 4, 4)),
    "depthwise": (lambda: nn.DepthwiseConv2D(3, depth_multiplier=2), (2, 7, 7, 4)),
    "separable": (lambda: nn.SeparableConv2D(6, 3), (2, 7, 7, 4)),
}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("kind", LAYERS)
def test_convolutions_multiply_rounded_factors_for_float32_variables(
    kind: str, compiled: bool
) -> None:
    make, shape = LAYERS[kind]
    x = numbers(shape, "float32", 0)
    layer = make()
    run = tf.jit(layer) if compiled else layer
    with tf.config.policy(MIXED), tf.GradientTape() as tape:
        y = run(x)
        gradients = tape.gradient(tf.sum(tf.cast(y, tf.float32) ** 2), layer.trainable_variables)
    assert y.dtype == tf.bfloat16
    assert {v.dtype for v in (*layer.variables, *gradients)} == {tf.float32}
    for variable in layer.variables:
        variable.assign(tf.cast(tf.cast(variable, tf.bfloat16), tf.float32))
    wanted = layer(tf.cast(tf.cast(x, tf.bfloat16), tf.float32)).numpy()
    roundings = 8 if kind == "separable" else 1  # the product between is rounded too
    np.testing.assert_allclose(
        y.numpy().astype(np.float64), wanted, rtol=2.0**-8, atol=roundings * 2.0**-8
    )


def test_dense_multiplies_rounded_factors() -> None:
    layer = nn.Dense(6, use_bias=False)
    x = numbers((4, 9), "float32", 0)
    with tf.config.policy(MIXED):
        found = layer(x).numpy().astype(np.float64)
    wanted, magnitude = exact(tf.cast(x, tf.bfloat16), tf.cast(layer.kernel, tf.bfloat16))
    assert (np.abs(found - wanted) <= 2.0**-8 * np.abs(wanted) + 10 * SUM * magnitude).all()


def test_a_layer_after_a_mixed_one_still_has_float32_variables() -> None:
    model = nn.Sequential([nn.Dense(8), nn.LayerNorm(), nn.PReLU(), nn.Dense(2)])
    with tf.config.policy(MIXED):
        model(tf.ones((3, 5)))
    assert {v.dtype for v in model.variables} == {tf.float32}


@pytest.mark.parametrize("layer", [nn.BatchNorm, nn.LayerNorm])
def test_normalization_of_halves_uses_float32_moments(layer: Any) -> None:
    """The mean of 2000 numbers near 100 would be off by 0.25 in bfloat16."""
    x = tf.cast(100.0 + np.random.default_rng(0).uniform(-1, 1, (2000, 2000)), tf.bfloat16)
    made = layer(epsilon=0.0)
    y = made(x, training=True) if layer is nn.BatchNorm else made(x)
    assert y.dtype == tf.bfloat16
    assert {v.dtype for v in made.variables} == {tf.float32}
    axis = 0 if layer is nn.BatchNorm else 1
    wide = x.numpy().astype(np.float64)
    wanted = (wide - wide.mean(axis, keepdims=True)) / wide.std(axis, keepdims=True)
    np.testing.assert_allclose(y.numpy().astype(np.float64), wanted, rtol=2.0**-8, atol=2e-3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda y: tf.losses.mean_squared_error(tf.zeros((3, 4), dtype=tf.bfloat16), y),
        lambda y: tf.nn.sparse_softmax_cross_entropy([0, 1, 2], y),
        lambda y: tf.nn.softmax_cross_entropy(tf.one_hot([0, 1, 2], 4), y),
        lambda y: tf.nn.sigmoid_cross_entropy(tf.one_hot([0, 1, 2], 4), y),
    ],
)
def test_losses_of_halves_are_float32(loss: Any) -> None:
    y = numbers((3, 4), "bfloat16", 0)
    found, wanted = loss(y), loss(tf.cast(y, tf.float32))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-6)


@pytest.mark.parametrize("op", [tf.nn.softmax, tf.nn.log_softmax])
def test_softmax_of_halves_is_rounded_once(op: Any) -> None:
    x = numbers((3, 500), "bfloat16", 0)
    wanted = op(tf.cast(x, tf.float32))
    found = op(x).numpy().astype(np.float64)
    np.testing.assert_allclose(found, wanted.numpy(), rtol=2.0**-8)


def test_the_update_of_a_weight_is_never_rounded_to_bfloat16() -> None:
    """The gradient is cast to float32 inside the kernel of the product."""
    x, g = numbers((40, 24), "bfloat16", 0), numbers((40, 32), "bfloat16", 1)
    w = numbers((24, 32), "float32", 2)
    update = tf.jit(lambda x, g, w: w - tf.cast(x.T @ g, tf.float32) * 0.5)
    names = [node.prim.name for node in update.lower(x, g, w).graph.nodes]
    assert [name for name in names if name != "broadcast_to"] == ["transpose", "product"]
    product, magnitude = exact(x.T, g)
    error = np.abs(update(x, g, w).numpy() - (w.numpy() - 0.5 * product))
    assert (error <= 42 * SUM * (magnitude + np.abs(w.numpy()))).all()


def test_another_policy_means_another_trace() -> None:
    layer = nn.Dense(3)
    fn = tf.jit(lambda x: layer(x))
    x = tf.ones((2, 5))
    assert fn(x).dtype == tf.float32
    with tf.config.policy(MIXED):
        assert fn(x).dtype == tf.bfloat16
        assert tf.config.policy() == MIXED
    assert (fn(x).dtype, tf.config.policy()) == (tf.float32, "float32")


def test_an_unknown_policy_is_refused_with_those_that_are() -> None:
    with pytest.raises(tf.errors.ArgumentError, match=MIXED):
        tf.config.policy("mixed_float16")


def test_the_gradient_of_a_call_is_that_of_its_policy() -> None:
    """Taken outside the block, it goes through the same roundings."""
    layer = nn.Dense(3)
    fn = tf.jit(lambda x: tf.square(layer(x)))
    x = numbers((4, 9), "float32", 0)
    layer(x)
    with tf.config.policy(MIXED):
        wanted = tf.grad(lambda x: tf.sum(tf.cast(fn(x), tf.float32)))(x).numpy()
    with tf.GradientTape() as tape:
        tape.watch(x)
        with tf.config.policy(MIXED):
            y = fn(x)
        loss = tf.sum(tf.cast(y, tf.float32))
    np.testing.assert_array_equal(tape.gradient(loss, x).numpy(), wanted)
    exact = tf.grad(lambda x: tf.sum(tf.square(layer(x))))(x).numpy()
    assert not np.allclose(wanted, exact, rtol=1e-5)


def test_a_setting_may_be_made_inside_a_traced_function() -> None:
    def square(x: tf.Tensor) -> tf.Tensor:
        with tf.config.matmul_precision("bfloat16"):
            y = x @ x
        return y @ x

    fn = tf.jit(square)
    text = str(fn.lower(numbers((32, 32), "float32", 0)).traced)
    assert text.count("matmul(") == 2
    assert text.count("precision='bfloat16'") == 1
    with tf.GradientTape() as tape:
        x = numbers((32, 32), "float32", 0)
        tape.watch(x)
        y = fn(x)
    assert tape.gradient(y, x).shape == (32, 32)
    assert tf.config.matmul_precision() == "float32"
