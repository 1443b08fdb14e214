"""Warnings about what a trace would freeze: the clock and the random numbers of the host."""

from __future__ import annotations

import random
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from tapeflow.errors import in_package, user_frame

_CLOCKS = {time.time, time.time_ns, time.perf_counter, time.perf_counter_ns, time.monotonic}
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))


class TraceWarning(UserWarning):
    """What a compiled function does once, while it is traced, and never again."""


@contextmanager
def watched(name: str) -> Iterator[None]:
    """Inside, a host random call or a clock read by the user's code is warned of, with its line.

    NumPy's global generator makes no profile events; that it was used shows in its state, the line
    of the call of the compiled function stands for it.
    """
    found: dict[tuple[str, int], str] = {}

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and _is_users(frame.f_code.co_filename):
            what = _impure(called)
            if what:
                found.setdefault((frame.f_code.co_filename, frame.f_lineno), what)

    numpy_state, previous = _numpy_state(), sys.getprofile()
    if previous is None:
        sys.setprofile(profile)
    try:
        yield
    finally:
        if previous is None:
            sys.setprofile(None)
    place = user_frame()
    if place and _numpy_state() != numpy_state:
        found[place[:2]] = "numpy.random"
    for (filename, line), what in found.items():
        warnings.warn_explicit(
            f"{name}: {what} was called while the function was traced; every later call gets this "
            "one result. Use tf.random for random numbers, and pass times as arguments.",
            TraceWarning,
            filename,
            line,
        )


def _is_users(filename: str) -> bool:
    """Whether a file is the user's: libraries may read the clock for purposes of their own, as a
    hook of the garbage collector does."""
    return not in_package(filename) and not filename.startswith(_INSTALLED)


def _numpy_state() -> str:
    """What changes whenever NumPy's global generator is used, whichever kind it is."""
    with np.printoptions(threshold=sys.maxsize):
        return repr(np.random.get_state(legacy=False))


def _impure(called: Any) -> str | None:
    """What to call it, if a call of `called` gives another result each time."""
    if isinstance(getattr(called, "__self__", None), random.Random):
        return f"the host's random.{called.__name__}"
    try:
        return f"time.{called.__name__}" if called in _CLOCKS else None
    except TypeError:  # unhashable
        return None
