"""What do fewer bits gain in a matrix product, and what do they cost?

Each mode of tf.config.matmul_precision, and products of halves, beside exact products of float32 in
turns; errors against float64, as root mean square of that of the result, and the largest as part of
the sum of magnitudes. `--tiny` runs each once, small; `--threads 2` on so many.
Recorded on a Xeon with AMX, one thread, 1024³, ms: float32 11.5, six products 7.3, three 4.2, mode
bfloat16 1.8, bfloat16 tensors 1.5, float16 tensors 11.1. On an EPYC with AVX-512-BF16 and no AMX:
float32 20 to 24, mode bfloat16 10.6, bfloat16 tensors 10.2, float16 tensors 20. Beside PyTorch:
RESULTS.md.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import tapeflow as tf
from tapeflow import config
from tapeflow_kernels import machine

HALVES = {"float16 tensors": "float16", "bfloat16 tensors": "bfloat16"}


def multiplier(mode: str, size: int) -> Callable[[], Any]:
    """A call of a compiled product, in a mode, or of tensors of a dtype."""
    dtype = HALVES.get(mode, "float32")
    rng = np.random.default_rng(0)
    a, b = (tf.cast(rng.standard_normal((size, size)), dtype) for _ in "ab")
    multiply = tf.jit(tf.matmul)
    setting = "float32" if mode in HALVES else mode

    def run() -> Any:
        with config.matmul_precision(setting):
            return multiply(a, b)

    return run


def error(product: Any, mode: str, size: int) -> dict[str, float]:
    """The root mean square of the error, divided by that of the exact product of the same factors;
    the largest, divided by the sum of magnitudes."""
    rng, dtype = np.random.default_rng(0), HALVES.get(mode, "float32")
    a, b = (
        tf.cast(rng.standard_normal((size, size)), dtype).numpy().astype(np.float64) for _ in "ab"
    )
    exact = a @ b
    wrong = np.abs(product.numpy().astype(np.float64) - exact)
    largest = np.max(wrong / (np.abs(a) @ np.abs(b)))
    errors = {"error": np.sqrt(np.mean(wrong**2) / np.mean(exact**2)), "largest": largest}
    return {name: float(f"{value:.1e}") for name, value in errors.items()}


def thrice(run: Callable[[], Any]) -> list[float]:
    """The seconds of three calls, one after the other: the first finds its data in no cache."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main(tiny: bool, threads: int) -> None:
    """Print a line a size and mode, then all of it as JSON."""
    rounds = 1 if tiny else 10
    tf.config.set_num_threads(threads)
    rows = []
    for size in (33,) if tiny else (256, 512, 1024, 2048):
        runs = {mode: multiplier(mode, size) for mode in (*config.PRECISIONS, *HALVES)}
        times: dict[str, list[float]] = {mode: [] for mode in runs}
        errors = {mode: error(run(), mode, size) for mode, run in runs.items()}
        for _ in range(rounds):
            for mode, run in runs.items():
                times[mode] += thrice(run)
        for mode, taken in times.items():
            row = {"size": size, "mode": mode, "us": round(min(taken) * 1e6, 1)}
            row["median_us"] = round(sorted(taken)[len(taken) // 2] * 1e6, 1)
            rows.append({**row, **errors[mode]})
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    tf.config.set_num_threads(None)
    print(json.dumps({"cpu": machine.host().cpu, "numpy": np.__version__, "rows": rows}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:], int(sys.argv[-1]) if "--threads" in sys.argv[1:-1] else 1)
