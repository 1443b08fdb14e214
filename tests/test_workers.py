"""Workers of compiled programs: awake while a program may need them, asleep otherwise."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest

import tapeflow as tf
from tapeflow.jit import workers
from tapeflow.primitive import Primitive
from tapeflow.tensor import Array

TIMEOUT = 20.0


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> threading.Semaphore:
    """A release for each time that a worker has looked for work and grown tired of it."""
    seen = threading.Semaphore(0)
    work = SimpleNamespace(work=lambda *_: seen.release())
    monkeypatch.setattr(workers, "compiled_driver", lambda: work)
    return seen


def test_a_worker_that_tires_while_a_program_runs_looks_again(
    looks: threading.Semaphore,
) -> None:
    found = []
    workers.Pool().lend(1, lambda _: found.extend(looks.acquire(timeout=TIMEOUT) for _ in "abc"))
    assert found == [True, True, True]


def test_a_worker_sleeps_between_programs_and_is_woken_by_the_next(
    looks: threading.Semaphore,
) -> None:
    pool = workers.Pool()
    for _ in range(3):
        pool.lend(1, lambda _: looks.acquire(timeout=TIMEOUT))
        while looks.acquire(timeout=0.2):
            pass
        assert pool._awake == 0


def test_workers_sleep_while_a_program_waits_for_the_host() -> None:
    awake = []

    def wait(x: Array) -> Array:
        end = time.monotonic() + TIMEOUT
        while workers.pool()._awake and time.monotonic() < end:
            pass
        awake.append(workers.pool()._awake)
        return x

    waiting = Primitive(wait, lambda x: x)
    f = tf.jit(lambda x: waiting(tf.exp(x)) + tf.exp(x))
    try:
        tf.config.set_num_threads(2)
        assert (f(tf.zeros(10**6)).numpy() == 2.0).all()
    finally:
        tf.config.set_num_threads(None)
    assert awake == [0]
