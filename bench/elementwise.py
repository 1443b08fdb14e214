"""How near do fused elementwise ops and reductions come to a copy, and how far beyond NumPy?

A gated activation, forward and with its gradients; softmax; sums over either axis and over all; a
transposed copy. GB/s counts each array once, as a kernel that fuses everything moves it. `--tiny`
runs each once, small.
Recorded on a Xeon with AVX-512, one thread, 10^6 float32, where a copy ran at 29 GB/s: exp 28 GB/s,
gated 24 (0.67 ms; JAX 0.86, NumPy 5.3), with three gradients 28 (0.86 ms; JAX 3.1, NumPy 13.5),
softmax 0.77 ms (NumPy 3.5), sums 27 to 29 GB/s.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import bench as timing
from tapeflow_kernels import machine

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Case:
    """One question: a function, the same in NumPy, and its inputs."""

    name: str
    fn: Callable[..., Any]
    numpy: Callable[..., Any]
    inputs: tuple[Array, ...]


def gated(x: Any, a: Any, b: Any) -> Any:
    return tf.tanh(x * a + b) * tf.sigmoid(x) + x**2


def gated_in_numpy(x: Array, a: Array, b: Array) -> Array:
    return np.tanh(x * a + b) * (1 / (1 + np.exp(-x))) + x * x


def gradients_in_numpy(x: Array, a: Array, b: Array) -> tuple[Array, ...]:
    t, s = np.tanh(x * a + b), 1 / (1 + np.exp(-x))
    outer = (1 - t * t) * s
    return (t * s + x * x).sum(), outer * a + t * s * (1 - s) + 2 * x, outer * x, outer


def softmax(x: Any) -> Any:
    e = tf.exp(x - tf.max(x, axis=-1, keepdims=True))
    return e / tf.sum(e, axis=-1, keepdims=True)


def softmax_in_numpy(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def cases(size: int) -> list[Case]:
    """The questions, on arrays of size² elements."""
    rng = np.random.default_rng(0)
    x, a, b = rng.standard_normal((3, size * size), np.float32)
    m = x.reshape(size, size)
    loss = tf.value_and_grad(lambda *inputs: tf.sum(gated(*inputs)), argnums=(0, 1, 2))
    return [
        Case("exp", tf.exp, np.exp, (x,)),
        Case("gated", gated, gated_in_numpy, (x, a, b)),
        Case("gated, 3 gradients", loss, gradients_in_numpy, (x, a, b)),
        Case("softmax of rows", softmax, softmax_in_numpy, (m,)),
        Case("sum of all", tf.sum, np.sum, (x,)),
        Case("sum of each row", lambda y: tf.sum(y, axis=1), lambda y: y.sum(1), (m,)),
        Case("sum of each column", lambda y: tf.sum(y, axis=0), lambda y: y.sum(0), (m,)),
        Case("transpose + 1", lambda y: y.T + 1.0, lambda y: y.T + np.float32(1), (m,)),
    ]


def copy_speed(size: int, seconds: float) -> float:
    """GB/s of a copy of as many numbers, read and written."""
    x = np.ones(size * size, np.float32)
    y = np.empty_like(x)
    return 2 * x.nbytes / timing.measure(lambda: np.copyto(y, x), seconds=seconds).median / 1e9


def measure(case: Case, seconds: float) -> dict[str, Any]:
    """One row of the table."""
    inputs = [tf.asarray(x) for x in case.inputs]
    compiled = tf.jit(case.fn)
    start = time.perf_counter()
    found = tf.tree.flatten(compiled(*inputs))[0]
    first = time.perf_counter() - start
    expected = tf.tree.flatten(case.numpy(*case.inputs))[0]
    for y, want in zip(found, expected, strict=True):
        np.testing.assert_allclose(y.numpy(), want, rtol=1e-3, atol=1e-3)
    ours = timing.measure(lambda: compiled(*inputs), seconds=seconds)
    theirs = timing.measure(lambda: case.numpy(*case.inputs), seconds=seconds)
    return {
        "case": case.name,
        "us": round(ours.median * 1e6, 1),
        "spread": round(ours.spread, 3),
        "numpy_us": round(theirs.median * 1e6, 1),
        "gb_per_s": round(_moved(case.inputs, expected) / ours.median / 1e9, 1),
        "first_call_ms": round(first * 1e3, 1),
    }


def _moved(inputs: Sequence[Array], outputs: Sequence[Array]) -> int:
    return sum(np.asarray(x).nbytes for x in (*inputs, *outputs))


def main(tiny: bool) -> None:
    """Print one line a case and number of threads, then all of it as JSON."""
    size, seconds = (32, 0.0) if tiny else (1000, 0.3)
    print(f"copy: {copy_speed(size, seconds):.1f} GB/s, one thread")
    rows = []
    for threads in (1, 2):
        tf.config.set_num_threads(threads)
        for case in cases(size):
            rows.append({"threads": threads, **measure(case, seconds)})
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    tf.config.set_num_threads(None)
    print(json.dumps({"cpu": machine.host().cpu, "numpy": np.__version__, "rows": rows}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
