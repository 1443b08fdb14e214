"""Functions whose loops run on CUDA: what tests/test_cuda.py and bench/gpu.py share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tapeflow import ops
from tapeflow.autodiff.functional import value_and_grad


def gated(x: Any, a: Any, b: Any) -> Any:
    return ops.tanh(x * a + b) * ops.sigmoid(x) + x**2


def gated_and_gradients(x: Any, a: Any, b: Any) -> Any:
    def total(x: Any, a: Any, b: Any) -> Any:
        return ops.sum(gated(x, a, b))

    value, grads = value_and_grad(total, argnums=(0, 1, 2))(x, a, b)
    return [value, *grads]


def cross_entropy(x: Any) -> Any:
    labels = ops.asarray([i % 7 for i in range(x.shape[0])])
    return ops.mean(ops.sparse_softmax_cross_entropy(labels, x))


def whole_numbers(x: Any) -> Any:
    i = ops.cast(x * 100.0, "int32")
    return [ops.floor_divide(i, 7), ops.remainder(i, -7), ops.max(i, axis=0), ops.sum(i)]


# name: the function, and the shapes of its float32 arguments
CASES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "element-wise": (gated, [(9, 17)] * 3),
    "element-wise and gradients": (gated_and_gradients, [(9, 17)] * 3),
    "broadcast": (lambda x, b: ops.relu(x + b) * 2.0, [(9, 17), (17,)]),
    "transposed": (lambda x: ops.transpose(x) + 1.0, [(9, 17)]),
    "rows": (lambda x: ops.sum(x * x, axis=1), [(5, 40)]),
    "columns": (lambda x: ops.max(x, axis=0), [(40, 9)]),
    "columns between": (lambda x: ops.sum(x * x, axis=1), [(2, 40, 5)]),
    "everything": (lambda x: ops.mean(ops.exp(x)), [(64, 80)]),
    "softmax": (lambda x: ops.softmax(x), [(4, 7)]),
    "cross entropy": (cross_entropy, [(4, 7)]),
    "mask": (lambda x: ops.where(x > 0.0, x, 0.1 * x), [(9, 17)]),
    "whole numbers": (whole_numbers, [(9, 17)]),
    "truth": (lambda x: [ops.any(x > 1.0, axis=1), ops.all(x > -9.0)], [(9, 17)]),
    "nothing": (lambda x: [ops.exp(x), ops.sum(x, axis=0)], [(0, 3)]),
    "functions of the device": (lambda x: ops.erfc(x) + ops.lgamma(x + 9.0), [(9, 17)]),
    "functions on the host": (lambda x: ops.i0(x) * ops.exp(x), [(9, 17)]),
    "product on the host": (lambda a, b: ops.tanh(a @ b), [(8, 5), (5, 6)]),
}
