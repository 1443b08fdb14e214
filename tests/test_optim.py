"""Optimizers against their formulas in NumPy, eager and compiled, and what they refuse."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.tensor import Array

START = np.array([1.0, -2.0, 0.5, 0.0])
GRADIENTS = list(np.random.default_rng(0).standard_normal((6, 4)))
Steps = Iterator[Array]


def _sgd(rate: float, momentum: float = 0.0, nesterov: bool = False) -> Steps:
    w, m = START.copy(), np.zeros(4)
    for g in GRADIENTS:
        m = momentum * m + g
        w = w - rate * (g + momentum * m if nesterov else m)
        yield w


def _adam(rate: float, b1: float, b2: float, epsilon: float, decay: float = 0.0) -> Steps:
    w, m, v = START.copy(), np.zeros(4), np.zeros(4)
    for t, g in enumerate(GRADIENTS, 1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        w = w - rate * decay * w
        w = w - rate * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + epsilon)
        yield w


def _adagrad(rate: float, start: float, epsilon: float) -> Steps:
    w, n = START.copy(), np.full(4, start)
    for g in GRADIENTS:
        n = n + g**2
        w = w - rate * g / np.sqrt(n + epsilon)
        yield w


def _rmsprop(rate: float, rho: float, momentum: float, epsilon: float, centered: bool) -> Steps:
    w, square, mean, d = START.copy(), np.zeros(4), np.zeros(4), np.zeros(4)
    for g in GRADIENTS:
        square, mean = rho * square + (1 - rho) * g**2, rho * mean + (1 - rho) * g
        variance = square - mean**2 if centered else square
        d = momentum * d + rate * g / np.sqrt(variance + epsilon)
        w = w - d
        yield w


def _adadelta(rate: float, rho: float, epsilon: float) -> Steps:
    w, square, delta = START.copy(), np.zeros(4), np.zeros(4)
    for g in GRADIENTS:
        square = rho * square + (1 - rho) * g**2
        d = np.sqrt(delta + epsilon) / np.sqrt(square + epsilon) * g
        delta = rho * delta + (1 - rho) * d**2
        w = w - rate * d
        yield w


def _ftrl(rate: float, l1: float, l2: float) -> Steps:
    w, n, z = START.copy(), np.full(4, 0.1), np.zeros(4)
    for g in GRADIENTS:
        sigma = (np.sqrt(n + g**2) - np.sqrt(n)) / rate
        z, n = z + g - sigma * w, n + g**2
        w = np.where(np.abs(z) <= l1, 0.0,
                     -(z - np.sign(z) * l1) / (np.sqrt(n) / rate + 2 * l2))
        yield w


RULES: list[tuple[Callable[[], tf.optim.Optimizer], Steps]] = [
    (lambda: tf.optim.SGD(0.1), _sgd(0.1)),
    (lambda: tf.optim.SGD(), _sgd(0.01)),
    (lambda: tf.optim.SGD(0.1, momentum=0.9), _sgd(0.1, 0.9)),
    (lambda: tf.optim.SGD(0.1, momentum=0.9, nesterov=True), _sgd(0.1, 0.9, True)),
    (lambda: tf.optim.Adam(), _adam(0.001, 0.9, 0.999, 1e-8)),
    (lambda: tf.optim.Adam(0.1, 0.8, 0.99, 1e-3), _adam(0.1, 0.8, 0.99, 1e-3)),
    (lambda: tf.optim.AdamW(0.1, 0.2), _adam(0.1, 0.9, 0.999, 1e-8, 0.2)),
    (lambda: tf.optim.Adagrad(0.1), _adagrad(0.1, 0.1, 1e-7)),
    (lambda: tf.optim.RMSprop(0.1), _rmsprop(0.1, 0.9, 0.0, 1e-7, False)),
    (lambda: tf.optim.RMSprop(0.1, 0.8, 0.5, 1e-2, True), _rmsprop(0.1, 0.8, 0.5, 1e-2, True)),
    (lambda: tf.optim.Adadelta(1.0), _adadelta(1.0, 0.95, 1e-7)),
    (lambda: tf.optim.Ftrl(0.1, 0.5, 0.25), _ftrl(0.1, 0.5, 0.25)),
]
EXPECTED = [(make, list(steps)) for make, steps in RULES]


def _walk(make: Callable[[], tf.optim.Optimizer], wrap: Callable[..., Any]) -> Iterator[Array]:
    w, optimizer = tf.Variable(START.copy(), name="w"), make()
    step = wrap(lambda g: optimizer.apply([g], [w]))
    for g in GRADIENTS:
        step(tf.asarray(g))
        yield w.numpy()


@pytest.mark.parametrize(("make", "expected"), EXPECTED)
def test_a_rule_is_its_formula(make: Callable[[], tf.optim.Optimizer],
                               expected: list[Array]) -> None:
    np.testing.assert_allclose(list(_walk(make, lambda f: f)), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("make", "expected"), EXPECTED)
def test_a_compiled_rule_is_its_formula(make: Callable[[], tf.optim.Optimizer],
                                        expected: list[Array]) -> None:
    np.testing.assert_allclose(list(_walk(make, tf.jit)), expected, rtol=1e-12, atol=1e-14)


def test_adam_keeps_its_digits_in_float32() -> None:
    w = tf.Variable(START.astype(np.float32))
    optimizer = tf.optim.Adam(0.1)
    for g in GRADIENTS:
        optimizer.apply([g.astype(np.float32)], [w])
    *_, expected = _adam(0.1, 0.9, 0.999, 1e-8)
    np.testing.assert_allclose(w.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_weights_and_slots_keep_their_dtype(dtype: str) -> None:
    w = tf.Variable(START, dtype=dtype)
    optimizer = tf.optim.Adam()
    optimizer.apply([tf.ones(4, dtype)], [w])
    slots = [v for name, v in optimizer.named_variables().items() if "/" in name]
    assert {v.dtype.name for v in (w, *slots)} == {dtype}


# ---- minimize and apply

def test_minimize_gives_the_loss_before_the_step() -> None:
    w = tf.Variable([3.0, -4.0])
    optimizer = tf.optim.SGD(0.25)
    losses = [float(optimizer.minimize(lambda: tf.sum(w * w), [w])) for _ in range(3)]
    assert losses == [25.0, 25 / 4, 25 / 16]
    assert int(optimizer.iterations) == 3


def test_a_step_of_a_net_descends() -> None:
    tf.random.seed(0)
    x, y = np.eye(4, dtype=np.float32), np.array([0, 1, 0, 1])
    model = tf.nn.Sequential([tf.nn.Dense(8, "tanh"), tf.nn.Dense(2)])
    model(x)
    optimizer = tf.optim.Adam(0.05)
    losses = [float(optimizer.minimize(
        lambda: tf.losses.sparse_softmax_cross_entropy(y, model(x)), model.trainable_variables))
        for _ in range(60)]
    assert losses[-1] < 0.01 < losses[0]


def test_a_constraint_is_kept_after_each_step() -> None:
    layer = tf.nn.Dense(3, kernel_constraint=tf.constraints.max_norm(0.5))
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    layer(x)
    tf.optim.SGD(1.0).minimize(lambda: -tf.sum(layer(x)), layer.trainable_variables)
    norms = np.linalg.norm(layer.kernel.numpy(), axis=0)
    np.testing.assert_allclose(norms, 0.5, rtol=1e-6)


def test_a_variable_without_gradient_is_named_in_a_warning_and_stays() -> None:
    w, other = tf.Variable([1.0], name="used"), tf.Variable([2.0], name="unused")
    with pytest.warns(UserWarning, match="no gradient for unused"):
        tf.optim.SGD(1.0).minimize(lambda: tf.sum(w), [w, other])
    assert (float(w[0]), float(other[0])) == (0.0, 2.0)


@pytest.mark.parametrize(("gradients", "error", "says"), [
    ([None, None], ArgumentError, r"no gradient for a_name, b_name"),
    ([np.zeros(2, np.float32)], ArgumentError, "1 gradients for 2 variables"),
    ([np.zeros(2, np.float32), np.zeros(3, np.float32)], ShapeError, r"b_name: f32\[2\]"),
])
def test_gradients_that_do_not_fit_are_refused(gradients: list[Any], error: type[Exception],
                                               says: str) -> None:
    with tf.name_scope("refused"):
        variables = [tf.Variable([1.0, 2.0], name="a_name"), tf.Variable([1.0, 2.0], name="b_name")]
    with pytest.raises(error, match=says.replace("a_name", f"{variables[0].name}")
                       .replace("b_name", f"{variables[1].name}")):
        tf.optim.SGD().apply(gradients, variables)
    assert variables[0].numpy().tolist() == [1.0, 2.0]


@pytest.mark.parametrize("start", [[1j, 2.0], [1, 2]], ids=["complex", "integer"])
def test_a_variable_without_a_way_down_is_refused(start: Any) -> None:
    v = tf.Variable(start)
    with pytest.raises(DTypeError, match="SGD"):
        tf.optim.SGD().apply([tf.zeros(2, v.dtype)], [v])
    assert v.numpy().tolist() == start


def test_an_unbuilt_model_has_nothing_to_train_and_the_error_says_why() -> None:
    model = tf.nn.Dense(3)
    with pytest.raises(ArgumentError, match="call the model once"):
        tf.optim.SGD().minimize(lambda: tf.sum(model([[1.0]])), model.trainable_variables)


@pytest.mark.parametrize(("make", "says"), [
    (lambda: tf.optim.SGD(-0.1), "positive number"),
    (lambda: tf.optim.SGD(math.nan), "positive number"),
    (lambda: tf.optim.SGD(momentum=1.0), "momentum=1.0"),
    (lambda: tf.optim.SGD(nesterov=True), "give a momentum"),
    (lambda: tf.optim.Adam(beta_2=1.0), "beta_2=1.0"),
])
def test_settings_that_cannot_be_are_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        make()


# ---- learning rates

def test_a_new_learning_rate_compiles_nothing_anew() -> None:
    w, optimizer = tf.Variable([1.0]), tf.optim.SGD(0.5)

    @tf.jit
    def step(g: Any) -> Any:
        optimizer.apply([g], [w])

    step(tf.ones(1))
    optimizer.learning_rate = 0.25
    step(tf.ones(1))
    optimizer.learning_rate.assign(0.125)
    step(tf.ones(1))
    assert float(w[0]) == 1 - 0.5 - 0.25 - 0.125
    assert len(step.programs) == 1


def test_a_variable_may_be_the_learning_rate_of_two_optimizers() -> None:
    rate = tf.Variable(0.5, trainable=False)
    w = tf.Variable([1.0])
    for optimizer in (tf.optim.SGD(rate), tf.optim.SGD(rate)):
        optimizer.apply([tf.ones(1)], [w])
    assert float(w[0]) == 0.0


@pytest.mark.parametrize(("schedule", "formula"), [
    (tf.optim.schedules.piecewise_constant([2, 4], [1.0, 0.5, 0.1]),
     lambda k: 1.0 if k <= 2 else 0.5 if k <= 4 else 0.1),
    (tf.optim.schedules.exponential_decay(0.1, 3, 0.5), lambda k: 0.1 * 0.5 ** (k / 3)),
    (tf.optim.schedules.exponential_decay(0.1, 3, 0.5, staircase=True),
     lambda k: 0.1 * 0.5 ** (k // 3)),
    (tf.optim.schedules.inverse_time_decay(0.1, 3, 0.5), lambda k: 0.1 / (1 + 0.5 * k / 3)),
    (tf.optim.schedules.polynomial_decay(0.1, 5, 0.01, 2.0),
     lambda k: 0.01 + 0.09 * (1 - min(k, 5) / 5) ** 2),
    (tf.optim.schedules.cosine_decay(0.1, 5, 0.2),
     lambda k: 0.1 * (0.2 + 0.8 * (1 + math.cos(math.pi * min(k, 5) / 5)) / 2)),
    (tf.optim.schedules.warmup(0.1, 4), lambda k: 0.1 * min(k / 4, 1)),
    (tf.optim.schedules.warmup(tf.optim.schedules.inverse_time_decay(0.1, 3, 0.5), 4),
     lambda k: min(k / 4, 1) * 0.1 / (1 + 0.5 * k / 3)),
])
def test_a_schedule_is_its_formula(schedule: Callable[..., Any],
                                   formula: Callable[[int], float]) -> None:
    rates = [float(schedule(tf.asarray(k))) for k in range(8)]
    np.testing.assert_allclose(rates, [formula(k) for k in range(8)], rtol=1e-14)


def test_a_scheduled_step_is_compiled_once() -> None:
    w = tf.Variable(tf.zeros(1, "float64"))
    optimizer = tf.optim.SGD(tf.optim.schedules.exponential_decay(1.0, 1, 0.5))
    step = tf.jit(lambda g: optimizer.apply([g], [w]))
    for _ in range(4):
        step(tf.ones(1, "float64"))
    assert float(w[0]) == -(1 + 1 / 2 + 1 / 4 + 1 / 8)
    assert len(step.programs) == 1


def test_boundaries_without_a_value_each_are_refused() -> None:
    with pytest.raises(ArgumentError, match="one value more than boundaries"):
        tf.optim.schedules.piecewise_constant([1, 2], [0.1, 0.2])


# ---- what is kept

def test_slots_are_named_below_the_variables_they_belong_to() -> None:
    model = tf.nn.Dense(2, name="hidden1")
    model([[1.0]])
    optimizer = tf.optim.Adam()
    optimizer.minimize(lambda: tf.sum(model([[1.0]])), model.trainable_variables)
    assert list(optimizer.named_variables()) == [
        "iterations", "learning_rate", "hidden1/kernel/m", "hidden1/kernel/v", "hidden1/bias/m",
        "hidden1/bias/v"]
    assert optimizer.variables[2].name == "adam/hidden1/kernel/m"


def test_slots_of_variables_with_one_name_are_told_apart() -> None:
    layers = [tf.nn.Dense(1, use_bias=False, name="same") for _ in range(2)]
    optimizer = tf.optim.SGD(momentum=0.9)
    for layer in layers:
        layer([[1.0]])
    optimizer.build([layer.kernel for layer in layers])
    assert list(optimizer.named_variables())[2:] == ["same/kernel/momentum",
                                                     "same/kernel/momentum_1"]


def test_slots_made_inside_a_compiled_function_outlive_it() -> None:
    w, optimizer = tf.Variable([1.0]), tf.optim.SGD(1.0, momentum=0.5)
    step = tf.jit(lambda g: optimizer.apply([g], [w]))
    step(tf.ones(1))
    optimizer.apply([tf.ones(1)], [w])
    assert float(w[0]) == 1 - 1 - 1.5
