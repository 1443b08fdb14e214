"""One thread that owns all ZeroMQ sockets of a rank.

A rank has one inbox, and one link to the inbox of each peer that it talks to. Links are watched:
one that breaks says that its peer is gone, at once where the peer's machine lives, after
_SILENCE_MS where it does not. ZeroMQ's own threads keep the heartbeat, so a rank that computes
for minutes is not taken for dead.
"""
from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import zmq
from zmq.utils.monitor import recv_monitor_message

from tapeflow.distributed import wire
from tapeflow.distributed.membership import SENDER, Membership, Outgoing
from tapeflow.errors import DistributedError
from tapeflow.tensor import Array

_HEARTBEAT_MS, _SILENCE_MS = 1000, 5000
_CONNECT_SECONDS = 5.0     # a peer of the roster listens already, so this is long
_GRACE_SECONDS = 0.5       # for the last words of a peer that went
_TICK_MS = 100             # how often broken links are looked at
_LINGER_MS = 200           # to hand the last words to the system, which then sees to them
_COPY_BELOW = 1 << 16      # bytes; copying these costs less than tracking them


@dataclass
class _Link:
    """A connection to one peer's inbox."""

    rank: int
    socket: zmq.Socket[bytes]
    monitor: zmq.Socket[bytes]
    deadline: float        # when it counts as broken, unless it comes up before
    up: bool = False
    lost: bool = False     # and its peer given up


@dataclass(frozen=True, slots=True)
class Arrival:
    """One piece of an array, as it came."""

    sender: int
    header: wire.Data
    payload: memoryview


class Transport:
    """The wire to all peers. Use as `with Transport(...) as t: t.start(membership)`."""

    def __init__(self, rank: int, token: str, address: str, port: int | None):
        self._rank, self._token = rank, token
        self._context = zmq.Context()
        self._inbox = self._socket(zmq.ROUTER)
        self.endpoint = self._bind(address, port)
        self._outbox, self._outbox_end = self._pair()
        self._outbox_lock = threading.Lock()
        self._data: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._links: dict[int, _Link] = {}
        self._poller = zmq.Poller()
        self._handlers: dict[zmq.Socket[bytes], Callable[[], None]] = {}
        self._changed = threading.Condition()   # guards membership
        self._failed_at = 0.0
        self._closed = self._finished = False
        self._thread: threading.Thread | None = None
        self.membership: Membership

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, membership: Membership) -> None:
        """Begin to talk; what is learned goes into `membership`."""
        self.membership = membership
        self._thread = threading.Thread(target=self._run, name="tapeflow transport", daemon=True)
        self._thread.start()
        self._tell(membership.join())

    def close(self) -> None:
        """Say goodbye, send what is left to send, and free all sockets."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            with self._changed:
                goodbye = self.membership.leave()
            self._tell(goodbye)
            self._post([b""])
            self._thread.join()
        for socket in (self._inbox, self._outbox, self._outbox_end):
            socket.close(0)
        self._context.term()

    # Called by the rank's own threads

    def wait_for_roster(self, seconds: float) -> wire.Roster | None:
        """The roster; None if it does not come in time, or rank 0 refuses us."""
        known = self.membership
        with self._changed:
            self._changed.wait_for(lambda: known.roster or known.refusal or known.failure, seconds)
            return known.roster

    def failure(self) -> str | None:
        """Why the job cannot go on, once what peers sent before has had time to arrive."""
        why = self.membership.failure
        if why is None or time.monotonic() - self._failed_at < _GRACE_SECONDS:
            return None
        return why

    def stop(self, why: str) -> None:
        """Tell all ranks that the job cannot go on."""
        with self._changed:
            replies = self.membership.stop(why)
        self._tell(replies)

    def send(self, to: int, header: wire.Data, payload: Array) -> zmq.MessageTracker | None:
        """Send one piece; `payload` must not change before the tracker, if any, is done."""
        frame = zmq.Frame(payload.data, track=True, copy_threshold=_COPY_BELOW)
        self._post([str(to).encode(), wire.encode(self._token, self._rank, header), frame])
        tracker: zmq.MessageTracker | None = frame.tracker
        return tracker

    def receive(self, seconds: float) -> Arrival | None:
        """The next piece; None if none comes in time."""
        try:
            return self._data.get(timeout=seconds)
        except queue.Empty:
            return None

    def _tell(self, messages: list[Outgoing]) -> None:
        for item in messages:
            self._post([str(item.to).encode(),
                        wire.encode(self._token, self._rank, item.message)])

    def _post(self, frames: list[Any]) -> None:
        with self._outbox_lock:
            self._outbox.send_multipart(frames, copy=False)

    # Set-up

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.MAXMSGSIZE, wire.FRAME_BYTES)
        socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE_MS)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        return socket

    def _bind(self, address: str, port: int | None) -> str:
        try:
            self._inbox.bind(f"tcp://{address}:{port or '*'}")
        except zmq.ZMQError as error:
            self._inbox.close(0)
            self._context.term()
            raise DistributedError(
                "init", got=f"{address}:{port}", why=f"cannot listen there: {error.strerror}",
                fix="set MASTER_PORT to a free port and MASTER_ADDR to an address of rank 0's host"
            ) from None
        return self._inbox.getsockopt_string(zmq.LAST_ENDPOINT)

    def _pair(self) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
        """How other threads hand frames to this one."""
        ours, theirs = self._context.socket(zmq.PAIR), self._context.socket(zmq.PAIR)
        for end in (ours, theirs):
            end.setsockopt(zmq.SNDHWM, 0)
            end.setsockopt(zmq.RCVHWM, 0)
        theirs.bind("inproc://outbox")
        ours.connect("inproc://outbox")
        return ours, theirs

    # The thread

    def _run(self) -> None:
        self._listen(self._outbox_end, self._forward)
        self._listen(self._inbox, self._take)
        while not self._finished:
            for socket, _ in self._poller.poll(_TICK_MS):
                self._handlers[socket]()
            self._give_up_broken_links()
        for link in self._links.values():
            link.socket.disable_monitor()
            link.monitor.close(0)
            link.socket.close(_LINGER_MS)

    def _listen(self, socket: zmq.Socket[bytes], handler: Callable[[], None]) -> None:
        self._poller.register(socket, zmq.POLLIN)
        self._handlers[socket] = handler

    def _forward(self) -> None:
        """Send on what another thread posted; an empty message is the last."""
        to, *frames = self._outbox_end.recv_multipart(copy=False)
        if not frames:
            self._finished = True
        else:
            self._link(int(to.bytes)).socket.send_multipart(frames, copy=False)

    def _link(self, rank: int) -> _Link:
        """The link to `rank`, opened when first used."""
        if rank not in self._links:
            socket = self._socket(zmq.DEALER)
            socket.setsockopt(zmq.SNDHWM, 0)   # how much is on its way is the plan's business
            monitor = socket.get_monitor_socket(
                zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
            link = _Link(rank, socket, monitor, time.monotonic() + _CONNECT_SECONDS)
            self._links[rank] = link
            self._listen(monitor, lambda: self._watch(link))
            self._listen(socket, lambda: self._take_refusal(link))
            socket.connect(self.membership.endpoint(rank))
        return self._links[rank]

    def _take(self) -> None:
        """Read the inbox; what is not of this job is dropped, and its sender told why."""
        source, *frames = self._inbox.recv_multipart(copy=False)
        try:
            sender, message = wire.decode(frames[0].bytes if frames else b"", self._token)
        except wire.TokenError as error:
            self._refuse(source, str(error))
        except wire.WireError:
            pass   # noise: no peer of ours would understand an answer
        else:
            if not isinstance(message, wire.Data):
                self._learn(lambda: self.membership.receive(sender, message), source)
            elif len(frames) == 2:
                self._data.put(Arrival(sender, message, frames[1].buffer))

    def _take_refusal(self, link: _Link) -> None:
        with contextlib.suppress(wire.WireError):
            _, message = wire.decode(link.socket.recv(), token="")
            if isinstance(message, wire.Refused):
                self._learn(lambda: self.membership.receive(link.rank, message))

    def _refuse(self, source: zmq.Frame, why: str) -> None:
        """Without the token: a stranger must not learn it."""
        self._inbox.send_multipart([source, wire.encode("", self._rank, wire.Refused(why))])

    def _watch(self, link: _Link) -> None:
        link.up = recv_monitor_message(link.monitor)["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED
        link.deadline = time.monotonic() + _GRACE_SECONDS

    def _give_up_broken_links(self) -> None:
        for link in list(self._links.values()):
            late = not link.up and time.monotonic() > link.deadline
            if late and not link.lost and self.membership.roster:
                link.lost = True
                self._learn(partial(self.membership.lost, link.rank))

    def _learn(self, news: Callable[[], list[Outgoing]], source: zmq.Frame | None = None) -> None:
        """Let the membership take note of `news`, and send what it answers."""
        with self._changed:
            failed = self.membership.failure
            replies = news()
            if self.membership.failure != failed:
                self._failed_at = time.monotonic()
            self._changed.notify_all()
        for reply in replies:
            if reply.to != SENDER:
                header = wire.encode(self._token, self._rank, reply.message)
                self._link(reply.to).socket.send(header)
            elif source is not None and isinstance(reply.message, wire.Refused):
                self._refuse(source, reply.message.why)
