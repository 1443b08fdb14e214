"""Every public operation has a row or a reason, and docs/operations.md says what tests prove."""

from __future__ import annotations

from typing import Any

import pytest

import operations
import tapeflow as tf
import test_ops
from tapeflow.errors import DTypeError

STEPS = {
    name: rows
    for name, rows in operations.operations().items()
    if rows and not any(operations.applies("reverse", i) for i in rows)
}


def test_every_public_function_has_a_row_or_a_reason() -> None:
    without = {name for names, rows in operations.operations().items() if not rows
               for name in names.split(", ")}  # fmt: skip
    assert without == set(operations.ELSEWHERE)


def test_every_function_of_the_standard_is_there() -> None:
    missing = [
        f"{prefix}.{name}"
        for prefix, names in operations.STANDARD.items()
        for name in names.split()
        if not callable(getattr(operations.NAMESPACES[prefix], name, None))
    ]
    assert not missing


def test_the_page_says_what_the_tests_prove() -> None:
    assert operations.PAGE.read_text() == operations.page(operations.expected()), (
        "write it anew: pytest tests/test_ops.py tests/test_batching.py tests/test_cuda.py "
        "--operations-page"
    )


def first_floating(rows: list[int]) -> tuple[Any, list[Any]] | None:
    """A row with floating inputs as a function of these."""
    for i in rows:
        fn, xs = test_ops.floating(operations.CASES[i])
        if xs and xs[0].dtype.kind == "f":
            return fn, test_ops.tensors(xs)
    return None


FLOATING = {name: found for name, rows in STEPS.items() if (found := first_floating(rows))}


@pytest.mark.parametrize("name", FLOATING)
def test_an_operation_without_a_derivative_gives_zero_or_says_why(name: str) -> None:
    fn, xs = FLOATING[name]
    with tf.GradientTape() as tape:
        tape.watch(xs)
        y = fn(*xs)
    if y.dtype.kind == "f":
        gradients = tape.gradient(y, xs, unconnected_gradients="zero")
        assert all((g.numpy() == 0).all() for g in gradients)
    else:
        with pytest.raises(DTypeError, match=r"what .* gives has no derivative"):
            tape.gradient(y, xs)


def test_the_error_names_the_operation_that_has_no_derivative() -> None:
    with pytest.raises(DTypeError, match="what argmax gives has no derivative"):
        tf.grad(tf.argmax)(tf.ones(3))
    with pytest.raises(DTypeError, match="what greater gives has no derivative"):
        tf.jit(tf.grad(lambda x: x > 0.0))(1.0)
