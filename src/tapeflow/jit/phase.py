"""The adjoint of a strided convolution in its images, along one axis: parts without strides."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Phase:
    """The places first, first + stride, … of an axis: `count` of them, each a sum over the taps
    last, last - step, … of the filter, and over places of the output, `dilation` apart."""

    first: int
    count: int
    taps: int
    last: int
    step: int
    dilation: int
    before: int

    @staticmethod
    def all_of(size: int, taps: int, stride: int, dilation: int, before: int) -> list[Phase]:
        """A place i gets output o by tap k where i = o · stride + k · dilation - before."""
        found = []
        for first in range(min(stride, size)):
            meeting = [k for k in range(taps) if (first + before - k * dilation) % stride == 0]
            count = math.ceil((size - first) / stride)
            if not meeting:
                found.append(Phase(first, count, 0, 0, 1, 1, 0))
                continue
            step = meeting[1] - meeting[0] if len(meeting) > 1 else stride
            apart = step * dilation // stride if len(meeting) > 1 else 1
            nearest = (first + before - meeting[-1] * dilation) // stride
            start = (first, count, len(meeting), meeting[-1], step)
            found.append(Phase(*start, apart, -nearest))
        return found
