"""What a compiled function does: traces and why they happened, graphs, kernels, memory, times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tapeflow.graph import Graph
from tapeflow.jit.call import Form
from tapeflow.jit.kernel import Launch
from tapeflow.jit.plan import HostStep
from tapeflow.jit.trace import Trace
from tapeflow.variable import Variable

if TYPE_CHECKING:
    from tapeflow.jit.api import Entry


@dataclass(frozen=True)
class Memory:
    """Bytes that a program needs."""

    inputs: int
    outputs: int
    arena: int  # intermediate results, which share memory where their lives do not meet
    constants: int

    @property
    def peak(self) -> int:
        """All of them, which live at once during a call."""
        return self.inputs + self.outputs + self.arena + self.constants


class Lowered:
    """The program of one trace."""

    def __init__(self, trace: Trace, form: Form) -> None:
        self._trace, self._form = trace, form

    @property
    def traced(self) -> Graph:
        """The graph as the function was traced."""
        return self._trace.graph

    @property
    def variables(self) -> tuple[Variable, ...]:
        """What the last inputs of `traced` are the values of."""
        return self._trace.read

    @property
    def graph(self) -> Graph:
        """The graph after all passes."""
        return self._form.graph

    @property
    def kernels(self) -> list[Launch]:
        """The launches in order; empty where the program is interpreted."""
        program = self._form.program
        return program.plan.launches if program else []

    @property
    def host_steps(self) -> list[str]:
        """The ops that run as Python between kernels."""
        program = self._form.program
        steps = program.plan.steps if program else ()
        return [_on_host(step) for step in steps if isinstance(step, HostStep)]

    @property
    def source(self) -> str:
        """The generated source of all kernels, each once."""
        codes = dict.fromkeys(launch.code for launch in self.kernels)
        return "\n".join(code.text for code in codes)

    @property
    def memory(self) -> Memory:
        """What the program needs, in bytes."""
        graph, program = self.graph, self._form.program
        fresh = program.plan.fresh if program else graph.outputs
        return Memory(
            sum(map(_nbytes, graph.inputs)),
            sum(map(_nbytes, fresh)),
            program.plan.arena_bytes if program else 0,
            sum(map(_nbytes, graph.constants)),
        )

    @property
    def compile_seconds(self) -> float:
        """How long it took to compile the kernels, or to find them on disk."""
        return self._form.program.compile_seconds if self._form.program else 0.0


def _on_host(step: HostStep) -> str:
    """`sort`, or `scan, turn by turn, for its sort`."""
    name = step.node.prim.name
    return f"{name}, turn by turn, for its {', '.join(step.inside)}" if step.inside else name


def _nbytes(v: Any) -> int:
    return int(v.spec.size * v.dtype.itemsize)


class Explanation:
    """A report that prints as text."""

    def __init__(self, name: str, entries: Sequence[Entry], lowered: Lowered) -> None:
        self.name, self.lowered = name, lowered
        self.traces = [f"{e.reason}, traced in {e.trace_seconds:.3f} s" for e in entries]

    def __str__(self) -> str:
        low = self.lowered
        memory = low.memory
        lines = [f"{self.name}: {len(self.traces)} traces"]
        lines += [f"  {i}. {reason}" for i, reason in enumerate(self.traces, 1)]
        lines += [
            "",
            "as traced",
            str(low.traced),
            "",
            "after optimisation",
            str(low.graph),
            "",
            f"{len(low.kernels)} kernels, compiled or loaded in {low.compile_seconds:.3f} s",
        ]
        lines += [f"  {launch.code.symbol}: {launch.extent} work items" for launch in low.kernels]
        lines += [f"  on the host: {name}" for name in low.host_steps]
        lines += [
            "",
            f"memory: {memory.peak:,} bytes ({memory.inputs:,} inputs, {memory.outputs:,} outputs, "
            f"{memory.arena:,} intermediate, {memory.constants:,} constants)",
            "",
            low.source,
        ]
        return "\n".join(lines)

    __repr__ = __str__
