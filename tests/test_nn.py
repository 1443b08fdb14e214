"""Modules and layers: what they compute, how their variables are named, what they refuse."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import nn
from tapeflow.errors import ArgumentError, DTypeError, ShapeError, StateError
from tapeflow.jit.trace import trace
from tapeflow.nn.module import NotBuiltError
from tapeflow.tensor import Array, Spec

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)


def _mlp(**keywords: Any) -> nn.Sequential:
    layers = [nn.Dense(3, "relu", name="hidden1"), nn.Dense(2, name="outputs")]
    return nn.Sequential(layers, **keywords)


# ---- layers

def test_dense_is_activation_of_product_plus_bias() -> None:
    layer = nn.Dense(3, activation="tanh")
    y = layer(X)
    assert layer.bias is not None
    layer.bias.assign([0.5, -1.0, 2.0])
    expected = np.tanh(X @ layer.kernel.numpy() + np.array([0.5, -1.0, 2.0], np.float32))
    np.testing.assert_allclose(layer(X).numpy(), expected, rtol=1e-6)
    assert y.shape == (5, 3)


def test_dense_without_bias_has_one_variable() -> None:
    layer = nn.Dense(3, use_bias=False)
    np.testing.assert_allclose(layer(X).numpy(), X @ layer.kernel.numpy(), rtol=1e-5)
    assert len(layer.variables) == 1


def test_dense_acts_on_the_last_axis_of_any_number() -> None:
    layer = nn.Dense(3)
    x = X.reshape(1, 5, 4)
    np.testing.assert_allclose(layer(x).numpy()[0], layer(X).numpy(), rtol=1e-6)


def test_dense_keeps_the_dtype_of_its_input() -> None:
    layer = nn.Dense(3)
    assert layer(X.astype(np.float64)).dtype == tf.float64 == layer.kernel.dtype


def test_an_empty_batch_gives_an_empty_batch() -> None:
    model = nn.Sequential([nn.Flatten(), nn.Dense(3), nn.Dropout(0.5)])
    assert model(np.zeros((0, 2, 2), np.float32), training=True).shape == (0, 3)


def test_flatten_keeps_examples_apart() -> None:
    x = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(nn.Flatten()(x).numpy(), x.reshape(2, 12))


def test_functions_stand_among_the_layers_of_a_sequential() -> None:
    model = nn.Sequential([lambda x: x * 2.0, tf.nn.relu])
    np.testing.assert_array_equal(model(X).numpy(), np.maximum(2 * X, 0))


def test_dropout_scales_what_it_keeps_and_only_while_training() -> None:
    tf.random.seed(0)
    x = np.ones((100, 100), np.float32)
    layer = nn.Dropout(0.25)
    y = layer(x, training=True).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 5 * math.sqrt(0.25 * 0.75 / y.size)
    np.testing.assert_array_equal(layer(x).numpy(), x)


def test_training_reaches_modules_inside_and_ends_with_the_call() -> None:
    class Inner(nn.Module):
        def call(self, x: Any, *, training: bool) -> bool:
            return training

    class Outer(nn.Module):
        def __init__(self) -> None:
            self.inner = Inner()

        def call(self, x: Any) -> Any:
            return self.inner(x)

    model = Outer()
    assert [model(X, training=True), model(X), model.inner(X)] == [True, False, False]


# ---- names

class Net(nn.Module):
    """Parts in attributes, lists and dicts, some named."""

    def __init__(self) -> None:
        self.first = nn.Dense(2)
        self.second = nn.Dense(2, name="given")
        self.many = [nn.Dense(2), nn.Dense(2)]
        self.keyed = {"left": nn.Dense(2)}
        self.scale = tf.Variable([1.0, 1.0])
        self.shared = self.first

    def call(self, x: Any) -> Any:
        for layer in (self.first, self.second, *self.many, self.keyed["left"], self.shared):
            x = layer(x)
        return x * self.scale


def test_parts_are_found_in_attributes_lists_and_dicts_each_once() -> None:
    net = Net()
    net(X[:, :2])
    assert list(net.named_variables()) == [
        "scale", *(f"{layer}/{part}" for layer in ("first", "given", "dense", "dense_1", "left")
                   for part in ("kernel", "bias"))]


def test_variables_carry_the_names_that_the_model_gives_them() -> None:
    net = Net()
    net(X[:, :2])
    layers = {name: v for name, v in net.named_variables().items() if "/" in name}
    assert [v.name for v in layers.values()] == list(layers)


def test_models_built_alike_name_their_variables_alike() -> None:
    first, second = _mlp(), _mlp()
    first(X), second(X)
    assert list(first.named_variables()) == list(second.named_variables()) == [
        "hidden1/kernel", "hidden1/bias", "outputs/kernel", "outputs/bias"]
    assert second.variables[0].name == "hidden1/kernel"


def test_a_name_opens_a_scope() -> None:
    model = nn.Sequential([_mlp(name="body")], name="net")
    model(X)
    assert next(iter(model.named_variables())) == "net/body/hidden1/kernel"
    assert model.variables[0].name == "net/body/hidden1/kernel"


def test_layers_with_one_name_are_told_apart() -> None:
    model = nn.Sequential([nn.Dense(2, name="same"), nn.Dense(2, name="same")])
    model(X)
    assert list(model.named_variables())[::2] == ["same/kernel", "same_1/kernel"]
    assert [v.name for v in model.variables][::2] == ["same/kernel", "same_1/kernel"]


def test_class_names_become_names_of_layers() -> None:
    class MyBlock2D(nn.Module):
        def __init__(self) -> None:
            self.w = tf.Variable(1.0)

    assert list(nn.Sequential([MyBlock2D(), MyBlock2D()]).named_variables()) == [
        "my_block2d/w", "my_block2d_1/w"]


def test_the_graph_shows_the_scopes_of_layers() -> None:
    model = _mlp()
    graph = trace(model, Spec((5, 4), tf.float32), name="model")
    assert [(n.scope, n.prim.name) for n in graph.nodes if n.prim.name == "matmul"] == [
        ("hidden1", "matmul"), ("outputs", "matmul")]


def test_an_error_names_the_scope_of_the_layer() -> None:
    model = _mlp()
    model(X)
    with pytest.raises(ShapeError, match=r"(?s)Dense: the kernel is for 4 .*scope hidden1"):
        model(X[:, :3])


def test_a_model_may_be_called_first_inside_a_compiled_function() -> None:
    tf.random.seed(1)
    model = _mlp()
    y = tf.jit(lambda x: model(x))(tf.asarray(X))
    assert next(iter(model.named_variables())) == "hidden1/kernel" == model.variables[0].name
    np.testing.assert_allclose(y.numpy(), model(X).numpy(), rtol=1e-5, atol=1e-6)


# ---- state

def test_a_variable_before_the_first_call_says_when_it_is_made() -> None:
    with pytest.raises(NotBuiltError, match=r"(?s)hidden1\.kernel.*call the model once"):
        nn.Dense(3, name="hidden1").kernel.numpy()


def test_a_deleted_variable_is_named() -> None:
    layer = nn.Dense(3, name="hidden1")
    layer(X)
    del layer.kernel
    with pytest.raises(StateError, match="deleted"):
        layer(X)


def test_an_unknown_attribute_is_an_attribute_error() -> None:
    assert not hasattr(nn.Dense(3), "colour")


def test_freezing_keeps_variables_from_training_and_unfreezing_brings_back_only_those() -> None:
    net = Net()
    net(X[:, :2])
    net.scale.trainable = False
    net.first.freeze()
    assert len(net.trainable_variables) == len(net.variables) - 3
    net.freeze()
    assert net.trainable_variables == []
    net.unfreeze()
    assert len(net.trainable_variables) == len(net.variables) - 1


def test_a_layer_frozen_before_its_first_call_makes_frozen_variables() -> None:
    layer = nn.Dense(2)
    layer.freeze()
    layer(X)
    assert layer.trainable_variables == []
    layer.unfreeze()
    assert len(layer.trainable_variables) == 2


def test_tapes_see_no_frozen_variable() -> None:
    model = _mlp()
    model(X)
    model.freeze()
    with tf.GradientTape() as tape:
        loss = tf.sum(model(X))
    assert tape.gradient(loss, model.variables) == [None] * 4


def test_summary_counts_what_each_layer_holds() -> None:
    model = nn.Sequential([nn.Flatten(), nn.Dense(300, name="hidden1"),
                           nn.Dense(10, name="outputs")])
    table = model.summary(np.zeros((2, 28, 28), np.float32))
    assert [(r.name, r.outputs, r.trainable) for r in table.rows] == [
        ("flatten", "f32[2,784]", 0), ("hidden1", "f32[2,300]", 784 * 300 + 300),
        ("outputs", "f32[2,10]", 3010)]
    assert str(table).splitlines()[-1] == "238,510 trainable, 0 frozen"


def test_penalties_are_those_of_the_present_weights_and_have_gradients() -> None:
    model = nn.Sequential([nn.Dense(3, kernel_regularizer=tf.regularizers.l2(0.1)),
                           nn.Dense(2, kernel_regularizer="l1"), nn.Dense(1)])
    model(X)
    first, second = (model.layers[i].kernel for i in (0, 1))
    with tf.GradientTape() as tape:
        losses = model.losses
        total = sum(losses[1:], start=losses[0])
    expected = 0.1 * (first.numpy() ** 2).sum() + 0.01 * np.abs(second.numpy()).sum()
    np.testing.assert_allclose(total.numpy(), expected, rtol=1e-5)
    np.testing.assert_allclose(tape.gradient(total, first).numpy(), 0.2 * first.numpy(), rtol=1e-5)


@pytest.mark.parametrize(("make", "error", "says"), [
    (lambda: nn.Dense(0), ArgumentError, "units is at least 1"),
    (lambda: nn.Dense(3, "rleu"), ArgumentError, "did you mean 'relu'"),
    (lambda: nn.Dense(3, kernel_initializer="he_norma"), ArgumentError, "did you mean 'he_normal'"),
    (lambda: nn.Dense(3, kernel_regularizer="weights"), ArgumentError, "use one of l1, l1_l2, l2"),
    (lambda: nn.Dense(3, kernel_constraint="min_norm"), ArgumentError, "max_norm"),
    (lambda: nn.Dense(3)(X.astype(np.int64)), DTypeError, "cast the input"),
    (lambda: nn.Dense(3)(np.float32(1.0)), ShapeError, "no features"),
    (lambda: nn.Flatten()(1.0), ShapeError, "no axis of examples"),
    (lambda: nn.Dropout(1.0), ArgumentError, "not including, 1"),
    (lambda: nn.dropout(X, -0.1), ArgumentError, "share that is dropped"),
    (lambda: nn.Sequential([3]), ArgumentError, "3 among the layers"),
    (lambda: nn.Module()(X), StateError, "define call"),
])
def test_mistakes_are_refused(make: Callable[[], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


# ---- initializers, regularizers, constraints

@pytest.mark.parametrize(("name", "variance"), [
    ("glorot_uniform", 2 / 500), ("glorot_normal", 2 / 500), ("he_uniform", 2 / 200),
    ("he_normal", 2 / 200), ("lecun_normal", 1 / 200),
    ("truncated_normal", 0.05**2 * 0.87962566**2), ("normal", 0.05**2),
    ("uniform", 0.1**2 / 12), ("variance_scaling", 1 / 200),
])
def test_an_initializer_has_its_variance(name: str, variance: float) -> None:
    tf.random.seed(0)
    values = tf.initializers.get(name)((200, 300), tf.float32).numpy().astype(float)
    assert abs(values.var() / variance - 1) < 0.05
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)


def test_glorot_uniform_stays_within_its_limit() -> None:
    limit = math.sqrt(6 / 500)
    values = tf.initializers.glorot_uniform()((200, 300)).numpy()
    assert 0.999 * limit < np.abs(values).max() <= limit


def test_each_tap_of_a_filter_counts_as_an_input() -> None:
    assert tf.initializers.fans((3, 5, 2, 7)) == (30.0, 105.0)
    assert tf.initializers.fans((4,)) == (4.0, 4.0)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (2, 3, 4)])
def test_orthogonal_weights_are_orthonormal(shape: tuple[int, ...]) -> None:
    w = tf.initializers.orthogonal(2.0)(shape, tf.float64).numpy().reshape(-1, shape[-1]) / 2
    gram = w.T @ w if w.shape[0] >= w.shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_an_initializer_may_be_a_name_a_factory_or_any_function() -> None:
    given = ["ones", tf.initializers.ones, tf.initializers.ones(),
             lambda shape, dtype: tf.ones(shape)]
    layers = [nn.Dense(2, kernel_initializer=init) for init in given]
    assert all((layer(X), layer.kernel.numpy().sum())[1] == 8 for layer in layers)


def test_the_seed_decides_the_first_weights() -> None:
    def weights() -> Array:
        tf.random.seed(5)
        model = _mlp()
        model(X)
        return model.variables[0].numpy()

    np.testing.assert_array_equal(weights(), weights())


def test_unknown_distributions_are_refused() -> None:
    with pytest.raises(ArgumentError, match='mode "fan_in"'):
        tf.initializers.variance_scaling(mode="fan")   # type: ignore[arg-type]


def test_l1_l2_is_the_sum_of_both() -> None:
    penalty = tf.regularizers.l1_l2(0.5, 0.25)([1.0, -2.0])
    assert float(penalty) == 0.5 * 3 + 0.25 * 5


def test_max_norm_of_weights_that_are_zero_has_a_gradient() -> None:
    project = tf.constraints.max_norm(2.0)
    gradient = tf.grad(lambda w: tf.sum(project(w)))(tf.zeros((3, 2)))
    np.testing.assert_array_equal(gradient.numpy(), np.ones((3, 2)))


def test_max_norm_shortens_only_what_is_too_long() -> None:
    w = np.array([[3.0, 0.3, 0.0], [4.0, 0.4, 0.0]])
    expected = np.array([[1.2, 0.3, 0.0], [1.6, 0.4, 0.0]])
    np.testing.assert_allclose(tf.constraints.max_norm(2.0)(w).numpy(), expected, rtol=1e-12)


# ---- losses and metrics

P = np.array([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]])
Y = np.array([[1.0, 0.0, 0.25], [0.0, 1.0, 0.3]])
_LOG_SOFTMAX = P - np.log(np.exp(P).sum(-1, keepdims=True))
_SIGMOID = 1 / (1 + np.exp(-P))


@pytest.mark.parametrize(("loss", "labels", "expected"), [
    ("mean_squared_error", Y, ((P - Y) ** 2).mean()),
    ("mean_absolute_error", Y, np.abs(P - Y).mean()),
    ("huber", Y, np.where(np.abs(P - Y) <= 1, (P - Y) ** 2 / 2, np.abs(P - Y) - 0.5).mean()),
    ("sparse_softmax_cross_entropy", np.array([0, 2]), -_LOG_SOFTMAX[[0, 1], [0, 2]].mean()),
    ("softmax_cross_entropy", Y, -(Y * _LOG_SOFTMAX).sum(-1).mean()),
    ("sigmoid_cross_entropy", Y, -(Y * np.log(_SIGMOID) + (1 - Y) * np.log(1 - _SIGMOID)).mean()),
])
def test_a_loss_is_the_mean_of_its_formula(loss: str, labels: Array, expected: float) -> None:
    np.testing.assert_allclose(getattr(tf.losses, loss)(labels, P).numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("label", [-1, 3, 7])
def test_the_compiled_loss_of_a_label_that_is_no_class_is_infinite(label: int) -> None:
    loss = tf.jit(tf.nn.sparse_softmax_cross_entropy)(np.array([0, label]), P).numpy()
    np.testing.assert_allclose(loss, [-_LOG_SOFTMAX[0, 0], np.inf], rtol=1e-6)


def test_targets_that_would_broadcast_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"targets f64\[2\], predictions f64\[2,1\]"):
        tf.losses.mean_squared_error(np.zeros(2), np.zeros((2, 1)))


def test_accuracy_gathers_over_batches() -> None:
    accuracy = tf.metrics.Accuracy()
    accuracy.update_state(np.array([0, 1]), P)            # classes 0 and 2 are predicted
    accuracy.update_state(np.array([1, 1, 0]), np.array([1, 1, 1]))
    assert float(accuracy.result()) == 3 / 5
    accuracy.reset_state()
    accuracy.update_state(np.array([0]), P[:1])
    assert float(accuracy.result()) == 1.0


def test_a_metric_gathers_inside_a_compiled_function() -> None:
    mean = tf.metrics.Mean()
    update = tf.jit(lambda x: mean.update_state(x))
    update(tf.asarray([1.0, 2.0]))
    update(tf.asarray([6.0, 7.0]))
    assert float(mean.result()) == 4.0


def test_predictions_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match="one prediction for each label"):
        tf.metrics.Accuracy().update_state(np.zeros(3, np.int64), np.zeros(4, np.int64))
