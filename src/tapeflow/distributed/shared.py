"""The memory that the ranks of one host share, and collectives in it.

Every rank has a step counter, two headers and two half slots, and writes nothing else. What it
writes before `meet()` the others may read after theirs, until their next but one: hence two of
each, used in turn. 10^7 float32, 2 ranks: 12 ms, of which 4 are the result's fresh pages; halves
of 512 KB stay in the second-level cache (64 KB: 16 ms, 4 MB: 13 ms).
"""
from __future__ import annotations

import mmap
import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tapeflow.distributed.ring import Placed, fold, laid, spans, within
from tapeflow.dtypes import DType
from tapeflow.tensor import Array

_LINE = 64                    # counters lie in cache lines of their own
_HEADER, _SITE = 2048, 1024   # bytes of a header, and where in it the call site begins
_HALF = 1 << 19
_BLOCK = 1 << 25              # all halves together: container hosts often grant 64 MB
_AT_ONCE = 1 << 19            # bytes to read below which every rank reduces everything itself
_GLANCES = 3000               # a peer that is this late is worth a sleep, not a spin
_LONGEST_NAP = 1e-3

Watch = Callable[[list[int], float], None]   # (who is missing, seconds so far): raises to give up

_give_way: Callable[[], object] = getattr(os, "sched_yield", lambda: time.sleep(0))


class _Fence:
    """Orders memory accesses: releasing a lock and taking it again does so on every CPU."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        self._lock.release()
        self._lock.acquire()


def folder() -> Path:
    """Where files live in memory, if the system has such a place."""
    shm = Path("/dev/shm")
    return shm if shm.is_dir() else Path(tempfile.gettempdir())


def half_bytes(size: int) -> int:
    """Bytes of one half slot among `size` ranks."""
    return min(_HALF, _BLOCK // (2 * size) // 4096 * 4096)


def block_bytes(size: int) -> int:
    """Bytes of the whole block."""
    return size * (_LINE + 2 * _HEADER + 2 * half_bytes(size))


def create(path: Path, size: int) -> mmap.mmap:
    """A new block of zeros at `path`, which appears there whole."""
    unfinished = path.with_suffix(".new")
    handle = os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "r+b") as file:
            file.write(bytes(block_bytes(size)))   # a full disk must say so now, not by SIGBUS
            file.flush()
            block = mmap.mmap(handle, block_bytes(size))
        unfinished.rename(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return block


def attach(path: Path, size: int) -> mmap.mmap:
    """The block that another rank made at `path`; raises FileNotFoundError until it has."""
    with open(path, "r+b") as file:
        return mmap.mmap(file.fileno(), block_bytes(size))


class HostBlock:
    """Collectives among the `size` ranks of one host, of which this is number `index`."""

    def __init__(self, block: mmap.mmap, index: int, size: int, watch: Watch):
        self.index, self.size = index, size
        self._watch, self._fence = watch, _Fence()
        self._others = [i for i in range(size) if i != index]
        # A core that is given away comes back milliseconds later if anything else runs: only ranks
        # that share a core gain. Two other processes busy, 2 cores: 23 -> 2.4 ms a training step.
        self._is_crowded = size > (os.cpu_count() or 1)
        self._view = memoryview(block)
        self._counters = self._view[: size * _LINE].cast("q")
        headers, half = size * _LINE, half_bytes(size)
        slots = headers + size * 2 * _HEADER
        self._headers = [[self._view[headers + (2 * i + h) * _HEADER:][:_HEADER]
                          for i in range(size)] for h in (0, 1)]
        self._slots = [[np.frombuffer(block, np.uint8, half, slots + (2 * i + h) * half)
                        for i in range(size)] for h in (0, 1)]
        self._step = self._pieces = self._agreements = 0

    def meet(self) -> None:
        """Wait until every rank has come here as often as this one."""
        self._fence()
        self._step += 1
        self._counters[self.index * _LINE // 8] = self._step
        for other in self._others:
            if self._counters[other * _LINE // 8] < self._step:
                self._await(other)
        self._fence()

    def agree(self, said: bytes, site: bytes) -> list[tuple[bytes, bytes]] | None:
        """Meet, and compare what each is about to do: None if all said the same."""
        self._agreements += 1
        headers = self._headers[self._agreements % 2]
        mine = struct.pack("<H", len(said)) + said
        headers[self.index][:len(mine)] = mine
        site = site[-(_HEADER - _SITE - 2):]
        headers[self.index][_SITE:_SITE + 2 + len(site)] = struct.pack("<H", len(site)) + site
        self.meet()
        if all(headers[other][:len(mine)] == mine for other in self._others):
            return None
        return [(_counted(header), _counted(header[_SITE:])) for header in headers]

    def all_reduce(self, xs: Sequence[Array], outs: Sequence[Array], op: str,
                   divisor: int) -> None:
        """Join the flat arrays `xs` of all ranks, in the order of ranks, into `outs`. They count as
        one array laid end to end, and may be the same ones."""
        given, wanted, dtype = laid(xs), laid(outs), xs[0].dtype
        for piece in self._pieces_of(sum(x.size for x in xs), dtype.itemsize):
            slots = self._next_slots(dtype, piece.stop - piece.start)
            reduce = (self._reduce_at_once if slots[0].nbytes * self.size <= _AT_ONCE else
                      self._reduce_in_shares)
            reduce(slots, within(given, piece), within(wanted, piece), op, divisor)

    def _reduce_at_once(self, slots: list[Array], given: Placed, wanted: Placed, op: str,
                        divisor: int) -> None:
        """Each rank reduces everything."""
        for x, at in given:
            slots[self.index][at] = x
        self.meet()
        for out, at in wanted:
            fold(op, [slot[at] for slot in slots], out, divisor)

    def _reduce_in_shares(self, slots: list[Array], given: Placed, wanted: Placed, op: str,
                          divisor: int) -> None:
        """Each rank reduces its share, and leaves it where its slot has no one else's use."""
        shares = spans(slots[0].size, self.size)
        mine, slot = shares[self.index], slots[self.index]
        for share in (slice(0, mine.start), slice(mine.stop, slot.size)):
            for x, at in within(given, share):
                slot[share][at] = x
        self.meet()
        for x, at in within(given, mine):
            terms = [x if theirs is slot else theirs[mine][at] for theirs in slots]
            fold(op, terms, slot[mine][at], divisor)
        self.meet()
        for theirs, share in zip(slots, shares, strict=True):
            for out, at in within(wanted, share):
                out[...] = theirs[share][at]

    def broadcast(self, x: Array, root: int) -> None:
        """Make the flat array `x` that of rank number `root`, in place."""
        for piece in self._pieces_of(x.size, x.itemsize):
            slots = self._next_slots(x.dtype, piece.stop - piece.start)
            if self.index == root:
                slots[root][...] = x[piece]
            self.meet()
            if self.index != root:
                x[piece] = slots[root]

    def all_gather(self, x: Array, rows: list[Array]) -> None:
        """Write every rank's flat array `x` into its one of `rows`."""
        for piece in self._pieces_of(x.size, x.itemsize):
            slots = self._next_slots(x.dtype, piece.stop - piece.start)
            slots[self.index][...] = x[piece]
            self.meet()
            for row, slot in zip(rows, slots, strict=True):
                row[piece] = slot

    def _pieces_of(self, count: int, itemsize: int) -> Iterator[slice]:
        step = half_bytes(self.size) // itemsize
        return (slice(i, min(i + step, count)) for i in range(0, count, step))

    def _next_slots(self, dtype: DType, count: int) -> list[Array]:
        """Every rank's slot in the half whose turn it is, as arrays of `count` elements."""
        self._pieces += 1
        nbytes = count * dtype.itemsize
        return [slot[:nbytes].view(dtype) for slot in self._slots[self._pieces % 2]]

    def _await(self, other: int) -> None:
        at, step = other * _LINE // 8, self._step
        for _ in range(_GLANCES):
            if self._counters[at] >= step:
                return
            if self._is_crowded:
                _give_way()
        start = time.monotonic()
        while self._counters[at] < step:
            waited = time.monotonic() - start
            self._watch([i for i in self._others if self._counters[i * _LINE // 8] < step], waited)
            time.sleep(min(waited / 8, _LONGEST_NAP))


def _counted(field: memoryview) -> bytes:
    length, = struct.unpack_from("<H", field)
    return bytes(field[2:2 + length])
