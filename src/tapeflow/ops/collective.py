"""Collectives: ops over all ranks of a group, which is an attribute. The identity at size 1.

All ranks must run the same ones in one order, whatever else each computes: they have an effect.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn, Protocol

import numpy as np

from tapeflow.errors import ArgumentError, ShapeError
from tapeflow.ops.create import zeros_like
from tapeflow.ops.movement import moveaxis
from tapeflow.primitive import Leading, Primitive, Rule, discrete, linear, primitive
from tapeflow.tensor import Array, Spec, Tensor


class Group(Protocol):
    """The ranks of a job, as `tapeflow.distributed` makes them."""

    rank: int
    size: int

    def check_reducible(self, op: str, x: Array | Spec) -> None: ...

    def all_reduce(self, x: Array, op: str, name: str | None,
                   out: Array | None = None) -> Array: ...

    def all_reduce_together(self, xs: Sequence[Array], op: str, name: str | None,
                            outs: Sequence[Array]) -> None: ...

    def broadcast(self, x: Array, root: int, name: str | None) -> Array: ...

    def all_gather(self, x: Array, name: str | None) -> Array: ...


def _reduced_spec(x: Spec, *, group: Group, op: str, name: str | None) -> Spec:
    group.check_reducible(op, x)
    return x


def _reduced_again(g: Tensor, x: Spec, *, group: Group, op: str, name: str | None) -> Tensor:
    return all_reduce(g, group=group, op=op, name=name)


@linear(spec=_reduced_spec, adjoint=_reduced_again, has_effect=True,
        batching=Leading())
def all_reduce(x: Array, *, group: Group, op: str, name: str | None) -> Array:
    """The sum or mean over all ranks. The loss that is differentiated is the sum of the ranks'."""
    return group.all_reduce(x, op, name)


def _no_derivative(g: Tensor, y: Tensor, x: Tensor, *, op: str, **_: object) -> NoReturn:
    raise ArgumentError("all_reduce", got=f"op {op!r}, x {x.spec}",
                        why=f"{op} over ranks has no derivative",
                        fix='take op="sum" or "mean", or put tf.stop_gradient around x')


@primitive(name="all_reduce_nonlinear", spec=_reduced_spec, adjoints=(_no_derivative,),
           has_effect=True, batching=Leading())
def all_reduce_nonlinear(x: Array, *, group: Group, op: str, name: str | None) -> Array:
    """The maximum, minimum or product over all ranks."""
    return group.all_reduce(x, op, name)


def _specs_as_given(*xs: Spec, group: Group, op: str, name: str | None) -> tuple[Spec, ...]:
    for x in xs:
        group.check_reducible(op, x)
    return xs


def _reduced_into(outs: Sequence[Array], *xs: Array, group: Group, op: str,
                  name: str | None) -> None:
    group.all_reduce_together(xs, op, name, outs)


@discrete(spec=_specs_as_given, multiple=True, has_effect=True, into=_reduced_into,
          batching=Leading())
def all_reduce_bucket(*xs: Array, group: Group, op: str, name: str | None) -> tuple[Array, ...]:
    """all_reduce of arrays of one dtype as one message. No derivative: it is for gradients."""
    outs = tuple(np.empty(x.shape, x.dtype) for x in xs)
    group.all_reduce_together(xs, op, name, outs)
    return outs


def _sum_at_root(g: Tensor, x: Spec, *, group: Group, root: int, name: str | None) -> Tensor:
    total: Tensor = all_reduce(g, group=group, op="sum", name=name)
    return total if group.rank == root else zeros_like(total)


@linear(spec=lambda x, *, group, root, name: x, adjoint=_sum_at_root, has_effect=True,
        batching=Leading())
def broadcast(x: Array, *, group: Group, root: int, name: str | None) -> Array:
    """Rank `root`'s x."""
    return group.broadcast(x, root, name)


def _needs_axis(op: str, x: Spec, parts: int) -> None:
    if not x.shape or x.shape[0] % parts:
        raise ShapeError(op, got=f"x {x}",
                         why=f"axis 0 cannot be cut into {parts} equal parts" if x.shape else
                             "there is no axis along which to join the ranks' values",
                         fix="reshape or pad x")


def _gathered_spec(x: Spec, *, group: Group, name: str | None) -> Spec:
    _needs_axis("all_gather", x, 1)
    return Spec((group.size * x.shape[0], *x.shape[1:]), x.dtype)


def _scattered_spec(x: Spec, *, group: Group, name: str | None) -> Spec:
    _needs_axis("reduce_scatter", x, group.size)
    return Spec((x.shape[0] // group.size, *x.shape[1:]), x.dtype)


def _scattered(g: Tensor, x: Spec, *, group: Group, name: str | None) -> Tensor:
    return reduce_scatter(g, group=group, name=name)


def _gathered(g: Tensor, x: Spec, *, group: Group, name: str | None) -> Tensor:
    return all_gather(g, group=group, name=name)


def _joined_behind(prim: Primitive, size: int, xs: Sequence[Tensor], batched: Sequence[bool],
                   /, **attrs: object) -> Tensor:
    """Axis 0 of an example, along which ranks are joined, in front of the examples."""
    (x,) = xs
    return moveaxis(prim(moveaxis(x, 0, 1), **attrs), 1, 0)


@linear(spec=_gathered_spec, adjoint=_scattered, has_effect=True, batching=Rule(_joined_behind))
def all_gather(x: Array, *, group: Group, name: str | None) -> Array:
    """The ranks' x, one after the other along axis 0: f[n, ...] -> f[size * n, ...]."""
    return group.all_gather(x, name)


@linear(spec=_scattered_spec, adjoint=_gathered, has_effect=True, batching=Rule(_joined_behind))
def reduce_scatter(x: Array, *, group: Group, name: str | None) -> Array:
    """This rank's part of the sum over all ranks: f[size * n, ...] -> f[n, ...]."""
    count = len(x) // group.size
    if len(x) % group.size:
        raise ValueError("the shape rule says why")
    return group.all_reduce(x, "sum", name)[group.rank * count:(group.rank + 1) * count]
