"""Operations, one definition each, and the operators and methods of Tensor."""
from __future__ import annotations

from tapeflow.ops.create import asarray, full, full_like, ones, ones_like, zeros, zeros_like
from tapeflow.ops.elementwise import add, cast, divide, exp, greater, multiply, negative, subtract, tanh
from tapeflow.ops.linalg import matmul
from tapeflow.ops.reduce import sum
from tapeflow.ops.shape import (
    broadcast_to,
    expand_dims,
    matrix_transpose,
    permute_dims,
    reshape,
    squeeze,
    transpose,
)
from tapeflow.ops._operators import bind as _bind

_bind()
