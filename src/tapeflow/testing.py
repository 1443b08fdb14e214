"""Derivatives against finite differences: `tf.testing`."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapeflow import arguments, ops
from tapeflow.autodiff.functional import grad, jvp, name_of, vjp
from tapeflow.dtypes import DType, complex128, float64, is_complex, is_inexact
from tapeflow.errors import ArgumentError
from tapeflow.tensor import Array, Tensor, as_tensor
from tapeflow.tree import flatten

__all__ = ["check_gradients"]


def check_gradients(f: Callable[..., Any], args: Sequence[Any], order: int = 2, *,
                    forward: bool = True, step: float = 1e-5, tolerance: float = 1e-5) -> None:
    """Compare the derivatives of `f` at `args`, up to `order`, with central differences.

    Forward mode is compared along one direction, reverse mode element by element; then the gradient
    is itself a function whose derivatives are compared. All is computed in float64 and complex128.
    Of a complex argument x + iy the gradient of a real number is d/dx - i d/dy.

    Args:
        f: gives a floating or complex tensor, or a tree of them. It must be smooth around `args`;
            in complex arguments it need not be holomorphic.
        args: tensors, arrays or numbers; floating and complex ones are differentiated, others are
            kept.
        order: 1 for gradients only, 2 for gradients of gradients too.
        forward: whether forward mode is compared too.
        step: how far to go to each side for a difference.
        tolerance: how much a derivative may be off, relative to the greatest one, or 1.

    Raises: AssertionError, saying which derivative is wrong, by which input, what was expected, and
        what it was; ArgumentError if there is nothing to differentiate, or an argument is of a
        wrong type.

    >>> check_gradients(lambda x: ops.exp(x) * x, [[0.5, -1.0]])
    """
    op = "check_gradients"
    arguments.function(op, "f", f)
    tensors = [as_tensor(a, op=op) for a in arguments.several(op, "args", args, "arguments of f")]
    scale = _Scale(forward, arguments.number(op, "step", step),
                   arguments.number(op, "tolerance", tolerance))
    chosen = [i for i, x in enumerate(tensors) if is_inexact(x.dtype)]
    if not chosen:
        raise ArgumentError(op, got=f"{len(tensors)} arguments",
                            why="none is floating or complex",
                            fix="give at least one floating or complex argument")
    fixed = [x.numpy() for x in tensors]

    def of_chosen(*values: Any) -> list[Tensor]:
        full: list[Any] = [Tensor(x) for x in fixed]
        for i, value in zip(chosen, values, strict=True):
            full[i] = value
        return [as_tensor(y) for y in flatten(f(*full))[0]]

    point = [fixed[i].astype(_widest(fixed[i].dtype)) for i in chosen]
    depth = arguments.integer(op, "order", order)
    _check(of_chosen, point, chosen, depth, scale, f"of {name_of(f)}")


class _Scale:
    """What is compared, how far to step, what may be off, and where directions come from."""

    def __init__(self, forward: bool, step: float, tolerance: float) -> None:
        self.forward, self.step, self.tolerance = forward, step, tolerance
        self.random = np.random.default_rng(0)

    def like(self, arrays: Sequence[Array]) -> list[Array]:
        """One random array of the shape of each; complex where it is."""
        return [self._real(a) + 1j * self._real(a) if is_complex(a.dtype) else self._real(a)
                for a in arrays]

    def _real(self, a: Array) -> Array:
        return np.asarray(self.random.uniform(0.5, 1.5, a.shape)
                          * self.random.choice([-1.0, 1.0], a.shape))


def _widest(dtype: DType) -> DType:
    """What is computed in."""
    return complex128 if is_complex(dtype) else float64


def _check(f: Callable[..., list[Tensor]], point: list[Array], names: Sequence[int], order: int,
           scale: _Scale, what: str) -> None:
    """Compare both modes at `point`, then those of the gradient until `order` is 1."""
    outputs = [y.numpy() for y in f(*map(Tensor, point))]
    direction, cotangent = scale.like(point), scale.like(outputs)
    weights = [Tensor(c) for c in cotangent]

    def weighted(*xs: Any) -> Tensor:
        return ops.add_n([ops.sum(ops.real(y * w)) for y, w in zip(f(*xs), weights, strict=True)])

    if scale.forward:
        tangents = jvp(f, list(map(Tensor, point)), list(map(Tensor, direction)))[1]
        differences = _along(f, point, direction, scale)
        for i, (t, expected) in enumerate(zip(tangents, differences, strict=True)):
            _compare(t.numpy(), expected, f"forward derivative {what}, output {i}", scale)
    gradients = vjp(f, *map(Tensor, point))[1](weights)
    for i, (g, name) in enumerate(zip(gradients, names, strict=True)):
        expected = _slopes(weighted, point, i, scale)
        _compare(g.numpy(), expected, f"reverse derivative {what} by input {name}", scale)
    if order > 1:
        gradient = grad(weighted, tuple(range(len(point))))
        inner = f"of the gradient {what}"
        _check(lambda *xs: list(gradient(*xs)), point, names, order - 1, scale, inner)


def _along(f: Callable[..., list[Tensor]], point: list[Array], direction: list[Array],
           scale: _Scale) -> list[Array]:
    """The central difference of each output along `direction`."""
    ahead, behind = ([y.numpy() for y in f(*(as_tensor(x + sign * scale.step * d) for x, d in
                                             zip(point, direction, strict=True)))]
                     for sign in (1, -1))
    return [(a - b) / (2 * scale.step) for a, b in zip(ahead, behind, strict=True)]


def _slopes(f: Callable[..., Tensor], point: list[Array], i: int, scale: _Scale) -> Array:
    """The central difference of the number f by each element of input i: along the real axis, and
    of a complex element minus i times that along the imaginary one."""
    slopes = np.zeros_like(point[i])
    for at in np.ndindex(point[i].shape):
        for direction in (1, 1j) if is_complex(slopes.dtype) else (1,):
            unit = [np.zeros_like(x) for x in point]
            unit[i][at] = direction
            (slope,) = _along(lambda *xs: [f(*xs)], point, unit, scale)
            slopes[at] += slope * np.conj(direction)
    return slopes


def _compare(got: Array, expected: Array, what: str, scale: _Scale) -> None:
    limit = scale.tolerance * max(1.0, float(np.abs(expected).max(initial=0.0)))
    if not np.allclose(got, expected, rtol=0.0, atol=limit):
        raise AssertionError(f"check_gradients: the {what} is wrong\n"
                             f"  expected: {expected}\n  got: {got}")
