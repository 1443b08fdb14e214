"""Runs the launches of a node on arrays, in shares of any size, as the driver would."""
from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence

import numpy as np

from tapeflow.graph import Node, Var
from tapeflow.jit.codegen import cpu, loops
from tapeflow.jit.kernel import Code, Launch, Layout, Pointer, Scratch
from tapeflow.ops.shape import contiguous
from tapeflow.tensor import Array
from tapeflow_kernels import machine

_Kernel = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
_compiled: dict[Code, ctypes._FuncPointer] = {}


def own(v: Var) -> Layout:
    return Layout(v, 0, contiguous(v.shape))


def function(code: Code) -> ctypes._FuncPointer:
    """The machine code of `code`."""
    if code not in _compiled:
        assembled = cpu.begin(code).finish()
        _compiled[code] = _Kernel(machine.load(assembled, [code.symbol])[code.symbol])
    return _compiled[code]


def run(launches: Sequence[Launch], memory: Mapping[Var, Array], share: int = 1 << 60) -> None:
    """Execute `launches`, at most `share` work items a call, last share first."""
    scratch: dict[Scratch, Array] = {}
    for launch in launches:
        block = np.array([_word(a, memory, scratch) for a in launch.arguments] or [0], np.int64)
        for start in reversed(range(0, launch.extent, share)):
            function(launch.code)(start, min(start + share, launch.extent), block.ctypes.data)


def _word(argument: Pointer | int, memory: Mapping[Var, Array],
          scratch: dict[Scratch, Array]) -> int:
    if not isinstance(argument, Pointer):
        return argument
    if isinstance(argument.of, Scratch):
        array = scratch.setdefault(argument.of, np.full(argument.of.nbytes, 0xA5, np.uint8))
    else:
        array = memory[argument.of]
    return int(array.ctypes.data) + argument.offset


def evaluate(node: Node[Var], layouts: Mapping[Var, Layout], memory: Mapping[Var, Array],
             share: int = 1 << 60) -> list[Array]:
    """The outputs of a fused node, by its machine code."""
    outputs = {v: np.full(v.shape, 0xA5, np.uint8).astype(v.dtype) for v in node.outputs}
    launches = loops.lower(node, {**layouts, **{v: own(v) for v in outputs}}, {})
    run(launches, {**memory, **outputs}, share)
    return list(outputs.values())
