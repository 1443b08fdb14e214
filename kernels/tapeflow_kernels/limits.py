"""What this machine does at most: bare multiply-adds, and bytes copied, a second."""

from __future__ import annotations

import ctypes
import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from . import memory
from .machine import Host, assemble, host, load

_TURNS = 1 << 17  # of the loop of multiply-adds: some milliseconds
_COPIED = 1 << 26  # bytes that a copy reads: more than caches hold
_TRIALS = 16


@dataclass(frozen=True)
class Limits:
    """What `threads` threads reach at once: floating-point operations a second on float32 and on
    float64, and bytes read and written a second."""

    threads: int
    float32: float
    float64: float
    bandwidth: float

    def flops(self, dtype: str) -> float:
        """For values of a dtype."""
        return self.float64 if dtype == "float64" else self.float32


@functools.cache
def measured(threads: int) -> Limits:
    """The limits of this machine, taken once: the best of a few trials, in half a second."""
    single, double = (_multiply_adds(threads, dtype) for dtype in ("float32", "float64"))
    return Limits(threads, single, double, _copying(threads))


def _multiply_adds(threads: int, dtype: str) -> float:
    lanes, chains = _shape(host(), dtype)
    symbol = f"multiply_adds_{dtype}"
    text = _source(symbol, dtype, lanes, chains)
    address = load(assemble(text, optimise=False), [symbol])[symbol]
    run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(address)
    sums = [memory.copy(np.zeros(1024, dtype)) for _ in range(threads)]  # large: aligned
    trials = _together([functools.partial(run, _TURNS, a.ctypes.data) for a in sums])
    # each thread's best: another process may take a core away at any time, but not always
    return sum(2.0 * lanes * chains * _TURNS / min(seconds) for seconds in trials)


def _copying(threads: int) -> float:
    source = np.ones(_COPIED // 4, np.float32)
    target = np.zeros_like(source)
    parts = zip(np.array_split(target, threads), np.array_split(source, threads), strict=True)
    trials = _together([functools.partial(np.copyto, to, part) for to, part in parts])
    return float(2.0 * source.nbytes / min(map(max, zip(*trials, strict=True))))


def _together(works: Sequence[Callable[[], object]]) -> list[list[float]]:
    """Seconds of some trials of each, all begun at once in threads of their own."""
    gate = threading.Barrier(len(works))

    def trials(work: Callable[[], object]) -> list[float]:
        found = []
        for _ in range(_TRIALS):
            gate.wait()
            start = time.perf_counter()
            work()
            found.append(time.perf_counter() - start)
        return found

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(trials, works))


def _shape(machine: Host, dtype: str) -> tuple[int, int]:
    """Lanes of a vector, and chains of multiply-adds: as many as hide the latency of one, and fit
    the registers beside two operands."""
    lanes = machine.vector_bytes // (8 if dtype == "float64" else 4)
    return lanes, min(12, machine.registers - 4)


def _source(symbol: str, dtype: str, lanes: int, chains: int) -> str:
    """A loop of independent multiply-adds on registers; their sums go to memory, so that they are
    computed."""
    vector = f"<{lanes} x {'double' if dtype == 'float64' else 'float'}>"
    name = f"llvm.fmuladd.v{lanes}f{64 if dtype == 'float64' else 32}"
    lines = [
        f"declare {vector} @{name}({vector}, {vector}, {vector})",
        f"define void @{symbol}(i64 %turns, ptr %to) {{",
        f"  %x = load volatile {vector}, ptr %to, align 64",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [ 0, %0 ], [ %next, %loop ]",
    ]
    lines += [f"  %a{k} = phi {vector} [ %x, %0 ], [ %b{k}, %loop ]" for k in range(chains)]
    lines += [
        f"  %b{k} = call {vector} @{name}({vector} %x, {vector} %x, {vector} %a{k})"
        for k in range(chains)
    ]
    lines += [
        "  %next = add i64 %i, 1",
        "  %more = icmp slt i64 %next, %turns",
        "  br i1 %more, label %loop, label %end",
        "end:",
    ]
    lines += [f"  store volatile {vector} %b{k}, ptr %to, align 64" for k in range(chains)]
    return "\n".join([*lines, "  ret void", "}"])
