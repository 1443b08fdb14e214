"""Reductions: sums, extrema and what is made of them."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow.ops import shape as _shape
from tapeflow.primitive import Fold, linear
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor

Axis = int | Sequence[int] | None


def _drop(x: Spec, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for a, n in enumerate(x.shape) if a not in axes)


@linear(name="sum",
        spec=lambda x, *, axes: Spec(_drop(x, axes), x.dtype),
        adjoint=lambda g, x, *, axes: _shape._broadcast_to(g, shape=x.shape, axes=axes),
        lowering=Fold("{t}(0)", "{a} + {x}"))
def _sum(x: Array, *, axes: tuple[int, ...]) -> Array:
    """Sum of x over `axes`, which are dropped, in the dtype of x."""
    return np.add.reduce(x, axis=axes, dtype=x.dtype)


def sum(x: TensorLike, axis: Axis = None, dtype: Any = None, keepdims: bool = False) -> Tensor:
    x = as_tensor(x)
    axes = _shape.normalize_axes("sum", axis, x.ndim)
    return _sum(x, axes=axes)
