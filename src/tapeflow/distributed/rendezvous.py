"""How the ranks of a job come together, first all of them, then those of each host."""
from __future__ import annotations

import mmap
import os
import secrets
import time
from pathlib import Path

from tapeflow.distributed import shared
from tapeflow.distributed.environment import Place, own_address, resolve
from tapeflow.distributed.membership import Membership, listed
from tapeflow.distributed.transport import Transport
from tapeflow.distributed.wire import Hello, Roster
from tapeflow.errors import DistributedError

_NAP = 2e-3
_VERDICT = 1.0   # seconds more than rank 0 waits: only it can say who is missing


def meet(place: Place, token: str, seconds: float) -> tuple[Transport, Roster]:
    """Come together with all ranks of the job.

    Raises: DistributedError if the port is in use, rank 0 does not answer or refuses us, or
        ranks are missing after `seconds`; it names them.
    """
    master = resolve(place)
    if place.rank:
        transport = Transport(place.rank, token, own_address(master), None)
    else:
        local = master.startswith("127.")
        transport = Transport(0, token, master if local else "*", place.port)
    try:
        endpoint = transport.endpoint
        me = Hello(place.rank, place.size, place.host, os.getpid(), endpoint)
        transport.start(Membership(me, secrets.token_hex(16), f"tcp://{master}:{place.port}"))
        roster = transport.wait_for_roster(seconds + (_VERDICT if place.rank else 0))
        if roster is None:
            raise _nobody(place, transport, seconds)
    except BaseException:
        transport.close()
        raise
    return transport, roster


def _nobody(place: Place, transport: Transport, seconds: float) -> DistributedError:
    known, where = transport.membership, f"{place.address}:{place.port}"
    if known.refusal or known.failure:
        return DistributedError(
            "init", got=f"rank {place.rank} of {place.size}, rank 0 at {where}",
            why=f"rank 0 refused us: {known.refusal}" if known.refusal else str(known.failure),
            fix="start all ranks with one `tapeflow launch`, or give all the same job token, "
                "WORLD_SIZE and RANKs of their own")
    if place.rank:
        return DistributedError(
            "init", got=f"rank {place.rank} of {place.size}",
            why=f"rank 0 did not answer at {where} within {seconds:g} s",
            fix="check that it runs, and that MASTER_ADDR and MASTER_PORT are those of its host")
    why = "; ".join([f"{listed(known.missing)} did not come within {seconds:g} s",
                     *known.turned_away])
    transport.stop(why)
    return DistributedError(
        "init", got=f"{place.size - len(known.missing)} of {place.size} ranks at {where}", why=why,
        fix="look for their errors, check that they can reach this address, "
            "or raise TAPEFLOW_TIMEOUT")


def share(here: tuple[int, ...], rank: int, key: str, watch: shared.Watch) -> shared.HostBlock:
    """The memory that the ranks `here`, all of one host, share; no file of it is left behind."""
    path, index = shared.folder() / f"tapeflow-{key}-{here[0]}", here.index(rank)
    raw = _attached(path, len(here), watch) if index else _created(path, len(here))
    try:
        block = shared.HostBlock(raw, index, len(here), watch)
        block.meet()
    finally:
        if index == 0:
            path.unlink(missing_ok=True)
    return block


def _created(path: Path, size: int) -> mmap.mmap:
    try:
        return shared.create(path, size)
    except OSError as error:
        raise DistributedError(
            "init", got=f"{shared.block_bytes(size)} bytes in {path.parent}",
            why=f"there is no memory to share: {error.strerror}",
            fix="make room there; containers get more by --shm-size") from None


def _attached(path: Path, size: int, watch: shared.Watch) -> mmap.mmap:
    start = time.monotonic()
    while True:
        try:
            return shared.attach(path, size)
        except FileNotFoundError:
            watch([0], time.monotonic() - start)
            time.sleep(_NAP)
