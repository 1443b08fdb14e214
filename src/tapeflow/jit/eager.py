"""Heavy operations in eager code: programs of one node, kept by the types of their inputs, and the
kernels of random numbers."""

from __future__ import annotations

import ctypes
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeflow import config
from tapeflow.dtypes import DType, uint64
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.kernel import Pointer
from tapeflow.primitive import Kernel, Primitive
from tapeflow.tensor import Array, Spec
from tapeflow_kernels import memory
from tapeflow_kernels.cpu import loops

if TYPE_CHECKING:
    from tapeflow.jit.program import Program
    from tapeflow_kernels.machine import Assembly

_KERNELS = ("convolution", "pool")
_LEAST = 1 << 14  # elements of all inputs; NumPy does less before a program is planned
_KEPT = 256  # programs of one primitive
_CALL = 4000  # random numbers that take NumPy as long as a call of its functions
_PAYS = 1 << 20  # random numbers by NumPy that take as long as loading machine code


def _kept(symbol: str, begin: Callable[[], Assembly]) -> bytes:
    from tapeflow.jit import cache  # which needs the compiler

    return cache.keep(symbol, begin)


loops.kept_by(_kept)


def by_program(prim: Primitive) -> None:
    """Let eager code run `prim` by a program, if it has a kernel of its own."""
    name = prim.lowering.name if isinstance(prim.lowering, Kernel) else ""
    if name in _KERNELS:
        prim.eager = _ByProgram(prim)
    elif name == "noise":
        prim.eager = _ByKernel(prim)


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


class _ByKernel:
    """The array function of a primitive that draws random numbers, by its kernel once that pays for
    loading machine code: for many numbers, or after many calls. Both give the same bits."""

    by_numpy = 0  # what was drawn without, by all primitives: they load the same

    def __init__(self, prim: Primitive) -> None:
        self._prim = prim
        self._kernels: dict[Any, Callable[[Array, Array], None]] = {}

    def __call__(
        self, state: Array, *, shape: tuple[int, ...], dtype: DType, digits: int = 0
    ) -> Array:
        draw = self._kernels.get((dtype, digits))
        if draw is None:
            _ByKernel.by_numpy += _CALL * (state.size // 3) + math.prod(shape)
            if _ByKernel.by_numpy < _PAYS or not config.jit_enabled():
                found: Array = self._prim.array_fn(state, shape=shape, dtype=dtype, digits=digits)
                return found
            draw = self._kernels[dtype, digits] = _loaded(self._prim.name, dtype, digits)
        y = memory.empty(shape, dtype)
        if y.size:
            draw(np.ascontiguousarray(state), y)
        return y


def _loaded(name: str, dtype: DType, digits: int) -> Callable[[Array, Array], None]:
    """The function that fills an array for states, in the calling thread alone."""
    from tapeflow.jit import cache, noise

    state, out = Pointer(Var("state", (3,), uint64)), Var("y", (1,), dtype)
    code = noise.launch(name, state, out, digits, 1).code
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p)
    kernel = kind(cache.addresses([code])[code])

    def draw(state: Array, y: Array) -> None:
        rest = np.empty(noise.REST, np.uint8)  # of this call: other threads draw meanwhile
        rows = state.size // 3
        block = np.array([*map(loops.address, (state, y, rest)), y.size // rows], np.int64)
        kernel(0, noise.items(y.nbytes, rows), loops.address(block))

    return draw


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
