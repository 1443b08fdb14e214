"""Name scopes: where in a model a variable, a node or an error belongs."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager


class _Names(threading.local):
    """The open scope of a thread, and the number that each name asked for in it would get next."""

    def __init__(self) -> None:
        self.path = ""
        self.used: dict[str, int] = {}


_names = _Names()


@contextmanager
def name_scope(name: str) -> Iterator[str]:
    """What is created inside is named `name/...`; a repeated name gets `_1`, `_2`.

    >>> with name_scope("loss"), name_scope("mse") as path:
    ...     print(path)
    loss/mse
    """
    with entered(unique(name)) as path:
        yield path


@contextmanager
def entered(path: str) -> Iterator[str]:
    """Inside, the scope is exactly `path`: a layer that is called again returns to its own, and
    its names are numbered as the first time."""
    outer, _names.path, used, _names.used = _names.path, path, _names.used, {}
    try:
        yield path
    finally:
        _names.path, _names.used = outer, used


@contextmanager
def fresh() -> Iterator[None]:
    """Inside, no name has been used and no scope is open, so that a trace always names alike."""
    with entered(""):
        yield


def current() -> str:
    """The open scopes, joined by slashes; empty outside all."""
    return _names.path


def unique(name: str) -> str:
    """`name` below the current scope, with `_1`, `_2` where it has been given out in it before.

    Raises: ArgumentError unless it is a text.
    """
    if not isinstance(name, str):
        from tapeflow.arguments import wrong  # its errors ask this module for the scope

        raise wrong("name", "name", name, "a text")
    count = _names.used.get(name, 0)
    free = f"{name}_{count}" if count else name
    while _is_given(free):
        count += 1
        free = f"{name}_{count}"
    _names.used[name] = count + 1
    return f"{_names.path}/{free}" if _names.path else free


def _is_given(name: str) -> bool:
    """Whether `name` was asked for in the current scope, or made of another by numbering it."""
    stem, _, number = name.rpartition("_")
    numbered = number.isdecimal() and 0 < int(number) < _names.used.get(stem, 0)
    return numbered or name in _names.used


def unused(name: str, taken: Container[str]) -> str:
    """`name`, with `_1`, `_2`, ... where it is taken."""
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
