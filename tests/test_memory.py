"""Memory of programs: what lives at once lies apart; dropped outputs are used again."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tapeflow as tf
from tapeflow.jit import memory as planned
from tapeflow.jit.memory import Lifetime, Outputs, ReferenceWarning, arrange, references
from tapeflow_kernels import memory

lifetimes = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 10), st.integers(0, 1000)), max_size=20
)


@settings(deadline=None)
@given(lifetimes)
def test_values_that_live_at_once_do_not_overlap(lives: list[tuple[int, int, int]]) -> None:
    given_lives = {
        i: Lifetime(first, first + length, nbytes)
        for i, (first, length, nbytes) in enumerate(lives)
    }
    offsets, total = arrange(given_lives)
    owner = np.full((32, total), -1)
    for i, life in given_lives.items():
        block = owner[life.first : life.last + 1, offsets[i] : offsets[i] + life.nbytes]
        assert (block == -1).all()
        block[...] = i


@settings(deadline=None)
@given(lifetimes)
def test_each_value_lies_as_low_as_those_before_it_allow(lives: list[tuple[int, int, int]]) -> None:
    """Against a plain search of every aligned offset, larger values first."""
    given_lives = {
        i: Lifetime(first, first + length, nbytes)
        for i, (first, length, nbytes) in enumerate(lives)
    }
    offsets, _ = arrange(given_lives)
    taken: list[tuple[Lifetime, range]] = []
    for i in sorted(given_lives, key=lambda i: (-given_lives[i].nbytes, given_lives[i].first)):
        life, bytes_ = given_lives[i], -(-given_lives[i].nbytes // 64) * 64
        beside = [r for o, r in taken if o.first <= life.last and life.first <= o.last]
        lowest = next(
            at
            for at in range(0, 64 * 1000, 64)
            if all(at + bytes_ <= r.start or r.stop <= at for r in beside)
        )
        assert offsets[i] == lowest
        taken.append((life, range(lowest, lowest + bytes_)))


def test_values_that_never_meet_share_memory() -> None:
    offsets, total = arrange({"a": Lifetime(0, 1, 1000), "b": Lifetime(2, 3, 1000)})
    assert offsets == {"a": 0, "b": 0}
    assert total == 1024


def test_an_output_is_used_again_once_it_is_dropped() -> None:
    outputs = Outputs((100_000,), np.dtype("float32"))
    first = outputs.take()
    address = first.ctypes.data
    second = outputs.take()
    assert second.ctypes.data != address
    del first
    assert outputs.take().ctypes.data == address


def test_a_view_keeps_an_output_from_being_used_again() -> None:
    outputs = Outputs((100_000,), np.dtype("float32"))
    view = outputs.take()[5:]
    assert not np.shares_memory(outputs.take(), view)


def test_references_counts_holders_of_an_array_and_of_its_memory() -> None:
    for array in (np.zeros(10), memory.empty((1000,), np.float64)):
        held = [array]
        alone = references(array)
        view = array[2:]
        assert references(array) == alone + 1
        del held, view
        assert references(array) == alone - 1


@pytest.fixture
def _counted_again() -> Iterator[None]:
    planned.counts_are_known.cache_clear()
    yield
    planned.counts_are_known.cache_clear()


@pytest.mark.usefixtures("_counted_again")
def test_a_variable_that_nobody_else_holds_is_written_in_place() -> None:
    v = tf.Variable(np.zeros(100_000, np.float32))
    step = tf.jit(lambda x: v.assign_add(x).value[0])
    step(tf.ones(100_000))
    address = v.tensor.value.ctypes.data
    step(tf.ones(100_000))
    assert v.tensor.value.ctypes.data == address
    assert planned.counts_are_known()


@pytest.mark.usefixtures("_counted_again")
@pytest.mark.parametrize("more", [-1, 1])
def test_where_references_are_counted_otherwise_all_is_copied_and_said_once(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As interpreters do that do not count the reference of a local name, or count one more."""
    count = sys.getrefcount
    monkeypatch.setattr(planned, "getrefcount", lambda x: count(x) - 1 + more)  # our own name: 1
    v = tf.Variable(np.zeros(100_000, np.float32))
    steps = [tf.jit(lambda x: v.assign_add(x).value * 2.0) for _ in range(2)]
    one, held = tf.ones(100_000), []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in (*steps, *steps):
            held += [v.value, step(one)]
    assert [w.category for w in caught] == [ReferenceWarning]
    assert [x[0].item() for x in held] == [0.0, 2.0, 1.0, 4.0, 2.0, 6.0, 3.0, 8.0]
    addresses = {x.value.ctypes.data for x in held}
    assert len(addresses) == len(held)


def test_large_arrays_start_on_a_cache_line() -> None:
    assert all(
        memory.empty((n,), np.float32).ctypes.data % memory.ALIGNMENT == 0
        for n in (256, 1000, 99_999)
    )
