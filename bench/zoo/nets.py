"""The nets of bench/models.py in tapeflow, with an example of what each takes.

All windows are padded alike on both sides, as PyTorch's are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import nn

Array = np.ndarray[Any, Any]
EPSILON = 1e-5


@dataclass
class Net:
    """A model, what it takes, what its loss compares with, and the optimizer."""

    model: nn.Module
    x: Array
    y: Array
    optimizer: Any
    loss: Callable[[Any, Any], Any] = nn.sparse_softmax_cross_entropy


def floats(*shape: int) -> Array:
    return np.random.default_rng(1).standard_normal(shape, np.float32)


def ids(count: int, *shape: int) -> Array:
    return np.random.default_rng(2).integers(0, count, shape)


def adam() -> Any:
    return tf.optim.Adam(1e-3)


def sgd() -> Any:
    return tf.optim.SGD(0.01, momentum=0.9)


# ---- sequences


def recurrent(layer: Callable[[int], nn.Module]) -> Callable[[bool, float], Net]:
    def net(tiny: bool, rate: float) -> Net:
        batch, steps, features, units = (2, 3, 4, 8) if tiny else (32, 64, 128, 256)
        model = nn.Sequential([layer(units), nn.Dense(10)])
        return Net(model, floats(batch, steps, features), ids(10, batch), adam())

    return net


class Block(nn.Module):
    """Attention and a hidden layer of four times the width, each behind a layer norm and added."""

    def __init__(self, width: int, heads: int, rate: float) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(epsilon=EPSILON)
        self.attention = nn.MultiHeadAttention(heads, width // heads, dropout=rate)
        self.norm_2 = nn.LayerNorm(epsilon=EPSILON)
        self.hidden = nn.Dense(4 * width, "gelu")
        self.output = nn.Dense(width)
        self.dropout = nn.Dropout(rate)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        x = x + self.dropout(self.attention(self.norm_1(x)))
        return x + self.dropout(self.output(self.hidden(self.norm_2(x))))


def over(*axes: int) -> Callable[[tf.Tensor], tf.Tensor]:
    return lambda x: tf.mean(x, axis=axes)


def transformer(tiny: bool, rate: float) -> Net:
    batch, steps, width, heads, layers = (2, 3, 8, 2, 1) if tiny else (8, 128, 256, 8, 4)
    blocks = [Block(width, heads, rate) for _ in range(layers)]
    model = nn.Sequential([*blocks, over(1), nn.Dense(10)])
    return Net(model, floats(batch, steps, width), ids(10, batch), adam())


def text(tiny: bool, rate: float) -> Net:
    vocabulary, batch, steps, width = (50, 2, 3, 4) if tiny else (20_000, 128, 64, 128)
    table = nn.Embedding(vocabulary, width)
    model = nn.Sequential([table, over(1), nn.Dense(width, "relu"), nn.Dense(4)])
    return Net(model, ids(vocabulary, batch, steps), ids(4, batch), adam())


# ---- images


class Conv(nn.Module):
    """A convolution without bias, batch norm, and maybe an activation."""

    def __init__(self, layer: nn.Module, pad: int, activation: Any = nn.relu) -> None:
        super().__init__()
        self.layer, self.norm = layer, nn.BatchNorm(epsilon=EPSILON)
        layer.padding = ((pad, pad),) * len(layer.kernel_size)  # type: ignore[attr-defined]
        self.activation = activation

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = self.norm(self.layer(x))
        return y if self.activation is None else self.activation(y)


def conv(filters: int, size: int, strides: int = 1, activation: Any = nn.relu) -> Conv:
    return Conv(nn.Conv2D(filters, size, strides, use_bias=False), size // 2, activation)


def depthwise(strides: int) -> Conv:
    return Conv(nn.DepthwiseConv2D(3, strides, use_bias=False), 1, nn.relu6)


def mobile(tiny: bool, rate: float) -> Net:
    batch, side, unit = (2, 16, 4) if tiny else (8, 112, 32)
    layers: list[Any] = [conv(unit, 3, 2, nn.relu6)]
    for width, strides in [(2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), (16, 1), (16, 1)]:
        layers += [depthwise(strides), conv(width * unit, 1, activation=nn.relu6)]
    model = nn.Sequential([*layers, over(1, 2), nn.Dense(100)])
    return Net(model, floats(batch, side, side, 3), ids(100, batch), sgd())


class Residual(nn.Module):
    """Two 3x3 convolutions, and the input added."""

    def __init__(self, filters: int, strides: int, project: bool) -> None:
        super().__init__()
        self.first = conv(filters, 3, strides)
        self.second = conv(filters, 3, 1, None)
        self.short = conv(filters, 1, strides, None) if project else None

    def call(self, x: tf.Tensor) -> tf.Tensor:
        y = self.second(self.first(x))
        return nn.relu(y + (x if self.short is None else self.short(x)))


class Pool(nn.Module):
    """3x3 maxima, two apart."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return nn.max_pool(x, 3, 2, ((1, 1), (1, 1)))


def resnet(batch: int) -> Callable[[bool, float], Net]:
    def net(tiny: bool, rate: float) -> Net:
        unit, side = (4, 32) if tiny else (64, 224)
        layers: list[Any] = [conv(unit, 7, 2), Pool()]
        for stage in range(4):
            strides = 1 if stage == 0 else 2
            width = unit << stage
            layers += [Residual(width, strides, stage > 0), Residual(width, 1, False)]
        model = nn.Sequential([*layers, over(1, 2), nn.Dense(1000)])
        return Net(model, floats(batch, side, side, 3), ids(1000, batch), sgd())

    return net


def audio(tiny: bool, rate: float) -> Net:
    batch, length, unit = (2, 400, 4) if tiny else (16, 16_000, 64)
    layers: list[Any] = [Conv(nn.Conv1D(unit, 80, 4, use_bias=False), 38)]
    for width in (1, 2):
        layers += [
            lambda x: nn.max_pool(x, 4),
            Conv(nn.Conv1D(width * unit, 3, use_bias=False), 1),
        ]
    model = nn.Sequential([*layers, over(1), nn.Dense(35)])
    return Net(model, floats(batch, length, 1), ids(35, batch), adam())


def volume(tiny: bool, rate: float) -> Net:
    batch, depth, side, unit = (1, 4, 4, 4) if tiny else (4, 16, 32, 16)
    layers: list[Any] = []
    for width in (1, 2, 4):
        layers.append(Conv(nn.Conv3D(width * unit, 3, use_bias=False), 1))
        if width < 4:
            layers.append(lambda x: nn.max_pool(x, 2))
    model = nn.Sequential([*layers, over(1, 2, 3), nn.Dense(10)])
    return Net(model, floats(batch, depth, side, side, 3), ids(10, batch), adam())


def squared(y: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    return tf.mean(tf.square(found - y))


def generator(tiny: bool, rate: float) -> Net:
    batch, unit = (2, 2) if tiny else (32, 64)
    layers: list[Any] = [nn.Dense(16 * 4 * unit), lambda x: tf.reshape(x, (batch, 4, 4, 4 * unit))]
    for filters in (2 * unit, unit):
        layer = nn.Conv2DTranspose(filters, 4, 2, use_bias=False)
        layers.append(Conv(layer, 1))
    layers.append(nn.Conv2DTranspose(3, 4, 2, padding=((1, 1), (1, 1)), activation="tanh"))
    return Net(nn.Sequential(layers), floats(batch, 100), floats(batch, 32, 32, 3), adam(), squared)


class UNet(nn.Module):
    """Down by maxima and up by repeating cells, each height joined with what it was before."""

    def __init__(self, unit: int) -> None:
        super().__init__()
        widths = (unit, 2 * unit, 4 * unit)
        self.down = [nn.Sequential([conv(n, 3), conv(n, 3)]) for n in widths]
        self.up = [nn.Sequential([conv(n, 3), conv(n, 3)]) for n in widths[-2::-1]]
        self.output = nn.Conv2D(2, 1)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        kept = []
        for i, layer in enumerate(self.down):
            x = layer(nn.max_pool(x, 2) if i else x)
            kept.append(x)
        for layer, before in zip(self.up, kept[-2::-1], strict=True):
            x = layer(tf.concat([tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2), before], axis=-1))
        return self.output(x)


def unet(tiny: bool, rate: float) -> Net:
    batch, side, unit = (1, 8, 4) if tiny else (4, 96, 32)
    return Net(UNet(unit), floats(batch, side, side, 3), ids(2, batch, side, side), adam())


def mlp(tiny: bool, rate: float) -> Net:
    batch, inputs, width = (2, 5, 4) if tiny else (256, 784, 1024)
    hidden = [layer for _ in range(2) for layer in (nn.Dense(width, "relu"), nn.Dropout(rate))]
    model = nn.Sequential([*hidden, nn.Dense(10)])
    return Net(model, floats(batch, inputs), ids(10, batch), adam())


NETS: dict[str, Callable[[bool, float], Net]] = {
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "transformer": transformer,
    "text": text,
    "mlp": mlp,
    "mobile": mobile,
    "resnet-1": resnet(1),
    "resnet-8": resnet(8),
    "audio": audio,
    "volume": volume,
    "generator": generator,
    "unet": unet,
}
INFERENCE_ONLY = ("resnet-1", "resnet-8")

# ---- normalisations alone: (x, scale, offset)


def layer_norm(x: Any, scale: Any, offset: Any) -> tf.Tensor:
    return nn.layer_normalization(x, scale, offset, epsilon=EPSILON)


def rms_norm(x: Any, scale: Any, offset: Any) -> tf.Tensor:
    size = tf.mean(tf.square(x), axis=-1, keepdims=True)
    return x * tf.rsqrt(size + EPSILON) * scale + offset


def batch_norm(x: Any, scale: Any, offset: Any) -> tf.Tensor:
    mean, variance = nn.moments(x, tuple(range(x.ndim - 1)))
    return nn.batch_normalization(x, mean, variance, offset, scale, EPSILON)


def group_norm(x: Any, scale: Any, offset: Any) -> tf.Tensor:
    groups = min(8, x.shape[-1])
    apart = tf.reshape(x, (*x.shape[:-1], groups, x.shape[-1] // groups))
    mean, variance = nn.moments(apart, (*range(1, x.ndim - 1), x.ndim), keepdims=True)
    y = nn.batch_normalization(apart, mean, variance, None, None, EPSILON)
    return tf.reshape(y, x.shape) * scale + offset


NORMS = {"layer": layer_norm, "rms": rms_norm, "batch": batch_norm, "group": group_norm}
ROWS = ("1024x256", "4096x768", "512x4096")
IMAGES = ("8x56x56x64", "8x28x28x256", "32x14x14x512")
CASES = [
    *(f"{kind} {sizes}" for kind in ("layer", "rms") for sizes in ROWS),
    *(f"{kind} {sizes}" for kind in ("batch", "group") for sizes in IMAGES),
]
