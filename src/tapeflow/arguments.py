"""What arguments that are no tensors have to be: whole numbers, numbers, sizes, names, functions.

Each check gives the argument as the type that it stands for, or raises ArgumentError in the name of
the op. Numbers may come from NumPy, or be tensors with one value.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tapeflow.errors import ArgumentError, TapeflowError

_LARGEST = 2**63 - 1  # what the size of an array can be


def wrong(op: str, name: str, given: object, wanted: str) -> ArgumentError:
    """The error for an argument that is not what is wanted."""
    text = repr(given)
    shown = text if len(text) <= 60 else text[:57] + "..."
    return ArgumentError(
        op,
        got=f"{name}={shown}, of type {type(given).__name__}",
        why=f"{name} must be {wanted}",
        fix=f"give {wanted}",
    )


def integer(op: str, name: str, given: Any, wanted: str = "a whole number") -> int:
    """`given` as an int. Raises: ArgumentError for a float, even a whole one, and all else."""
    if type(given) is int:
        return given
    try:
        return int(operator.index(given))
    except TapeflowError:  # a tensor says itself why it is no index
        raise
    except TypeError:
        raise wrong(op, name, given, wanted) from None


def integers(op: str, name: str, given: Any) -> tuple[int, ...]:
    """One int or a sequence of them, as a tuple. Raises: ArgumentError for all else."""
    if type(given) is int:
        return (given,)
    wanted = "a whole number, or a sequence of them"
    if type(given) is tuple or type(given) is list:  # before what takes longer to ask
        for n in given:
            if type(n) is not int:
                return tuple([integer(op, name, n, wanted) for n in given])
        return tuple(given)
    if isinstance(given, str | bytes | Mapping):
        raise wrong(op, name, given, wanted)
    if isinstance(given, Iterable) and getattr(given, "shape", True) != ():
        return tuple(integer(op, name, n, wanted) for n in given)
    return (integer(op, name, given, wanted),)


def sizes(op: str, shape: Any) -> tuple[int, ...]:
    """`shape`, a size or a sequence of them, as a tuple.

    Raises: ArgumentError unless they are whole numbers of at least 0 that fit into memory.
    """
    found = integers(op, "shape", shape)
    least = min(found) if found else 1
    if least < 0 or math.prod(found) > _LARGEST or (least == 0 and max(found) > _LARGEST):
        raise _no_size(op, f"shape {found}", least)
    return found


def size(op: str, name: str, given: Any) -> int:
    """`given` as an int. Raises: ArgumentError unless it is a count of at least 0."""
    found = integer(op, name, given)
    if not 0 <= found <= _LARGEST:
        raise _no_size(op, f"{name}={found}", found)
    return found


def _no_size(op: str, got: str, smallest: int) -> ArgumentError:
    if smallest < 0:
        return ArgumentError(
            op, got=got, why="a size is not negative", fix="give sizes of at least 0"
        )
    return ArgumentError(
        op, got=got, why="no memory holds so many elements", fix="give smaller sizes"
    )


def number(op: str, name: str, given: Any) -> float:
    """`given` as a float. Raises: ArgumentError if it is none, as a text is, even of digits."""
    if type(given) is float:
        return given
    try:
        if not isinstance(given, str | bytes):
            return float(given)
    except TapeflowError:
        raise
    except (TypeError, ValueError, OverflowError):
        pass
    raise wrong(op, name, given, "a number")


def fraction(op: str, name: str, given: Any, why: str) -> None:
    """Raise ArgumentError, for this reason, unless `given` is from 0 up to, not including, 1."""
    if not 0.0 <= number(op, name, given) < 1.0:
        raise ArgumentError(
            op,
            got=f"{name}={given}",
            why=why,
            fix="give a number from 0 up to, not including, 1",
        )


def switch(op: str, name: str, given: Any) -> bool:
    """`given`. Raises: ArgumentError unless it is True or False; a text, even "no", were true."""
    if isinstance(given, bool):
        return given
    raise wrong(op, name, given, "True or False")


def text(op: str, name: str, given: Any) -> str:
    """`given`. Raises: ArgumentError unless it is a str."""
    if isinstance(given, str):
        return given
    raise wrong(op, name, given, "a text")


def function(op: str, name: str, given: Any) -> Callable[..., Any]:
    """`given`. Raises: ArgumentError unless it can be called."""
    if callable(given):
        return given  # type: ignore[no-any-return]
    raise wrong(op, name, given, "a function")


def several(op: str, name: str, given: Any, what: str) -> Sequence[Any]:
    """`given` as a list or tuple. Raises: ArgumentError, with the name of `what`, for one alone."""
    if isinstance(given, list | tuple):
        return given
    alone = isinstance(given, str | bytes | Mapping) or hasattr(given, "__array__")
    if alone or not isinstance(given, Iterable):
        raise wrong(op, name, given, f"a list of {what}")
    return list(given)


def pair(op: str, given: Any, source: str, why: str, fix: str) -> tuple[Any, Any]:
    """The two things that the function `source` gave. Raises: ArgumentError for all else."""
    if isinstance(given, tuple | list) and len(given) == 2:
        return given[0], given[1]
    raise ArgumentError(op, got=f"{source} gave {type(given).__name__}", why=why, fix=fix)


def mapping(op: str, name: str, given: Any) -> Mapping[Any, Any]:
    """`given`. Raises: ArgumentError unless it is a dict or another mapping."""
    if isinstance(given, Mapping):
        return given
    raise wrong(op, name, given, "a dict")


def path(op: str, name: str, given: Any) -> Path:
    """`given` as a path. Raises: ArgumentError unless it is a str or a path."""
    if isinstance(given, str | os.PathLike):
        return Path(given)
    raise wrong(op, name, given, "a path")
