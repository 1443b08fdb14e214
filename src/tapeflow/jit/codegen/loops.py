"""Loops over elements as Python text: what a fused node becomes.

Axes that lie one behind the other in every operand are walked as one. The loop nest is one of two:
where the innermost axis is kept, the outputs are written element by element and reductions (over
outer axes) gather in their outputs, a row at a time; where it is reduced, each reduction is a number
until its loops end. Extents and strides are arguments: only the number of axes, the dtypes and
whether the innermost stride is 1 or 0 are in the text, so that another batch size needs no new code.
"""
from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapeflow.dtypes import SHORT, is_floating
from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.codegen import expressions
from tapeflow.jit.kernel import Code, Launch, Layout, Pointer, Scratch
from tapeflow.jit.passes.fuse import Fused, is_fold
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import REGISTRY, Fold

_CHUNK = 16384          # elements whose sum is one partial result of a reduction of everything
_WORTH_A_THREAD = 60_000   # simple operations that take about 10 us
_COLUMNS = 64           # columns that are one work item


@dataclass(frozen=True)
class Axis:
    """A loop: how many steps, how far each operand moves in one, and whether it is reduced."""

    extent: int
    strides: tuple[int, ...]
    is_folded: bool


@dataclass(frozen=True)
class Operand:
    """A value in memory that a kernel reads or writes."""

    name: str
    kind: str              # element type, `f32`
    pointer: Pointer


def lower(node: Node[Var], layouts: Mapping[Var, Layout], updated: Mapping[Var, Var]) -> list[Launch]:
    """The launches of a fused node; `updated` maps outputs to the inputs that they overwrite."""
    assert isinstance(node.prim, Fused)
    if not math.prod(node.prim.shape) and node.prim.fold_axes is None:
        return []
    return _Nest(node, node.prim.body, layouts, updated).launches()


class _Nest:
    """One fused node on its way to text."""

    def __init__(self, node: Node[Var], body: Graph, layouts: Mapping[Var, Layout],
                 updated: Mapping[Var, Var]) -> None:
        assert isinstance(node.prim, Fused)
        self.body, self.layouts, self.updated = body, layouts, updated
        self.folds = [n for n in body.nodes if is_fold(n)]
        self.folded = {n.outputs[0] for n in self.folds}
        shape, axes = node.prim.shape, node.prim.fold_axes or ()
        self.values = [*body.inputs, *(v for v in body.outputs if v not in body.inputs)]
        strides = [self._strides(v, shape, axes) for v in self.values]
        self.axes = _collapsed([Axis(n, tuple(s[a] for s in strides), a in axes)
                                for a, n in enumerate(shape)])

    def _strides(self, v: Var, shape: tuple[int, ...], axes: Sequence[int]) -> tuple[int, ...]:
        """How far apart the elements of `v` lie along each axis of the loop."""
        own = self.layouts[v].strides if v in self.layouts else contiguous(v.shape)
        if v not in self.folded:
            return own
        kept = iter(own)
        return tuple(0 if a in axes else next(kept) for a in range(len(shape)))

    def launches(self) -> list[Launch]:
        if self.folds and all(axis.is_folded for axis in self.axes):
            return self._reduce_everything()
        operands = [self._operand(v) for v in self.values]
        if self.folds and self.axes[-1].is_folded:
            return [self._rows(operands)]
        return [self._columns(operands)]

    def _operand(self, v: Var) -> Operand:
        layout = self.layouts[v]
        base = self.updated.get(layout.base, layout.base)
        return Operand(self._name(v), SHORT[v.dtype], Pointer(base, layout.offset * v.dtype.itemsize))

    def _name(self, v: Var) -> str:
        """Equal structures get equal names: values are numbered."""
        source = self.updated.get(v, v)
        return f"p{self.values.index(source if source in self.values else v)}"

    # ---- the innermost axis is kept

    def _columns(self, operands: list[Operand]) -> Launch:
        """Elements in order; reductions over outer axes gather in their outputs."""
        axes = self.axes or [Axis(1, (0,) * len(operands), False)]
        outer = [a for a in axes[:-1] if not a.is_folded]
        folded = [a for a in axes[:-1] if a.is_folded]
        last = axes[-1]
        text = _Text(self.values, operands, last)
        split = not outer   # the work items are blocks of the innermost axis, not rows
        text.open(outer, split)
        if folded:
            text.line("for j in range(first, last):")
            for n in self.folds:
                text.line(f"    {text.element(n.outputs[0])} = {expressions.start(n)}")
            text.loops(folded)
        text.line("for j in range(first, last):")
        text.deeper()
        self._body(text, lambda n, x: text.line(
            f"{text.element(n.outputs[0])} = {expressions.combined(n, text.element(n.outputs[0]), x)}"))
        if folded and any(expressions.finish(n) for n in self.folds):
            text.finish([(text.element(n.outputs[0]), n) for n in self.folds])
        width = _COLUMNS if folded and split else 1
        items = math.prod(a.extent for a in outer) if outer else -(-last.extent // width)
        per_item = math.prod(a.extent for a in axes) // max(items, 1)
        return self._launch(text, [*outer, *folded], last, items, per_item, width)

    # ---- the innermost axis is reduced

    def _rows(self, operands: list[Operand]) -> Launch:
        """One number of each reduction for every combination of the kept axes."""
        outer = [a for a in self.axes if not a.is_folded]
        folded = [a for a in self.axes[:-1] if a.is_folded]
        last = self.axes[-1]
        text = _Text(self.values, operands, last)
        text.open(outer, split=False)
        self._accumulate(text, folded)
        items = math.prod(a.extent for a in outer)
        per_item = math.prod(a.extent for a in self.axes) // max(items, 1)
        return self._launch(text, [*outer, *folded], last, items, per_item, 1)

    def _accumulate(self, text: _Text, folded: Sequence[Axis]) -> None:
        for i, n in enumerate(self.folds):
            text.line(f"a{i} = {expressions.start(n)}")
        depth = text.depth
        text.loops(folded)
        text.line("for j in range(first, last):")
        text.deeper()
        numbers = {n.outputs[0]: f"a{i}" for i, n in enumerate(self.folds)}
        self._body(text, lambda n, x: text.line(
            f"{numbers[n.outputs[0]]} = {expressions.combined(n, numbers[n.outputs[0]], x)}"))
        text.back_to(depth)
        for i, n in enumerate(self.folds):
            finished = (expressions.finish(n) or "{a}").format(a=f"a{i}", t=expressions.cast_name(n.outputs[0]))
            text.line(f"{text.place(n.outputs[0])} = {finished}")

    def _reduce_everything(self) -> list[Launch]:
        """Partial results of chunks, in fixed places, then all of them in order."""
        axes = self.axes
        if len(axes) == 1:
            extent, strides = axes[0].extent, axes[0].strides
            chunks = Axis(-(-extent // _CHUNK), tuple(s * _CHUNK for s in strides), False)
            axes = [chunks, Axis(min(_CHUNK, extent), strides, True)]
        outer, folded, last = axes[0], axes[1:-1], axes[-1]
        scratch = {v: Scratch(i, max(outer.extent, 1) * v.dtype.itemsize)
                   for i, v in enumerate(n.outputs[0] for n in self.folds)}
        single = outer.extent == 1
        operands = [Operand(f"p{i}", SHORT[v.dtype], Pointer(scratch[v]))
                    if v in scratch and not single else self._operand(v) for i, v in enumerate(self.values)]
        spaced = [Axis(outer.extent, tuple(1 if v in scratch else s for v, s in
                                           zip(self.values, outer.strides, strict=True)), False)]
        text = _Text(self.values, operands, last)
        text.open(spaced, split=False, total=len(self.axes) == 1)
        self._accumulate(text, folded)
        per_item = math.prod(a.extent for a in (*folded, last))
        first = self._launch(text, [*spaced, *folded], last, outer.extent, per_item, 1,
                             total=self.axes[0].extent if len(self.axes) == 1 else None)
        return [first] if single else [first, *(self._gather(n, Pointer(scratch[n.outputs[0]]), outer.extent)
                                                for n in self.folds)]

    def _gather(self, n: Node[Var], partial: Pointer, count: int) -> Launch:
        v = n.outputs[0]
        lines = ["    for i in range(start, stop):", f"        a = {expressions.start(n)}",
                 "        for j in range(n):", f"            a = {expressions.combined_plainly(n, 'a', 'p0[j]')}",
                 "        p1[0] = " + (expressions.finish(n) or "{a}").format(a="a", t=expressions.cast_name(v))]
        kind = f"{SHORT[v.dtype]}*"
        code = _code(["p0", "p1", "n"], [kind, kind, "i64"], lines)
        return Launch(code, (partial, Pointer(self.layouts[v].base), count), 1, 1)

    # ---- common to all

    def _body(self, text: _Text, fold: object) -> None:
        """The ops on one element, stores of outputs, and `fold(node, element)` of reductions."""
        names: dict[Var, str] = {v: expressions.literal(a, v) for v, a in self.body.constants.items()}
        for v in self.body.inputs:
            if v in self.used:
                names[v] = text.load(v)
        for n in self.body.nodes:
            v = n.outputs[0]
            if n.prim is REGISTRY["broadcast_to"]:
                names[v] = names[n.inputs[0]]
            elif is_fold(n):
                fold(n, names[n.inputs[0]])   # type: ignore[operator]
            else:
                names[v] = f"v{len(names)}"
                for line in expressions.statements(n, names[v], [names[x] for x in n.inputs]):
                    text.line(line)
        for v in self.body.outputs:
            if v not in self.folded and v not in self.body.inputs:
                text.line(f"{text.element(v)} = {expressions.stored(v, names[v])}")

    @property
    def used(self) -> set[Var]:
        return {v for n in self.body.nodes for v in n.inputs} | set(self.body.outputs)

    def _launch(self, text: _Text, outer: Sequence[Axis], last: Axis, items: int, per_item: int,
                width: int, total: int | None = None) -> Launch:
        names, kinds, arguments = text.signature(outer, last, width, total)
        work = per_item * sum(expressions.cost(n) for n in self.body.nodes)
        grain = max(1, min(items, -(-_WORTH_A_THREAD // max(work, 1))))
        return Launch(_code(names, kinds, text.lines), arguments, items, grain)


class _Text:
    """Lines of a function as they are written, and what each operand is called in them."""

    def __init__(self, values: Sequence[Var], operands: Sequence[Operand], last: Axis) -> None:
        self.values, self.operands, self.last = list(values), list(operands), last
        self.lines: list[str] = []
        self.depth = 1
        self.levels = 0
        self.starts = ["0"] * len(self.values)   # where each operand stands when the loops are entered

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text)

    def deeper(self) -> None:
        self.depth += 1

    def back_to(self, depth: int) -> None:
        self.depth = depth

    def open(self, outer: Sequence[Axis], split: bool, total: bool = False) -> None:
        """The loop over work items: rows, or if `split` blocks of the innermost axis."""
        if split:
            self.line("first = start * width")
            self.line("last = min(stop * width, n)")
            return
        self.line("for i in range(start, stop):")
        self.deeper()
        self.line("first = 0")
        self.line("last = min(n, total - i * n)" if total else "last = n")
        rest = "i"
        for level in reversed(range(len(outer))):
            if level:
                self.line(f"i{level} = {rest} % n{level}")
                self.line(f"r{level} = {rest} // n{level}")
                rest = f"r{level}"
            else:
                self.line(f"i0 = {rest}")
        for level in range(len(outer)):
            self._advance(level, f"i{level}")
        self.levels = len(outer)

    def loops(self, axes: Sequence[Axis]) -> None:
        for _ in axes:
            level = self.levels
            self.line(f"for i{level} in range(n{level}):")
            self.deeper()
            self._advance(level, f"i{level}")
            self.levels += 1

    def _advance(self, level: int, index: str) -> None:
        """Names for where each operand stands at this step of a loop."""
        for k in range(len(self.values)):
            here = f"o{k}_{level}"
            before = self.starts[k]
            self.line(f"{here} = {'' if before == '0' else before + ' + '}{index} * s{k}_{level}")
            self.starts[k] = here

    def place(self, v: Var) -> str:
        """The element where the operand stands."""
        k = self.values.index(v)
        return f"{self.operands[k].name}[{self.starts[k]}]"

    def element(self, v: Var) -> str:
        """The element at step `j` of the innermost loop."""
        k = self.values.index(v)
        stride = self.last.strides[k]
        step = {0: "", 1: "j"}.get(stride, f"j * t{k}")
        index = " + ".join(part for part in (self.starts[k] if self.starts[k] != "0" else "", step) if part)
        return f"{self.operands[k].name}[{index or '0'}]"

    def load(self, v: Var) -> str:
        name = f"x{self.values.index(v)}"
        self.line(f"{name} = {expressions.loaded(v, self.element(v))}")
        return name

    def finish(self, results: Sequence[tuple[str, Node[Var]]]) -> None:
        """Bring reductions that gathered in memory to their end, after all loops but the first."""
        self.depth = 1 if self.lines[0].startswith("    first") else 2
        self.line("for j in range(first, last):")
        for element, n in results:
            text = (expressions.finish(n) or "{a}").format(a=element, t=expressions.cast_name(n.outputs[0]))
            self.line(f"    {element} = {text}")

    def signature(self, outer: Sequence[Axis], last: Axis, width: int,
                  total: int | None) -> tuple[list[str], list[str], tuple[Pointer | int, ...]]:
        """Names, types and values of the parameters: pointers, extents, strides."""
        pointers = {o.name: o for o in self.operands}
        names = [*pointers, "n", "width", "total", *(f"n{i}" for i in range(len(outer)))]
        values: list[Pointer | int] = [*(o.pointer for o in pointers.values()), last.extent, width,
                                       total or 0, *(a.extent for a in outer)]
        kinds = [f"{o.kind}*" for o in pointers.values()] + ["i64"] * (3 + len(outer))
        for k in range(len(self.values)):
            for level, axis in enumerate(outer):
                names.append(f"s{k}_{level}")
                values.append(axis.strides[k])
            if last.strides[k] not in (0, 1):
                names.append(f"t{k}")
                values.append(last.strides[k])
        kinds += ["i64"] * (len(names) - len(kinds))
        return names, kinds, tuple(values)


def _collapsed(axes: list[Axis]) -> list[Axis]:
    """Neighbouring axes of one kind joined where every operand walks on from one into the next."""
    joined: list[Axis] = []
    for axis in (a for a in axes if a.extent != 1):
        last = joined[-1] if joined else None
        if last and last.is_folded == axis.is_folded and all(
                s == t * axis.extent for s, t in zip(last.strides, axis.strides, strict=True)):
            joined[-1] = Axis(last.extent * axis.extent, axis.strides, axis.is_folded)
        else:
            joined.append(axis)
    if not joined and axes:   # one element: keep an axis, so that what is reduced is known
        joined.append(max(axes, key=lambda a: a.is_folded))
    return joined


def _code(names: Sequence[str], kinds: Sequence[str], lines: Sequence[str]) -> Code:
    body = "\n".join(lines)
    head = ", ".join(["start", "stop", *names])
    digest = hashlib.sha256(f"{head}\n{kinds}\n{body}".encode()).hexdigest()[:12]
    return Code("python", f"loop_{digest}", f"def loop_{digest}({head}):\n{body}\n", tuple(kinds))


def lower_copy(source: Layout, x: Var, target: Var) -> list[Launch]:
    """Launches that write the elements of `x`, which lie as `source` says, into `target` in order."""
    copy = Node(REGISTRY["positive"], (x,), {}, (target,))
    body = Graph("copy", (x,), (copy,), (target,))
    layouts = {x: source, target: Layout(target, 0, contiguous(target.shape))}
    return lower(Node(Fused(body), (x,), {}, (target,)), layouts, {})


COPY = REGISTRY["positive"]
_ = (Fold, is_floating)
