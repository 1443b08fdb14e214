"""Products: contractions of two inputs, and what follows them element by element, as one kernel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tapeflow.dtypes import DType, bfloat16, float16, float32, float64
from tapeflow.graph import Graph, Node, Var, evaluate
from tapeflow.jit.kernel import Code, Launch, Layout, Pointer, Scratch
from tapeflow.primitive import Kernel, Primitive
from tapeflow_kernels.cpu import packing
from tapeflow_kernels.cpu.geometry import Triple
from tapeflow_kernels.cpu.halves import converts
from tapeflow_kernels.machine import host

T = TypeVar("T")
Instruction = tuple[str, tuple[int | float, ...]]
_FLOPS_WORTH_A_THREAD = 1_000_000


class Product(Primitive):
    """A contraction, the node `of`, whose result goes through `body`: a graph of (product,
    *operands)."""

    def __init__(
        self,
        of: Node[Var],
        body: Graph,
        instructions: tuple[Instruction, ...],
        stores: tuple[int, ...],
    ) -> None:
        def run(a: Any, b: Any, *operands: Any) -> Any:
            return tuple(evaluate(body, of.prim.array_fn(a, b, **of.attrs), *operands))

        super().__init__(
            run,
            lambda *specs: tuple(v.spec for v in body.outputs),
            name="product",
            lowering=of.prim.lowering,
            multiple=True,
        )
        self.of, self.body, self.instructions, self.stores = of, body, instructions, stores


@dataclass(frozen=True)
class Parts:
    """A node taken apart: the contraction, and the operands, instructions and stores behind it."""

    of: Node[Var]
    operands: tuple[Var, ...]
    instructions: tuple[Instruction, ...]
    stores: tuple[int, ...]

    @staticmethod
    def of_node(node: Node[Var]) -> Parts:
        if isinstance(node.prim, Product):
            prim = node.prim
            return Parts(prim.of, node.inputs[2:], prim.instructions, prim.stores)
        return Parts(node, (), (), (0,))


def fits(node: Node[Var]) -> bool:
    """Whether this node is a contraction that has a kernel."""
    lowering = node.prim.lowering
    return (
        isinstance(lowering, Kernel)
        and lowering.name in ("contraction", "convolution")
        and node.outputs[0].spec.size > 0
        and has_kernels(node.inputs[0].dtype)
    )


def has_kernels(dtype: DType) -> bool:
    """Whether kernels read and write such elements."""
    halves = dtype in (bfloat16, float16) and converts(dtype.name, host())
    return halves or dtype in (float32, float64)


def at(layout: Layout, elements: int = 0) -> Pointer:
    """The address of an element of a value, counted in memory."""
    return Pointer(layout.base, (layout.offset + elements) * layout.base.dtype.itemsize)


def outputs(node: Node[Var], updated: Mapping[Var, Var]) -> tuple[Pointer, ...]:
    """Where a node's outputs are written."""
    return tuple(Pointer(updated.get(v, v)) for v in node.outputs)


def triple(values: Sequence[int], missing: int) -> Triple:
    """What holds along z, y, x, where the spatial axes that an op has not are filled in."""
    z, y, x = (missing,) * (3 - len(values)) + tuple(values)
    return z, y, x


def code(kind: str, what: T, emit: Callable[[T, str], str]) -> Code:
    """The code of a kernel, named by what it does."""
    name = f"{kind}_{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"
    return Code("llvm", name, lambda: emit(what, name))


def grain(items: int, flops: int) -> int:
    """Items that are worth a thread."""
    return max(1, math.ceil(items * min(1.0, _FLOPS_WORTH_A_THREAD / max(flops, 1))))


def pack(
    p: packing.Packing,
    source: Pointer,
    n: int,
    extents: tuple[tuple[int, ...], tuple[int, ...]],
    scratch: int,
) -> tuple[Pointer, Launch]:
    """The panels of an operand with `extents` of reductions and batch, and the launch for them."""
    reduce, batch = extents
    itemsize = 8 if p.dtype == "float64" else 4
    panels = Pointer(Scratch(scratch, packing.elements(p, n, reduce, batch) * itemsize))
    arguments = packing.arguments(p, source, panels, n, extents)
    made = code("pack", packing.structure(p), packing.emit)
    launch = Launch(made, tuple(arguments), packing.items(p, n, batch), 1)
    return panels, launch
