"""Body: a function traced into a graph of its own, which a node of the trace around it holds.

What the function reads from outside (tensors of its closure, variables) becomes further inputs.
Where somebody records, the body keeps the records of its ops: the derivative of a body is another
body, made from these. It may use any value of the first: `Derived` says how it gets them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tapeflow import dispatch
from tapeflow.dispatch import Record
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.trace import Tracer
from tapeflow.primitive import View
from tapeflow.tensor import Spec, Tensor
from tapeflow.variable import Variable

Call = Callable[[Sequence[Tensor]], Sequence[Tensor]]


@dataclass(eq=False)
class Body:
    """What a function did. The graph's inputs are `captured`, the values of `read`, those of
    `written`, what was given, then what is saved of another body; its outputs are the results, then
    what `written` end with."""

    graph: Graph
    captured: tuple[Tensor, ...]
    read: tuple[Variable, ...]  # and never assigned
    written: tuple[Variable, ...]
    outputs: tuple[Tensor, ...]
    records: Sequence[Record]
    stands: Mapping[Var, Sequence[Tensor]]  # the tensors of the records that are an input
    names: Mapping[Var, Var]  # values of other bodies that the records speak of, and theirs here
    seen: Callable[[Tensor], Tensor | None]  # what stands in the records for a tensor, if it does

    @property
    def consts(self) -> int:
        """The number of inputs that come from outside and stay as they are."""
        return len(self.captured) + len(self.read)

    def outside(self) -> tuple[Tensor, ...]:
        """The inputs that come from outside, as they are in the trace that is open."""
        return (*self.captured, *(v.value for v in (*self.read, *self.written)))

    def sources(self, i: int) -> Sequence[Tensor]:
        """The tensors of the records that are input i of the graph."""
        return self.stands.get(self.graph.inputs[i], ())


class _Recorder:
    """Keeps the records of a body, in which tensors of its own stand for those that were used: one
    that is rebound (x[i] = v), here or later outside, counts as another one from then on. One that
    only renames a value from outside leads back to it."""

    def __init__(self, tracer: BodyTracer) -> None:
        self._tracer = tracer
        self.records: list[Record] = []
        self._known: dict[tuple[int, int], Tensor] = {}
        self._alive: list[Tensor] = []  # ids stay valid while their tensors live
        self._renamed: dict[int, Tensor] = {}
        self._used: dict[int, Tensor] = {}  # by id of what stands for a tensor

    def record(self, record: Record) -> None:
        prim, inputs, attrs, outputs = record
        xs = tuple(map(self.known, inputs))
        several = isinstance(outputs, tuple)
        ys = tuple(map(self.known, dispatch.as_tuple(outputs)))
        for y in ys:
            for x in xs:
                if x.value is y.value and x is not y:
                    self._renamed[id(y)] = x
        self.records.append((prim, xs, attrs, ys if several else ys[0]))

    def accessed(self, variable: Variable, value: Tensor) -> None:
        self._tracer.stand(self._tracer.read_first(variable), self.known(value))

    def known(self, x: Tensor) -> Tensor:
        """The tensor that stands for `x` as it is now."""
        found = self.seen(x)
        if found is not None:
            return found
        y = Tensor(x.value)
        self._alive += [x, y]
        self._known[id(x), id(x.value)] = self._known[id(y), id(y.value)] = y
        self._used[id(y)] = x
        return y

    def seen(self, x: Tensor) -> Tensor | None:
        """The same; None if there is none yet."""
        elsewhere = None if self._tracer.owns(x) else self._tracer.known(x)
        return self._known.get((id(x), id(x.value))) if elsewhere is None else elsewhere

    def origin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The tensor that `x` is another name of, and what stands for that."""
        y = self.known(x)
        if id(y) not in self._renamed:
            return x, y
        while id(y) in self._renamed:
            y = self._renamed[id(y)]
        return self._used.get(id(y), y), y


class BodyTracer(Tracer):
    """The graph of a body that is being written, inside the trace `outer` if there is one."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        context = dispatch.here.context
        self.outer = context.tracer
        self._is_recorded = bool(context.records)
        # tapes around a vmap want to know what comes from where, but differentiate a loop of theirs
        self._recorder = _Recorder(self) if dispatch.is_heard() else None
        self._captured: dict[int, tuple[Tensor, Var]] = {}
        self._stands: dict[Var, list[Tensor]] = {}
        self.saved: dict[Var, Var] = {}  # inputs for values of another body
        around = self.outer
        while around is not None and not isinstance(around, Tracer):
            around = around.outer
        if around is not None:  # what a body uses, the function that is traced around it uses
            self.used = around.used

    def run(self, call: Call, specs: Sequence[Spec]) -> Body:
        """The body that `call` makes of symbols of these types."""
        recorder = self._recorder
        given = [self.new_var(s, "x") for s in specs]
        symbols = [Tensor(v) for v in given]
        with dispatch.tracing(self), dispatch.recording_only((recorder,) if recorder else ()):
            if recorder:
                for v, x in zip(given, symbols, strict=True):
                    self.stand(v, recorder.known(x))
            results = list(call(symbols))
            for variable in self.writes:
                self.read_first(variable)
            results += self.writes.values()
            outputs = tuple(map(self.var, results))
        read = tuple(v for v in self.reads if v not in self.writes)
        captured = tuple(self._captured.values())
        variables = [self.reads[v] for v in (*read, *self.writes)]
        inputs = (*(v for _, v in captured), *variables, *given, *self.saved.values())
        return Body(
            Graph(self.name, inputs, tuple(self.nodes), outputs, self.constants),
            tuple(x for x, _ in captured),
            read,
            tuple(self.writes),
            tuple(recorder.known(y) for y in results) if recorder else (),
            recorder.records if recorder and self._is_recorded else (),
            self._stands,
            self.names(),
            recorder.seen if recorder else self.known,
        )

    def names(self) -> Mapping[Var, Var]:
        """What values of other bodies are called here."""
        return {}

    def known(self, x: Tensor) -> Tensor | None:
        """What stands in the records of other bodies for a tensor that is not of this one."""
        return None

    def owns(self, x: Tensor) -> bool:
        """Whether `x` was made here."""
        return isinstance(x.value, Var) and x.value in self._vars

    def stand(self, v: Var, x: Tensor) -> None:
        """Let `x` be a tensor that is input `v`."""
        known = self._stands.setdefault(v, [])
        if not any(x is y for y in known):
            known.append(x)

    def knows(self, v: Var) -> bool:
        return super().knows(v) or (self.outer is not None and self.outer.knows(v))

    def var(self, x: Tensor) -> Var:
        value = x.value
        if isinstance(value, Var):
            is_outside = value not in self._vars and self.knows(value)
        else:  # a tape outside may watch it; what is not differentiated goes back into the body
            is_outside = self._recorder is not None
        return self._capture(x) if is_outside else super().var(x)

    def _capture(self, x: Tensor) -> Var:
        known = x
        if self._recorder:
            x, known = self._recorder.origin(x)
        if id(x) not in self._captured:
            v = self.new_var(x.spec, "o")
            self._captured[id(x)] = (x, v)
            self.stand(v, known)
        return self._captured[id(x)][1]


class Derived(BodyTracer):
    """A body made from the records of another, `forward`, whose values it may use.

    Args:
        outside: what holds the value of an input of `forward`, in the trace that is open.
        saves: whether further values become inputs of the new body, `saved`; views of values, and
            all if not `saves`, are computed again.
    """

    def __init__(
        self, name: str, forward: Body, outside: Mapping[Var, Tensor], saves: bool = False
    ) -> None:
        super().__init__(name)
        self._outside, self._saves = outside, saves
        graph = forward.graph
        self._forward = graph
        self._producer = {v: node for node in graph.nodes for v in node.outputs}
        self._names, self._seen = forward.names, forward.seen
        captured = graph.inputs[: len(forward.captured)]
        self._captures = {id(x): v for v in captured for x in forward.stands[v]}
        self._theirs = {*graph.inputs, *graph.constants, *self._producer}
        self._record_of = {
            id(y): record
            for record in forward.records
            for y in (record[3] if isinstance(record[3], tuple) else (record[3],))
        }
        self._own: dict[Var, Var] = {}
        self._bound: set[Var] = set()
        self._adopted: set[int] = set()

    def bind(self, theirs: Sequence[Var], symbols: Sequence[Tensor]) -> None:
        """Let inputs of this body stand for values of the other."""
        self._own.update((v, x.value) for v, x in zip(theirs, symbols, strict=True))
        self._bound.update(theirs)

    def knows(self, v: Var) -> bool:
        return self._names.get(v, v) in self._theirs or super().knows(v)

    def names(self) -> Mapping[Var, Var]:
        farther = {v: self._own[w] for v, w in self._names.items() if w in self._own}
        return {**farther, **self._own}

    def known(self, x: Tensor) -> Tensor | None:
        return self._seen(x)

    def var(self, x: Tensor) -> Var:
        if self._recorder and not self.owns(x):
            x, _ = self._recorder.origin(x)
        v = self._captures.get(id(x))
        if v is None and x.is_traced:
            v = self._names.get(x.value, x.value)
        if v not in self._theirs:
            return super().var(x)
        own = self._own_of(v)
        if self._recorder:
            self._adopt(self._recorder.known(x), v, own)
        return own

    def _own_of(self, v: Var) -> Var:
        """What stands for `v` here."""
        if v not in self._own:
            self._own[v] = self._found(v)
        return self._own[v]

    def _found(self, v: Var) -> Var:
        if v in self._outside:
            return super().var(self._outside[v])
        if v in self._forward.constants:
            own = self.new_var(v.spec, "c")
            self.constants[own] = self._forward.constants[v]
            return own
        node = self._producer.get(v)
        if node is None or (self._saves and not isinstance(node.prim.lowering, View)):
            self.saved[v] = self.new_var(v.spec, "s")
            return self.saved[v]
        inputs = tuple(map(self._own_of, node.inputs))
        outputs = tuple(self.new_var(y.spec) for y in node.outputs)
        self._own.update(zip(node.outputs, outputs, strict=True))
        self.nodes.append(Node(node.prim, inputs, node.attrs, outputs, node.scope, node.line))
        return self._own[v]

    def _adopt(self, x: Tensor, v: Var, own: Var) -> None:
        """Let the records here lead from inputs to `x`, which is their `v`."""
        if id(x) in self._adopted:
            return
        self._adopted.add(id(x))
        if v in self.saved or v in self._bound or v in self._outside:
            self.stand(own, x)
        elif id(x) in self._record_of and self._recorder:
            record = self._record_of[id(x)]
            for y in record[1]:
                self.var(y)
            outputs = record[3] if isinstance(record[3], tuple) else (record[3],)
            self._adopted.update(map(id, outputs))
            self._recorder.records.append(record)
