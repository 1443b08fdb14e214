"""Threads and variables: no update is lost, nothing is seen half written, no wait is endless."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any

import numpy as np
import pytest

import tapeflow as tf
from tapeflow import claims

THREADS = 4


@pytest.fixture(autouse=True)
def _often_another_thread() -> Iterator[None]:
    """Threads take turns every few steps of the interpreter."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
    assert claims.standing == []


def in_threads(*works: Callable[[], object]) -> list[Any]:
    """What each gives, or raises; each in a thread of its own."""
    with ThreadPoolExecutor(len(works)) as pool:
        return [f.result(timeout=60) for f in [pool.submit(w) for w in works]]


def times(count: int, call: Callable[[], object]) -> Callable[[], None]:
    def work() -> None:
        for _ in range(count):
            call()

    return work


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end, "another thread did not do its part"


@pytest.mark.parametrize("size", [1, 50_000])
@pytest.mark.parametrize("kind", ["eager", "jit", "two programs", "recorded", "both"])
def test_no_increment_is_lost(kind: str, size: int) -> None:
    v = tf.Variable(np.zeros(size, np.float32))
    one = tf.ones(size)
    programs = [tf.jit(lambda x: v.assign_add(x).value[0]), tf.jit(lambda x: v.assign_sub(-x)[0])]

    def recorded() -> None:
        with tf.GradientTape():
            programs[0](one)

    def eager() -> None:
        v.assign_add(one)

    def compiled() -> None:
        programs[0](one)

    calls = {
        "eager": [eager] * THREADS,
        "jit": [compiled] * THREADS,
        "two programs": [compiled, lambda: programs[1](one)] * (THREADS // 2),
        "recorded": [recorded, compiled] * (THREADS // 2),
        "both": [eager, compiled, lambda: v.assign_sub(-1.0), lambda: v.assign_add(one)],
    }[kind]
    in_threads(*[times(50, call) for call in calls])
    np.testing.assert_array_equal(v.numpy(), np.full(size, 50.0 * THREADS, np.float32))


def test_a_reader_sees_no_value_half_written() -> None:
    v = tf.Variable(np.zeros(200_000, np.float32))
    step = tf.jit(lambda x: v.assign_add(x).value[0])
    one, done = tf.ones(200_000), threading.Event()

    def write() -> None:
        times(150, lambda: step(one))()
        done.set()

    def read() -> list[tuple[float, float]]:
        seen = []
        while not (done.is_set() and seen):
            held = v.value
            first = held.numpy().copy()
            seen.append((float(first.min()), float(first.max())))
            assert np.array_equal(first, held.numpy()), "a tensor that was read has changed"
        return seen

    _, seen = in_threads(write, read)
    assert seen and all(low == high for low, high in seen)
    assert seen == sorted(seen)


@pytest.mark.parametrize("kind", ["eager", "jit", "recorded"])
def test_readers_wait_for_all_that_another_thread_is_writing(kind: str) -> None:
    pair = [tf.Variable(np.zeros(3, np.float32)) for _ in range(2)]
    total = tf.jit(lambda: pair[0] + pair[1])

    def read() -> list[float]:
        if kind == "eager":
            return (pair[0].value + pair[1].value).tolist()
        with tf.GradientTape() if kind == "recorded" else nullcontext():
            return total().tolist()

    def write(claim: claims.Claim) -> None:
        reading.set()
        until(lambda: len(claims.standing) == 2)
        for v in pair:
            v.assign(tf.ones(3))

    def after() -> list[float]:
        reading.wait(20)
        return read()

    read()
    reading = threading.Event()
    written = frozenset(pair)
    _, seen = in_threads(lambda: claims.exclusively((), written, write), after)
    assert seen == [2.0] * 3


def test_an_assignment_is_not_undone_by_a_program_that_runs() -> None:
    """Whatever the order: after the last assignment only later increments count."""
    v, size = tf.Variable(np.zeros(100_000, np.float32)), 100_000
    step = tf.jit(lambda x: v.assign_add(x).value[0])
    one = tf.ones(size)
    for _ in range(10):
        v.assign(tf.zeros(size))
        in_threads(times(5, lambda: step(one)), lambda: v.assign(tf.full((size,), 1000.0)))
        assert 1000.0 <= v.numpy()[0] <= 1005.0


def test_threads_that_add_variables_to_each_others_end() -> None:
    a, b = tf.Variable(1.0), tf.Variable(1.0)

    def across(x: tf.Variable, y: tf.Variable) -> Callable[[], None]:
        return times(200, lambda: x.assign_add(y).assign_sub(y))

    assert in_threads(across(a, b), across(b, a)) == [None, None]


def test_programs_that_share_variables_in_different_orders_end() -> None:
    vs = [tf.Variable(np.zeros(10, np.float32)) for _ in range(3)]

    def program(order: list[int]) -> Any:
        def add(x: Any) -> Any:
            for i in order:
                vs[i].assign_add(x)
            return x

        return tf.jit(add)

    one = tf.ones(10)
    programs = [program(order) for order in ([0, 1, 2], [2, 1, 0], [1, 2], [2, 0])]
    in_threads(*[times(100, partial(f, one)) for f in programs])
    assert [v.numpy()[0] for v in vs] == [300.0, 300.0, 400.0]


def test_eager_draws_of_threads_are_all_different() -> None:
    g = tf.random.Generator(1)
    compiled = tf.jit(lambda: tf.random.uniform((), generator=g))
    drawn: list[float] = []
    in_threads(
        *[times(40, lambda: drawn.append(tf.random.uniform((), generator=g).item()))] * 2,
        *[times(40, lambda: drawn.append(compiled().item()))] * 2,
    )
    again = tf.random.Generator(1)
    expected = [tf.random.uniform((), generator=again).item() for _ in range(160)]
    assert sorted(drawn) == pytest.approx(sorted(expected), rel=1e-6)


def test_v_i_assigned_by_threads_loses_no_element() -> None:
    v = tf.Variable(np.zeros(THREADS, np.float32))

    def fill(i: int) -> Callable[[], None]:
        return times(50, lambda: v.__setitem__(i, float(i)))

    in_threads(*[fill(i) for i in range(THREADS)])
    assert v.numpy().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_claims_that_do_not_meet_hold_at_once() -> None:
    both = threading.Barrier(2)

    def hold(claim: claims.Claim) -> int:
        return both.wait(timeout=30)

    reads = frozenset({"shared"})
    given = in_threads(*[partial(claims.exclusively, reads, (w,), hold) for w in ("a", "b")])
    assert sorted(given) == [0, 1]


def test_claims_that_meet_take_turns_in_order() -> None:
    order: list[int] = []
    holding = threading.Event()

    def first(claim: claims.Claim) -> None:
        holding.set()
        until(lambda: len(claims.standing) == 3)
        order.append(0)

    def later(i: int) -> None:
        holding.wait()
        until(lambda: len(claims.standing) == i)
        claims.exclusively((), ("v",), lambda claim: order.append(i))

    in_threads(
        lambda: claims.exclusively((), ("v",), first), lambda: later(1), lambda: later(2)
    )
    assert order == [0, 1, 2]


def test_a_claim_inside_a_claim_goes_before_those_who_wait_for_the_outer_one() -> None:
    """What an interrupt handler does: thread 2 asks for u and v while thread 1, who has v, asks
    for u."""
    holding = threading.Event()

    def outer(claim: claims.Claim) -> str:
        holding.set()
        until(lambda: len(claims.standing) == 2)
        return claims.exclusively((), ("u",), lambda claim: "inner")

    def other() -> str:
        holding.wait()
        return claims.exclusively((), ("u", "v"), lambda claim: "other")

    assert in_threads(lambda: claims.exclusively((), ("v",), outer), other) == ["inner", "other"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_an_interrupt_at_any_moment_leaves_no_claim_behind() -> None:
    v = tf.Variable(np.zeros(8, np.float32))
    step = tf.jit(lambda x: v.assign_add(x).value.sum())
    one = tf.ones(8)
    step(one)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for i in range(300):
            with suppress(KeyboardInterrupt):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + i * 1e-7)
                for _ in range(10_000):
                    step(one)
                    v.assign_add(one)
            assert claims.standing == []
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_is_not_kept_waiting_by_threads_that_it_lacks() -> None:
    holding, ended = threading.Event(), threading.Event()

    def hold(claim: claims.Claim) -> None:
        holding.set()
        ended.wait(30)

    v = tf.Variable(1.0)
    thread = threading.Thread(target=lambda: claims.exclusively((), (v,), hold))
    thread.start()
    holding.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if float(v.assign_add(1.0)) == 2.0 else 1)
    ended.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
