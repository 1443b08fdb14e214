"""How near do generated loops come to the copy bandwidth of a CUDA device?

The cases of tests/cuda_cases.py, each checked against the host, then timed on arrays already on the
device, kernels only: GB/s counts each operand and result once, beside a copy of the same size.
Without a GPU, --tiny shows by the first cases in Numba's simulator that it runs.

    python bench/gpu.py --json out.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if "--tiny" in sys.argv:
    os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import numpy as np
from numba import cuda

from cuda_cases import CASES
from tapeflow import bench as timing
from tapeflow.jit.gpu import DeviceProgram
from tapeflow.jit.trace import interpret, trace
from tapeflow.tensor import Spec

ELEMENTS = 10_000_000  # of the largest argument of a case when timed


def milliseconds(run: Callable[[], Any], seconds: float) -> float:
    """The median time of `run`, which may return before the device has finished."""

    def finished() -> None:
        run()
        cuda.synchronize()

    return 1e3 * timing.measure(finished, seconds=seconds).median


def measure(name: str, elements: int, seconds: float) -> dict[str, Any]:
    """One case: its time, its bandwidth, and that of a copy of as many bytes."""
    fn, shapes = CASES[name]
    rng = np.random.default_rng(0)
    largest = max(shapes, key=math.prod)
    scale = max(1, int((elements / max(1, math.prod(largest))) ** (1 / len(largest))))
    arrays = [rng.standard_normal([n * scale for n in s], dtype=np.float32) for s in shapes]
    graph = trace(fn, *(Spec(a.shape, a.dtype) for a in arrays), name="case")
    program = DeviceProgram(graph)
    for got, want in zip(program(*arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3, err_msg=name)
    memory = program.load(*arrays)
    nbytes = sum(v.spec.size * v.dtype.itemsize for v in (*graph.inputs, *graph.outputs))
    elapsed = milliseconds(lambda: program.run(memory), seconds)
    source, target = (cuda.device_array(max(1, nbytes // 8), np.float32) for _ in range(2))
    copy = milliseconds(lambda: target.copy_to_device(source), seconds)
    rates = {"GB/s": nbytes / elapsed / 1e6, "copy GB/s": nbytes / copy / 1e6}
    return {"case": name, "ms": elapsed, **rates}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="few, small, once, simulated")
    parser.add_argument("--json", help="also write the figures to this file")
    arguments = parser.parse_args()
    elements, seconds = (1, 0.0) if arguments.tiny else (ELEMENTS, 0.3)
    rows: list[dict[str, Any]] = []
    for name in list(CASES)[: 3 if arguments.tiny else None]:
        rows.append(measure(name, elements, seconds))
        print("  ".join(f"{k} {v:.3f}" if isinstance(v, float) else v for k, v in rows[-1].items()))
    if arguments.json:
        device = "simulator" if os.environ.get("NUMBA_ENABLE_CUDASIM") else str(cuda.gpus[0].name)
        Path(arguments.json).write_text(json.dumps({"device": device, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
