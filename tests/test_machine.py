"""Native code from LLVM IR text."""

from __future__ import annotations

import ctypes
import gc
import platform
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tapeflow_kernels.machine import (
    AVX2,
    AVX512,
    BASELINE,
    Assembly,
    Host,
    assemble,
    assembly,
    host,
    load,
)

ADD = """
declare float @expf(float)
define void @add(ptr noalias %x, ptr noalias %y, i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %p = getelementptr float, ptr %x, i64 %i
  %q = getelementptr float, ptr %y, i64 %i
  %a = load float, ptr %p
  %b = load float, ptr %q
  %c = fadd float %a, %b
  store float %c, ptr %q
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %exit
exit:
  ret void
}
define float @grow(float %x) {
  %y = call float @expf(float %x)
  ret float %y
}
"""


def test_a_loaded_object_adds_and_calls_the_process() -> None:
    symbols = load(assemble(ADD), ["add", "grow"])
    x, y = np.arange(100, dtype=np.float32), np.ones(100, np.float32)
    pointer = ctypes.c_void_p
    add = ctypes.CFUNCTYPE(None, pointer, pointer, ctypes.c_int64)(symbols["add"])
    add(x.ctypes.data, y.ctypes.data, 100)
    np.testing.assert_array_equal(y, x + 1)
    grow = ctypes.CFUNCTYPE(ctypes.c_float, ctypes.c_float)(symbols["grow"])
    assert grow(1.0) == pytest.approx(np.e, rel=1e-6)


def test_objects_may_define_the_same_name() -> None:
    code = assemble(ADD)
    assert load(code, ["add"])["add"] != load(code, ["add"])["add"]


def test_threads_that_finish_modules_at_once_give_what_one_alone_gives() -> None:
    """400 modules of two kinds by 8 threads, while the main thread parses more of them."""
    texts = [ADD.replace("@add", f"@add{i % 7}") for i in range(400)]
    alone = {
        (text, way): assemble(text, optimise=way) for text in set(texts) for way in (False, True)
    }
    with ThreadPoolExecutor(8) as pool:
        ways = [(text, i % 2 == 1) for i, text in enumerate(texts)]
        jobs = [pool.submit(Assembly(text, optimise=way).finish) for text, way in ways]
        assert [job.result() for job in jobs] == [alone[text, way] for text, way in ways]


def test_a_finished_module_holds_nothing_that_a_collector_could_free_in_a_wrong_order() -> None:
    """LLVM's context must outlive its modules, which finalizers of a cycle do not care for."""
    for _ in range(20):
        assembly = Assembly(ADD)
        assert assembly.finish()
        held = vars(assembly).copy()
        cycle: list[object] = [assembly]
        cycle.append(cycle)
        del assembly, cycle
        gc.collect()
        assert held == {}


def test_a_missing_symbol_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        load(assemble(ADD), ["subtract"])


def test_text_that_does_not_parse_is_an_error() -> None:
    with pytest.raises(RuntimeError):
        assemble("define void @f( {")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names x86 registers")
@pytest.mark.parametrize(
    "target,register",
    [(AVX512, "zmm"), (AVX2, "ymm"), (BASELINE, "xmm")],
    ids=lambda x: str(x)[:40],
)
def test_a_loop_uses_the_full_vectors_of_its_target(target: Host, register: str) -> None:
    assert register in assembly(ADD, target)


@pytest.mark.skipif(host().vector_bytes != 64, reason="needs AVX-512")
def test_a_loop_uses_the_full_vectors_of_the_host() -> None:
    assert "zmm" in assembly(ADD)


def test_the_host_has_at_least_baseline_registers() -> None:
    assert host().vector_bytes >= 16
    assert host().registers >= 16
