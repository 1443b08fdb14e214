"""What do the 40 commonest operations cost in eager code beside PyTorch's, on 100 float32?

Each closed and with a tape open (PyTorch: on what requires a gradient), in turns of both libraries,
one thread; the least median of a turn counts. `--torch PYTHON` names a Python that has PyTorch;
`--size 1000000` gives more numbers, a square; `--tiny` runs each once.

    python bench/eager_ops.py --torch /path/to/python --json out.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

# By name: tapeflow's expression, and PyTorch's where that is another. x and y are f32[n * n], m is
# f32[n,n], c bool[n * n], i i64[n], `lib` the library.
OPS: dict[str, tuple[str, ...]] = {
    "x + y": ("x + y",),
    "x - y": ("x - y",),
    "x * y": ("x * y",),
    "x / y": ("x / y",),
    "x + 1.0": ("x + 1.0",),
    "2.0 * x": ("2.0 * x",),
    "-x": ("-x",),
    "x ** 2": ("x ** 2",),
    "abs": ("lib.abs(x)",),
    "square": ("lib.square(x)",),
    "exp": ("lib.exp(x)",),
    "log": ("lib.log(y)",),
    "sqrt": ("lib.sqrt(y)",),
    "sin": ("lib.sin(x)",),
    "tanh": ("lib.tanh(x)",),
    "sigmoid": ("lib.sigmoid(x)",),
    "relu": ("lib.relu(x)",),
    "gelu": ("lib.nn.gelu(x)", "lib.nn.functional.gelu(x)"),
    "maximum": ("lib.maximum(x, y)",),
    "clip": ("lib.clip(x, -1.0, 1.0)",),
    "where": ("lib.where(c, x, y)",),
    "x > y": ("x > y",),
    "matmul": ("m @ m",),
    "sum": ("lib.sum(x)",),
    "sum, axis": ("lib.sum(m, axis=0)",),
    "mean": ("lib.mean(x)",),
    "max": ("lib.max(x)",),
    "argmax": ("lib.argmax(x)",),
    "cumsum": ("lib.cumsum(x, axis=0)",),
    "sort": ("lib.sort(x)",),
    "softmax": ("lib.nn.softmax(m)", "lib.softmax(m, -1)"),
    "reshape": ("lib.reshape(x, (n, n))",),
    "transpose": ("m.T",),
    "expand_dims": ("lib.expand_dims(x, axis=0)", "lib.unsqueeze(x, 0)"),
    "broadcast_to": ("lib.broadcast_to(x, (n, n * n))",),
    "concat": ("lib.concat([x, y])",),
    "stack": ("lib.stack([x, y])",),
    "x[3]": ("x[3]",),
    "x[2:50]": ("x[2:50]",),
    "take": ("lib.take(x, i, axis=0)", "lib.index_select(x, 0, i)"),
    "cast": ("lib.cast(x, 'float64')", "x.to(lib.float64)"),
    "zeros": ("lib.zeros((n * n,))",),
}


def arrays(n: int) -> dict[str, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, n * n)).astype("float32")
    m = x.reshape(n, n).copy()
    return {"x": x, "y": np.abs(y) + 0.1, "m": m, "c": x > 0, "i": np.arange(n)}


def library(name: str, n: int) -> tuple[dict[str, Any], Callable[[], Any]]:
    """What expressions may name, and a context in which they are recorded."""
    if name == "torch":
        import torch

        torch.set_num_threads(1)
        given = {k: torch.from_numpy(a) for k, a in arrays(n).items()}
        return {"lib": torch, "n": n, **given}, lambda: _requiring([given[k] for k in "xym"])
    import tapeflow as tf

    given = {k: tf.asarray(a) for k, a in arrays(n).items()}

    @contextmanager
    def taped() -> Iterator[None]:
        with tf.GradientTape() as tape:
            tape.watch([given[k] for k in "xym"])
            yield

    return {"lib": tf, "n": n, **given}, taped


@contextmanager
def _requiring(tensors: list[Any]) -> Iterator[None]:
    for t in tensors:
        t.requires_grad_(True)
    yield
    for t in tensors:
        t.requires_grad_(False)


def timed(call: Callable[[int], None], context: Callable[[], Any], count: int) -> float:
    """Microseconds a call; a tape lasts for `count`."""
    found = []
    for _ in range(1 if count == 1 else 15):
        with context():
            start = time.perf_counter()
            call(count)
            found.append((time.perf_counter() - start) * 1e6 / count)
    return statistics.median(found)


def measure(name: str, size: int, tiny: bool) -> dict[str, list[float]]:
    """Closed and open, in microseconds, by operation."""
    names, recorded = library(name, math.isqrt(size))
    count = 1 if tiny else max(2, min(100, 1_000_000 // size))
    found = {}
    for op, texts in OPS.items():
        text = texts[-1] if name == "torch" else texts[0]
        scope = dict(names)
        exec(f"def call(count):\n    for _ in range(count):\n        {text}\n", scope)
        scope["call"](min(count, 20))
        found[op] = [timed(scope["call"], way, count) for way in (nullcontext, recorded)]
    return found


def in_turn(pythons: dict[str, str], size: int, tiny: bool) -> dict[str, dict[str, list[float]]]:
    """The least of some turns, by library and operation."""
    best: dict[str, dict[str, list[float]]] = {}
    flags = ["--size", str(size), *["--tiny"] * tiny]
    for _ in range(1 if tiny else 3):
        for name, python in pythons.items():
            command = [python, __file__, "--measure", name, *flags]
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            run = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
            for op, times in json.loads(run.stdout).items():
                known = best.setdefault(name, {}).get(op, times)
                best[name][op] = [min(pair) for pair in zip(known, times, strict=True)]
    return best


def main() -> None:
    """Print a line an operation, then the medians of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", help="a Python that has PyTorch")
    parser.add_argument("--json", help="a file for the figures")
    parser.add_argument("--size", type=int, default=100, help="how many numbers")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.size, arguments.tiny)))
        return
    pythons = {"tapeflow": sys.executable}
    if arguments.torch:
        pythons["torch"] = arguments.torch
    found = in_turn(pythons, arguments.size, arguments.tiny)
    ratios: list[list[float]] = []
    for op, ours in found["tapeflow"].items():
        line = f"{op:14s} {ours[0]:7.2f} {ours[1]:7.2f} us"
        if "torch" in found:
            theirs = found["torch"][op]
            ratios.append([a / b for a, b in zip(ours, theirs, strict=True)])
            line += f"  torch {theirs[0]:6.2f} {theirs[1]:6.2f}  x" + "".join(
                f" {r:5.2f}" for r in ratios[-1]
            )
        print(line)
    if ratios:
        closed, taped = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"median of the ratios: closed {closed:.2f}, with a tape {taped:.2f}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(found, file, indent=1)


if __name__ == "__main__":
    main()
