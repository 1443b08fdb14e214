"""Memory of programs: what lives at once lies apart; dropped outputs are used again."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeflow.jit.memory import Lifetime, Outputs, arrange, references
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


def test_large_arrays_start_on_a_cache_line() -> None:
    assert all(
        memory.empty((n,), np.float32).ctypes.data % memory.ALIGNMENT == 0
        for n in (256, 1000, 99_999)
    )
