"""Every exception tapeflow raises on purpose.

TapeflowError
├── ShapeError        (also ValueError)    the shapes do not fit the op
├── DTypeError        (also TypeError)     the dtypes do not fit the op
├── ArgumentError     (also ValueError)    another argument does not fit the op
├── OutOfRangeError   (also IndexError)    an index or axis that is not there
├── LinAlgError       (also NumPy's)       a matrix that is singular, not positive definite, ...
├── TraceError        (also TypeError)     a traced value where only a concrete one can be, and
│                                          host random numbers, which a trace would freeze
├── StateError        (also RuntimeError)  a variable, tape or layer in the wrong state
├── CheckpointError   (also ValueError)    a file that does not fit the model, or is not whole
├── MissingExtraError (also ImportError)   an optional dependency that is not installed
├── OutOfMemoryError  (also MemoryError)   memory that cannot be had
├── NumericsError     (also ArithmeticError) a NaN or infinity that tf.debug looked for
└── DistributedError  (also RuntimeError)  a peer that is missing, has failed, or disagrees
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import TypeAlias

import numpy as np

from tapeflow import scope

Place: TypeAlias = tuple[str, int, str]  # file, line, function
_PACKAGE = str(Path(__file__).parent) + os.sep


class TapeflowError(Exception):
    """An error that says which op, what it got, why that is wrong, what to do, and where."""

    def __init__(self, op: str, *, got: object, why: str, fix: str, at: str | None = None):
        self.op, self.got, self.why, self.fix = op, got, why, fix
        self.at = user_line() if at is None else at
        self._is_moved = False
        super().__init__(self._text())

    def _text(self) -> str:
        place = f"\n  at: {self.at}" if self.at else ""
        return f"{self.op}: {self.why}\n  got: {self.got}\n  fix: {self.fix}{place}"

    def __reduce__(self) -> tuple[object, ...]:
        """Other processes raise what one has met; `got` may be what only this one has."""
        words = {"got": str(self.got), "why": self.why, "fix": self.fix, "at": self.at}
        return functools.partial(type(self), **words), (self.op,), {**vars(self), **words}

    def move(self, at: str) -> None:
        """Say that it happened at the line `at`, unless a more exact one has been said before."""
        if at and not self._is_moved:
            self.at, self._is_moved = at, True
            self.args = (self._text(),)


class ShapeError(TapeflowError, ValueError):
    """The shapes of the inputs do not fit the op."""


class DTypeError(TapeflowError, TypeError):
    """The dtypes of the inputs do not fit the op."""


class ArgumentError(TapeflowError, ValueError):
    """An argument that is not a tensor does not fit the op."""


class OutOfRangeError(TapeflowError, IndexError):
    """An index or an axis that the tensor does not have."""


class LinAlgError(TapeflowError, np.linalg.LinAlgError):
    """The elements of a matrix do not allow what is asked: it is singular, for example."""


class TraceError(TapeflowError, TypeError):
    """A traced value was used where only a concrete one can be, or a trace met host random numbers,
    which it would freeze."""


class StateError(TapeflowError, RuntimeError):
    """A variable, tape or layer is not in the state that the call needs."""


class CheckpointError(TapeflowError, ValueError):
    """A checkpoint does not fit what is restored from it, or is not whole."""


class MissingExtraError(TapeflowError, ImportError):
    """An optional dependency is not installed."""


class OutOfMemoryError(TapeflowError, MemoryError):
    """The system does not give the memory that a value or a program needs."""


class NumericsError(TapeflowError, ArithmeticError):
    """A NaN or an infinity appeared where tf.debug.check_numerics() looked for it."""


class DistributedError(TapeflowError, RuntimeError):
    """A peer is missing, has failed, or disagrees."""


@functools.cache  # the line of every node of a graph asks, frame by frame
def in_package(filename: str) -> bool:
    """Whether a file is tapeflow's own, or stands between it and the user's."""
    return filename.startswith((_PACKAGE, "<frozen")) or filename.endswith("contextlib.py")


def _is_generated(frame: FrameType) -> bool:
    """Whether this is a method that `dataclass` wrote for a class of tapeflow's."""
    package = frame.f_globals.get("__package__") or ""
    return frame.f_code.co_filename == "<string>" and package.partition(".")[0] == __package__


def user_frame() -> Place | None:
    """The innermost frame outside tapeflow; None if there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        if not in_package(filename) and not _is_generated(frame):
            return filename, frame.f_lineno, frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]
    return None


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn of the user's line, however many calls of tapeflow's lie between."""
    place = user_frame()
    if place is None:
        warnings.warn(message, category, stacklevel=2)
    else:
        warnings.warn_explicit(message, category, *place[:2])


def user_line() -> str:
    """`train.py:12 in loss: y = x @ w`, with the name scope where one is open."""
    place = user_frame()
    return line_of(place) if place else ""


def line_of(place: Place) -> str:
    """The text of user_line() for a place in a file."""
    filename, line, function = place
    named = f", scope {scope.current()}" if scope.current() else ""
    inside = "" if function == "<module>" else f" in {function}"
    text = linecache.getline(filename, line).strip()
    return f"{filename}:{line}{inside}{named}" + (f": {text}" if text else "")
