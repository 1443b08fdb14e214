"""Chains: loops over the same rows as one launch, row by row, while a row is in the cache.

What reads the result of a reduction over the last axes, such as softmax or layer normalization,
needs a loop of its own, yet only that row's result. So a few rows go through all loops in turn.
"""
from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.codegen import loops
from tapeflow.jit.codegen.source import Source
from tapeflow.jit.kernel import Launch, Layout, Pointer
from tapeflow.jit.passes.fused import Fused
from tapeflow.ops.shape import contiguous

Shape = tuple[int, ...]

_FEWEST = 32             # rows: fewer would keep too few threads busy
_LONGEST = 1 << 16       # elements of a row: more would not stay in the cache
_IN_WORK = 4096          # elements that go through all loops in turn
_FARTHEST = 24           # steps that are looked at for more loops over the same rows


@dataclass
class Chain:
    """Fused nodes over values of the shape `space`, rows of which lie along `axes`, or over a
    number a row."""

    space: Shape
    axes: Shape
    layouts: dict[Var, Layout]
    members: list[Node[Var]] = field(default_factory=list)
    written: dict[Var, Shape] = field(default_factory=dict)   # strides that rows must be read with
    over: dict[Var, Var] = field(default_factory=dict)        # results in the memory of a value

    @staticmethod
    def starting(node: Node[Var], layouts: dict[Var, Layout]) -> Chain | None:
        """The chain that a reduction of many short rows may begin."""
        prim = node.prim
        if not isinstance(prim, Fused) or not prim.folded or not prim.axes:
            return None
        chain = Chain(prim.space, prim.axes, layouts)
        length = math.prod(prim.space) // max(1, chain.rows)
        if chain.rows < _FEWEST or not 1 < length <= _LONGEST:
            return None
        return chain if chain.take(node) else None

    @property
    def rows(self) -> int:
        return math.prod(n for a, n in enumerate(self.space) if a not in self.axes)

    def take(self, node: Node[Var]) -> bool:
        """Add a node if it goes over these rows, and of what others write reads its own row."""
        prim = node.prim
        if not isinstance(prim, Fused) or not self._reads_its_rows(node):
            return False
        if prim.space == self.space and prim.axes in (None, self.axes):
            node = replace(node, prim=Fused(prim.body, prim.space, self.axes))
        elif prim.axes is not None or math.prod(prim.space) != self.rows:
            return False
        launches = loops.lower(node, self.layouts, {})
        if len(launches) != 1 or launches[0].extent != self.rows:
            return False
        self.members.append(node)
        for v in node.outputs:
            self.written[v] = self._strides(v)
        return True

    def _reads_its_rows(self, node: Node[Var]) -> bool:
        for v in node.inputs:
            layout = self.layouts[v]
            if layout.base in self.written and (
                    layout.offset or not self._is_by_rows(v, layout)):
                return False
        return True

    def _is_by_rows(self, v: Var, layout: Layout) -> bool:
        """Whether a value is read as it was written, or row by row where it has a number each."""
        if v.shape == self.space:
            wanted = self.written[layout.base]
        elif math.prod(v.shape) == self.rows == layout.base.spec.size:
            wanted = contiguous(v.shape)
        else:
            return False
        return all(n == 1 or s == w
                   for n, s, w in zip(v.shape, layout.strides, wanted, strict=True))

    def _strides(self, v: Var) -> Shape:
        """How a value of the shape of the space steps over `v`, which is one or has a number a
        row."""
        if v.shape == self.space:
            return contiguous(v.shape)
        kept = iter(contiguous(tuple(n for a, n in enumerate(self.space) if a not in self.axes)))
        return tuple(0 if a in self.axes else next(kept) for a in range(len(self.space)))

    def node(self) -> Node[Var]:
        """All members as one node, which says what is computed, read and written."""
        read = dict.fromkeys(v for node in self.members for v in node.inputs
                             if self.layouts[v].base not in self.written)
        bodies = [node.prim.body for node in self.members if isinstance(node.prim, Fused)]
        nodes = tuple(node for body in bodies for node in body.nodes)
        constants = {v: a for body in bodies for v, a in body.constants.items()}
        body = Graph("body", tuple(read), nodes, tuple(self.written), constants)
        prim = Fused(body, self.space, self.axes)
        return replace(self.members[-1], prim=prim, inputs=tuple(read), outputs=tuple(self.written))

    def settle(self, uses: Mapping[Var, int]) -> None:
        """Let values that only this chain reads take the memory of a result that their last reader
        writes element by element; `uses` counts the readers of memory."""
        made = [v for node in self.members for v in node.outputs if v.shape == self.space]
        readers: dict[Var, list[Node[Var]]] = {v: [] for v in made}
        for node in self.members:
            for v in readers.keys() & set(node.inputs):   # what reads a view of it counts not
                readers[v].append(node)
        for v in reversed(made):   # so that results that are values too have their place
            if not readers[v] or len(readers[v]) < uses[v]:
                continue
            fit = [y for y in readers[v][-1].outputs if y.spec == v.spec and y not in self.over]
            if fit:
                self.over[fit[0]] = v
                self.layouts[v] = self.layouts[fit[0]]

    def launch(self) -> Launch:
        """The members' loops, for a few rows at a time."""
        length = math.prod(self.space) // self.rows
        launches = [loops.lower(node, self.layouts, self.over)[0] for node in self.members]
        source = Source(f"rows_{len(launches)}_loops")
        pointers: dict[tuple[Pointer | int, str], str] = {}
        body: list[str] = []
        for k, launch in enumerate(launches):
            names = {"start": "first", "stop": "last"}
            given = zip(*_parameters(launch), launch.arguments, strict=True)
            for name, kind, argument in given:
                known = pointers.get((argument, kind)) if isinstance(argument, Pointer) else None
                names[name] = known or f"{name}_{k}"
                source.parameters.setdefault(names[name], kind)
                if known is None:
                    source.arguments.append(argument)
                    pointers[argument, kind] = names[name]
            body += _renamed(launch.code.text, names, k)
        block = source.number("block", max(1, _IN_WORK // length))
        lines = [f"for first in range(start, stop, {block}):",
                 [f"last = minimum(first + {block}, stop)", *body]]
        return source.launch(lines, self.rows, length * len(launches))


def _parameters(launch: Launch) -> tuple[list[str], Sequence[str]]:
    """The names of a kernel's parameters, and their types."""
    (function,) = ast.parse(launch.code.text).body
    assert isinstance(function, ast.FunctionDef), "a kernel is one function"
    return [a.arg for a in function.args.args[2:]], launch.code.parameters


def _renamed(text: str, names: dict[str, str], k: int) -> list[str]:
    """The body of a function as lines, with its parameters and own variables renamed."""
    (function,) = ast.parse(text).body
    assert isinstance(function, ast.FunctionDef), "a kernel is one function"
    found = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
    own = {n.id: f"{n.id}_{k}" for n in found if isinstance(n.ctx, ast.Store)}
    for name in found:
        name.id = {**own, **names}.get(name.id, name.id)
    return [line for statement in function.body for line in ast.unparse(statement).splitlines()]


@dataclass(frozen=True)
class Steps:
    """The steps of a plan: `nodes` are those of its kernels, None stands for others; what is
    `updated` is written in place, and its steps are in no chain."""

    nodes: Sequence[Node[Var] | None]
    layouts: dict[Var, Layout]
    updated: Mapping[Var, Var]

    def joined(self) -> list[int | Chain]:
        """All of them in an order in which they can run, by number, some of them in chains."""
        return self._joined(list(range(len(self.nodes))))

    def _joined(self, left: list[int]) -> list[int | Chain]:
        made: list[int | Chain] = []
        while left:
            first, *left = left
            node = self.nodes[first]
            if node is None or self._writes_over(node):
                made.append(first)
                continue
            chain = Chain.starting(node, self.layouts)
            before, after = self._follow(chain, left) if chain else ([], left)
            if chain is None or len(chain.members) == 1:
                made.append(first)
            else:
                made += [*self._joined(before), chain]
                left = after
        return made

    def _follow(self, chain: Chain, left: list[int]) -> tuple[list[int], list[int]]:
        """Add to the chain what may join it; gives the steps that go before it and after it."""
        before: list[int] = []
        after: list[int] = []
        late: set[Var] = set()    # written after the chain
        for place, i in enumerate(left):
            node = self.nodes[i]
            if node is None or place == _FARTHEST:
                return before, after + left[place:]
            read = self._memory(node.inputs)
            waits = bool(read & late) or self._writes_over(node)
            joins = bool(read & chain.written.keys())
            if joins and not waits and chain.take(node):
                continue
            if joins or waits:
                after.append(i)
                late |= self._memory(node.outputs)
            else:
                before.append(i)
        return before, after

    def _memory(self, values: Sequence[Var]) -> set[Var]:
        return {self.layouts[v].base for v in values}

    def _writes_over(self, node: Node[Var]) -> bool:
        return any(v in self.updated for v in node.outputs)
