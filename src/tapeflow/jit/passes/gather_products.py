"""gather_products: sums of matrix products over the turns of a loop become one product behind it.

The gradient of a weight that each turn reads is the sum over turns of aᵀ g. Added up turn by turn,
all of it is read and written again each time, for a product that reduces over a few rows only. The
rows of a and g side by side make one product that reduces over all of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.scan import Scan
from tapeflow.primitive import REGISTRY

_LEAST = 2  # turns


def gather_products(graph: Graph) -> Graph:
    """`graph` with such sums behind its loops."""
    nodes: list[Node[Var]] = []
    for node in graph.nodes:
        is_loop = isinstance(node.prim, Scan) and node.prim.layout.length >= _LEAST
        nodes += _Loop(node).gathered() if is_loop else [node]
    return replace(graph, nodes=tuple(nodes))


@dataclass(frozen=True)
class _Sum:
    """Carry `k`, to which each turn adds aᵀ g."""

    k: int
    a: Var
    g: Var
    attrs: Mapping[str, Any]  # of the product


@dataclass
class _Loop:
    node: Node[Var]
    extra: dict[Var, Var] = field(default_factory=dict)  # values of turns, and all their rows

    def gathered(self) -> list[Node[Var]]:
        """The loop without such carries, and the products behind it."""
        scan = self.node.prim
        assert isinstance(scan, Scan), "only loops are looked into"
        graph, layout = scan.graph, scan.layout
        sums = _sums(graph, scan)
        if not sums:
            return [self.node]
        gone = {s.k for s in sums}
        rows = dict(zip(graph.inputs[layout.rows :], self.node.inputs[layout.rows :], strict=True))
        pairs = [(self._all(s.a, rows, layout.length), self._all(s.g, rows, layout.length))
                 for s in sums]
        left = [k for k in range(len(graph.outputs)) if k not in gone]
        places = [i for i in range(len(graph.inputs)) if i - layout.consts not in gone]
        body = replace(
            graph,
            inputs=tuple(graph.inputs[i] for i in places),
            outputs=(*(graph.outputs[k] for k in left), *self.extra),
        )
        loop = replace(
            self.node,
            prim=Scan(body, replace(layout, carries=layout.carries - len(gone))),
            inputs=tuple(self.node.inputs[i] for i in places),
            outputs=(*(self.node.outputs[k] for k in left), *self.extra.values()),
        )
        nodes = [loop]
        for s, (a, g) in zip(sums, pairs, strict=True):
            first, last = self.node.inputs[layout.consts + s.k], self.node.outputs[s.k]
            nodes += self._product(a, g, (first, last), s.attrs)
        return nodes

    def _all(self, v: Var, rows: dict[Var, Var], length: int) -> Var:
        """The rows of all turns of a value of the body."""
        if v in rows:
            return rows[v]
        if v not in self.extra:
            name = f"{self.node.outputs[0].name}_{v.name}"
            self.extra[v] = Var(name, (length, *v.shape), v.dtype)
        return self.extra[v]

    def _product(
        self, a: Var, g: Var, ends: tuple[Var, Var], precision: Mapping[str, Any]
    ) -> list[Node[Var]]:
        """The nodes of last = first + Σ aᵀ g."""
        first, last = ends
        nodes: list[Node[Var]] = []

        def made(name: str, inputs: tuple[Var, ...], **attrs: object) -> Var:
            prim = REGISTRY[name]
            (spec,) = prim.output_specs(tuple(v.spec for v in inputs), attrs)
            v = Var(f"{last.name}_{name}{len(nodes)}", spec.shape, spec.dtype)
            nodes.append(replace(self.node, prim=prim, inputs=inputs, attrs=attrs, outputs=(v,)))
            return v

        n, m = a.shape[0] * a.shape[1], a.shape[2]
        across = made("transpose", (made("reshape", (a,), shape=(n, m)),), axes=(1, 0))
        rows = made("reshape", (g,), shape=(n, g.shape[2]))
        product = made("matmul", (across, rows), **precision)
        made("add", (first, product))
        nodes[-1] = replace(nodes[-1], outputs=(last,))
        return nodes


def _sums(graph: Graph, scan: Scan) -> list[_Sum]:
    """The carries that nothing reads but the sum that they become."""
    layout = scan.layout
    producer = {v: node for node in graph.nodes for v in node.outputs}
    reads = Counter(v for node in graph.nodes for v in node.inputs) + Counter(graph.outputs)
    still = {*graph.constants, *graph.inputs[: layout.consts]}
    found = []
    for k in range(layout.carries):
        carry, end = graph.inputs[layout.consts + k], graph.outputs[k]
        add = producer.get(end)
        if add is None or add.prim.name != "add" or carry not in add.inputs:
            continue
        (term,) = [v for v in add.inputs if v is not carry] or [carry]
        matmul = producer.get(term)
        if matmul is None or matmul.prim.name != "matmul" or len(term.shape) != 2:
            continue
        if any(reads[v] != 1 for v in (carry, end, term)):
            continue
        left, g = matmul.inputs
        turned = producer.get(left)
        if turned is None or turned.prim.name != "transpose":
            continue
        if still.isdisjoint((turned.inputs[0], g)):
            found.append(_Sum(k, turned.inputs[0], g, matmul.attrs))
    return found
