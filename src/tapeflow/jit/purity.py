"""What a trace would freeze: the host's clock is warned of, its random numbers are refused."""

from __future__ import annotations

import dis
import functools
import os
import random
import re
import sys
import sysconfig
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType, MethodType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeAlias, TypeVar

import numpy as np

from tapeflow.errors import Place, TraceError, in_package, line_of, user_frame

P = ParamSpec("P")
R = TypeVar("R")
_CLOCKS = {time.time, time.time_ns, time.perf_counter, time.perf_counter_ns, time.monotonic}
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
_PACKAGES = re.compile(r"[/\\](site|dist)-packages[/\\]")  # of another environment, on the path too


if TYPE_CHECKING:  # NumPy loads numpy.random when it is first used
    _Generator: TypeAlias = np.random.Generator | np.random.RandomState


class TraceWarning(UserWarning):
    """What a compiled function does once, while it is traced, and never again."""


@dataclass(frozen=True, slots=True)
class _Impure:
    """What gives another result each time, and its name."""

    what: str
    is_random: bool = True
    is_sure: bool = True  # that the function did it


@contextmanager
def watched(name: str) -> Iterator[None]:
    """Inside, a clock read by the user's code is warned of, with its line; at the end the first
    host random call raises TraceError.

    NumPy's generators make no profile events: that one was used shows in its state. Looked after
    are the global one and those that the user's functions, as they are called, find in their
    arguments, closures, globals and `self`. Where another thread may have drawn from the global
    one, that is warned of.
    """
    watch = _Watch()
    previous = sys.getprofile()
    if previous is None:
        sys.setprofile(watch.see)
    try:
        yield
    finally:
        if previous is None:
            sys.setprofile(None)
    call = user_frame()
    for at, impure in {**watch.found, **(watch.drawn(call) if call else {})}.items():
        _tell(name, at, impure)


@dataclass(frozen=True, slots=True)
class _Held:
    """A generator of NumPy's, its state at first, and how the user's functions name it."""

    rng: _Generator
    state: object
    names: list[str]


class _Watch:
    """What was seen of impure calls, and of the functions that were called."""

    def __init__(self) -> None:
        self.found: dict[Place, _Impure] = {}
        self.run: list[CodeType] = []  # the user's
        self._held: dict[int, _Held] = {}  # by id of the generator; first that of numpy.random
        self._hold("random", np.random.random.__self__)  # type: ignore[attr-defined]
        self._seen: dict[int, CodeType] = {}  # by id: they are slow to compare

    def see(self, frame: FrameType, event: str, called: Any) -> None:
        """Take note of an event, as sys.setprofile tells of them."""
        if event == "call" and id(frame.f_code) not in self._seen:
            self._seen[id(frame.f_code)] = frame.f_code
            if _is_users(frame.f_code.co_filename):
                self.run.append(frame.f_code)
                for what, rng in _generators(frame):
                    self._hold(what, rng)
        elif event == "c_call":
            while frame.f_code.co_filename == random.__file__ and frame.f_back:
                frame = frame.f_back  # of who asks for it; NumPy, which asks for a seed, has none
            code = frame.f_code
            impure = _impure(called) if _is_users(code.co_filename) else None
            if impure:
                self.found.setdefault((code.co_filename, frame.f_lineno, code.co_name), impure)

    def _hold(self, name: str, rng: _Generator) -> None:
        if id(rng) not in self._held:
            self._held[id(rng)] = _Held(rng, _state(rng), [])
        self._held[id(rng)].names.append(name)

    def drawn(self, call: Place) -> dict[Place, _Impure]:
        """The generators that were used, by the first line that names one, or by the call."""
        found: dict[Place, _Impure] = {}
        for i, held in enumerate(self._held.values()):
            if _state(held.rng) != held.state:
                place = next(filter(None, (_mention(self.run, name) for name in held.names)), None)
                what = f"the NumPy generator {held.names[0]}" if i else "numpy.random"
                is_sure = place is not None or i > 0 or _is_alone()
                found[place or call] = _Impure(what, is_sure=is_sure)
        return found


def unwatched(fn: Callable[P, R]) -> Callable[P, R]:
    """`fn`, which runs none of the user's code, with its calls not looked at: that takes as long as
    they do."""

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        see = sys.getprofile()
        if not isinstance(getattr(see, "__self__", None), _Watch):  # a profiler of the user's
            return fn(*args, **kwargs)
        sys.setprofile(None)
        try:
            return fn(*args, **kwargs)
        finally:
            sys.setprofile(see)

    return call


def _tell(name: str, place: Place, impure: _Impure) -> None:
    why = f"{impure.what} was used while the function was traced; every later call gets this result"
    fix = "use tf.random for random numbers, and pass times, or NumPy's numbers, as arguments"
    if impure.is_random and impure.is_sure:
        raise TraceError(name, got="a trace", why=why, fix=fix, at=line_of(place))
    warnings.warn_explicit(f"{name}: {why}\n  fix: {fix}", TraceWarning, *place[:2])


def _mention(codes: Iterable[CodeType], name: str) -> Place | None:
    """The first line of these that uses an attribute or a variable of this name."""
    last = name.rpartition(".")[2]
    for code in codes:
        for step in dis.get_instructions(code):
            if step.argval == last and step.positions and step.positions.lineno:
                return code.co_filename, step.positions.lineno, code.co_name
    return None


def _is_alone() -> bool:
    """Whether no other thread runs but tapeflow's own."""
    here = threading.current_thread()
    return all(t is here or t.name.startswith("tapeflow") for t in threading.enumerate())


@functools.cache  # each call of built-in code in a trace asks
def _is_users(filename: str) -> bool:
    """Whether a file is the user's: libraries may read the clock for purposes of their own, as a
    hook of the garbage collector does."""
    installed = filename.startswith(_INSTALLED) or _PACKAGES.search(filename)
    return not (in_package(filename) or installed)


def _state(generator: _Generator) -> object:
    if isinstance(generator, np.random.Generator):
        return _frozen(generator.bit_generator.state)
    return _frozen(generator.get_state(legacy=False))


def _frozen(state: object) -> object:
    """A state that can be compared, and stays as it is; as text it would take 2 ms."""
    if isinstance(state, Mapping):
        return {name: _frozen(part) for name, part in state.items()}
    return state.tobytes() if isinstance(state, np.ndarray) else state


def _generators(frame: FrameType) -> Iterator[tuple[str, _Generator]]:
    """The generators, or methods of them, that a function finds outside of it, with their names."""
    names, known = frame.f_code.co_names, frame.f_globals
    outside = {name: known[name] for name in names if name in known} | frame.f_locals
    own = getattr(outside.get("self"), "__dict__", {})
    outside |= {f"self.{name}": value for name, value in own.items()}
    for name, value in outside.items():
        rng = value.__self__ if isinstance(value, MethodType) else value
        if isinstance(rng, np.random.Generator | np.random.RandomState):
            yield name, rng


def _impure(called: Any) -> _Impure | None:
    """What `called` is, if it gives another result each time."""
    if called is os.urandom:
        return _Impure("a random seed of the system, as default_rng() takes one,")
    if isinstance(getattr(called, "__self__", None), random.Random):
        return _Impure(f"the host's random.{called.__name__}")
    try:
        return _Impure(f"time.{called.__name__}", is_random=False) if called in _CLOCKS else None
    except TypeError:  # unhashable
        return None
