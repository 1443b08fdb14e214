"""Convolutions and their adjoints taken apart: sizes, and where in memory all of it lies.

All have three spatial axes here; those that an op has not have extent 1 and stride 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from tapeflow.dtypes import DType
from tapeflow.graph import Node, Var
from tapeflow.jit.kernel import Pointer
from tapeflow.jit.product import Parts, triple
from tapeflow_kernels.cpu.contraction import Pointers
from tapeflow_kernels.cpu.epilogue import Epilogue
from tapeflow_kernels.cpu.geometry import Geometry, Shape, Triple
from tapeflow_kernels.cpu.pairs import Factors

Ints = tuple[int, ...]
ONES, ZEROS = (1, 1, 1), (0, 0, 0)


@dataclass(frozen=True)
class Convolution:
    """A convolution of f[images, *size, groups * channels] into f[images, *out, groups * columns].

    before: cells of padding in front of each axis; below 0 where windows begin inside.
    """

    images: int
    size: Triple
    out: Triple
    geometry: Geometry
    before: Triple
    groups: int
    channels: int
    columns: int

    @staticmethod
    def of(node: Node[Var]) -> Convolution:
        """That of a conv, or of the conv whose adjoint `node` is."""
        name, y = node.prim.name, node.outputs[0].shape
        a, b = (v.shape for v in node.inputs)
        x, w, out = {"conv": (a, b, y), "conv_input": (y, b, a), "conv_filter": (a, y, b)}[name]
        attrs = node.attrs
        groups, steps = attrs["groups"], (attrs["strides"], attrs["dilations"])
        return Convolution(
            *(x[0], triple(x[1:-1], 1), triple(out[1:-1], 1)),
            Geometry(triple(w[:-2], 1), *(triple(step, 1) for step in steps)),
            triple([before for before, _ in attrs["padding"]], 0),
            *(groups, w[-2], w[-1] // groups),
        )

    @property
    def is_diagonal(self) -> bool:
        return self.groups > 1 and self.channels == self.columns == 1

    @property
    def is_pointwise(self) -> bool:
        """Whether each place is multiplied with the same matrix."""
        taps, strides = self.geometry.taps, self.geometry.strides
        alone = (taps, strides, self.before) == (ONES, ONES, ZEROS)
        return alone and self.size == self.out and self.groups == 1

    @property
    def extents(self) -> tuple[Ints, Ints]:
        """Those of filters in panels: of reductions, and of groups."""
        taps = self.geometry.taps
        return (taps, ()) if self.is_diagonal else ((*taps, self.channels), (self.groups,))

    @property
    def flops(self) -> int:
        sums = self.groups * self.columns * math.prod(self.out) * self.images
        return 2 * sums * self.channels * math.prod(self.geometry.taps)

    def shape(self, source: Memory, group: int) -> Shape:
        """What kernels know of it; a group of the source is `group` elements."""
        columns = self.groups if self.is_diagonal else self.columns
        extents = (self.groups, self.images, self.size, self.before, self.out)
        return Shape(*extents, columns, (group, *source.strides[:4]))


@dataclass(frozen=True)
class Memory:
    """Where a value starts, and its element strides: (image, z, y, x, channel) or those of filters,
    (z, y, x, channel, column)."""

    start: Pointer
    strides: Ints
    dtype: DType

    @staticmethod
    def of(start: Pointer, strides: Ints, dtype: DType, *, is_filter: bool) -> Memory:
        front = 0 if is_filter else 1
        missing = (0,) * (5 - len(strides))
        return Memory(start, (*strides[:front], *missing, *strides[front:]), dtype)

    def moved(self, elements: int) -> Pointer:
        return replace(self.start, offset=self.start.offset + elements * self.dtype.itemsize)

    @property
    def column(self) -> int:
        return self.strides[-1]


Strides = Callable[[Memory], Ints]


@dataclass(frozen=True)
class Problem:
    """A node taken apart, with the memory of all that it reads and writes."""

    parts: Parts
    convolution: Convolution
    a: Memory
    b: Memory
    operands: tuple[Memory, ...]
    stores: tuple[Memory, ...]
    any_size: bool

    @property
    def dtype(self) -> str:
        """What the factors are in memory."""
        return self.parts.of.inputs[0].dtype.name

    def epilogue(self, strides: Strides) -> Epilogue:
        """The epilogue with `strides(memory)` for each operand and store."""
        return Epilogue(
            tuple(
                (value, strides(m)) for value, m in zip(self.parts.stores, self.stores, strict=True)
            ),
            tuple(strides(m) for m in self.operands),
            self.parts.instructions,
            tuple(m.dtype.name for m in (*self.operands, *self.stores)),
        )

    def pointers(
        self, a: Pointer, b: Pointer, first: Callable[[Memory], Pointer] = lambda m: m.start
    ) -> Pointers[Pointer]:
        return Pointers(a, b, tuple(map(first, self.operands)), tuple(map(first, self.stores)))

    def factors(self, g: Convolution) -> Factors:
        """What the convolution `g` multiplies, and how exactly."""
        precision = self.parts.of.attrs.get("precision", "float32")
        return Factors(self.dtype, precision, g.geometry, g.channels)
