"""checkpoint: a function whose values are computed again for its derivative, not kept.

Its calls are steps of a tape that hold what went in: arguments, what the function read besides, and
what variables held at each reading. So a run again sees the same state, random numbers included,
and changes none. In a trace `barrier` keeps the second run apart from the first.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tapeflow import arguments, dispatch
from tapeflow.autodiff.batching import Batch, renewed
from tapeflow.autodiff.captures import held_outside
from tapeflow.autodiff.forward import ForwardAccumulator
from tapeflow.autodiff.tape import GradientTape
from tapeflow.dispatch import Record
from tapeflow.dtypes import is_inexact
from tapeflow.ops import shape
from tapeflow.primitive import Primitive, Rule, Tangents, register
from tapeflow.tensor import Array, Spec, Tensor
from tapeflow.tree import Structure, flatten, unflatten
from tapeflow.variable import Variable

Readings = dict[tuple[Variable, int], Tensor]  # by variable, and how often it had been assigned


def checkpoint(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, whose values in between are not kept for its derivative: they are computed again.

    That takes the time of one more run, and less memory: in eager code what `f` made is freed when
    it ends, and in compiled code it is computed again when the derivative needs it. Random numbers
    are the same in both runs, and variables are assigned once. Derivatives of any order, tf.vmap,
    tf.jit and loops may be around it and inside it; what has an effect, such as a collective,
    happens in both runs.

    Raises: ArgumentError if `f` is no function.

    >>> import tapeflow as tf
    >>> tf.grad(checkpoint(lambda x: tf.sum(tf.exp(tf.sin(x)))))(tf.zeros(2))
    Tensor([1., 1.], f32[2])
    """
    arguments.function("checkpoint", "f", f)

    @functools.wraps(f)
    def wrapped(*args: Any, **keywords: Any) -> Any:
        context = dispatch.here.context
        if not dispatch.is_heard():
            return f(*args, **keywords)  # nobody asks for its derivative
        leaves, structure = flatten((args, keywords))
        own = [shape.another(x) if isinstance(x, Tensor) else x for x in leaves]
        run = _FirstRun([x for x in own if isinstance(x, Tensor)])
        given, named = unflatten(structure, own)
        with dispatch.muted():
            with dispatch.recording_only((run,)), dispatch.tracing(run):
                results, form = flatten(f(*given, **named))
            xs = [x for x in leaves if isinstance(x, Tensor)] + run.captured()
            ys = [y for y in results if isinstance(y, Tensor)]
            if isinstance(context.tracer, Batch):  # each example has a cotangent of its own
                ys = context.tracer.shared(ys, (*xs, *ys))
        ends = tuple(map(renewed, ys))
        step = _Step(f, leaves, structure, run, ends)
        dispatch.tell((step, tuple(xs), dispatch.NO_ATTRS, ends))
        rest = iter(ends)
        return unflatten(form, [next(rest) if isinstance(y, Tensor) else y for y in results])

    return wrapped


class _Run:
    """A run of the function: a tracer that passes ops on, and knows what state it saw."""

    def __init__(self) -> None:
        context = dispatch.here.context
        self.outer = context.tracer
        self.recorders = context.recorders
        self.is_symbolic = self.outer is not None and self.outer.is_symbolic
        self._written: dict[Variable, int] = {}
        self._stands: dict[int, Tensor] = {}  # by id of a tensor: what is used instead
        self._alive: list[Tensor] = []  # ids stay valid while their tensors live

    @property
    def is_heard(self) -> bool:
        """Whether recorders around a vmap that this is in are told of what happens inside."""
        return self.outer is not None and self.outer.is_heard

    def emit(
        self, prim: Primitive, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]
    ) -> tuple[Tensor, ...]:
        given = tuple([self._stands.get(id(x), x) for x in inputs])
        with self._outside():
            found = dispatch.apply(prim, given, attrs)
        return found if prim.multiple else (found,)

    def _outside(self) -> dispatch.within:
        """Inside, ops go where this run is; recorders hear of them here."""
        return dispatch.within(self.outer, (), dispatch.here.context.is_muted)

    def told(self, record: Record) -> None:
        prim, (x, *_), _, y = record
        if prim is shape.identity and id(x) in self._stands and isinstance(y, Tensor):
            self._stands[id(y)] = self._stands[id(x)]
            self._alive.append(y)
        if self.outer is not None:
            with self._outside():
                self.outer.told(record)

    def knows(self, v: Any) -> bool:
        return self.outer is not None and self.outer.knows(v)

    def read(self, variable: Variable) -> Tensor:
        value = shape.another(self._reading(variable, self._written.get(variable, 0)))
        for recorder in dispatch.here.context.recorders:
            if recorder not in self.recorders:
                recorder.accessed(variable, value)
        return value

    def write(self, variable: Variable, value: Tensor) -> None:
        self._written[variable] = self._written.get(variable, 0) + 1

    def _reading(self, variable: Variable, written: int) -> Tensor:
        raise NotImplementedError


class _FirstRun(_Run):
    """Reads and assigns variables; a recorder, which notes what is used and was not made inside."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        super().__init__()
        self.readings: Readings = {}
        self._was_muted = dispatch.here.context.is_muted
        self._made = set(map(id, given))
        self._used: dict[int, Tensor] = {}

    def record(self, record: Record) -> None:
        _, inputs, _, outputs = record
        for x in inputs:
            if id(x) not in self._made:
                self._used.setdefault(id(x), x)
        self._made.update(map(id, dispatch.as_tuple(outputs)))

    def accessed(self, variable: Variable, value: Tensor) -> None:
        """Nothing to note: read() did."""

    def captured(self) -> list[Tensor]:
        """What variables held, and what else was used and may have a derivative: of what only this
        holds, such as a constant that was made inside, nobody else knows."""
        kept = held_outside(self._used) | set(map(id, self.readings.values()))
        return [x for key, x in self._used.items() if key in kept]

    def _reading(self, variable: Variable, written: int) -> Tensor:
        if (variable, written) not in self.readings:  # of the tapes around it is a reading, too
            with dispatch.within(self.outer, self.recorders, self._was_muted):
                value = self.readings[variable, written] = variable.value
            self._made.discard(id(value))  # which may have been that of one that is gone
        return self.readings[variable, written]

    def write(self, variable: Variable, value: Tensor) -> None:
        super().write(variable, value)
        with self._outside():
            variable.assign(value)


class _SecondRun(_Run):
    """Reads what the first run read, and assigns nothing. `stands` are used in place of tensors."""

    def __init__(self, readings: Readings, stands: dict[int, Tensor]) -> None:
        super().__init__()
        self._readings, self._stands = readings, stands

    def _reading(self, variable: Variable, written: int) -> Tensor:
        return self._readings[variable, written]


class _Step(Primitive):
    """One call of the function, as tapes keep it. Its inputs are tensors among the arguments, then
    what was captured."""

    def __init__(
        self,
        f: Callable[..., Any],
        leaves: Sequence[Any],
        structure: Structure,
        run: _FirstRun,
        outputs: tuple[Tensor, ...],
    ) -> None:
        name = getattr(f, "__name__", type(f).__name__)
        specs = tuple(y.spec for y in outputs)
        super().__init__(f, lambda *xs: specs, name=name, multiple=True)
        self._f, self._structure = f, structure
        self._leaves = [None if isinstance(x, Tensor) else x for x in leaves]
        self._at = [i for i, x in enumerate(leaves) if isinstance(x, Tensor)]
        self._readings, self._captured = run.readings, run.captured()

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        sent = [k for k, g in enumerate(gs) if g is not None]
        given = _later(xs, [gs[k] for k in sent], ys)
        sources = [*given[: len(self._at)], *self._captured]
        chosen = [i for i, w in enumerate(wanted) if w and is_inexact(xs[i].dtype)]
        with GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([sources[i] for i in chosen])
            found = self._again(given)
        targets, cotangents = [found[k] for k in sent], [gs[k] for k in sent]
        grads = tape.gradient(targets, [sources[i] for i in chosen], cotangents)
        pulled = dict(zip(chosen, grads, strict=True))
        return [pulled.get(i) for i in range(len(xs))]

    def push(
        self, ts: Tangents, ys: Any, xs: tuple[Tensor, ...], attrs: Any
    ) -> tuple[Tensor | None, ...]:
        given = [shape.another(x) for x in xs]
        sources = [*given[: len(self._at)], *self._captured]
        pairs = [(x, t) for x, t in zip(sources, ts, strict=True) if t is not None]
        with ForwardAccumulator([x for x, _ in pairs], [t for _, t in pairs]) as moved:
            found = self._again(given)
        return tuple(map(moved.jvp, found))

    def _again(self, given: Sequence[Tensor]) -> list[Tensor]:
        """The results of another run."""
        count = len(self._at)
        leaves = list(self._leaves)
        for i, x in zip(self._at, given[:count], strict=True):
            leaves[i] = x
        args, keywords = unflatten(self._structure, leaves)
        stands = {id(x): y for x, y in zip(self._captured, given[count:], strict=True)}
        with dispatch.tracing(_SecondRun(self._readings, stands)):
            results, _ = flatten(self._f(*args, **keywords))
        return [y for y in results if isinstance(y, Tensor)]


# ---- the order of both runs in a trace


class _Barrier(Primitive):
    """The first `count` inputs as they are, once the others are there."""

    def __init__(self) -> None:
        rule = Rule(lambda prim, size, xs, batched, count: prim(*xs, count=count))
        super().__init__(self._run, self._typed, name="barrier", multiple=True, batching=rule)

    @staticmethod
    def _run(*xs: Array, count: int) -> tuple[Array, ...]:
        return xs[:count]

    @staticmethod
    def _typed(*specs: Spec, count: int) -> tuple[Spec, ...]:
        return specs[:count]

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        return [*gs, *(None for _ in xs[len(gs) :])]

    def push(self, ts: Tangents, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        return tuple(ts[: len(ys)])


barrier = register(_Barrier())


def _later(
    xs: Sequence[Tensor], cotangents: Sequence[Tensor], ys: Sequence[Tensor]
) -> Sequence[Tensor]:
    """`xs` for the second run: in a trace, once the first has ended and a cotangent has come."""
    if dispatch.tracer() is None or not xs:
        return [shape.another(x) for x in xs]
    awaited = [min(several, key=lambda x: x.size) for several in (cotangents, ys)]
    found: Sequence[Tensor] = dispatch.apply(barrier, (*xs, *awaited), {"count": len(xs)})
    return found
