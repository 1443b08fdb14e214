"""Cond: one of two graphs, as one node. Its derivatives are conds that compute the branch again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tapeflow import dispatch, ops
from tapeflow.autodiff.batching import replay, vmap
from tapeflow.dtypes import is_inexact
from tapeflow.errors import StateError
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.body import Body, BodyTracer, Call, Derived
from tapeflow.jit.control.derive import filled, pulled, pushed
from tapeflow.jit.control.examples import of_all, reached
from tapeflow.jit.control.holder import Cleaned, Holder, picked, used, with_constants
from tapeflow.tensor import Array, Tensor
from tapeflow.variable import Variable


class Cond(Holder):
    """The first graph where the first input is true, else the second, of the other inputs."""

    def __init__(self, graphs: tuple[Graph, ...], bodies: tuple[Body, ...] = ()) -> None:
        super().__init__("cond", graphs, lambda *specs: tuple(v.spec for v in graphs[0].outputs))
        self.bodies = bodies

    def _run(self, *arrays: Array) -> tuple[Array, ...]:
        pred, *operands = arrays
        return tuple(self.bodies_run[0 if pred else 1](*operands))

    def holding(self, graphs: tuple[Graph, ...]) -> Cond:
        return Cond(graphs)

    def knowing(self, numbers: Mapping[int, Array]) -> tuple[Cond, Sequence[int]]:
        known = {i - 1: a for i, a in numbers.items() if i}
        left = [i for i in range(len(self.graphs[0].inputs) + 1) if i - 1 not in known]
        return Cond(tuple(with_constants(g, known) for g in self.graphs)), left

    def giving(self, node: Node[Var], needed: Collection[Var], cleaned: Cleaned) -> Node[Var]:
        given = [k for k, v in enumerate(node.outputs) if v in needed]
        left = [cleaned(replace(g, outputs=picked(g.outputs, given))) for g in self.graphs]
        reached = set().union(*map(used, left))
        count = len(self.graphs[0].inputs)
        places = [i for i in range(count) if any(g.inputs[i] in reached for g in self.graphs)]
        graphs = tuple(replace(g, inputs=picked(g.inputs, places)) for g in left)
        inputs = (node.inputs[0], *picked(node.inputs[1:], places))
        return replace(node, prim=Cond(graphs), inputs=inputs, outputs=picked(node.outputs, given))

    def reaching(self, batched: Sequence[bool]) -> Sequence[bool]:
        first, second = (reached(g, batched[1:]) for g in self.graphs)
        return [batched[0] or a or b for a, b in zip(first, second, strict=True)]

    def for_all(
        self, size: int, xs: tuple[Tensor, ...], batched: Sequence[bool]
    ) -> Sequence[Tensor]:
        pred, *operands = xs
        given = self.reaching(batched)
        if not batched[0]:
            calls = [
                lambda _, graph=g: of_all(graph, operands, batched[1:], given) for g in self.graphs
            ]
            return apply(pred, (BodyTracer("true_fn"), BodyTracer("false_fn")), calls, ())
        self._require_pure()

        def chosen(test: Tensor, *inputs: Tensor) -> list[Tensor]:
            first, second = (replay(g, inputs) for g in self.graphs)
            return [ops.where(test, a, b) for a, b in zip(first, second, strict=True)]

        axes = tuple(0 if b else None for b in batched)
        return vmap(chosen, axes)(*xs)  # type: ignore[no-any-return]

    def _require_pure(self) -> None:
        written = {v.name for body in self.bodies for v in body.written}
        if written:
            raise StateError(
                "cond",
                got=f"a branch that changes {', '.join(sorted(written))}, in tf.vmap",
                why="the condition differs from example to example, so both branches run",
                fix="assign variables, draw random numbers and print outside of the branches",
            )

    def _tracers(self, name: str, xs: Sequence[Tensor]) -> list[Derived]:
        return [
            Derived(name, body, dict(zip(graph.inputs, xs[1:], strict=True)))
            for graph, body in zip(self.graphs, self.bodies, strict=True)
        ]

    def _sources(self, branch: int, i: int) -> Sequence[Tensor]:
        """The tensors in the records of a branch that are its input i."""
        return self.bodies[branch].stands.get(self.graphs[branch].inputs[i], ())

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        chosen = [i for i, w in enumerate(wanted) if w and is_inexact(xs[i].dtype)]

        def backward(branch: int) -> list[Tensor]:
            body = self.bodies[branch]
            n = self._results
            arriving = zip(body.outputs[:n], gs[:n], strict=True)
            sources = [self._sources(branch, i - 1) for i in chosen]
            found = pulled(body.records, arriving, sources)
            return [filled(g, xs[i]) for i, g in zip(chosen, found, strict=True)]

        calls = [lambda _, k=k: backward(k) for k in (0, 1)]
        found = dict(zip(chosen, apply(xs[0], self._tracers("cond", xs), calls, ()), strict=True))
        return [found.get(i) for i in range(len(xs))]

    def push(self, ts: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        moved = [k for k, y in enumerate(ys[: self._results]) if is_inexact(y.dtype)]

        def forward(branch: int) -> list[Tensor]:
            body = self.bodies[branch]
            leaving = ((self._sources(branch, i), t) for i, t in enumerate(ts[1:]))
            found = pushed(body.records, leaving, [body.outputs[k] for k in moved])
            return [filled(t, ys[k]) for k, t in zip(moved, found, strict=True)]

        calls = [lambda _, k=k: forward(k) for k in (0, 1)]
        found = dict(zip(moved, apply(xs[0], self._tracers("cond", xs), calls, ()), strict=True))
        return tuple(found.get(k) for k in range(len(ys)))

    @property
    def _results(self) -> int:
        """The number of outputs that are no variables."""
        body = self.bodies[0]
        return len(body.graph.outputs) - len(body.written)


def apply(
    pred: Tensor,
    tracers: Sequence[BodyTracer],
    calls: Sequence[Call],
    operands: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """The outputs of a cond whose branches are traced from `calls`, which give the same types."""
    specs = [x.spec for x in operands]
    first, second = (t.run(call, specs) for t, call in zip(tracers, calls, strict=True))
    captured = {id(x): x for body in (first, second) for x in body.captured}
    written = tuple(dict.fromkeys((*first.written, *second.written)))
    read = tuple(dict.fromkeys((*first.read, *second.read, *written)))
    graphs = tuple(
        _aligned(body, tracer, [*captured.values()], read, written)
        for body, tracer in zip((first, second), tracers, strict=True)
    )
    cond = Cond(graphs, (first, second))
    inputs = (pred, *operands, *captured.values(), *(v.value for v in read))
    found = dispatch.apply(cond, inputs)
    results = len(found) - len(written)
    for variable, value in zip(written, found[results:], strict=True):
        variable.assign(value)
    return tuple(found[:results])


def _aligned(
    body: Body,
    tracer: BodyTracer,
    captured: Sequence[Tensor],
    read: Sequence[Variable],
    written: Sequence[Variable],
) -> Graph:
    """The graph of a branch with the inputs and outputs of both: the operands, what either captured
    and read; the results, and what either wrote."""
    graph = body.graph
    known: dict[int, Var] = dict(
        zip(map(id, (*body.captured, *body.read, *body.written)), graph.inputs, strict=False)
    )
    given = graph.inputs[body.consts + len(body.written) :]
    wanted: tuple[Tensor | Variable, ...] = (*captured, *read)
    others = [known.get(id(x)) or tracer.new_var(x.spec, "u") for x in wanted]
    held = {id(v): other for v, other in zip(read, others[len(captured) :], strict=True)}
    results = len(graph.outputs) - len(body.written)
    ends = {id(v): y for v, y in zip(body.written, graph.outputs[results:], strict=True)}
    left = (ends.get(id(v), held[id(v)]) for v in written)
    return replace(graph, inputs=(*given, *others), outputs=(*graph.outputs[:results], *left))
