"""Heavy operations in eager code: programs of one node, kept by the types of their inputs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tapeflow import config
from tapeflow.graph import Graph, Node, Var
from tapeflow.primitive import Kernel, Primitive
from tapeflow.tensor import Array, Spec

if TYPE_CHECKING:
    from tapeflow.jit.program import Program

_KERNELS = ("convolution", "pool")
_LEAST = 1 << 14  # elements of all inputs; NumPy does less before a program is planned
_KEPT = 256  # programs of one primitive


def by_program(prim: Primitive) -> None:
    """Let eager code run `prim` by a program, if it has a kernel of its own."""
    if isinstance(prim.lowering, Kernel) and prim.lowering.name in _KERNELS:
        prim.eager = _ByProgram(prim)


class _ByProgram:
    """The array function of a primitive, by a compiled program where that pays."""

    def __init__(self, prim: Primitive) -> None:
        self._prim = prim
        self._programs: OrderedDict[Any, Program | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *arrays: Array, **attrs: Any) -> Any:
        if sum(a.size for a in arrays) < _LEAST or not config.jit_enabled():
            return self._prim.array_fn(*arrays, **attrs)
        specs = tuple(Spec(a.shape, a.dtype) for a in arrays)
        program = self._program(specs, attrs)
        if program is None:
            return self._prim.array_fn(*arrays, **attrs)
        outputs = program(arrays)
        return tuple(outputs) if self._prim.multiple else outputs[0]

    def _program(self, specs: tuple[Spec, ...], attrs: Mapping[str, Any]) -> Program | None:
        """The program for inputs of these types; None where no kernel takes them."""
        key = specs, tuple(attrs.items())
        with self._lock:
            if key in self._programs:
                self._programs.move_to_end(key)
                return self._programs[key]
            made = self._programs[key] = _compiled(_graph(self._prim, specs, attrs))
            if len(self._programs) > _KEPT:
                self._programs.popitem(last=False)
            return made


def _graph(prim: Primitive, specs: tuple[Spec, ...], attrs: Mapping[str, Any]) -> Graph:
    """The graph of one node; raises what the shape rule says of inputs that do not fit."""
    inputs = tuple(Var(f"x{i}", s.shape, s.dtype) for i, s in enumerate(specs))
    found = prim.output_specs(specs, attrs)
    outputs = tuple(Var(f"y{i}", s.shape, s.dtype) for i, s in enumerate(found))
    return Graph(prim.name, inputs, (Node(prim, inputs, attrs, outputs),), outputs, {})


def _compiled(graph: Graph) -> Program | None:
    from tapeflow.jit.passes import optimize
    from tapeflow.jit.plan import Kernels, plan
    from tapeflow.jit.program import Program

    planned = plan(optimize(graph), {})
    return Program(planned) if all(isinstance(s, Kernels) for s in planned.steps) else None
