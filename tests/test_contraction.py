"""The contraction emitter against NumPy: shapes, strides, batches, epilogues, hosts, ranges."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from tapeflow_kernels import reference
from tapeflow_kernels.cpu import amx, choice, contraction, nest, packing
from tapeflow_kernels.cpu.contraction import Contraction, Extents, Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.halves import converts, multiplies_pairs
from tapeflow_kernels.machine import (
    AMX,
    AVX2,
    AVX512,
    AVX512_BF16,
    BASELINE,
    Host,
    amx_is_permitted,
    assemble,
    assembly,
    host,
    load,
)

Array = NDArray[Any]
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
X86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="targets x86")
PRECISIONS = ("float32", "bfloat16_6x", "bfloat16_3x", "bfloat16")
HOSTS = {"", *host().features.split(","), "-prefer-256-bit"}
# What sums are formed in, what memory holds, the products of bfloat16 terms, what multiplies them.
KINDS = [("float32", "float32", 0, ""), ("float64", "float64", 0, "")]
KINDS += [("float32", dtype, 0, "") for dtype in ("bfloat16", "float16") if converts(dtype, host())]
TERMS = [("float32", "bfloat16", 1), *(("float32", "float32", n) for n in (1, 3, 6))]
# Tiles are multiplied by a model of AMX, and by itself where this machine has it.
TILES = ["model", *["amx"] * amx.has_tiles(host())]
KINDS += [(*kind, tiles) for kind in TERMS for tiles in TILES]
if multiplies_pairs(host()):
    KINDS += [(*kind, "") for kind in TERMS]
TARGETS = [pytest.param(t, id=name, marks=X86) for t, name in ((AVX2, "avx2"), (BASELINE, "sse2"))]


@functools.cache
def kernel(ir: str, target: Host) -> Any:
    return KERNEL(load(assemble(ir, target, optimise=False), ["kernel"])["kernel"])


def run(ir: str, marks: Sequence[int], block: Sequence[int], target: Host) -> None:
    """All items from the first mark to the last, one range at a time."""
    memory = np.array(block, np.int64)
    for start, stop in itertools.pairwise(marks):
        kernel(ir, target)(start, stop, memory.ctypes.data)


def packed(p: packing.Packing, x: Array, n: int, e: Extents, target: Host) -> Array:
    panels = np.full(packing.elements(p, n, e.reduce, e.batch), np.nan, p.dtype)
    block = packing.arguments(p, x.ctypes.data, panels.ctypes.data, n, (e.reduce, e.batch))
    ir = packing.emit(packing.structure(p), "kernel", target)
    run(ir, [0, packing.items(p, n, e.batch)], block, target)
    return panels


@dataclass
class Problem:
    """A contraction with the flat memory of all that it reads and writes."""

    c: Contraction
    extents: Extents
    a: Array
    b: Array
    operands: list[Array] = field(default_factory=list)
    stores: list[Array] = field(default_factory=list)

    def solve(self, splits: Sequence[float] = (), target: Host | None = None) -> None:
        """Run the emitted code, its items split at these fractions."""
        target, c, e = target or host(), self.c, self.extents
        a = packed(contraction.packing_a(c, target), self.a, e.m, e, target) if c.pack_a else self.a
        b = packed(contraction.packing_b(c, target), self.b, c.n, e, target) if c.pack_b else self.b
        scratch = np.full(contraction.scratch_bytes(c, e, target), 255, np.uint8)
        pointers = Pointers(
            a.ctypes.data,
            b.ctypes.data,
            tuple(x.ctypes.data for x in self.operands),
            tuple(x.ctypes.data for x in self.stores),
            scratch.ctypes.data,
        )
        count = contraction.items(c, e, target)
        marks = sorted({0, count, *(int(s * count) for s in splits)})
        block = contraction.arguments(c, e, pointers, target)
        run(nest.emit(c, "kernel", target), marks, block, target)

    def expected(self) -> list[Array]:
        """What the oracle stores; where a store shares an operand's memory, so does its copy."""
        copies = {id(x): x.copy() for x in (*self.operands, *self.stores)}
        operands = [copies[id(x)] for x in self.operands]
        stores = [copies[id(x)] for x in self.stores]
        reference.contraction(self.c, self.extents, self.a, self.b, operands, stores)
        return stores

    def check_result(self, target: Host | None = None) -> None:
        expected = self.expected()
        self.solve(target=target)
        rtol = TOLERANCE[self.c.dtype]
        for out, wanted in zip(self.stores, expected, strict=True):
            np.testing.assert_allclose(out, wanted, rtol=rtol, atol=rtol)


def strides(shape: Sequence[int], order: Sequence[int], broadcast: Sequence[int] = ()) -> list[int]:
    """Element strides of a dense array whose axes lie in memory in this order."""
    steps, step = [0] * len(shape), 1
    for axis in reversed(order):
        if axis not in broadcast:
            steps[axis] = step
            step *= max(1, shape[axis])
    return steps


def memory(shape: Sequence[int], dtype: str, seed: int) -> Array:
    numbers = np.random.default_rng(seed).standard_normal(math.prod(shape))
    return numbers.astype(bfloat16 if dtype == "bfloat16" else dtype)


def product(
    m: int, k: int, n: int, dtype: str = "float32", epilogue: Epilogue | None = None, **options: Any
) -> Problem:
    """The plain product of two row-major matrices."""
    epilogue = epilogue or Epilogue(stores=((0, (n, 1)),))
    c = Contraction(dtype, n, (k, 1), (n, 1), epilogue, **options)
    stores = [memory((m, n), dtype, 2 + i) for i in range(len(epilogue.stores))]
    a, b = memory((m, k), dtype, 0), memory((k, n), dtype, 1)
    return Problem(c, Extents(m, (k,)), a, b, [], stores)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Any strides: permuted axes, broadcast batch axes, several reductions, packed or not."""
    dtype, source, products, tiles = draw(st.sampled_from(KINDS))
    batch = tuple(draw(st.lists(st.integers(1, 3), max_size=2)))
    reduce = tuple(draw(st.lists(st.integers(0, 7), min_size=1, max_size=3)))
    m, n = draw(st.integers(0, 40)), draw(st.integers(1, 80))
    pack_a, pack_b = (bool(products) or draw(st.booleans()) for _ in "ab")
    if source != dtype:
        pack_b = pack_a  # halves are packed both or none
    a_shape, b_shape, c_shape = (*batch, m, *reduce), (*batch, *reduce, n), (*batch, m, n)
    alone = st.sets(st.sampled_from(range(len(batch)))) if batch else st.just(set())
    a = strides(a_shape, draw(st.permutations(range(len(a_shape)))), list(draw(alone)))
    last = len(b_shape) - 1
    order = [*draw(st.permutations(range(last))), last]
    if pack_b:
        order = draw(st.permutations(order))
    b = strides(b_shape, order, list(draw(alone)))
    out = strides(c_shape, [*draw(st.permutations(range(len(c_shape) - 1))), len(c_shape) - 1])
    stored = Epilogue(stores=((0, tuple(out)),))
    kind = "" if source == dtype else source
    loops = len(reduce), pack_a, pack_b, kind, products, tiles
    c = Contraction(dtype, n, tuple(a), tuple(b), stored, *loops)
    x, y, z = memory(a_shape, source, 0), memory(b_shape, source, 1), memory(c_shape, dtype, 2)
    return Problem(c, Extents(m, reduce, batch), x, y, [], [z])


@settings(max_examples=60, deadline=None)
@given(problems())
def test_any_strides_give_what_numpy_gives(problem: Problem) -> None:
    problem.check_result()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [1, 10, 37, 64, 70])
def test_any_number_of_rows_has_its_tiles(dtype: str, n: int) -> None:
    for m in range(35):
        product(m, 5, n, dtype).check_result()


@pytest.mark.parametrize("pack", [False, True])
def test_an_empty_reduction_is_zero(pack: bool) -> None:
    empty = product(5, 0, 37, pack_a=pack, pack_b=pack)
    empty.solve()
    assert not empty.stores[0].any()


@settings(max_examples=25, deadline=None)
@given(problems(), st.lists(st.floats(0, 1), max_size=4))
def test_splitting_the_items_changes_no_bit(problem: Problem, splits: list[float]) -> None:
    problem.solve()
    whole = problem.stores[0].copy()
    problem.stores[0][:] = np.nan
    problem.solve(splits)
    np.testing.assert_array_equal(problem.stores[0], whole)


@pytest.mark.parametrize("packs", [{}, {"pack_a": True, "pack_b": True}])
def test_long_reductions_are_summed_in_blocks(
    packs: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "_REDUCTION_BYTES", 4096)
    monkeypatch.setattr(contraction, "_BLOCK_BYTES", 2048)
    problem = product(31, 100, 70, **packs)
    assert contraction.scratch_bytes(problem.c, problem.extents)
    problem.check_result()
    whole = problem.stores[0].copy()
    problem.solve([0.3, 0.5])
    np.testing.assert_array_equal(problem.stores[0], whole)


@pytest.mark.parametrize("pack_b", [False, True])
def test_rows_that_lie_side_by_side_are_summed_in_blocks(pack_b: bool) -> None:
    problem = product(31, 300, 70, pack_b=pack_b)
    problem.c = replace(problem.c, a=(1, 31))
    assert contraction.scratch_bytes(problem.c, problem.extents)
    problem.check_result()
    whole = problem.stores[0].copy()
    problem.solve([0.3, 0.5])
    np.testing.assert_array_equal(problem.stores[0], whole)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("packs", [{}, {"pack_a": True, "pack_b": True}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_other_hosts_give_the_same(target: Host, packs: dict[str, bool], dtype: str) -> None:
    for m, k, n in ((17, 9, 37), (6, 3, 1)):
        product(m, k, n, dtype, **packs).check_result(target)


def narrow(m: int, k: int, n: int, dtype: str, products: int = 0) -> Problem:
    """A product of matrices that memory holds as `dtype`, with bias, stored as `dtype`."""
    epilogue = Epilogue(((3, (n, 1)),), ((0, 1),), (("add", (0, 1)), (dtype, (2,))), (dtype, dtype))
    packs = {"pack_a": products > 0, "pack_b": products > 0}
    c = Contraction(
        "float32", n, (k, 1), (n, 1), epilogue, memory=dtype, products=products, **packs
    )
    out = memory((m, n), dtype, 2)
    a, b, bias = memory((m, k), dtype, 0), memory((k, n), dtype, 1), memory((n,), dtype, 3)
    return Problem(c, Extents(m, (k,)), a, b, [bias], [out])


def test_few_rows_of_halves_are_multiplied_as_they_lie() -> None:
    for m in range(1, 9):
        problem = narrow(m, 70, 300, "bfloat16", products=1)
        problem.c = choice.plan(problem.c, problem.extents)
        assert (problem.c.few_rows, problem.c.products, problem.c.pack_b) == (m, 0, False)
        expected = problem.expected()[0].astype(np.float32)
        problem.solve()
        found = problem.stores[0].astype(np.float32)
        np.testing.assert_allclose(found, expected, rtol=2.0**-7, atol=1e-6)
    many, few = (narrow(m, 70, 300, "bfloat16", products=1) for m in (9, 8))
    few.c = replace(few.c, tiles="model")
    assert choice.plan(many.c, many.extents).pack_b
    assert choice.plan(few.c, few.extents, uses=2).pack_b


@pytest.mark.parametrize("target", [*TARGETS, pytest.param(AVX512_BF16, id="bf16", marks=X86)])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_memory_may_hold_halves(target: Host, dtype: str) -> None:
    if not converts(dtype, target) or not set(target.features.split(",")) <= HOSTS:
        pytest.skip("the target, or this CPU, lacks the instructions")
    products = int(dtype == "bfloat16" and multiplies_pairs(target))
    for m, k, n in ((17, 9, 37), (6, 3, 1), (9, 40, 33)):
        problem = narrow(m, k, n, dtype, products)
        expected = problem.expected()[0].astype(np.float32)
        for packs in (True, products > 0):
            problem.c = replace(problem.c, pack_a=packs, pack_b=packs)
            problem.solve(target=target)
            found = problem.stores[0].astype(np.float32)
            step = 2.0**-7 if dtype == "bfloat16" else 2.0**-10  # of a sum next to a tie
            np.testing.assert_allclose(found, expected, rtol=step, atol=1e-6)


def test_numbers_become_bfloat16_by_rounding_to_even() -> None:
    """Ties, subnormal numbers, the largest finite one, infinities and NaN, against ml_dtypes."""
    ties = [0x3F808000, 0x3F818000, 0x3F808001, 0x00000001, 0x00018000]
    ends = [0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00001, 0x80000000, 0x7F800001]
    bits = np.array(ties + ends, np.uint32)
    x = np.ascontiguousarray(np.stack([bits.view(np.float32)] * 2))
    n = x.shape[1]
    epilogue = Epilogue(((0, (n, 1)),), memory=("bfloat16",))
    c = Contraction("float32", n, (2, 1), (n, 1), epilogue)
    out = np.zeros((1, n), bfloat16)
    with np.errstate(all="ignore"):
        Problem(c, Extents(1, (1,)), np.ones((1, 2), np.float32), x, [], [out]).solve()
        wanted = x[0].astype(bfloat16).astype(np.float32)
    np.testing.assert_array_equal(out[0].astype(np.float32), wanted)


@X86
@pytest.mark.parametrize("target", [AVX512, AVX2, BASELINE], ids=["avx512", "avx2", "sse2"])
@pytest.mark.parametrize("n", [10, 300])
def test_no_innermost_loop_touches_the_stack(target: Host, n: int) -> None:
    code = assembly(
        nest.emit(product(50, 784, n, pack_b=True).c, "kernel", target), target, optimise=False
    )
    sums = re.findall(r"^sums_\w+:.*?^\s*retq", code, re.MULTILINE | re.DOTALL)
    loops = [
        body
        for function in sums
        for label, body in re.findall(r"^(\.LBB\w+):(.*?\n\s+j\w+\s+\1)\b", function, re.M | re.S)
    ]
    assert len(loops) == len(sums) >= 2
    assert not [loop for loop in loops if "(%rsp" in loop or "(%rbp" in loop]


@pytest.mark.parametrize("m", [9, 40])
def test_a_factor_larger_than_the_cache_is_read_in_blocks_as_it_lies(m: int) -> None:
    problem = product(m, 300, 1800)
    problem.c = choice.plan(problem.c, problem.extents)
    assert not problem.c.pack_b
    assert contraction.scratch_bytes(problem.c, problem.extents) > 0
    problem.check_result()


def test_tiles_fetch_the_rows_of_the_next_where_these_lie_side_by_side() -> None:
    def fetched(rows: tuple[int, int], pack_a: bool = False) -> int:
        problem = product(64, 64, 64)
        c = replace(problem.c, a=rows, pack_a=pack_a, pack_b=True)
        return nest.emit(c, "kernel").count("@llvm.prefetch")

    assert fetched((64, 1)) == fetched((64, 1), pack_a=True) > fetched((1, 64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bias_and_relu_join_the_product(dtype: str) -> None:
    epilogue = Epilogue(
        operands=((0, 1),),
        instructions=(
            ("add", (0, 1)),
            ("maximum", (2, 0.0)),
            ("gt", (2, 0.0)),
            ("select", (4, 1.0, 0.0)),
        ),
        stores=((3, (37, 1)), (5, (37, 1))),
    )
    problem = product(29, 8, 37, dtype, epilogue)
    problem.operands = [memory((37,), dtype, 7)]
    problem.check_result()


def test_a_weight_and_its_moments_are_updated_in_place() -> None:
    """Adam: m = 0.9 m + 0.1 g, v = 0.99 v + 0.01 g², w -= rate · m / (sqrt(v) + eps)."""
    dense = (37, 1)
    epilogue = Epilogue(
        operands=(dense, dense, dense, (0, 0)),
        instructions=(
            *(("mul", (2, 0.9)), ("mul", (0, 0.1)), ("add", (5, 6))),
            *(("mul", (3, 0.99)), ("mul", (0, 0)), ("mul", (9, 0.01)), ("add", (8, 10))),
            *(("sqrt", (11,)), ("add", (12, 1e-6)), ("div", (7, 13))),
            *(("mul", (14, 4)), ("sub", (1, 15))),
        ),
        stores=((16, dense), (7, dense), (11, dense)),
    )
    problem = product(20, 8, 37, epilogue=epilogue)
    weight, first, second = memory((20, 37), "float32", 3), memory((20, 37), "float32", 4), None
    second = np.abs(memory((20, 37), "float32", 5))
    problem.operands = [weight, first, second, np.full(1, 0.01, np.float32)]
    problem.stores = [weight, first, second]
    problem.check_result()


NAMES = ["add", "sub", "mul", "div", "maximum", "minimum"]
COMPARISONS = ["eq", "ne", "lt", "le", "gt", "ge"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_each_instruction_treats_nan_as_numpy_does(dtype: str) -> None:
    first = 2
    instructions: list[tuple[str, tuple[int | float, ...]]] = [(name, (0, 1)) for name in NAMES]
    instructions += [(name, (1,)) for name in ("neg", "abs", "sqrt")]
    for name in COMPARISONS:
        condition = first + len(instructions)
        instructions += [(name, (0, 1)), ("select", (condition, 0, 2.5))]
    plain = [i for i, (name, _) in enumerate(instructions) if name not in COMPARISONS]
    epilogue = Epilogue(
        operands=((19, 1),),
        instructions=tuple(instructions),
        stores=tuple((first + i, (19, 1)) for i in plain),
    )
    problem = product(16, 3, 19, dtype, epilogue)
    other = memory((16, 19), dtype, 9)
    other[::3], other[1::7] = np.nan, np.inf
    problem.a[::5] = np.nan
    problem.operands = [other]
    with np.errstate(all="ignore"):
        problem.check_result()


def test_operands_may_be_broadcast_along_any_axis() -> None:
    batch, m, n = 3, 11, 20
    layouts = [(0, 1, 0), (m, 1, 0), (n, 0, 1), (0, 0, 0), (m * n, n, 1)]
    epilogue = Epilogue(
        operands=tuple(layouts),
        instructions=tuple(("add", (i + 5 if i else 0, i + 1)) for i in range(5)),
        stores=((10, (m * n, n, 1)),),
    )
    c = Contraction("float32", n, (m * 4, 4, 1), (0, n, 1), epilogue)
    a, b = memory((batch, m, 4), "float32", 0), memory((4, n), "float32", 1)
    sizes = [m, batch * m, batch * n, 1, batch * m * n]
    operands = [memory((size,), "float32", size) for size in sizes]
    out = memory((batch, m, n), "float32", 2)
    Problem(c, Extents(m, (4,), (batch,)), a, b, operands, [out]).check_result()


@settings(max_examples=25, deadline=None)
@given(problems())
def test_panels_are_those_of_the_oracle(problem: Problem) -> None:
    c, e = problem.c, problem.extents
    for p, x, n in (
        (contraction.packing_a(c), problem.a, e.m),
        (contraction.packing_b(c), problem.b, c.n),
    ):
        wanted = reference.packing(p, x, n, e.reduce, e.batch).ravel()
        found = packed(p, x, n, e, host())
        np.testing.assert_array_equal(found.view(np.uint8), wanted.view(np.uint8))


def test_packing_is_planned_where_it_is_needed_or_repaid() -> None:
    def plan(m: int, a: tuple[int, int], b: tuple[int, int], k: int = 784) -> tuple[bool, bool]:
        c = Contraction("float32", 300, a, b, Epilogue(stores=((0, (300, 1)),)))
        planned = choice.plan(c, Extents(m, (k,)))
        return planned.pack_a, planned.pack_b

    assert plan(50, (784, 1), (300, 1)) == (False, False)
    assert plan(50, (784, 1), (1, 784)) == (False, True)
    assert plan(5000, (784, 1), (300, 1)) == (False, True)
    assert plan(64, (784, 1), (1024, 1), k=256) == (False, True)
    assert plan(64, (784, 1), (1024, 1)) == (False, False)
    assert plan(64, (1024, 1), (300, 1)) == (True, False)
    assert plan(50, (1, 784), (300, 1)) == (True, False)
    assert plan(50, (1, 784), (300, 1), k=50) == (False, False)
    assert plan(64, (1, 64), (300, 1), k=25088) == (False, False)
    assert plan(512, (1, 1024), (300, 1), k=25088) == (True, True)


@pytest.mark.parametrize("tiles", ["", *TILES])
@pytest.mark.parametrize(("products", "bits"), [(1, 8), (3, 16), (6, 23)])
def test_sums_of_terms_keep_the_bits_they_promise(products: int, bits: int, tiles: str) -> None:
    """Six products come within 4 times float32's own error, three keep 16 bits."""
    if not tiles and not multiplies_pairs(host()):
        pytest.skip("no instruction multiplies pairs here")
    errors = []
    for options in ({}, {"products": products, "tiles": tiles}):
        problem = product(64, 512, 64, pack_a=True, pack_b=True, **options)
        problem.solve()
        x, y = (z.astype(np.float64) for z in (problem.a, problem.b))
        x, y = x.reshape(64, 512), y.reshape(512, 64)
        errors.append(np.abs(problem.stores[0].reshape(64, 64) - x @ y))
    magnitude = np.abs(x) @ np.abs(y)
    assert (errors[1] <= 2.1 * 2.0**-bits * magnitude).all()
    if products == 6:
        assert errors[1].max() <= 4 * errors[0].max()
        assert np.sqrt(np.mean(errors[1] ** 2)) <= 4 * np.sqrt(np.mean(errors[0] ** 2))


def check_opened(problem: Problem, target: Host) -> None:
    """The code for all sizes stores what the oracle does."""
    expected, c, e = problem.expected(), problem.c, problem.extents
    sized = replace(c, n=0, pack_a=True, pack_b=True, few_rows=0)
    e = replace(e, n=c.n)
    panels = [
        packed(p, x, n, e, target)
        for p, x, n in (
            (contraction.packing_a(sized, target), problem.a, e.m),
            (contraction.packing_b(sized, target), problem.b, e.n),
        )
    ]
    scratch = np.full(contraction.scratch_bytes(sized, e, target), 255, np.uint8)
    operands, stores = (
        tuple(x.ctypes.data for x in arrays) for arrays in (problem.operands, problem.stores)
    )
    a, b = (p.ctypes.data for p in panels)
    block = contraction.arguments(
        sized, e, Pointers(a, b, operands, stores, scratch.ctypes.data), target
    )
    count = contraction.items(sized, e, target)
    run(nest.emit(sized.opened(), "kernel", target), [0, count // 2, count], block, target)
    for out, wanted in zip(problem.stores, expected, strict=True):
        np.testing.assert_allclose(out, wanted, rtol=3e-5, atol=3e-5)


@settings(max_examples=20, deadline=None)
@given(problems())
def test_one_code_multiplies_matrices_of_any_size(problem: Problem) -> None:
    if problem.c.dtype == "float32":
        check_opened(problem, host())


def test_the_code_for_all_sizes_is_one_text() -> None:
    texts = {
        nest.emit(product(m, k, n, pack_a=True).c.opened(), "kernel")
        for m, k, n in ((3, 4, 5), (70, 1, 80))
    }
    assert len(texts) == 1


@X86
@pytest.mark.parametrize("products", [1, 3])
def test_tiles_are_multiplied_by_their_instruction(products: int) -> None:
    """The text for a CPU with AMX; the model of it is what runs in other tests."""
    problem = product(70, 96, 70, pack_a=True, pack_b=True, products=products, tiles="amx")
    code = assembly(nest.emit(problem.c, "kernel", AMX), AMX, optimise=False)
    assert code.count("ldtilecfg") == code.count("tilerelease") == 1
    assert set(re.findall(r"tdpbf16ps\s+(%tmm\d), (%tmm\d), (%tmm\d)", code)) == {
        (f"%tmm{6 + c}", f"%tmm{4 + r}", f"%tmm{2 * r + c}") for r in (0, 1) for c in (0, 1)
    }


@pytest.mark.parametrize("tiles", TILES)
def test_tiles_sum_up_any_number_of_rows(tiles: str) -> None:
    for m in (0, 1, 15, 16, 17, 33, 64):
        product(m, 37, 37, pack_a=True, pack_b=True, products=1, tiles=tiles).check_result()


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("products", [1, 6])
def test_tiles_sum_up_long_reductions_block_by_block(products: int, tiles: str) -> None:
    """More rows than are done together, split in the midst of them."""
    problem = product(*(300, 2000, 40), pack_a=True, pack_b=True, products=products, tiles=tiles)
    expected = problem.expected()
    problem.solve(splits=(0.3, 0.55))
    for out, wanted in zip(problem.stores, expected, strict=True):
        np.testing.assert_allclose(out, wanted, rtol=3e-5, atol=3e-4)


def tiled(m: int, k: int, n: int, tiles: str, **options: Any) -> Problem:
    """A bfloat16 product of tiles, added to the float32 numbers that its result replaces."""
    epilogue = Epilogue(((2, (n, 1)),), ((n, 1),), (("add", (0, 1)),))
    packs = {"memory": "bfloat16", "pack_b": True, "products": 1, "tiles": tiles}
    c = Contraction("float32", n, (k, 1), (n, 1), epilogue, **packs, **options)
    a, b = memory((m, k), "bfloat16", 0), memory((k, n), "bfloat16", 1)
    out = memory((m, n), "float32", 2)
    return Problem(c, Extents(m, (k,)), a, b, [out], [out])


@pytest.mark.parametrize("tiles", TILES)
def test_tiles_read_rows_as_they_lie_and_finish_each_once(tiles: str) -> None:
    for m in (32, 33, 47, 49, 64, 95):
        tiled(m, 64, 37, tiles).check_result()


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("pack_a", [False, True])
def test_no_order_of_tiles_changes_a_bit(pack_a: bool, tiles: str) -> None:
    found = []
    for by_rows in (False, True):
        problem = tiled(300, 96, 100, tiles, pack_a=pack_a, by_rows=by_rows)
        problem.check_result()
        found.append(problem.stores[0])
    np.testing.assert_array_equal(*found)


def test_wide_or_ragged_factors_of_tiles_are_packed() -> None:
    def plan(m: int, k: int, n: int) -> tuple[bool, bool]:
        planned = choice.plan(tiled(m, k, n, "model").c, Extents(m, (k,)))
        return planned.pack_a, planned.by_rows

    assert plan(2000, 64, 256) == (False, True)
    assert plan(2000, 1024, 256) == (False, False)
    assert plan(2000, 64, 512) == (True, True)
    assert plan(31, 64, 256) == (True, True)
    assert plan(2000, 70, 256) == (True, True)
    assert plan(2000, 512, 2048) == (True, False)


def test_rows_of_tiles_keep_numbers_that_are_subnormal() -> None:
    """Those that the instruction for rounding would make zero, beside some that it would not."""
    for scale in (2.0**-130, 2.0**-126, 1.0):
        epilogue = Epilogue(((1, (64, 1)),), (), (("mul", (0, scale)),), ("bfloat16",))
        out = np.zeros((8, 64), bfloat16)
        problem = product(8, 40, 64, epilogue=epilogue, pack_a=True, pack_b=True)
        Problem(problem.c, problem.extents, problem.a, problem.b, [], [out]).solve()
        plain = product(8, 40, 64, pack_a=True, pack_b=True)
        plain.solve()
        wanted = (plain.stores[0].reshape(8, 64) * np.float32(scale)).astype(bfloat16)
        np.testing.assert_array_equal(out.view(np.uint16), wanted.view(np.uint16))


def test_a_way_is_chosen_by_what_the_cpu_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    def ways(target: Host, m: int = 256) -> list[tuple[int, str]]:
        asked = [("bfloat16", "float32"), *(("float32", p) for p in PRECISIONS)]
        return [choice.way(*pair, (Extents(m, (64,)), 256), target) for pair in asked]

    exact, half = (0, ""), (1, "amx")
    assert ways(AVX2) == [exact] * 5
    assert ways(AVX512_BF16) == [(1, ""), exact, exact, exact, (1, "")]
    assert ways(AVX512_BF16, m=4) == [(1, ""), exact, exact, exact, exact]
    monkeypatch.setattr(amx, "amx_is_permitted", lambda: False)
    assert ways(AMX) == ways(AVX512_BF16)
    monkeypatch.setattr(amx, "amx_is_permitted", lambda: True)
    assert ways(AMX) == [half, exact, (6, "amx"), (3, "amx"), half]
    assert ways(AMX, m=64) == [half, exact, exact, (3, "amx"), half]
    assert ways(AMX, m=16) == [half, exact, exact, exact, half]
    assert ways(AMX, m=4) == [half, exact, exact, exact, exact]


def test_tile_registers_are_only_permitted_where_there_are_some() -> None:
    assert host().has("amx-tile") or not amx_is_permitted()


@pytest.mark.parametrize("target", [host(), *TARGETS])
@pytest.mark.parametrize("m", [1, 3, 8])
def test_few_rows_pass_over_b_once(m: int, target: Host) -> None:
    problem = product(m, 37, 300)
    problem.c = choice.plan(problem.c, problem.extents)
    assert problem.c.few_rows == m
    assert problem.c.tile(target).rows == m
    problem.check_result(target)
