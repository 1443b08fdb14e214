"""epilogue: what follows a matrix product element by element is done on its accumulators.

A bias, an activation, a residual, or the update of the variable whose gradient the product is: the
product is then never written to memory and read back. A Product node holds the ops it took in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush

from tapeflow.dtypes import DType, bool_
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.passes.fused import is_literal
from tapeflow.jit.product import Instruction, Product, fits
from tapeflow.ops.shape import wide
from tapeflow.primitive import View

Value = int | float
# Ops that a contraction kernel has an instruction for. `where` takes its mask first, as select.
_SAME = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "maximum": "maximum",
    "minimum": "minimum",
    "negative": "neg",
    "sqrt": "sqrt",
    "abs": "abs",
    "where": "select",
    "equal": "eq",
    "not_equal": "ne",
    "less": "lt",
    "less_equal": "le",
    "greater": "gt",
    "greater_equal": "ge",
}
# Ops that are one instruction with another operand.
_WRITTEN: dict[str, Callable[[Value], Instruction]] = {
    "relu": lambda x: ("maximum", (x, 0.0)),
    "square": lambda x: ("mul", (x, x)),
    "reciprocal": lambda x: ("div", (1.0, x)),
    "cast": lambda x: ("select", (x, 1.0, 0.0)),  # of a comparison
}
# What may join a product.
JOINING = frozenset((*_SAME, *_WRITTEN))


def epilogue(graph: Graph) -> Graph:
    """`graph` with scalar ops behind matrix products taken into these."""
    absorber = _Absorber(graph)
    replaced: dict[int, Node[Var]] = {}
    for chain in absorber.run():
        if chain.nodes:
            product = absorber.product(chain)
            replaced.update((i, product) for i in (*chain.nodes, chain.matmul))
    return _ordered(graph, replaced)


@dataclass
class _Chain:
    """A product, by the position of its node, and the nodes that it takes in."""

    matmul: int
    nodes: list[int]
    sources: set[int]  # products that it reads
    furthest: int  # the last position of a product that it needs, itself included
    followers: set[int] = field(default_factory=set)  # products that read it

    @property
    def inside(self) -> set[int]:
        return {*self.nodes, self.matmul}


class _Absorber:
    """Walks the nodes in order and gives each to the product that it can join without a cycle."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.literals = literals(graph)
        self.producer = {v: i for i, node in enumerate(graph.nodes) for v in node.outputs}
        self.readers: dict[Var, set[int]] = {
            v: set() for v in (*graph.inputs, *graph.constants, *self.producer)
        }
        for i, node in enumerate(graph.nodes):
            for v in node.inputs:
                self.readers[v].add(i)
        for v in graph.outputs:
            self.readers[v].add(len(graph.nodes))
        self.chains: dict[int, _Chain] = {}
        self.owner: dict[Var, int] = {}
        self.depends: dict[Var, set[int]] = {}  # products that a value outside all chains needs
        self.taken: set[int] = set()  # nodes in chains, once all are there

    def run(self) -> list[_Chain]:
        for i, node in enumerate(self.graph.nodes):
            sources = (
                set().union(*(self._sources(v) for v in node.inputs)) if node.inputs else set()
            )
            if fits(node) and not isinstance(node.prim, Product):
                self.chains[i] = _Chain(i, [], set(), i)
                self._needs(i, sources)
                self.owner[node.outputs[0]] = i
                continue
            home = self._home(node) if node.prim.name in JOINING else None
            if home is None:
                self.depends.update((v, sources) for v in node.outputs)
                continue
            self.chains[home].nodes.append(i)
            self._needs(home, sources - {home})
            self.owner[node.outputs[0]] = home
        self.taken = set().union(*(chain.inside for chain in self.chains.values()))
        for chain in self.chains.values():
            self._without_loose_masks(chain)
            self._take_in_operands(chain)
        return list(self.chains.values())

    def _sources(self, v: Var) -> set[int]:
        return {self.owner[v]} if v in self.owner else self.depends.get(v, set())

    def _needs(self, home: int, sources: set[int]) -> None:
        """Let a product read `sources`, and those that read it know how far they reach by that."""
        self.chains[home].sources |= sources
        for i in sources:
            self.chains[i].followers.add(home)
        furthest = max((self.chains[i].furthest for i in sources), default=home)
        todo = [home]
        while todo:
            chain = self.chains[todo.pop()]
            if chain.furthest < furthest:
                chain.furthest = furthest
                todo.extend(chain.followers)

    def _home(self, node: Node[Var]) -> int | None:
        """The latest product that can take `node` in."""
        owners = {self.owner[v] for v in node.inputs if v in self.owner}
        for home in sorted(owners, reverse=True):
            if all(self._joins(v, home) for v in node.inputs) and self._is_typed(node, home):
                return home
        return None

    def _is_typed(self, node: Node[Var], home: int) -> bool:
        """Whether the kernel of a product computes what `node` gives in its own type."""
        (y,) = node.outputs
        if node.prim.name == "cast":
            source = node.inputs[0].dtype
            return (source == bool_ or self._has_type(source, home)) and self._has_type(
                y.dtype, home
            )
        return y.dtype == bool_ or self._has_type(y.dtype, home)

    def _has_type(self, dtype: DType, home: int) -> bool:
        """Whether memory may hold `dtype` for what the kernel of a product computes."""
        return wide(dtype) == wide(self.graph.nodes[home].outputs[0].dtype)

    def _joins(self, v: Var, home: int) -> bool:
        """Whether a product may read `v`: its own, a number, or a matrix known before it."""
        if self.owner.get(v) == home or v in self.literals:
            return True
        return self._is_readable(v, home) and not self._reaches(self._sources(v), home)

    def _is_readable(self, v: Var, home: int) -> bool:
        """Whether `v` lies as the operand of a product must."""
        shape = self.graph.nodes[home].outputs[0].shape
        return v.shape == shape and self._has_type(v.dtype, home) and self._has_rows(v)

    def _has_rows(self, v: Var) -> bool:
        """Whether neighbours in the last axis of `v` lie side by side, or are the same element."""
        node = self._maker(v)
        if node is None or not isinstance(node.prim.lowering, View):
            return True
        (x,) = node.inputs
        memory = self._maker(x)
        if memory is None or not isinstance(memory.prim.lowering, View):
            return node.prim.name in ("broadcast_to", "reshape")
        return node.prim.name == "broadcast_to" and memory.prim.name == "reshape"

    def _maker(self, v: Var) -> Node[Var] | None:
        return self.graph.nodes[self.producer[v]] if v in self.producer else None

    def _reaches(self, sources: set[int], goal: int) -> bool:
        """Whether one of `sources` needs the product `goal`."""
        todo, seen = [i for i in sources if self.chains[i].furthest >= goal], set(sources)
        while todo:
            i = todo.pop()
            if i == goal:
                return True
            new = self.chains[i].sources - seen
            seen |= new
            todo += [k for k in new if self.chains[k].furthest >= goal]
        return False

    def _without_loose_masks(self, chain: _Chain) -> None:
        """Give up comparisons that something outside wants, as masks are never stored, and what
        is made of them."""
        nodes = self.graph.nodes
        while True:
            inside, outputs = chain.inside, [nodes[i].outputs[0] for i in chain.nodes]
            loose = {v for v in outputs if v.dtype == bool_ and not self.readers[v] <= inside}
            if not loose:
                return
            for i, v in zip(chain.nodes, outputs, strict=True):
                if loose.intersection(nodes[i].inputs):
                    loose.add(v)
            self.taken -= {i for i in chain.nodes if nodes[i].outputs[0] in loose}
            chain.nodes = [i for i in chain.nodes if nodes[i].outputs[0] not in loose]

    def _take_in_operands(self, chain: _Chain) -> None:
        """Compute operands that only this product reads, as it reads them: a decayed moment."""
        nodes, home = self.graph.nodes, chain.matmul
        inside = set(chain.nodes)
        read = (v for i in chain.nodes for v in nodes[i].inputs)
        todo = sorted({-self.producer[v] for v in read if v in self.producer})  # a heap, last first
        found: list[int] = []
        while todo:
            i = -heappop(todo)
            node = nodes[i]
            y = node.outputs[0]
            if i in self.taken or node.prim.name not in _SAME or not self._has_type(y.dtype, home):
                continue
            fitting = (v in self.literals or self._is_readable(v, home) for v in node.inputs)
            if self.readers[y] <= inside and all(fitting):
                found.append(i)
                inside.add(i)
                self.taken.add(i)
                for v in node.inputs:
                    if v in self.producer:
                        heappush(todo, -self.producer[v])
        chain.nodes[:0] = reversed(found)

    def product(self, chain: _Chain) -> Node[Var]:
        """The node of a product and what it took in."""
        matmul = self.graph.nodes[chain.matmul]
        members = [self.graph.nodes[i] for i in chain.nodes]
        (acc,) = matmul.outputs
        made = {acc, *(n.outputs[0] for n in members)}
        read = dict.fromkeys(v for n in members for v in n.inputs if v not in made)
        operands = tuple(v for v in read if v not in self.literals)
        values: dict[Var, Value] = {v: x for v in read if (x := self.literals.get(v)) is not None}
        values.update((v, k) for k, v in enumerate((acc, *operands)))
        instructions: list[Instruction] = []
        for n in members:
            arguments = [values[v] for v in n.inputs]
            if _widens(n):
                values[n.outputs[0]] = arguments[0]
                continue
            instructions.append(_instruction(n, arguments))
            values[n.outputs[0]] = len(operands) + len(instructions)
        inside = chain.inside
        results = (acc, *(n.outputs[0] for n in members))
        outputs = tuple(v for v in results if not self.readers[v] <= inside)
        body = self._body((acc, *operands), members, outputs)
        stores = tuple(int(values[v]) for v in outputs)
        prim = Product(matmul, body, tuple(instructions), stores)
        last = members[-1]
        return Node(prim, (*matmul.inputs, *operands), {}, outputs, last.scope, last.line)

    def _body(
        self, inputs: tuple[Var, ...], members: list[Node[Var]], outputs: tuple[Var, ...]
    ) -> Graph:
        """The members as a graph, with the numbers that they use."""
        known = {*inputs, *(v for n in members for v in n.outputs)}
        numbers = dict.fromkeys(v for n in members for v in n.inputs if v not in known)
        repeats = sorted(self.producer[v] for v in numbers if v in self.producer)
        nodes = [self.graph.nodes[i] for i in repeats]
        held = (*numbers, *(v for n in nodes for v in n.inputs))
        constants = {v: self.graph.constants[v] for v in held if v in self.graph.constants}
        return Graph("epilogue", inputs, (*nodes, *members), outputs, constants)


def _widens(node: Node[Var]) -> bool:
    """Whether a node changes no number, only how memory would hold it."""
    dtype = node.inputs[0].dtype
    return node.prim.name == "cast" and dtype != bool_ and node.outputs[0].dtype == wide(dtype)


def _instruction(node: Node[Var], arguments: Sequence[Value]) -> Instruction:
    """What a kernel does for a node."""
    if node.prim.name == "cast" and node.inputs[0].dtype != bool_:
        return node.outputs[0].dtype.name, tuple(arguments)
    written = _WRITTEN.get(node.prim.name)
    return written(*arguments) if written else (_SAME[node.prim.name], tuple(arguments))


def literals(graph: Graph) -> dict[Var, float]:
    """Values that are one number everywhere, which stands in the text of kernels."""
    found = {v: float(a) for v, a in graph.constants.items() if is_literal(a)}
    for node in graph.nodes:
        if node.prim.name == "broadcast_to" and node.inputs[0] in found:
            found[node.outputs[0]] = found[node.inputs[0]]
    return found


def _ordered(graph: Graph, replaced: dict[int, Node[Var]]) -> Graph:
    """The graph with nodes replaced, each after what it reads, else where its last part was."""
    merged = [replaced.get(i, node) for i, node in enumerate(graph.nodes)]
    last = {id(node): i for i, node in enumerate(merged)}
    producer = {v: node for node in merged for v in node.outputs}
    done: dict[int, Node[Var]] = {}
    opened: set[int] = set()

    def place(node: Node[Var]) -> None:
        stack = [node]
        while stack:
            missing = [
                producer[v]
                for v in stack[-1].inputs
                if v in producer and id(producer[v]) not in done
            ]
            if missing:
                assert id(stack[-1]) not in opened, f"{stack[-1].prim} waits for itself"
                opened.add(id(stack[-1]))
                stack.extend(missing)
            else:
                done.setdefault(id(stack[-1]), stack[-1])
                stack.pop()

    for i, node in enumerate(merged):
        if last[id(node)] == i:
            place(node)
    return replace(graph, nodes=tuple(done.values()))
