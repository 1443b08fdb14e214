"""Matrix products, and what follows them element by element, as one kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from tapeflow.graph import Node, Var
from tapeflow.jit import cache, product
from tapeflow.jit.kernel import Launch, Layout, Pointer, Scratch
from tapeflow.ops.shape import contiguous
from tapeflow_kernels.cpu import choice, contraction, nest
from tapeflow_kernels.cpu.contraction import Contraction, Extents, Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.halves import computed
from tapeflow_kernels.machine import host

Ints = tuple[int, ...]


def lower(
    node: Node[Var],
    layouts: Mapping[Var, Layout],
    updated: Mapping[Var, Var],
    any_size: bool = False,
    uses: int = 1,
) -> list[Launch]:
    """Launches that pack operands where that pays, and one that multiplies: with `any_size` by the
    code for all sizes, unless that for these is there already. The right factor is the same in so
    many `uses` of them."""
    a, b = node.inputs[:2]
    parts = product.Parts.of_node(node)
    out = node.outputs[0].shape
    extents = Extents(m=out[-2], reduce=(a.shape[-1],), batch=out[:-2])
    epilogue = Epilogue(
        tuple((value, contiguous(out)) for value in parts.stores),
        tuple(layouts[v].strides for v in parts.operands),
        parts.instructions,
        tuple(v.dtype.name for v in (*parts.operands, *node.outputs)),
    )
    precision = parts.of.attrs.get("precision", "float32")
    factors = layouts[a].strides, layouts[b].strides
    c = of_factors(a.dtype.name, factors, epilogue, (extents, out[-1]), precision)
    places = Pointers(
        product.at(layouts[a]),
        product.at(layouts[b]),
        tuple(product.at(layouts[v]) for v in parts.operands),
        product.outputs(node, updated),
    )
    if extents.m == 1 and c.b[-2] == 1 < c.n and uses == 1 and not any_size:
        c, extents, places = _column(c, extents, places)
    return launches(c, extents, places, any_size, uses)


def _column(
    c: Contraction, extents: Extents, places: Pointers[Pointer]
) -> tuple[Contraction, Extents, Pointers[Pointer]]:
    """A product of one row as one of one column, whose left factor is the transposed right one: if
    that lies so, it is read as it lies. 1x1024 by 1024x1024: 0.45 -> 0.21 ms, bfloat16 0.04."""

    def turned(strides: Ints, column: int) -> Ints:
        return (*strides[:-2], strides[-1], column)

    epilogue = replace(
        c.epilogue,
        stores=tuple((value, turned(strides, 1)) for value, strides in c.epilogue.stores),
        operands=tuple(turned(strides, 0) for strides in c.epilogue.operands),
    )
    (*batch_a, row, step), (*batch_b, along, column) = c.a, c.b
    a, b = (*batch_b, column, along), (*batch_a, step, row)
    swapped = replace(places, a=places.b, b=places.a)
    return replace(c, n=1, a=a, b=b, epilogue=epilogue), replace(extents, m=c.n), swapped


def of_factors(
    dtype: str,
    strides: tuple[Ints, Ints],
    epilogue: Epilogue,
    sizes: tuple[Extents, int],
    precision: str = "float32",
) -> Contraction:
    """The contraction of factors that are `dtype` in memory, `strides` those of both, in the way
    that suits them; `sizes`: the extents, and the number of columns."""
    products, tiles = choice.way(dtype, precision, sizes, host())
    sums = computed(dtype)
    return Contraction(
        *(sums, sizes[1], *strides, epilogue),
        memory="" if sums == dtype else dtype,
        products=products,
        tiles=tiles,
    )


def launches(
    c: Contraction,
    extents: Extents,
    places: Pointers[Pointer],
    any_size: bool = False,
    uses: int = 1,
) -> list[Launch]:
    """Those of a contraction whose operands lie at `places`."""
    c = choice.plan(c, extents, uses)
    code = product.code("product", c, nest.emit)
    if any_size and not cache.holds(code):
        extents = replace(extents, n=c.n)
        c = replace(c, n=0, pack_a=True, pack_b=True, few_rows=0, by_rows=False)
        code = product.code("product", c.opened(), nest.emit)
    made: list[Launch] = []
    left, right = places.a, places.b
    axes = (extents.reduce, extents.batch)
    if c.pack_a:
        left, launch = product.pack(contraction.packing_a(c), left, extents.m, axes, 0)
        made.append(launch)
    if c.pack_b:
        columns = c.n or extents.n
        right, launch = product.pack(contraction.packing_b(c), right, columns, axes, 1)
        made.append(launch)
    partial = contraction.scratch_bytes(c, extents)
    scratch: Pointer | int = Pointer(Scratch(2, partial)) if partial else 0
    pointers: Pointers[Pointer | int] = Pointers(
        left, right, places.operands, places.stores, scratch
    )
    items = contraction.items(c, extents)
    flops = 2 * math.prod((*extents.batch, extents.m, c.n or extents.n, *extents.reduce))
    arguments = tuple(contraction.arguments(c, extents, pointers))
    launch = Launch(code, arguments, items, product.grain(items, flops))
    # where sums are formed in blocks, each share reads all of a factor: 64x25088x256 on two threads
    # 3.3 -> 2.7 ms
    return [*made, replace(launch, shares=1) if partial else launch]


def flops_of(node: Node[Var]) -> int:
    """Floating-point operations of a product, without what follows it."""
    of = product.Parts.of_node(node).of
    return 2 * of.outputs[0].spec.size * of.inputs[0].shape[-1]
