"""How near do convolutions and their gradients come to the bare multiply-adds of the cores?

The five layers of a ResNet that cost most, and some that are not like them: depthwise, dilated, in
groups, in one and in three dimensions. `--tiny` runs each once, small.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import bench as timing
from tapeflow import config
from tapeflow_kernels import limits


@dataclass(frozen=True)
class Layer:
    """x[images, *sizes, channels] by filters [*window, channels / groups, columns]."""

    images: int
    sizes: tuple[int, ...]
    channels: int
    columns: int
    window: int
    strides: int = 1
    dilations: int = 1
    groups: int = 1

    def __str__(self) -> str:
        extra = {"s": self.strides, "d": self.dilations, "g": self.groups}
        told = "".join(f" {name}{n}" for name, n in extra.items() if n > 1)
        sizes = "x".join(map(str, (*self.sizes, self.channels)))
        return f"{self.images} of {sizes} -> {self.columns} k{self.window}{told}"


LAYERS = [
    Layer(8, (56, 56), 64, 64, 3),
    Layer(8, (28, 28), 128, 128, 3),
    Layer(8, (14, 14), 256, 256, 3),
    Layer(8, (7, 7), 512, 512, 3),
    Layer(8, (224, 224), 3, 64, 7, strides=2),
    Layer(8, (56, 56), 64, 256, 1),
    Layer(8, (56, 56), 64, 64, 3, groups=64),
    Layer(8, (28, 28), 128, 128, 3, dilations=2),
    Layer(8, (28, 28), 128, 128, 3, groups=4),
    Layer(16, (1000,), 64, 128, 5),
    Layer(2, (16, 32, 32), 16, 32, 3),
]
TINY = [Layer(1, (6, 6), 3, 5, 3, strides=2), Layer(1, (5,), 4, 4, 3, groups=4)]


def measure(layer: Layer, seconds: float) -> dict[str, Any]:
    """GFLOP/s of the three, products with the zeros of the padding counted."""
    random = np.random.default_rng(0)
    window = (layer.window,) * len(layer.sizes)
    shapes = (
        (layer.images, *layer.sizes, layer.channels),
        (*window, layer.channels // layer.groups, layer.columns),
    )
    x, w = (tf.asarray(random.standard_normal(shape).astype("f4")) for shape in shapes)
    operation = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}[len(layer.sizes)]

    def forward(x: tf.Tensor, w: tf.Tensor) -> tf.Tensor:
        return operation(x, w, layer.strides, "SAME", layer.dilations, groups=layer.groups)

    y = forward(x, w)
    flops = 2e-9 * y.size * w.size / layer.columns
    compiled = (
        tf.jit(forward),
        tf.jit(lambda x, w, g: tf.vjp(lambda x: forward(x, w), x)[1](g)[0]),
        tf.jit(lambda x, w, g: tf.vjp(lambda w: forward(x, w), w)[1](g)[0]),
    )
    steps: list[Callable[[], object]] = [
        lambda: compiled[0](x, w),
        lambda: compiled[1](x, w, y),
        lambda: compiled[2](x, w, y),
    ]
    names = ("forward", "gradient of images", "gradient of filters")
    found = {
        name: round(flops / timing.measure(step, seconds=seconds).median, 1)
        for name, step in zip(names, steps, strict=True)
    }
    return {"layer": str(layer), **found}


def main(tiny: bool) -> None:
    """Print one line a layer, then all of it as JSON."""
    threads = config.num_threads()
    peak = limits.measured(threads).float32 / 1e9
    print(f"bare multiply-adds on {threads} threads: {peak:.0f} GFLOP/s")
    rows = []
    for layer in TINY if tiny else LAYERS:
        rows.append(measure(layer, 0.0 if tiny else 0.5))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    print(json.dumps({"peak": round(peak), "threads": threads, "rows": rows}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
