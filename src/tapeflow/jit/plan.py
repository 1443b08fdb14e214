"""plan(): an optimised graph as steps in order, with a place in memory for every value."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tapeflow.dtypes import DType
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit import chain, contract, convolve, noise, places, pool, product
from tapeflow.jit.codegen import loops
from tapeflow.jit.control.holder import Holder
from tapeflow.jit.kernel import Launch, Layout, Pointer, Scratch
from tapeflow.jit.memory import Lifetime, arrange
from tapeflow.jit.nest import Builder, Nest
from tapeflow.jit.passes.fused import Fused
from tapeflow.jit.prepare import PREPARE, Prepared, apart
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import Copies, View
from tapeflow.tensor import Spec


@dataclass(frozen=True, slots=True)
class HostStep:
    """A node that runs as its array function, between kernels; a loop or branch because of what is
    `inside` of it."""

    node: Node[Var]
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Kernels:
    """The launches of one node."""

    node: Node[Var]
    launches: tuple[Launch, ...]


Step = HostStep | Kernels | Nest
Occupant = Var | tuple[int, Scratch]  # scratch memory belongs to the step that uses it


@dataclass(frozen=True, slots=True)
class Plan:
    """What a program does, and where: values lie in the arrays that a call hands over (inputs, then
    `fresh` outputs), in constants, or in the arena."""

    graph: Graph
    steps: tuple[Step, ...]
    layouts: Mapping[Var, Layout]
    fresh: tuple[Var, ...]  # bases that each call gets new arrays for
    updated: Mapping[Var, Var]  # outputs that are written over an input
    arena: Mapping[Occupant, int]  # byte offsets
    arena_bytes: int
    prepared: tuple[Prepared, ...] = ()  # of the body of a loop

    @property
    def launches(self) -> list[Launch]:
        """All launches, those in bodies of loops and branches too."""
        found: list[Launch] = []
        for step in self.steps:
            if isinstance(step, Kernels):
                found += step.launches
            elif isinstance(step, Nest):
                found += [launch for part in step.parts for launch in part.plan.launches]
        return found

    def early_updates(self) -> set[Var]:
        """The outputs written over an input before a step that may raise or be interrupted: one on
        the host, a question about indices, or a loop."""
        ends = [i for i, step in enumerate(self.steps) if may_end(step)]
        before = self.steps[: ends[-1]] if ends else ()
        return {v for step in before for v in step.node.outputs if v in self.updated}

    @property
    def on_host(self) -> list[str]:
        """What Python runs between kernels, in bodies too."""
        steps = (step for step in self.steps if isinstance(step, HostStep))
        return [name for s in steps for name in s.inside or (s.node.prim.name,)]


def plan(
    graph: Graph, updates: Mapping[Var, Var], *, any_size: bool = False, chained: bool = True
) -> Plan:
    """The plan of `graph`; `updates` says which outputs may take the memory of which input. With
    `any_size` contractions prefer code for all sizes to new code for these; loops over the same
    rows are one step where they may be `chained`, which devices have no launches for.

    An input is written over only where nothing behind it can end the program early.
    """
    found = _Planner(graph, updates, any_size, chained=chained).run()
    early = found.early_updates()
    if not early:
        return found
    late = {new: old for new, old in updates.items() if new not in early}
    return _Planner(graph, late, any_size, chained=chained).run()


def plan_body(
    graph: Graph, updates: Mapping[Var, Var], stay: int, turns: int, *, any_size: bool = False
) -> Plan:
    """The plan of a body, each of whose outputs has memory of its own: it is neither another output
    nor an input, unless `updates` says that it is that very one. The first inputs, as many as
    `stay`, are the same in all `turns`."""
    fixed = frozenset(graph.inputs[:stay])
    return _Planner(graph, updates, any_size, is_body=True, fixed=fixed, turns=turns).run()


@dataclass
class _Planner:
    graph: Graph
    updates: Mapping[Var, Var]
    any_size: bool = False
    is_body: bool = False
    chained: bool = True
    fixed: frozenset[Var] = frozenset()
    turns: int = 1
    layouts: dict[Var, Layout] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    updated: dict[Var, Var] = field(default_factory=dict)

    def run(self) -> Plan:
        self._last_use = {v: i for i, node in enumerate(self.graph.nodes) for v in node.inputs}
        self._outputs = set(self.graph.outputs)
        self._views: defaultdict[Var, list[Var]] = defaultdict(list)  # of values that own memory
        self._overwritten: set[Var] = set()  # inputs
        self._zeros: dict[DType, Var] = {}
        self._returned_bases: set[Var] = set()
        self._prepared: list[Prepared] = []
        self._copies = 0
        for v in (*self.graph.inputs, *self.graph.constants):
            self.layouts[v] = own(v)
        for i, node in enumerate(self.graph.nodes):
            self._node(i, node)
        if self.chained:
            self._chain()
        outputs = [self._returned(v) for v in self.graph.outputs]
        bases = {*self.graph.inputs, *self.graph.constants}
        fresh = tuple(
            dict.fromkeys(
                b
                for v in outputs
                for b in [self.layouts[v].base]
                if b not in bases and b not in self.updated
            )
        )
        lifetimes = self._lifetimes(exclude={*bases, *fresh, *self.updated})
        arena, nbytes = arrange(lifetimes)
        graph = Graph(
            self.graph.name,
            self.graph.inputs,
            self.graph.nodes,
            tuple(outputs),
            {**self.graph.constants, **{v: np.zeros((), d) for d, v in self._zeros.items()}},
        )
        held = self.layouts, fresh, self.updated, arena, nbytes
        return Plan(graph, tuple(self.steps), *held, tuple(self._prepared))

    def _node(self, i: int, node: Node[Var]) -> None:
        lowering = node.prim.lowering
        if isinstance(lowering, View):
            self._view(node, lowering)
            return
        if places.is_question(node):
            self._question(node)
            return
        for v in node.outputs:
            self.layouts[v] = own(v)
        if isinstance(node.prim, Fused):
            self._write_in_place(i, node)
            launches = loops.lower(node, self.layouts, self.updated)
        elif product.fits(node):
            self._write_in_place(i, node)
            self._product(node)
            return
        elif pool.fits(node):
            node = self._contiguous(node)
            launches = pool.lower(node, self.layouts)
        elif places.fits(node):
            node = self._contiguous(node)
            launches = places.lower(node, self.layouts)
        elif noise.fits(node):
            node = self._contiguous(node)
            launches = noise.lower(node, self.layouts)
        elif isinstance(lowering, Copies):
            zero = self.layouts[self._zero(node.outputs[0].dtype)]
            launches = loops.lower_copies(node, self.layouts, zero)
        elif isinstance(node.prim, Holder):
            self._nest(node)
            return
        else:
            self.steps.append(HostStep(node))
            return
        self.steps.append(Kernels(node, tuple(launches)))

    def _question(self, node: Node[Var]) -> None:
        """A row that may end the program; what it gives lies where the indices lie."""
        (y,), source = node.outputs, self.layouts[node.inputs[0]]
        self.layouts[y] = source
        self._views[source.base].append(y)
        self.steps.append(Kernels(node, (places.ask(node, self.layouts),)))

    def _chain(self) -> None:
        """Let steps over the same rows become one."""
        nodes = [step.node if isinstance(step, Kernels) else None for step in self.steps]
        read = [v for step in self.steps for v in self._reads(step)]
        uses = Counter(self.layouts[v].base for v in (*read, *self.graph.outputs))
        joined: list[Step] = []
        for part in chain.Steps(nodes, self.layouts, self.updated).joined():
            if isinstance(part, int):
                joined.append(self.steps[part])
            else:
                part.settle(uses)
                joined.append(Kernels(part.node(), (part.launch(),)))
        self.steps = joined

    def _reads(self, step: Step) -> list[Var]:
        """What a step reads, and of loops what their bodies mean."""
        pointers = step.pointers if isinstance(step, Nest) else ()
        return [*step.node.inputs, *(p.of for p in pointers if isinstance(p.of, Var))]

    def _product(self, node: Node[Var]) -> None:
        """The steps of a contraction, after copies of inputs that do not lie as it needs them."""
        if not convolve.is_convolution(node):
            uses = self.turns if self.layouts[node.inputs[1]].base in self.fixed else 1
            launches = contract.lower(node, self.layouts, self.updated, self.any_size, uses)
            launches, prepared = apart(launches, self.fixed, f"{node.outputs[0].name}_panels")
            self._prepared += prepared
            self.steps.append(Kernels(node, tuple(launches)))
            return
        inputs = [
            self._copy(v) if convolve.needs_copy(node, i, self.layouts[v]) else v
            for i, v in enumerate(node.inputs)
        ]
        node = replace(node, inputs=tuple(inputs))
        found = convolve.lower(node, self.layouts, self.updated, self.any_size)
        self.steps.append(HostStep(node) if found is None else Kernels(node, tuple(found)))

    def _nest(self, node: Node[Var]) -> None:
        """A loop or branch; where its bodies need the host, so does all of it."""
        before = len(self.steps)
        body = functools.partial(plan_body, any_size=self.any_size)
        builder = Builder(self._address, self._copy_to, self._prepare, body)
        nest = builder.build(node)
        if nest is None:
            self.steps[before:] = [HostStep(node, tuple(dict.fromkeys(builder.on_host)))]
            return
        self.layouts.update((v, own(v)) for v in nest.buffers)
        self.steps.append(nest)

    def _prepare(self, launch: Launch, source: Var, made: Var) -> None:
        """Let a step prepare what a loop needs in each turn."""
        self.layouts[made] = own(made)
        self.steps.append(Kernels(Node(PREPARE, (source,), {}, (made,)), (launch,)))

    def _address(self, v: Var) -> Pointer:
        """Where `v` lies, or a copy of it with its elements side by side."""
        layout = self.layouts[v]
        if layout.strides != contiguous(v.shape):
            layout = self.layouts[self._copy(v)]
        return Pointer(layout.base, layout.offset * v.dtype.itemsize)

    def _contiguous(self, node: Node[Var]) -> Node[Var]:
        """`node`, after copies of inputs that are not contiguous."""
        inputs = tuple(
            v if self.layouts[v].strides == contiguous(v.shape) else self._copy(v)
            for v in node.inputs
        )
        return replace(node, inputs=inputs)

    def _view(self, node: Node[Var], view: View) -> None:
        (x,), (y,) = node.inputs, node.outputs
        source = self.layouts[x]
        found = view.layout(x.shape, source.offset, source.strides, **node.attrs)
        if found is None:
            source = self.layouts[self._copy(x)]
            found = view.layout(x.shape, source.offset, source.strides, **node.attrs)
            assert found is not None, f"{node.prim} of a contiguous value needs no copy"
        self.layouts[y] = Layout(source.base, *found)
        self._views[source.base].append(y)

    def _copy(self, x: Var) -> Var:
        """A contiguous copy of `x`."""
        self._copies += 1
        made = Var(f"{x.name}_copy{self._copies}", x.shape, x.dtype)
        self._copy_to(x, made)
        return made

    def _copy_to(self, x: Var, made: Var) -> None:
        """Let a step copy `x` to the memory of `made`."""
        self.layouts[made] = own(made)
        node = Node(loops.COPY, (x,), {}, (made,))
        launches = loops.lower_copy(self.layouts[x], self.layouts[made], x.spec)
        self.steps.append(Kernels(node, tuple(launches)))

    def _zero(self, dtype: DType) -> Var:
        """A constant without axes."""
        if dtype not in self._zeros:
            made = self._zeros[dtype] = Var(f"zero_{dtype.name}", (), dtype)
            self.layouts[made] = own(made)
        return self._zeros[dtype]

    def _returned(self, v: Var) -> Var:
        """`v`, or a copy of it where it is only a part of its memory, or of a constant's."""
        layout = self.layouts[v]
        whole = (
            layout.offset == 0
            and layout.strides == contiguous(v.shape)
            and Spec(v.shape, v.dtype).size == Spec(layout.base.shape, v.dtype).size
        )
        fits = whole and layout.base not in self.graph.constants
        if self.is_body:
            own_input = layout.base in self.graph.inputs and self.updates.get(v) is not v
            fits = fits and not own_input and layout.base not in self._returned_bases
            self._returned_bases.add(layout.base)
        return v if fits else self._copy(v)

    def _write_in_place(self, i: int, node: Node[Var]) -> None:
        """Let outputs of `node` take the memory of an input where nothing reads that later, and
        nothing but the element in work is read from it here."""
        for w in node.outputs:
            r = self.updates.get(w)
            if r is None or r in self._overwritten:
                continue
            views = (r, *self._views[r])
            used_later = any(self._last_use.get(v, -1) > i for v in views)
            through_view = any(v in node.inputs for v in self._views[r])
            returned = any(v in self._outputs for v in views)
            if not (used_later or through_view or returned) and element_by_element(node, r, w):
                self.updated[w] = r
                self._overwritten.add(r)

    def _lifetimes(self, exclude: set[Var]) -> dict[Occupant, Lifetime]:
        lives: dict[Occupant, Lifetime] = {}

        def touch(key: Occupant, step: int, nbytes: int) -> None:
            first = lives[key].first if key in lives else step
            lives[key] = Lifetime(first, step, nbytes)

        for i, step in enumerate(self.steps):
            for v in (*self._reads(step), *step.node.outputs):
                base = self.layouts[v].base
                if base not in exclude:
                    touch(base, i, base.spec.nbytes)
            for scratch in scratches(step):
                touch((i, scratch), i, scratch.nbytes)
        return lives


def own(v: Var) -> Layout:
    """The layout of a value in memory of its own."""
    return Layout(v, 0, contiguous(v.shape))


def element_by_element(node: Node[Var], r: Var, w: Var) -> bool:
    """Whether `node` reads of `r` only the element that it writes to `w` at that time."""
    if r not in node.inputs or (r.shape, r.dtype) != (w.shape, w.dtype):
        return False
    if isinstance(node.prim, Fused):
        return node.prim.is_elementwise(node.outputs.index(w), node.inputs.index(r))
    return node.inputs.index(r) > 1 and r not in node.inputs[:2]  # an operand of the epilogue


def may_end(step: Step) -> bool:
    """Whether a step may end the program: by an error, an index that is not there, or because a
    signal came."""
    if isinstance(step, Nest):
        inside = (s for part in step.parts for s in part.plan.steps)
        return not step.is_branch or any(map(may_end, inside))
    return isinstance(step, HostStep) or places.is_question(step.node)


def scratches(step: Step) -> Sequence[Scratch]:
    """The scratch memory that a step uses."""
    if isinstance(step, HostStep):
        return ()
    arguments = (
        step.pointers
        if isinstance(step, Nest)
        else [a for launch in step.launches for a in launch.arguments]
    )
    pointers = (p for p in arguments if isinstance(p, Pointer))
    return tuple(dict.fromkeys(p.of for p in pointers if isinstance(p.of, Scratch)))
