"""Nests: loops and branches as one step of a plan, whose bodies are plans of their own.

A body's values lie in the arena of its plan, except for what goes in and out: where that is, a
`Place` says for each turn. A carry has two buffers, of which a turn reads one and writes the other;
or one, where the body's plan writes over it. Which comes first is chosen so that the last turn of a
scan writes the result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.branch import Cond
from tapeflow.jit.control.holder import Holder
from tapeflow.jit.control.repeat import While
from tapeflow.jit.control.scan import Scan
from tapeflow.jit.kernel import Launch, Pointer, Scratch
from tapeflow.jit.prepare import bound

if TYPE_CHECKING:
    from tapeflow.jit.plan import Plan


@dataclass(frozen=True, slots=True)
class Place:
    """Where a body finds a value: at one of the nest's pointers in even turns, at another in odd
    ones, `stride` bytes on for each row."""

    even: int
    odd: int
    stride: int = 0

    @property
    def moves(self) -> bool:
        """Whether it differs from turn to turn."""
        return bool(self.stride) or self.even != self.odd


@dataclass(frozen=True, slots=True)
class Part:
    """A body: its plan, and the places of its inputs and outputs."""

    plan: Plan
    places: Mapping[Var, Place]


@dataclass(frozen=True, slots=True)
class Nest:
    """A loop, or a branch, as a step.

    `parts` are the body, and the test of a loop that has one; or the two branches. `flag` is the
    pointer to the bool that decides. `last` are pairs of pointers, and bytes, to copy to the first
    from the second at the end of an odd number of turns.
    """

    node: Node[Var]
    parts: tuple[Part, ...]
    pointers: tuple[Pointer, ...]
    buffers: tuple[Var, ...]
    flag: int = 0
    turns: int = -1
    is_reverse: bool = False
    last: tuple[tuple[int, int, int], ...] = ()

    @property
    def is_branch(self) -> bool:
        return isinstance(self.node.prim, Cond)


@dataclass
class Builder:
    """What nests need of the plan that they stand in: `address` gives a pointer to a value with its
    elements side by side, `copy` lets a step copy a value to memory of its own, `prepare` lets one
    run a launch before the loop, `plan` plans a body with the outputs that may be written over an
    input, the number of inputs that stay, and that of turns."""

    address: Callable[[Var], Pointer]
    copy: Callable[[Var, Var], None]
    prepare: Callable[[Launch, Var, Var], None]
    plan: Callable[[Graph, Mapping[Var, Var], int, int], Plan]
    pointers: list[Pointer] = field(default_factory=list)
    buffers: list[Var] = field(default_factory=list)
    on_host: list[str] = field(default_factory=list)  # what keeps a node from being a nest

    def build(self, node: Node[Var]) -> Nest | None:
        """The nest of a node; None where a body has steps that run on the host."""
        prim = node.prim
        assert isinstance(prim, Holder), f"{prim} holds no graphs"
        plans = tuple(
            self.plan(g, self._updates(prim, g), *_stay_and_turns(prim, g)) for g in prim.graphs
        )
        self.on_host = [name for p in plans for name in p.on_host]
        if self.on_host:
            return None
        if isinstance(prim, Scan):
            return self._scan(node, prim, plans[0])
        if isinstance(prim, While):
            return self._while(node, prim, plans)
        return self._branch(node, plans)

    @staticmethod
    def _updates(prim: Holder, graph: Graph) -> dict[Var, Var]:
        """The carries, as what they become and what they were."""
        if isinstance(prim, Scan):
            first, count = prim.layout.consts, prim.layout.carries
        elif isinstance(prim, While) and graph is prim.graphs[1]:
            first, count = prim.consts[1], len(graph.outputs)
        else:
            return {}
        pairs = zip(graph.outputs[:count], graph.inputs[first : first + count], strict=True)
        return {new: old for new, old in pairs if graph.outputs.count(new) == 1}

    def _scan(self, node: Node[Var], prim: Scan, plan: Plan) -> Nest:
        layout = prim.layout
        inputs, outputs = plan.graph.inputs, _bases(plan)
        places = self._lasting(plan, node.inputs[: layout.consts])
        is_odd = layout.length % 2 == 1
        for k in range(layout.carries):
            i = layout.consts + k
            even, odd = self._carry(plan, i, k, node.inputs[i], node.outputs[k], swap=is_odd)
            places[inputs[i]] = Place(even, odd)
            places[outputs[k]] = Place(odd, even)
        rows = [
            *zip(inputs[layout.rows :], node.inputs[layout.rows :], strict=True),
            *zip(outputs[layout.carries :], node.outputs[layout.carries :], strict=True),
        ]
        for v, whole in rows:
            at = self._pointer(self.address(whole))
            places[v] = Place(at, at, v.spec.nbytes)
        return Nest(
            node,
            (Part(plan, places),),
            (*self.pointers, self._arena(plan)),
            tuple(self.buffers),
            turns=layout.length,
            is_reverse=layout.is_reverse,
        )

    def _carry(
        self, plan: Plan, i: int, k: int, first: Var, end: Var, *, swap: bool
    ) -> tuple[int, int]:
        """The pointers to carry k (input i of the body) before and after even turns."""
        old, new = plan.graph.inputs[i], plan.graph.outputs[k]
        result = self._pointer(self.address(end))
        if new is old or plan.updated.get(new) is old:
            self.copy(first, end)
            return result, result
        buffer = self._buffer(old)
        other = self._pointer(Pointer(buffer))
        self.copy(first, buffer if swap else end)
        return (other, result) if swap else (result, other)

    def _while(self, node: Node[Var], prim: While, plans: Sequence[Plan]) -> Nest:
        test, turn = plans
        n, m = prim.consts
        of_test = self._lasting(test, node.inputs[:n])
        of_turn = self._lasting(turn, node.inputs[n : n + m])
        last = []
        for k, (first, end) in enumerate(zip(node.inputs[n + m :], node.outputs, strict=True)):
            even, odd = self._carry(turn, m + k, k, first, end, swap=False)
            of_turn[turn.graph.inputs[m + k]] = of_test[test.graph.inputs[n + k]] = Place(even, odd)
            of_turn[_bases(turn)[k]] = Place(odd, even)
            if even != odd:
                last.append((even, odd, end.spec.nbytes))
        flag = self._pointer(Pointer(self._buffer(test.graph.outputs[0])))
        of_test[_bases(test)[0]] = Place(flag, flag)
        return Nest(
            node,
            (Part(turn, of_turn), Part(test, of_test)),
            (*self.pointers, self._arena(*plans)),
            tuple(self.buffers),
            flag=flag,
            last=tuple(last),
        )

    def _branch(self, node: Node[Var], plans: Sequence[Plan]) -> Nest:
        parts = []
        flag = self._pointer(self.address(node.inputs[0]))
        known = self._fixed(node.inputs[1:], node.inputs[1:])
        ends = self._fixed(node.outputs, node.outputs)
        for plan in plans:
            places = {v: known[x] for v, x in zip(plan.graph.inputs, node.inputs[1:], strict=True)}
            places.update(
                (v, ends[y]) for v, y in zip(_bases(plan), node.outputs, strict=True)
            )
            parts.append(Part(plan, places))
        pointers = (*self.pointers, self._arena(*plans))
        return Nest(node, tuple(parts), pointers, tuple(self.buffers), flag=flag)

    def _fixed(self, theirs: Sequence[Var], ours: Sequence[Var]) -> dict[Var, Place]:
        """Places of values that stay where they are; of the first of `theirs`."""
        places = {}
        for v, x in zip(theirs, ours, strict=False):
            at = self._pointer(self.address(x))
            places[v] = Place(at, at)
        return places

    def _lasting(self, plan: Plan, ours: Sequence[Var]) -> dict[Var, Place]:
        """The places of what stays in all turns: inputs, and what is prepared of them."""
        places = self._fixed(plan.graph.inputs, ours)
        outer = dict(zip(plan.graph.inputs, ours, strict=False))
        for ready in plan.prepared:
            made = self._buffer(ready.made)
            source = self.pointers[places[ready.source].even]
            here = {ready.source: source, ready.made: Pointer(made)}
            self.prepare(bound(ready.launch, here), outer[ready.source], made)
            at = self._pointer(Pointer(made))
            places[ready.made] = Place(at, at)
        return places

    def _pointer(self, pointer: Pointer) -> int:
        self.pointers.append(pointer)
        return len(self.pointers) - 1

    def _buffer(self, like: Var) -> Var:
        made = Var(f"{like.name}_buffer", like.shape, like.dtype)
        self.buffers.append(made)
        return made

    @staticmethod
    def _arena(*plans: Plan) -> Pointer:
        """The memory of the bodies, which do not run at the same time: the last pointer."""
        return Pointer(Scratch(0, max(p.arena_bytes for p in plans)))


def _stay_and_turns(prim: Holder, graph: Graph) -> tuple[int, int]:
    """How many inputs of a body are the same in all turns, and how many turns it is good for."""
    if isinstance(prim, Scan):
        return prim.layout.consts, prim.layout.length
    if isinstance(prim, While):
        return prim.consts[prim.graphs.index(graph)], 1
    return 0, 1


def _bases(plan: Plan) -> list[Var]:
    """The memory of each output of a body."""
    return [plan.layouts[v].base for v in plan.graph.outputs]
