"""What windows of convolutions are made of, and what they slide over: along z, y, x."""

from __future__ import annotations

from dataclasses import dataclass

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Geometry:
    """Windows: how many taps, from window to window, and from tap to tap, along z, y, x."""

    taps: Triple
    strides: Triple
    dilations: Triple

    @property
    def spreads_rows(self) -> bool:
        """Whether taps of a window lie in rows that are not neighbours."""
        return self.dilations[1] > 1 and self.taps[1] > 1


@dataclass(frozen=True)
class Shape:
    """What is known at run time. X has [groups, images, *size, channels]; the windows begin
    `padding` before it; `out` and `columns` are the extents of the output, `columns` of one group
    (diagonal: of all)."""

    groups: int
    images: int
    size: Triple
    padding: Triple
    out: Triple
    columns: int
    source: tuple[int, ...]  # element strides of X: group, image, z, y, x


@dataclass(frozen=True)
class Patch:
    """A copy [planes, rows, segments, positions, pitch] of what an item reads of X.

    Rows that dilation keeps apart lie together: then an item has one row of outputs. Along x each
    tap has a segment of its own where they would not overlap, else all share one.
    steps: elements from one tap to the next, along z, y, x.
    apart: places of X between neighbouring planes, rows and segments.
    """

    planes: int
    rows: int
    segments: int
    positions: int
    pitch: int
    steps: Triple
    apart: Triple

    @staticmethod
    def of(geometry: Geometry, rows: int, width: int, pitch: int) -> Patch:
        """That of so many rows of outputs and places along x of each."""
        taps, strides, dilations = geometry.taps, geometry.strides, geometry.dilations
        span = (width - 1) * strides[2] + 1
        reach = (taps[2] - 1) * dilations[2]
        is_cut = reach >= span
        segments, positions = (taps[2], span) if is_cut else (1, span + reach)
        row = segments * positions * pitch
        height = taps[1] + (rows - 1) * strides[1]
        along = span if is_cut else dilations[2]
        steps = (height * row, row, along * pitch)
        apart = (dilations[0], dilations[1] if rows == 1 else 1, dilations[2])
        return Patch(taps[0], height, segments, positions, pitch, steps, apart)

    @property
    def elements(self) -> int:
        return self.planes * self.steps[0]
