"""The contraction emitter against NumPy: shapes, strides, batches, epilogues, hosts, ranges."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tapeflow_kernels import reference
from tapeflow_kernels.cpu import contraction, nest, packing
from tapeflow_kernels.cpu.contraction import Contraction, Extents, Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.machine import assemble, load

KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
ROWS = {"float32": 3e-5, "float64": 1e-12}


def run(ir: str, items: int, block: Sequence[int], splits: Sequence[int] = ()) -> None:
    kernel = KERNEL(load(assemble(ir, optimise=False), ["kernel"])["kernel"])
    memory = np.array(block, np.int64)
    marks = sorted({0, *splits, items})
    for start, stop in itertools.pairwise(marks):
        kernel(start, stop, memory.ctypes.data)


def multiply(c: Contraction, e: Extents, a: NDArray, b: NDArray, out: NDArray) -> None:
    if c.pack_a:
        a = pack(contraction.packing_a(c), a, e.m, e)
    if c.pack_b:
        b = pack(contraction.packing_b(c), b, c.n, e)
    pointers = Pointers(a.ctypes.data, b.ctypes.data, (), (out.ctypes.data,))
    run(nest.emit(c, "kernel"), contraction.items(c, e), contraction.arguments(c, e, pointers))


def pack(p: packing.Packing, x: NDArray, n: int, e: Extents) -> NDArray:
    panels = np.full(packing.elements(p, n, e.reduce, e.batch), np.nan, p.dtype)
    block = packing.arguments(p, x.ctypes.data, panels.ctypes.data, n, (e.reduce, e.batch))
    run(packing.emit(p, "kernel"), packing.items(p, n, e.batch), block)
    return panels


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("pack_a", [False, True])
@pytest.mark.parametrize("pack_b", [False, True])
@pytest.mark.parametrize("m,k,n", [(50, 20, 37), (3, 4, 10), (0, 3, 5), (5, 0, 70), (100, 50, 64)])
def test_product_matches_numpy(
    dtype: str, pack_a: bool, pack_b: bool, m: int, k: int, n: int
) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    out, expected = np.full((m, n), np.nan, dtype), np.full((m, n), np.nan, dtype)
    stored = Epilogue(stores=((0, (n, 1)),))
    c = Contraction(dtype, n, (k, 1), (n, 1), stored, pack_a=pack_a, pack_b=pack_b)
    e = Extents(m, (k,))
    multiply(c, e, a, b, out)
    reference.contraction(c, e, a, b, stores=[expected])
    np.testing.assert_allclose(out, expected, rtol=ROWS[dtype], atol=ROWS[dtype])
