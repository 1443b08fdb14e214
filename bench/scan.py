"""Does a loop by tf.scan run as fast as the same loop unrolled, and compile once for any length?

An LSTM cell, forward alone, and with its gradients; batch 32, 128 units, 64 steps. The first call
includes tracing, and compiling where the cache has nothing. `--tiny` runs each once, small.
Recorded on a Zen 4, one thread, ms: with gradients by scan 15.0 to 15.9, unrolled 16.2 to 16.9, by
JAX's lax.scan 20.6; forward 5.93, 5.8 to 5.9, 6.1.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import bench as timing
from tapeflow_kernels import machine

State = tuple[tf.Tensor, tf.Tensor]


def cell(state: State, x: tf.Tensor, w: Any, u: Any, b: Any) -> State:
    h, memory = state
    enter, keep, new, leave = tf.split(x @ w + h @ u + b, 4, axis=-1)
    memory = tf.sigmoid(keep) * memory + tf.sigmoid(enter) * tf.tanh(new)
    return tf.sigmoid(leave) * tf.tanh(memory), memory


def by_scan(start: State, xs: tf.Tensor) -> Callable[..., tf.Tensor]:
    def loss(w: Any, u: Any, b: Any) -> tf.Tensor:
        def turn(state: State, x: tf.Tensor) -> tuple[State, tf.Tensor]:
            state = cell(state, x, w, u, b)
            return state, state[0]

        return tf.sum(tf.square(tf.scan(turn, start, xs)[1]))

    return loss


def unrolled(start: State, xs: tf.Tensor) -> Callable[..., tf.Tensor]:
    def loss(w: Any, u: Any, b: Any) -> tf.Tensor:
        state, losses = start, []
        for i in range(xs.shape[0]):
            state = cell(state, xs[i], w, u, b)
            losses.append(tf.sum(tf.square(state[0])))
        return tf.add_n(losses)

    return loss


def rows(steps: int, batch: int, units: int, seconds: float) -> list[dict[str, Any]]:
    """Both ways side by side, after a check that they give the same."""
    rng = np.random.default_rng(0)

    def floats(*shape: int) -> tf.Tensor:
        return tf.asarray(0.1 * rng.standard_normal(shape, np.float32))

    start, xs = (floats(batch, units),) * 2, floats(steps, batch, units)
    weights = floats(units, 4 * units), floats(units, 4 * units), floats(4 * units)
    found: list[dict[str, Any]] = []
    for what in ("forward", "with gradients"):
        results = []
        for make in (by_scan, unrolled):
            loss = make(start, xs)
            run = tf.jit(loss if what == "forward" else tf.value_and_grad(loss, (0, 1, 2)))
            began = time.perf_counter()
            results.append(tf.tree.flatten(run(*weights))[0])
            first = time.perf_counter() - began
            time_of = timing.measure(lambda run=run: run(*weights), seconds=seconds)
            row = {"steps": steps, "what": what, "way": make.__name__}
            row |= {"ms": round(time_of.median * 1e3, 2), "spread": round(time_of.spread, 3)}
            found.append(row | {"first_call_ms": round(first * 1e3)})
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-3)
    return found


def main(tiny: bool) -> None:
    """Print one line a way and number of threads, then all of it as JSON."""
    found = []
    for threads in (1, 2):
        tf.config.set_num_threads(threads)
        for row in rows(3, 4, 16, 0.0) if tiny else rows(64, 32, 128, 0.5):
            found.append({"threads": threads, **row})
            print("  ".join(f"{name} {value}" for name, value in found[-1].items()))
    tf.config.set_num_threads(None)
    print(json.dumps({"cpu": machine.host().cpu, "numpy": np.__version__, "rows": found}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
