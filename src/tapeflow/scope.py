"""Name scopes: where in a model a variable, a node or an error belongs."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager


class _Names(threading.local):
    """The open scope of a thread, and how often each name was used in it."""

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
    """Inside, the scope is exactly `path`: a layer that is called again returns to its own."""
    outer, _names.path = _names.path, path
    try:
        yield path
    finally:
        _names.path = outer


@contextmanager
def fresh() -> Iterator[None]:
    """Inside, no name has been used and no scope is open, so that a trace always names alike."""
    outer, _names.used, path, _names.path = _names.used, {}, _names.path, ""
    try:
        yield
    finally:
        _names.used, _names.path = outer, path


def current() -> str:
    """The open scopes, joined by slashes; empty outside all."""
    return _names.path


def unique(name: str) -> str:
    """`name` below the current scope, with `_1`, `_2` where it has been given out before."""
    path = f"{_names.path}/{name}" if _names.path else name
    count = _names.used.get(path, 0)
    _names.used[path] = count + 1
    return f"{path}_{count}" if count else path


def unused(name: str, taken: Container[str]) -> str:
    """`name`, with `_1`, `_2`, ... where it is taken."""
    count, free = 0, name
    while free in taken:
        count += 1
        free = f"{name}_{count}"
    return free
