"""lower(): a Fused node as kernels, in Python text that is the same for every size of its arrays.

Extents and strides are arguments; compiled in are the number of loops, the dtypes, and of each
operand whether it moves by one, not at all, or otherwise in the innermost loop. Names are given in
order, so that equal structures have equal text.

    map       every output has the shape of the loops
    tiles     so too, but an operand lies across them
    rows      the innermost loop is reduced; without outer loops the work items are chunks of it
    columns   the innermost loop is kept: a vector of results takes in row after row

Chunks have a fixed size, whatever the number of threads; a second launch combines them in pairs
(combine.py). So long sums stay accurate.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.codegen import text
from tapeflow.jit.codegen.combine import Result, combine_all, combine_columns
from tapeflow.jit.codegen.source import Lines, Source
from tapeflow.jit.codegen.space import Axis, Strides, count, space_of
from tapeflow.jit.kernel import Launch, Layout, Pointer, Scratch
from tapeflow.jit.passes.fused import Fused
from tapeflow.ops import arithmetic
from tapeflow.ops.movement import slice_layout
from tapeflow.primitive import Copies
from tapeflow.tensor import Spec

Offsets = Mapping[str, str]   # of each pointer, where the innermost loop starts

_CHUNK = 8192      # elements of a work item that is part of a reduction
_RUN = 1024        # of them added up as a vector goes: more would cost accuracy, fewer time
_ROWS = 32         # added up one after the other, where a vector of results takes in rows
_TILE = 32, 16     # rows and columns that are walked together; a cache line holds 16 float32


def lower(node: Node[Var], layouts: Mapping[Var, Layout],
          in_place: Mapping[Var, Var]) -> list[Launch]:
    """The launches that compute the outputs of a Fused node.

    Args:
        layouts: where its inputs and outputs lie; results of reductions are contiguous.
        in_place: the outputs that take the memory of an input of the same layout.
    """
    assert isinstance(node.prim, Fused), f"{node.prim} is not fused"
    kernel = _Kernel(node, node.prim, layouts, in_place)
    forms = {"map": kernel.map, "tiles": kernel.tiles, "rows": kernel.rows,
             "columns": kernel.columns}
    return forms[kernel.space.form]()


COPY = arithmetic.positive   # what a copied value is, as an op


def lower_copy(source: Layout, to: Layout, spec: Spec) -> list[Launch]:
    """The launches that copy a value of this type that lies at `source` to where `to` lies."""
    x, y = Var("x", spec.shape, spec.dtype), Var("y", spec.shape, spec.dtype)
    prim = Fused(Graph("body", (x,), (), (x,)), spec.shape, None)
    return lower(Node(prim, (x,), {}, (y,)), {x: source, y: to}, {})


def lower_copies(node: Node[Var], layouts: Mapping[Var, Layout], zero: Layout) -> list[Launch]:
    """The launches that put the output of a node together; `zero` is its zero, without axes."""
    (y,), lowering = node.outputs, node.prim.lowering
    assert isinstance(lowering, Copies), f"{node.prim} is not made of copies"
    whole = layouts[y]
    nothing = Layout(zero.base, zero.offset, (0,) * len(y.shape))
    launches: list[Launch] = []
    for i, starts, steps in lowering.parts(*(x.shape for x in node.inputs), **node.attrs):
        source, spec = (nothing, y.spec) if i is None else (
            layouts[node.inputs[i]], node.inputs[i].spec)
        to = slice_layout(spec.shape, whole.offset, whole.strides, starts=starts, steps=steps)
        launches += lower_copy(source, Layout(whole.base, *to), spec)
    return launches


@dataclass(frozen=True, slots=True)
class _Operand:
    """A value of the shape of the loops, in memory."""

    pointer: str
    value: Var       # in the body
    base: Pointer
    strides: Strides


class _Kernel:
    """What the three forms share: operands, loops and the body of the innermost one."""

    def __init__(self, node: Node[Var], prim: Fused, layouts: Mapping[Var, Layout],
                 in_place: Mapping[Var, Var]) -> None:
        self.prim = prim
        self.body = text.Body(prim)
        folds = {n.outputs[0]: (a, n) for a, n in self.body.folds()}
        pairs = zip(prim.body.inputs, node.inputs, strict=True)
        self.inputs = [_operand(f"x{i}", v, layouts[outer]) for i, (v, outer) in enumerate(pairs)]
        pointer_of = dict(zip(node.inputs, self.inputs, strict=True))
        self.outputs: list[_Operand] = []
        self.results: list[Result] = []
        for i, (v, outer) in enumerate(zip(prim.body.outputs, node.outputs, strict=True)):
            made = _operand(f"y{i}", v, layouts[outer])
            if v in folds:
                self.results.append(Result(*folds[v], made.base))
            elif outer in in_place:
                over = pointer_of[in_place[outer]]
                self.outputs.append(_Operand(over.pointer, v, over.base, over.strides))
            else:
                self.outputs.append(made)
        self.operands = list({o.pointer: o for o in (*self.inputs, *self.outputs)}.values())
        strides = [o.strides for o in self.operands]
        self.space = space_of(prim.space, prim.axes or (), strides)
        self.source = Source(prim.name)
        for o in self.operands:
            self.source.pointer(o.pointer, o.value.dtype, o.base)

    # ---- the forms

    def map(self) -> list[Launch]:
        space = self.space
        if not space.outer:
            return self._launches(self._inner({}, "range(start, stop)"), space.inner.extent, 1)
        offsets, lines = self._offsets("row", space.outer, 0, {})
        loop = self._inner(offsets, f"range({self._n})")
        body = ["for row in range(start, stop):", [*lines, *loop]]
        return self._launches(body, count(space.outer), space.inner.extent)

    def tiles(self) -> list[Launch]:
        """As map, but a few rows are walked together, so that what lies side by side across them
        is in the cache: 12x faster for the transpose of f32[1024,1024]."""
        space = self.space
        parts = -(-count(space.middle) // _TILE[0])
        offsets, lines = self._offsets("row", space.outer, 0, {})
        block = f"range(first, minimum(first + {_TILE[1]}, {self._n}))"
        loops = self._middle(offsets, lambda at: self._inner(at, block), self._part(_TILE[0]))
        body = ["for item in range(start, stop):",
                [*self._split(parts), *lines,
                 f"for first in range(0, {self._n}, {_TILE[1]}):", loops]]
        return self._launches(body, count(space.outer) * parts, _TILE[0] * space.inner.extent)

    def rows(self) -> list[Launch]:
        space = self.space
        if not space.outer:
            return self._everything()
        offsets, lines = self._offsets("row", space.outer, 0, {})
        loops = self._middle(offsets, self._blocks)
        stores = [f"{self._result(r)}[row] = {r.finished(r.settled)}" for r in self.results]
        body = ["for row in range(start, stop):", [*lines, *self._starts(), *loops, *stores]]
        return self._launches(body, count(space.outer), count(space.middle) * space.inner.extent)

    def _everything(self) -> list[Launch]:
        """A reduction over all axes, in chunks."""
        space = self.space
        if space.middle:
            rows = max(1, _CHUNK // max(1, space.inner.extent))
            chunks = -(-count(space.middle) // rows)
            loops = self._middle({}, self._blocks, self._part(rows))
        else:
            chunks = -(-space.inner.extent // _CHUNK)
            loops = self._blocks({}, f"part * {_CHUNK}", f"part * {_CHUNK} + {_CHUNK}")
        partial = self._scratches(chunks)
        stores = [f"s{i}[part] = {r.settled}" for i, r in enumerate(self.results)]
        body = ["for part in range(start, stop):", [*self._starts(), *loops, *stores]]
        combined = [combine_all(r, s, chunks)
                    for r, s in zip(self.results, partial, strict=True)]
        return [*self._launches(body, chunks, _CHUNK), *combined]

    def columns(self) -> list[Launch]:
        space = self.space
        width, outer = space.inner.extent, count(space.outer)
        rows = min(_ROWS, max(16, 2 * _CHUNK // max(1, width)))
        parts = max(1, -(-count(space.middle) // rows))
        partial = self._scratches(outer * parts * width)
        offsets, lines = self._offsets("row", space.outer, 0, {})
        clear = [f"for i in range({self._n}):",
                 [f"s{k}[first + i] = {r.start}" for k, r in enumerate(self.results)]]
        loops = self._middle(offsets, lambda at: self._inner(at, f"range({self._n})"),
                             self._part(rows))
        body = ["for item in range(start, stop):",
                [*self._split(parts), f"first = item * {self._n}", *lines, *clear, *loops]]
        combined = [combine_columns(r, s, (outer, parts, width))
                    for r, s in zip(self.results, partial, strict=True)]
        return [*self._launches(body, outer * parts, rows * width), *combined]

    # ---- their parts

    @property
    def _n(self) -> str:
        return self.source.number("n", self.space.inner.extent)

    def _result(self, result: Result) -> str:
        return self.source.pointer(f"r{result.accumulator}", result.value.dtype, result.to)

    def _launches(self, body: Lines, extent: int, elements: int) -> list[Launch]:
        work = elements * self.body.work()
        return [self.source.launch(body, extent, work)] if extent else []

    def _scratches(self, elements: int) -> list[Scratch]:
        """Memory for so many accumulators of each result, as parameters s0, s1, ..."""
        made = []
        for i, result in enumerate(self.results):
            made.append(Scratch(i, max(1, elements) * result.dtype.itemsize))
            self.source.pointer(f"s{i}", result.dtype, Pointer(made[-1]))
        return made

    def _starts(self) -> list[str]:
        return [line for r in self.results for line in r.starts]

    def _split(self, parts: int) -> list[str]:
        """The lines that find the row and the part of it that a work item is."""
        if not self.space.outer:
            return ["part = item"]
        each = self.source.number("parts", parts)
        return [f"row = item // {each}", f"part = item % {each}"]

    def _part(self, rows: int) -> str:
        each = self.source.number("rows", rows)
        total = self.source.number("m", count(self.space.middle))
        return f"range(part * {each}, minimum(part * {each} + {each}, {total}))"

    def _middle(self, offsets: Offsets, inside: Callable[[Offsets], Lines],
                over: str | None = None) -> Lines:
        """The reduced loops around the innermost one, as one."""
        middle = self.space.middle
        if not middle:
            return inside(offsets)
        over = over or f"range({self.source.number('m', count(middle))})"
        offsets, lines = self._offsets("step", middle, len(self.space.outer), offsets)
        return [f"for step in {over}:", [*lines, *inside(offsets)]]

    def _offsets(self, index: str, axes: Sequence[Axis], first: int,
                 before: Offsets) -> tuple[Offsets, list[str]]:
        """Where each operand stands at step `index` of the loops `axes` run as one, and the lines
        that find it out; `first` numbers the loops."""
        if not axes:
            return before, []
        lines, indices, rest = [], [index], index
        for k in range(first + len(axes) - 1, first, -1):
            n = self.source.number(f"n{k}", axes[k - first].extent)
            lines += [f"i{k} = {rest} % {n}", f"rest{k} = {rest} // {n}"]
            rest = f"rest{k}"
            indices[:1] = [rest, f"i{k}"]
        offsets = {}
        for o, operand in enumerate(self.operands):
            name = operand.pointer
            steps = [before[name]] if before else []
            for k, (i, axis) in enumerate(zip(indices, axes, strict=True), first):
                steps.append(f"{i} * {self.source.number(f'{name}_s{k}', axis.strides[o])}")
            offsets[name] = f"{name}_{index}"
            lines.append(f"{offsets[name]} = {' + '.join(steps)}")
        return offsets, lines

    def _blocks(self, offsets: Offsets, start: str = "0", stop: str | None = None) -> Lines:
        """The innermost loop, or a part of it, in runs that are added up each on its own."""
        inner = [f"c{r.accumulator}" for r in self.results]
        end = self._n if stop is None else f"minimum({stop}, {self._n})"
        run = f"range(block, minimum(block + {_RUN}, {self._n}))"
        return [f"for block in range({start}, {end}, {_RUN}):",
                [*[f"{c} = {r.start}" for c, r in zip(inner, self.results, strict=True)],
                 *self._inner(offsets, run, inner),
                 *[r.taking_in(c) for c, r in zip(inner, self.results, strict=True)]]]

    def _inner(self, offsets: Offsets, over: str,
               accumulators: Sequence[str] | None = None) -> Lines:
        """The innermost loop: loads, the body, stores, reductions."""
        places = {o.pointer: self._element(i, o, offsets.get(o.pointer))
                  for i, o in enumerate(self.operands)}
        fixed: list[str] = []
        moving: list[str] = []
        for operand in self.inputs:
            place = places[operand.pointer]
            loaded = place if self._copies else text.load(place, operand.value.dtype)
            line = f"{self.body.name(operand.value)} = {loaded}"
            (moving if _moves(place) else fixed).append(line)
        computed = list(self.body.lines())
        stores = [f"{places[o.pointer]} = {self._stored(o.value)}" for o in self.outputs]
        totals = accumulators or self._totals()
        taken = [f"{a} = {r.combined(a, self.body.name(r.node.inputs[0]))}"
                 for a, r in zip(totals, self.results, strict=True)]
        return [*fixed, f"for i in {over}:", [*moving, *computed, *stores, *taken]]

    @property
    def _copies(self) -> bool:
        """Whether elements are only moved, as they are in memory."""
        return not self.prim.body.nodes

    def _stored(self, v: Var) -> str:
        name = self.body.name(v)
        return name if self._copies else text.stored(name, v.dtype)

    def _totals(self) -> list[str]:
        if self.space.form == "columns":
            return [f"s{k}[first + i]" for k in range(len(self.results))]
        return [r.accumulator for r in self.results]

    def _element(self, index: int, operand: _Operand, offset: str | None) -> str:
        stride = self.space.inner.strides[index]
        step = {0: None, 1: "i"}.get(stride, "")
        if step == "":
            step = f"i * {self.source.number(f'{operand.pointer}_s', stride)}"
        return f"{operand.pointer}[{' + '.join(filter(None, (offset, step))) or '0'}]"


def _operand(pointer: str, v: Var, layout: Layout) -> _Operand:
    base = Pointer(layout.base, layout.offset * v.dtype.itemsize)
    return _Operand(pointer, v, base, layout.strides)


def _moves(place: str) -> bool:
    """Whether an element depends on the innermost loop."""
    return re.search(r"\bi\b", place) is not None
