"""How near does a contraction come to the bare multiply-adds of one core, and to NumPy's BLAS?

The layers of a multilayer perceptron at batch 50, forward and backward, then square products; each
packed where `plan` says so, packing included in the time. `--tiny` runs each once, small.
Recorded on a Xeon with AVX-512 whose bare multiply-adds ran at 214 to 233 GFLOP/s: 170 for
50x784x300, 150 for its weight gradient, 160 to 172 for 512³ to 2048³; OpenBLAS 122, 131, 150 to
170; MKL 147 to 157, 148, 160 to 172. 20 to 45 ms to compile.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import llvmlite
import numpy as np

from tapeflow import bench as timing
from tapeflow_kernels.cpu import choice, contraction, nest, packing
from tapeflow_kernels.cpu.contraction import Contraction, Extents, Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.ir import Module, Value
from tapeflow_kernels.cpu.tile import tile_for
from tapeflow_kernels.machine import assemble, host, load

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
# (m, k, n, A is transposed, B is transposed)
LAYERS = [
    (50, 784, 300, False, False),
    (784, 50, 300, True, False),
    (50, 300, 100, False, False),
    (300, 50, 100, True, False),
    (50, 100, 300, False, True),
    (50, 100, 10, False, False),
    (100, 50, 10, True, False),
    (50, 10, 100, False, True),
]
SQUARES = [(size, size, size, False, False) for size in (512, 1024, 2048)]


@dataclass
class Step:
    """A kernel, its argument block, its number of items, and the memory to keep alive."""

    ir: str
    block: list[int]
    items: int
    keep: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        start = time.perf_counter()
        code = assemble(self.ir, optimise=False)
        self.compiled = time.perf_counter() - start
        self.kernel = KERNEL(load(code, ["kernel"])["kernel"])
        self.memory = np.array(self.block, np.int64)
        self.address = self.memory.ctypes.data

    def run(self, start: int = 0, stop: int | None = None) -> None:
        self.kernel(start, self.items if stop is None else stop, self.address)


def aligned(*shape: int, dtype: str = "float32") -> Any:
    """Random numbers that start at a cache line."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    array = raw[start : start + size].view(dtype).reshape(shape)
    array[...] = np.random.default_rng(0).standard_normal(shape)
    return array


def peak(steps: int) -> float:
    """GFLOP/s of a loop of multiply-adds that touches no memory."""
    tile, module = tile_for("float32", 1024, host()), Module(host())
    lanes, f = tile.lanes, module.kernel("kernel")
    start, stop, args = f.parameters
    factor = lanes.broadcast(f, args)
    zeros = [f.constant(lanes.vector, "zeroinitializer")] * (tile.rows * tile.vectors)

    def step(_: Value, sums: list[Value]) -> list[Value]:
        return [lanes.multiply_add(f, factor, factor, x) for x in sums]

    for i, total in enumerate(f.loop(start, stop, step, zeros)):
        lanes.store(f, total, f.at(args, i * lanes.count, lanes.element))
    room = [0] * (tile.rows * tile.width)
    loop = Step(module.text(), room, steps)
    seconds = timing.measure(loop.run, seconds=0.2).median
    return 2 * len(zeros) * lanes.count * steps / seconds / 1e9


def steps_of(m: int, k: int, n: int, a: Any, b: Any, out: Any) -> list[Step]:
    """The kernels of one product: packing where it is planned, then the contraction."""
    size = out.itemsize
    stored = Epilogue(stores=((0, (n, 1)),))
    a_strides, b_strides = ((x.strides[0] // size, x.strides[1] // size) for x in (a, b))
    e = Extents(m, (k,))
    c = choice.plan(Contraction("float32", n, a_strides, b_strides, stored), e)
    steps, panels = [], []
    sources = (c.pack_a, contraction.packing_a(c), a, m), (c.pack_b, contraction.packing_b(c), b, n)
    for wanted, p, x, columns in sources:
        panels.append(aligned(packing.elements(p, columns, (k,))) if wanted else x)
        if wanted:
            place = x.ctypes.data, panels[-1].ctypes.data
            block = packing.arguments(p, *place, columns, ((k,), ()))
            steps.append(Step(packing.emit(p, "kernel"), block, packing.items(p, columns)))
    scratch = np.empty(contraction.scratch_bytes(c, e), np.uint8)
    addresses = [x.ctypes.data for x in (*panels, out, scratch)]
    pointers = Pointers(addresses[0], addresses[1], (), (addresses[2],), addresses[3])
    block = contraction.arguments(c, e, pointers)
    kept = (*panels, scratch)
    steps.append(Step(nest.emit(c, "kernel"), block, contraction.items(c, e), kept))
    return steps


def halves(pool: ThreadPoolExecutor, steps: list[Step]) -> None:
    """Run each kernel on two threads."""
    for step in steps:
        middle = step.items // 2
        list(pool.map(step.run, (0, middle), (middle, step.items)))


def measure(m: int, k: int, n: int, transposed: tuple[bool, bool], seconds: float) -> Any:
    """One row of the table."""
    a = aligned(k, m).T if transposed[0] else aligned(m, k)
    b = aligned(n, k).T if transposed[1] else aligned(k, n)
    out, wanted = aligned(m, n), np.matmul(a, b)
    steps = steps_of(m, k, n, a, b, out)
    ours = timing.measure(lambda: [step.run() for step in steps], seconds=seconds)
    np.testing.assert_allclose(out, wanted, rtol=1e-2, atol=1e-5 * k)
    theirs = timing.measure(lambda: np.matmul(a, b, out=wanted), seconds=seconds)
    flops = 2e-9 * m * k * n
    row = {
        "product": f"{m}x{k}x{n} {''.join('NT'[t] for t in transposed)}",
        "gflops": round(flops / ours.median, 1),
        "spread": round(ours.spread, 3),
        "numpy": round(flops / theirs.median, 1),
        "compile_ms": round(1e3 * sum(step.compiled for step in steps), 1),
    }
    if flops > 0.1:  # Python's threads start too slowly to tell about less
        with ThreadPoolExecutor(2) as pool:
            two = timing.measure(lambda: halves(pool, steps), seconds=seconds)
        row["two_threads"] = round(flops / two.median, 1)
    return row


def main(tiny: bool) -> None:
    """Print one line a product, then all of it as JSON."""
    print(f"bare multiply-adds: {peak(1000 if tiny else 1_000_000):.0f} GFLOP/s")
    rows = []
    for m, k, n, *transposed in LAYERS[-2:] if tiny else LAYERS + SQUARES:
        rows.append(measure(m, k, n, (transposed[0], transposed[1]), 0.0 if tiny else 0.5))
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()))
    versions = {"numpy": np.__version__, "llvmlite": llvmlite.__version__}
    print(json.dumps({"cpu": host().cpu, "versions": versions, "rows": rows}))


if __name__ == "__main__":
    main("--tiny" in sys.argv[1:])
