"""What the machine does at most, as measured."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tapeflow_kernels import limits, memory
from tapeflow_kernels.machine import assemble, load


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_of_multiply_adds_does_what_it_is_counted_for(dtype: str) -> None:
    """Each turn adds x² once to every chain, which begin at x."""
    text = limits._source("turns", dtype, 8, 4)
    run = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(
        load(assemble(text, optimise=False), ["turns"])["turns"]
    )
    to = memory.copy(np.full(1024, 0.5, dtype))
    run(10, to.ctypes.data)
    assert to[:8].tolist() == [0.5 + 10 * 0.25] * 8
    assert text.count("call") == 4 and to[8:].tolist() == [0.5] * 1016


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_are_measured_once_for_a_number_of_threads(threads: int) -> None:
    found = limits.measured(threads)
    assert limits.measured(threads) is found and found.threads == threads
    assert (found.flops("float32"), found.flops("float64")) == (found.float32, found.float64)
    assert min(found.float32, found.float64, found.bandwidth) > 0
