"""Who belongs to the job, who is missing, and who has gone: one state machine a rank, no sockets.

Ranks greet rank 0, which answers all with a roster when the last has come. From then on whoever
sees a peer go tells rank 0, and rank 0 tells all. Only the first trouble counts: what follows it
is mostly its consequence.
"""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tapeflow.distributed.wire import Bye, Hello, Message, Refused, Roster, Stop

SENDER = -1   # the address of whoever sent what is being answered


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to a rank, or to SENDER."""

    to: int
    message: Message


def listed(ranks: Iterable[int]) -> str:
    """
    >>> listed([3]), listed([1, 2, 4])
    ('rank 3', 'ranks 1, 2, 4')
    """
    names = [str(rank) for rank in ranks]
    return f"rank{'s' if len(names) > 1 else ''} {', '.join(names)}"


def hosts(members: Iterable[Hello]) -> tuple[tuple[int, ...], ...]:
    """The ranks of each host, hosts in the order of their first rank."""
    of_host: dict[str, list[int]] = {}
    for member in members:
        of_host.setdefault(member.host, []).append(member.rank)
    return tuple(tuple(ranks) for ranks in of_host.values())


class Membership:
    """What rank `me.rank` knows of the job."""

    def __init__(self, me: Hello, key: str, master: str):
        self.me, self._key, self._master = me, key, master
        self.roster: Roster | None = None
        self.failure: str | None = None   # why the job cannot go on
        self.refusal: str | None = None   # why rank 0 would not have us
        self.turned_away: list[str] = []  # whom rank 0 refused, and why
        self._here: dict[int, Hello] = {}
        self._ended: set[int] = set()

    @property
    def missing(self) -> list[int]:
        """The ranks that rank 0 still waits for."""
        return [rank for rank in range(self.me.size) if rank not in self._here]

    def name(self, rank: int) -> str:
        """`rank 3 (pid 4711 on node7)`, as far as it is known."""
        member = self._here.get(rank)
        if member is None:
            return f"rank {rank}"
        return f"rank {rank} (pid {member.pid} on {member.host.partition('/')[0]})"

    def endpoint(self, rank: int) -> str:
        """Where `rank` listens."""
        return self._master if rank == 0 else self._here[rank].endpoint

    def join(self) -> list[Outgoing]:
        """What to say first."""
        return self._welcome(self.me) if self.me.rank == 0 else [Outgoing(0, self.me)]

    def receive(self, sender: int, message: Message) -> list[Outgoing]:
        """Take note of `message`; what to send in return."""
        match message:
            case Hello() if self.me.rank == 0:
                return self._welcome(message)
            case Roster():
                self.roster = message
                self._here = {member.rank: member for member in message.members}
            case Refused(why):
                self.refusal = why
            case Stop(why):
                return self._fail(why, but=sender)
            case Bye():
                self._ended.add(sender)
                return self._fail(f"{self.name(sender)} has ended", but=sender)
            case _:
                pass
        return []

    def lost(self, rank: int) -> list[Outgoing]:
        """The connection to `rank` broke."""
        if rank in self._ended:
            return []
        return self._fail(f"{self.name(rank)} died", but=rank)

    def stop(self, why: str) -> list[Outgoing]:
        """This rank cannot go on, and tells the others."""
        return self._fail(why, but=self.me.rank)

    def leave(self) -> list[Outgoing]:
        """This rank has ended."""
        return [Outgoing(rank, Bye()) for rank in self._audience()]

    def _welcome(self, hello: Hello) -> list[Outgoing]:
        why = self._objection(hello)
        if why:
            self.turned_away.append(f"rank {hello.rank} was turned away: {why}")
            return [Outgoing(SENDER, Refused(why))]
        self._here[hello.rank] = hello
        if self.missing:
            return []
        self.roster = Roster(self._key, tuple(self._here[rank] for rank in range(self.me.size)))
        return [Outgoing(rank, self.roster) for rank in self._audience()]

    def _objection(self, hello: Hello) -> str:
        if hello.size != self.me.size:
            return (f"rank {hello.rank} was told of {hello.size} ranks, "
                    f"rank 0 of {self.me.size}")
        if not 0 <= hello.rank < self.me.size:
            return f"there is no rank {hello.rank} among {self.me.size} ranks"
        if hello.rank in self._here:
            return f"{self.name(hello.rank)} is already here"
        return ""

    def _audience(self) -> list[int]:
        """Whom this rank tells its news, of those who still listen."""
        of_interest = self._here if self.me.rank == 0 else [0]
        return [rank for rank in of_interest if rank not in {self.me.rank, *self._ended}]

    def _fail(self, why: str, but: int) -> list[Outgoing]:
        if self.failure is not None:
            return []
        self.failure = why
        return [Outgoing(rank, Stop(why)) for rank in self._audience() if rank != but]
