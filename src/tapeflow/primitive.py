"""Primitive, and the kinds of it. A definition states each fact about an op once.

The decorated function is the op's meaning on arrays. From the kind follow both modes of
differentiation:

  linear       one adjoint                           jvp is the op itself, on the tangent
  bilinear     one adjoint per input                 jvp is the product rule
  elementwise  one partial derivative per input      vjp and jvp are both "times the partial"
  discrete     nothing                               no gradient flows
  primitive    adjoints and jvp written out

The elementwise kinds are in ops/elementwise.py, since they multiply. All others say as `batching`
what tf.vmap makes of them. `lowering` says how the compiler makes code of an op; without one it
runs the array function on the host.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tapeflow import dispatch
from tapeflow.dtypes import is_floating
from tapeflow.errors import DTypeError
from tapeflow.tensor import Spec, Tensor

if TYPE_CHECKING:
    from tapeflow.graph import Graph

Adjoint: TypeAlias = Callable[..., Tensor]
Tangents: TypeAlias = Sequence[Tensor | None]
SpecRule: TypeAlias = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Scalar:
    """One element of the output as text, for CPU and CUDA: `{x}` names an input, `{t}` the output's
    dtype (`{t}(0.5)` is a literal of it), `{attr}` an attribute. Where an input or the output is
    complex, `of_complex` is that text; without it NumPy runs the op on the host."""

    text: str
    of_complex: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """The same memory by another rule: `layout(shape, offset, strides, **attrs)` gives the output's
    (offset, strides), in elements, or None where the elements must be copied."""

    layout: Callable[..., tuple[int, tuple[int, ...]] | None]


@dataclass(frozen=True, slots=True)
class Fold:
    """A reduction over the attribute `axes`: its start, how `{a}` takes in `{x}`, and its end;
    and whether that is the text for complex numbers too."""

    start: str
    combine: str
    finish: str = "{a}"
    takes_complex: bool = False


Part: TypeAlias = tuple[int | None, tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Copies:
    """Copies of the inputs into parts of the output, one after the other: `parts(*shapes, **attrs)`
    gives for each the number of the input, and the starts and steps of where it goes. None for the
    number stands for zeros everywhere."""

    parts: Callable[..., Sequence[Part]]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel in `tapeflow_kernels`, by name."""

    name: str


Lowering: TypeAlias = Scalar | View | Fold | Copies | Kernel


@dataclass(frozen=True, slots=True)
class Leading:
    """vmap of an op that takes many examples along one more axis in front of every input:
    `attrs(size, **attrs)` are the attributes that then mean what these mean for one."""

    attrs: Callable[..., Mapping[str, Any]] = lambda size, /, **attrs: attrs


def along(*names: str) -> Leading:
    """Leading, where the attributes `names` number axes: these stand one place further behind."""

    def attrs(size: int, /, **given: Any) -> Mapping[str, Any]:
        return {**given, **{name: _further(given[name]) for name in names}}

    return Leading(attrs)


def _further(axes: int | tuple[int, ...]) -> int | tuple[int, ...]:
    return axes + 1 if isinstance(axes, int) else tuple(a + 1 for a in axes)


@dataclass(frozen=True, slots=True)
class Rule:
    """vmap of an op in its own way: `outputs(prim, size, xs, batched, **attrs)` for all examples.

    They lie along axis 0 of the inputs that are `batched`, and of the outputs; an output that is
    the same for all may go without. NotImplemented says to run for one example after the other.
    """

    outputs: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class ByExample:
    """vmap of an op that runs for one example after the other, for a reason."""

    reason: str


Batching: TypeAlias = Leading | Rule | ByExample
Definition: TypeAlias = "Callable[[Callable[..., Any]], Primitive]"

REGISTRY: dict[str, Primitive] = {}
_accelerators: list[Callable[[Primitive], None]] = []


class Primitive:
    """One operation: meaning on arrays, shape rule, derivatives, lowering."""

    graphs: tuple[Graph, ...] = ()  # what loops and branches hold

    def __init__(
        self,
        array_fn: Callable[..., Any],
        spec: SpecRule,
        *,
        name: str | None = None,
        adjoints: Sequence[Adjoint | None] = (),
        jvp: Callable[..., Any] | None = None,
        lowering: Lowering | None = None,
        multiple: bool = False,
        has_effect: bool = False,
        into: Callable[..., None] | None = None,
        batching: Batching | None = None,
    ):
        self.name = name or array_fn.__name__.rstrip("_")
        self.array_fn = array_fn
        self.eager = array_fn  # what eager code runs: the same, or the same by a compiled program
        self.spec_rule = spec
        self.adjoints = adjoints
        self.jvp_rule = jvp
        self.lowering = lowering
        self.multiple = multiple
        self.has_effect = has_effect  # compiled too, each call happens, in the order of the program
        self.batching = batching
        self.into = into  # into(outputs, *inputs, **attrs) spares compiled programs a copy
        self.__doc__ = array_fn.__doc__
        self.__name__ = self.name

    @functools.cached_property
    def params(self) -> list[str]:
        """Names of the inputs, as the definition spells them."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [
            p.name for p in inspect.signature(self.array_fn).parameters.values() if p.kind in kinds
        ]

    def output_specs(self, specs: tuple[Spec, ...], attrs: Mapping[str, Any]) -> tuple[Spec, ...]:
        """The types of the outputs; raises where the inputs do not fit."""
        result = self.spec_rule(*specs, **attrs)
        return result if self.multiple else (result,)

    def pull(
        self,
        gs: dispatch.Outputs,
        ys: dispatch.Outputs,
        xs: tuple[Tensor, ...],
        attrs: Mapping[str, Any],
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """The cotangents of the wanted inputs, from those of the outputs."""
        adjoints = self.adjoints or (None,) * len(xs)
        if len(adjoints) == 2 and not attrs:  # unrolled: 8 % of a backward pass of small ops
            first, second = adjoints
            return [
                first(gs, ys, *xs) if first and wanted[0] else None,
                second(gs, ys, *xs) if second and wanted[1] else None,
            ]
        if attrs:
            return [
                rule(gs, ys, *xs, **attrs) if want and rule else None
                for rule, want in zip(adjoints, wanted, strict=True)
            ]
        return [
            rule(gs, ys, *xs) if want and rule else None
            for rule, want in zip(adjoints, wanted, strict=True)
        ]

    def flowing(self, xs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Those of the inputs to which gradients may flow."""
        if type(self).pull is not Primitive.pull:
            return xs
        return [x for x, rule in zip(xs, self.adjoints, strict=False) if rule]

    def push(
        self, ts: Tangents, ys: dispatch.Outputs, xs: tuple[Tensor, ...], attrs: Mapping[str, Any]
    ) -> Any:
        """The tangents of the outputs, from those of the inputs; None where they are zero."""
        if self.jvp_rule is None:
            return (None,) * len(ys) if isinstance(ys, tuple) else None
        return self.jvp_rule(ts, ys, *xs, **attrs)

    def __call__(self, *inputs: Tensor, **attrs: Any) -> Tensor:
        """The output; the few that have several give a tuple, through dispatch.apply."""
        if len(inputs) == 1 and not self.multiple:
            return dispatch.unary(self, inputs[0], attrs)
        return dispatch.apply(self, inputs, attrs)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return self.name


def _define(fn: Callable[..., Any], spec: SpecRule, **rules: Any) -> Primitive:
    """A primitive that graphs can name."""
    return register(Primitive(fn, spec, **rules))


def register(prim: Primitive) -> Primitive:
    assert prim.name not in REGISTRY, f"two primitives are called {prim.name}"
    REGISTRY[prim.name] = prim
    for accelerate in _accelerators:
        accelerate(prim)
    return prim


def accelerate(choose: Callable[[Primitive], None]) -> None:
    """Let `choose` set what eager code runs, for each primitive that there is or will be."""
    _accelerators.append(choose)
    for prim in REGISTRY.values():
        choose(prim)


def total(terms: Sequence[Tensor | None]) -> Tensor | None:
    """Sum of the terms that are not None; None if all are."""
    there = [t for t in terms if t is not None]
    return sum(there[1:], start=there[0]) if there else None


def primitive(
    *,
    spec: SpecRule,
    adjoints: Sequence[Adjoint | None] = (),
    jvp: Callable[..., Any] | None = None,
    lowering: Lowering | None = None,
    multiple: bool = False,
    has_effect: bool = False,
    batching: Batching | None = None,
    name: str | None = None,
) -> Definition:
    """The general kind: `adjoints[i](g, y, *xs, **attrs)` and `jvp(tangents, y, *xs, **attrs)`.

    With several outputs g and y are tuples, and a cotangent that nothing sent is None.
    """
    return lambda fn: _define(
        fn,
        spec,
        name=name,
        adjoints=adjoints,
        jvp=jvp,
        lowering=lowering,
        multiple=multiple,
        has_effect=has_effect,
        batching=batching,
    )


def linear(
    *,
    spec: SpecRule,
    adjoint: Callable[..., Tensor],
    lowering: Lowering | None = None,
    has_effect: bool = False,
    batching: Batching | None = None,
    name: str | None = None,
) -> Definition:
    """An op linear in its one input; `adjoint(g, x_spec, **attrs)` is its transpose."""

    def define(fn: Callable[..., Any]) -> Primitive:
        def jvp(ts: Tangents, y: Tensor, x: Tensor, **attrs: Any) -> Any:
            return dispatch.apply(prim, (_present(ts[0]),), attrs)

        prim = _define(
            fn,
            spec,
            name=name,
            lowering=lowering,
            has_effect=has_effect,
            batching=batching,
            jvp=jvp,
            adjoints=(lambda g, y, x, **attrs: adjoint(g, x.spec, **attrs),),
        )
        return prim

    return define


def bilinear(
    *,
    spec: SpecRule,
    adjoints: tuple[Callable[..., Tensor], Callable[..., Tensor]],
    lowering: Lowering | None = None,
    batching: Batching | None = None,
    name: str | None = None,
) -> Definition:
    """An op linear in each of its two inputs; `adjoints[i](g, a, b, **attrs)`."""

    def define(fn: Callable[..., Any]) -> Primitive:
        def jvp(ts: Tangents, y: Tensor, a: Tensor, b: Tensor, **attrs: Any) -> Tensor | None:
            ta, tb = ts
            return total(
                [
                    None if ta is None else dispatch.apply(prim, (ta, b), attrs),
                    None if tb is None else dispatch.apply(prim, (a, tb), attrs),
                ]
            )

        def adjoint(rule: Callable[..., Tensor]) -> Adjoint:
            return lambda g, y, a, b, **attrs: rule(g, a, b, **attrs)

        prim = _define(
            fn,
            spec,
            name=name,
            lowering=lowering,
            batching=batching,
            jvp=jvp,
            adjoints=tuple(map(adjoint, adjoints)),
        )
        return prim

    return define


def discrete(
    *,
    spec: SpecRule,
    lowering: Lowering | None = None,
    multiple: bool = False,
    has_effect: bool = False,
    into: Callable[..., None] | None = None,
    batching: Batching | None = None,
    name: str | None = None,
) -> Definition:
    """An op through which no gradient flows, such as argmax."""
    return lambda fn: _define(
        fn,
        spec,
        name=name,
        lowering=lowering,
        multiple=multiple,
        has_effect=has_effect,
        into=into,
        batching=batching,
    )


def _present(t: Tensor | None) -> Tensor:
    assert t is not None, "push() is called only where an input has a tangent"
    return t


def require_floating(op: str, *specs: Spec) -> None:
    """Raise DTypeError unless all of `specs` are of floating dtypes."""
    if not all(isinstance(s, Spec) and is_floating(s.dtype) for s in specs):
        raise DTypeError(
            op,
            got=", ".join(str(s) if isinstance(s, Spec) else repr(s) for s in specs),
            why=f"{op} is defined for floating dtypes only",
            fix="cast the input: tf.cast(x, tf.float32)",
        )
