"""Ring plans: all ranks in one process, no sockets."""
import queue
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeflow.distributed.ring import COMBINE, Ring, fold, ring_steps, spans

SIZES = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(size=SIZES, count=st.integers(0, 40), seed=st.integers(0, 99))
def test_every_rank_ends_with_the_sum(size, count, seed):
    values = np.random.default_rng(seed).integers(-9, 9, (size, count))
    parts = [[row[span].copy() for span in spans(count, size)] for row in values]
    for steps in zip(*(ring_steps(rank, size) for rank in range(size)), strict=True):
        sent = [parts[rank][step.send].copy() for rank, step in enumerate(steps)]
        for rank, step in enumerate(steps):
            came, ours = sent[rank - 1], parts[rank][step.receive]
            parts[rank][step.receive] = came + ours if step.combine else came
    for mine in parts:
        np.testing.assert_array_equal(np.concatenate(mine), values.sum(0))


@given(size=SIZES)
def test_what_a_rank_sends_is_what_the_next_expects(size):
    for steps in zip(*(ring_steps(rank, size) for rank in range(size)), strict=True):
        assert all(steps[rank - 1].send == step.receive for rank, step in enumerate(steps))


@given(count=st.integers(0, 1000), parts=st.integers(1, 50))
def test_spans_cover_everything_once_and_evenly(count, parts):
    cut = spans(count, parts)
    assert [i for span in cut for i in range(count)[span]] == list(range(count))
    lengths = {span.stop - span.start for span in cut}
    assert len(cut) == parts and max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("op", COMBINE)
def test_fold_joins_from_left_to_right(op):
    terms = list(np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32))
    out = np.empty(5, np.float32)
    fold(op, terms, out)
    combine = COMBINE[op]
    np.testing.assert_array_equal(out, combine(combine(terms[0], terms[1]), terms[2]))


class Queues:
    """Neighbours that talk through queues."""

    def __init__(self, queues, index):
        self.next, self.previous = queues[index], queues[index - 1]

    def send(self, part):
        self.next.put(part.copy())

    def receive(self, into, keep):
        keep(into, self.previous.get(timeout=10))

    def sent(self):
        pass


def on_a_ring(size, work):
    """work(ring) of each of `size` members, each in a thread of its own."""
    queues, results = [queue.Queue() for _ in range(size)], [None] * size

    def run(index):
        results[index] = work(Ring(index, size, Queues(queues, index)))

    threads = [threading.Thread(target=run, args=(i,)) for i in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return results


@settings(max_examples=20, deadline=None)
@given(size=SIZES, count=st.integers(0, 30), seed=st.integers(0, 99))
def test_all_reduce_gives_every_member_the_same_bits(size, count, seed):
    values = np.random.default_rng(seed).normal(size=(size, count)).astype(np.float32)

    def work(ring):
        mine = values[ring.index].copy()
        ring.all_reduce(mine, "sum")
        return mine

    results = on_a_ring(size, work)
    np.testing.assert_allclose(results[0], values.sum(0), rtol=1e-4, atol=1e-5)
    assert all(np.array_equal(mine, results[0]) for mine in results)


@settings(max_examples=20, deadline=None)
@given(size=SIZES, root=st.integers(0, 8), count=st.integers(0, 5))
def test_broadcast_reaches_every_member(size, root, count):
    root %= size

    def work(ring):
        mine = np.full(count, ring.index)
        ring.broadcast(mine, root)
        return mine

    assert all(mine.tolist() == [root] * count for mine in on_a_ring(size, work))


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 4), min_size=1, max_size=6))
def test_all_gather_collects_blocks_of_any_length(lengths):
    def work(ring):
        blocks = [np.full(n, ring.index if i == ring.index else -1) for i, n in enumerate(lengths)]
        ring.all_gather(blocks)
        return np.concatenate(blocks)

    want = np.repeat(np.arange(len(lengths)), lengths)
    for got in on_a_ring(len(lengths), work):
        np.testing.assert_array_equal(got, want)
