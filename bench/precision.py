"""What do fewer bits gain in a matrix product, and what do they cost?

Each mode of tf.config.matmul_precision, and products of halves, beside exact products of float32 in
turns; errors against float64, as root mean square of that of the result. `--tiny` runs each once,
small.
Recorded on an EPYC with AVX-512-BF16 and no AMX, one thread, 1024³: float32 20 to 24 ms, mode
bfloat16 10.6, bfloat16 tensors 10.2, float16 tensors 20. Beside PyTorch: RESULTS.md.
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


def error(product: Any, size: int) -> float:
    """The root mean square of the error, divided by that of the exact product."""
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((size, size)) for _ in "ab")
    exact = a @ b
    wrong = product.numpy().astype(np.float64) - exact
    return float(np.sqrt(np.mean(wrong**2) / np.mean(exact**2)))


def main(tiny: bool) -> None:
    """Print a line a size and mode, then all of it as JSON."""
    rounds = 1 if tiny else 20
    tf.config.set_num_threads(1)
    rows = []
    for size in (33,) if tiny else (256, 512, 1024):
        runs = {mode: multiplier(mode, size) for mode in (*config.PRECISIONS, *HALVES)}
        times: dict[str, list[float]] = {mode: [] for mode in runs}
        errors = {mode: error(run(), size) for mode, run in runs.items()}
        for _ in range(rounds):
            for mode, run in runs.items():
                start = time.perf_counter()
                run()
                times[mode].append(time.perf_counter() - start)
        for mode, taken in times.items():
            row = {"size": size, "mode": mode, "us": round(min(taken) * 1e6, 1)}
            row["median_us"] = round(sorted(taken)[len(taken) // 2] * 1e6, 1)
            rows.append({**row, "error": float(f"{errors[mode]:.1e}")})
            print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    tf.config.set_num_threads(None)
    print(json.dumps({"cpu": machine.host().cpu, "numpy": np.__version__, "rows": rows}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
