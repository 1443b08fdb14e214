"""Pooling and its adjoints as kernels."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tapeflow.graph import Node, Var
from tapeflow.jit import product
from tapeflow.jit.kernel import Launch, Layout, Pointer
from tapeflow.primitive import Kernel
from tapeflow_kernels.cpu import pool, pool_code
from tapeflow_kernels.cpu.pool import Pool, Shape

_KINDS = {"max_pool": "max", "max_pool_at": "max_at", "max_pool_input": "max_input",
          "avg_pool": "mean", "avg_pool_input": "mean_input"}  # fmt: skip
_ELEMENTS_WORTH_A_THREAD = 32768


def fits(node: Node[Var]) -> bool:
    """Whether this node is a pooling that has a kernel."""
    return (
        isinstance(node.prim.lowering, Kernel)
        and node.prim.lowering.name == "pool"
        and product.has_kernels(node.inputs[0].dtype)
        and len(node.inputs[0].shape) <= 5
        and node.outputs[0].spec.size > 0
    )


def lower(node: Node[Var], layouts: Mapping[Var, Layout]) -> list[Launch]:
    """The launch of a pooling whose inputs are contiguous."""
    kind, attrs = _KINDS[node.prim.name], node.attrs
    x, y = node.inputs[0].shape, node.outputs[0].shape
    cells, places = (y, x) if kind in pool.OF_CELLS else (x, y)
    window, strides = product.triple(attrs["window"], 1), product.triple(attrs["strides"], 1)
    before = product.triple([before for before, _ in attrs["padding"]], 0)
    shape = Shape(x[0], product.triple(cells[1:-1], 1), before, product.triple(places[1:-1], 1))
    positions = [*node.inputs[1:], *node.outputs[1:]]
    made = Pool(
        kind,
        node.inputs[0].dtype.name,
        positions[0].dtype.itemsize if positions else 0,
        x[-1],
        *(window, strides, pool.reaches_over(window, strides, shape)),
    )
    position = product.at(layouts[positions[0]]) if positions else 0
    pointers = (product.at(layouts[node.inputs[0]]), position, Pointer(node.outputs[0]))
    items = pool.items(made, shape)
    grain = max(1, _ELEMENTS_WORTH_A_THREAD * items // math.prod(cells))
    code = product.code("pool", made, pool_code.emit)
    return [Launch(code, tuple(pool.arguments(shape, pointers)), items, grain)]
