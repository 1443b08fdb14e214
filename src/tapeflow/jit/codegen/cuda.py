"""CUDA: the generated loops on a GPU, by the very text that CPUs run.

A work item is a thread: the kernel around the text walks items with the stride of the grid, so
that neighbouring threads touch neighbouring elements. What has no generated text (contractions,
host steps) runs on the host, between kernels. Numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs all
of it without a GPU.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from tapeflow.graph import Graph, Var, evaluate
from tapeflow.jit.codegen.cpu import load_text
from tapeflow.jit.kernel import Code, Launch, Pointer, Scratch
from tapeflow.jit.passes import optimize
from tapeflow.jit.plan import Plan, Step, plan, scratches
from tapeflow.tensor import Array

_THREADS = 128
_MOST_BLOCKS = 1024


def kernel_text(code: Code) -> str:
    """The text of the CUDA kernel around the device function that `code` is."""
    parameters = code.text.split("(", 1)[1].split(")", 1)[0].split(", ")[2:]
    arguments = ", ".join(parameters)
    return (
        f"def {code.symbol}_cuda(extent, {arguments}):\n"
        "    for item in range(cuda.grid(1), extent, cuda.gridsize(1)):\n"
        f"        {code.symbol}(item, item + 1, {arguments})\n"
    )


@functools.cache
def _kernel(code: Code) -> Any:
    from numba import cuda

    inner = cuda.jit(device=True)(load_text(code.text, code.symbol, _namespace()))
    name = f"{code.symbol}_cuda"
    return cuda.jit(load_text(kernel_text(code), name, {"cuda": cuda, code.symbol: inner}))


@functools.cache
def _namespace() -> dict[str, Any]:
    import numba
    from numba import cuda

    from tapeflow_kernels.cuda import functions

    short = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    names: dict[str, Any] = {name: getattr(numba, name) for name in (*short, "float32", "float64")}
    names.update(bool=bool, inf=float("inf"), nan=float("nan"), abs=abs, round=round)
    names.update(functions.OF_DEVICE)
    names.update((name, cuda.jit(device=True)(fn)) for name, fn in functions.OWN.items())
    return names


class DeviceProgram:
    """A graph on a CUDA device."""

    def __init__(self, graph: Graph) -> None:
        self.plan: Plan = plan(optimize(graph), {})

    def __call__(self, *arrays: Array) -> list[Array]:
        """The outputs of the graph for these inputs."""
        memory = self.load(*arrays)
        self.run(memory)
        return [self._value(v, memory) for v in self.plan.graph.outputs]

    def load(self, *arrays: Array) -> dict[Any, Any]:
        """Flat device arrays for all values, the inputs filled in."""
        from numba import cuda

        held = {**dict(zip(self.plan.graph.inputs, arrays, strict=True)), **self.plan.graph.constants}
        memory = {v: cuda.to_device(_flat(a)) for v, a in held.items()}
        for i, step in enumerate(self.plan.steps):
            for v in (*step.node.inputs, *step.node.outputs):
                base = self.plan.layouts[v].base
                if base not in memory:
                    memory[base] = cuda.device_array(max(base.spec.size, 1), _stored(base))
            for scratch in scratches(step):
                memory[i, scratch] = cuda.device_array(scratch.nbytes, np.uint8)
        return memory

    def run(self, memory: dict[Any, Any]) -> None:
        """All steps, on what `load` gave."""
        for i, step in enumerate(self.plan.steps):
            launches = getattr(step, "launches", ())
            if launches and all(launch.code.language == "python" for launch in launches):
                for launch in launches:
                    self._launch(i, launch, memory)
            else:
                self._run_on_host(step, memory)

    def _launch(self, step: int, launch: Launch, memory: dict[Any, Any]) -> None:
        kinds = launch.code.parameters
        arguments = [
            self._argument(step, a, kind, memory)
            for a, kind in zip(launch.arguments, kinds, strict=True)
        ]
        blocks = min(_MOST_BLOCKS, -(-launch.extent // _THREADS))
        _kernel(launch.code)[blocks, _THREADS](launch.extent, *arguments)

    def _argument(self, step: int, argument: Pointer | int, kind: str, memory: Any) -> Any:
        if isinstance(argument, int):
            return argument
        of = argument.of
        if isinstance(of, Scratch):
            return memory[step, of].view(_DTYPES[kind.removesuffix("*")])
        array = memory[of]
        return array[argument.offset // array.dtype.itemsize :]

    def _run_on_host(self, step: Step, memory: dict[Any, Any]) -> None:
        node = step.node
        inputs = [self._value(v, memory) for v in node.inputs]
        graph = Graph(node.prim.name, node.inputs, (node,), node.outputs)
        for v, array in zip(node.outputs, evaluate(graph, *inputs), strict=True):
            memory[v].copy_to_device(_flat(array))

    def _value(self, v: Var, memory: dict[Any, Any]) -> Array:
        layout = self.plan.layouts[v]
        flat = memory[layout.base].copy_to_host().view(layout.base.dtype)
        strides = tuple(s * v.dtype.itemsize for s in layout.strides)
        return np.lib.stride_tricks.as_strided(flat[layout.offset :], v.shape, strides)


def _flat(array: Array) -> Array:
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat if flat.size else np.zeros(1, flat.dtype)
    return flat.view(np.uint8) if flat.dtype == np.bool_ else flat


def _stored(v: Var) -> Any:
    return np.uint8 if v.dtype == np.bool_ else v.dtype


_DTYPES: dict[str, Any] = {
    "bool": np.uint8, "i8": np.int8, "i16": np.int16, "i32": np.int32, "i64": np.int64,
    "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64,
    "f32": np.float32, "f64": np.float64,
}  # fmt: skip


