"""Kernels of convolutions and their filter gradients against plain loops: any window, any host."""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from tapeflow_kernels import reference
from tapeflow_kernels.cpu import filter as gradient
from tapeflow_kernels.cpu import filter_code, packing, window, window_code
from tapeflow_kernels.cpu.amx import has_tiles
from tapeflow_kernels.cpu.contraction import Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.geometry import Geometry, Shape, Triple
from tapeflow_kernels.cpu.halves import converts, multiplies_pairs
from tapeflow_kernels.cpu.pairs import EXACT, Way
from tapeflow_kernels.machine import (
    AMX,
    AVX2,
    AVX512,
    BASELINE,
    Host,
    assemble,
    assembly,
    host,
    load,
)

Array = NDArray[Any]
KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
HOSTS = [host(), AVX2, BASELINE] if platform.machine() == "x86_64" else [host()]
TOLERANCE = {"float32": 1e-4, "float64": 1e-11, "float16": 6e-4, "bfloat16": 5e-3}
HALVES = [d for d in ("bfloat16", "float16") if all(converts(d, target) for target in HOSTS)]


@functools.cache
def kernel(ir: str, target: Host) -> Any:
    return KERNEL(load(assemble(ir, target, optimise=False), ["kernel"])["kernel"])


def run(ir: str, items: int, block: Sequence[int], target: Host, cuts: Sequence[float]) -> None:
    """All items, one range between cuts at a time, the last range first."""
    memory = np.array(block, np.int64)
    marks = sorted({0, items, *(int(cut * items) for cut in cuts)})
    for start, stop in reversed(list(itertools.pairwise(marks))):
        kernel(ir, target)(start, stop, memory.ctypes.data)


@dataclass
class Problem:
    """A convolution: x[n, z, y, x, groups * channels], b[taps, channels, groups * columns].

    Where each of several groups has one channel and one column it is done as diagonal.
    """

    x: Array
    b: Array
    strides: Triple
    dilations: Triple
    before: Triple
    out: Triple
    groups: int
    target: Host
    cuts: tuple[float, ...] = ()
    way: Way = EXACT

    @property
    def channels(self) -> int:
        return int(self.b.shape[3])

    @property
    def columns(self) -> int:
        return int(self.b.shape[4]) // self.groups

    @property
    def is_diagonal(self) -> bool:
        return self.groups > 1 and self.channels == self.columns == 1

    @property
    def geometry(self) -> Geometry:
        return Geometry(self.b.shape[:3], self.strides, self.dilations)

    def shape(self, group: int) -> Shape:
        columns = self.groups if self.is_diagonal else self.columns
        size: Any = self.x.shape[1:4]
        source = (group, *elements(self.x)[:4])
        return Shape(self.groups, len(self.x), size, self.before, self.out, columns, source)

    def by_group(self, function: Any, other: Array, *arguments: Any) -> Array:
        """The results of the oracle for each group, side by side."""
        factors = [
            (a.astype(bfloat16) if self.way.paired else a).astype(np.float64)
            for a in (self.x, other)
        ]
        found = [
            function(x, y, *arguments, self.geometry, self.before)
            for x, y in zip(*(np.split(a, self.groups, -1) for a in factors), strict=True)
        ]
        return np.concatenate(found, -1)

    def convolved(self) -> Array:
        """Y by the kernels."""
        y = np.full((len(self.x), *self.out, self.b.shape[-1]), np.nan, self.x.dtype)
        image, *along, _ = elements(y)

        def epilogue(group: int) -> Epilogue:
            return Epilogue(((0, (group, image, *along, 1)),), memory=(self.x.dtype.name,))

        diagonal = self.is_diagonal
        c = window.plan(
            *(self.x.dtype.name, self.geometry, self.channels, self.shape(self.channels)),
            epilogue(self.columns),
            is_diagonal=diagonal,
            way=self.way,
            target=self.target,
        )
        assert c is not None
        width = c.width(self.target)
        group = width if diagonal else self.columns
        shape = self.shape(width if diagonal else self.channels)
        z, yy, x, k, column = elements(self.b)
        strides = (z, yy, x, column) if diagonal else (group * column, z, yy, x, k, column)
        p = window.packing_b(c, strides, self.target)
        reduce = self.b.shape[:3] if diagonal else self.b.shape[:4]
        batch = () if diagonal else (self.groups,)
        panels = np.full(packing.elements(p, shape.columns, reduce, batch), np.nan, p.dtype)
        block = packing.arguments(
            p, self.b.ctypes.data, panels.ctypes.data, shape.columns, (reduce, batch)
        )
        count = packing.items(p, shape.columns, batch)
        run(packing.emit(p, "kernel", self.target), count, block, self.target, ())
        pointers = Pointers(self.x.ctypes.data, panels.ctypes.data, (), (y.ctypes.data,))
        arguments = window.arguments(c, shape, epilogue(group), pointers, self.target)
        count = window.items(c, shape, self.target)
        run(window_code.emit(c, "kernel", self.target), count, arguments, self.target, self.cuts)
        return y

    def filtered(self, y: Array) -> Array:
        """The gradient of b by the kernels."""
        b = np.full(self.b.shape, np.nan, self.x.dtype)
        z, yy, x, k, _ = elements(b)
        diagonal = self.is_diagonal

        def epilogue(group: int) -> Epilogue:
            rows = (0, x) if diagonal else (x, k)
            return Epilogue(((0, (group, z, yy, *rows, 1)),), memory=(self.x.dtype.name,))

        c = gradient.plan(
            *(self.x.dtype.name, self.geometry, self.channels, self.shape(self.channels)),
            epilogue(self.columns),
            is_diagonal=diagonal,
            way=self.way,
            target=self.target,
        )
        assert c is not None
        width = c.columns(self.target)
        group = width if diagonal else self.columns
        shape = self.shape(width if diagonal else self.channels)
        division = gradient.divide(c, shape, self.channels, self.target)
        sums = np.full(gradient.scratch_bytes(c, division, self.target), 255, np.uint8)
        block = gradient.arguments(
            *(shape, division, self.channels, (group, *elements(y)[:4])),
            (self.x.ctypes.data, y.ctypes.data, sums.ctypes.data),
        )
        ir = filter_code.emit_sums(c, "kernel", self.target)
        run(ir, division.items, block, self.target, self.cuts)
        pointers = Pointers(sums.ctypes.data, 0, (), (b.ctypes.data,))
        block = gradient.finish_arguments(shape, division, self.channels, epilogue(group), pointers)
        ir = filter_code.emit_finish_of_sums(c, "kernel", self.target)
        run(ir, gradient.finish_items(c, division), block, self.target, self.cuts)
        return b

    def check_result(self) -> None:
        tolerance = TOLERANCE[self.x.dtype.name]
        wanted = self.by_group(reference.convolution, self.b, self.out)
        found = self.convolved()
        self.check_close(found, wanted, tolerance)
        y = memory(wanted.shape, self.x.dtype.name, 3)
        if not self.way.tiles:  # vectors know no pairs of places
            self.way = EXACT
        wanted = self.by_group(reference.filter_gradient, y)
        self.check_close(self.filtered(y), wanted, 10 * tolerance)

    def check_close(self, found: Array, wanted: Array, tolerance: float) -> None:
        assert found.dtype == self.x.dtype
        rtol = TOLERANCE[self.x.dtype.name]
        np.testing.assert_allclose(found.astype(np.float64), wanted, rtol=rtol, atol=tolerance)


def elements(array: Array) -> tuple[int, ...]:
    return tuple(stride // array.itemsize for stride in array.strides)


def memory(shape: Sequence[int], dtype: str, seed: int) -> Array:
    """Random numbers, not on a cache line."""
    numbers = np.random.default_rng(seed).standard_normal(math.prod(shape) + 1)
    return numbers.astype(bfloat16 if dtype == "bfloat16" else dtype)[1:].reshape(shape)


def problem(
    size: Triple, taps: Triple, channels: int, columns: int, *, images: int = 2, groups: int = 1,
    strides: Triple = (1, 1, 1), dilations: Triple = (1, 1, 1), before: Triple = (0, 0, 0),
    after: Triple | None = None, dtype: str = "float32", target: Host | None = None,
) -> Problem:  # fmt: skip
    after = before if after is None else after
    axes = zip(size, taps, strides, dilations, before, after, strict=True)
    out: Any = tuple((n + p + q - (k - 1) * d - 1) // s + 1 for n, k, s, d, p, q in axes)
    x = memory((images, *size, groups * channels), dtype, 0)
    b = memory((*taps, channels, groups * columns), dtype, 1)
    return Problem(x, b, strides, dilations, before, out, groups, target or host())


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    small = st.tuples(*[st.integers(1, 3)] * 3)
    taps = draw(small)
    strides = draw(st.one_of(st.just((1, 1, 1)), small))
    dilations = draw(st.one_of(st.just((1, 1, 1)), small, st.just((1, 19, 23))))
    before, after = (draw(st.tuples(*[st.integers(0, 3)] * 3)) for _ in range(2))
    least = [
        max(1, (k - 1) * d + 1 - p - q)
        for k, d, p, q in zip(taps, dilations, before, after, strict=True)
    ]
    z, y = (draw(st.integers(n, n + 4)) for n in least[:2])
    x = draw(st.one_of(st.integers(least[2], least[2] + 9), st.integers(60, 75)))
    groups = draw(st.sampled_from([1, 1, 2, 19]))
    diagonal = groups == 19
    target = draw(st.sampled_from(HOSTS))
    dtype = draw(st.sampled_from(["float32", "float64", *HALVES]))
    rounds = dtype in ("float32", "bfloat16") and not diagonal
    channels = 1 if diagonal else draw(st.one_of(st.integers(1, 5), st.integers(15, 34)))
    columns = 1 if diagonal else draw(st.sampled_from([1, 3, 16, 17, 33, 48, 70]))
    made = problem(
        *((z, y, x), taps, channels, columns),
        images=draw(st.sampled_from([0, 1, 2, 5])),
        groups=groups,
        strides=strides,
        dilations=dilations,
        before=before,
        after=after,
        dtype=dtype,
        target=target,
    )
    way = draw(st.sampled_from([EXACT, *(ways(target) if rounds else [])]))
    return replace(made, cuts=tuple(draw(st.lists(st.floats(0, 1), max_size=3))), way=way)


def ways(target: Host) -> list[Way]:
    """How pairs can be multiplied by code for a CPU that runs here."""
    found = [Way(True, "model")]
    if target == host():
        found += [Way(True)] * multiplies_pairs(target) + [Way(True, "amx")] * has_tiles(target)
    return found


@settings(max_examples=25, deadline=None)
@given(problems())
def test_any_convolution_is_that_of_plain_loops(case: Problem) -> None:
    case.check_result()


@pytest.mark.parametrize("channels", [3, 64, 300])
def test_slices_of_channels_and_parts_of_images_give_the_same_sums(channels: int) -> None:
    problem((1, 9, 8), (1, 3, 3), channels, 40, images=9, before=(0, 1, 1)).check_result()


def test_rows_in_several_items_and_panels_in_several_chunks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(window, "_POSITIONS", 16)
    monkeypatch.setattr(gradient, "_PLACES", 20)
    monkeypatch.setattr(gradient, "_PATCH_BYTES", 8 * 1024)
    case = problem((2, 11, 37), (2, 3, 3), 20, 70, before=(1, 1, 1), strides=(1, 2, 1))
    case.check_result()


@pytest.mark.parametrize("channels", [1, 3, 5, 7])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_places_of_few_channels_become_pairs(channels: int, dtype: str) -> None:
    """Several at a time, the last of a row fewer; rounded if they are float32."""
    case = problem((1, 5, 37), (1, 3, 3), channels, 20, before=(0, 1, 1), dtype=dtype)
    case.way = Way(True, "model")
    wanted = case.by_group(reference.convolution, case.b, case.out)
    case.check_close(case.convolved(), wanted, TOLERANCE[dtype])


@pytest.mark.parametrize("taps", [1, 2, 5])
def test_tiles_pass_over_some_taps_of_a_panel_before_the_next(
    taps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the first taps, the last or all of them meet nothing but padding."""
    monkeypatch.setattr(window, "_NEAR_BYTES", taps * 2 * 3 * 16 * 32 * 4)
    for way in ways(host()):
        case = problem((2, 7, 18), (2, 5, 3), 32, 40, before=(1, 7, 1), dtype="bfloat16")
        case.way = way
        wanted = case.by_group(reference.convolution, case.b, case.out)
        case.check_close(case.convolved(), wanted, 10 * TOLERANCE["bfloat16"])


def test_sums_do_not_depend_on_how_items_are_split() -> None:
    case = problem((1, 30, 30), (1, 3, 3), 8, 40, images=4, before=(0, 1, 1))
    y = memory((4, 30, 30, 40), "float32", 3)
    whole = case.convolved(), case.filtered(y)
    case.cuts = (0.1, 0.35, 0.5, 0.8)
    for a, b in zip(whole, (case.convolved(), case.filtered(y)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_patch_larger_than_the_stack_has_no_kernel() -> None:
    case = problem((1, 8, 8), (1, 7, 7), 9000, 2, images=1)
    shape, epilogue = case.shape(9000), Epilogue(((0, (2, 8, 8, 4, 2, 1)),))
    assert window.plan("float32", case.geometry, 9000, shape, epilogue) is None


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 assembly")
@pytest.mark.parametrize("target", [AVX512, AVX2], ids=["avx512", "avx2"])
@pytest.mark.parametrize("width", [56, 7])
def test_innermost_loops_keep_their_sums_in_registers(target: Host, width: int) -> None:
    case = problem((1, width, width), (1, 3, 3), 64, 64, before=(0, 1, 1), target=target)
    strides = (64, width * width * 64, 0, width * 64, 64, 1)
    c = window.plan(
        *("float32", case.geometry, 64, case.shape(64), Epilogue(((0, strides),))), target=target
    )
    assert c is not None
    text = assembly(window_code.emit(c, "kernel", target), target, optimise=False)
    name = f"tile_{c.vectors}_{c.heights[0]}"
    body = text[text.index(f"{name}:") :].split("vfmadd")
    assert len(body) - 1 >= c.vectors * c.heights[0]
    between = "".join(body[1 : c.vectors * c.heights[0]])
    assert not re.search(r"mov[au]ps.*\(%rsp\)", between)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="reads x86 assembly")
def test_innermost_loops_of_tiles_are_loads_and_products() -> None:
    case = problem((1, 14, 14), (1, 5, 5), 32, 64, before=(0, 2, 2), dtype="bfloat16", target=AMX)
    epilogue = Epilogue(((0, (64, 12544, 0, 896, 64, 1)),), memory=("bfloat16",))
    c = window.plan(
        *("bfloat16", case.geometry, 32, case.shape(32), epilogue),
        way=Way(True, "amx"),
        target=AMX,
    )
    assert c is not None
    text = assembly(window_code.emit(c, "kernel", AMX), AMX, optimise=False)
    before, behind = text[text.index("grid_2_2:") :].split("tdpbf16ps", 1)
    loop = before[before.rindex(".LBB") :] + "tdpbf16ps" + behind.split("j", 1)[0]
    assert (loop.count("tileloadd"), loop.count("tdpbf16ps")) == (4, 4)
    assert not re.search(r"[xyz]mm|%rsp", loop)
