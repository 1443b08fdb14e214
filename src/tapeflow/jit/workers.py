"""The threads that help compiled programs, and the driver that they and the caller run."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable

import numpy as np

from tapeflow import config
from tapeflow.jit import cache
from tapeflow_kernels.cpu import driver

_PATIENCE = 20_000  # looks at the ticket, about 1 ms, before a worker goes to sleep
_Word = ctypes.c_int64


class Driver:
    """The driver's functions, callable from Python; they release the interpreter lock."""

    def __init__(self) -> None:
        at = cache.driver_addresses()
        self.call = _function(at["tapeflow_call"], 1, _Word)
        self.run = _function(at["tapeflow_run"], 4)
        self.bind = _function(at["tapeflow_bind"], 5, _Word)
        self.work = _function(at["tapeflow_work"], 2)


def _function(address: int, words: int, result: type[_Word] | None = None) -> Callable[..., int]:
    return ctypes.CFUNCTYPE(result, *[_Word] * words)(address)


@functools.cache
def compiled_driver() -> Driver:
    return Driver()


class Pool:
    """Workers that spin while programs follow each other closely, and sleep in between.

    One program at a time has them: who does not get `lock` runs in its own thread alone.
    """

    def __init__(self, helpers: int) -> None:
        self.lock = threading.Lock()
        self._words = np.zeros(driver.POOL_WORDS, np.int64)
        self.address = int(self._words.ctypes.data)
        self._asleep = threading.Semaphore(0)
        self._awake = 0
        self._helpers = helpers
        for i in range(helpers):
            threading.Thread(target=self._live, name=f"tapeflow-worker-{i}", daemon=True).start()

    def wake(self) -> None:
        """Let every worker look for work; costs an attribute read where all are awake."""
        while self._awake < self._helpers:
            self._awake += 1
            self._asleep.release()

    def _live(self) -> None:
        work = compiled_driver().work
        while True:
            self._asleep.acquire()
            work(self.address, _PATIENCE)
            self._awake -= 1


@functools.cache
def pool(threads: int) -> Pool:
    """The workers that make `threads` together with the caller."""
    return Pool(threads - 1)


def threads() -> int:
    """How many threads programs use now."""
    return config.num_threads()


# The threads of a pool do not survive a fork; the child makes its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)
