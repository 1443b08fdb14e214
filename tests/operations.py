"""Which operations there are, which rows call them, and the page of what tests prove of them.

`pytest tests/test_ops.py tests/test_batching.py tests/test_cuda.py --operations-page` writes
docs/operations.md from the outcomes; tests/test_operations.py fails where it says something else
than that all of these pass.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
import test_ops
from op_case import Case
from op_cases import CASES
from tapeflow.graph import Graph
from tapeflow.jit.gpu import DeviceProgram
from tapeflow.jit.trace import trace
from tapeflow.primitive import Primitive
from tapeflow.tensor import Spec

PLACE = Path(__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "operations.md"
NAMESPACES = {"tf": tf, "tf.nn": tf.nn, "tf.linalg": tf.linalg, "tf.fft": tf.fft}

# Why a public function has no row: what else tests it.
ELSEWHERE = {
    name: reason
    for names, reason in {
        "tf.arange tf.asarray tf.empty tf.empty_like tf.eye tf.from_dlpack tf.linspace tf.ones "
        "tf.zeros": "makes tensors of what are none: tests/test_tensor.py, test_array_api.py",
        "tf.can_cast tf.finfo tf.iinfo tf.isdtype tf.result_type": "asks about dtypes: "
        "tests/test_tensor.py, test_array_api.py",
        "tf.broadcast_shapes": "asks about shapes: tests/test_array_api.py",
        "tf.nonzero tf.unique tf.unique_all tf.unique_counts tf.unique_inverse "
        "tf.unique_values": "gives as many elements as the values say, in eager code only: "
        "tests/test_tensor.py",
        "tf.fft.fftfreq tf.fft.rfftfreq": "makes tensors of numbers: tests/test_array_api.py",
        "tf.nn.dropout": "draws random numbers: tests/test_nn.py",
    }.items()
    for name in names.split()
}

STANDARD = {
    "tf": "abs acos acosh add all any arange argmax argmin argsort asarray asin asinh astype atan "
    "atan2 atanh bitwise_and bitwise_invert bitwise_left_shift bitwise_or bitwise_right_shift "
    "bitwise_xor broadcast_arrays broadcast_to can_cast ceil clip concat conj copysign cos cosh "
    "count_nonzero cumulative_prod cumulative_sum diff divide empty empty_like equal exp "
    "expand_dims expm1 eye finfo flip floor floor_divide from_dlpack full full_like greater "
    "greater_equal hypot iinfo imag isdtype isfinite isinf isnan less less_equal linspace log "
    "log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul "
    "matrix_transpose max maximum mean meshgrid min minimum moveaxis multiply negative nextafter "
    "nonzero not_equal ones ones_like permute_dims positive pow prod real reciprocal remainder "
    "repeat reshape result_type roll round searchsorted sign signbit sin sinh sort sqrt square "
    "squeeze stack std subtract sum take take_along_axis tan tanh tensordot tile tril triu trunc "
    "unique_all unique_counts unique_inverse unique_values unstack var vecdot where zeros "
    "zeros_like",
    "tf.linalg": "cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power "
    "matrix_rank matrix_transpose outer pinv qr slogdet solve svd svdvals tensordot trace vecdot "
    "vector_norm",
    "tf.fft": "fft fftfreq fftn fftshift hfft ifft ifftn ifftshift ihfft irfft irfftn rfft "
    "rfftfreq rfftn",
}
"""The functions of the array API standard 2024.12."""

# What each column says, and the test that proves it for each row.
COLUMNS = {
    "reverse": "test_reverse_mode_is_the_adjoint_of_forward_mode",
    "forward": "test_forward_mode_is_the_slope",
    "second order": "test_the_gradient_has_a_gradient",
    "vmap": "test_all_examples_at_once_give_what_a_loop_gives",
    "compiled": "test_compiled_code_gives_the_same",
    "CUDA": "test_an_operation_gives_on_the_device_what_it_gives_on_the_host",
}
DERIVATIVES = ("reverse", "forward", "second order")
Outcomes = Mapping[tuple[str, int], bool]  # of a column for a row, by the number of the row


def public() -> dict[str, Callable[..., Any]]:
    """Every public function that takes or gives tensors, by its name."""
    found = {}
    for prefix, module in NAMESPACES.items():
        names = tf.ops.__all__ if module is tf else module.__all__
        for name in names:
            value = getattr(module, name)
            if callable(value) and not isinstance(value, type):
                found[f"{prefix}.{name}"] = value
    return found


@functools.cache
def operations() -> dict[str, list[int]]:
    """The numbers of the rows that call each operation themselves, by all its names."""
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, function in public().items():
        names[id(_called(function))].append(name)
    rows: dict[int, list[int]] = {key: [] for key in names}
    for i, case in enumerate(CASES):
        for key in _calls(case) & rows.keys():
            rows[key].append(i)
    return {", ".join(names[key]): found for key, found in rows.items()}


def _called(function: Any) -> Any:
    """What is seen when a function is called: itself, or its code."""
    return function if isinstance(function, Primitive) else inspect.unwrap(function).__code__


def _calls(case: Case) -> set[int]:
    """The ids of what the tests call to evaluate a row, and not of what these call in turn."""
    found: set[int] = set()

    def profile(frame: FrameType, event: str, arg: Any) -> None:
        caller = frame.f_back
        if event == "call" and caller and Path(caller.f_code.co_filename).parent == PLACE:
            found.add(id(frame.f_code))
            if frame.f_code.co_name == "__call__":
                found.add(id(frame.f_locals["self"]))

    given = test_ops.tensors(test_ops.inputs_of(case))
    previous = sys.getprofile()
    sys.setprofile(profile)
    try:
        case.fn(*given, **case.kwargs)
    finally:
        sys.setprofile(previous)
    return found


def on_device() -> dict[str, int]:
    """For each operation the number of one row that can be traced, which a device runs."""
    able = {i for i, case in enumerate(CASES) if case.traceable}
    chosen = {name: [i for i in rows if i in able] for name, rows in operations().items()}
    return {name: rows[0] for name, rows in chosen.items() if rows}


def applies(column: str, i: int) -> bool:
    """Whether the test of a column runs row i."""
    case = CASES[i]
    if column in DERIVATIVES:
        return any(c is case for c in test_ops.SMOOTH.values())
    return i in on_device().values() if column == "CUDA" else case.traceable


def expected() -> Outcomes:
    """The outcomes if all tests pass."""
    rows = range(len(CASES))
    return {(column, i): True for column in COLUMNS for i in rows if applies(column, i)}


# ---- the page

HEAD = """# Operations

What the tests prove of each public operation, written by the tests themselves:

    pytest tests/test_ops.py tests/test_batching.py tests/test_cuda.py --operations-page

Rows of `tests/op_cases.py` call an operation for inputs of the dtypes named and compare it with
NumPy and SciPy. Each column is a test of all its rows: reverse mode against forward mode, forward
mode against differences, the gradient of the gradient, `tf.vmap` against a loop, compiled code
against eager code; of one row, a CUDA device (Numba's simulator) against the CPU. The last one
names what the array API standard has ([array_api.md](array_api.md) tells of its suite).

- `yes`: the test passes for all rows that it applies to. `no`: it fails for one.
- `0`: a step function, whose derivative is zero wherever it exists: `tf.grad` and `tf.jvp` give
  zeros, tapes None, as for all that does not depend on a source.
- `-`: there is none. The result is of whole numbers or bools, and its gradient is an error that
  names the operation; or what is given is.
- `host`: the operation, or a part of it, runs on the host, between kernels of the device.
"""
_KINDS = {"f": "float", "i": "int", "u": "int", "b": "bool", "c": "complex"}


def page(outcomes: Outcomes) -> str:
    """The text of docs/operations.md."""
    head = ["operation", "inputs", *COLUMNS, "array API"]
    lines = [HEAD, f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    standard = {f"{prefix}.{n}" for prefix, names in STANDARD.items() for n in names.split()}
    left = []
    for name, rows in sorted(operations().items()):
        if not rows:
            left.append(f"- `{name}`: {ELSEWHERE.get(name, 'nothing tests it')}")
            continue
        cells = [_cell(column, name, rows, outcomes) for column in COLUMNS]
        named = "yes" if standard & set(name.split(", ")) else ""
        shown = ", ".join(f"`{n}`" for n in name.split(", "))
        lines.append(f"| {' | '.join([shown, _inputs(rows), *cells, named])} |")
    count = len(operations()) - len(left)
    lines += ["", f"{count} operations.", "", "Tested elsewhere:", "", *left]
    lines.append("- `tf.random`: by distribution, moments and repeatability: tests/test_random.py")
    return "\n".join(lines) + "\n"


def _inputs(rows: Iterable[int]) -> str:
    kinds = {k for i in rows for k in _kinds(test_ops.inputs_of(CASES[i]))}
    return " ".join(k for k in ("float", "complex", "int", "bool") if k in kinds)


def _kinds(inputs: Iterable[Any]) -> Iterator[str]:
    return (_KINDS[x.dtype.kind] for x in inputs if isinstance(x, np.ndarray))


def _cell(column: str, name: str, rows: list[int], outcomes: Outcomes) -> str:
    found = [outcomes[column, i] for i in rows if (column, i) in outcomes]
    if not all(found):
        return "no"
    if found:
        return "host" if column == "CUDA" and _needs_host(on_device()[name]) else "yes"
    return "0" if column in DERIVATIVES and steps(rows) else "-"


def steps(rows: Iterable[int]) -> bool:
    """Whether floating inputs give floating results."""
    for i in rows:
        inputs, case = test_ops.inputs_of(CASES[i]), CASES[i]
        if "float" in _kinds(inputs):
            return case.fn(*test_ops.tensors(inputs), **case.kwargs).dtype.kind in "fc"
    return False


def program_of(i: int) -> tuple[DeviceProgram, Graph, list[Any]]:
    """Row i for float32 as a program of a device, its trace, and its inputs."""
    fn, arrays = test_ops.traced(CASES[i], test_ops.inputs_of(CASES[i], "f4"))
    graph = trace(fn, *(Spec(a.shape, a.dtype) for a in arrays), name="case")
    return DeviceProgram(graph), graph, arrays


def _needs_host(i: int) -> bool:
    return not all(grids for _, grids in program_of(i)[0].steps)


class Writer:
    """Writes the page from the outcomes of the tests of a session."""

    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, int], bool] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: Any) -> Iterator[None]:
        report = yield
        column = next((c for c, t in COLUMNS.items() if t == getattr(item, "originalname", "")), "")
        if column and call.when == "call":
            case = item.callspec.params["case"]
            i = next(i for i, c in enumerate(CASES) if c is case)
            self.outcomes[column, i] = report.passed
        return report

    def pytest_sessionfinish(self) -> None:
        PAGE.write_text(page(self.outcomes))
