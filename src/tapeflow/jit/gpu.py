"""DeviceProgram: a graph on a CUDA device. What is not fused runs on the host, between kernels.

Numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs all of it without a GPU.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeflow.graph import Graph, Node, Var, run_node
from tapeflow.jit.codegen import cuda as kernels
from tapeflow.jit.codegen import loops
from tapeflow.jit.codegen.cpu import load_text
from tapeflow.jit.codegen.cuda import Grid
from tapeflow.jit.kernel import Code, Pointer
from tapeflow.jit.passes import optimize
from tapeflow.jit.passes.fused import Fused, has_complex, has_halves
from tapeflow.jit.plan import plan
from tapeflow.primitive import Scalar
from tapeflow.tensor import Array


@functools.cache
def _kernel(code: Code) -> Any:
    jit, _ = _compilers()
    return jit(load_text(code.text, code.symbol, _namespace()))


@functools.cache
def _namespace() -> dict[str, Any]:
    import numba
    from numba import cuda

    from tapeflow_kernels.cuda import functions

    kinds = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    names: dict[str, Any] = {name: getattr(numba, name) for name in (*kinds, "float32", "float64")}
    names.update(cuda=cuda, bool=numba.boolean, inf=float("inf"), nan=float("nan"))
    names.update(functions.OF_DEVICE)
    _, jit_inner = _compilers()
    names.update((name, jit_inner(fn)) for name, fn in functions.OWN.items())
    return names


def _compilers() -> tuple[Any, Any]:
    """What makes a kernel of a function, and what makes a function that kernels call."""
    from numba import cuda

    jit: Any = cuda.jit
    return jit, jit(device=True)


def _unknown(node: Node[Var]) -> bool:
    """Whether a node has dtypes or functions that device code does not know."""
    from tapeflow_kernels.cuda import functions

    if has_halves(node) or has_complex(node):
        return True
    lowering = node.prim.lowering
    called = re.findall(r"\b([a-z]\w*)\(", lowering.text) if isinstance(lowering, Scalar) else []
    return not functions.OF_DEVICE.keys() | functions.OWN.keys() | {"abs"} >= set(called)


class DeviceProgram:
    """A graph on a CUDA device."""

    def __init__(self, graph: Graph) -> None:
        self.plan = plan(optimize(graph), {}, chained=False)
        self.steps = [(step.node, self._grids(step.node)) for step in self.plan.steps]

    def _grids(self, node: Node[Var]) -> Sequence[Grid]:
        """The launches of a node; none if it runs on the host."""
        if node.prim is loops.COPY:
            (x,), (y,) = node.inputs, node.outputs
            moved = Var("moved", x.shape, x.dtype)  # kernels know what they read from their results
            body = Graph("body", (x,), (Node(loops.COPY, (x,), {}, (moved,)),), (moved,))
            node = Node(Fused(body, x.shape, None), (x,), {}, (y,))
        nodes = (node, *node.prim.body.nodes) if isinstance(node.prim, Fused) else ()
        backwards = any(s < 0 for v in node.inputs for s in self.plan.layouts[v].strides)
        if not nodes or backwards or any(map(_unknown, nodes)):  # arrays count -1 from their end
            return ()
        return kernels.lower(node, self.plan.layouts)

    def __call__(self, *arrays: Array) -> list[Array]:
        """The outputs of the graph for these inputs."""
        memory = self.load(*arrays)
        self.run(memory)
        return [self._value(v, memory) for v in self.plan.graph.outputs]

    def load(self, *arrays: Array) -> dict[Var, Any]:
        """Flat device arrays for all values, the inputs filled in."""
        from numba import cuda

        graph = self.plan.graph
        held = {**dict(zip(graph.inputs, arrays, strict=True)), **graph.constants}
        memory = {v: cuda.to_device(_flat(a)) for v, a in held.items()}
        for node, grids in self.steps:
            parts = [(a.of, g.blocks * kernels.THREADS) for g in grids for a in g.arguments
                     if isinstance(a, Pointer) and isinstance(a.of, Var)]
            bases = (self.plan.layouts[v].base for v in (*node.inputs, *node.outputs))
            for v, size in (*((v, v.spec.size) for v in bases), *parts):
                if v not in memory:
                    memory[v] = cuda.device_array(max(size, 1), _stored(v))
        return memory

    def run(self, memory: dict[Var, Any]) -> None:
        """All steps, on what `load` gave."""
        for node, grids in self.steps:
            for grid in grids:
                arguments = [_argument(a, memory) for a in grid.arguments]
                _kernel(grid.code)[grid.blocks, kernels.THREADS](*arguments)
            if not grids and any(v.spec.size for v in node.outputs):
                self._run_on_host(node, memory)

    def _run_on_host(self, node: Node[Var], memory: dict[Var, Any]) -> None:
        inputs = [self._value(v, memory) for v in node.inputs]
        for v, array in zip(node.outputs, run_node(node, inputs), strict=True):
            if self.plan.layouts[v].base is v:  # else it is what a question was asked about
                memory[v].copy_to_device(_flat(array))

    def _value(self, v: Var, memory: dict[Var, Any]) -> Array:
        layout = self.plan.layouts[v]
        flat = memory[layout.base].copy_to_host().view(layout.base.dtype)
        strides = tuple(s * v.dtype.itemsize for s in layout.strides)
        return np.lib.stride_tricks.as_strided(flat[layout.offset :], v.shape, strides)


def _argument(argument: Pointer | int, memory: dict[Var, Any]) -> Any:
    if isinstance(argument, int):
        return argument
    assert isinstance(argument.of, Var), "memory for parts has a variable of its own"
    array = memory[argument.of]
    return array[argument.offset // array.dtype.itemsize :]


def _flat(array: Array) -> Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat if flat.size else np.zeros(1, flat.dtype)
    return flat.view(np.uint8) if flat.dtype == np.bool_ else flat


def _stored(v: Var) -> Any:
    """What values of a dtype are in memory: a bool is a byte."""
    return np.uint8 if v.dtype == np.bool_ else v.dtype
