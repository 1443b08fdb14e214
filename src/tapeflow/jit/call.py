"""Compiled: a trace with its program, and the state that a call reads and writes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from tapeflow import claims, config, dispatch, ops
from tapeflow.autodiff.forward import ForwardAccumulator
from tapeflow.autodiff.reverse import GradientTape
from tapeflow.dtypes import is_floating
from tapeflow.jit.memory import owner
from tapeflow.jit.passes import optimize
from tapeflow.jit.plan import plan
from tapeflow.jit.program import Program
from tapeflow.jit.trace import Trace, interpret, rerun
from tapeflow.primitive import Primitive
from tapeflow.tensor import Array, Tensor
from tapeflow_kernels import memory


class Compiled:
    """A trace that runs as machine code, or with TAPEFLOW_JIT=0 node by node."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.optimised = optimize(trace.graph)
        self.program = (
            Program(plan(self.optimised, self._updates())) if config.jit_enabled() else None
        )
        self._is_pure = not trace.read and not trace.written
        first = len(trace.graph.inputs) - len(trace.read)
        updated = set(self.program.plan.updated.values()) if self.program else set()
        # a token of the order of effects has no bytes that threads could disagree on
        self._writes = frozenset(v for v in trace.written if v.size)
        self._reads = frozenset(v for v in trace.read if v.size) - self._writes
        self._own = owner()
        self._in_place = [
            variable
            for v, variable in zip(self.optimised.inputs[first:], trace.read, strict=True)
            if v in updated
        ]

    def _updates(self) -> dict[Any, Any]:
        """Which outputs are new values of which inputs."""
        graph, trace = self.optimised, self.trace
        held = dict(
            zip(trace.read, graph.inputs[len(graph.inputs) - len(trace.read) :], strict=True)
        )
        return {
            new: held[variable]
            for new, variable in zip(graph.outputs[trace.results :], trace.written, strict=True)
            if variable in held
        }

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """The results for these inputs; variables are read and written."""
        if self._is_pure:
            return self.execute(arrays)
        return claims.exclusively(self._reads, self._writes, self._run_claimed, arrays)

    def _run_claimed(self, claim: claims.Claim, arrays: Sequence[Array]) -> list[Array]:
        for variable in self._in_place:
            self._own(variable)
        values = [v.tensor.value for v in self.trace.read]
        if self._reads:
            claim.keep_writes()
        outputs = self.execute([*arrays, *values])
        for variable, array in zip(self.trace.written, outputs[self.trace.results :], strict=True):
            if variable.tensor.value is not array:
                variable.tensor = dispatch.wrap(array)
        return outputs[: self.trace.results]

    def execute(self, arrays: Sequence[Array]) -> list[Array]:
        """The pure function: all outputs of the graph for all its inputs."""
        if self.program is None:
            return interpret(self.optimised, *arrays)
        return self.program(arrays)

    def apply(self, primitive: Recorded, passed: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The results as one recorded op; variables that it read are inputs of it."""
        return claims.exclusively(
            self._reads, self._writes, self._apply_claimed, primitive, passed
        )

    def _apply_claimed(
        self, claim: claims.Claim, primitive: Recorded, passed: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        inputs = (*passed, *(v.value for v in self.trace.read))
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
        self._compiled, self._graph, self._jit = compiled, graph, jit
        self._derived: dict[Any, Callable[..., Any]] = {}

    def _run(self, *arrays: Array) -> tuple[Array, ...]:
        program = self._compiled.program
        updated = set(program.plan.updated.values()) if program else set()
        kept = [
            memory.copy(a) if v in updated else a
            for v, a in zip(self._compiled.optimised.inputs, arrays, strict=True)
        ]
        return tuple(self._compiled.execute(kept))

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        chosen = tuple(i for i, w in enumerate(wanted) if w and is_floating(xs[i].dtype))
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
        """Gradients of chosen inputs (arguments, then variables) from those of outputs."""
        trace = self._compiled.trace
        first = len(inputs) - len(trace.read)
        args, state = inputs[:first], inputs[first:]
        sources = [*args, *trace.read]
        with rerun(trace, args, state) as run, GradientTape() as tape:
            tape.watch([args[i] for i in chosen if i < len(args)])
            outputs = run()
            return tape.gradient(
                [outputs[i] for i in sent],
                [sources[i] for i in chosen],
                output_gradients=cotangents,
                unconnected_gradients="zero",
            )

    def push(self, ts: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        chosen = tuple(i for i, t in enumerate(ts) if t is not None)
        every = tuple(i for i, y in enumerate(ys) if is_floating(y.dtype))
        key = ("push", chosen)
        if key not in self._derived:
            self._derived[key] = self._jit(functools.partial(self._forward, chosen, every))
        moved = self._derived[key]([ts[i] for i in chosen], list(xs))
        pushed = dict(zip(every, moved, strict=True))
        return tuple(pushed.get(i) for i in range(len(ys)))

    def _forward(
        self, chosen: Sequence[int], every: Sequence[int], tangents: Any, inputs: Sequence[Tensor]
    ) -> Any:
        """Tangents of the floating outputs, from those of chosen arguments."""
        trace = self._compiled.trace
        first = len(inputs) - len(trace.read)
        args, state = inputs[:first], inputs[first:]
        primals = [args[i] for i in chosen]
        with rerun(trace, args, state) as run, ForwardAccumulator(primals, tangents) as pushed:
            outputs = run()
            found = [(outputs[i], pushed.jvp(outputs[i])) for i in every]
            return [ops.zeros_like(y) if t is None else t for y, t in found]
