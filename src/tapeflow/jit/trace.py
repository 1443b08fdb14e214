"""trace(): run a function on symbols, and keep what it did."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapeflow import config, dispatch, scope
from tapeflow.autodiff import batching
from tapeflow.autodiff.captures import held_outside
from tapeflow.errors import user_line
from tapeflow.graph import Graph, Node, Var, evaluate
from tapeflow.jit.purity import unwatched, watched
from tapeflow.ops.shape import another
from tapeflow.primitive import Primitive, Rule
from tapeflow.tensor import Array, Spec, Tensor, ended
from tapeflow.variable import Variable


@dataclass(frozen=True)
class Trace:
    """A pure graph of what a function did: its inputs are those of the function, then the variables
    that it read; its outputs are those of the function, then the new values of `written`. Tensors
    of its closure are constants of the graph; derivatives flow to those `captured`."""

    graph: Graph
    read: tuple[Variable, ...]
    written: tuple[Variable, ...]
    captured: tuple[Tensor, ...]
    call: Callable[[Sequence[Tensor]], Sequence[Tensor]] = field(compare=False)  # what was traced
    numerics: config.Numerics = field(default_factory=config.numerics)  # that it was traced under

    @property
    def results(self) -> int:
        """The number of outputs that the function itself returned."""
        return len(self.graph.outputs) - len(self.written)


class Ordered(Primitive):
    """An op with an effect as one link of a chain: a token goes in last and comes out last.

    So no pass can drop it, merge it with another, or change the order of effects. That order must
    hold even where the rest differs: rank 0 may compute and log more than the others.
    """

    def __init__(self, effect: Primitive) -> None:
        into = self._run_into if effect.into else None
        super().__init__(
            self._run,
            self._typed,
            name=effect.name,
            multiple=True,
            into=into,
            batching=Rule(self._for_all),
        )
        self.effect = effect

    def _run_into(self, outputs: Sequence[Array], *inputs: Array, **attrs: Any) -> None:
        assert self.effect.into is not None
        self.effect.into(outputs[:-1], *inputs[:-1], **attrs)

    def _run(self, *inputs: Array, **attrs: Any) -> tuple[Array, ...]:
        *xs, token = inputs
        value = self.effect.array_fn(*xs, **attrs)
        return (*(value if self.effect.multiple else (value,)), token)

    def _for_all(
        self,
        prim: Primitive,
        size: int,
        xs: tuple[Tensor, ...],
        batched: tuple[bool, ...],
        /,
        **attrs: Any,
    ) -> tuple[Tensor, ...]:
        *given, token = xs
        found = batching.run(self.effect, size, tuple(given), batched[:-1], attrs)
        return (*(found if self.effect.multiple else (found,)), token)

    def _typed(self, *specs: Spec, **attrs: Any) -> tuple[Spec, ...]:
        *given, token = specs
        return (*self.effect.output_specs(tuple(given), attrs), token)


ordered = functools.cache(Ordered)
with scope.fresh():
    EFFECTS = Variable(np.zeros(0, np.uint8), trainable=False, name="effects")  # holds the token


class Tracer:
    """The graph that is being written. State becomes inputs and outputs of it."""

    outer: dispatch.Tracer | None = None
    is_symbolic = True
    is_heard = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node[Var]] = []
        self.constants: dict[Var, Array] = {}
        self._vars: set[Var] = set()
        self._of_array: dict[int, Var] = {}  # by id; constants keeps the arrays alive
        self.used: dict[int, Tensor] = {}  # by id: tensors with a value
        self._state: dict[Variable, Tensor] = {}  # what each variable holds by now
        self.reads: dict[Variable, Var] = {}  # what it held when the trace began
        self.writes: dict[Variable, Tensor] = {}

    def new_var(self, spec: Spec, prefix: str = "v") -> Var:
        var = Var(f"{prefix}{len(self._vars)}", spec.shape, spec.dtype)
        self._vars.add(var)
        return var

    def knows(self, v: Var) -> bool:
        """Whether `v` may be used here: it belongs to this trace, or to one around it."""
        return v in self._vars

    def var(self, x: Tensor) -> Var:
        """The variable of the graph that stands for `x`: its own, or a constant."""
        value = x.value
        if isinstance(value, Var):
            if not self.knows(value):
                raise ended(self.name, x)
            return value
        self.used[id(x)] = x
        if id(value) not in self._of_array:
            var = self._of_array[id(value)] = self.new_var(x.spec, "c")
            self.constants[var] = value
        return self._of_array[id(value)]

    @unwatched
    def emit(
        self, prim: Primitive, inputs: tuple[Tensor, ...], attrs: Mapping[str, Any]
    ) -> tuple[Tensor, ...]:
        specs = prim.output_specs(tuple([x.spec for x in inputs]), attrs)
        if prim.has_effect:
            token = self.read(EFFECTS)
            *outputs, token = self._written(
                ordered(prim), (*inputs, token), attrs, (*specs, token.spec)
            )
            self.write(EFFECTS, token)
            return tuple(outputs)
        return self._written(prim, inputs, attrs, specs)

    def _written(
        self,
        prim: Primitive,
        inputs: tuple[Tensor, ...],
        attrs: Mapping[str, Any],
        specs: tuple[Spec, ...],
    ) -> tuple[Tensor, ...]:
        outputs = tuple(map(self.new_var, specs))
        taken = tuple(map(self.var, inputs))
        self.nodes.append(Node(prim, taken, dict(attrs), outputs, scope.current(), user_line()))
        return tuple(map(Tensor, outputs))

    def told(self, record: dispatch.Record) -> None:
        """Nothing to write: what stands in a graph are ops."""

    def read(self, variable: Variable) -> Tensor:
        """What the variable holds by now, as a tensor of its own."""
        if variable not in self._state:
            self._state[variable] = Tensor(self.read_first(variable))
        return variable.accessed(another(self._state[variable]))

    def read_first(self, variable: Variable) -> Var:
        """What the variable held when the trace began, as an input."""
        if variable not in self.reads:
            self.reads[variable] = self.new_var(variable.spec, "r")
        return self.reads[variable]

    def write(self, variable: Variable, value: Tensor) -> None:
        self._state[variable] = value
        self.writes[variable] = value

    @contextmanager
    def holding(self, variables: Sequence[Variable], values: Sequence[Tensor]) -> Iterator[None]:
        """Inside, variables hold these values, and what is written is forgotten at the end."""
        state, writes = self._state, self.writes
        self._state = {**state, **dict(zip(variables, values, strict=True))}
        self.writes = {}
        try:
            yield
        finally:
            self._state, self.writes = state, writes


def trace(fn: Callable[..., Any], *specs: Spec, name: str | None = None) -> Graph:
    """The graph of `fn` for tensors of these types; it gives a tensor, or a list of them."""

    def call(symbols: Sequence[Tensor]) -> list[Tensor]:
        result = fn(*symbols)
        return list(result) if isinstance(result, list | tuple) else [result]

    return trace_state(call, specs, name or fn.__name__).graph


def trace_state(
    call: Callable[[Sequence[Tensor]], Sequence[Tensor]],
    specs: Sequence[Spec],
    name: str,
    wrap: Callable[[int, Tensor], Tensor] = lambda i, x: x,
) -> Trace:
    """What `call` does to symbols of these types, with the state it reads and writes.

    `wrap(i, symbol)` gives what `call` gets for input i.
    """

    def wrapped(symbols: Sequence[Tensor]) -> Sequence[Tensor]:
        return call([wrap(i, x) for i, x in enumerate(symbols)])

    tracer = Tracer(name)
    inputs = [tracer.new_var(s, "x") for s in specs]
    with dispatch.tracing(tracer), dispatch.recording_only(()), scope.fresh(), watched(name):
        results = wrapped([Tensor(v) for v in inputs])
        outputs = [tracer.var(y) for y in (*results, *tracer.writes.values())]
    graph = Graph(
        name,
        (*inputs, *tracer.reads.values()),
        tuple(tracer.nodes),
        tuple(outputs),
        tracer.constants,
    )
    held = held_outside(tracer.used)
    captured = tuple(x for key, x in tracer.used.items() if key in held)
    return Trace(graph, tuple(tracer.reads), tuple(tracer.writes), captured, wrapped)


def interpret(graph: Graph, *arrays: Array) -> list[Array]:
    """The outputs of a graph whose nodes run one by one, without NumPy's warnings."""
    with np.errstate(all="ignore"):
        return evaluate(graph, *arrays)


@contextmanager
def rerun(
    trace: Trace, args: Sequence[Tensor], state: Sequence[Tensor]
) -> Iterator[Callable[[], list[Tensor]]]:
    """A function that runs what was traced again, as part of the trace that is open, and gives all
    outputs: tapes see what it does. Inside, the variables that it read hold `state`."""
    tracer = dispatch.tracer()
    while isinstance(tracer, batching.Batch):
        tracer = tracer.outer
    assert isinstance(tracer, Tracer), "a derivative of a compiled function is compiled itself"

    def run() -> list[Tensor]:
        results = trace.call(args)
        return [*results, *(v.value for v in trace.written)]

    with config.as_traced(trace.numerics), tracer.holding(trace.read, state):
        yield run
