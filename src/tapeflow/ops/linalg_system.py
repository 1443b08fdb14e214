"""The kind of primitive that solves a @ x = b: linear in b, and in a by the same solver.

Source: Giles (2008), section 2.3.1: with g the cotangent of x, that of b solves a^T @ y = g, and
that of a is -y @ x^T.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tapeflow import dispatch
from tapeflow.errors import ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.elementwise import coerce
from tapeflow.ops.linalg_matrix import matrix
from tapeflow.primitive import Primitive, Rule, Tangents, total
from tapeflow.tensor import Array, Tensor, TensorLike


class System(Primitive):
    """Gives both cotangents at once: that of a is made of that of b.

    Args:
        array_fn: x of (a, b, **attrs), whose leading axes are equal.
        back: the solution for the transpose of a.
        part: what of a matrix like a matters.
    """

    def __init__(self, array_fn: Callable[..., Array], name: str, *, back: Callable[..., Tensor],
                 part: Callable[..., Tensor]) -> None:
        super().__init__(array_fn, lambda a, b, **attrs: b, name=name, batching=Rule(_examples))
        self._back, self._part = back, part

    def pull(self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Mapping[str, Any],
             wanted: Sequence[bool]) -> list[Tensor | None]:
        g = self._back(xs[0], gs, **attrs)
        of_a = -self._part(g @ ys.mT, **attrs) if wanted[0] else None
        return [of_a, g if wanted[1] else None]

    def push(self, ts: Tangents, ys: Any, xs: tuple[Tensor, ...], attrs: Mapping[str, Any]) -> Any:
        of_a, of_b = ts
        moved = None if of_a is None else -(self._part(of_a, **attrs) @ ys)
        return dispatch.apply(self, (xs[0], total([of_b, moved])), attrs)   # type: ignore[arg-type]

    def solution(self, a: Tensor, b: Tensor, **attrs: Any) -> Tensor:
        """x for leading axes that broadcast. Those in front, which only b has, become columns: each
        matrix is factored once."""
        extra = b.ndim - a.ndim
        if extra > 0:
            last = b.ndim - 1
            order = (*range(extra, last), *range(extra), last)
            moved = _shape.permute_dims(b, order)
            columns = (*moved.shape[:last - extra], math.prod(moved.shape[last - extra:]))
            x = self.solution(a, _shape.reshape(moved, columns), **attrs)
            apart = _shape.reshape(x, (*x.shape[:-1], *moved.shape[last - extra:]))
            return _shape.permute_dims(apart, _shape.inverse_order(order))
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return self(_shape.broadcast_to(a, (*batch, *a.shape[-2:])),
                    _shape.broadcast_to(b, (*batch, *b.shape[-2:])), **attrs)


def _examples(prim: System, size: int, xs: tuple[Tensor, ...], batched: tuple[bool, ...],
              **attrs: Any) -> Any:
    """vmap: where all examples have one a, their right-hand sides are further columns."""
    return prim.solution(*(xs if batched[1] else _shape.filled(size, xs, batched)), **attrs)


def system(op: str, a: TensorLike, b: TensorLike) -> tuple[Tensor, Tensor, bool]:
    """The matrices a, the right-hand sides b as matrices of their dtype, and if b was a vector.

    Raises: DTypeError or ShapeError in the name of `op` if they do not fit.
    """
    x, y = coerce(op, a, b)
    matrix(op, x)
    is_vector = y.ndim == 1
    rows = y.shape[0 if is_vector else -2] if y.ndim else "none"
    if x.shape[-2] != rows:
        raise ShapeError(op, got=f"a {x.spec}, b {y.spec}",
                         why=f"a has {x.shape[-2]} rows and b has {rows}",
                         fix="give b[n] for one right-hand side, b[..., n, k] for k of them")
    if is_vector:
        y = _shape.expand_dims(y, 1)
    try:
        np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    except ValueError:
        raise ShapeError(op, got=f"a {x.spec}, b {y.spec}", fix="make the leading axes equal, or 1",
                         why="the leading axes do not broadcast together") from None
    return x, y, is_vector
