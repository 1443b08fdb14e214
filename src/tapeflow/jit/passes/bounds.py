"""bounds: whether indices are within bounds is asked once, in front of all that goes by them.

`within` gives the indices that it was given, and ends the program if one is not there; what then
reads or writes at these places need not ask, so it can be a kernel. The adjoint of a lookup goes by
the same indices, so it comes behind no further question, and variables that are updated behind that
are written in place.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from tapeflow.dtypes import int64, uint64
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.rewriting import Chain
from tapeflow.ops import places
from tapeflow.primitive import REGISTRY, Kernel, Primitive, Scalar
from tapeflow.tensor import Array, Spec


def _within(
    i: Array, lowest: Array, highest: Array, *, size: int, op: str, from_end: bool
) -> Array:
    """int[s], the lowest and the highest of them -> the same int[s]."""
    return places.within(op, i, size, from_end)


within = Primitive(_within, lambda i, lowest, highest, **attrs: i, name="within")


def _from_start(i: Array, *, n: int) -> Array:
    return np.where(i < 0, i + np.int64(n), i).astype(np.int64)


def _from_start_in(row: Array, i: Array, *, n: int) -> Array:
    return row * n + _from_start(i, n=n)


_TEXT = "int64({i}) + (int64({n}) if {i} < 0 else int64(0))"
_WITHIN_ROW = f"{{row}} * int64({{n}}) + {_TEXT}"
from_start = Primitive(
    _from_start, lambda i, *, n: Spec(i.shape, int64), name="from_start", lowering=Scalar(_TEXT)
)
from_start_in = Primitive(
    _from_start_in, lambda row, i, *, n: row, name="from_start_in", lowering=Scalar(_WITHIN_ROW)
)

_INDICES = {"take": 1, "add_at": 1, "put_at": 2, "flat_index": 0}  # the first input that is one


class AtPlaces(Primitive):
    """`take`, `add_at` or `put_at`, of indices that are within bounds."""

    def __init__(self, name: str) -> None:
        of = REGISTRY[name]
        super().__init__(of.array_fn, of.spec_rule, name=name, lowering=Kernel("places"))


_SURE = {name: AtPlaces(name) for name in ("take", "add_at", "put_at")}


def bounds(graph: Graph) -> Graph:
    """`graph` with such questions in front of what goes by indices."""
    asked = _Asked()
    nodes: list[Node[Var]] = []
    for node in graph.nodes:
        nodes += asked.sure(node) if _fits(node) else [node]
    return replace(graph, nodes=tuple(nodes))


def _fits(node: Node[Var]) -> bool:
    first = _INDICES.get(node.prim.name)
    if first is None or not node.outputs[0].spec.size:
        return False
    indices = node.inputs[first:]
    return all(v.spec.size > 0 and v.dtype != uint64 for v in indices)  # which int64 does not hold


class _Asked:
    """Which indices are known to be within which bounds, and what is known of their size."""

    def __init__(self) -> None:
        self._known: dict[tuple[Var, int, bool], Var] = {}
        self._extrema: dict[Var, tuple[Var, Var]] = {}

    def sure(self, node: Node[Var]) -> list[Node[Var]]:
        """`node` by indices that are within bounds, behind what sees to it."""
        chain = Chain(node)
        if node.prim.name == "flat_index":
            self._flat(chain, node)
            return chain.nodes
        (y,), attrs, at = node.outputs, node.attrs, _INDICES[node.prim.name]
        size = attrs["size"] if "size" in attrs else node.inputs[0].shape[attrs["axis"]]
        i = self._within(chain, node.inputs[at], size, node)
        chain.add(_SURE[node.prim.name], *node.inputs[:at], i, out=y, **attrs)
        return chain.nodes

    def _flat(self, chain: Chain, node: Node[Var]) -> None:
        """Flat indices as sums and products of indices within bounds: they are so too."""
        (y,), sizes = node.outputs, node.attrs["sizes"]
        row: tuple[Var, ...] = ()
        for k, (i, n) in enumerate(zip(node.inputs, sizes, strict=True)):
            spread = _spread(chain, self._within(chain, i, n, node), y.shape)
            out = y if k == len(sizes) - 1 else None
            row = (chain.add(from_start_in if row else from_start, *row, spread, out=out, n=n),)
        self._known[y, math.prod(sizes), False] = y

    def _within(self, chain: Chain, i: Var, size: int, node: Node[Var]) -> Var:
        """`i`, if all are indices of an axis of `size`."""
        op, from_end = node.attrs.get("op", "setitem"), node.attrs.get("from_end", True)
        # what is within the narrower bounds is within those that count from the end too
        known = self._known.get((i, size, False)) or self._known.get((i, size, from_end))
        if known is None:
            extrema = self._extrema_of(chain, i)
            known = chain.add(within, i, *extrema, size=size, op=op, from_end=from_end)
            self._known[i, size, from_end] = known
        return known

    def _extrema_of(self, chain: Chain, i: Var) -> tuple[Var, Var]:
        """The lowest and the highest index."""
        if not i.shape:
            return i, i
        if i not in self._extrema:
            axes = tuple(range(len(i.shape)))
            self._extrema[i] = chain.add("min", i, axes=axes), chain.add("max", i, axes=axes)
        return self._extrema[i]


def _spread(chain: Chain, x: Var, shape: tuple[int, ...]) -> Var:
    """`x`, broadcast to `shape`."""
    new = len(shape) - len(x.shape)
    sizes = (1,) * new + x.shape
    axes = tuple(a for a, n in enumerate(shape) if a < new or sizes[a] != n)
    kept = tuple(n for a, n in enumerate(sizes) if a not in axes)
    if kept != x.shape:
        x = chain.add("reshape", x, shape=kept)
    return chain.add("broadcast_to", x, shape=shape, axes=axes) if axes else x
