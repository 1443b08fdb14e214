"""The plain NumPy meaning of each kernel: same name, same arguments, the oracle in tests."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from .cpu.amx import DEPTH, SIDE
from .cpu.contraction import TERMS, Contraction, Extents
from .cpu.geometry import Geometry
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
_NARROW = {"bfloat16": bfloat16, "float16": np.float16}


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
    shape, kind = (*batch, m, c.n), np.dtype(c.dtype)
    products = ((_term(x, i), _term(y, j)) for i, j in zip(*TERMS[c.products], strict=True))
    sums = sum(np.matmul(*both) for both in products) if c.products else np.matmul(x, y, dtype=kind)
    values = [np.asarray(sums, kind)]
    for operand, strides in zip(operands, c.epilogue.operands, strict=True):
        values.append(_view(operand, shape, strides).astype(kind))
    for name, inputs in c.epilogue.instructions:
        if name in _NARROW:
            values.append(values[inputs[0]].astype(_NARROW[name]).astype(kind))  # type: ignore[index]
            continue
        arguments = [kind.type(i) if isinstance(i, float) else values[i] for i in inputs]
        values.append(_INSTRUCTIONS[name](*arguments))
    finished = [(values[value].copy(), strides) for value, strides in c.epilogue.stores]
    for memory, (value, strides) in zip(stores, finished, strict=True):
        _view(memory, shape, strides)[...] = value


def _term(x: Array, index: int) -> Array:
    """The term of each number that has this index, see `contraction.TERMS`."""
    left = x.astype(np.float32)
    for _ in range(index):
        left = left - left.astype(bfloat16).astype(np.float32)
    return left.astype(bfloat16).astype(np.float64)


def convolution(
    x: Array, b: Array, out: Sequence[int], geometry: Geometry, before: Sequence[int]
) -> Array:
    """Y[n, z, y, x, column] of X[n, z, y, x, channel] and B[taps, channel, column] of a group."""
    y = np.zeros((len(x), *out, b.shape[-1]), x.dtype)
    for tap, met in _meeting(x, out, geometry, before):
        y += np.tensordot(met, b[tap], 1)
    return y


def filter_gradient(x: Array, y: Array, geometry: Geometry, before: Sequence[int]) -> Array:
    """The sum over images and places of what a tap meets, times Y: [taps, channel, column]."""
    sums = np.zeros((*geometry.taps, x.shape[-1], y.shape[-1]), x.dtype)
    for tap, met in _meeting(x, y.shape[1:4], geometry, before):
        sums[tap] = np.tensordot(met, y, ((0, 1, 2, 3), (0, 1, 2, 3)))
    return sums


def _meeting(
    x: Array, out: Sequence[int], geometry: Geometry, before: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], Array]]:
    """Each tap, and what it meets at all places [n, *out, channel]: zero outside X."""
    for tap in np.ndindex(*geometry.taps):
        met = x
        axes = zip(out, geometry.strides, tap, geometry.dilations, before, strict=True)
        for axis, (o, s, t, d, p) in enumerate(axes, 1):
            at = np.arange(o) * s + t * d - p
            inside = (at >= 0) & (at < x.shape[axis])
            shape = [-1 if i == axis else 1 for i in range(x.ndim)]
            met = np.where(inside.reshape(shape), np.take(met, at, axis, mode="clip"), 0)
        yield tap, met


def packing(
    p: Packing, source: Array, n: int, reduce: tuple[int, ...], batch: tuple[int, ...] = ()
) -> Array:
    """The panels of a strided operand, zero where they are wider than it."""
    copies = tuple(e if stride else 1 for e, stride in zip(batch, p.batch, strict=True))
    x = _view(source, (*copies, *reduce, n), p.strides)
    if p.tiles:
        return _tiled(p, x.reshape(math.prod(copies), math.prod(reduce[:-1]), reduce[-1], n))
    if p.terms:
        x = _paired(p, x.reshape(math.prod(copies), math.prod(reduce[:-1]), reduce[-1], n))
    else:
        x = x.reshape(math.prod(copies), math.prod(reduce), n).astype(p.dtype)
    count = -(-n // p.width)
    panels = np.zeros((len(x), count, x.shape[1], p.pitch), p.dtype)
    for panel in range(count):
        columns = x[:, :, panel * p.width : (panel + 1) * p.width]
        panels[:, panel, :, : columns.shape[-1]] = columns
    return panels


def _tiled(p: Packing, x: Array) -> Array:
    """[copies, panels, outer, steps, terms, tiles, 16, 16] of x [copies, outer, k, n]."""
    copies, outer, k, n = x.shape
    count, steps = -(-n // p.width), -(-k // DEPTH)
    wide = np.zeros((copies, outer, steps * DEPTH, count * p.width), np.float32)
    wide[:, :, :k, :n] = x
    panels = np.zeros((copies, outer, steps * DEPTH, count, p.pitch), np.float32)
    panels[..., : p.width] = wide.reshape(copies, outer, steps * DEPTH, count, p.width)
    shape = copies, outer, steps, SIDE, 2, count, p.pitch // SIDE, SIDE
    halves = np.stack([_term(panels, t).astype(bfloat16).reshape(shape) for t in p.terms])
    # term, copy, outer, step, pair, one of the pair, panel, tile, column
    inner = (8, 4) if p.tiles == "turned" else (4, 8)
    ordered = halves.transpose(1, 6, 2, 3, 0, 7, *inner, 5)
    return np.ascontiguousarray(ordered).view(np.float32)[..., 0]


def _paired(p: Packing, x: Array) -> Array:
    """[copies, steps, n] of x [copies, outer steps, k, n]: pairs of each term as float32."""
    copies, outer, k, n = x.shape
    even = np.zeros((copies, outer, k + -k % (2 * p.block), n), np.float32)
    even[:, :, :k] = x
    together = np.stack([_term(even, t).astype(bfloat16) for t in p.terms], axis=1)
    steps = len(p.terms) * outer * (even.shape[2] // 2)
    pairs = together.reshape(copies, steps, 2, n).swapaxes(-1, -2)
    return np.ascontiguousarray(pairs).view(np.float32)[..., 0]


def _view(memory: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    return as_strided(memory, shape, [stride * memory.itemsize for stride in strides])
