"""How long does an all-reduce between processes of one host take, and over a ring of hosts?

Float32 sums of 10^3, 10^5 and 10^7 elements, each rank pinned to a core; `fresh` results are new
arrays, `in place` ones overwrite their input; `ring` gives each rank a host of its own, so that
frames go through ZeroMQ on the loopback. With --torch PYTHON, gloo runs in the same rounds. Times
are the slowest rank's medians, in us: median [least - most] over the rounds.
Recorded on a 2-core Xeon, 10^3 / 10^5 / 10^7 elements. 2 ranks: fresh 12 / 68 / 12,300, in place
12 / 68 / 7,000, ring 300 / 560 / 32,100; gloo, in place, 214 / 277 / 30,600. 4 ranks: in place 60 /
225 / 25,300; gloo 1,080 / 1,500 / 63,400.

    python bench/allreduce.py --world 2,4 --torch /path/to/python --json out.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

SIZES = (1_000, 100_000, 10_000_000)
WAYS = ("fresh", "in place", "ring")
Calls: TypeAlias = tuple[Callable[[Any], Any], Callable[[], None]]


def tapeflow_calls(way: str, rank: int, world: int, port: int) -> Calls:
    """(all_reduce of an array, barrier) of this rank."""
    from tapeflow.distributed.environment import Place
    from tapeflow.distributed.group import Group

    host = str(rank) if way == "ring" else "one"
    group = Group(Place(rank, world, rank, "127.0.0.1", port, host))
    if way == "fresh":
        return lambda x: group.all_reduce(x, "sum"), group.barrier
    return lambda x: group.all_reduce(x, "sum", out=x), group.barrier


def gloo_calls(rank: int, world: int, port: int) -> Calls:
    """The same of PyTorch."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank,
                            world_size=world)
    return lambda x: dist.all_reduce(torch.from_numpy(x)), dist.barrier


def measure(way: str, rank: int, world: int, port: int, tiny: bool) -> dict[str, float]:
    """Median seconds by size, on this rank."""
    import numpy as np

    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [cores[rank % len(cores)]])
    all_reduce, barrier = (gloo_calls(rank, world, port) if way == "gloo" else
                           tapeflow_calls(way, rank, world, port))
    medians = {}
    for size in SIZES[:2] if tiny else SIZES:
        x, times = np.zeros(size, np.float32), []
        for i in range(3 if tiny else 303 if size < 1e6 else 15):
            barrier()
            start = time.perf_counter()
            all_reduce(x)
            if i >= 2:
                times.append(time.perf_counter() - start)
        medians[str(size)] = statistics.median(times)
    barrier()
    return medians


def one_round(python: str, way: str, world: int, tiny: bool) -> dict[str, float]:
    """Median seconds by size, of the slowest rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ranks = [subprocess.Popen(
        [python, __file__, "--worker", way, str(rank), str(world), str(port), *["--tiny"] * tiny],
        env=env, stdout=subprocess.PIPE, text=True) for rank in range(world)]
    said = [json.loads(rank.communicate(timeout=300)[0].splitlines()[-1]) for rank in ranks]
    return {size: max(one[size] for one in said) for size in said[0]}


def compare(world: int, pythons: dict[str, str], rounds: int, tiny: bool) -> list[dict[str, Any]]:
    """Seconds of each way and size, ways taking turns; printed as they come."""
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in pythons}
    for _ in range(rounds):
        for way, python in pythons.items():
            measured[way].append(one_round(python, way, world, tiny))
    results = []
    for way, those in measured.items():
        for size in those[0]:
            times = sorted(one[size] for one in those)
            results.append({"ranks": world, "way": way, "elements": int(size), "seconds": times})
            print(f"{world} ranks  {way:9}{size:>9}  {statistics.median(times) * 1e6:9.0f} us "
                  f"[{times[0] * 1e6:.0f} - {times[-1] * 1e6:.0f}]", flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="2", help="numbers of ranks, e.g. 2,4")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--torch", help="a Python that has PyTorch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tiny", action="store_true", help="few, small, once")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        way, *place = arguments.worker
        print(json.dumps(measure(way, *map(int, place), arguments.tiny)))
        return
    pythons = dict.fromkeys(WAYS, sys.executable)
    if arguments.torch:
        pythons["gloo"] = arguments.torch
    rounds = 1 if arguments.tiny else arguments.rounds
    results = [result for world in arguments.world.split(",")
               for result in compare(int(world), pythons, rounds, arguments.tiny)]
    if arguments.json:
        arguments.json.write_text(json.dumps({
            "machine": platform.machine(), "cores": os.cpu_count(),
            "python": platform.python_version(), "results": results}, indent=1))


if __name__ == "__main__":
    main()
