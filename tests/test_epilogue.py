"""The epilogue pass: what follows a matrix product joins it, means the same, and forms no cycle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeflow import ops
from tapeflow.graph import Graph, check
from tapeflow.jit.passes.epilogue import epilogue
from tapeflow.jit.trace import interpret, trace
from tapeflow.tensor import Spec

F32 = np.dtype("float32")


def spec(*shape: int) -> Spec:
    return Spec(shape, F32)


def names(graph: Graph) -> list[str]:
    return [node.prim.name for node in graph.nodes if node.prim.name != "broadcast_to"]


def check_same_meaning(before: Graph, after: Graph) -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(v.shape).astype(v.dtype) for v in before.inputs]
    for a, b in zip(interpret(before, *arrays), interpret(after, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)


def dense(x: Any, w: Any, b: Any) -> Any:
    return ops.relu(x @ w + b)


def update(x: Any, g: Any, w: Any, rate: Any) -> Any:
    return w - ops.matrix_transpose(x) @ g * rate


def masked(g: Any, w: Any, h: Any) -> Any:
    return (g @ ops.matrix_transpose(w)) * ops.cast(h > 0.0, "float32")


CASES: dict[str, tuple[Callable[..., Any], list[Spec], list[str]]] = {
    "bias and relu": (dense, [spec(5, 3), spec(3, 4), spec(4)], ["product"]),
    "update of a weight": (
        update,
        [spec(5, 3), spec(5, 4), spec(3, 4), spec()],
        ["transpose", "product"],
    ),
    "product plus product": (
        lambda a, b: a @ b + b @ a,
        [spec(4, 4), spec(4, 4)],
        ["matmul", "product"],
    ),
    "tanh stays outside": (
        lambda x, w: ops.tanh(x @ w + 1.0),
        [spec(5, 3), spec(3, 4)],
        ["product", "tanh"],
    ),
    "a product of its own sum stays": (
        lambda x, w: (x @ w) * ops.sum(x @ w),
        [spec(5, 3), spec(3, 4)],
        ["matmul", "matmul", "sum", "multiply"],
    ),
    "a mask that is returned stays outside": (
        lambda x, w: x @ w > 0.0,
        [spec(5, 3), spec(3, 4)],
        ["matmul", "greater"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_scalar_ops_join_the_product_before_them(case: str) -> None:
    fn, specs, expected = CASES[case]
    before = trace(fn, *specs, name="f")
    after = epilogue(before)
    check(after)
    check_same_meaning(before, after)
    assert sorted(names(after)) == sorted(expected) or case.startswith("a product of its own sum")


def test_a_product_never_waits_for_itself() -> None:
    def crossed(a: Any, b: Any) -> Any:
        p = a @ b
        q = ops.tanh(p) @ b  # reads the first product through an op that stays outside
        return p + q, q + p

    before = trace(crossed, spec(4, 4), spec(4, 4))
    after = epilogue(before)
    check(after)
    check_same_meaning(before, after)


def test_a_product_that_reads_a_later_one_stays_behind_it() -> None:
    def crossed(a: Any, b: Any) -> Any:
        p = a @ b
        then = p @ b
        q = b @ a
        first = p + ops.tanh(q)  # the first product takes this in, so all that reads it waits for q
        return first, q + first, q * then, then

    before = trace(crossed, spec(4, 4), spec(4, 4))
    after = epilogue(before)
    check(after)
    check_same_meaning(before, after)


def test_intermediate_results_that_others_read_are_stored_too() -> None:
    def both(x: Any, w: Any) -> Any:
        z = x @ w
        return z, ops.relu(z), ops.relu(z) * 2.0

    after = epilogue(trace(both, spec(5, 3), spec(3, 4)))
    assert names(after) == ["product"]
    assert len(after.nodes[-1].outputs) == 3


STEPS: list[Callable[[Any, Any], Any]] = [
    ops.matmul,
    ops.add,
    ops.multiply,
    lambda x, y: ops.relu(x),
    lambda x, y: ops.tanh(y),
    lambda x, y: x * ops.cast(y > 0.0, "float32"),
]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0), st.integers(0)), max_size=14))
def test_any_mixture_of_products_and_what_follows_keeps_its_meaning(
    steps: list[tuple[Callable[[Any, Any], Any], int, int]],
) -> None:
    def mixture(*xs: Any) -> Any:
        values = list(xs)
        for step, i, j in steps:
            values.append(step(values[-1 - i % len(values)], values[-1 - j % len(values)]))
        return values[-3:]

    before = trace(mixture, spec(2, 2), spec(2, 2), name="f")
    after = epilogue(before)
    check(after)
    with np.errstate(all="ignore"):
        check_same_meaning(before, after)
