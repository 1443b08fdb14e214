"""Ctrl-C, and other signals, while Numba is imported and while loops run as machine code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import tapeflow as tf
from tapeflow.errors import OutOfRangeError
from tapeflow.jit import workers
from tapeflow.jit.interrupts import held_back

PROGRAM = """
import os, signal, sys, threading
import tapeflow as tf

def interrupt():
    while sys.argv[1] not in sys.modules:
        pass
    os.kill(os.getpid(), signal.SIGINT)

f = tf.jit(lambda x: tf.exp(x) * 2.0 + 1.0)
threading.Thread(target=interrupt).start()
try:
    f(tf.zeros(3))
except KeyboardInterrupt:
    print("interrupted")
print(f(tf.zeros(3)).tolist())
"""


@pytest.mark.skipif(os.name != "posix", reason="sends itself SIGINT")
@pytest.mark.parametrize("importing", ["numba.core", "numba.core.typing"])
def test_an_interrupt_while_numba_is_imported_leaves_a_compiler_that_works(
    tmp_path: Path, importing: str
) -> None:
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, importing],
        env={**os.environ, "TAPEFLOW_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout == "interrupted\n[3.0, 3.0, 3.0]\n", said.stderr


def test_an_interrupt_is_delivered_once_what_it_waits_for_is_done() -> None:
    done: list[str] = []
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done == ["all of it"] and signal.getsignal(signal.SIGINT) is handler


def test_another_thread_leaves_the_handler_alone() -> None:
    seen: list[object] = []

    def work() -> None:
        with held_back():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]


@contextmanager
def handler_of_alarm(seconds: float) -> Iterator[None]:
    """A handler that raises once this time has passed; its own kind of error shows that it is that
    one which comes through."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError("rang")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _endless(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda s: tf.sum(s) < 100.0, lambda s: s * 1.0, x)


def _short(x: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda s: tf.sum(s) < 3e5, lambda s: s + 1.0, x)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="sets an alarm")
@pytest.mark.parametrize(
    "loop",
    [
        _endless,
        lambda x: tf.scan(lambda c, v: (_endless(c), v), x, tf.ones(1000))[0],
        lambda x: tf.while_loop(lambda s: tf.sum(_endless(s)) < 100.0, lambda s: s, x),
        lambda x: tf.cond(tf.sum(x) < 100.0, _endless, lambda v: v, x),
        lambda x: _endless(_short(x) * 0.0),
        lambda x: _endless(tf.sort(x)),
    ],
    ids=["alone", "in a loop", "in a test", "in a branch", "behind a loop", "behind a host step"],
)
def test_a_signal_ends_a_compiled_loop_before_anything_behind_it(
    loop: Callable[[tf.Tensor], tf.Tensor],
) -> None:
    v = tf.Variable([1.0, 2.0])

    @tf.jit
    def step(x: tf.Tensor, is_wanted: bool) -> tf.Tensor:
        v.assign(loop(x) if is_wanted else x)
        return v * 2.0

    step.lower(tf.ones(2), True)
    with pytest.raises(TimeoutError, match="rang"), handler_of_alarm(0.2):
        step(tf.ones(2), True)
    assert v.numpy().tolist() == [1.0, 2.0]
    assert step(tf.ones(2) * 200.0, False).numpy().tolist() == [400.0, 400.0]
    with pytest.raises(TimeoutError, match="rang"), handler_of_alarm(0.2):
        step(tf.ones(2), True)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="sets an alarm")
@pytest.mark.parametrize("loop", [_endless, lambda x: tf.cond(x[0] < 2.0, _endless, _short, x)])
def test_what_is_assigned_before_a_loop_that_is_ended_stays_as_it_was(
    loop: Callable[[tf.Tensor], tf.Tensor],
) -> None:
    v = tf.Variable([1.0, 2.0])

    @tf.jit
    def step(x: tf.Tensor) -> tf.Tensor:
        v.assign_add(x)
        return loop(x)

    step(tf.ones(2) * 5e5)
    before = v.numpy().tolist()
    for _ in range(2):
        with pytest.raises(TimeoutError, match="rang"), handler_of_alarm(0.1):
            step(tf.ones(2))
        assert v.numpy().tolist() == before


def test_a_run_that_raises_gives_the_workers_back() -> None:
    pool = workers.Pool()
    seen: list[int] = []

    def run(address: int) -> None:
        seen.append(address)
        if len(seen) == 1:
            pool.lend(0, run)
            raise TimeoutError("rang")

    for _ in range(2):
        with pytest.raises(TimeoutError, match="rang"):
            pool.lend(0, run)
        assert seen == [pool.address, 0]
        seen.clear()


def test_what_is_assigned_before_an_error_stays_as_it_was() -> None:
    v = tf.Variable([1.0, 2.0])

    @tf.jit
    def step(x: tf.Tensor, i: tf.Tensor) -> tf.Tensor:
        v.assign_add(x)
        return tf.take(x, i)

    step(tf.ones(2), tf.asarray([0]))
    with pytest.raises(OutOfRangeError, match="index 5"):
        step(tf.ones(2), tf.asarray([5]))
    assert v.numpy().tolist() == [2.0, 3.0]


def test_a_loop_that_is_looked_after_gives_what_it_should() -> None:
    """Many looks, and more turns than between the first ones, change nothing."""
    result = tf.jit(lambda x: tf.while_loop(lambda s: s[0] < 1e6, lambda s: s + x, x))(
        tf.asarray([1.0, 0.5])
    )
    assert result.numpy().tolist() == [1e6, 5e5]


STEP = """
import os, random, signal, sys, threading, time
import numpy as np
import tapeflow as tf

tf.config.set_num_threads(2)
w = tf.Variable(np.ones((300, 300), np.float32) / 300.0)
count = tf.Variable(0.0)

@tf.jit
def step(x):
    count.assign_add(1.0)
    h = tf.tanh(x @ w)
    h, _ = tf.scan(lambda c, r: (tf.sin(c) + r, 0.0), h, tf.ones((40, 1)))
    h = tf.take(h, tf.asarray([0, 1]), axis=0)
    g = tf.tanh(x.T @ (x @ w))
    w.assign_sub(g * 1e-4)
    return tf.sum(h) + tf.sum(w.value)

x = tf.ones((300, 300))
step(x)
before = time.perf_counter()
step(x)
one = time.perf_counter() - before
ran = random.Random(1)
here = threading.main_thread().ident
came = 0
for turn in range(100):
    delay = ran.uniform(0.0, 8.0 * one)
    timer = threading.Timer(delay, signal.pthread_kill, (here, signal.SIGINT))
    try:
        timer.start()
        while timer.is_alive():
            step(x)
        time.sleep(0.05)
    except KeyboardInterrupt:
        came += 1
    timer.join()
# what comes now runs as ever, in this thread and in another
w.assign(np.ones((300, 300), np.float32) / 300.0)
found = []
other = threading.Thread(target=lambda: found.append(float(step(x))))
other.start(); other.join(20)
w.assign(np.ones((300, 300), np.float32) / 300.0)
found.append(float(step(x)))
print(came, found[0] == found[1])
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="sends itself SIGINT")
def test_a_hundred_interrupts_at_any_moment_leave_programs_that_run(tmp_path: Path) -> None:
    said = subprocess.run(
        [sys.executable, "-c", STEP],
        env={**os.environ, "TAPEFLOW_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout == "100 True\n", said.stderr
