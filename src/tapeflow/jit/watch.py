"""Watch: lets Ctrl-C, and whatever else handles a signal, end a loop that runs as machine code."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Generator

import numpy as np

FIRST = 16  # turns before the first look
_PERIOD = 0.05  # seconds between looks, which wait for the interpreter
_GROWTH = 64  # by how much turns between looks may grow at once


class Watch:
    """What the loops of a program ask from time to time: {turns until the next look, a function, of
    how many turns the last look was told}. The driver writes the first and the last, too."""

    def __init__(self) -> None:
        self._error: BaseException | None = None
        self._since = 0.0
        self._words = np.array([FIRST, 0, FIRST], np.int64)
        self._look = ctypes.CFUNCTYPE(ctypes.c_int64)(self._looks().__next__)
        self._words[1] = ctypes.cast(self._look, ctypes.c_void_p).value or 0
        self._look()  # up to the first yield
        self.address = int(self._words.ctypes.data)

    def start(self) -> None:
        """To be called before each run."""
        self._since = time.perf_counter()

    def stopped(self) -> BaseException:
        """What stopped the run."""
        error, self._error = self._error, None
        return error or KeyboardInterrupt()

    def _looks(self) -> Generator[int, None, None]:
        """How many turns to run each time; 0 to stop.

        A generator, since signals are handled as soon as Python code goes on: inside of `try` here,
        where a function would begin outside, and ctypes would drop the exception.
        """
        turns = FIRST
        while True:
            try:
                while True:
                    yield turns
                    turns = self._next_interval()
            except GeneratorExit:
                return
            except BaseException as error:  # of any kind: Program raises it behind the loop
                self._error, turns = error, 0

    def _next_interval(self) -> int:
        before = int(self._words[2])
        now = time.perf_counter()
        fit = before * _PERIOD / max(now - self._since, 1e-9)
        self._since = now
        self._words[2] = turns = int(min(max(fit, 1), before * _GROWTH))
        return turns
