"""Scan: a loop of a known number of turns, as one node. Its derivatives are scans.

The body's inputs are `consts` values that stay, `carries` that each turn hands to the next, and one
row of each further input; its outputs are the carries, and one row of each further output. The last
`state` carries are what variables hold: as in eager code, no derivative passes from what one is
assigned to what is read from it.

Where somebody records, every value that the body computes is an output too, so that derivatives
need not compute it again: what they do not use goes before anything is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeflow import dispatch, ops
from tapeflow.dtypes import is_inexact
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.body import Body, BodyTracer, Call, Derived
from tapeflow.jit.control.derive import filled, pulled, pushed
from tapeflow.jit.control.examples import carried, of_all, reached, swapped
from tapeflow.jit.control.holder import Cleaned, Holder, live_carries, picked, used, with_constants
from tapeflow.ops.shape import broadcast_to
from tapeflow.primitive import View
from tapeflow.tensor import Array, Spec, Tensor


@dataclass(frozen=True)
class Layout:
    """How a scan uses the inputs and outputs of its body."""

    length: int
    consts: int
    carries: int
    state: int = 0
    is_reverse: bool = False

    @property
    def rows(self) -> int:
        """The position of the first input that is taken row by row."""
        return self.consts + self.carries

    @property
    def flowing(self) -> range:
        """The carries through which derivatives flow from turn to turn."""
        return range(self.carries - self.state)


class Scan(Holder):
    """The loop over `graph`; `body` is what it was traced from, if somebody recorded."""

    def __init__(self, graph: Graph, layout: Layout, body: Body | None = None) -> None:
        super().__init__("scan", (graph,), self._typed)
        self.graph, self.layout, self.body = graph, layout, body
        self.saved: dict[Var, int] = {}  # the outputs that are there for derivatives

    def outputs(self) -> list[Tensor | None]:
        """The tensors of the body's records that are its outputs; None where there is none."""
        assert self.body is not None
        body, layout = self.body, self.layout
        n = len(layout.flowing)
        results = body.outputs[: len(body.outputs) - layout.state]
        first: dict[Var, Tensor] = {}
        for v, xs in body.stands.items():
            if xs:
                first[v] = xs[0]
        for _, _, _, ys in body.records:
            for y in ys if isinstance(ys, tuple) else (ys,):
                if y.is_traced:
                    first.setdefault(body.names.get(y.value, y.value), y)
        ends = (*results[:n], *body.outputs[len(results) :], *results[n:])
        return [*ends, *(first.get(v) for v in self.saved)]

    def _typed(self, *specs: Spec) -> tuple[Spec, ...]:
        n, carries = self.layout.length, self.layout.carries
        ys = (Spec((n, *v.shape), v.dtype) for v in self.graph.outputs[carries:])
        return (*(v.spec for v in self.graph.outputs[:carries]), *ys)

    def _run(self, *arrays: Array) -> tuple[Array, ...]:
        layout = self.layout
        consts, xs = arrays[: layout.consts], arrays[layout.rows :]
        carry = list(arrays[layout.consts : layout.rows])
        ys = [np.empty(s.shape, s.dtype) for s in self._typed()[layout.carries :]]
        turns = range(layout.length)
        for i in reversed(turns) if layout.is_reverse else turns:
            outputs = self.bodies_run[0](*consts, *carry, *(np.asarray(x[i]) for x in xs))
            carry = [*outputs[: layout.carries]]
            for y, row in zip(ys, outputs[layout.carries :], strict=True):
                y[i] = row
        return (*carry, *ys)

    def holding(self, graphs: tuple[Graph, ...]) -> Scan:
        return Scan(graphs[0], self.layout)

    def knowing(self, numbers: Mapping[int, Array]) -> tuple[Scan, Sequence[int]]:
        known = {i: a for i, a in numbers.items() if i < self.layout.consts}
        layout = replace(self.layout, consts=self.layout.consts - len(known))
        left = [i for i in range(len(self.graph.inputs)) if i not in known]
        return Scan(with_constants(self.graph, known), layout), left

    def giving(self, node: Node[Var], needed: Collection[Var], cleaned: Cleaned) -> Node[Var]:
        layout, theirs = self.layout, self.graph
        carries = theirs.inputs[layout.consts : layout.rows]
        wanted = [k for k, v in enumerate(node.outputs) if v in needed]
        order, graph = live_carries(theirs, carries, wanted, cleaned)
        reached = used(graph)
        live = [k for k in order if k < layout.carries]
        still = [k for k in live if theirs.outputs[k] is carries[k] and k not in wanted]
        given = [k for k in order if k not in still]
        consts = [i for i in range(layout.consts) if theirs.inputs[i] in reached]
        consts += [layout.consts + k for k in still]
        moving = [layout.consts + k for k in live if k not in still]
        rows = [i for i in range(layout.rows, len(theirs.inputs)) if theirs.inputs[i] in reached]
        places = [*consts, *moving, *rows]
        inputs, outputs = picked(theirs.inputs, places), picked(theirs.outputs, given)
        scan = Scan(
            replace(graph, inputs=inputs, outputs=outputs),
            Layout(layout.length, len(consts), len(moving), is_reverse=layout.is_reverse),
        )
        inputs, outputs = picked(node.inputs, places), picked(node.outputs, given)
        return replace(node, prim=scan, inputs=inputs, outputs=outputs)

    def reaching(self, batched: Sequence[bool]) -> Sequence[bool]:
        consts, rows = batched[: self.layout.consts], batched[self.layout.rows :]
        carries = batched[self.layout.consts : self.layout.rows]
        flags = carried(self.graph, consts, carries, rows)
        return [*flags, *reached(self.graph, [*consts, *flags, *rows])[self.layout.carries :]]

    def for_all(
        self, size: int, xs: tuple[Tensor, ...], batched: Sequence[bool]
    ) -> Sequence[Tensor]:
        layout, given = self.layout, self.reaching(batched)
        first, last, n = layout.consts, layout.rows, layout.carries
        flags = [*batched[:first], *given[:n], *batched[last:]]
        starts = [
            broadcast_to(x, (size, *x.shape)) if after and not before else x
            for x, before, after in zip(xs[first:last], batched[first:], given, strict=False)
        ]

        def turn(symbols: Sequence[Tensor]) -> list[Tensor]:
            held = [ops.stop_gradient(x) for x in symbols[n - layout.state : n]]
            inputs = [*xs[:first], *symbols[: n - layout.state], *held, *symbols[n:]]
            return of_all(self.graph, inputs, flags, given)

        found = apply(
            BodyTracer("scan_body"),
            turn,
            starts,
            swapped(xs[last:], batched[last:]),
            length=layout.length,
            is_reverse=layout.is_reverse,
        )
        return [*found[:n], *swapped(found[n:], given[n:])]

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        return _Backward(self, ys, xs).run(gs, wanted)

    def push(self, ts: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        return _Forward(self, ys, xs).run(ts)


def apply(
    tracer: BodyTracer,
    call: Call,
    carries: Sequence[Tensor],
    xs: Sequence[Tensor],
    *,
    length: int,
    is_reverse: bool,
    saved: Callable[[Var], Tensor] | None = None,
) -> tuple[Tensor, ...]:
    """The outputs of a scan whose body is traced from `call`: the carries, then the rows.

    `saved` gives the rows of what a derived body takes from the other one's turns.
    """
    rows = [Spec(x.shape[1:], x.dtype) for x in xs]
    body = tracer.run(call, [*(c.spec for c in carries), *rows])
    graph = body.graph
    outside, given = body.outside(), graph.inputs[body.consts + len(body.written) :]
    state = graph.inputs[body.consts : body.consts + len(body.written)]
    n = len(carries)
    layout = Layout(length, body.consts, n + len(state), len(state), is_reverse)
    inputs = (*graph.inputs[: body.consts], *given[:n], *state, *given[n:])
    results = graph.outputs[: len(graph.outputs) - len(state)]
    outputs = (*results[:n], *graph.outputs[len(results) :], *results[n:])
    kept = _kept(graph, (*given[:n], *state)) if body.records else ()
    scan = Scan(replace(graph, inputs=inputs, outputs=(*outputs, *kept)), layout, body)
    scan.saved = {v: len(outputs) + i for i, v in enumerate(kept)}
    rest = [saved(v) for v in tracer.saved] if saved else []
    found = dispatch.apply(
        scan, (*outside[: body.consts], *carries, *outside[body.consts :], *xs, *rest)
    )
    for variable, value in zip(body.written, found[n : layout.carries], strict=True):
        variable.assign(value)
    return (*found[:n], *found[layout.carries : len(outputs)])


def _kept(graph: Graph, carries: Sequence[Var]) -> tuple[Var, ...]:
    """The values of each turn that derivatives may need; views are made again."""
    made = (
        v for node in graph.nodes if not isinstance(node.prim.lowering, View) for v in node.outputs
    )
    return (*carries, *made)


class _Derivative:
    """What both modes share: a scan, what went in and came out, and how its values are found."""

    def __init__(self, scan: Scan, ys: Sequence[Tensor], xs: Sequence[Tensor]) -> None:
        body = scan.body
        assert body is not None, "what is differentiated was recorded, and so was its body"
        self.scan, self.layout, self.ys, self.xs, self.body = scan, scan.layout, ys, xs, body
        self.inputs = scan.graph.inputs
        self.rows = dict(zip(self.inputs[self.layout.rows :], xs[self.layout.rows :], strict=True))
        self.flowing = [i for i in self.layout.flowing if is_inexact(ys[i].dtype)]
        self.results = [*scan.outputs()]

    def tracer(self, name: str) -> Derived:
        consts = self.layout.consts
        outside = dict(zip(self.inputs[:consts], self.xs[:consts], strict=True))
        return Derived(name, self.body, outside, saves=True)

    def saved(self, v: Var) -> Tensor:
        """The rows of a value of the scan's body."""
        return self.rows[v] if v in self.rows else self.ys[self.scan.saved[v]]

    def sources(self, i: int) -> Sequence[Tensor]:
        """The tensors in the records that are input i."""
        return self.body.stands.get(self.inputs[i], ())


class _Backward(_Derivative):
    """A scan in the other direction, whose carries are the cotangents of carries, and sums of those
    of the inputs that stay."""

    def run(self, gs: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Tensor | None]:
        first, last = self.layout.consts, self.layout.rows
        chosen = [i for i, w in enumerate(wanted) if w and is_inexact(self.xs[i].dtype)]
        state = range(last - self.layout.state, last)
        self.sums = [i for i in chosen if i < first or i in state]
        self.parts = [i for i in chosen if i >= last]
        self.sent = [k for k, g in enumerate(gs) if g is not None and k >= self.layout.carries]
        self.given: list[int] = []
        carried = [first + i for i in self.flowing]
        cotangents = [filled(gs[i], self.ys[i]) for i in self.flowing]
        outputs = apply(
            self.tracer("scan_backward"),
            self._turn,
            [*cotangents, *(filled(None, self.xs[i]) for i in self.sums)],
            [filled(gs[k], self.ys[k]) for k in self.sent],
            length=self.layout.length,
            is_reverse=not self.layout.is_reverse,
            saved=self.saved,
        )
        grads = dict(zip((*carried, *self.sums, *self.given), outputs, strict=True))
        return [grads.get(i) if w else None for i, w in enumerate(wanted)]

    def _turn(self, symbols: Sequence[Tensor]) -> list[Tensor]:
        """One turn: the cotangents of what went in, from those of what came out."""
        n, m = len(self.flowing), len(self.flowing) + len(self.sums)
        targets = [self.results[k] for k in (*self.flowing, *self.sent)]
        places = [*(self.layout.consts + i for i in self.flowing), *self.sums, *self.parts]
        found = pulled(
            self.body.records,
            zip(targets, (*symbols[:n], *symbols[m:]), strict=True),
            [self.sources(i) for i in places],
        )
        carried = [filled(g, c) for c, g in zip(symbols[:n], found[:n], strict=True)]
        added = zip(symbols[n:m], found[n:m], strict=True)
        sums = [c if g is None else c + g for c, g in added]
        rows = {i: g for i, g in zip(self.parts, found[m:], strict=True) if g is not None}
        self.given = [*rows]
        return [*carried, *sums, *rows.values()]


class _Forward(_Derivative):
    """A scan in the same direction, whose carries are the tangents of carries."""

    def run(self, ts: Sequence[Tensor | None]) -> tuple[Tensor | None, ...]:
        first, last = self.layout.consts, self.layout.rows
        moved = {i: t for i, t in enumerate(ts) if t is not None and i >= last}
        self.places = [*(first + i for i in self.flowing), *moved]
        self.still = [(i, t) for i, t in enumerate(ts) if t is not None and i < first]
        outputs = apply(
            self.tracer("scan_forward"),
            self._turn,
            [filled(ts[first + i], self.xs[first + i]) for i in self.flowing],
            [*moved.values()],
            length=self.layout.length,
            is_reverse=self.layout.is_reverse,
            saved=self.saved,
        )
        tangents = dict(zip((*self.flowing, *self.given), outputs, strict=True))
        return tuple(tangents.get(k) for k in range(len(self.ys)))

    def _turn(self, symbols: Sequence[Tensor]) -> list[Tensor]:
        """One turn: the tangents of what comes out, from those of what goes in."""
        tangents = (*zip(self.places, symbols, strict=True), *self.still)
        leaving = ((self.sources(i), t) for i, t in tangents)
        found = pushed(self.body.records, leaving, self.results)
        carried = [filled(found[i], self.ys[i]) for i in self.flowing]
        rows = {k: t for k, t in enumerate(found) if k >= self.layout.carries and t is not None}
        self.given = [*rows]
        return [*carried, *rows.values()]
