"""vmap: a function of one example, run for many at once.

Inside, a tensor stands for one example, a `Lane` of a tensor that holds all of them along axis 0.
The door hands each op to the `Batch`, which runs it outside, by its batching rule, once for all
examples; an op that no lane goes into is run as it is. So what is around a vmap (tapes, traces,
further vmaps) sees ops like any others, and what is inside sees ops of one example: the order in
which transformations are put together is free.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np

from tapeflow import arguments, dispatch, ops
from tapeflow.autodiff.axes import placed, sized, spread
from tapeflow.dispatch import NO_ATTRS, Outputs, Record
from tapeflow.errors import ArgumentError, StateError
from tapeflow.graph import Graph, Var
from tapeflow.ops import shape
from tapeflow.primitive import ByExample, Leading, Primitive, Rule
from tapeflow.tensor import Array, Spec, Tensor, as_tensor
from tapeflow.tree import flatten, unflatten
from tapeflow.variable import Variable

Function: TypeAlias = Callable[..., Any]
Attrs: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Lane(Var):
    """One example, no matter which, of those that `whole` holds along its first axis."""

    valueless: ClassVar[str] = "inside tf.vmap a tensor stands for examples with different values"
    fixes: ClassVar[Mapping[str, str]] = {
        "bool": "use tf.where or tf.cond instead of `if`, tf.while_loop instead of `while`; or let "
        "all examples share what decides, by None in in_axes of tf.vmap",
        "index": "use tf.take; or let all examples share the number, by None in in_axes of tf.vmap",
        "int": "let all examples share the number, by None in in_axes of tf.vmap",
        "float": "keep it a tensor; or let all examples share it, by None in in_axes of tf.vmap",
        "kept": "pass it to the compiled function, or return it from what tf.vmap maps; do not "
        "keep it in a global, a closure or an attribute",
    }
    unknown: ClassVar[str] = "its tf.vmap has ended, or is around code that was not passed it"

    batch: Batch
    whole: Tensor


class Batch:
    """So many examples, each the same function of its own values: a tracer that runs ops at once.

    It may be entered again, as by the backward pass of a function that holds lanes.
    """

    is_symbolic = True

    def __init__(self, size: int) -> None:
        self.size = size
        self.outer: dispatch.Tracer | None = None
        self._recorders: tuple[dispatch.Recorder, ...] = ()
        self._is_muted = False  # what is around it

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, lanes of this batch are tensors like others; recorders so far are outside."""
        context = dispatch.here.context
        before = self.outer, self._recorders, self._is_muted
        self.outer, self._recorders = context.tracer, context.recorders
        self._is_muted = context.is_muted
        try:
            with dispatch.tracing(self), dispatch.within(self, (), is_muted=False):
                yield
        finally:
            self.outer, self._recorders, self._is_muted = before

    @property
    def is_eager(self) -> bool:
        """Whether no graph is being written around it."""
        return self.outer is None or (isinstance(self.outer, Batch) and self.outer.is_eager)

    @property
    def is_heard(self) -> bool:
        """Whether recorders around it are told of what happens inside."""
        if dispatch.here.context.is_muted:
            return False
        with self.outside():
            return dispatch.is_heard()

    def outside(self) -> dispatch.within:
        """Inside, what runs is around this batch."""
        is_muted = dispatch.here.context.is_muted
        told = () if is_muted else self._recorders
        return dispatch.within(self.outer, told, is_muted or self._is_muted)

    def owns(self, x: Tensor) -> bool:
        """Whether `x` is a lane of this batch."""
        return isinstance(x.value, Lane) and x.value.batch is self

    def lane(self, whole: Tensor) -> Tensor:
        """One example of any[size, ...]."""
        return Tensor(Lane("example", whole.shape[1:], whole.dtype, self, whole))

    def whole(self, x: Tensor) -> Tensor:
        """All examples of what `x` is for one of them; to be called outside."""
        if self.owns(x):
            return x.value.whole  # type: ignore[no-any-return]
        return ops.broadcast_to(x, (self.size, *x.shape))

    def emit(
        self, prim: Primitive, inputs: tuple[Tensor, ...], attrs: Attrs
    ) -> tuple[Tensor, ...]:
        specs = prim.output_specs(tuple(x.spec for x in inputs), attrs)
        batched = tuple(map(self.owns, inputs))
        wholes = self._unwrapped(inputs)
        with self.outside():
            if True in batched:
                found = run(prim, self.size, wholes, batched, attrs)
            else:
                found = dispatch.apply(prim, wholes, attrs)
        outputs = found if prim.multiple else (found,)
        pairs = zip(outputs, specs, strict=True)
        return tuple(self.lane(y) if y.ndim > s.ndim else y for y, s in pairs)

    def _unwrapped(self, xs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(x.value.whole if self.owns(x) else x for x in xs)

    def shared(self, ys: Sequence[Tensor], xs: Sequence[Tensor]) -> list[Tensor]:
        """`ys` as lanes, here and around, if any of `xs` is."""
        is_own = any(map(self.owns, xs))
        with self.outside():
            wholes = [self.whole(y) for y in ys] if is_own else list(ys)
            if isinstance(self.outer, Batch):
                wholes = self.outer.shared(wholes, self._unwrapped(xs))
        return list(map(self.lane, wholes)) if is_own else wholes

    def told(self, record: Record) -> None:
        """Tell those around of a step, in their terms."""
        prim, inputs, attrs, outputs = record
        several = isinstance(outputs, tuple)
        ys = dispatch.as_tuple(outputs)
        batched = tuple(map(self.owns, inputs))
        if prim is shape.identity and True in batched:
            return  # both are lanes of one tensor
        step = Lifted(prim, self, batched) if any(map(self.owns, ys)) else prim
        wholes = self._unwrapped(ys)
        with self.outside():
            given = wholes if several else wholes[0]
            dispatch.tell((step, self._unwrapped(inputs), attrs, given))

    def knows(self, v: Any) -> bool:
        """Whether `v` may be used here: it is a lane of this batch, or known around it."""
        own = isinstance(v, Lane) and v.batch is self
        return own or (self.outer is not None and self.outer.knows(v))

    def read(self, variable: Variable) -> Tensor:
        with self.outside():
            value = variable.value
        return variable.accessed(value)

    def write(self, variable: Variable, value: Tensor) -> None:
        if self.owns(value):
            raise StateError(
                "assign",
                got=f"{variable.name}: {variable.spec}, in tf.vmap over {self.size} examples",
                why="the value differs from example to example, and a variable holds one",
                fix="return it from the function, and assign outside what is made of all, e.g. "
                "their mean",
            )
        with self.outside():
            variable.assign(value)


# ---- one op for all examples


def run(
    prim: Primitive,
    size: int,
    xs: tuple[Tensor, ...],
    batched: tuple[bool, ...],
    attrs: Attrs = NO_ATTRS,
) -> Any:
    """The outputs of `prim` for `size` examples, which lie along axis 0 of the inputs `batched`."""
    rule = prim.batching
    if isinstance(rule, Leading):
        filled = shape.filled(size, xs, batched)
        return dispatch.apply(prim, filled, rule.attrs(size, **attrs))
    if isinstance(rule, Rule):
        found = rule.outputs(prim, size, xs, batched, **attrs)
        if found is not NotImplemented:
            return found
    assert rule is not None, f"{prim.name} does not say how it is batched"
    return dispatch.apply(_each(prim, batched), xs, attrs)


class Lifted(Primitive):
    """A step of one example as a step of all: what a tape around a vmap keeps of it.

    The inputs `batched`, and all outputs, have the examples along axis 0.
    """

    def __init__(self, prim: Primitive, batch: Batch, batched: tuple[bool, ...]) -> None:
        super().__init__(prim.array_fn, prim.spec_rule, name=prim.name, multiple=prim.multiple)
        self.prim, self.batch, self.batched = prim, batch, batched

    def pull(
        self, gs: Outputs, ys: Outputs, xs: tuple[Tensor, ...], attrs: Attrs, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        with self.batch.entered():
            lanes = self._lanes(xs)
            pulled = self.prim.pull(self._each(gs), self._each(ys), lanes, attrs, wanted)
        return [
            g if g is None or b else shape.sum_over(g, axes=(0,))
            for g, b in zip(map(self._whole, pulled), self.batched, strict=True)
        ]

    def push(
        self, ts: Sequence[Tensor | None], ys: Outputs, xs: tuple[Tensor, ...], attrs: Attrs
    ) -> Any:
        with self.batch.entered():
            lanes = self._lanes(xs)
            pushed = self.prim.push(self._lanes(ts), self._each(ys), lanes, attrs)
        if isinstance(pushed, tuple):
            return tuple(map(self._whole, pushed))
        return self._whole(pushed)

    def _lanes(self, xs: Sequence[Tensor | None]) -> tuple[Any, ...]:
        pairs = zip(xs, self.batched, strict=True)
        return tuple(self.batch.lane(x) if b and x is not None else x for x, b in pairs)

    def _each(self, ys: Any) -> Any:
        if isinstance(ys, tuple):
            return tuple(map(self._each, ys))
        return None if ys is None else self.batch.lane(ys)

    def _whole(self, x: Tensor | None) -> Tensor | None:
        return None if x is None else self.batch.whole(x)


class Each(Primitive):
    """An op that runs for one example after the other."""

    def __init__(self, prim: Primitive, batched: tuple[bool, ...]) -> None:
        super().__init__(
            self._run,
            self._typed,
            name=f"{prim.name}_each",
            multiple=prim.multiple,
            batching=ByExample(f"{prim.name} runs so"),
        )
        self.prim, self.batched = prim, batched

    def _size(self, xs: Sequence[Any]) -> int:
        size: int = next(x.shape[0] for x, b in zip(xs, self.batched, strict=True) if b)
        return size

    def _row(self, xs: Sequence[Any], i: int) -> list[Any]:
        return [x[i] if b else x for x, b in zip(xs, self.batched, strict=True)]

    def _run(self, *xs: Array, **attrs: Any) -> Any:
        rows = [
            self.prim.array_fn(*map(np.asarray, self._row(xs, i)), **attrs)
            for i in range(self._size(xs))
        ]
        if not rows:
            specs = self._typed(*(Spec(x.shape, x.dtype) for x in xs), **attrs)
            several = specs if isinstance(specs, tuple) else (specs,)
            empty = tuple(np.empty(s.shape, s.dtype) for s in several)
            return empty if self.multiple else empty[0]
        return tuple(map(np.stack, zip(*rows, strict=True))) if self.multiple else np.stack(rows)

    def _typed(self, *specs: Spec, **attrs: Any) -> Any:
        size = self._size(specs)
        pairs = zip(specs, self.batched, strict=True)
        one = tuple(Spec(s.shape[1:], s.dtype) if b else s for s, b in pairs)
        found = tuple(Spec((size, *s.shape), s.dtype) for s in self.prim.output_specs(one, attrs))
        return found if self.multiple else found[0]

    def pull(
        self, gs: Outputs, ys: Outputs, xs: tuple[Tensor, ...], attrs: Attrs, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        return self._lifted(xs).pull(gs, ys, xs, attrs, wanted)

    def push(
        self, ts: Sequence[Tensor | None], ys: Outputs, xs: tuple[Tensor, ...], attrs: Attrs
    ) -> Any:
        return self._lifted(xs).push(ts, ys, xs, attrs)

    def _lifted(self, xs: tuple[Tensor, ...]) -> Lifted:
        return Lifted(self.prim, Batch(self._size(xs)), self.batched)


_each = functools.cache(Each)  # that equal ops of a graph have one primitive


# ---- functions for all examples


def vmap(f: Function, in_axes: Any = 0, out_axes: Any = 0) -> Function:
    """`f`, which is written for one example, for many at once.

    Args:
        f: a function of trees of tensors, that gives one. It may differentiate, loop, be compiled,
            and read variables; what it assigns to one must be the same for all examples.
        in_axes: along which axis of the arguments the examples lie; None for what all share. One
            for all arguments, or a tuple with one for each, an axis or a tree of axes. Arguments
            given by name have their examples along axis 0.
        out_axes: along which axis of the results they are to lie: one axis, or a tree of them.
            None for what is the same for all.

    Random numbers drawn inside are different for each example, and those that a loop over the
    examples would draw where each draws once. What is drawn outside is the same for all.

    Raises: ArgumentError if `f` is no function, if there are no examples, or their axes do not
        have the structure of what they are of, or where an example's own result has out_axes None;
        ShapeError if their numbers differ; OutOfRangeError for an axis that is not there; inside
        StateError if what is assigned to a variable differs from example to example, TraceError
        where Python needs the value of an example.

    >>> import tapeflow as tf
    >>> tf.vmap(tf.grad(lambda w, x: w * x * x), in_axes=(None, 0))(2.0, tf.asarray([1.0, 3.0]))
    Tensor([1., 9.], f32[2])
    """
    arguments.function("vmap", "f", f)

    @functools.wraps(f)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        leaves, structure = flatten((args, keywords))
        axes = spread("in_axes", in_axes, args) + spread("in_axes", 0, keywords)
        batch = Batch(sized(leaves, axes))
        pairs = zip(leaves, axes, strict=True)
        examples = [x if a is None else batch.lane(placed(x, a, 0)) for x, a in pairs]
        given, named = unflatten(structure, examples)
        with batch.entered():
            result = f(*given, **named)
        outputs, form = flatten(result)
        ends = spread("out_axes", out_axes, result)
        return unflatten(form, [_out(batch, y, a) for y, a in zip(outputs, ends, strict=True)])

    return wrapped


def _out(batch: Batch, y: Any, axis: int | None) -> Any:
    """A result for all examples, which lie along `axis`."""
    if y is None:
        return None
    x = as_tensor(y, op="vmap")
    if axis is not None:
        return placed(batch.whole(x), 0, axis)
    if batch.owns(x):
        raise ArgumentError(
            "vmap",
            got=f"out_axes None for a result {x.spec}",
            why=f"it differs among the {batch.size} examples",
            fix="say along which axis they are to lie, e.g. out_axes=0",
        )
    return x


def renewed(x: Tensor) -> Tensor:
    """What `x` holds, as another tensor to those around a vmap too, which are not told."""
    if isinstance(x.value, Lane):
        return x.value.batch.lane(renewed(x.value.whole))
    return Tensor(x.value)


def replay(graph: Graph, xs: Sequence[Tensor]) -> list[Tensor]:
    """The outputs of a graph, its nodes run as ops."""
    values = {v: Tensor(a) for v, a in graph.constants.items()}
    values.update(zip(graph.inputs, xs, strict=True))
    for node in graph.nodes:
        found = dispatch.apply(node.prim, tuple(values[v] for v in node.inputs), node.attrs)
        values.update(zip(node.outputs, found if node.prim.multiple else (found,), strict=True))
    return [values[v] for v in graph.outputs]


def lanes() -> tuple[Tensor | None, int]:
    """Which of all examples this is, u64[], and how many there are, with those of vmaps around.

    The first is None where there is no vmap.
    """
    batches = []
    tracer = dispatch.tracer()
    while tracer is not None:
        if isinstance(tracer, Batch):
            batches.append(tracer)
        tracer = tracer.outer
    number: Tensor | None = None
    count = 1
    for batch in batches:  # the innermost counts fastest
        own = batch.lane(Tensor(np.arange(batch.size, dtype=np.uint64) * np.uint64(count)))
        number = own if number is None else number + own
        count *= batch.size
    return number, count
