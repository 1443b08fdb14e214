"""Derivatives of functions as functions: grad, vjp, jvp, jacobian and their kin."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tapeflow import arguments, dispatch, ops
from tapeflow.autodiff.batching import vmap
from tapeflow.autodiff.cotangents import basis, differentiable
from tapeflow.autodiff.forward import ForwardAccumulator
from tapeflow.autodiff.tape import GradientTape
from tapeflow.dtypes import is_complex
from tapeflow.errors import ArgumentError, DTypeError, ShapeError
from tapeflow.ops import shape
from tapeflow.tensor import Tensor, as_tensor
from tapeflow.tree import flatten, map_tree, unflatten

Function = Callable[..., Any]


def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """A function that gives `(f(*args), gradient)`, or `((value, aux), gradient)` with `has_aux`.

    Args:
        f: gives a floating tensor without axes, or `(tensor, aux)` with `has_aux`. Its
            arguments may be complex: docs/complex.md says what the gradient is then.
        argnums: the argument to differentiate by (a tensor or a tree of them), or several.

    Raises: ShapeError if `f` gives more than one number, DTypeError if it gives an integer or a
        complex number, ArgumentError if `f` is no function, has no such argument, or gives no
        pair with `has_aux`.
    """

    arguments.function("grad", "f", f)
    chosen = arguments.integers("grad", "argnums", argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        tensors = _fresh("grad", f, args, chosen)
        with GradientTape() as tape:
            tape.watch([tensors[i] for i in chosen])
            result = f(*tensors, **keywords)
        value, aux = _with_aux(f, result) if has_aux else (result, None)
        y = as_tensor(value)
        if y.shape:
            raise ShapeError(
                "grad",
                got=f"{name_of(f)} gave {y.spec}",
                why="a gradient is that of one number",
                fix="reduce the result, e.g. with tf.sum, or use tf.jacobian",
            )
        if is_complex(y.dtype):
            raise DTypeError(
                "grad",
                got=f"{name_of(f)} gave {y.spec}",
                why="a gradient is that of a real number",
                fix="take tf.real, tf.imag or tf.abs of the result, or use tf.vjp or tf.jvp",
            )
        sources = tuple(tensors[i] for i in chosen)
        grads = tape.gradient(y, sources, unconnected_gradients="zero")
        return ((value, aux) if has_aux else value), (
            grads[0] if isinstance(argnums, int) else grads
        )

    return wrapped


def _with_aux(f: Function, result: Any) -> tuple[Any, Any]:
    return arguments.pair(
        "grad",
        result,
        name_of(f),
        why="with has_aux a function gives a pair: its value, and what else it has to tell",
        fix="return value, aux, or leave has_aux out",
    )


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that gives the gradient of `f`, or `(gradient, aux)`: see value_and_grad.

    Raises: as value_and_grad().

    >>> grad(lambda x: x * x * x)(2.0)
    Tensor(12., f32[])
    """
    both = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        value, gradient = both(*args, **keywords)
        return (gradient, value[1]) if has_aux else gradient

    return wrapped


def vjp(f: Function, *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """`(f(*primals), pullback)`; `pullback(cotangents)` gives a tuple, one entry a primal.

    Raises: ArgumentError if `f` is no function; what `pullback` gets must have the structure
        (ArgumentError) and the shapes (ShapeError) of the outputs.
    """
    arguments.function("vjp", "f", f)
    inputs = _fresh("vjp", f, primals, range(len(primals)))
    with GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs = f(*inputs)

    def pull(cotangents: Any) -> tuple[Any, ...]:
        pulled: tuple[Any, ...] = tape.gradient(
            outputs, tuple(inputs), output_gradients=cotangents, unconnected_gradients="zero"
        )
        return pulled

    return map_tree(_separate, outputs), pull  # so that x[i] = v on these changes no derivative


def _separate(y: Any) -> Any:
    return shape.another(y) if isinstance(y, Tensor) else y


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """`(f(*primals), output tangents)`: the derivative of `f` along `tangents`.

    Raises: ShapeError if a tangent does not have its primal's shape, ArgumentError unless there is
        one for each.
    """
    arguments.function("jvp", "f", f)
    given = arguments.several("jvp", "primals", primals, "arguments of f")
    along = arguments.several("jvp", "tangents", tangents, "tangents, one for each primal")
    inputs = _fresh("jvp", f, given, range(len(given)))
    xs, ts = flatten(list(inputs))[0], [as_tensor(t, op="jvp") for t in flatten(list(along))[0]]
    if len(xs) != len(ts):
        raise ArgumentError(
            "jvp",
            got=f"{len(xs)} primals and {len(ts)} tangents",
            why="each primal needs a tangent",
            fix="give the tangents in the structure of the primals",
        )
    for x, t in zip(xs, ts, strict=True):
        if x.shape != t.shape:
            raise ShapeError(
                "jvp",
                got=f"primal {x.spec}, tangent {t.spec}",
                why="a tangent has the shape of its primal",
                fix="broadcast it first",
            )
    with ForwardAccumulator(xs, [ops.cast(t, x.dtype) for x, t in zip(xs, ts, strict=True)]) as acc:
        outputs = f(*inputs)

    def tangent(y: Any) -> Tensor:
        t = acc.jvp(y)
        return ops.zeros_like(y) if t is None else t

    return outputs, map_tree(tangent, outputs)


def jacobian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """A function that gives d f[i...] / d x[j...], of shape f.shape + x.shape.

    Reverse mode, for all elements of a result at once: see tf.vmap. Where `f` gives a tree, or the
    arguments are trees, so is what this gives: that of `f`, with that of the arguments in it. Of a
    complex result each row is what tf.vjp makes of a 1 in its place: f' where `f` is holomorphic,
    and else only half of what there is to know (docs/complex.md).

    Raises: ArgumentError if `f` is no function or has no such argument; DTypeError if it gives
        integers, or is to be differentiated by them.
    """

    arguments.function("jacobian", "f", f)
    chosen = arguments.integers("jacobian", "argnums", argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        tensors = _fresh("jacobian", f, args, chosen)
        with GradientTape(persistent=True) as tape:
            tape.watch([tensors[i] for i in chosen])
            result = f(*tensors, **keywords)
        sources = tuple(tensors[i] for i in chosen)

        def columns(y: Any) -> Any:
            found = tape.jacobian(y, sources, unconnected_gradients="zero")
            return found[0] if isinstance(argnums, int) else found

        return map_tree(columns, result)

    return wrapped


def hessian(f: Function, argnums: int | Sequence[int] = 0) -> Function:
    """A function that gives the second derivatives of `f`, of shape x.shape + x.shape.

    Forward mode over the gradient, along all elements of x at once: see tf.vmap. Where x is a tree,
    it gives a tree of trees: for each leaf the derivatives of its gradient by each leaf. Several
    arguments are a tuple of them.

    Raises: as grad().
    """
    gradient = grad(f, argnums)
    chosen = arguments.integers("hessian", "argnums", argnums)

    @functools.wraps(f)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        tensors = _fresh("hessian", f, args, chosen)
        sources = tuple(tensors[i] for i in chosen)
        xs, structure = flatten(sources[0] if isinstance(argnums, int) else sources)
        rows = [_slopes(lambda: gradient(*tensors, **keywords), x) for x in xs]
        parts = [unflatten(structure, column) for column in zip(*rows, strict=True)]
        return unflatten(structure, parts)

    return wrapped


def _slopes(gradient: Callable[[], Any], x: Tensor) -> list[Tensor]:
    """The derivatives by x of each leaf of what `gradient` gives."""

    def along(t: Tensor) -> list[Tensor]:
        with ForwardAccumulator([x], [t]) as moved:
            found = flatten(gradient())[0]
        tangents = [moved.jvp(g) for g in found]
        return [ops.zeros_like(g) if t is None else t for g, t in zip(found, tangents, strict=True)]

    rows = vmap(along)(basis(x))
    return [ops.reshape(ops.moveaxis(r, 0, -1), (*r.shape[1:], *x.shape)) for r in rows]


def _fresh(op: str, f: Function, args: Sequence[Any], chosen: Sequence[int]) -> list[Any]:
    """The arguments, those that are differentiated as tensors of their own: nothing else that is
    the same object takes part, and an outer tape sees where they come from."""
    if any(not -len(args) <= i < len(args) for i in chosen):
        raise ArgumentError(
            op,
            got=f"argnums {tuple(chosen)} and {len(args)} arguments to {name_of(f)}",
            why="there is no such argument",
            fix="count positional arguments from 0",
        )
    picked = {i % len(args) for i in chosen}
    return [
        map_tree(lambda leaf: _source(op, leaf), a) if i in picked else a
        for i, a in enumerate(args)
    ]


def _source(op: str, leaf: Any) -> Tensor:
    x = as_tensor(leaf, op=op)
    differentiable(op, x)
    return ops.positive(x)


def name_of(f: Function) -> str:
    """What errors call `f`: its name, or that of its class."""
    return getattr(f, "__name__", type(f).__name__)


@contextmanager
def no_grad() -> Iterator[None]:
    """Inside, nothing is recorded: no gradient flows through what is computed here."""
    with dispatch.muted():
        yield
