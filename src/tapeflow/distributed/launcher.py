"""`tapeflow launch`, and the same from a notebook: one program as several ranks.

The environment that ranks get is torchrun's, so that programs run under either.
"""
from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType

from tapeflow import config
from tapeflow.distributed.environment import DEFAULT_PORT
from tapeflow.distributed.supervise import Ranks
from tapeflow.errors import ArgumentError

_THREADS = ("TAPEFLOW_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Plan:
    """What one host starts of a job."""

    nproc: int
    nnodes: int = 1
    node_rank: int = 0
    address: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str = ""


def environments(plan: Plan, environ: Mapping[str, str], cores: int) -> list[dict[str, str]]:
    """The environment of each rank of this host; cores are shared out unless `environ` says."""
    threads = str(max(1, cores // plan.nproc))
    common = {**dict.fromkeys(_THREADS, threads), "PYTHONUNBUFFERED": "1", **environ,
              "MASTER_ADDR": plan.address, "MASTER_PORT": str(plan.port),
              "WORLD_SIZE": str(plan.nproc * plan.nnodes), "LOCAL_WORLD_SIZE": str(plan.nproc),
              "GROUP_RANK": str(plan.node_rank), "TAPEFLOW_JOB_TOKEN": plan.token}
    return [{**common, "RANK": str(plan.node_rank * plan.nproc + local), "LOCAL_RANK": str(local)}
            for local in range(plan.nproc)]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tapeflow launch`: torchrun's names, with dashes or underscores."""
    def option(name: str, **details: object) -> None:
        parser.add_argument(f"--{name}", f"--{name.replace('-', '_')}",
                            **details)  # type: ignore[arg-type]

    option("nproc-per-node", default="auto", metavar="N",
           help="ranks on this host; auto: one a core (default)")
    option("nnodes", type=int, default=1, metavar="N", help="hosts of the job (default 1)")
    option("node-rank", type=int, default=0, metavar="I", help="which host this is, from 0")
    option("rdzv-endpoint", default="", metavar="HOST:PORT",
           help="where rank 0 listens, an address of host 0")
    option("master-addr", default="", metavar="HOST", help="the same in two parts")
    option("master-port", type=int, default=None, metavar="PORT")
    option("rdzv-id", default="", metavar="SECRET",
           help="job token, if TAPEFLOW_JOB_TOKEN is not set")
    parser.add_argument("-m", "--module", action="store_true", help="the program is a module")
    parser.add_argument("program", help="a Python script")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the program gets")


def new_token() -> str:
    """A job token that no one can guess."""
    return secrets.token_hex(16)


def _wrong(got: str, why: str, fix: str) -> ArgumentError:
    return ArgumentError("tapeflow launch", got=got, why=why, fix=fix, at="")


def free_port() -> int:
    """A port of this host that no one uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plan_of(arguments: argparse.Namespace) -> Plan:
    """What the command line asks for; raises ArgumentError where that cannot be."""
    number = arguments.nproc_per_node
    if number != "auto" and not (number.isdecimal() and int(number) > 0):
        raise _wrong(f"--nproc-per-node {number}", "it must be auto or at least 1", "give a number")
    nproc = config.cores() if number == "auto" else int(number)
    if not 0 <= arguments.node_rank < arguments.nnodes:
        raise _wrong(f"--node-rank {arguments.node_rank} --nnodes {arguments.nnodes}",
                     "hosts count from 0 to nnodes - 1", "correct one of them")
    host, _, port = arguments.rdzv_endpoint.rpartition(":")
    if arguments.rdzv_endpoint and not (host and port.isdecimal()):
        raise _wrong(f"--rdzv-endpoint {arguments.rdzv_endpoint}", "it must be HOST:PORT",
                     "e.g. --rdzv-endpoint node0:29500")
    host = host or arguments.master_addr
    if arguments.nnodes > 1 and not host:
        raise _wrong(f"--nnodes {arguments.nnodes}", "several hosts must know where to meet",
                     "add --rdzv-endpoint HOST:PORT, the same on each")
    alone = arguments.nnodes == 1
    token = config.job_token() or arguments.rdzv_id or (new_token() if alone else "")
    chosen = int(port) if port else arguments.master_port or (
        free_port() if alone else DEFAULT_PORT)
    if not 0 < chosen < 1 << 16:
        raise _wrong(f"port {chosen}", "ports go from 1 to 65535", "choose another")
    return Plan(nproc, arguments.nnodes, arguments.node_rank, host or "127.0.0.1", chosen, token)


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(arguments: argparse.Namespace) -> int:
    """Start the ranks and wait for them; the exit code of the first that fails."""
    try:
        plan = plan_of(arguments)
        if not (arguments.module or os.path.exists(arguments.program)):
            raise _wrong(arguments.program, f"there is no such file in {os.getcwd()}",
                         "correct the path, or add -m if it is a module")
    except ArgumentError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    command = [sys.executable, *(["-m"] if arguments.module else []),
               arguments.program, *arguments.arguments]
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        with Ranks(command, environments(plan, os.environ, config.cores()),
                   sys.stdout.write, sys.stderr.write) as ranks:
            return ranks.wait()
    except KeyboardInterrupt:
        return 130
    finally:
        sys.stdout.flush()
