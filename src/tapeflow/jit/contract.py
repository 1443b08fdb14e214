"""Contractions: a matrix product, and what follows it element by element, as one kernel."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from tapeflow.dtypes import float32, float64
from tapeflow.graph import Graph, Node, Var, evaluate
from tapeflow.jit.kernel import Code, Launch, Layout, Pointer, Scratch
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import Kernel, Primitive
from tapeflow_kernels.cpu import contraction, nest, packing
from tapeflow_kernels.cpu.contraction import Contraction, Extents, Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue

T = TypeVar("T")
Instruction = tuple[str, tuple[int | float, ...]]
_FLOPS_WORTH_A_THREAD = 1_000_000


class Product(Primitive):
    """A matrix product whose result goes through `body`: a graph of (product, *operands)."""

    def __init__(
        self,
        matmul: Primitive,
        body: Graph,
        instructions: tuple[Instruction, ...],
        stores: tuple[int, ...],
    ) -> None:
        def run(a: Any, b: Any, *operands: Any) -> Any:
            return tuple(evaluate(body, matmul.array_fn(a, b), *operands))

        super().__init__(
            run,
            lambda *specs: tuple(v.spec for v in body.outputs),
            name="product",
            lowering=Kernel("contraction"),
            multiple=True,
        )
        self.body, self.instructions, self.stores = body, instructions, stores


def fits(node: Node[Var]) -> bool:
    """Whether this node is a contraction that has a kernel."""
    return (
        isinstance(node.prim.lowering, Kernel)
        and node.prim.lowering.name == "contraction"
        and node.inputs[0].dtype in (float32, float64)
        and node.outputs[0].spec.size > 0
    )


def lower(
    node: Node[Var], layouts: Mapping[Var, Layout], updated: Mapping[Var, Var]
) -> list[Launch]:
    """Launches that pack operands where that pays, and one that multiplies."""
    a, b, *operands = node.inputs
    out = node.outputs[0].shape
    extents = Extents(m=out[-2], reduce=(a.shape[-1],), batch=out[:-2])
    stores = tuple((value, contiguous(out)) for value in _stores(node))
    epilogue = Epilogue(stores, tuple(layouts[v].strides for v in operands), _instructions(node))
    c = contraction.plan(
        Contraction(a.dtype.name, out[-1], layouts[a].strides, layouts[b].strides, epilogue),
        extents,
    )
    launches: list[Launch] = []
    left = right = None
    if c.pack_a:
        left = _pack(contraction.packing_a(c), layouts[a], extents, extents.m, 0, launches)
    if c.pack_b:
        right = _pack(contraction.packing_b(c), layouts[b], extents, c.n, 1, launches)
    partial = contraction.scratch_bytes(c, extents)
    pointers: Pointers[Pointer | int] = Pointers(
        left or _at(layouts[a]),
        right or _at(layouts[b]),
        tuple(_at(layouts[v]) for v in operands),
        tuple(Pointer(updated.get(v, v)) for v in node.outputs),
        Pointer(Scratch(2, partial)) if partial else 0,
    )
    items = contraction.items(c, extents)
    flops = 2 * node.outputs[0].spec.size * math.prod(extents.reduce)
    grain = max(1, math.ceil(items * min(1.0, _FLOPS_WORTH_A_THREAD / max(flops, 1))))
    launches.append(
        Launch(
            _code("product", c, nest.emit),
            tuple(contraction.arguments(c, extents, pointers)),
            items,
            grain,
        )
    )
    return launches


def _pack(
    p: packing.Packing, source: Layout, extents: Extents, n: int, index: int, launches: list[Launch]
) -> Pointer:
    """Add the launch that copies an operand into panels; gives their address."""
    size = packing.elements(p, n, extents.reduce, extents.batch)
    panels = Pointer(Scratch(index, size * source.base.dtype.itemsize))
    arguments = packing.arguments(p, _at(source), panels, n, (extents.reduce, extents.batch))
    launches.append(
        Launch(
            _code("pack", p, packing.emit),
            tuple(arguments),
            packing.items(p, n, extents.batch),
            1,
        )
    )
    return panels


def _at(layout: Layout) -> Pointer:
    return Pointer(layout.base, layout.offset * layout.base.dtype.itemsize)


def _stores(node: Node[Var]) -> Sequence[int]:
    return node.prim.stores if isinstance(node.prim, Product) else (0,)


def _instructions(node: Node[Var]) -> tuple[Instruction, ...]:
    return node.prim.instructions if isinstance(node.prim, Product) else ()


def _code(kind: str, what: T, emit: Callable[[T, str], str]) -> Code:
    """The code of a kernel, named by what it does."""
    name = f"{kind}_{hashlib.sha256(repr(what).encode()).hexdigest()[:16]}"
    return Code("llvm", name, lambda: emit(what, name))
