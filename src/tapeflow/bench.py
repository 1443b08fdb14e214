"""`tapeflow bench`: what this machine reaches, beside its own limits; needs nothing but tapeflow.

Each figure is the median of repeated timings after warming up, with their spread. The limits, copy
bandwidth and bare multiply-adds, are measured on the spot.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import config
from tapeflow_kernels import machine

LAYERS = (784, 300, 100, 10)


@dataclass(frozen=True)
class Timing:
    """Seconds for one call: the median, the least and the ninth decile of `count` timings."""

    median: float
    least: float
    p90: float
    count: int

    @property
    def spread(self) -> float:
        """How far the least and the ninth decile are apart, relative to the median."""
        return (self.p90 - self.least) / self.median


def measure(step: Callable[[], object], *, seconds: float = 0.5, inner: int = 1) -> Timing:
    """How long `step` takes for one of its `inner` repetitions of the work."""
    step()
    end = time.perf_counter() + 0.3 * seconds
    while time.perf_counter() < end:
        step()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append((time.perf_counter() - start) / inner)
    times.sort()
    return Timing(statistics.median(times), times[0], times[int(0.9 * len(times))], len(times))


@dataclass(frozen=True)
class Row:
    """A line of the table: `work` is flops or bytes, for a rate."""

    name: str
    timing: Timing
    work: float = 0.0
    unit: str = ""  # GFLOP/s or GB/s

    def __str__(self) -> str:
        rate = f"{self.work / self.timing.median / 1e9:9.1f} {self.unit}" if self.unit else ""
        spread = f"{1e6 * self.timing.least:,.2f} to {1e6 * self.timing.p90:,.2f}"
        return f"{self.name:58s} {1e6 * self.timing.median:12,.2f} us   [{spread}] {rate}"


def eager_rows(seconds: float) -> Iterator[Row]:
    """The cost of an op and of a tape, on arrays so small that nothing else counts."""
    rng = np.random.default_rng(0)
    x, a, b = (tf.asarray(rng.standard_normal(100, dtype=np.float32)) for _ in range(3))

    def adds() -> None:
        with tf.GradientTape():
            for _ in range(1000):
                x + b

    def chain(y: Any) -> Any:
        for _ in range(5):
            y = y * a
            y = y + b
        return tf.sum(y)

    def eager() -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = chain(x)
        return tape.gradient(y, x)

    compiled = tf.jit(tf.grad(chain))
    yield Row("eager a + b, 100 floats, tape open", measure(adds, seconds=seconds, inner=1000))
    yield Row("10-op chain, forward and backward, eager", measure(eager, seconds=seconds))
    yield Row("the same chain, compiled", measure(lambda: compiled(x), seconds=seconds))


def elementwise_rows(seconds: float, size: int) -> Iterator[Row]:
    """A chain with two transcendental functions, in one kernel each way."""
    rng = np.random.default_rng(1)
    args = [tf.asarray(rng.standard_normal(size, dtype=np.float32)) for _ in range(3)]

    def f(x: Any, a: Any, b: Any) -> Any:
        return tf.tanh(x * a + b) * tf.nn.sigmoid(x) + x**2

    forward = tf.jit(f)
    both = tf.jit(tf.value_and_grad(lambda *q: tf.sum(f(*q)), argnums=(0, 1, 2)))
    name = f"tanh(x*a+b)*sigmoid(x)+x**2, {size:,} floats"
    yield Row(
        name + ", forward", measure(lambda: forward(*args), seconds=seconds), 16.0 * size, "GB/s"
    )
    yield Row(
        name + ", and backward", measure(lambda: both(*args), seconds=seconds), 24.0 * size, "GB/s"
    )


def step_rows(seconds: float, batches: tuple[int, ...]) -> Iterator[Row]:
    """A training step of a multilayer perceptron, forward, backward and update in one program."""
    weights = sum(n * m for n, m in itertools.pairwise(LAYERS))
    for batch in batches:
        for make in (tf.optim.SGD, tf.optim.Adam):
            step = training_step(batch, make(0.001))
            flops = 2.0 * batch * (3 * weights - LAYERS[0] * LAYERS[1])
            yield Row(
                f"training step 784-300-100-10, batch {batch}, {make.__name__}",
                measure(step, seconds=seconds),
                flops,
                "GFLOP/s",
            )


def training_step(batch: int, optimizer: Any) -> Callable[[], object]:
    """One compiled step on random digits."""
    rng = np.random.default_rng(2)
    x = tf.asarray(rng.standard_normal((batch, LAYERS[0]), dtype=np.float32))
    y = tf.asarray(rng.integers(0, LAYERS[-1], batch))
    model = tf.nn.Sequential(
        [*(tf.nn.Dense(n, "relu") for n in LAYERS[1:-1]), tf.nn.Dense(LAYERS[-1])]
    )
    model(x)
    variables = model.trainable_variables

    @tf.jit
    def step(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.mean(tf.nn.sparse_softmax_cross_entropy(y, model(x)))
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return lambda: step(x, y)


def matmul_rows(seconds: float, sizes: tuple[tuple[int, int, int], ...]) -> Iterator[Row]:
    """Products of matrices."""
    rng = np.random.default_rng(3)
    product = tf.jit(lambda a, b: a @ b)
    for m, k, n in sizes:
        a, b = (tf.asarray(rng.standard_normal(s, dtype=np.float32)) for s in ((m, k), (k, n)))
        yield Row(
            f"matmul {m}x{k}x{n}",
            measure(lambda a=a, b=b: product(a, b), seconds=seconds),  # type: ignore[misc]
            2.0 * m * k * n,
            "GFLOP/s",
        )


def limit_rows(seconds: float, size: int) -> Iterator[Row]:
    """What the machine can do at most."""
    source = np.ones(size, np.float32)
    target = np.empty_like(source)
    yield Row(
        f"limit: copy of {size:,} floats",
        measure(lambda: np.copyto(target, source), seconds=seconds),
        8.0 * size,
        "GB/s",
    )


def rows(tiny: bool = False) -> Iterator[Row]:
    """All figures; `tiny` runs each once, on small data, to see that it works."""
    seconds = 0.01 if tiny else 0.5
    size = 1000 if tiny else 1_000_000
    yield from limit_rows(seconds, size)
    yield from eager_rows(seconds)
    yield from elementwise_rows(seconds, size)
    yield from step_rows(seconds, (4,) if tiny else (50, 512))
    yield from matmul_rows(
        seconds, ((8, 8, 8),) if tiny else ((50, 784, 300), (512,) * 3, (1024,) * 3)
    )


def about() -> dict[str, str]:
    """The machine and the versions that figures belong to."""
    versions = {name: metadata.version(name) for name in ("tapeflow", "numpy", "numba", "llvmlite")}
    return {
        "cpu": machine.host().cpu,
        "python": platform.python_version(),
        "threads": str(config.num_threads()),
        **versions,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tapeflow bench`."""
    parser.add_argument("--tiny", action="store_true", help="run each once, on small data")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")


def run(arguments: argparse.Namespace) -> int:
    """Print the table."""
    print("  ".join(f"{k} {v}" for k, v in about().items()))
    found = []
    for row in rows(arguments.tiny):
        print(row, flush=True)
        found.append(asdict(row))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"about": about(), "rows": found}, file, indent=1)
    return 0
