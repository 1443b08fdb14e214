"""Pooling of x[images, z, y, x, channels] and its adjoints: what each number is made of.

    max         the largest of each window, and which cell it is: the first of equals or NaN
    max_at      of each window the cell that a position names
    max_input   adjoint to max_at: each cell gets what the windows whose position names it have
    mean        of the cells of each window that are not in the padding
    mean_input  adjoint to mean

Three spatial axes, of which any may have extent 1; everything is contiguous. The first, second and
fourth write a row of windows an item, the others a row of cells: each number is written once, by
sums in one order, whatever the number of threads. `pools.emit` writes the code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from ..machine import Host
from .geometry import Triple
from .halves import Memory, computed
from .lanes import Lanes

P = TypeVar("P")
OF_CELLS = ("max_input", "mean_input")


@dataclass(frozen=True)
class Pool:
    """What is compiled in.

    dtype: what memory holds; halves are computed as float32.
    position: bytes of the number of a cell; 0 for means, which have none.
    padded: whether some window reaches over the edge of the input.
    """

    kind: str
    dtype: str
    position: int
    channels: int
    window: Triple
    strides: Triple
    padded: bool

    def lanes(self, target: Host) -> Lanes:
        """Vectors of channels, no longer than there are channels: the last one may overlap the one
        before."""
        whole = Lanes.filling(computed(self.dtype), target.vector_bytes)
        most = 1 << (self.channels.bit_length() - 1)
        return Lanes(whole.dtype, min(whole.count, most))

    def memory(self, target: Host) -> Memory:
        return Memory(self.lanes(target), self.dtype)

    @property
    def cells(self) -> int:
        """The number of cells of a window."""
        return math.prod(self.window)


@dataclass(frozen=True)
class Shape:
    """What is known at run time: `before` is the padding in front of the axes z, y, x, and `out`
    says how many windows there are."""

    images: int
    size: Triple
    before: Triple
    out: Triple


# The argument block: addresses of the first input, the positions and the result, then these.
POINTERS = ("source", "position", "result")
ARGUMENTS = (
    *POINTERS,
    *("size_z", "size_y", "size_x", "before_z", "before_y", "before_x", "out_z", "out_y", "out_x"),
)


def reaches_over(window: Triple, strides: Triple, shape: Shape) -> bool:
    """Whether some window has a cell outside the input."""
    axes = zip(shape.size, window, strides, shape.before, shape.out, strict=True)
    return any(b > 0 or (o - 1) * s - b + k > n for n, k, s, b, o in axes)


def arguments(shape: Shape, pointers: Sequence[P | int]) -> list[P | int]:
    """The argument block; 0 stands for positions that there are none of."""
    return [*pointers, *shape.size, *shape.before, *shape.out]


def items(pool: Pool, shape: Shape) -> int:
    """Items of work: rows of what is written."""
    z, y, _ = shape.size if pool.kind in OF_CELLS else shape.out
    return shape.images * z * y
