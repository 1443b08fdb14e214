"""While: a loop that ends when a graph says so, as one node. It has forward mode only."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tapeflow import dispatch, ops
from tapeflow.autodiff.batching import vmap
from tapeflow.dtypes import is_inexact
from tapeflow.errors import ArgumentError
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.control.body import Body, BodyTracer, Call, Derived
from tapeflow.jit.control.derive import filled, pushed
from tapeflow.jit.control.examples import carried, of_all, reached
from tapeflow.jit.control.holder import Cleaned, Holder, live_carries, picked, used, with_constants
from tapeflow.jit.trace import EFFECTS
from tapeflow.tensor import Array, Spec, Tensor


class While(Holder):
    """Turns of a body while a test of the carries holds.

    `graphs` are those of the test and the body. Inputs: what only the test reads, what
    only the body reads, then the carries, of which the last are what variables hold.
    """

    def __init__(
        self, graphs: tuple[Graph, ...], consts: tuple[int, int], bodies: tuple[Body, ...] = ()
    ) -> None:
        super().__init__("while_loop", graphs, self._typed)
        self.consts, self.bodies = consts, bodies

    def _typed(self, *specs: Spec) -> tuple[Spec, ...]:
        return tuple(v.spec for v in self.graphs[1].outputs)

    def _run(self, *arrays: Array) -> tuple[Array, ...]:
        of_test, rest = arrays[: self.consts[0]], arrays[self.consts[0] :]
        of_turn, carry = rest[: self.consts[1]], list(rest[self.consts[1] :])
        test, turn = self.bodies_run
        while test(*of_test, *carry)[0]:
            carry = [*turn(*of_turn, *carry)]
        return tuple(carry)

    def holding(self, graphs: tuple[Graph, ...]) -> While:
        return While(graphs, self.consts)

    def knowing(self, numbers: Mapping[int, Array]) -> tuple[While, Sequence[int]]:
        n, m = self.consts
        of_test = {i: a for i, a in numbers.items() if i < n}
        of_turn = {i - n: a for i, a in numbers.items() if n <= i < n + m}
        test, turn = self.graphs
        graphs = (with_constants(test, of_test), with_constants(turn, of_turn))
        known = {*of_test, *(i + n for i in of_turn)}
        left = [i for i in range(n + len(turn.inputs)) if i not in known]
        return While(graphs, (n - len(of_test), m - len(of_turn))), left

    def giving(self, node: Node[Var], needed: Collection[Var], cleaned: Cleaned) -> Node[Var]:
        n, m = self.consts
        test, carries = cleaned(self.graphs[0]), self.graphs[1].inputs[m:]
        looked_at = used(test)
        wanted = [
            k for k, v in enumerate(node.outputs) if v in needed or test.inputs[n + k] in looked_at
        ]
        live, turn = live_carries(self.graphs[1], carries, wanted, cleaned)
        reached = used(turn)
        of_test = [i for i in range(n) if test.inputs[i] in looked_at]
        of_turn = [i for i in range(m) if turn.inputs[i] in reached]
        test = replace(test, inputs=picked(test.inputs, [*of_test, *(n + k for k in live)]))
        turn = replace(turn, inputs=picked(turn.inputs, [*of_turn, *(m + k for k in live)]))
        places = [*of_test, *(n + i for i in of_turn), *(n + m + k for k in live)]
        return replace(
            node,
            prim=While((test, turn), (len(of_test), len(of_turn))),
            inputs=picked(node.inputs, places),
            outputs=picked(node.outputs, live),
        )

    def _carries(self, batched: Sequence[bool]) -> tuple[list[bool], bool]:
        """Which carries differ among examples, and whether the end of the loop does. Where it does
        all do but those that variables hold: they are assigned as long as any example goes on."""
        n, m = self.consts
        flags = carried(self.graphs[1], batched[n : n + m], batched[n + m :])
        (differs,) = reached(self.graphs[0], [*batched[:n], *flags])
        if differs:
            flows = len(flags) - len(self.bodies[1].written)
            starts = [True] * flows + flags[flows:]
            flags = carried(self.graphs[1], batched[n : n + m], starts)
        return flags, differs

    def reaching(self, batched: Sequence[bool]) -> Sequence[bool]:
        return self._carries(batched)[0]

    def for_all(
        self, size: int, xs: tuple[Tensor, ...], batched: Sequence[bool]
    ) -> Sequence[Tensor]:
        n, m = self.consts
        flags, differs = self._carries(batched)
        flows = len(flags) - len(self.bodies[1].written)
        given = zip(xs[n + m :], batched[n + m :], flags, strict=True)
        starts = [
            ops.broadcast_to(x, (size, *x.shape)) if after and not before else x
            for x, before, after in given
        ]

        def goes_on(carries: Sequence[Tensor]) -> Tensor:
            inputs, which = [*xs[:n], *carries], [*batched[:n], *flags]
            return of_all(self.graphs[0], inputs, which, [differs])[0]

        def turn(carries: Sequence[Tensor]) -> list[Tensor]:
            which = [*batched[n : n + m], *flags]
            return of_all(self.graphs[1], [*xs[n : n + m], *carries], which, flags)

        def turn_of_some(symbols: Sequence[Tensor]) -> list[Tensor]:
            *carries, going = symbols
            ends = turn(carries)
            kept = map(vmap(ops.where), [going] * flows, ends, carries)
            after = [*kept, *ends[flows:]]
            return [*after, goes_on(after)]

        tracers = (BodyTracer("while_cond"), BodyTracer("while_body"))
        if not differs:
            return apply(tracers, (lambda carries: [goes_on(carries)], turn), starts)
        calls = (lambda symbols: [ops.any(symbols[-1])], turn_of_some)
        return apply(tracers, calls, [*starts, goes_on(starts)])[:-1]

    def pull(
        self, gs: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any, wanted: Sequence[bool]
    ) -> list[Tensor | None]:
        raise ArgumentError(
            "while_loop",
            got="reverse mode in compiled code, or in tf.vmap",
            why="the number of turns is known only when it runs, so their values are not kept",
            fix="use tf.scan for as many turns as may be, with tf.where to keep what is done, or "
            "forward mode: tf.jvp",
        )

    def push(self, ts: Any, ys: Any, xs: tuple[Tensor, ...], attrs: Any) -> Any:
        return _Forward(self, ts, xs).run()


class _Forward:
    """The loop with tangents as further carries. It computes the values again beside them."""

    def __init__(self, loop: While, ts: Sequence[Tensor | None], xs: Sequence[Tensor]) -> None:
        self.loop, self.ts, self.xs = loop, ts, xs
        self.first = sum(loop.consts)
        carries = len(xs) - self.first
        flowing = carries - len(loop.bodies[1].written)
        self.flowing = [k for k in range(flowing) if is_inexact(xs[self.first + k].dtype)]
        self.carries = carries
        self.tracers = (self._tracer(0), self._tracer(1))

    def run(self) -> tuple[Tensor | None, ...]:
        places = [self.first + k for k in self.flowing]
        tangents = [filled(self.ts[i], self.xs[i]) for i in places]
        outputs = apply(
            self.tracers,
            (self._test, self._turn),
            [*self.xs[self.first :], *tangents],
        )
        found = dict(zip(self.flowing, outputs[self.carries :], strict=True))
        return tuple(found.get(k) for k in range(self.carries))

    def _tracer(self, which: int) -> Derived:
        skipped = self.loop.consts[0] * which
        count = self.loop.consts[which]
        consts = self.loop.graphs[which].inputs[:count]
        outside = dict(zip(consts, self.xs[skipped : skipped + count], strict=True))
        return Derived("while_loop", self.loop.bodies[which], outside)

    def _test(self, symbols: Sequence[Tensor]) -> list[Tensor]:
        graph, body = self.loop.graphs[0], self.loop.bodies[0]
        self.tracers[0].bind(graph.inputs[self.loop.consts[0] :], symbols[: self.carries])
        return [body.outputs[0]]

    def _turn(self, symbols: Sequence[Tensor]) -> list[Tensor]:
        """One turn: what the carries and their tangents become."""
        graph, body = self.loop.graphs[1], self.loop.bodies[1]
        consts = self.loop.consts[1]
        self.tracers[1].bind(graph.inputs[consts:], symbols[: self.carries])
        given = dict(zip(self.flowing, symbols[self.carries :], strict=True))
        tangents = [*self.ts[self.loop.consts[0] : self.first]]
        tangents += [given.get(k) for k in range(self.carries)]
        leaving = ((body.stands.get(v, ()), t) for v, t in zip(graph.inputs, tangents, strict=True))
        ys = [body.outputs[k] for k in self.flowing]
        found = pushed(body.records, leaving, ys)
        moved = [filled(t, y) for t, y in zip(found, ys, strict=True)]
        ends = [*body.outputs]
        for i, variable in enumerate(body.written, self.carries - len(body.written)):
            if variable is EFFECTS:  # what has an effect has it once, in the loop itself
                ends[i] = symbols[i]
        return [*ends, *moved]


def apply(
    tracers: tuple[BodyTracer, BodyTracer],
    calls: tuple[Call, Call],
    carries: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """What the carries are at the end of a loop whose test and body are traced from `calls`."""
    specs = [c.spec for c in carries]
    turn = tracers[1].run(calls[1], specs)
    test = tracers[0].run(calls[0], specs)
    if test.written:
        raise ArgumentError(
            "while_loop",
            got=f"a condition that changes {', '.join(v.name for v in test.written)}",
            why="a condition is evaluated once more than the body, and only looks",
            fix="assign variables and draw random numbers in the body",
        )
    state = turn.graph.inputs[turn.consts : turn.consts + len(turn.written)]
    given = turn.graph.inputs[turn.consts + len(turn.written) :]
    graph = replace(turn.graph, inputs=(*turn.graph.inputs[: turn.consts], *given, *state))
    watched = [v for v in test.read if v not in turn.written]
    known = dict(zip(map(id, (*test.captured, *test.read)), test.graph.inputs, strict=False))
    consts = [known[id(x)] for x in (*test.captured, *watched)]
    held = [known.get(id(v)) or tracers[0].new_var(v.spec, "u") for v in turn.written]
    inputs = (*consts, *test.graph.inputs[test.consts :], *held)
    graphs = (replace(test.graph, inputs=inputs), graph)
    loop = While(graphs, (len(consts), turn.consts), (test, turn))
    outside = turn.outside()
    found = dispatch.apply(
        loop,
        (
            *test.captured,
            *(v.value for v in watched),
            *outside[: turn.consts],
            *carries,
            *outside[turn.consts :],
        ),
    )
    for variable, value in zip(turn.written, found[len(carries) :], strict=True):
        variable.assign(value)
    return tuple(found[: len(carries)])
