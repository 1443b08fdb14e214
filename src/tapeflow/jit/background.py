"""Work in a thread of its own, while calls go on. It ends with the interpreter, and holds its exit
up for no longer than a step of the work takes."""

from __future__ import annotations

import atexit
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Ending(Exception):
    """The interpreter ends; what was begun is of no use to anyone."""


class _Thread:
    """A thread that does one thing after the other."""

    def __init__(self) -> None:
        self.is_ending = False
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        # a daemon, so that the interpreter comes to `_end` at all while there is work
        self._thread = threading.Thread(target=self._live, name="tapeflow-background", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._queue.put((future, work))
        return future

    def _live(self) -> None:
        while (item := self._queue.get()) is not None:
            future, work = item
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)

    def _end(self) -> None:
        self.is_ending = True
        self._queue.put(None)
        self._thread.join()


@functools.cache
def _thread() -> _Thread:
    return _Thread()


def submit(work: Callable[[], T]) -> Future[T]:
    """What `work` will give. It calls `step` between its steps."""
    return _thread().submit(work)


def step() -> None:
    """Raises: Ending if the interpreter ends."""
    if _thread().is_ending:
        raise Ending


# The thread does not survive a fork; the child makes its own.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_thread.cache_clear)
