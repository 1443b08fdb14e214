"""Choices by name: `activation="relu"` beside `activation=my_function`."""
from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import TypeVar

from tapeflow.arguments import wrong
from tapeflow.errors import ArgumentError

T = TypeVar("T")


def by_name(op: str, argument: str, given: str,
            table: Mapping[str, Callable[..., T]]) -> Callable[..., T]:
    """The entry of `table` that is called `given`.

    Raises: ArgumentError that names the nearest, or all.
    """
    if not isinstance(given, str):
        raise wrong(op, argument, given, "a name or a function")
    if given in table:
        return table[given]
    near = difflib.get_close_matches(given, table, n=1)
    fix = f"did you mean {near[0]!r}?" if near else "use one of " + ", ".join(sorted(table))
    raise ArgumentError(op, got=f"{argument}={given!r}", why="there is none of this name", fix=fix)
