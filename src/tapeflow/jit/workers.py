"""The threads that help compiled programs, and the driver that they and the caller run."""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable

import numpy as np

from tapeflow.jit import cache
from tapeflow_kernels.cpu import driver

_PATIENCE = 40_000  # looks at the ticket, about 1 ms, before a worker goes to sleep
_Word = ctypes.c_int64


class Driver:
    """The driver's functions, callable from Python; they release the interpreter lock."""

    def __init__(self) -> None:
        at = cache.driver_addresses()
        self.call = _function(at["tapeflow_call"], 1, _Word)
        self.run = _function(at["tapeflow_run"], 4, _Word)
        self.bind = _function(at["tapeflow_bind"], 5, _Word)
        self.work = _function(at["tapeflow_work"], 3)
        self.loop, self.branch = at["tapeflow_loop"], at["tapeflow_branch"]  # for rows


def _function(address: int, words: int, result: type[_Word] | None = None) -> Callable[..., int]:
    return ctypes.CFUNCTYPE(result, *[_Word] * words)(address)


@functools.cache
def compiled_driver() -> Driver:
    return Driver()


class Pool:
    """Workers that spin while programs follow each other closely, and sleep in between.

    One program at a time has them: the first of `_users`, on which each step is a single one of the
    interpreter, so that an interrupt leaves nobody there. A lock could be taken and never held.
    """

    def __init__(self) -> None:
        self._users: list[object] = []
        self._words = np.zeros(driver.POOL_WORDS, np.int64)
        self._words[driver.THREADS_WORD] = 1
        self.address = int(self._words.ctypes.data)
        self._asleep = threading.Semaphore(0)
        self._counting = threading.Lock()
        self._size = self._awake = 0

    def lend(self, helpers: int, run: Callable[[int], object]) -> None:
        """Call `run` with the address of this pool and so many workers awake, or with 0 where
        another program has them."""
        user = object()
        try:
            if not self._users:
                self._users.append(user)
            if self._users[:1] == [user]:
                self._words[driver.THREADS_WORD] = min(helpers + 1, driver.MAX_THREADS)
                self.wake(helpers)
                run(self.address)
            else:
                run(0)
        finally:
            if user in self._users:
                self._users.remove(user)

    def wake(self, helpers: int) -> None:
        """Let so many workers look for work; costs an attribute read where they are awake."""
        if self._awake >= helpers:
            return
        with self._counting:
            for i in range(self._size, helpers):
                name = f"tapeflow-worker-{i}"
                threading.Thread(target=self._live, args=(i + 1,), name=name, daemon=True).start()
            self._size = max(self._size, helpers)
            for _ in range(self._awake, helpers):
                self._asleep.release()
            self._awake = max(self._awake, helpers)

    def _live(self, thread: int) -> None:
        work = compiled_driver().work
        while True:
            self._asleep.acquire()
            work(self.address, _PATIENCE, thread)
            while not self._retired():
                work(self.address, _PATIENCE, thread)

    def _retired(self) -> bool:
        """Whether a worker that found nothing to do for a while is counted out, to sleep. Not while
        a program has the pool: one that began just now took it for awake and wakes nobody, and one
        whose row takes a thread alone has further rows. Steps on the host run without it."""
        with self._counting:
            self._awake -= 1  # before the look at users: who comes after it wakes this worker
            if not self._users:
                return True
            self._awake += 1
            return False


@functools.cache
def pool() -> Pool:
    """The workers of this process."""
    return Pool()


# The threads of a pool do not survive a fork; the child makes its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=pool.cache_clear)
