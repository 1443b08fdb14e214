"""Generated loops on CUDA, under Numba's simulator: the same text, the same results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cuda_cases import CASES

CODE = """
import sys
import numpy as np
from cuda_cases import CASES
from tapeflow.jit.gpu import DeviceProgram
from tapeflow.jit.trace import interpret, trace
from tapeflow.tensor import Spec

for name, (fn, shapes) in CASES.items():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    graph = trace(fn, *(Spec(a.shape, a.dtype) for a in arrays), name="f")
    for got, want in zip(DeviceProgram(graph)(*arrays), interpret(graph, *arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5, err_msg=name)
    print(name)
"""


@pytest.fixture(scope="module")
def simulated() -> list[str]:
    """The cases whose results on the simulated device are those of the interpreter."""
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_on_the_device_what_it_gives_on_the_host(
    name: str, simulated: list[str]
) -> None:
    assert name in simulated
