"""What each rank is about to do, in few bytes, and the error when two of them differ."""
from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import msgpack  # type: ignore[import-untyped]

from tapeflow.distributed.wire import Signature
from tapeflow.errors import DistributedError


@dataclass(frozen=True, slots=True)
class Saying:
    """What one rank said, and the line of its program that said it."""

    rank: int
    signature: Signature
    site: str


@lru_cache(maxsize=1024)
def packed(said: Signature) -> bytes:
    """`said`, so that equal signatures and no others give equal bytes."""
    return bytes(msgpack.packb([said.op, said.name, said.dtype, said.shape]))


def unpacked(rank: int, said: bytes, site: bytes) -> Saying:
    """What rank `rank` packed."""
    op, name, dtype, shape = msgpack.unpackb(said)
    return Saying(rank, Signature(op, name, dtype, tuple(shape)), site.decode(errors="replace"))


def disagreement(a: Saying, b: Saying) -> DistributedError:
    """The error for two ranks that are about to do different things."""
    ours, theirs = a.signature, b.signature
    same = (ours.op, ours.name) == (theirs.op, theirs.name) and ours.type != theirs.type
    sent = (theirs.type, ours.type) if same else (theirs, ours)
    return DistributedError(
        ours.op, got=f"rank {a.rank}: {ours} at {a.site}; rank {b.rank}: {theirs} at {b.site}",
        why=f"rank {b.rank} sent {sent[0]}, rank {a.rank} sent {sent[1]}",
        fix="let all ranks call the same collectives in one order, with one shape and dtype each")
