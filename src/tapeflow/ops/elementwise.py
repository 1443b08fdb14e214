"""The two kinds of primitive that work element by element, and arithmetic."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from tapeflow import dispatch
from tapeflow.dtypes import DType, as_dtype, bool_, default_of, is_floating, promote, weak
from tapeflow.errors import DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.primitive import Primitive, Scalar, Tangents, primitive, register, total
from tapeflow.tensor import Array, Spec, Tensor, TensorLike, as_tensor, is_number

Partial: TypeAlias = Callable[..., TensorLike] | float | None


class Weak(Tensor):
    """A Python number that a compiled function got as argument: like the number itself, it takes
    the dtype of the tensor beside it."""

    __slots__ = ()

    def __tapeflow_tensor__(self) -> Tensor:
        number = 0.0 if is_floating(self.dtype) else 0
        return cast(Tensor(self.value), default_of(number))

    def like(self, dtype: DType, op: str) -> Tensor:
        """This number in `dtype`."""
        weak(1.0 if is_floating(self.dtype) else 1, dtype, op)
        return cast(Tensor(self.value), dtype)


def coerce(op: str, *xs: TensorLike) -> list[Tensor]:
    """The inputs of `op` as tensors of one dtype; Python numbers take the dtype of the others."""
    strong: DType | None = None
    tensors: list[Tensor | None] = []
    for x in xs:
        t = None if is_number(x) or type(x) is Weak else as_tensor(x)
        tensors.append(t)
        if t is not None:
            strong = t.dtype if strong is None or t.dtype is strong else promote(strong, t.dtype, op)
    if strong is None:
        return _numbers(op, xs)
    return [_number(x, strong, op) if t is None else t if t.dtype is strong else cast(t, strong)
            for x, t in zip(xs, tensors, strict=True)]


def _number(x: TensorLike, dtype: DType, op: str) -> Tensor:
    if type(x) is Weak:
        return x.like(dtype, op)
    return dispatch.wrap(np.array(x, weak(x, dtype, op)))


def _numbers(op: str, xs: Sequence[TensorLike]) -> list[Tensor]:
    """Numbers alone: in the default dtype, or if one is traced as Python has it, 64 bits wide."""
    if any(type(x) is Weak for x in xs):
        floats = any(isinstance(x, float) or type(x) is Weak and is_floating(x.dtype) for x in xs)
        dtype = np.dtype(np.float64 if floats else np.int64)
        return [cast(Tensor(x.value), dtype) if type(x) is Weak else Tensor(np.array(x, dtype))
                for x in xs]
    widest = default_of(0.0) if any(type(x) is float for x in xs) else (
        default_of(0) if any(type(x) is int for x in xs) else bool_)
    return [dispatch.wrap(np.array(x, widest)) for x in xs]


class Elementwise(Primitive):
    """Broadcasting is an op of its own, so that forty elementwise ops need not know of it."""

    def __call__(self, *xs: TensorLike) -> Any:
        tensors = coerce(self.name, *xs)
        context = dispatch.here.context
        if len(xs) > 1 and (context.tracer is not None or context.records):
            tensors = self._broadcast(xs, tensors)
        y = dispatch.apply(self, tuple(tensors))
        if context.tracer is not None and all(is_number(x) or type(x) is Weak for x in xs):
            return Weak(y.value)
        return y

    def _broadcast(self, xs: Sequence[TensorLike], tensors: list[Tensor]) -> list[Tensor]:
        """Each in the common shape; outside traces a number stays one, as no gradient asks for it."""
        if len({t.shape for t in tensors}) == 1:
            return tensors
        shape = _shape.broadcast_shapes(self.name, *(t.spec for t in tensors))
        eager = dispatch.here.context.tracer is None
        return [t if eager and is_number(x) else _shape.broadcast_to(t, shape)
                for x, t in zip(xs, tensors, strict=True)]


def _spec_rule(op: str, result: DType | None, floating: bool) -> Callable[..., Spec]:
    def spec(*specs: Spec) -> Spec:
        first = specs[0]
        if any(s.dtype != first.dtype for s in specs):
            raise DTypeError(op, got=", ".join(map(str, specs)), why="the dtypes differ",
                             fix="cast one of them: tf.cast(x, tf.float32)")
        if floating and not is_floating(first.dtype):
            raise DTypeError(op, got=", ".join(map(str, specs)),
                             why=f"{op} is defined for floating dtypes",
                             fix="cast the input: tf.cast(x, tf.float32)")
        shape = _shape.broadcast_shapes(op, *specs)
        if dispatch.tracer() and any(s.shape != shape for s in specs):
            raise ShapeError(op, got=", ".join(map(str, specs)), why="the shapes differ",
                             fix="broadcast the inputs first")
        return Spec(shape, result or first.dtype)
    return spec


def elementwise(text: str, *partials: Partial, floating: bool = False) -> Any:
    """An op on each element; `text` is its scalar form, in the names of the function's parameters.

    Partial i is dy/dx_i: a number, or a function of (y, *xs) that gives a tensor, or None where no
    gradient flows to x_i. It serves both modes. `floating`: the op is not defined for integers.
    """
    def define(fn: Callable[..., Array]) -> Elementwise:
        def adjoint(partial: Partial) -> Callable[..., Tensor] | None:
            return None if partial is None else lambda g, y, *xs: _times(g, partial, y, *xs)

        def jvp(ts: Tangents, y: Tensor, *xs: Tensor) -> Tensor | None:
            return total([None if t is None or d is None else _times(t, d, y, *xs)
                          for t, d in zip(ts, partials, strict=True)])

        name = fn.__name__.strip("_")
        prim = Elementwise(fn, _spec_rule(name, None, floating), name=name, lowering=Scalar(text),
                           adjoints=tuple(map(adjoint, partials)), jvp=jvp)
        register(prim)
        return prim
    return define


def predicate(text: str, *, floating: bool = False, same_dtype: bool = False) -> Any:
    """An elementwise op with no derivative: a comparison, which gives bools, or (`same_dtype`) a
    step function such as floor or bitwise_and."""
    def define(fn: Callable[..., Array]) -> Elementwise:
        name = fn.__name__.strip("_")
        prim = Elementwise(fn, _spec_rule(name, None if same_dtype else bool_, floating), name=name,
                           lowering=Scalar(text))
        register(prim)
        return prim
    return define


def _times(g: Tensor, partial: Partial, y: Tensor, *xs: Tensor) -> Tensor:
    if callable(partial):
        return g * partial(y, *xs)
    return g if partial == 1 else -g if partial == -1 else g * partial


# ---- cast

def _cast_adjoint(g: Tensor, y: Tensor, x: Tensor, *, dtype: DType) -> Tensor | None:
    return cast(g, x.dtype) if is_floating(dtype) and is_floating(x.dtype) else None


def _cast_jvp(ts: Tangents, y: Tensor, x: Tensor, *, dtype: DType) -> Tensor | None:
    return cast(ts[0], dtype) if is_floating(dtype) and is_floating(x.dtype) else None


@primitive(name="cast", spec=lambda x, *, dtype: Spec(x.shape, dtype), lowering=Scalar("{t}({x})"),
           adjoints=(_cast_adjoint,), jvp=_cast_jvp)   # type: ignore[arg-type]
def _cast(x: Array, *, dtype: DType) -> Array:
    return x.astype(dtype)


def cast(x: TensorLike, dtype: object) -> Tensor:
    """x with its elements in `dtype`; floats are rounded to nearest, to integers towards zero.

    Gradients pass between floating dtypes only.

    >>> cast([1.7, -1.7], "int32")
    Tensor([ 1, -1], i32[2])
    """
    x = as_tensor(x)
    target = as_dtype(dtype, "cast")
    return x if x.dtype == target else _cast(x, dtype=target)


# ---- arithmetic

@elementwise("{x} + {y}", 1, 1)
def add(x: Array, y: Array) -> Array:
    """x + y."""
    return np.add(x, y)


@elementwise("{x} - {y}", 1, -1)
def subtract(x: Array, y: Array) -> Array:
    """x - y."""
    return np.subtract(x, y)


@elementwise("{x} * {y}", lambda z, x, y: y, lambda z, x, y: x)
def multiply(x: Array, y: Array) -> Array:
    """x * y."""
    return np.multiply(x, y)


@elementwise("{x} / {y}", lambda z, x, y: 1.0 / y, lambda z, x, y: -(z / y),
             floating=True)
def divide(x: Array, y: Array) -> Array:
    """x / y, for floating dtypes; x / 0 is infinite or NaN."""
    return np.divide(x, y)


@elementwise("-{x}", -1)
def negative(x: Array) -> Array:
    """-x."""
    return np.negative(x)


@elementwise("exp({x})", lambda y, x: y, floating=True)
def exp(x: Array) -> Array:
    """e to the power x."""
    return np.exp(x)


@elementwise("tanh({x})", lambda y, x: 1.0 - y * y, floating=True)
def tanh(x: Array) -> Array:
    """Hyperbolic tangent of x."""
    return np.tanh(x)


@predicate("{x} > {y}")
def greater(x: Array, y: Array) -> Array:
    """Whether x > y."""
    return np.greater(x, y)
