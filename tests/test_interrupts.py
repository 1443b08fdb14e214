"""Ctrl-C while Numba is imported: it comes through, later, and compiling still works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

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
