"""assemble: a sum of parts, each of them in zeros of its own, is the parts side by side.

That is what the gradient of `split` is: each part hands one back for the whole. As a sum each is
copied to zeros and read again. Where a part is -0, so is the result, as if nothing had been added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.rewriting import Rewriter, replaced


def assemble(graph: Graph) -> Graph:
    """`graph` with such sums as one node."""
    readers = Counter(v for node in graph.nodes for v in node.inputs)
    readers.update(graph.outputs)

    def terms(rewriter: Rewriter, v: Var) -> Iterator[Var]:
        """The terms of a sum that only one node reads."""
        added = rewriter.made_by(v, "add") if readers[v] == 1 else None
        for x in added.inputs if added else ():
            yield from terms(rewriter, x)
        if added is None:
            yield v

    def rule(rewriter: Rewriter, node: Node[Var]) -> Node[Var] | None:
        if node.prim.name != "add":
            return None
        parts = [rewriter.made_by(t, "place") for v in node.inputs for t in terms(rewriter, v)]
        return _joined(node, [part for part in parts if part is not None], len(parts))

    return Rewriter(graph).run(rule)


def _joined(node: Node[Var], parts: list[Node[Var]], count: int) -> Node[Var] | None:
    """The parts side by side, if these are all terms, and fill one axis."""
    shape = node.outputs[0].shape
    sizes = [part.inputs[0].shape for part in parts]
    split = [a for a, n in enumerate(shape) if any(size[a] != n for size in sizes)]
    if len(parts) < count or len(split) != 1:
        return None
    (axis,) = split
    parts = sorted(parts, key=lambda part: int(part.attrs["starts"][axis]))
    end = 0
    for part in parts:
        if part.attrs["starts"][axis] != end or set(part.attrs["steps"]) != {1}:
            return None
        end += part.inputs[0].shape[axis]
    if end != shape[axis]:
        return None
    return replaced(node, "concat", *(part.inputs[0] for part in parts), axis=axis)
