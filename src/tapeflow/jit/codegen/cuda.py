"""CUDA kernels of Fused nodes: the bodies of the CPU's kernels, in loops for many threads.

    map       a thread takes every n-th element of all
    rows      a block takes a part of a row, in turns, and halves what its threads hold
    columns   a thread takes a part of a column, beside the threads of the next ones

Parts of a reduction go to memory and are reduced in a second stage. How many there are depends on
sizes alone, so that results do not depend on the GPU. Numba's simulator runs the same kernels.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tapeflow.graph import Graph, Node, Var
from tapeflow.jit.codegen import text
from tapeflow.jit.codegen.source import Lines, Source
from tapeflow.jit.codegen.space import Axis, count, space_of
from tapeflow.jit.kernel import Code, Layout, Pointer
from tapeflow.jit.passes.fused import Fused
from tapeflow.ops.shape import contiguous
from tapeflow.primitive import Fold

THREADS = 128
_MOST_BLOCKS = 4096   # of a map; its threads take further elements in turn
_ROWS_AT_ONCE = 1024  # blocks of a reduction that keep a GPU busy
_PART = 16            # elements that a thread takes in, at least, before there are more parts


@dataclass(frozen=True, slots=True)
class Grid:
    """One launch: `code` by so many blocks of THREADS threads."""

    code: Code
    arguments: tuple[Pointer | int, ...]
    blocks: int


def lower(node: Node[Var], layouts: Mapping[Var, Layout]) -> list[Grid]:
    """The launches that compute the outputs of a Fused node, each in memory of its own.

    Pointers to values that are neither inputs nor outputs are memory for parts.
    """
    assert isinstance(node.prim, Fused), f"{node.prim} is not fused"
    kernel = _Kernel(node, node.prim, layouts)
    forms = {"rows": kernel.rows, "columns": kernel.columns}
    return [grid for grid in forms.get(kernel.space.form, kernel.map)() if grid.blocks]


class _Kernel:
    """One Fused node: operands with their strides, loops, and the text of one element."""

    def __init__(self, node: Node[Var], prim: Fused, layouts: Mapping[Var, Layout]) -> None:
        self.body = text.Body(prim, cast="biuf")
        self.folds = [(f"a{i}", fold) for i, (_, fold) in enumerate(self.body.folds())]
        outer = dict(zip(prim.body.outputs, node.outputs, strict=True))
        results = {fold.outputs[0] for _, fold in self.folds}
        self.stored = [v for v in outer if v not in results]
        self.results = [outer[fold.outputs[0]] for _, fold in self.folds]
        inputs = zip(prim.body.inputs, node.inputs, strict=True)
        places = [(v, layouts[outside]) for v, outside in inputs]
        places += [(v, Layout(outer[v], 0, contiguous(v.shape))) for v in self.stored]
        self.operands = {v: f"p{i}" for i, (v, _) in enumerate(places)}
        self.space = space_of(prim.space, prim.axes or (), [at.strides for _, at in places])
        self.loops = [*self.space.outer, *self.space.middle, self.space.inner]
        self.source = Source(f"cuda_{prim.name}")
        for (v, at), pointer in zip(places, self.operands.values(), strict=True):
            start = Pointer(at.base, at.offset * v.dtype.itemsize)
            self.source.pointer(pointer, v.dtype, start)

        self.partial: list[Var] = []

    # ---- the three forms

    def map(self) -> list[Grid]:
        size = count(self.loops)
        return [self._over_items(size, [*self._split("item", self.loops), *self._element()])]

    def rows(self) -> list[Grid]:
        kept, length = count(self.space.outer), count(self._reduced)
        most = max(1, _ROWS_AT_ONCE // max(1, kept))
        parts, part = _parts(length, THREADS * _PART, most)
        each = self.source.number("parts", parts)
        first, last = self._range(part, "cuda.blockIdx.x % parts", length)
        steps = f"range({first} + cuda.threadIdx.x, {last}, {THREADS})"
        body: Lines = [
            f"row = cuda.blockIdx.x // {each}", *self._split("row", self.space.outer),
            *self._starts(),
            f"for step in {steps}:", [*self._split("step", self._reduced), *self._element()],
            *self._halved(),
            "if cuda.threadIdx.x == 0:", self._ends("cuda.blockIdx.x", "s{}[0]", parts)]
        grids = [self._grid(body, kept * parts)]
        return grids + self._second_stage((kept, parts), 1)

    def columns(self) -> list[Grid]:
        kept, length = count(self.space.outer), count(self._reduced)
        width = self.space.inner.extent
        most = max(1, _ROWS_AT_ONCE * THREADS // max(1, kept * width))
        parts, part = _parts(length, _PART, most)
        each, n = self.source.number("parts", parts), self.source.number("width", width)
        first, last = self._range(part, "rest % parts", length)
        body: Lines = [
            f"column = item % {n}", f"rest = item // {n}", f"row = rest // {each}",
            *self._split("row", self.space.outer), *self._starts(),
            f"for step in range({first}, {last}):",
            [*self._split("step", self._reduced), *self._element()],
            *self._ends("item", "a{}", parts)]
        grids = [self._over_items(kept * parts * width, body)]
        return grids + self._second_stage((kept, parts, width), 1)

    # ---- their parts

    @property
    def _reduced(self) -> list[Axis]:
        return [axis for axis in self.loops if axis.reduced]

    def _grid(self, body: Lines, blocks: int) -> Grid:
        launch = self.source.launch(body, blocks, 1)
        lines = launch.code.text.replace("(start, stop, ", "(", 1)
        code = Code("python", launch.code.symbol, lines, launch.code.parameters)
        return Grid(code, launch.arguments, blocks)

    def _over_items(self, size: int, body: Lines) -> Grid:
        """Threads take the items in turn."""
        items = f"range(cuda.grid(1), {self.source.number('size', size)}, cuda.gridsize(1))"
        return self._grid([f"for item in {items}:", body], min(_MOST_BLOCKS, -(-size // THREADS)))

    def _split(self, index: str, axes: Sequence[Axis]) -> list[str]:
        """Lines that give the index of each of `axes` from that of all of them as one loop."""
        lines, rest = [], index
        for axis in reversed(axes[1:]):
            k = self._number(axis)
            n = self.source.number(f"n{k}", axis.extent)
            lines += [f"i{k} = {rest} % {n}", f"rest{k} = {rest} // {n}"]
            rest = f"rest{k}"
        return [*lines, *(f"i{self._number(axis)} = {rest}" for axis in axes[:1])]

    def _number(self, axis: Axis) -> int:
        return next(k for k, other in enumerate(self.loops) if other is axis)

    def _element(self) -> list[str]:
        """Loads, the body, stores and reductions of one element."""
        places = dict(zip(self.operands, map(self._place, range(len(self.operands))), strict=True))
        loads = [f"{self.body.name(v)} = {text.load(place, v.dtype)}"
                 for v, place in places.items() if v in self.body.prim.body.inputs]
        lines = [*loads, *self.body.lines()]
        lines += [f"{places[v]} = {self.body.name(v)}" for v in self.stored]
        for a, fold in self.folds:
            lines.append(f"{a} = {_combined(fold, a, self.body.name(fold.inputs[0]))}")
        return lines

    def _place(self, operand: int) -> str:
        pointer = list(self.operands.values())[operand]
        steps = []
        for k, axis in enumerate(self.loops):
            index = "column" if axis is self.space.inner and not self._is_split(axis) else f"i{k}"
            stride = axis.strides[operand]
            if stride:
                by = "" if stride == 1 else f" * {self.source.number(f'{pointer}_s{k}', stride)}"
                steps.append(f"{index}{by}")
        return f"{pointer}[{' + '.join(steps) or '0'}]"

    def _is_split(self, axis: Axis) -> bool:
        """Whether the index of an axis is found by _split(); that of a column is known."""
        return axis.reduced or not self.folds

    def _range(self, part: int, which: str, length: int) -> tuple[str, str]:
        """Where part `which` of a reduction of `length` elements begins and ends."""
        size, all_ = self.source.number("part", part), self.source.number("length", length)
        return f"{which} * {size}", f"minimum({which} * {size} + {size}, {all_})"

    def _starts(self) -> list[str]:
        return [f"{a} = {text.start(_lowering(fold), fold.outputs[0].dtype)}"
                for a, fold in self.folds]

    def _halved(self) -> Lines:
        """What the threads of a block hold, combined in shared memory in pairs."""
        lines: list[str | Lines] = []
        step: list[str] = []
        for i, (a, fold) in enumerate(self.folds):
            name = fold.outputs[0].dtype.name
            mine, other = f"s{i}[cuda.threadIdx.x]", f"s{i}[cuda.threadIdx.x + far]"
            lines += [f"s{i} = cuda.shared.array({THREADS}, {name})", f"{mine} = {a}"]
            step.append(f"{mine} = {_combined(fold, mine, other)}")
        return [*lines, "cuda.syncthreads()", f"far = {THREADS // 2}", "while far > 0:",
                ["if cuda.threadIdx.x < far:", step, "cuda.syncthreads()", "far //= 2"]]

    def _ends(self, place: str, held: str, parts: int) -> list[str]:
        """The accumulators written as results, or as parts of them."""
        lines = []
        for i, (_, fold) in enumerate(self.folds):
            value, dtype = held.format(i), fold.outputs[0].dtype
            to = self.results[i]
            if parts > 1:
                to = Var(f"{to.name}_parts", (), dtype)
                self.partial.append(to)
            else:
                value = f"{dtype.name}({text.finished(_lowering(fold), dtype, value)})"
            lines.append(f"{self.source.pointer(f'r{i}', dtype, Pointer(to))}[{place}] = {value}")
        return lines

    def _second_stage(self, shape: tuple[int, ...], axis: int) -> list[Grid]:
        """The launches that reduce the parts of each result, if there are several."""
        grids = []
        for (_, fold), to, parts in zip(self.folds, self.results, self.partial, strict=False):
            x = Var("parts", shape, parts.dtype)
            y = Var("whole", shape[:axis] + shape[axis + 1:], parts.dtype)
            body = Graph("combine", (x,), (Node(fold.prim, (x,), {"axes": (axis,)}, (y,)),), (y,))
            node = Node(Fused(body, shape, (axis,)), (x,), {}, (to,))
            grids += lower(node, {x: Layout(parts, 0, contiguous(shape))})
        return grids


def _lowering(fold: Node[Var]) -> Fold:
    assert isinstance(fold.prim.lowering, Fold)
    return fold.prim.lowering


def _combined(fold: Node[Var], a: str, x: str) -> str:
    dtype = fold.outputs[0].dtype
    return f"{dtype.name}({text.combined(_lowering(fold), dtype, a, x)})"


def _parts(length: int, least: int, most: int) -> tuple[int, int]:
    """Into how many parts to divide a reduction, and of what size."""
    parts = max(1, min(most, length // least))
    return parts, -(-length // parts)
