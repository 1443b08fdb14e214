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


def test_a_loop_that_is_looked_after_gives_what_it_should() -> None:
    """Many looks, and more turns than between the first ones, change nothing."""
    result = tf.jit(lambda x: tf.while_loop(lambda s: s[0] < 1e6, lambda s: s + x, x))(
        tf.asarray([1.0, 0.5])
    )
    assert result.numpy().tolist() == [1e6, 5e5]
