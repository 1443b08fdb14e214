"""What a compiled function does: traces and why they happened, graphs, kernels, memory, times."""

from __future__ import annotations

import base64
import html
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tapeflow import config
from tapeflow.errors import MissingExtraError
from tapeflow.graph import Graph
from tapeflow.jit import report
from tapeflow.jit.call import Form
from tapeflow.jit.kernel import Launch
from tapeflow.jit.plan import HostStep
from tapeflow.jit.report import Row
from tapeflow.jit.roofline import PNG, picture
from tapeflow.jit.trace import Trace
from tapeflow.tensor import Array
from tapeflow.variable import Variable
from tapeflow_kernels.limits import Limits, measured

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

    def time_steps(self, arrays: Sequence[Array]) -> list[Row]:
        """The steps with what each takes on these inputs and copies of the variables; none where
        the program is interpreted."""
        program = self._form.program
        if program is None:
            return []
        held = [*arrays, *(v.numpy() for v in self.variables)]
        return report.rows_of(program.plan, program.time_steps(held))

    @property
    def compile_seconds(self) -> float:
        """How long it took to compile the kernels, or to find them on disk."""
        return self._form.program.compile_seconds if self._form.program else 0.0


def _on_host(step: HostStep) -> str:
    """`sort`, or `scan, turn by turn, for its sort`."""
    name = step.node.prim.name
    return f"{name}, turn by turn, for its {', '.join(step.inside)}" if step.inside else name


def _nbytes(v: Any) -> int:
    return int(v.spec.nbytes)


class Explanation:
    """A report that prints as text, and shows with tables and a picture in notebooks."""

    def __init__(
        self, name: str, entries: Sequence[Entry], lowered: Lowered, arrays: Sequence[Array]
    ) -> None:
        self.name, self.lowered, self._arrays = name, lowered, arrays
        self.traces = [f"{e.reason}, traced in {e.trace_seconds:.3f} s" for e in entries]

    @cached_property
    def rows(self) -> list[Row]:
        """The steps of the program in order, timed when first asked for."""
        return self.lowered.time_steps(self._arrays)

    @cached_property
    def limits(self) -> Limits:
        """What this machine does at most, with the threads that programs use."""
        return measured(config.num_threads())

    def roofline(self, path: str | os.PathLike[str] | None = None) -> PNG:
        """A picture of what the steps reach below what the machine does at most, as PNG; also
        written to `path`.

        Raises: MissingExtraError without matplotlib.
        """
        made = picture(self.name, self.rows, self.limits)
        if path is not None:
            Path(path).write_bytes(made)
        return made

    def _said(self) -> dict[str, list[str]]:
        """The lines of each part but the table."""
        low, memory = self.lowered, self.lowered.memory
        return {
            "traces": [f"{i}. {reason}" for i, reason in enumerate(self.traces, 1)],
            "as traced": [str(low.traced)],
            "after optimisation": [str(low.graph)],
            "kernels": [
                f"{len(low.kernels)} kernels, compiled or loaded in {low.compile_seconds:.3f} s",
                *(f"  {k.code.symbol}: {max(k.extent, 0)} work items" for k in low.kernels),
                *(f"  on the host: {name}" for name in low.host_steps),
            ],
            "memory": [
                f"{memory.peak:,} bytes at the peak ({memory.inputs:,} inputs, {memory.outputs:,} "
                f"outputs, {memory.arena:,} intermediate, {memory.constants:,} constants)"
            ],
            "source": [low.source],
        }

    def __str__(self) -> str:
        said = self._said()
        lines = [f"{self.name}: {len(self.traces)} traces"]
        lines += [f"  {line}" for line in said["traces"]]
        for part in ("as traced", "after optimisation"):
            lines += ["", part, *said[part]]
        lines += ["", *said["kernels"]]
        if self.rows:
            lines += ["", report.summary(self.rows, self.limits)]
            lines += report.as_text(self.rows, self.limits)
        lines += ["", f"memory: {said['memory'][0]}", "", *said["source"]]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        said = self._said()
        parts = [f"<h4>{html.escape(self.name)}: {len(self.traces)} traces</h4>"]
        parts += [f"<div>{html.escape(line)}</div>" for line in said["traces"]]
        if self.rows:
            parts += [f"<p>{html.escape(report.summary(self.rows, self.limits))}</p>"]
            parts += [report.as_html(self.rows, self.limits), self._image()]
        parts += [f"<p>memory: {html.escape(said['memory'][0])}</p>"]
        for part in ("as traced", "after optimisation", "kernels", "source"):
            text = html.escape("\n".join(said[part]))
            parts += [f"<details><summary>{part}</summary><pre>{text}</pre></details>"]
        return "\n".join(parts)

    def _image(self) -> str:
        try:
            encoded = base64.b64encode(self.roofline()).decode()
        except MissingExtraError as error:
            return f"<p>For a picture of this: <code>{html.escape(error.fix)}</code></p>"
        return f'<img alt="roofline" style="max-width:900px" src="data:image/png;base64,{encoded}">'
