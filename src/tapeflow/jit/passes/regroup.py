"""regroup: a strided gradient of images with few channels becomes one without stride and with more.

Neighbours get their values from the same places of the output, by different taps. With a stride of
s, s of them side by side are one place with s times the channels; along one axis

    dx[s·q + φ, c] = Σ g[o] · w[k, c]  over  s·q + φ = s·o + k - before
    dx'[q, (φ, c)] = Σ g[o] · w'[j, (φ, c)]  over  q = o + j - before',  w'[j, φ] = w[s·j + φ - f]

where f zeros in front of w make before + f a multiple of s. The 3 channels of a picture would leave
most of a vector unused, for each phase; the 12 of two by two places leave little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.rewriting import Chain

_MOST = 32  # channels of all phases together: what is more fills vectors by itself


def regroup(graph: Graph) -> Graph:
    """`graph` with such gradients regrouped."""
    nodes: list[Node[Var]] = []
    for node in graph.nodes:
        nodes += _regrouped(node) if _fits(node) else [node]
    return replace(graph, nodes=tuple(nodes))


def _fits(node: Node[Var]) -> bool:
    if node.prim.name != "conv_input":
        return False
    attrs = node.attrs
    phases = math.prod(attrs["strides"])
    alone = attrs["groups"] == 1 and set(attrs["dilations"]) == {1}
    even = all(n % s == 0 for n, s in zip(attrs["size"], attrs["strides"], strict=True))
    return bool(phases > 1 and alone and even and phases * node.inputs[1].shape[-2] <= _MOST)


@dataclass(frozen=True)
class _Axis:
    """One spatial axis: of the image, the window, the output and the padding in front."""

    size: int
    taps: int
    places: int
    stride: int
    before: int

    @property
    def front(self) -> int:
        """Zeros in front of the taps."""
        return -self.before % self.stride

    @property
    def count(self) -> int:
        """Taps for each phase."""
        return -(-(self.taps + self.front) // self.stride)

    @property
    def groups(self) -> int:
        return self.size // self.stride

    @property
    def padding(self) -> tuple[int, int]:
        first = (self.before + self.front) // self.stride
        return first, self.places - self.groups - first + self.count - 1


def _regrouped(node: Node[Var]) -> list[Node[Var]]:
    (g, w), (x,) = node.inputs, node.outputs
    attrs = node.attrs
    extents = attrs["size"], w.shape[:-2], g.shape[1:-1], attrs["strides"], attrs["padding"]
    axes = [_Axis(n, k, o, s, pair[0]) for n, k, o, s, pair in zip(*extents, strict=True)]
    strides = [a.stride for a in axes]
    counts, groups = [a.count for a in axes], [a.groups for a in axes]
    channels, columns = w.shape[-2:]
    chain = Chain(node)
    starts = (*(a.front for a in axes), 0, 0)
    whole = (*(a.count * a.stride for a in axes), channels, columns)
    v = chain.add("place", w, shape=whole, starts=starts, steps=(1,) * len(whole))
    v = chain.add("reshape", v, shape=(*_alternating(counts, strides), channels, columns))
    v = chain.add("transpose", v, axes=_inner_last(len(axes)))
    v = chain.add("reshape", v, shape=(*counts, math.prod(strides) * channels, columns))
    new = {"strides": (1,) * len(axes), "padding": tuple(a.padding for a in axes)}
    v = chain.add("conv_input", g, v, **{**attrs, **new, "size": tuple(groups)})
    v = chain.add("reshape", v, shape=(x.shape[0], *groups, *strides, channels))
    v = chain.add("transpose", v, axes=_interleaved(len(axes)))
    chain.add("reshape", v, out=x, shape=x.shape)
    return chain.nodes


def _alternating(outer: Sequence[int], inner: Sequence[int]) -> list[int]:
    return [n for pair in zip(outer, inner, strict=True) for n in pair]


def _inner_last(axes: int) -> tuple[int, ...]:
    """(a, b) of each axis in turn, channels, columns -> all a, all b, channels, columns."""
    return (*range(0, 2 * axes, 2), *range(1, 2 * axes, 2), 2 * axes, 2 * axes + 1)


def _interleaved(axes: int) -> tuple[int, ...]:
    """An image axis, all a, all b, channels -> the image axis, (a, b) of each axis, channels."""
    return (0, *_alternating(range(1, axes + 1), range(axes + 1, 2 * axes + 1)), 2 * axes + 1)
