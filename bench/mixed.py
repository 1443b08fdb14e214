"""How much faster is the step of a small convolutional net in mixed precision?

5x5x32, pool, 5x5x64, pool, 1024, 10; 64 images of 28x28; Adam; one policy after the other, for what
one updates would push the other's variables out of the caches. `--tiny` runs once, with 2 images.
Beside PyTorch's autocast: RESULTS.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import config, nn


def trained(policy: str, images: tf.Tensor, labels: tf.Tensor) -> Callable[[], Any]:
    """A compiled step under a policy."""
    tf.random.seed(0)
    model = nn.Sequential(
        [
            nn.Conv2D(32, 5, padding="SAME", activation="relu"),
            nn.MaxPool2D(2),
            nn.Conv2D(64, 5, padding="SAME", activation="relu"),
            nn.MaxPool2D(2),
            nn.Flatten(),
            nn.Dense(1024, "relu"),
            nn.Dense(10),
        ]
    )
    optimizer = tf.optim.Adam(1e-3)

    @tf.jit
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.mean(nn.sparse_softmax_cross_entropy(y, model(x)))
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def run() -> Any:
        with config.policy(policy):
            return step(images, labels)

    with config.policy(policy):
        model(images)
    return run


def main(tiny: bool) -> None:
    """Print a line a policy, then all of it as JSON."""
    count, rounds = (2, 1) if tiny else (64, 60)
    rng = np.random.default_rng(0)
    images = tf.asarray(rng.standard_normal((count, 28, 28, 1)).astype("f4"))
    labels = tf.asarray(rng.integers(0, 10, count))
    rows = []
    for policy in config.POLICIES:
        run = trained(policy, images, labels)
        run()  # compiles
        times = []
        for _ in range(rounds):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        median = round(1e3 * sorted(times)[len(times) // 2], 2)
        rows.append({"policy": policy, "ms": round(1e3 * min(times), 2), "median_ms": median})
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    print(json.dumps({"threads": config.num_threads(), "rows": rows}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
