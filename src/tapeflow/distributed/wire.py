"""What ranks say to each other, and how it looks on the wire.

A message is a msgpack header, for `Data` followed by a frame of raw bytes. Whatever arrives is
checked against the fields' types before anyone acts on it; nothing is ever unpickled.
"""
from __future__ import annotations

import hmac
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, TypeAlias, get_args, get_origin, get_type_hints

import msgpack  # type: ignore[import-untyped]

from tapeflow.dtypes import SHORT
from tapeflow.tensor import Array, Spec

VERSION = 1
PIECE_BYTES = 1 << 20                  # arrays travel between hosts in pieces of this size
FRAME_BYTES = PIECE_BYTES + (1 << 16)  # a longer frame ends the connection that it came from
_NAME_LENGTH = 120


class WireError(ValueError):
    """Bytes that are no message of this job."""


class TokenError(WireError):
    """A message of another job."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What every rank must say alike about one collective."""

    op: str
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def type(self) -> str:
        """The array's type, f32[32,784]; empty for a barrier."""
        return f"{self.dtype}[{','.join(map(str, self.shape))}]" if self.dtype else ""

    def __str__(self) -> str:
        named = f"{self.name!r}" if self.name else ""
        return " ".join(filter(None, (self.op, named, self.type)))


@lru_cache(maxsize=1024)
def _signature(op: str, name: str, dtype: Any, shape: tuple[int, ...]) -> Signature:
    return Signature(op, name[:_NAME_LENGTH], SHORT.get(dtype, dtype.str), shape)


def signature(op: str, name: str | None, x: Array | Spec) -> Signature:
    """What this rank says about `x`.

    >>> import numpy as np
    >>> str(signature("all_reduce sum", "loss", np.zeros((2, 3), np.float32)))
    "all_reduce sum 'loss' f32[2,3]"
    """
    return _signature(op, name or "", x.dtype, x.shape)


@dataclass(frozen=True, slots=True)
class Hello:
    """A rank to rank 0: I am here."""

    rank: int
    size: int
    host: str
    pid: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class Roster:
    """Rank 0 to all: everyone is here. `key` names what the ranks of a host share."""

    key: str
    members: tuple[Hello, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """Rank 0 to one that may not join."""

    why: str


@dataclass(frozen=True, slots=True)
class Bye:
    """A rank to its neighbours: I have ended, and no one need look for me."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To rank 0, and from there to all: the job cannot go on."""

    why: str


@dataclass(frozen=True, slots=True)
class Data:
    """One piece of an array in collective number `number`; its bytes are the next frame."""

    number: int
    signature: Signature
    site: str


Message: TypeAlias = Hello | Roster | Refused | Bye | Stop | Data
_KINDS: dict[str, type[Message]] = {
    kind.__name__.lower(): kind for kind in (Hello, Roster, Refused, Bye, Stop, Data)}


def _plain(value: object) -> object:
    """`value` as msgpack knows it: dataclasses as lists of their fields."""
    if isinstance(value, (str, int)):
        return value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return [_plain(getattr(value, f.name)) for f in fields(value)]  # type: ignore[arg-type]


@lru_cache(maxsize=32)
def _field_types(kind: type) -> tuple[Any, ...]:
    hints = get_type_hints(kind)
    return tuple(hints[f.name] for f in fields(kind))


def _parsed(value: object, kind: Any) -> Any:
    """`value` if it is of type `kind`, built from lists where `kind` is a tuple or a dataclass."""
    if kind in (int, str):
        if type(value) is kind:
            return value
    elif isinstance(value, list):
        if get_origin(kind) is tuple:
            return tuple(_parsed(item, get_args(kind)[0]) for item in value)
        expected = _field_types(kind)
        if len(value) == len(expected):
            return kind(*map(_parsed, value, expected))
    raise WireError(f"{value!r:.80} is no {getattr(kind, '__name__', kind)}")


def encode(token: str, sender: int, message: Message) -> bytes:
    """The header frame of `message`."""
    kind = type(message).__name__.lower()
    return bytes(msgpack.packb([VERSION, token, sender, kind, _plain(message)]))


def decode(raw: bytes, token: str) -> tuple[int, Message]:
    """Sender and message of a header frame.

    Raises: TokenError if it is of another job, WireError if it is no message at all.
    """
    try:
        frame = msgpack.unpackb(raw, strict_map_key=True)
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise WireError(f"no msgpack: {error}") from None
    if not isinstance(frame, list) or len(frame) != 5 or frame[0] != VERSION:
        raise WireError(f"no header of version {VERSION}")
    _, theirs, sender, kind, body = frame
    if not isinstance(theirs, str) or not hmac.compare_digest(theirs.encode(), token.encode()):
        raise TokenError("the job token is not ours")
    if type(sender) is not int or not isinstance(kind, str) or kind not in _KINDS:
        raise WireError(f"no such message: {kind!r:.80}")
    return sender, _parsed(body, _KINDS[kind])
