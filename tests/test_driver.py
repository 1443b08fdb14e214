"""The driver: every share of every row is done once, by whichever thread comes first."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeflow_kernels import machine
from tapeflow_kernels.cpu import driver

Word = ctypes.c_int64
# Adds 1 to elements start to stop - 1 of the array that the argument block names.
COUNT = """
define void @count_items(i64 %start, i64 %stop, ptr %args) {
  %p = load ptr, ptr %args
  br label %head
head:
  %i = phi i64 [ %start, %0 ], [ %next, %body ]
  %more = icmp slt i64 %i, %stop
  br i1 %more, label %body, label %end
body:
  %at = getelementptr i64, ptr %p, i64 %i
  %old = load i64, ptr %at
  %new = add i64 %old, 1
  store i64 %new, ptr %at
  %next = add i64 %i, 1
  br label %head
end:
  ret void
}
"""
# Writes to element `start` which thread's stack it runs on, once two of them are here.
WHERE = """
define void @note_stack(i64 %start, i64 %stop, ptr %args) {
  %here = alloca i64
  %word = ptrtoint ptr %here to i64
  %out = load ptr, ptr %args
  %at = getelementptr i64, ptr %out, i64 %start
  store i64 %word, ptr %at
  %came = getelementptr i64, ptr %out, i64 4
  %before = atomicrmw add ptr %came, i64 1 acq_rel
  br label %wait
wait:
  %looks = phi i64 [ 0, %0 ], [ %looks.next, %wait ]
  %looks.next = add i64 %looks, 1
  %now = load atomic i64, ptr %came acquire, align 8
  %both = icmp uge i64 %now, 2
  %enough = icmp uge i64 %looks.next, 2000000000
  %go = or i1 %both, %enough
  br i1 %go, label %end, label %wait
end:
  ret void
}
"""


@pytest.fixture(scope="module")
def kernel() -> int:
    return machine.load(machine.assemble(COUNT), ["count_items"])["count_items"]


@pytest.fixture(scope="module")
def functions() -> dict[str, ctypes._CFuncPtr]:
    at = machine.load(machine.assemble(driver.source()), driver.SYMBOLS)
    words = {"tapeflow_run": 4, "tapeflow_work": 3, "tapeflow_bind": 5, "tapeflow_call": 1}
    return {name: ctypes.CFUNCTYPE(Word, *[Word] * n)(at[name]) for name, n in words.items()}


@contextmanager
def helping(
    functions: dict[str, ctypes._CFuncPtr], pool: np.ndarray, helpers: int
) -> Iterator[None]:
    """Threads that look for work until the block ends."""
    over = threading.Event()

    def live(thread: int) -> None:
        while not over.is_set():
            functions["tapeflow_work"](pool.ctypes.data, 100, thread)

    threads = [threading.Thread(target=live, args=(i + 1,)) for i in range(helpers)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def pool_of(threads: int) -> np.ndarray:
    pool = np.zeros(driver.POOL_WORDS, np.int64)
    pool[driver.THREADS_WORD] = threads
    return pool


@settings(deadline=None, max_examples=25)
@given(
    rows=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 50)), min_size=1, max_size=12),
    helpers=st.integers(0, 3),
    threads=st.integers(1, 6),
    repeats=st.integers(1, 20),
)
def test_every_item_of_every_row_is_done_once_a_run(
    kernel: int,
    functions: dict[str, ctypes._CFuncPtr],
    rows: list[tuple[int, int]],
    helpers: int,
    threads: int,
    repeats: int,
) -> None:
    counts = [np.zeros(extent + 1, np.int64) for extent, _ in rows]
    blocks = np.array([c.ctypes.data for c in counts], np.int64)
    table = np.array(
        [
            [kernel, blocks.ctypes.data + 8 * i, extent, share]
            for i, (extent, share) in enumerate(rows)
        ],
        np.int64,
    )
    pool = pool_of(threads)
    with helping(functions, pool, helpers):
        for _ in range(repeats):
            functions["tapeflow_run"](table.ctypes.data, 0, len(rows), pool.ctypes.data)
    for count in counts:
        assert (count[:-1] == repeats).all()
        assert count[-1] == 0


def test_each_thread_begins_with_the_same_shares_in_every_run(
    functions: dict[str, ctypes._CFuncPtr],
) -> None:
    note = machine.load(machine.assemble(WHERE), ["note_stack"])["note_stack"]
    pool, seen = pool_of(2), set()
    with helping(functions, pool, 1):
        for _ in range(20):
            found = np.zeros(5, np.int64)
            block = np.array([found.ctypes.data], np.int64)
            table = np.array([[note, block.ctypes.data, 4, 1]], np.int64)
            functions["tapeflow_run"](table.ctypes.data, 0, 1, pool.ctypes.data)
            first_of_each = found[0], found[2]
            seen.add(first_of_each[0] < first_of_each[1])
            assert abs(first_of_each[0] - first_of_each[1]) > 1 << 16
    assert len(seen) == 1


def test_a_row_runs_without_a_pool(kernel: int, functions: dict[str, ctypes._CFuncPtr]) -> None:
    count = np.zeros(10, np.int64)
    block = np.array([count.ctypes.data], np.int64)
    table = np.array([[kernel, block.ctypes.data, 10, 3]], np.int64)
    functions["tapeflow_run"](table.ctypes.data, 0, 1, 0)
    assert (count == 1).all()


def test_bind_writes_addresses_with_their_offsets(functions: dict[str, ctypes._CFuncPtr]) -> None:
    arrays = [np.zeros(4), np.zeros(3, np.float32)]
    triples = np.array([[1, 0, 4], [0, 2, 0]], np.int64)
    block = np.zeros(3, np.int64)
    assert (
        functions["tapeflow_bind"](id(arrays), 2, triples.ctypes.data, 2, block.ctypes.data) == -1
    )
    assert block.tolist() == [arrays[1].ctypes.data + 4, 0, arrays[0].ctypes.data]


@pytest.mark.parametrize(
    "unfit", [np.zeros((4, 4)).T, np.zeros(9)[::2], np.zeros(17, np.uint8)[1:9].view(np.float64)]
)
def test_bind_names_the_array_that_is_not_contiguous_or_aligned(
    functions: dict[str, ctypes._CFuncPtr], unfit: np.ndarray
) -> None:
    arrays = [np.zeros(4), unfit]
    block = np.zeros(1, np.int64)
    assert functions["tapeflow_bind"](id(arrays), 2, block.ctypes.data, 0, block.ctypes.data) == 1
