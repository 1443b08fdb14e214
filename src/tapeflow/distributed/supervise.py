"""Watches the processes of a launch: passes on what they print, and ends them all together."""
from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

_TAIL = 200                # lines of stderr kept of each rank
_TERM_SECONDS = 3.0        # between asking and killing
_POLL_SECONDS = 0.05
_TRACEBACK = "Traceback (most recent call last):"
_PR_SET_PDEATHSIG = 1

Write = Callable[[str], object]


@dataclass
class _Rank:
    """One process, and what it said last."""

    rank: int
    process: subprocess.Popen[bytes]
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=_TAIL))
    open_pipes: int = 2
    code: int | None = None


@dataclass
class _Pipe:
    """One stream of a rank, and the line that has begun to come."""

    of: _Rank
    stream: IO[bytes]
    write: Write
    is_stderr: bool
    begun: bytes = b""

    def take(self, came: bytes) -> None:
        *lines, self.begun = (self.begun + came).split(b"\n")
        if not came and self.begun:
            lines, self.begun = [*lines, self.begun], b""
        for line in lines:
            text = line.decode(errors="replace")
            if self.is_stderr:
                self.of.tail.append(text)
            self.write(f"[rank {self.of.rank}] {text}\n")


def _end_with(launcher: int) -> Callable[[], None] | None:
    """What a new process runs first, so that it ends with its launcher even if that is killed."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl   # loaded here: a new process should do little

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != launcher:   # it was killed before
            os._exit(1)

    return arrange


def last_traceback(said: Iterable[str]) -> list[str]:
    """The lines from the last traceback on; all of them if there is none."""
    lines = list(said)
    starts = [i for i, line in enumerate(lines) if line.startswith(_TRACEBACK)]
    return lines[starts[-1]:] if starts else lines


class Ranks:
    """The processes of one host. Use as `with Ranks(...) as ranks: code = ranks.wait()`."""

    def __init__(self, command: Sequence[str], environments: Sequence[Mapping[str, str]],
                 write: Write, write_error: Write):
        self._command, self._environments = command, environments
        self._write, self._write_error = write, write_error
        self._ranks: list[_Rank] = []
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Ranks:
        try:
            for environment in self._environments:
                self._start(environment)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._end(signal.SIGTERM)
        finally:
            for rank in self._ranks:
                self._signal(rank, signal.SIGKILL)   # whatever it started itself, too
                rank.process.wait()
            for key in list(self._selector.get_map().values()):
                key.data.stream.close()
            self._selector.close()

    def wait(self) -> int:
        """0 once all have ended well; else the exit code of the first that failed."""
        try:
            while any(rank.code is None or rank.open_pipes for rank in self._ranks):
                failed = self._pump()
                if failed is not None:
                    self._end(signal.SIGTERM)
                    return self._report(failed)
        except KeyboardInterrupt:
            self._end(signal.SIGINT)
            raise
        return 0

    def _start(self, environment: Mapping[str, str]) -> None:
        process = subprocess.Popen(
            self._command, env=dict(environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            preexec_fn=_end_with(os.getpid()))
        rank = _Rank(int(environment["RANK"]), process)
        self._ranks.append(rank)
        assert process.stdout is not None and process.stderr is not None
        for pipe in (_Pipe(rank, process.stdout, self._write, is_stderr=False),
                     _Pipe(rank, process.stderr, self._write_error, is_stderr=True)):
            self._selector.register(pipe.stream, selectors.EVENT_READ, pipe)

    def _pump(self) -> _Rank | None:
        """Pass on what has come; the rank that has just failed, if one has."""
        for key, _ in self._selector.select(_POLL_SECONDS) if self._selector.get_map() else ():
            pipe: _Pipe = key.data
            came = os.read(pipe.stream.fileno(), 1 << 16)
            pipe.take(came)
            if not came:
                self._selector.unregister(pipe.stream)
                pipe.stream.close()
                pipe.of.open_pipes -= 1
        if not self._selector.get_map():
            time.sleep(_POLL_SECONDS)
        return next((rank for rank in self._ranks if self._has_failed(rank)), None)

    def _has_failed(self, rank: _Rank) -> bool:
        """Whether it has ended since we last looked, and not well."""
        if rank.code is not None:
            return False
        rank.code = rank.process.poll()
        return bool(rank.code)

    def _end(self, number: signal.Signals) -> None:
        """Ask those that still run to end, give them time, then kill them; read what they said."""
        for rank in self._ranks:
            if rank.process.poll() is None:
                self._signal(rank, number)
        deadline = time.monotonic() + _TERM_SECONDS
        while any(rank.process.poll() is None for rank in self._ranks):
            self._pump()
            if time.monotonic() > deadline:
                for rank in self._ranks:
                    self._signal(rank, signal.SIGKILL)
        deadline = time.monotonic() + _POLL_SECONDS * 4
        while self._selector.get_map() and time.monotonic() < deadline:
            self._pump()

    def _signal(self, rank: _Rank, number: signal.Signals) -> None:
        """To the rank and all that it started, which share its process group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(rank.process.pid, number)

    def _report(self, failed: _Rank) -> int:
        code = failed.code or 0
        how = (f"was killed by {signal.Signals(-code).name}" if code < 0 else
               f"failed with exit code {code}")
        if code == -signal.SIGKILL:
            how += ", as the system does when memory runs out"
        words = last_traceback(failed.tail)
        then = "its last words:" if words else "it wrote no error"
        self._write_error(f"tapeflow launch: rank {failed.rank} {how}; {then}\n")
        for line in words:
            self._write_error(f"[rank {failed.rank}] {line}\n")
        return 128 - code if code < 0 else code
