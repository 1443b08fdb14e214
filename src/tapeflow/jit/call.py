"""Compiled: a trace with its program, and the state that a call reads and writes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from tapeflow import config, dispatch
from tapeflow.autodiff.functional import jvp, vjp
from tapeflow.dtypes import is_floating
from tapeflow.jit.memory import references
from tapeflow.jit.passes import optimize
from tapeflow.jit.plan import plan
from tapeflow.jit.program import Program
from tapeflow.jit.trace import Trace, interpret, replay
from tapeflow.primitive import Primitive
from tapeflow.tensor import Array, Tensor
from tapeflow.variable import Variable
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
        for variable in self._in_place:
            _own(variable)
        values = [v.tensor.value for v in self.trace.read]
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
        inputs = (*passed, *(v.value for v in self.trace.read))
        outputs: tuple[Tensor, ...] = dispatch.apply(primitive, inputs)
        for variable, value in zip(self.trace.written, outputs[self.trace.results :], strict=True):
            variable.assign(value)
        return outputs[: self.trace.results]


def _own(variable: Variable) -> None:
    """Let the variable's memory be nobody else's, so that a program may write over it."""
    tensor = variable.tensor
    array = tensor.value
    held_elsewhere = sys.getrefcount(tensor) > 3  # the variable, our name, getrefcount's
    if held_elsewhere or references(array) > 1 or not array.flags.writeable:
        variable.tensor = dispatch.wrap(memory.copy(array))


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

            def backward(cotangents: Any, inputs: Any) -> Any:
                forward = self._restricted(chosen, sent, inputs)
                return vjp(forward, *(inputs[i] for i in chosen))[1](cotangents)

            self._derived[key] = self._jit(backward)
        grads = dict(zip(chosen, self._derived[key]([gs[i] for i in sent], list(xs)), strict=True))
        return [grads.get(i) for i in range(len(xs))]

    def push(self, ts: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        chosen = tuple(i for i, t in enumerate(ts) if t is not None)
        every = tuple(i for i, y in enumerate(ys) if is_floating(y.dtype))
        key = ("push", chosen)
        if key not in self._derived:

            def forward_mode(tangents: Any, inputs: Any) -> Any:
                forward = self._restricted(chosen, every, inputs)
                return jvp(forward, [inputs[i] for i in chosen], tangents)[1]

            self._derived[key] = self._jit(forward_mode)
        pushed = dict(
            zip(every, self._derived[key]([ts[i] for i in chosen], list(xs)), strict=True)
        )
        return tuple(pushed.get(i) for i in range(len(ys)))

    def _restricted(
        self, chosen: Sequence[int], outputs: Sequence[int], inputs: Sequence[Tensor]
    ) -> Callable[..., list[Tensor]]:
        """The graph as a function of some inputs only, that gives some outputs only."""

        def forward(*some: Tensor) -> list[Tensor]:
            given = list(inputs)
            for i, x in zip(chosen, some, strict=True):
                given[i] = x
            results = replay(self._graph, given)
            return [results[i] for i in outputs]

        return forward
