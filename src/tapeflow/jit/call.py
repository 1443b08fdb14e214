"""Compiled: a trace with its program, and the state that a call reads and writes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tapeflow import claims, config, dispatch, ops
from tapeflow.autodiff.forward import ForwardAccumulator
from tapeflow.autodiff.tape import GradientTape
from tapeflow.dtypes import is_inexact
from tapeflow.errors import StateError, TapeflowError
from tapeflow.graph import Graph, Var
from tapeflow.jit import cache
from tapeflow.jit.memory import owner
from tapeflow.jit.passes import optimize
from tapeflow.jit.plan import Plan, plan
from tapeflow.jit.program import Program
from tapeflow.jit.trace import Trace, interpret, rerun
from tapeflow.primitive import Primitive
from tapeflow.tensor import Array, Tensor
from tapeflow.variable import Variable
from tapeflow_kernels import memory

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True, slots=True)
class Form:
    """How a trace runs: node by node, or as a program, which writes over the inputs `updated`:
    those of the variables `in_place` among them."""

    graph: Graph
    program: Program | None = None
    updated: frozenset[Var] = frozenset()
    in_place: tuple[Variable, ...] = ()

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        """The pure function: all outputs of the graph for all its inputs."""
        if self.program is None:
            return interpret(self.graph, *arrays)
        return self.program(arrays)


class Compiled:
    """A trace that runs as machine code, or with TAPEFLOW_JIT=0 node by node; where it is compiled
    in the background, node by node until that is done. `any_size` prefers code for all sizes."""

    def __init__(
        self, trace: Trace, in_background: bool = False, any_size: bool = False
    ) -> None:
        self.trace = trace
        self._any_size = any_size
        self._is_pure = not trace.read and not trace.written
        # a token of the order of effects has no bytes that threads could disagree on
        self._writes = frozenset(v for v in trace.written if v.size)
        self._reads = frozenset(v for v in trace.read if v.size) - self._writes
        self._own = owner()
        self._job: Future[Form] | None = None
        if in_background and config.jit_enabled():
            self._form = Form(trace.graph)
            self._job = self._begun()
        else:
            self._form = self._lowered()

    def _lowered(self, prepare: Callable[[Plan], None] = lambda planned: None) -> Form:
        graph = optimize(self.trace.graph)
        if not config.jit_enabled():
            return Form(graph)
        planned = plan(graph, self._updates(graph), any_size=self._any_size)
        prepare(planned)
        updated = frozenset(planned.updated.values())
        held = zip(self._state(graph), self.trace.read, strict=True)
        in_place = tuple(variable for v, variable in held if v in updated)
        return Form(graph, Program(planned), updated, in_place)

    def _begun(self) -> Future[Form]:
        """Kernel by kernel in one thread, so that calls have the rest of the machine."""
        from tapeflow.jit import background  # 20 ms that others do without

        def prepare(planned: Plan) -> None:
            for launch in planned.launches:
                background.step()
                cache.addresses([launch.code])

        return background.submit(lambda: self._lowered(prepare))

    @property
    def form(self) -> Form:
        """How the next call runs. Raises: StateError if compiling in the background failed."""
        job = self._job
        return self._form if job is None or not job.done() else self.settled()

    def settled(self) -> Form:
        """How calls run once it is compiled. Raises: StateError if that failed."""
        job = self._job
        if job is not None:
            error = job.exception()
            if isinstance(error, TapeflowError):
                raise error
            if error is not None:
                raise StateError(
                    self.trace.graph.name,
                    got=f"{type(error).__name__}: {error}",
                    why="its program could not be compiled in the background",
                    fix="compile it with background=False to see where this happens",
                ) from error
            self._form, self._job = job.result(), None
        return self._form

    def _state(self, graph: Graph) -> tuple[Var, ...]:
        """The inputs that are the values of variables."""
        return graph.inputs[len(graph.inputs) - len(self.trace.read) :]

    def _updates(self, graph: Graph) -> dict[Var, Var]:
        """Which outputs are new values of which inputs."""
        trace = self.trace
        held = dict(zip(trace.read, self._state(graph), strict=True))
        return {
            new: held[variable]
            for new, variable in zip(graph.outputs[trace.results :], trace.written, strict=True)
            if variable in held
        }

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The results for these inputs; variables are read and written."""
        form = self._form if self._job is None else self.form
        if self._is_pure:
            return form.execute(arrays)
        return claims.exclusively(self._reads, self._writes, self._run_claimed, form, arrays)

    def _run_claimed(self, claim: claims.Claim, form: Form, arrays: Sequence[Array]) -> list[Array]:
        for variable in form.in_place:
            self._own(variable)
        values = [v.tensor.value for v in self.trace.read]
        if self._reads:
            claim.keep_writes()
        outputs = form.execute([*arrays, *values])
        for variable, array in zip(self.trace.written, outputs[self.trace.results :], strict=True):
            if variable.tensor.value is not array:
                variable.tensor = dispatch.wrap(array)
        return outputs[: self.trace.results]

    def apply(self, primitive: Recorded, passed: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results as one recorded op; variables that it read are inputs of it, and tensors of
        its closure."""
        return claims.exclusively(self._reads, self._writes, self._apply_claimed, primitive, passed)

    def _apply_claimed(
        self, claim: claims.Claim, primitive: Recorded, passed: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        inputs = (*passed, *(v.value for v in self.trace.read), *self.trace.captured)
        outputs: tuple[Tensor, ...] = dispatch.apply(primitive, inputs)
        for variable, value in zip(self.trace.written, outputs[self.trace.results :], strict=True):
            variable.assign(value)
        return outputs[: self.trace.results]


class Recorded(Primitive):
    """A compiled function as one op, whose derivatives are those of its graph, compiled in turn."""

    def __init__(
        self, compiled: Compiled, jit: Callable[[Callable[..., Any]], Callable[..., Any]]
    ) -> None:
        graph = compiled.trace.graph
        super().__init__(
            self._run,
            lambda *specs: tuple(v.spec for v in graph.outputs),
            name=graph.name,
            multiple=True,
        )
        self._compiled, self.graph, self._jit = compiled, graph, jit
        self._derived: dict[Any, Callable[..., Any]] = {}

    def _run(self, *arrays: Array) -> tuple[Array, ...]:
        form = self._compiled.form
        kept = [
            memory.copy(a) if v in form.updated else a
            for v, a in zip(form.graph.inputs, arrays, strict=False)  # what is captured is in it
        ]
        return tuple(form.execute(kept))

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        chosen = tuple(i for i, w in enumerate(wanted) if w and is_inexact(xs[i].dtype))
        sent = tuple(i for i, g in enumerate(gs) if g is not None)
        key = ("pull", chosen, sent)
        if key not in self._derived:
            self._derived[key] = self._jit(functools.partial(self._backward, chosen, sent))
        pulled = self._derived[key]([gs[i] for i in sent], list(xs))
        grads = dict(zip(chosen, pulled, strict=True))
        return [grads.get(i) for i in range(len(xs))]

    def _backward(
        self, chosen: Sequence[int], sent: Sequence[int], cotangents: Any, inputs: Sequence[Tensor]
    ) -> Any:
        """Gradients of chosen inputs (arguments, variables, what is captured) from those of
        outputs."""
        args, state, sources = self._sources(inputs)
        with rerun(self._compiled.trace, args, state) as run, GradientTape() as tape:
            tape.watch([sources[i] for i in chosen if isinstance(sources[i], Tensor)])
            outputs = run()
            return tape.gradient(
                [outputs[i] for i in sent],
                [sources[i] for i in chosen],
                output_gradients=cotangents,
                unconnected_gradients="zero",
            )

    def _sources(
        self, inputs: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor | Variable]]:
        """The arguments among the inputs, the values of variables, and what a run knows all by."""
        trace = self._compiled.trace
        last = len(inputs) - len(trace.captured)
        first = last - len(trace.read)
        args, state = inputs[:first], inputs[first:last]
        return args, state, [*args, *trace.read, *trace.captured]

    def push(self, ts: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        chosen = tuple(i for i, t in enumerate(ts) if t is not None)
        every = tuple(i for i, y in enumerate(ys) if is_inexact(y.dtype))
        key = ("push", chosen)
        if key not in self._derived:
            self._derived[key] = self._jit(functools.partial(self._forward, chosen, every))
        moved = self._derived[key]([ts[i] for i in chosen], list(xs))
        pushed = dict(zip(every, moved, strict=True))
        return tuple(pushed.get(i) for i in range(len(ys)))

    def _forward(
        self, chosen: Sequence[int], every: Sequence[int], tangents: Any, inputs: Sequence[Tensor]
    ) -> Any:
        """Tangents of the floating outputs, from those of chosen inputs."""
        args, state, sources = self._sources(inputs)
        primals = [x for x in (sources[i] for i in chosen) if isinstance(x, Tensor)]
        pushed = ForwardAccumulator(primals, tangents)
        with rerun(self._compiled.trace, args, state) as run, pushed:
            outputs = run()
            found = [(outputs[i], pushed.jvp(outputs[i])) for i in every]
            return [ops.zeros_like(y) if t is None else t for y, t in found]
