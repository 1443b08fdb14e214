"""Layers for images, ids and normalization: what they compute, learn, and refuse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
import windows
from tapeflow import nn
from tapeflow.datasets import load_digits
from tapeflow.errors import ArgumentError, DTypeError, OutOfRangeError, ShapeError

IMAGES = np.random.default_rng(0).standard_normal((3, 7, 6, 4)).astype(np.float32)
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "conv2d": lambda: nn.Conv2D(4, 3, 2, "SAME", groups=2, activation="relu"),
    "transpose": lambda: nn.Conv2DTranspose(4, 3, 2),
    "depthwise": lambda: nn.DepthwiseConv2D(3, depth_multiplier=2),
    "separable": lambda: nn.SeparableConv2D(5, 3),
    "max_pool": lambda: nn.MaxPool2D(),
    "avg_pool": lambda: nn.AvgPool2D(3, 1, "SAME"),
    "global_avg_pool": lambda: nn.GlobalAvgPool2D(),
    "batch_norm": lambda: nn.BatchNorm(),
    "layer_norm": lambda: nn.LayerNorm(),
    "local_response_norm": lambda: nn.LocalResponseNorm(2),
    "prelu": lambda: nn.PReLU("ones", shared_axes=(1, 2)),
    "rrelu": lambda: nn.RReLU(),
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())


def check_close(y: Any, expected: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(y.numpy(), expected, rtol=tolerance, atol=tolerance)


@every_layer
def test_a_compiled_layer_gives_what_it_gives_eagerly(make: Callable[[], nn.Module]) -> None:
    layer = make()
    eager = layer(IMAGES)
    check_close(tf.jit(lambda x: layer(x))(IMAGES), eager.numpy())
    assert all(v.dtype == tf.float32 for v in layer.variables)


@every_layer
def test_an_empty_batch_gives_an_empty_batch(make: Callable[[], nn.Module]) -> None:
    layer = make()
    shape = layer(IMAGES).shape
    assert layer(IMAGES[:0], training=True).shape == (0, *shape[1:])
    assert all(np.isfinite(v.numpy()).all() for v in layer.variables)


@every_layer
def test_a_layer_keeps_the_dtype_of_its_input(make: Callable[[], nn.Module]) -> None:
    layer = make()
    y = layer(IMAGES.astype(np.float64), training=True)
    assert {y.dtype, *(v.dtype for v in layer.variables)} == {np.dtype(np.float64)}


# ---- convolutions


def test_conv2d_is_activation_of_convolution_plus_bias() -> None:
    layer = nn.Conv2D(6, (3, 2), (2, 1), "SAME", (1, 2), groups=2, activation="tanh")
    layer(IMAGES)
    assert layer.bias is not None and layer.kernel.shape == (3, 2, 2, 6)
    layer.bias.assign(np.arange(6, dtype=np.float32) / 6)
    sums = windows.conv(IMAGES, layer.kernel.numpy(), (2, 1), "SAME", (1, 2), 2)
    check_close(layer(IMAGES), np.tanh(sums + layer.bias.numpy()))


def test_conv2d_does_not_pad_by_default() -> None:
    assert nn.Conv2D(2, 3)(IMAGES).shape == (3, 5, 4, 2)


@pytest.mark.parametrize(
    ("layer", "shape", "result"),
    [(nn.Conv1D, (2, 8, 3), (2, 6, 5)), (nn.Conv3D, (2, 4, 5, 6, 3), (2, 2, 3, 4, 5))],
    ids=["1d", "3d"],
)
def test_sequences_and_volumes_have_layers_too(layer: Any, shape: Any, result: Any) -> None:
    made = layer(5, 3, use_bias=False)
    x = np.random.default_rng(1).standard_normal(shape)
    assert made(x).shape == result and len(made.variables) == 1
    check_close(made(x), windows.conv(x, made.kernel.numpy(), padding="VALID"))


def test_a_transposed_layer_undoes_the_sizes_of_its_convolution() -> None:
    layer = nn.Conv2DTranspose(2, 3, (2, 3), padding="SAME")
    y = layer(IMAGES)
    assert y.shape == (3, 14, 18, 2) and layer.kernel.shape == (3, 3, 2, 4)
    check_close(y, windows.conv_transpose(IMAGES, layer.kernel.numpy(), (14, 18), (2, 3), "SAME"))


def test_a_separable_layer_is_a_depthwise_one_and_a_mixing() -> None:
    layer = nn.SeparableConv2D(5, 3, depth_multiplier=2, kernel_regularizer="l2")
    y = layer(IMAGES)
    depthwise = nn.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)
    depthwise(IMAGES)
    depthwise.kernel.assign(layer.depthwise_kernel.numpy())
    check_close(y, depthwise(IMAGES).numpy() @ layer.pointwise_kernel.numpy()[0, 0])
    squares = [np.square(k.numpy()).sum() for k in layer.kernels]
    assert [loss.item() for loss in layer.losses] == pytest.approx([0.01 * s for s in squares])


def test_a_constraint_holds_for_filters() -> None:
    limit = tf.constraints.max_norm(0.1, axis=(0, 1, 2))
    layer = nn.Conv2D(2, 3, kernel_constraint=limit)
    layer(IMAGES)
    tf.optim.SGD(0.1).minimize(lambda: tf.sum(layer(IMAGES)), layer.trainable_variables)
    norms = np.sqrt(np.square(layer.kernel.numpy()).sum((0, 1, 2)))
    assert (norms <= 0.1001).all()


REFUSED: dict[str, tuple[type[Exception], Callable[[], object]]] = {
    "no filters": (ArgumentError, lambda: nn.Conv2D(0, 3)),
    "no window": (ArgumentError, lambda: nn.Conv2D(2, 0)),
    "window of another rank": (ArgumentError, lambda: nn.Conv2D(2, (3, 3, 3))),
    "strides": (ArgumentError, lambda: nn.Conv2D(2, 3, -1)),
    "dilation": (ArgumentError, lambda: nn.Conv2D(2, 3, dilation_rate=0)),
    "multiplier": (ArgumentError, lambda: nn.DepthwiseConv2D(3, depth_multiplier=0)),
    "activation": (ArgumentError, lambda: nn.Conv2D(2, 3, activation="relo")),
    "groups": (ArgumentError, lambda: nn.Conv2D(4, 3, groups=3)(IMAGES)),
    "groups of outputs": (ArgumentError, lambda: nn.Conv2DTranspose(5, 3, groups=2)(IMAGES)),
    "no batch": (ShapeError, lambda: nn.Conv2D(2, 3)(IMAGES[0])),
    "small images": (ShapeError, lambda: nn.Conv2D(2, 9)(IMAGES)),
    "integers": (DTypeError, lambda: nn.Conv2D(2, 3)(IMAGES.astype(int))),
    "padding": (ArgumentError, lambda: nn.Conv2D(2, 3, padding="valid")(IMAGES)),
    "pool size": (ArgumentError, lambda: nn.MaxPool2D(0)),
    "pool of vectors": (ShapeError, lambda: nn.MaxPool2D()(IMAGES[0, 0])),
    "mean of vectors": (ShapeError, lambda: nn.GlobalAvgPool2D()(IMAGES[0, 0])),
    "momentum": (ArgumentError, lambda: nn.BatchNorm(momentum=1.5)),
    "epsilon": (ArgumentError, lambda: nn.LayerNorm(epsilon=-1.0)),
    "normalized vector": (ShapeError, lambda: nn.BatchNorm()(IMAGES[0, 0, 0])),
    "normalized integers": (DTypeError, lambda: nn.BatchNorm()(IMAGES.astype(int))),
    "axis": (OutOfRangeError, lambda: nn.LayerNorm(4)(IMAGES)),
    "no ids": (ArgumentError, lambda: nn.Embedding(0, 3)),
    "id": (OutOfRangeError, lambda: nn.Embedding(3, 2)(np.array([3]))),
    "negative id": (OutOfRangeError, lambda: nn.Embedding(3, 2)(np.array([-1]))),
    "id compiled": (OutOfRangeError, lambda: tf.jit(nn.Embedding(3, 2))(np.array([3]))),
    "negative id compiled": (OutOfRangeError, lambda: tf.jit(nn.Embedding(3, 2))(np.array([-1]))),
    "id of a float": (DTypeError, lambda: nn.Embedding(3, 2)(np.array([1.0]))),
    "no heads": (ArgumentError, lambda: nn.MultiHeadAttention(0, 3)),
    "vectors that attend": (ShapeError, lambda: nn.MultiHeadAttention(2, 3)(SEQUENCES[0, 0])),
    "slopes": (ArgumentError, lambda: nn.RReLU(0.5, 0.2)),
    "slope of integers": (DTypeError, lambda: nn.PReLU()(IMAGES.astype(int))),
}


@pytest.mark.parametrize(("error", "attempt"), REFUSED.values(), ids=REFUSED.keys())
def test_what_does_not_fit_is_refused(error: Any, attempt: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        attempt()
    assert caught.value.fix and "test_nn_layers.py" in caught.value.at


@pytest.mark.parametrize("layer", [nn.BatchNorm(), nn.LayerNorm()])
def test_other_features_than_the_first_are_refused_and_change_nothing(layer: nn.Module) -> None:
    layer(IMAGES)
    before = [v.numpy() for v in layer.variables]
    for x in (IMAGES[..., :1], IMAGES[..., 0]):
        with pytest.raises(ShapeError, match=rf"{type(layer).__name__}: its scales are for \[4\]"):
            layer(x, training=True)
    np.testing.assert_equal([v.numpy() for v in layer.variables], before)


def test_a_layer_refused_its_input_is_not_built_yet() -> None:
    layer = nn.Conv2D(4, 3, groups=2)
    with pytest.raises(ArgumentError):
        layer(IMAGES[..., :3])
    assert layer(IMAGES).shape == (3, 5, 4, 4)


# ---- pooling


def test_pools_take_windows_side_by_side_by_default() -> None:
    largest = windows.pool(lambda v: v.max(0), IMAGES, 2, None, "VALID")
    check_close(nn.MaxPool2D()(IMAGES), largest, 0)
    mean = windows.pool(lambda v: v.mean(0), IMAGES, (3, 2), None, "SAME")
    check_close(nn.AvgPool2D((3, 2), padding="SAME")(IMAGES), mean)
    check_close(nn.GlobalAvgPool2D()(IMAGES), IMAGES.mean((1, 2)))
    assert nn.GlobalAvgPool2D(keepdims=True)(IMAGES).shape == (3, 1, 1, 4)


# ---- normalization


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_batch_norm_uses_the_batch_and_moves_its_moments_while_training(compiled: bool) -> None:
    layer = nn.BatchNorm(momentum=0.9)
    layer(IMAGES)
    run = (
        tf.jit(lambda x: layer(x, training=True))
        if compiled
        else (lambda x: layer(x, training=True))
    )
    mean, variance = IMAGES.mean((0, 1, 2)), IMAGES.var((0, 1, 2))
    for _ in range(2):
        check_close(run(IMAGES), (IMAGES - mean) / np.sqrt(variance + 1e-3))
    check_close(layer.moving_mean, 0.19 * mean)
    check_close(layer.moving_variance, 0.81 + 0.19 * variance)
    moved = (IMAGES - 0.19 * mean) / np.sqrt(0.81 + 0.19 * variance + 1e-3)
    check_close(layer(IMAGES), moved)


def test_batch_norm_has_moments_that_are_not_trained() -> None:
    layer = nn.BatchNorm(name="norm")
    layer(IMAGES)
    assert list(layer.named_variables()) == [
        f"norm/{part}" for part in ("gamma", "beta", "moving_mean", "moving_variance")
    ]
    assert layer.trainable_variables == [layer.gamma, layer.beta]
    bare = nn.BatchNorm(center=False, scale=False)
    bare(IMAGES)
    assert bare.trainable_variables == [] and len(bare.variables) == 2


def test_a_frozen_batch_norm_keeps_its_moments() -> None:
    layer = nn.BatchNorm()
    expected = layer(IMAGES).numpy()
    layer.freeze()
    check_close(layer(IMAGES, training=True), expected)
    assert not layer.moving_mean.numpy().any()
    layer.unfreeze()
    layer(IMAGES, training=True)
    assert layer.moving_mean.numpy().any()


def test_batch_norm_of_another_axis_is_that_of_the_transposed() -> None:
    x = IMAGES.transpose(0, 3, 1, 2)
    first, last = nn.BatchNorm(axis=1), nn.BatchNorm()
    y = first(x, training=True)
    check_close(y, last(IMAGES, training=True).numpy().transpose(0, 3, 1, 2))
    check_close(first.moving_variance, last.moving_variance.numpy())


def test_gradients_flow_through_the_moments_of_the_batch() -> None:
    """Moving all of a feature changes nothing, so its gradients add up to 0."""
    layer = nn.BatchNorm()
    weights = np.random.default_rng(2).standard_normal(IMAGES.shape).astype(np.float32)
    gradient = tf.grad(lambda x: tf.sum(layer(x, training=True) * weights))(tf.asarray(IMAGES))
    assert np.abs(gradient.numpy()).max() > 0.1
    check_close(tf.sum(gradient, (0, 1, 2)), np.zeros(4), 1e-4)


def test_layer_norm_brings_each_example_to_one_scale() -> None:
    layer = nn.LayerNorm(axis=(1, -1))
    y = layer(IMAGES)
    assert layer.gamma is not None and layer.beta is not None and layer.gamma.shape == (7, 4)
    normal = (IMAGES - IMAGES.mean((1, 3), keepdims=True)) / np.sqrt(
        IMAGES.var((1, 3), keepdims=True) + 1e-3
    )
    check_close(y, normal)
    scale = np.arange(28, dtype=np.float32).reshape(7, 4)
    layer.gamma.assign(scale)
    layer.beta.assign(-scale)
    check_close(layer(IMAGES), normal * scale[:, None] - scale[:, None], 1e-4)


# ---- tables and rectifiers


def test_an_embedding_looks_up_rows_and_learns_only_those() -> None:
    layer = nn.Embedding(5, 3)
    ids = np.array([[0, 4], [4, 4]])
    y = layer(ids)
    np.testing.assert_array_equal(y.numpy(), layer.embeddings.numpy()[ids])
    with tf.GradientTape() as tape:
        loss = tf.sum(layer(ids))
    gradient = tape.gradient(loss, layer.embeddings)
    np.testing.assert_array_equal(gradient.numpy()[:, 0], [1, 0, 0, 0, 3])


def test_prelu_learns_a_slope_for_each_feature_that_is_not_shared() -> None:
    layer = nn.PReLU(shared_axes=(1, 2))
    layer(IMAGES)
    assert layer.alpha.shape == (1, 1, 4)
    alpha = np.array([0.0, 0.5, 1.0, -1.0], np.float32).reshape(1, 1, 4)
    layer.alpha.assign(alpha)
    check_close(layer(IMAGES), np.where(IMAGES > 0, IMAGES, alpha * IMAGES))
    with tf.GradientTape() as tape:
        loss = tf.sum(layer(IMAGES))
    gradient = tape.gradient(loss, layer.alpha)
    check_close(gradient[0, 0], np.minimum(IMAGES, 0).sum((0, 1, 2)))


TABLES: dict[str, Callable[[Any, Any], nn.Module]] = {
    "embedding": lambda l2, limit: nn.Embedding(
        6, 3, "ones", embeddings_regularizer=l2, embeddings_constraint=limit
    ),
    "prelu": lambda l2, limit: nn.PReLU("ones", alpha_regularizer=l2, alpha_constraint=limit),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES.keys())
def test_a_table_has_a_penalty_and_keeps_its_limit(make: Any) -> None:
    layer = make("l2", tf.constraints.max_norm(0.1, axis=(0, 1)))
    x = np.array([[0, 1], [2, 3]]) if isinstance(layer, nn.Embedding) else IMAGES[:, 0]
    layer(x)
    (table,) = layer.variables
    assert layer.losses[0].item() == pytest.approx(0.01 * table.size)
    tf.optim.SGD(0.1).minimize(lambda: tf.sum(layer(x)), [table])
    assert (np.sqrt(np.square(table.numpy()).sum((0, 1))) <= 0.1001).all()


def test_rrelu_draws_slopes_while_training_and_takes_their_mean_else() -> None:
    x = -np.ones((100, 100), np.float32)
    layer = nn.RReLU(0.2, 0.4)
    tf.random.seed(0)
    slopes = -layer(x, training=True).numpy()
    assert slopes.min() >= 0.2 and slopes.max() <= 0.4 and slopes.std() > 0.05
    check_close(layer(x), 0.3 * x)
    check_close(layer(-x, training=True), -x, 0)


# ---- attention

SEQUENCES = np.random.default_rng(3).standard_normal((2, 5, 6)).astype(np.float32)


def attention_by_heads(layer: nn.MultiHeadAttention, q: Any, v: Any, mask: Any = None) -> Any:
    """One head after another, example by example."""

    def through(dense: nn.Dense, x: Any) -> Any:
        bias = 0 if dense.bias is None else dense.bias.numpy()
        return x @ dense.kernel.numpy() + bias

    found = []
    for i in range(len(q)):
        parts = []
        for h in range(layer.num_heads):
            one = slice(h * layer.key_dim, (h + 1) * layer.key_dim)
            other = slice(h * layer.value_dim, (h + 1) * layer.value_dim)
            scores = through(layer.query, q[i])[:, one] @ through(layer.key, v[i])[:, one].T
            e = np.exp(scores / np.sqrt(layer.key_dim))
            e = e if mask is None else e * mask[i]
            parts.append(e / e.sum(-1, keepdims=True) @ through(layer.value, v[i])[:, other])
        found.append(through(layer.output, np.concatenate(parts, -1)))
    return np.stack(found)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_heads_attend_side_by_side(compiled: bool) -> None:
    layer = nn.MultiHeadAttention(3, 4, value_dim=2, kernel_initializer="he_normal")
    values = np.random.default_rng(4).standard_normal((2, 7, 3)).astype(np.float32)
    y = layer(SEQUENCES, values)
    assert layer.query.bias is not None
    layer.query.bias.assign(np.linspace(-1, 1, 12, dtype=np.float32))
    run = tf.jit(lambda q, v: layer(q, v)) if compiled else layer
    assert y.shape == SEQUENCES.shape
    check_close(run(SEQUENCES, values), attention_by_heads(layer, SEQUENCES, values), 1e-4)


def test_a_mask_holds_for_all_heads_of_an_example() -> None:
    layer = nn.MultiHeadAttention(2, 3)
    layer(SEQUENCES)
    mask = np.random.default_rng(5).random((2, 5, 5)) < 0.6
    mask |= np.eye(5, dtype=bool)
    expected = attention_by_heads(layer, SEQUENCES, SEQUENCES, mask)
    check_close(layer(SEQUENCES, mask=mask), expected, 1e-4)
    causal = attention_by_heads(layer, SEQUENCES, SEQUENCES, np.tri(5)[None].repeat(2, 0))
    check_close(layer(SEQUENCES, is_causal=True), causal, 1e-4)


def test_attention_drops_weights_while_training_only() -> None:
    layer = nn.MultiHeadAttention(2, 3, dropout=0.5)
    tf.random.seed(0)
    y = layer(SEQUENCES).numpy()
    check_close(layer(SEQUENCES), y)
    assert np.abs(layer(SEQUENCES, training=True).numpy() - y).max() > 0.01


def test_the_parts_of_attention_have_names() -> None:
    layer = nn.MultiHeadAttention(2, 3, use_bias=False, name="attend")
    layer(SEQUENCES)
    assert list(layer.named_variables()) == [
        f"attend/{part}/kernel" for part in ("query", "key", "value", "output")
    ]


# ---- together


def test_a_small_convolutional_net_learns_the_digits() -> None:
    tf.random.seed(1)
    digits = load_digits()
    x, y = digits.scaled()[..., None], digits.labels
    model = nn.Sequential(
        [
            nn.Conv2D(8, 3, padding="SAME", activation="relu"),
            nn.MaxPool2D(),
            nn.Conv2D(16, 3, use_bias=False),
            nn.BatchNorm(momentum=0.9),
            tf.relu,
            nn.Flatten(),
            nn.Dense(10),
        ]
    )
    model(x[:1])
    optimizer = tf.optim.Adam(0.01)

    @tf.jit
    def step(images: Any, labels: Any) -> Any:
        def loss() -> Any:
            logits = model(images, training=True)
            return tf.mean(nn.sparse_softmax_cross_entropy(labels, logits))

        return optimizer.minimize(loss, model.trainable_variables)

    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(1500)
        for start in range(0, 1500, 100):
            batch = order[start : start + 100]
            step(x[batch], y[batch])
    found = tf.argmax(model(x[1500:]), axis=-1).numpy()
    assert (found == y[1500:]).mean() > 0.85  # seeds give 0.87 to 0.92


FEATURES: dict[str, Callable[[], nn.Module]] = {
    "Dense": lambda: nn.Dense(2),
    "RNN": lambda: nn.RNN(2),
    "LSTM": lambda: nn.LSTM(2),
    "GRU": lambda: nn.GRU(2),
    "MultiHeadAttention": lambda: nn.MultiHeadAttention(2, 3),
}


@pytest.mark.parametrize("kind", FEATURES)
def test_another_number_of_features_is_refused_by_the_layer(kind: str) -> None:
    layer = FEATURES[kind]()
    layer(tf.ones((2, 3, 4)))
    for call in (layer, tf.jit(lambda x: layer(x))):
        with pytest.raises(ShapeError, match=rf"{kind}: the kernel.* is for 4 features, not 5"):
            call(tf.ones((2, 3, 5)))


def test_attention_says_which_input_has_other_features() -> None:
    layer = nn.MultiHeadAttention(2, 3)
    layer(tf.ones((2, 3, 4)))
    with pytest.raises(ShapeError, match="the kernel of key is for 4 features, not 5"):
        layer(tf.ones((2, 3, 4)), tf.ones((2, 3, 5)))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_sequence_without_batch_is_refused_later_too(kind: str) -> None:
    layer = FEATURES[kind]()
    layer(tf.ones((2, 3, 4)))
    with pytest.raises(ShapeError, match=f"{kind}: the input has 2 axes, not 3"):
        layer(tf.ones((3, 4)))
