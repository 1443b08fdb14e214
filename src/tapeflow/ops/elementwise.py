"""The two kinds of primitive that work element by element; where, and stop_gradient."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from tapeflow import config, dispatch
from tapeflow.arrays import of_number
from tapeflow.dtypes import (
    DType,
    bool_,
    complex128,
    default_of,
    float64,
    int64,
    is_complex,
    is_floating,
    promote,
    real_of,
    weak,
)
from tapeflow.errors import DTypeError, ShapeError
from tapeflow.ops import shape as _shape
from tapeflow.ops.casts import cast, real
from tapeflow.primitive import (
    ByExample,
    Leading,
    Primitive,
    Rule,
    Scalar,
    Tangents,
    discrete,
    register,
    total,
)
from tapeflow.tensor import NUMBER_TYPES, Array, Spec, Tensor, TensorLike, as_tensor, is_number

Definition: TypeAlias = "Callable[[Callable[..., Array]], Elementwise]"
Result: TypeAlias = Callable[[DType], DType]   # the output's dtype, from that of the inputs


@dataclass(frozen=True, slots=True)
class Gate:
    """A partial derivative of 0 and 1: where `is_open(y, *xs)` holds, the cotangent passes."""

    is_open: Callable[..., Tensor]


Partial: TypeAlias = Callable[..., Tensor] | Gate | Literal[1, -1] | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The dtypes that an op is defined for: their NumPy kinds (V: bfloat16), and how to say so."""

    kinds: str
    words: str
    fix: str


ANY = Accepted("biufcV", "every dtype", "")
NUMERIC = Accepted("iufcV", "numbers, not for bool", "cast the input: tf.cast(x, tf.int32)")
NUMBERS = Accepted("iufV", "real numbers only", "cast the input: tf.cast(x, tf.int32)")
INEXACT = Accepted("fcV", "floating and complex dtypes only",
                   "cast the input: tf.cast(x, tf.float32)")
FLOATS = Accepted("fV", "floating dtypes only", "cast the input: tf.cast(x, tf.float32)")
BITS = Accepted("biu", "bool and integers", "cast the input: tf.cast(x, tf.int32)")
INTEGERS = Accepted("iu", "integers only", "cast the input: tf.cast(x, tf.int32)")
BOOLS = Accepted("b", "bool only", "compare first, e.g. x != 0")


class Weak(Tensor):
    """A Python number that a compiled function got as argument: like the number itself, it takes
    the dtype of the tensor beside it."""

    __slots__ = ()

    def __tapeflow_tensor__(self) -> Tensor:
        return cast(Tensor(self.value), default_of(self.example))

    @property
    def example(self) -> complex:
        """A Python number of the same type."""
        return 1j if is_complex(self.dtype) else 1.0 if is_floating(self.dtype) else 1

    def like(self, dtype: DType, op: str) -> Tensor:
        """This number in `dtype`."""
        if dtype.kind in "iu" and dtype != self.dtype:
            return _narrowed(Tensor(self.value), dtype=dtype, op=op)
        return cast(Tensor(self.value), dtype)


@discrete(name="narrow", spec=lambda x, *, dtype, op: Spec(x.shape, dtype),
          batching=ByExample("each number has to fit the dtype"))
def _narrowed(x: Array, *, dtype: DType, op: str) -> Array:
    """A whole number in an integer dtype; raises where the number that arrives does not fit."""
    return x.astype(weak(int(x), dtype, op))


def coerce(op: str, *xs: TensorLike) -> list[Tensor]:
    """The inputs of `op` as tensors of one dtype; Python numbers take the dtype of the others."""
    first = xs[0]
    if type(first) is Tensor:
        alike: list[Tensor] = []
        dtype = first.value.dtype
        numbers = (float, int) if dtype.kind == "f" else ()
        for x in xs:
            if type(x) is Tensor and x.value.dtype is dtype:
                alike.append(x)
            elif type(x) in numbers:
                alike.append(dispatch.wrap(of_number(x, dtype, op)))
            else:
                break
        else:
            return alike
    strong: DType | None = None
    tensors: list[Tensor | None] = []
    for x in xs:
        t = None if is_number(x) or type(x) is Weak else as_tensor(x, op=op)
        tensors.append(t)
        if t is not None:
            own = t.value.dtype
            strong = own if strong is None or own is strong else _promoted(strong, own, op)
    if strong is None:
        return _numbers(op, xs)
    for x, t in zip(xs, tensors, strict=True):
        if t is None and not (type(x) is float and strong.kind == "f"):
            strong = weak(x.example if type(x) is Weak else x, strong, op)
    return [_number(x, strong, op) if t is None else
            t if t.value.dtype is strong else cast(t, strong)
            for x, t in zip(xs, tensors, strict=True)]


def _promoted(a: DType, b: DType, op: str) -> DType:
    common = promote(a, b, op)
    if common == float64 and a != b:
        config.float64_arises(op, f"{a.name} beside {b.name} gives a tensor of float64")
    return common


def _number(x: TensorLike, dtype: DType, op: str) -> Tensor:
    if type(x) is Weak:
        return x.like(dtype, op)
    return Tensor(of_number(x, dtype, op))


def _numbers(op: str, xs: Sequence[TensorLike]) -> list[Tensor]:
    """Numbers alone: in the default dtype, or if one is traced as Python has it, 64 bits wide."""
    kinds = {type(x.example if type(x) is Weak else x) for x in xs}
    widest = next(kind for kind in (complex, float, int, bool) if kind in kinds)
    if any(type(x) is Weak for x in xs):
        dtype = {complex: complex128, float: float64}.get(widest, int64)
        return [cast(Tensor(x.value), dtype) if type(x) is Weak else
                Tensor(of_number(x, dtype, op)) for x in xs]
    return [Tensor(of_number(x, default_of(widest()), op)) for x in xs]


def operand(op: str, x: TensorLike) -> TensorLike:
    """x as it stands beside another input of `op`: numbers stay weak, all else is a tensor."""
    return x if is_number(x) or type(x) is Weak else as_tensor(x, op=op)


class Elementwise(Primitive):
    """Broadcasting is an op of its own, so that forty elementwise ops need not know of it."""

    def __init__(self, array_fn: Callable[..., Array], accepted: Accepted, result: Result,
                 spec: Callable[..., Spec] | None = None, **rules: Any) -> None:
        name = array_fn.__name__.strip("_")
        super().__init__(array_fn, spec or _spec_rule(name, accepted, result), name=name,
                         batching=Rule(lambda prim, size, xs, batched: prim(*xs)), **rules)
        self.accepted = accepted
        self.__signature__ = _by_position(array_fn)

    def coerce(self, *xs: TensorLike) -> list[Tensor]:
        """The inputs in one dtype, which the op is defined for."""
        tensors = coerce(self.name, *xs)
        if tensors[0].value.dtype.kind not in self.accepted.kinds:   # NumPy would convert silently
            raise unfit(self.name, self.accepted, *(t.spec for t in tensors))
        return tensors

    def __call__(self, *xs: TensorLike) -> Tensor:   # type: ignore[override]   # no attributes
        context = dispatch.here.context
        if context.tracer is None and type(xs[0]) is Tensor:
            x, y = xs[0], xs[-1]
            if x.value.dtype.kind in self.accepted.kinds:
                if len(xs) == 1:
                    return dispatch.unary(self, x)
                if len(xs) == 2 and type(y) is Tensor and x.value.dtype is y.value.dtype and (
                        not context.records or x.value.shape == y.value.shape):
                    return dispatch.apply(self, xs)   # type: ignore[no-any-return]
        tensors = self.coerce(*xs)
        if len(xs) > 1 and (context.tracer is not None or context.records):
            tensors = self._broadcast(xs, tensors)
        z: Tensor = dispatch.apply(self, tuple(tensors))
        if context.tracer is not None and all(is_number(x) or type(x) is Weak for x in xs):
            return z if z.dtype == bool_ else Weak(z.value)   # a comparison is no number
        return z

    def _broadcast(self, xs: Sequence[TensorLike], tensors: list[Tensor]) -> list[Tensor]:
        """Each in the common shape; outside traces a number stays one: no gradient asks for it."""
        stays = NUMBER_TYPES if dispatch.here.context.tracer is None else ()
        shapes = [t.value.shape for x, t in zip(xs, tensors, strict=True) if type(x) not in stays]
        if shapes and shapes.count(shapes[0]) == len(shapes):
            return tensors
        shape = _shape.broadcast_shapes(self.name, *(t.spec for t in tensors))
        return [t if type(x) in stays or t.shape == shape else _shape.broadcast_to(t, shape)
                for x, t in zip(xs, tensors, strict=True)]


def _by_position(array_fn: Callable[..., Array]) -> inspect.Signature:
    """What a call looks like: the array function's parameters, whose names nobody may rely on."""
    kind = inspect.Parameter.POSITIONAL_ONLY
    names = inspect.signature(array_fn).parameters
    return inspect.Signature([inspect.Parameter(name, kind) for name in names])


def unfit(op: str, accepted: Accepted, *specs: Spec) -> DTypeError:
    fix = accepted.fix
    if any(is_complex(s.dtype) for s in specs):
        fix = "take tf.real(x), tf.imag(x) or tf.abs(x) first"
    return DTypeError(op, got=", ".join(map(str, specs)),
                      why=f"{op} is defined for {accepted.words}", fix=fix)


def same(dtype: DType) -> DType:
    """The result's dtype is that of the inputs."""
    return dtype


def _truth(dtype: DType) -> DType:
    """The result is bool."""
    return bool_


def _spec_rule(op: str, accepted: Accepted, result: Result) -> Callable[..., Spec]:
    def spec(*specs: Spec) -> Spec:
        first = specs[0]
        if any(s.dtype != first.dtype for s in specs):
            raise DTypeError(op, got=", ".join(map(str, specs)), why="the dtypes differ",
                             fix="cast one of them: tf.cast(x, tf.float32)")
        if first.dtype.kind not in accepted.kinds:
            raise unfit(op, accepted, *specs)
        return Spec(_common(op, *specs), result(first.dtype))
    return spec


def _common(op: str, *specs: Spec) -> tuple[int, ...]:
    """The shape of an elementwise result; in a graph all inputs have it."""
    shape = _shape.broadcast_shapes(op, *specs)
    if dispatch.tracer() and any(s.shape != shape for s in specs):
        raise ShapeError(op, got=", ".join(map(str, specs)), why="the shapes differ",
                         fix="broadcast the inputs first")
    return shape


def elementwise(text: str, *partials: Partial, of: Accepted = NUMBERS, result: Result = same,
                of_complex: str | None = None) -> Definition:
    """An op on each element; `text` is its scalar form, in the names of the function's parameters.

    Partial i is dy/dx_i: 1 or -1, a function of (y, *xs), a Gate, or None where no gradient flows
    to x_i. It serves both modes. Of a `result` that is real for complex inputs, the tangent is the
    real part of tangent times partial.
    """
    def define(fn: Callable[..., Array]) -> Elementwise:
        rules = _both_modes(partials, part=real if result is real_of else None)
        prim = Elementwise(fn, of, result, lowering=Scalar(text, of_complex), **rules)
        register(prim)
        return prim
    return define


def predicate(text: str | None, *, of: Accepted = ANY, same_dtype: bool = False,
              of_complex: str | None = None) -> Definition:
    """An elementwise op with no derivative: a comparison, which gives bools, or (`same_dtype`) a
    step function such as floor or bitwise_and. Without `text` it runs on the host."""
    def define(fn: Callable[..., Array]) -> Elementwise:
        prim = Elementwise(fn, of, same if same_dtype else _truth,
                           lowering=None if text is None else Scalar(text, of_complex))
        register(prim)
        return prim
    return define


def _both_modes(partials: Sequence[Partial],
                part: Callable[[Tensor], Tensor] | None = None) -> dict[str, Any]:
    """Adjoints and jvp, both "times the partial"; `part` of the latter."""
    rules = tuple(None if p is None else _times(p) for p in partials)

    def jvp(ts: Tangents, y: Tensor, *xs: Tensor) -> Tensor | None:
        t = total([None if t is None or rule is None else rule(t, y, *xs)
                   for t, rule in zip(ts, rules, strict=True)])
        return t if part is None or t is None else part(t)

    return {"adjoints": rules, "jvp": jvp}


def _times(partial: Callable[..., Tensor] | Gate | Literal[1, -1]) -> Callable[..., Tensor]:
    """The rule that multiplies its first argument, g of (g, y, *xs), by the partial."""
    if partial == 1:
        return lambda g, *_: g
    if partial == -1:
        return lambda g, *_: -g
    if isinstance(partial, Gate):
        is_open = partial.is_open
        return lambda g, *values: where(is_open(*values), g, 0.0)
    return lambda g, *values: g * partial(*values)


# ---- constants

@discrete(name="stop_gradient", spec=lambda x: x, lowering=Scalar("{x}", of_complex="{x}"),
          batching=Leading())
def _stop_gradient(x: Array) -> Array:
    return x


def stop_gradient(x: TensorLike) -> Tensor:
    """x itself, as a constant: no gradient flows back through it."""
    return _stop_gradient(as_tensor(x, op="stop_gradient"))


# ---- where

class _Where(Elementwise):
    """The one elementwise op whose inputs are not all of one dtype."""

    def coerce(self, *xs: TensorLike) -> list[Tensor]:
        condition, x, y = xs
        return [_condition(as_tensor(condition, op="where")), *coerce("where", x, y)]

    def __call__(self, *xs: TensorLike) -> Tensor:   # type: ignore[override]
        if len(xs) == 3 and type(xs[0]) is type(xs[1]) is type(xs[2]) is Tensor:
            c, x, y = (t.value for t in xs)
            if c.dtype is bool_ and x.dtype is y.dtype and c.shape == x.shape == y.shape:
                return dispatch.apply(self, xs)   # type: ignore[no-any-return]
        return super().__call__(*xs)


def _condition(c: Tensor) -> Tensor:
    if c.dtype != bool_:
        raise unfit("where", BOOLS, c.spec)
    return c


def _where_spec(condition: Spec, x: Spec, y: Spec) -> Spec:
    if condition.dtype != bool_ or x.dtype != y.dtype:
        raise DTypeError("where", got=f"condition {condition}, x {x}, y {y}",
                         why="the condition must be bool, and x and y of one dtype",
                         fix="compare first, e.g. x > 0, and cast x or y")
    return Spec(_common("where", condition, x, y), x.dtype)


def _where(condition: Array, x: Array, y: Array) -> Array:
    """x where the condition holds, elsewhere y.

    Args:
        condition: bool[...].
        x, y: of one dtype, or a Python number.

    Returns: the common shape of all three. The derivative does not touch the value not chosen: no
        NaN comes from there, unless it was computed with one.
    Raises: DTypeError unless the condition is bool and x and y promote, ShapeError unless all
        shapes broadcast together.
    """
    return np.where(condition, x, y)


where = _Where(_where, ANY, same, lowering=Scalar(*["({x} if {condition} else {y})"] * 2),
               spec=_where_spec,
               **_both_modes((None, Gate(lambda z, c, x, y: c), Gate(lambda z, c, x, y: ~c))))
register(where)
