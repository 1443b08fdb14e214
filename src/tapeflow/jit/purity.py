"""Warnings about what a trace would freeze: the clock and the random numbers of the host."""

from __future__ import annotations

import functools
import os
import random
import re
import sys
import sysconfig
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType, FunctionType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tapeflow.errors import in_package, user_frame

_CLOCKS = {time.time, time.time_ns, time.perf_counter, time.perf_counter_ns, time.monotonic}
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
_PACKAGES = re.compile(r"[/\\](site|dist)-packages[/\\]")  # of another environment, on the path too


if TYPE_CHECKING:  # NumPy loads numpy.random when it is first used
    _Generator: TypeAlias = np.random.Generator | np.random.RandomState


class TraceWarning(UserWarning):
    """What a compiled function does once, while it is traced, and never again."""


@contextmanager
def watched(name: str, fn: object) -> Iterator[None]:
    """Inside, a host random call or a clock read by the user's code is warned of, with its line.

    NumPy's generators make no profile events; that one was used shows in its state, the line of the
    call of the compiled function stands for it. Looked after are the global one and those that
    `fn`, what is traced, finds in its closure, its globals and its `self`.
    """
    found: dict[tuple[str, int], str] = {}
    held = {what: (rng, _state(rng)) for what, rng in _generators(fn)}

    def profile(frame: FrameType, event: str, called: Any) -> None:
        if event != "c_call":
            return
        asks = frame
        if called is os.urandom and frame.f_back and not _is_users(frame.f_code.co_filename):
            asks = frame.f_back  # of NumPy, which has no frame, and asks Python's random
        if _is_users(asks.f_code.co_filename):
            what = _impure(called)
            if what:
                found.setdefault((asks.f_code.co_filename, asks.f_lineno), what)

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
    for what, (rng, state) in held.items():
        if place and _state(rng) != state:
            found[place[:2]] = f"the NumPy generator {what}"
    for (filename, line), what in found.items():
        warnings.warn_explicit(
            f"{name}: {what} was used while the function was traced; every later call gets this "
            "one result. Use tf.random for random numbers, and pass times as arguments.",
            TraceWarning,
            filename,
            line,
        )


@functools.cache  # each call of built-in code in a trace asks
def _is_users(filename: str) -> bool:
    """Whether a file is the user's: libraries may read the clock for purposes of their own, as a
    hook of the garbage collector does."""
    installed = filename.startswith(_INSTALLED) or _PACKAGES.search(filename)
    return not (in_package(filename) or installed)


def _numpy_state() -> str:
    """What changes whenever NumPy's global generator is used, whichever kind it is."""
    return _text(np.random.get_state(legacy=False))


def _state(generator: _Generator) -> str:
    if isinstance(generator, np.random.Generator):
        return _text(generator.bit_generator.state)
    return _text(generator.get_state(legacy=False))


def _text(state: object) -> str:
    with np.printoptions(threshold=sys.maxsize):
        return repr(state)


def _generators(fn: object) -> Iterator[tuple[str, _Generator]]:
    """The generators that a function finds outside of it, with their names there."""
    own, function = getattr(fn, "__self__", None), getattr(fn, "__func__", fn)
    if not isinstance(function, FunctionType):
        return
    code, known = function.__code__, function.__globals__
    outside = {name: known[name] for name in code.co_names if name in known}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # it is empty yet
            outside[name] = cell.cell_contents
    outside |= {f"self.{name}": value for name, value in getattr(own, "__dict__", {}).items()}
    for name, value in outside.items():
        if isinstance(value, np.random.Generator | np.random.RandomState):
            yield name, value


def _impure(called: Any) -> str | None:
    """What to call it, if a call of `called` gives another result each time."""
    if called is os.urandom:
        return "a random seed of the system, as default_rng() takes one,"
    if isinstance(getattr(called, "__self__", None), random.Random):
        return f"the host's random.{called.__name__}"
    try:
        return f"time.{called.__name__}" if called in _CLOCKS else None
    except TypeError:  # unhashable
        return None
