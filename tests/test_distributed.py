"""Collectives as ops, data parallelism, and what happens when a real process dies."""
import time

import numpy as np
import pytest

import tapeflow as tf
import tapeflow.distributed as D
from ranks import check_job, run_job
from tapeflow.distributed.strategy import buckets
from tapeflow.errors import ArgumentError, DTypeError, ShapeError, StateError


@pytest.mark.parametrize("collective", [
    D.all_reduce, D.broadcast, D.all_gather, D.reduce_scatter,
    lambda x: D.all_reduce(x, op="max")])
def test_at_size_1_a_collective_is_the_identity(collective):
    x = tf.asarray(np.arange(6, dtype=np.float32).reshape(3, 2))
    assert collective(x).numpy().tolist() == x.numpy().tolist()
    assert (D.rank(), D.size(), D.local_rank()) == (0, 1, 0)
    D.barrier()


@pytest.mark.parametrize("op", ["sum", "mean"])
def test_a_gradient_passes_through_an_all_reduce(op):
    g = tf.grad(lambda x: tf.sum(D.all_reduce(x * x, op=op)))(tf.asarray([1.0, 3.0]))
    assert g.numpy().tolist() == [2, 6]


@pytest.mark.parametrize(("call", "error", "why"), [
    (lambda: D.all_reduce([1.0], op="median"), ArgumentError, "no such reduction"),
    (lambda: D.all_reduce([1], op="mean"), DTypeError, "a mean of these"),
    (lambda: D.broadcast([1.0], root=1), ArgumentError, "no such rank"),
    (lambda: D.all_gather(1.0), ShapeError, "no axis"),
    (lambda: tf.grad(lambda x: tf.sum(D.all_reduce(x, op="max")))(tf.ones(1)), ArgumentError,
     "no derivative"),
    (lambda: D.DataParallel(None, compression="top-k"), ArgumentError, "no compression yet"),
])
def test_senseless_calls_say_why(call, error, why):
    with pytest.raises(error, match=why):
        call()


def test_a_rank_that_has_not_joined_is_told_to(monkeypatch):
    D.shutdown()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(StateError, match=r"call tf.distributed.init\(\) first"):
        D.all_reduce([1.0])


def test_buckets_hold_one_dtype_and_begin_with_the_last():
    half = 9 << 20
    tensors = [tf.asarray(np.zeros(n // np.dtype(t).itemsize, t)) for n, t in (
        (8, "f4"), (half, "f4"), (half, "f4"), (8, "f8"), (8, "f4"))]
    assert buckets(tensors) == [[4, 2, 1], [3], [0]]


def test_collectives_of_real_ranks_have_derivatives(tmp_path):
    check_job(tmp_path, """
        import numpy as np
        import tapeflow as tf
        import tapeflow.distributed as D
        D.init()
        x = tf.asarray(np.arange(4.0) + 10 * D.rank())
        assert D.all_reduce(x, op="prod").numpy()[0] == 0
        assert D.all_gather(x).numpy().tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
        assert D.reduce_scatter(x).numpy().tolist() == ([10, 12], [14, 16])[D.rank()]
        weights = tf.asarray(np.arange(8.0) * (D.rank() + 1))
        g = tf.grad(lambda x: tf.sum(D.all_gather(x) * weights))(x)
        assert g.numpy().tolist() == ([0, 3, 6, 9], [12, 15, 18, 21])[D.rank()], g
        g = tf.grad(lambda x: tf.sum(D.broadcast(x, root=1)))(x)
        assert g.numpy().tolist() == [2.0 * D.rank()] * 4, g
        """)


def test_a_rank_killed_while_all_reduce_runs_is_named_by_all(tmp_path):
    start = time.monotonic()
    ends = run_job(tmp_path, """
        import os, signal, threading, time
        import numpy as np
        import tapeflow.distributed as D
        D.init()
        if D.rank() == 1:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
        big = np.ones(1_000_000)
        while True:
            D.all_reduce(big)
        """, size=3)
    assert time.monotonic() - start < 10
    assert [code for code, *_ in ends] == [1, -9, 1]
    for rank in (0, 2):
        assert "DistributedError: all_reduce mean: rank 1 (pid" in ends[rank][2]
        assert "died" in ends[rank][2]
