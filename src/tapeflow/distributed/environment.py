"""Which rank this process is, read from the environment that its launcher made."""
from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tapeflow.errors import ArgumentError, DistributedError

DEFAULT_PORT = 29500   # torchrun's

# Rank, size, rank on this host. mpirun inside a Slurm job leaves Slurm's names in place, which
# then do not tell ranks apart: so Slurm comes last.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
)


@dataclass(frozen=True, slots=True)
class Place:
    """A process's place in its job."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    host: str = ""   # ranks with the same host share memory


def _number(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    try:
        return int(text) if text else default
    except ValueError:
        raise ArgumentError("init", got=f"{name}={text!r}", why=f"{name} must be a whole number",
                            fix="unset it, or start with `tapeflow launch`") from None


def _first_slurm_host(environ: Mapping[str, str]) -> str:
    """node07 of node[07-09,12],other3."""
    nodes = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST", "")
    found = re.match(r"([^,\[]+)(?:\[(\d+))?", nodes)
    return found[1] + (found[2] or "") if found else ""


def host_key(environ: Mapping[str, str]) -> str:
    """Equal for processes that can share memory: of one boot of one machine, and one node."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    booted = boot.read_text().strip() if boot.exists() else ""
    return f"{socket.gethostname()}/{booted}/{environ.get('GROUP_RANK', '')}"


def read(environ: Mapping[str, str] = os.environ) -> Place:
    """The place that `environ` gives this process; rank 0 of 1 if it names none.

    >>> read({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}).rank
    3
    """
    found = [names for names in _LAUNCHERS if names[0] in environ and names[1] in environ]
    if not found:
        return Place()
    rank_name, size_name, local_name = found[0]
    rank, size = _number(environ, rank_name, 0), _number(environ, size_name, 1)
    if not 0 <= rank < size:
        raise ArgumentError("init", got=f"{rank_name}={rank}, {size_name}={size}",
                            why="ranks go from 0 to size - 1",
                            fix=f"correct {rank_name}, or start with `tapeflow launch`")
    return Place(rank, size, _number(environ, local_name, 0),
                 environ.get("MASTER_ADDR") or _first_slurm_host(environ) or "127.0.0.1",
                 _number(environ, "MASTER_PORT", DEFAULT_PORT), host_key(environ))


def resolve(place: Place) -> str:
    """The address of rank 0's host as numbers."""
    try:
        return socket.gethostbyname(place.address)
    except OSError as error:
        raise DistributedError(
            "init", got=f"MASTER_ADDR={place.address}", why=f"no such host: {error}",
            fix="set MASTER_ADDR to the name or address of rank 0's host") from None


def own_address(master: str) -> str:
    """The address by which this host is seen from `master`; no packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((master, 9))
        except OSError as error:
            raise DistributedError(
                "init", got=f"MASTER_ADDR={master}", why=f"there is no way to it: {error}",
                fix="check the network, or set MASTER_ADDR to an address within reach") from None
        return str(probe.getsockname()[0])
