"""Program: a plan as a table of kernels in memory, and calls of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from tapeflow import config
from tapeflow.errors import TapeflowError
from tapeflow.graph import Var, run_node
from tapeflow.jit import places, workers
from tapeflow.jit.control.holder import Holder
from tapeflow.jit.kernel import Layout
from tapeflow.jit.memory import Outputs
from tapeflow.jit.plan import HostStep, Kernels, Plan, Step
from tapeflow.jit.plan import plan as make_plan
from tapeflow.jit.shortage import shortage
from tapeflow.jit.table import Table
from tapeflow.jit.trace import Ordered
from tapeflow.tensor import Array
from tapeflow_kernels import memory
from tapeflow_kernels.cpu import driver

_TRIAL = 5e-4  # seconds of repetitions that are timed as one
_REPEATS = 200  # at most, so that what writes over its own input stays near it


class Program:
    """Machine code for a plan. A call takes the arrays of the graph's inputs and gives those of its
    outputs; inputs that the plan updates are written over."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        start = time.perf_counter()
        self._driver = workers.compiled_driver()
        self._lock = threading.Lock()
        try:
            self._arena = memory.empty((max(plan.arena_bytes, memory.ALIGNMENT),), np.uint8)
            self._outputs = [Outputs(v.shape, v.dtype) for v in plan.fresh]
        except MemoryError as error:
            raise shortage(plan) from error
        self._roots = {v: i for i, v in enumerate((*plan.graph.inputs, *plan.fresh))}
        self._blank: list[Array | None] = [None] * len(self._roots)
        self._slots = list(self._blank)
        self._returns = [self._return_of(v) for v in plan.graph.outputs]
        self._table = Table(plan, int(self._arena.ctypes.data))
        triples = [(self._roots[of], word, add) for of, word, add in self._table.holes]
        self._triples = np.array(triples or [(0, 0, 0)], np.int64)
        self._segments = self._split_at_host_steps()
        self._threads = 0
        self._state = np.zeros(8, np.int64)
        self._state_address = int(self._state.ctypes.data)
        self.compile_seconds = time.perf_counter() - start

    # ---- building

    def _return_of(self, v: Var) -> tuple[int, tuple[int, ...] | None]:
        """The slot of an output, and its shape where that is not its memory's."""
        base = self.plan.layouts[v].base
        slot = self._roots[self.plan.updated.get(base, base)]
        return slot, None if base.shape == v.shape else v.shape

    def _split_at_host_steps(self) -> list[tuple[int, int] | HostStep]:
        """Ranges of rows, and the host steps between them; empty if there are only rows."""
        segments: list[tuple[int, int] | HostStep] = []
        row = 0
        for step in self.plan.steps:
            if isinstance(step, HostStep):
                segments.append(_with_programs(step))
                continue
            last = segments[-1] if segments else None
            count = len(step.launches) if isinstance(step, Kernels) else 1
            if isinstance(last, tuple):
                segments[-1] = (last[0], row + count)
            else:
                segments.append((row, row + count))
            row += count
        return segments if any(isinstance(s, HostStep) for s in segments) else []

    def _share_out(self, threads: int) -> None:
        """Divide the rows over `threads`."""
        self._helpers = threads - 1 if self._table.share_out(threads) else 0
        self._state[:] = (
            id(self._slots),
            len(self._slots),
            self._triples.ctypes.data,
            len(self._table.holes),
            self._table.block.ctypes.data,
            self._table.rows.ctypes.data,
            len(self._table),
            0,
        )
        self._threads = threads  # last, so that an interrupt leaves nothing half done

    # ---- calling

    def __call__(self, inputs: Sequence[Array]) -> list[Array]:
        """The outputs for `inputs`, which are contiguous or else copied."""
        with self._lock:
            slots = self._filled(inputs)
            try:
                self._run()
                return [
                    slots[i] if shape is None else slots[i].reshape(shape)  # type: ignore[union-attr, misc]
                    for i, shape in self._returns
                ]
            finally:
                slots[:] = self._blank

    def _filled(self, inputs: Sequence[Array]) -> list[Array | None]:
        """The slots with these inputs, and arrays for outputs."""
        threads = config.num_threads()
        if threads != self._threads:
            self._share_out(threads)
        self._slots[:] = [*inputs, *[o.take() for o in self._outputs]]
        return self._slots

    def _run(self) -> None:
        if self._table.watch is not None:
            self._table.watch.start()
        if self._segments:
            self._run_segments()
        else:
            self._with_workers(self._run_rows)

    def _with_workers(self, run: Callable[[int], object]) -> None:
        if self._helpers:
            workers.pool().lend(self._helpers, run)
        else:
            run(0)

    def _run_rows(self, pool: int) -> None:
        if pool != self._state[7]:
            self._state[7] = pool
        while (unfit := self._driver.call(self._state_address)) >= 0:
            self._make_contiguous(unfit)
        self._end(unfit)

    def _end(self, said: int) -> None:
        """Raise what stopped a run of which the driver said this, if anything did."""
        if said != driver.STOPPED:
            return
        for node, *extrema in [*self._table.refused()]:
            run_node(node, map(np.array, (extrema, *extrema)))  # raises
        if self._table.watch is not None:
            raise self._table.watch.stopped()

    def _make_contiguous(self, slot: int) -> None:
        self._slots[slot] = memory.copy(self._slots[slot])  # type: ignore[arg-type]

    def _bind(self) -> None:
        while (unfit := self._driver.bind(*map(int, self._state[:5]))) >= 0:
            self._make_contiguous(unfit)

    def _run_segments(self) -> None:
        self._bind()
        for segment in self._segments:
            if isinstance(segment, HostStep):
                self._run_on_host(segment)
            else:
                self._with_workers(partial(self._run_range, segment))

    def _run_range(self, segment: tuple[int, int], pool: int) -> None:
        rows = int(self._table.rows.ctypes.data)
        self._end(self._driver.run(rows, *segment, pool))

    # ---- timing

    def time_steps(self, inputs: Sequence[Array]) -> list[float | None]:
        """Seconds of each step of the plan, run alone a few times; inputs that the plan updates are
        written over, as by one call. None for a step with effects, which must not happen, and for
        those on the host and loops behind it, whose inputs are then none."""
        found: list[float | None] = []
        with self._lock:
            try:
                self._filled(inputs)
                self._bind()
                workers.pool().lend(
                    self._helpers, lambda pool: found.extend(self._timed(pool))
                )
            finally:
                self._slots[:] = self._blank
        return found

    def _timed(self, pool: int) -> Iterator[float | None]:
        row, has_inputs = 0, True
        on_host = (s for s in self._segments if isinstance(s, HostStep))
        for step in self.plan.steps:
            run: Callable[[int], object]
            if isinstance(step, HostStep):
                run = partial(self._repeat_on_host, next(on_host))
                has_inputs = has_inputs and not isinstance(step.node.prim, Ordered | Holder)
                is_safe = has_inputs
            else:
                count = len(step.launches) if isinstance(step, Kernels) else 1
                run = partial(self._repeat_rows, pool, self._table.rows[row : row + count])
                row += count
                at_places = places.goes_by_indices(step.node)
                is_safe = has_inputs or (isinstance(step, Kernels) and not at_places)
            yield self._time_step(step, run) if is_safe else None

    def _time_step(self, step: Step, run: Callable[[int], object]) -> float:
        """Seconds of one of `run`'s repetitions; what is written over an input is so once."""
        written = [self._array(v) for v in step.node.outputs if v in self.plan.updated]
        before = [memory.copy(a) for a in written]

        def again(count: int) -> float:
            for array, held in zip(written, before, strict=True):
                array[...] = held
            start = time.perf_counter()
            run(count)
            return (time.perf_counter() - start) / count

        count = max(1, min(_REPEATS, int(_TRIAL / max(again(1), 1e-9))))
        median = sorted(again(count) for _ in range(3))[1]
        again(1)
        return median

    def _repeat_rows(self, pool: int, rows: Array, count: int) -> None:
        repeated = np.tile(rows, (count, 1))
        self._end(self._driver.run(int(repeated.ctypes.data), 0, len(repeated), pool))

    def _repeat_on_host(self, step: HostStep, count: int) -> None:
        for _ in range(count):
            self._run_on_host(step)

    # ---- on the host

    def _run_on_host(self, step: HostStep) -> None:
        node, prim = step.node, step.node.prim
        inputs = [self._array(v) for v in node.inputs]
        outputs = [self._array(v) for v in node.outputs]
        with np.errstate(all="ignore"):
            if prim.into is not None:
                try:
                    prim.into(outputs, *inputs, **node.attrs)
                except TapeflowError as error:
                    error.move(node.line)
                    raise
                return
            values = run_node(node, inputs)
        for output, value in zip(outputs, values, strict=True):
            output[...] = value

    def _array(self, v: Var) -> Array:
        """The value of `v` as an array in its place."""
        layout: Layout = self.plan.layouts[v]
        base = self.plan.updated.get(layout.base, layout.base)
        if base in self._roots:
            held: Array = self._slots[self._roots[base]]  # type: ignore[assignment]
        elif base in self._table.constants:
            held = self._table.constants[base]
        else:
            held = self._arena[self.plan.arena[base] :]
        size = v.dtype.itemsize
        strides = tuple(size * s for s in layout.strides)
        data = held.reshape(-1).view(np.uint8)
        return np.ndarray(v.shape, v.dtype, data, size * layout.offset, strides)


def _with_programs(step: HostStep) -> HostStep:
    """A step whose bodies, if it is a loop or branch, are programs of their own."""
    prim = step.node.prim
    if not isinstance(prim, Holder):
        return step
    programs = [Program(make_plan(graph, {})) for graph in prim.graphs]
    bodies = [partial(_called, program) for program in programs]
    return HostStep(replace(step.node, prim=prim.running(bodies)), step.inside)


def _called(program: Program, *arrays: Array) -> list[Array]:
    return program(arrays)
