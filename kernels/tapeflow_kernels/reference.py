"""The plain NumPy meaning of each kernel: same name, same arguments, the oracle in tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .cpu.contraction import Contraction, Extents
from .cpu.packing import Packing

Array = NDArray[Any]

_INSTRUCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "sqrt": np.sqrt,
    "abs": np.abs,
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "select": np.where,
}


def contraction(
    c: Contraction,
    extents: Extents,
    a: Array,
    b: Array,
    operands: Sequence[Array] = (),
    stores: Sequence[Array] = (),
) -> None:
    """epilogue(A · B) into `stores`; all arrays are flat memory, read through the strides of c."""
    batch, m, reduce = extents.batch, extents.m, extents.reduce
    steps = math.prod(reduce)
    x = _view(a, (*batch, m, *reduce), c.a).reshape(*batch, m, steps)
    y = _view(b, (*batch, *reduce, c.n), c.b).reshape(*batch, steps, c.n)
    shape = (*batch, m, c.n)
    values = [np.matmul(x, y)]
    values += [_view(o, shape, s) for o, s in zip(operands, c.epilogue.operands, strict=True)]
    for name, inputs in c.epilogue.instructions:
        arguments = [a.dtype.type(i) if isinstance(i, float) else values[i] for i in inputs]
        values.append(_INSTRUCTIONS[name](*arguments))
    finished = [(values[value].copy(), strides) for value, strides in c.epilogue.stores]
    for memory, (value, strides) in zip(stores, finished, strict=True):
        _view(memory, shape, strides)[...] = value


def packing(
    p: Packing, source: Array, n: int, reduce: tuple[int, ...], batch: tuple[int, ...] = ()
) -> Array:
    """The panels of a strided operand, zero where they are wider than it."""
    copies = tuple(e if stride else 1 for e, stride in zip(batch, p.batch, strict=True))
    x = _view(source, (*copies, *reduce, n), p.strides)
    x = x.reshape(math.prod(copies), math.prod(reduce), n)
    count = -(-n // p.width)
    panels = np.zeros((len(x), count, x.shape[1], p.pitch), p.dtype)
    for panel in range(count):
        columns = x[:, :, panel * p.width : (panel + 1) * p.width]
        panels[:, panel, :, : columns.shape[-1]] = columns
    return panels


def _view(memory: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    return as_strided(memory, shape, [stride * memory.itemsize for stride in strides])
