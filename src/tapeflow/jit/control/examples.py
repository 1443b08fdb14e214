"""tf.vmap of loops and branches: their bodies for many examples at once."""

from __future__ import annotations

from collections.abc import Sequence

from tapeflow.autodiff.batching import replay, vmap
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.holder import Holder
from tapeflow.jit.trace import Ordered
from tapeflow.ops.movement import moveaxis
from tapeflow.tensor import Tensor

Flags = Sequence[bool]


def reached(graph: Graph, batched: Flags) -> list[bool]:
    """Which outputs differ among examples, where the inputs `batched` do."""
    found = {v for v, b in zip(graph.inputs, batched, strict=True) if b}
    for node in graph.nodes:
        ends = _of_node(node, [v in found for v in node.inputs])
        found.update(v for v, b in zip(node.outputs, ends, strict=True) if b)
    return [v in found for v in graph.outputs]


def _of_node(node: Node[Var], batched: Flags) -> Flags:
    if True not in batched:
        return [False] * len(node.outputs)
    if isinstance(node.prim, Holder):
        return node.prim.reaching(batched)
    if isinstance(node.prim, Ordered):  # all but the token
        return [True] * (len(node.outputs) - 1) + [False]
    return [True] * len(node.outputs)


def carried(graph: Graph, consts: Flags, carries: Flags, rows: Flags = ()) -> list[bool]:
    """Which carries of a loop differ among examples, at the start or by what a turn makes."""
    flags = list(carries)
    while True:
        ends = reached(graph, [*consts, *flags, *rows])
        after = [a or b for a, b in zip(flags, ends, strict=False)]
        if after == flags:
            return flags
        flags = after


def of_all(graph: Graph, xs: Sequence[Tensor], batched: Flags, given: Flags) -> list[Tensor]:
    """The outputs of a graph for all examples, which lie along axis 0 of the inputs `batched` and
    are to lie so in the outputs `given`."""

    def one(*inputs: Tensor) -> list[Tensor]:
        return replay(graph, inputs)

    mapped = vmap(one, tuple(_axes(batched)), _axes(given))
    return mapped(*xs)  # type: ignore[no-any-return]


def _axes(batched: Flags) -> list[int | None]:
    return [0 if b else None for b in batched]


def swapped(xs: Sequence[Tensor], batched: Flags) -> list[Tensor]:
    """Rows of examples as examples of rows, and back."""
    return [moveaxis(x, 0, 1) if b else x for x, b in zip(xs, batched, strict=True)]
