"""Generated loops on CUDA, under Numba's simulator: the same text, the same results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import operations
from cuda_cases import CASES
from op_case import Case

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


EACH_OPERATION = """
import numpy as np
import operations
from tapeflow.jit.trace import interpret

for i in dict.fromkeys(operations.on_device().values()):
    program, graph, arrays = operations.program_of(i)
    try:
        for got, want in zip(program(*arrays), interpret(graph, *arrays), strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
        print(i)
    except Exception as error:
        print(i, repr(error))
"""


def run_simulated(code: str) -> list[str]:
    """The lines that a program prints that has a simulated device."""
    env = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1", "PYTHONPATH": str(Path(__file__).parent)}
    result = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout.splitlines()


@pytest.fixture(scope="module")
def simulated() -> list[str]:
    """The cases whose results on the simulated device are those of the interpreter."""
    return run_simulated(CODE)


@pytest.mark.parametrize("name", CASES)
def test_a_case_gives_on_the_device_what_it_gives_on_the_host(
    name: str, simulated: list[str]
) -> None:
    assert name in simulated


@pytest.fixture(scope="module")
def simulated_operations() -> list[str]:
    """The numbers of rows, one an operation, whose results on the device are those of the host."""
    return run_simulated(EACH_OPERATION)


ROWS = {f"{i}-{operations.CASES[i]}": i for i in operations.on_device().values()}


@pytest.mark.parametrize("case", [operations.CASES[i] for i in ROWS.values()], ids=ROWS.keys())
def test_an_operation_gives_on_the_device_what_it_gives_on_the_host(
    case: Case, simulated_operations: list[str]
) -> None:
    number = next(i for i, row in enumerate(operations.CASES) if row is case)
    assert str(number) in simulated_operations
