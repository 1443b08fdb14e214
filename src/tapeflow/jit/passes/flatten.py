"""flatten: what follows a matrix product of flattened rows is done on the flat rows.

A layer multiplies f[batch, length, n] as one matrix of rows and shapes the result back.
The ops behind it then see other axes than the product and could not join it: they are moved in
front of the reshape, which costs nothing since neighbours in the last axis stay neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.epilogue import JOINING
from tapeflow.jit.product import fits
from tapeflow.primitive import REGISTRY, View


def flatten(graph: Graph) -> Graph:
    """`graph` with such ops on flat rows; reshapes that nothing needs any more are for dce."""
    return _Flattener(graph).run()


@dataclass
class _Flattener:
    graph: Graph
    nodes: list[Node[Var]] = field(default_factory=list)
    flat: dict[Var, Var] = field(default_factory=dict)  # a value, and its rows
    rows: dict[Var, int] = field(default_factory=dict)  # products, what was made of them, and when
    maker: dict[Var, Node[Var]] = field(default_factory=dict)
    made_at: dict[Var, int] = field(default_factory=dict)  # positions of nodes that stay

    def run(self) -> Graph:
        self._taken = {v.name for v in (*self.graph.inputs, *self.graph.constants)}
        self._taken.update(v.name for node in self.graph.nodes for v in node.outputs)
        for i, node in enumerate(self.graph.nodes):
            self._node(i, node)
        graph = self.graph
        return Graph(graph.name, graph.inputs, tuple(self.nodes), graph.outputs, graph.constants)

    def _node(self, i: int, node: Node[Var]) -> None:
        y = node.outputs[0]
        if fits(node) and len(y.shape) == 2:
            self.rows[y] = i
        elif node.prim.name == "reshape" and node.inputs[0] in self.rows:
            (x,) = node.inputs
            if y.shape[-1:] == x.shape[-1:]:
                self.flat[y] = x
        elif node.prim.name in JOINING and self._moved(node):
            return
        self._add(node)
        self.made_at.update((v, i) for v in node.outputs)

    def _moved(self, node: Node[Var]) -> bool:
        """Whether `node` could be done on flat rows, and now is."""
        known = [self.flat[v] for v in node.inputs if v in self.flat]
        (y,) = node.outputs
        if not known or any(v.shape != y.shape for v in node.inputs):
            return False
        shape = known[0].shape
        last = max(self.rows[v] for v in known)
        if any(self._made_at(v) > last for v in node.inputs if v not in self.flat):
            return False  # it is made of the product, which it then cannot join
        operands = [self._operand(v, shape) for v in node.inputs]
        if any(v is None for v in operands):
            return False
        made = self._fresh(y, shape)
        inputs = tuple(v for v in operands if v is not None)
        self._add(Node(node.prim, inputs, node.attrs, (made,), node.scope, node.line))
        self.rows[made] = last
        self.flat[y] = made
        self._reshape(made, y)
        return True

    def _made_at(self, v: Var) -> int:
        """The position of the node that computed `v`, before the program if none did."""
        node = self.maker.get(v)
        while node is not None and isinstance(node.prim.lowering, View):
            v = node.inputs[0]
            node = self.maker.get(v)
        return self.made_at.get(v, -1)

    def _operand(self, v: Var, shape: tuple[int, ...]) -> Var | None:
        """`v` as rows; None where that would take a copy."""
        if v in self.flat:
            return self.flat[v] if self.flat[v].shape == shape else None
        node = self.maker.get(v)
        is_view = node is not None and isinstance(node.prim.lowering, View)
        if node is None or not is_view or node.prim.name == "reshape":
            return self._reshape(v, self._fresh(v, shape))
        (source,) = node.inputs
        new = tuple(range(len(v.shape) - len(source.shape)))  # axes that a row has not
        is_row = source.shape in ((), shape[-1:]) and node.attrs.get("axes") == new
        if node.prim.name != "broadcast_to" or not is_row:
            return None
        made = self._fresh(v, shape)
        attrs = {"shape": shape, "axes": new[: 2 - len(source.shape)]}
        self._add(Node(node.prim, (source,), attrs, (made,)))
        return made

    def _reshape(self, x: Var, y: Var) -> Var:
        self._add(Node(REGISTRY["reshape"], (x,), {"shape": y.shape}, (y,)))
        return y

    def _fresh(self, v: Var, shape: tuple[int, ...]) -> Var:
        name = next(
            n for i in range(len(self._taken) + 1) if (n := f"{v.name}_r{i}") not in self._taken
        )
        self._taken.add(name)
        return Var(name, shape, v.dtype)

    def _add(self, node: Node[Var]) -> None:
        self.nodes.append(node)
        self.maker.update((v, node) for v in node.outputs)
