"""Result: a reduction as kernels compute it, in parts; and the launches that combine the parts."""
from __future__ import annotations

from dataclasses import dataclass

from tapeflow.dtypes import DType
from tapeflow.graph import Node, Var
from tapeflow.jit.codegen import text
from tapeflow.jit.codegen.source import Lines, Source
from tapeflow.jit.kernel import Launch, Pointer, Scratch
from tapeflow.ops.shape import wide
from tapeflow.primitive import Fold

_BLOCK = 1024      # columns that are combined as one work item


@dataclass(frozen=True, slots=True)
class Result:
    """A reduction: its accumulator, the value it takes in, where its result goes.

    The accumulator of a sum of floats keeps what rounding takes from it in a second variable.
    """

    accumulator: str
    node: Node[Var]
    to: Pointer

    @property
    def fold(self) -> Fold:
        assert isinstance(self.node.prim.lowering, Fold)
        return self.node.prim.lowering

    @property
    def value(self) -> Var:
        return self.node.outputs[0]

    @property
    def dtype(self) -> DType:
        """That of its accumulators."""
        return wide(self.value.dtype)

    @property
    def start(self) -> str:
        return text.start(self.fold, self.value.dtype)

    @property
    def starts(self) -> list[str]:
        """The lines that clear the accumulator."""
        lines = [f"{self.accumulator} = {self.start}"]
        return [*lines, f"{self._lost} = {self.start}"] if self._is_exact else lines

    def taking_in(self, x: str) -> str:
        """The line by which the accumulator takes in the result of a run."""
        a = self.accumulator
        if self._is_exact:
            return f"{a}, {self._lost} = sum_and_loss({a}, {self._lost}, {x})"
        return f"{a} = {self.combined(a, x)}"

    @property
    def settled(self) -> str:
        """What the accumulator holds."""
        a = self.accumulator
        return f"with_loss({a}, {self._lost})" if self._is_exact else a

    def finished(self, a: str) -> str:
        return text.stored(text.finished(self.fold, self.value.dtype, a), self.value.dtype)

    def combined(self, a: str, x: str) -> str:
        return text.combined(self.fold, self.value.dtype, a, x)

    @property
    def _is_exact(self) -> bool:
        return text.is_sum(self.fold, self.value.dtype)

    @property
    def _lost(self) -> str:
        return f"e{self.accumulator}"


def combine_all(result: Result, partial: Scratch, parts: int) -> Launch:
    """The launch that combines the parts of a reduction over everything."""
    source = Source(f"combine_{result.node.prim.name}")
    s = source.pointer("s", result.dtype, Pointer(partial))
    y, n = source.pointer("y", result.value.dtype, result.to), source.number("n", parts)
    pair = f"{s}[part] = {result.combined(f'{s}[part]', f'{s}[part + far]')}"
    body = [f"if {n} == 0:", [f"{s}[0] = {result.start}"], *_in_pairs(n, [pair]),
            f"{y}[0] = {result.finished(f'{s}[0]')}"]
    return source.launch(body, 1, parts)


def combine_columns(result: Result, partial: Scratch, sizes: tuple[int, int, int]) -> Launch:
    """The launch that combines the parts of each column, a block of columns at a time."""
    outer, parts, width = sizes
    blocks = -(-width // _BLOCK)
    source = Source(f"combine_{result.node.prim.name}")
    s = source.pointer("s", result.dtype, Pointer(partial))
    y = source.pointer("y", result.value.dtype, result.to)
    each, many = source.number("blocks", blocks), source.number("parts", parts)
    n = source.number("n", width)
    columns = f"range(first, minimum(first + {_BLOCK}, {n}))"
    taken = result.combined(f"{s}[here + i]", f"{s}[there + i]")
    pair = [f"here = top + part * {n}", f"there = here + far * {n}",
            f"for i in {columns}:", [f"{s}[here + i] = {taken}"]]
    body = ["for item in range(start, stop):",
            [f"row = item // {each}", f"first = item % {each} * {_BLOCK}",
             f"top = row * {many} * {n}", *_in_pairs(many, pair),
             f"for i in {columns}:",
             [f"{y}[row * {n} + i] = {result.finished(f'{s}[top + i]')}"]]]
    return source.launch(body, outer * blocks, parts * _BLOCK)


def _in_pairs(parts: str, pair: Lines) -> Lines:
    """Parts combined by `pair`, each with its neighbour, then two with two, up to all of them: a
    sum of them in order would lose as many digits as there are parts."""
    return ["far = 1", f"while far < {parts}:",
            [f"for part in range(0, {parts} - far, 2 * far):", pair, "far *= 2"]]
