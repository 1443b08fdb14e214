"""Recurrent layers against their equations in NumPy, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import nn
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.testing import check_gradients

X = np.random.default_rng(0).standard_normal((2, 4, 3))
LAYERS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
every_layer = pytest.mark.parametrize("name", LAYERS)


def logistic(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def by_steps(name: str, layer: Any, x: Any) -> tuple[Any, list[Any]]:
    """The outputs of all steps, and the last states, from zeros."""
    w, u = layer.kernel.numpy(), layer.recurrent_kernel.numpy()
    b = 0 if layer.bias is None else layer.bias.numpy()
    n = layer.units
    h = c = np.zeros((len(x), n))
    found = []
    for step in range(x.shape[1]):
        a = x[:, step] @ w + b
        if name == "rnn":
            h = np.tanh(a + h @ u)
        elif name == "lstm":
            i, f, g, o = np.split(a + h @ u, 4, axis=1)
            c = logistic(f) * c + logistic(i) * np.tanh(g)
            h = logistic(o) * np.tanh(c)
        else:
            old = h @ u + (0 if layer.recurrent_bias is None else layer.recurrent_bias.numpy())
            z = logistic(a[:, :n] + old[:, :n])
            r = logistic(a[:, n : 2 * n] + old[:, n : 2 * n])
            h = z * h + (1 - z) * np.tanh(a[:, 2 * n :] + r * old[:, 2 * n :])
        found.append(h)
    return np.stack(found, 1), [h, c] if name == "lstm" else [h]


def with_random_biases(layer: Any) -> Any:
    layer(X)
    random = np.random.default_rng(1)
    for variable in layer.variables:
        variable.assign(random.standard_normal(variable.shape))
    return layer


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@every_layer
def test_each_step_follows_the_equations(name: str, compiled: bool) -> None:
    layer = with_random_biases(LAYERS[name](5, return_sequences=True, return_state=True))
    run = tf.jit(lambda x: layer(x)) if compiled else layer
    outputs, states = by_steps(name, layer, X)
    found = run(X)
    for y, expected in zip(found, [outputs, *states], strict=True):
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-10, atol=1e-10)


@every_layer
def test_the_last_output_is_given_by_default_and_biases_may_be_left_out(name: str) -> None:
    layer = LAYERS[name](5, use_bias=False)
    y = layer(X)
    np.testing.assert_allclose(y.numpy(), by_steps(name, layer, X)[0][:, -1], atol=1e-12)
    assert len(layer.variables) == 2


@every_layer
def test_a_sequence_may_be_taken_in_two_parts(name: str) -> None:
    layer = with_random_biases(LAYERS[name](5, return_state=True))
    _, *states = layer(X[:, :2])
    np.testing.assert_allclose(layer(X[:, 2:], states)[0].numpy(), layer(X)[0].numpy(), atol=1e-12)


@every_layer
def test_derivatives_of_sequences_pass_finite_differences(name: str) -> None:
    layer = with_random_biases(LAYERS[name](2))
    check_gradients(lambda x: layer(x), (tf.asarray(X[:1, :3]),), order=1)


@every_layer
def test_compiled_gradients_of_weights_are_the_eager_ones(name: str) -> None:
    layer = with_random_biases(LAYERS[name](3))

    def gradients(x: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.sum(layer(x) ** 2)
        return tape.gradient(loss, layer.trainable_variables)

    for a, b in zip(tf.jit(gradients)(X), gradients(X), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


def test_the_forget_gate_is_open_at_first() -> None:
    layer = nn.LSTM(2)
    layer(X)
    assert layer.bias is not None and layer.bias.tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


@every_layer
def test_what_does_not_fit_is_refused(name: str) -> None:
    kind = LAYERS[name]
    for error, attempt in [
        (ArgumentError, lambda: kind(0)),
        (ShapeError, lambda: kind(2)(X[0])),
        (DTypeError, lambda: kind(2)(X.astype(int))),
        (ShapeError, lambda: kind(2)(X, [np.zeros((2, 3))])),
    ]:
        with pytest.raises(error):
            attempt()
