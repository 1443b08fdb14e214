"""Table: the launches of a plan as rows for the driver, with blocks of arguments in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tapeflow.graph import Node, Var
from tapeflow.jit import cache, places, workers
from tapeflow.jit.kernel import ENDS, Launch, Pointer, Scratch
from tapeflow.jit.nest import Nest, Part
from tapeflow.jit.plan import Kernels, Plan
from tapeflow.jit.watch import FIRST, Watch
from tapeflow.tensor import Array
from tapeflow_kernels import memory
from tapeflow_kernels.cpu import driver

_LOOP, _BRANCH = 15, 9  # words of a nest's block before its pointers


class Hole(NamedTuple):
    """A word of the block that takes the address of a value from outside, and bytes to add."""

    of: Var
    word: int
    add: int


class Table:
    """The rows of a plan whose arena begins at this address. `holes` are to be filled in before
    they run; those of bodies are filled in by the driver. `watch` is what may stop its loops, None
    where it has none; a body has that of its table, and may be a turn of a loop."""

    def __init__(
        self, plan: Plan, arena: int, watch: Watch | None = None, is_turn: bool = False
    ) -> None:
        self._plan, self._arena, self.watch, self._is_turn = plan, arena, watch, is_turn
        self.constants = {v: memory.copy(a) for v, a in plan.graph.constants.items()}
        self._addresses = cache.addresses(launch.code for launch in plan.launches)
        self._launches: list[Launch | None] = []  # None for a nest
        self._words: list[int] = []
        self._inner: list[Table] = []
        self._questions: list[tuple[Node[Var], int]] = []  # and where their arguments begin
        self._kept: list[Array] = []  # what addresses in words point to
        self.holes: list[Hole] = []
        rows: list[tuple[int, int]] = []
        for i, step in enumerate(plan.steps):
            if isinstance(step, Kernels):
                rows += [self._launch(i, launch) for launch in step.launches]
            elif isinstance(step, Nest):
                rows.append(self._nest(i, step))
        self.block = np.array([*self._words, 0], np.int64)
        self.rows = np.zeros((max(len(rows), 1), driver.ROW), np.int64)
        for row, launch, (kernel, first) in zip(self.rows, self._launches, rows, strict=False):
            extent = launch.extent if launch else -1
            row[:] = (kernel, self.block.ctypes.data + 8 * first, extent, extent)

    def __len__(self) -> int:
        return len(self._launches)

    def share_out(self, threads: int) -> bool:
        """Divide the rows over `threads`; whether there is anything to divide."""
        for row, launch in zip(self.rows, self._launches, strict=False):
            if launch is not None:
                even = -(-launch.extent // (threads * launch.shares))
                share = launch.extent if threads == 1 else max(launch.grain, even, 1)
                row[3] = max(share, -(-launch.extent // driver.MAX_SHARES))
        inner = [table.share_out(threads) for table in self._inner]
        return bool((self.rows[:, 3] < self.rows[:, 2]).any()) or any(inner)

    def refused(self) -> Iterator[tuple[Node[Var], int, int]]:
        """The nodes that ended the program for an index, with the lowest and the highest."""
        for node, first in self._questions:
            found = places.answer(self.block, first)
            if found is not None:
                yield node, *found
        for table in self._inner:
            yield from table.refused()

    def _launch(self, step: int, launch: Launch) -> tuple[int, int]:
        """The kernel of a row, and where its arguments begin."""
        first = len(self._words)
        self._launches.append(launch)
        if launch.extent == ENDS:
            self._questions.append((self._plan.steps[step].node, first))
        for argument in launch.arguments:
            self._append(step, argument)
        return self._addresses[launch.code], first

    def _append(self, step: int, argument: Pointer | int) -> None:
        word, of = self._argument(step, argument)
        if of is not None:
            self.holes.append(Hole(of, len(self._words), word))
        self._words.append(word)

    def _argument(self, step: int, argument: Pointer | int) -> tuple[int, Var | None]:
        """A word of the block, and the value from outside whose address is to be added."""
        if not isinstance(argument, Pointer):
            return argument, None
        of = argument.of
        if isinstance(of, Scratch):
            return self._arena + self._plan.arena[step, of] + argument.offset, None
        base = self._plan.updated.get(of, of)
        if base in self.constants:
            return int(self.constants[base].ctypes.data) + argument.offset, None
        if base in self._plan.arena:
            return self._arena + self._plan.arena[base] + argument.offset, None
        return argument.offset, base

    # ---- loops and branches

    def _nest(self, i: int, nest: Nest) -> tuple[int, int]:
        first = len(self._words)
        self._launches.append(None)
        arena, _ = self._argument(i, nest.pointers[-1])
        self.watch = self.watch or Watch()
        is_turn = self._is_turn or not nest.is_branch
        tables = [Table(part.plan, arena, self.watch, is_turn) for part in nest.parts]
        self._inner += tables
        head = _BRANCH if nest.is_branch else _LOOP
        patches = [
            _patches(table, part, head) for table, part in zip(tables, nest.parts, strict=True)
        ]
        self._append(i, nest.pointers[nest.flag])
        if nest.is_branch:
            for table, found in zip(tables, patches, strict=True):
                self._words += [*table._span(), self._keep(found), len(found)]
        else:
            self._words += self._loop(nest, tables, [p for found in patches for p in found])
            self._words += [self.watch.address, 0 if self._is_turn else FIRST]
        for pointer in nest.pointers:
            self._append(i, pointer)
        run = workers.compiled_driver()
        return run.branch if nest.is_branch else run.loop, first

    def _loop(
        self, nest: Nest, tables: Sequence[Table], patches: Sequence[Sequence[int]]
    ) -> list[int]:
        """The words of a loop's block between its flag and its pointers."""
        fixed = [p for p in patches if not _moves(p)]
        test = tables[1]._span() if nest.turns < 0 else (0, 0)
        start, step = (nest.turns - 1, -1) if nest.is_reverse else (0, 1)
        copies = [(_LOOP + to, _LOOP + source, n) for to, source, n in nest.last]
        return [
            *tables[0]._span(),
            *test,
            nest.turns,
            start,
            step,
            self._keep([*fixed, *filter(_moves, patches)]),
            len(fixed),
            len(patches),
            self._keep(copies),
            len(copies),
        ]

    def _span(self) -> tuple[int, int]:
        """The address of the rows, and their number."""
        return int(self.rows.ctypes.data), len(self)

    def _keep(self, words: Sequence[Sequence[int]]) -> int:
        """The address of these words, which stay as long as the table."""
        self._kept.append(np.array([n for row in words for n in row] or [0], np.int64))
        return int(self._kept[-1].ctypes.data)


def _patches(table: Table, part: Part, head: int) -> list[tuple[int, int, int, int, int]]:
    """How the driver fills the holes of a body: see `place` in its text."""
    found = []
    for of, word, add in table.holes:
        place = part.places[of]
        to = int(table.block.ctypes.data) + 8 * word
        found.append((to, head + place.even, head + place.odd, add, place.stride))
    return found


def _moves(patch: Sequence[int]) -> bool:
    """Whether a patch differs from turn to turn."""
    _, even, odd, _, stride = patch
    return even != odd or stride != 0
